"""The environment of an endpoint's workers: what may be set, and what of it may be shown."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from ltx2 import setting_rows

MASK = "***"
# What options of the command set, so that the endpoint and its workers agree; by variable.
OWN: Mapping[str, str] = {
    "LTX2_CHECKPOINT": "--checkpoint",
    "LTX2_MODES": "--modes",
    "LTX2_DOWNLOAD": "--weights",
    "LTX2_EXECUTION_SECONDS": "--timeout",
    "RUNPOD_INIT_TIMEOUT": "--init-timeout",
}
# Of the platform, its SDK and torch, without secrets.
PUBLIC = (
    "RUNPOD_INIT_TIMEOUT", "RUNPOD_LOG_LEVEL", "RUNPOD_DEBUG_LEVEL", "RUNPOD_MIN_MEMORY_GB",
    "RUNPOD_MIN_DISK_PERCENT", "RUNPOD_NETWORK_CHECK_TIMEOUT", "RUNPOD_MIN_CUDA_VERSION",
    "RUNPOD_GPU_BENCHMARK_TIMEOUT", "RUNPOD_GPU_TEST_TIMEOUT", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS",
    "RUNPOD_SKIP_GPU_CHECK", "OMP_NUM_THREADS", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_-]+")
_REFERENCE = re.compile(r"\{\{ RUNPOD_SECRET_[A-Za-z0-9_-]+ \}\}")


def reference(secret: str) -> str:
    """How the platform is told to put one of the account's secrets in a value's place."""
    return f"{{{{ RUNPOD_SECRET_{secret} }}}}"


def parse_pairs(pairs: Iterable[str], secrets: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The variables of `--env NAME=VALUE` and `--secret NAME=SECRET`, and what is wrong with them.

    No sentence holds the value of a variable that could be a secret.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for option, texts in (("--env", pairs), ("--secret", secrets)):
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals or not _NAME.fullmatch(name):
                # Not the text itself: it may be a value whose name was forgotten.
                problems.append(
                    f"{option} must be NAME={'VALUE' if option == '--env' else 'SECRET'}"
                )
            elif name in OWN:
                problems.append(f"{name} is set by {OWN[name]}, so that everything agrees with it")
            elif name in found:
                problems.append(f"{name} is given twice")
            elif option == "--secret" and not _SECRET_NAME.fullmatch(value):
                problems.append(
                    f"--secret {name}= takes the name of a secret of your RunPod account"
                )
            else:
                found[name] = value if option == "--env" else reference(value)
    return found, problems + unreadable(found)


def unreadable(env: Mapping[str, str]) -> list[str]:
    """What the worker would refuse to start with."""
    from ltx2.settings import Settings, known_variables
    from ltx2.worker.settings import WorkerSettings

    plain = {name: value for name, value in env.items() if not _REFERENCE.fullmatch(value)}
    problems = setting_rows.misspelt(env, known_variables())
    for kind in (Settings, WorkerSettings):
        problems += setting_rows.read(kind, plain)[1]
    return problems


def is_secret(name: str, value: str) -> bool:
    """Whether a value must not be shown: all but settings that are known to hold no secret."""
    if _REFERENCE.fullmatch(value):
        return False
    rows = _rows()
    public = name in PUBLIC or (name in rows and not rows[name]["secret"])
    # An address may carry a user's name and key, or a signature in its query.
    return not public or "@" in value or "?" in value


def secrets_of(env: Mapping[str, str]) -> list[str]:
    """The values that must not be shown."""
    return [value for name, value in env.items() if is_secret(name, value)]


def shown(env: Mapping[str, str]) -> dict[str, str]:
    """The variables with `***` for every value that must not be shown."""
    return {name: MASK if is_secret(name, value) else value for name, value in env.items()}


def without_secrets(value: Any, masked: Callable[[str], str]) -> Any:  # noqa: ANN401 - any JSON
    """JSON as it may be shown: every environment in it by `shown`, every text by `masked`."""
    if isinstance(value, Mapping):
        return {
            name: _shown_env(entry) if name == "env" else without_secrets(entry, masked)
            for name, entry in cast("Mapping[str, Any]", value).items()
        }
    if isinstance(value, list):
        return [without_secrets(entry, masked) for entry in cast("list[Any]", value)]
    return masked(value) if isinstance(value, str) else value


def _shown_env(env: object) -> object:
    if not isinstance(env, Mapping):
        return MASK if env else env
    return shown({str(n): str(v) for n, v in cast("Mapping[object, object]", env).items()})


def advice(env: Mapping[str, str]) -> list[str]:
    """What to do instead of keeping secrets in an endpoint's own settings."""
    return [
        f"{name} is kept in the endpoint's settings, where everyone with access to it reads it; "
        f"make it a secret of your account and give --secret {name}=NAME, which sends "
        f"{reference('NAME')}"
        for name, value in env.items()
        if is_secret(name, value)
    ]


def _rows() -> dict[str, Mapping[str, Any]]:
    from ltx2.settings import Settings
    from ltx2.worker.settings import WorkerSettings

    return {
        variable: note
        for kind in (Settings, WorkerSettings)
        for variable, _, note in setting_rows.rows(kind)
    }
