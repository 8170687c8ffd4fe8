"""Whether the worker runs what is sold: the checkpoint and the modes that the settings name."""

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.backends import Backend, Rejected, Unreachable
from gateway.opening import open_backend, reaches_runpod
from gateway.tables import GenerationRow
from ltx2.errors import ConfigError
from ltx2.gateway_settings import GatewaySettings
from ltx2.terminal import say

ASK_SECONDS = 5.0  # for a worker that may be loading its model, or be busy with a clip
# What is told to people whose video another model made.
ANOTHER = "The video was made by another model than the one that was asked for."
_MODES = {"fast": {"fast"}, "pro": {"pro"}, "all": {"fast", "pro"}}


def another(made: str, sold: str) -> str:
    """For the operator: what runs, what was sold, and what to do."""
    return (
        f"the worker runs the checkpoint {made}, and LTX2_GATEWAY_CHECKPOINT says {sold}: "
        f"set it to {made}, or have the worker load {sold}"
    )


def last_told(session: Session, sold: str) -> str | None:
    """What is wrong by the newest generation of `sold` that a worker has answered for; None where
    its checkpoint was that, or nothing has been answered.
    """
    query = (
        select(GenerationRow.checkpoint)
        .where(
            GenerationRow.checkpoint.is_not(None), GenerationRow.form["model"].as_string() == sold
        )
        .order_by(GenerationRow.id.desc())
        .limit(1)
    )
    made = session.scalar(query)
    return None if made in (None, sold) else another(str(made), sold)


def ask_worker(settings: GatewaySettings, backend: Backend) -> list[str]:
    """What is wrong with what a worker of one's own says that it runs. Nothing is asked of RunPod,
    where the question would start a GPU. Raises Unreachable where it does not say.
    """
    if settings.worker is None or reaches_runpod(settings.worker):
        return []
    try:
        said = backend.facts(seconds=ASK_SECONDS)
    except Rejected as error:
        raise Unreachable(str(error)) from error
    model = said.get("model")
    if not isinstance(model, Mapping):
        raise Unreachable("the worker has loaded no model")
    facts = cast("Mapping[str, Any]", model)
    return _faults(settings, facts, said.get("modes"))


def refuse_another(settings: GatewaySettings) -> None:
    """Raises ConfigError where a worker of one's own runs something else than the settings say; one
    that does not answer now is told of, and its first video is judged.
    """
    backend = open_backend(settings)
    try:
        faults = ask_worker(settings, backend)
    except Unreachable as error:
        say(f"note: the worker does not say now which checkpoint it runs: {error}")
        return
    finally:
        backend.close()
    if faults:
        raise ConfigError("; ".join(faults))


def _faults(settings: GatewaySettings, model: Mapping[str, Any], modes: object) -> list[str]:
    faults: list[str] = []
    if (made := str(model.get("checkpoint"))) != settings.checkpoint:
        faults.append(another(made, settings.checkpoint))
    elif not model.get("embedded"):  # the embedded one has both modes always
        missing = set(settings.loaded_modes) - _MODES.get(str(modes), set())
        if missing:
            faults.append(
                f"the worker has loaded the modes {modes}, and LTX2_GATEWAY_MODES says "
                f"{settings.modes}"
            )
    return faults
