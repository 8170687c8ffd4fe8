"""Whether the worker runs what is sold: the checkpoint and the modes that the settings name."""

from collections.abc import Mapping
from typing import Any, cast

from gateway.backends import Rejected, Unreachable
from gateway.opening import open_backend, reaches_runpod
from gateway.sold import another
from ltx2.errors import ConfigError
from ltx2.gateway_settings import GatewaySettings
from ltx2.terminal import say

ASK_SECONDS = 5.0  # for a worker that may be loading its model, or be busy with a clip
_MODES = {"fast": {"fast"}, "pro": {"pro"}, "all": {"fast", "pro"}}


def ask_worker(settings: GatewaySettings) -> list[str] | None:
    """What is wrong with what a worker of one's own says that it runs. None of RunPod's, where the
    question would start a GPU. Raises Unreachable where it does not say within ASK_SECONDS.
    """
    if settings.worker is None or reaches_runpod(settings.worker):
        return None
    backend = open_backend(settings, seconds=ASK_SECONDS)
    try:
        said = backend.facts(seconds=ASK_SECONDS)
    except Rejected as error:
        raise Unreachable(str(error)) from error
    finally:
        backend.close()
    model = said.get("model")
    if not isinstance(model, Mapping):
        raise Unreachable("the worker has loaded no model")
    facts = cast("Mapping[str, Any]", model)
    if not facts.get("checkpoint"):
        raise Unreachable("the worker does not name its checkpoint")
    return _faults(settings, facts, said.get("modes"))


def refuse_another(settings: GatewaySettings) -> None:
    """Raises ConfigError where a worker of one's own runs something else than the settings say; one
    that does not answer now is told of, and its first video is judged.
    """
    try:
        faults = ask_worker(settings)
    except Unreachable as error:
        say(f"note: the worker does not say now which checkpoint it runs: {error}")
        return
    if faults:
        raise ConfigError("; ".join(faults))


def _faults(settings: GatewaySettings, model: Mapping[str, Any], modes: object) -> list[str]:
    faults: list[str] = []
    if (made := str(model.get("checkpoint"))) != settings.checkpoint:
        faults.append(another(made, settings.checkpoint, who="the worker runs"))
    elif not model.get("embedded"):  # the embedded one has both modes always
        missing = set(settings.loaded_modes) - _MODES.get(str(modes), set())
        if missing:
            faults.append(
                f"the worker has loaded the modes {modes}, and LTX2_GATEWAY_MODES says "
                f"{settings.modes}"
            )
    return faults
