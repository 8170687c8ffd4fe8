"""From an environment to an engine that is ready: find weights, fetch them, open, load, warm up."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ltx2.errors import ConfigError
from ltx2.settings import Settings
from ltx2.weights import AUTO_ORDER, Need, Resolved, cuda, looked_in, resolve
from ltx2.worker.log import log_event
from ltx2.worker.settings import WorkerSettings
from pipelines.models import CHECKPOINTS
from pipelines.plan import Mode

if TYPE_CHECKING:
    from ltx2.engine import Engine

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An engine and what it took to get it."""

    engine: "Engine"
    timings: dict[str, float]  # seconds by phase, in the order they ran
    reason: str  # why these weights
    source: Path  # where they lie


class Phases:
    """Seconds of each phase, logged as it ends."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        began = self._clock()
        yield
        self.note(name, self._clock() - began)

    def note(self, name: str, seconds: float) -> None:
        """A phase that was timed elsewhere."""
        self.seconds[name] = seconds
        log_event(logger, f"{name} took {seconds:.2f}s", phase=name, seconds=round(seconds, 3))


def start(
    settings: Settings,
    worker: WorkerSettings,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Started:
    """The worker's engine, with everything loaded that stays loaded.

    Raises ConfigError for weights that are nowhere and are not to be fetched or cannot be, and for
    a device that is not there.
    """
    phases = Phases(clock)
    began = clock()
    from ltx2.engine import Engine

    phases.note("import", clock() - began)
    with phases.phase("find weights"):
        resolved = find_weights(settings, worker)
    if resolved is None:
        with phases.phase("download"):
            fetch_weights(settings, worker)
        with phases.phase("find weights again"):
            resolved = resolve(wanted(settings), settings, mode=worker.modes)
    logger.info("checkpoint %s: %s", resolved.name, resolved.reason)
    if resolved.random_weights:
        logger.warning("the weights of %s are random: its clips mean nothing", resolved.name)
    with phases.phase("open"):
        engine = Engine.open(resolved, settings)
    modes: tuple[Mode, ...] = ("fast", "pro") if worker.modes == "all" else (worker.modes,)
    loaded = engine.preload(modes)  # which logs each
    phases.seconds |= {f"load {part}": seconds for part, seconds in loaded.items()}
    if worker.warm_up:
        phases.note("warm up", engine.warm(modes[0]))
    phases.note("start", clock() - began)
    return Started(
        engine=engine, timings=phases.seconds, reason=resolved.reason, source=resolved.path
    )


def wanted(settings: Settings) -> str:
    """The checkpoint that a worker fetches where `auto` finds none."""
    return AUTO_ORDER[0] if settings.checkpoint == "auto" else settings.checkpoint


def find_weights(settings: Settings, worker: WorkerSettings) -> Resolved | None:
    """The weights on this machine; None where they are to be fetched.

    On the platform `auto` with a GPU is never the embedded checkpoint: a worker that sells noise
    would be worse than one that does not start. Raises ConfigError.
    """
    name = settings.checkpoint
    if name == "auto" and worker.on_platform and cuda(confirm=True).usable:
        for each in AUTO_ORDER:
            try:
                return resolve(each, settings, mode=worker.modes)
            except ConfigError as error:
                logger.info("%s", error)
        name = wanted(settings)
    try:
        return resolve(name, settings, mode=worker.modes)
    except ConfigError as error:
        if name in CHECKPOINTS:
            for line in looked_in(CHECKPOINTS[name], settings, Need(mode=worker.modes)):
                logger.info("%s", line)
        if not worker.fetches or name not in CHECKPOINTS:
            raise
        logger.warning("weights are fetched: %s", error)
        return None


def fetch_weights(settings: Settings, worker: WorkerSettings) -> None:
    """Fetch the checkpoint onto the network volume where there is one, else into the hub's cache.

    Raises ConfigError.
    """
    from ltx2.download import Order, carry_out, gigabytes, survey
    from ltx2.hub import Hub

    if settings.hf_offline:
        raise ConfigError("weights are missing and HF_HUB_OFFLINE is set: nothing can be fetched")
    name = wanted(settings)
    volume = settings.volume_weights
    on_volume = volume is not None and volume.parent.is_dir()
    order = Order(
        checkpoint=name,
        mode=worker.modes,
        to=volume / name if volume is not None and on_volume else None,
    )
    hub = Hub(endpoint=settings.hf_endpoint, token=settings.hf_token)
    caches = [settings.runpod_cache] if settings.runpod_cache else []
    found = survey(order, hub, cache=settings.hub_cache, other_caches=caches)
    logger.info(
        "%d files, %s to come, into %s", len(found.items), gigabytes(found.to_fetch), found.target
    )
    try:
        carry_out(found, hub, tell=lambda line: logger.info("%s", line))
    except OSError as error:
        raise ConfigError(f"{found.target}: {error.strerror or error}") from error
