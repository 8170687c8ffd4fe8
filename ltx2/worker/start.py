"""From an environment to an engine that is ready: find weights, fetch them, open, load, warm up."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ltx2.errors import ConfigError, TooLarge
from ltx2.planner import plan as decide
from ltx2.request import Request
from ltx2.settings import Settings
from ltx2.weights import AUTO_ORDER, REAL, Need, Resolved, cuda, note, resolve, verdicts
from ltx2.worker.json_lines import log_event
from ltx2.worker.settings import WorkerSettings
from ltx2.worker.turn import turn
from pipelines.geometry import Size
from pipelines.models import CHECKPOINTS
from pipelines.plan import Mode, Plan

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
        """Time a phase, be it that it fails."""
        began = self._clock()
        try:
            yield
        finally:
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

    Raises ConfigError for weights that are nowhere and are not to be fetched or cannot be, for a
    device that is not there, and for one that is too small for a usual clip.
    """
    phases = Phases(clock)
    began = clock()
    with phases.phase("find weights"):
        resolved = find_weights(settings, worker)
    if resolved is None:
        with phases.phase("download"):
            resolved = fetch_weights(settings, worker)
    imports = clock()
    from ltx2.engine import Engine  # seconds, which weights that are nowhere do not cost

    phases.note("import", clock() - imports)
    logger.info("checkpoint %s: %s", resolved.name, resolved.reason)
    if (told := note(resolved.row)) is not None:
        logger.warning("%s", told)
    modes: tuple[Mode, ...] = ("fast", "pro") if worker.modes == "all" else (worker.modes,)
    with phases.phase("open"):
        engine = Engine.open(resolved, settings)
        engine.own_process()
        require_memory(engine, modes)
    with phases.phase("load"):
        loaded = engine.preload(modes)
    for part, seconds in loaded.items():
        phases.note(f"load {part}", seconds)
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
    """The weights on this machine; None where they are to be fetched. What every place holds of
    them is logged.

    On the platform `auto` is never the embedded checkpoint, unless LTX2_DEVICE=cpu asks for a test:
    a worker that sells a toy's clips would be worse than one that does not start. Raises
    ConfigError.
    """
    name = settings.checkpoint
    if name == "auto":
        gpu = cuda(confirm=True) if worker.on_platform else None
        if gpu is not None and not gpu.usable and settings.device != "cpu":
            raise ConfigError(
                f"{gpu.reason}, and checkpoint auto is a real model on RunPod; choose another GPU, "
                "or for a test LTX2_DEVICE=cpu or LTX2_CHECKPOINT=tiny"
            )
        names = AUTO_ORDER if gpu is not None and gpu.usable else ()
    else:
        names = (name,) if name in REAL else ()
    if not names:  # the embedded checkpoint, or a path, file or repository: it is there or is not
        return resolve(name, settings, mode=worker.modes)
    for each in names:
        for told, found in verdicts(CHECKPOINTS[each], settings, Need(mode=worker.modes)):
            logger.info("%s", told)
            if found is not None:
                return found
    if not worker.fetches:
        return resolve(wanted(settings), settings, mode=worker.modes)  # which says what to do
    return None


def fetch_weights(settings: Settings, worker: WorkerSettings) -> Resolved:
    """Fetch the checkpoint onto the network volume where that can be written to, else into the
    hub's cache.

    Workers that share a volume fetch one after the other, and what one has fetched the next one
    finds. Raises ConfigError.
    """
    if settings.hf_offline:
        raise ConfigError("weights are missing and HF_HUB_OFFLINE is set: nothing can be fetched")
    name = wanted(settings)
    volume = settings.volume_weights
    on_volume = volume is not None and _is_writable(volume)
    target = volume / name if volume is not None and on_volume else settings.hub_cache
    try:
        with turn(target.with_name(f".{target.name}.fetching")):
            found = find_weights(settings, worker)
            if found is None:
                _fetch(settings, worker, name, target if on_volume else None)
                found = resolve(name, settings, mode=worker.modes)
    except OSError as error:
        raise ConfigError(f"{target}: {error.strerror or error}") from error
    return found


def _is_writable(volume: Path) -> bool:
    """Whether a network volume is mounted, which its folder of weights lies in, and takes files."""
    place = volume if volume.is_dir() else volume.parent
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _fetch(settings: Settings, worker: WorkerSettings, name: str, to: Path | None) -> None:
    from ltx2.download import Order, carry_out, gigabytes, survey
    from ltx2.hub import Hub

    hub = Hub(endpoint=settings.hf_endpoint, token=settings.hf_token)
    order = Order(checkpoint=name, mode=worker.modes, to=to)
    caches = [settings.runpod_cache] if settings.runpod_cache else []
    found = survey(order, hub, cache=settings.hub_cache, other_caches=caches)
    logger.warning(
        "the weights of %s are fetched: %d files, %s to come, into %s",
        name, len(found.items), gigabytes(found.to_fetch), found.target,
    )  # fmt: skip
    carry_out(found, hub, bar=LoggedBar, tell=lambda line: logger.info("%s", line))


class LoggedBar:
    """A progress bar as the hub's library uses one, written to the log now and then."""

    EVERY = 30.0  # seconds

    def __init__(
        self, *, desc: str = "", total: float | None = None, initial: float = 0, **_more: object
    ) -> None:
        self._name, self._total, self._have = desc, total or 0, initial
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._tell()

    def update(self, count: float | None = 1) -> None:
        """More bytes have come."""
        self._have += count or 0
        if time.monotonic() - self._told >= self.EVERY:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        share = 100 * self._have / self._total if self._total else 0.0
        log_event(
            logger, f"{self._name}: {share:.0f} %", bytes=int(self._have), of=int(self._total)
        )


def require_memory(engine: "Engine", modes: Sequence[Mode]) -> None:
    """Refuse a machine that cannot make a usual clip of these modes in any way.

    A usual clip has the model's own size and length, or the largest below that the worker's limits
    let through. Raises ConfigError.
    """
    for mode in modes:
        plan = usual_plan(engine, mode)
        if plan is None:
            continue
        try:
            decision = engine.check_fits(plan)
        except TooLarge as error:
            raise ConfigError(
                f"this machine is too small for a usual clip of mode {mode}: {error}; take a "
                "larger GPU, or lower LTX2_MAX_SECONDS or LTX2_MAX_PIXELS to what fits"
            ) from error
        logger.info(
            "a usual clip of mode %s runs %s: %s", mode, decision.residency, decision.reason
        )


def usual_plan(engine: "Engine", mode: Mode) -> Plan | None:
    """The usual clip of a mode within the worker's limits; None where they let none through."""
    from ltx2.fit import reference_plan, sizes_below

    row, limits = engine.checkpoint, engine.limits
    plan = reference_plan(row, engine.components.weights, mode)
    seconds = min(plan.duration, limits.max_seconds)
    for size in (Size(plan.width, plan.height), *sizes_below(row, plan)):
        request = Request.parse(
            {
                "prompt": "x",
                "seed": 0,
                "mode": mode,
                "width": size.width,
                "height": size.height,
                "duration": seconds,
                "spatial_upscaler": "spatial_upscaler" in plan.upscalers,
            }
        )
        try:
            return decide(request, checkpoint=row, limits=limits)
        except TooLarge:
            continue
    return None
