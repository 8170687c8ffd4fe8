"""Progress of one generation: stages, steps, timings, time left.

It is also the point where a run can be cancelled.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from ltx2.errors import Cancelled
from pipelines.geometry import latent_frames, pixel_frames, video_tokens
from pipelines.plan import DenoisePlan, Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Where a run stands. `percent` and `eta` speak of the whole run, `step` of the stage."""

    stage: str
    step: int
    steps: int
    percent: float  # 0..100
    eta: float | None  # seconds left; None until there is something to go by
    seconds: float  # since the run began

    def __str__(self) -> str:
        left = "" if self.eta is None else f", {self.eta:.0f} s left"
        return f"{self.percent:3.0f}% {self.stage} {self.step}/{self.steps}{left}"


Listener = Callable[[Event], object]
Chunk = TypeVar("Chunk")


class Progress:
    """The `pipelines.values.Progress` that doors use.

    `listener` gets an Event at the start of each stage and after each step. `cancelled` is asked
    between steps; when it answers True, Cancelled is raised there. `timings` holds seconds per
    stage; a stage that runs twice is summed.
    """

    def __init__(
        self, listener: Listener | None = None, *, cancelled: Callable[[], bool] | None = None
    ) -> None:
        self.timings: dict[str, float] = {}
        self._listener = listener
        self._cancelled = cancelled
        self._began = time.monotonic()
        self._aside = 0.0  # seconds in stages that are no part of the expected work
        self._shares: Mapping[str, float] = {}
        self._done: dict[str, float] = {}
        self._stage = ""
        self._step = 0
        self._steps = 1

    def expect(self, shares: Mapping[str, float]) -> None:
        """Tell how the work is spread over the stages, in any unit; see `expected_work`.

        A stage that is not named is no part of it: its seconds do not count in the time left.
        """
        total = sum(shares.values())
        self._shares = {name: share / total for name, share in shares.items()}

    @contextmanager
    def stage(self, name: str, steps: int = 1) -> Iterator[None]:
        """Time a stage of `steps` steps."""
        self._stage, self._step, self._steps = name, 0, max(1, steps)
        started = time.monotonic()
        self._check()
        self._tell()
        try:
            yield
            self._done[name] = 1.0
        finally:
            seconds = time.monotonic() - started
            self.timings[name] = self.timings.get(name, 0.0) + seconds
            if name not in self._shares:
                self._aside += seconds
            fields = {"phase": name, "seconds": round(seconds, 3)}
            logger.info("%s took %.2fs", name, seconds, extra={"fields": fields})

    def step(self) -> None:
        """One step of the stage is done. Raises Cancelled when the run was called off."""
        self._step += 1
        self._done[self._stage] = min(1.0, self._step / self._steps)
        self._tell()
        self._check()

    def _check(self) -> None:
        if self._cancelled is not None and self._cancelled():
            raise Cancelled(f"cancelled during {self._stage}, step {self._step} of {self._steps}")

    def _tell(self) -> None:
        if self._listener is None:
            return
        done = sum(self._shares.get(name, 0.0) * part for name, part in self._done.items())
        seconds = time.monotonic() - self._began
        eta = (seconds - self._aside) / done * (1 - done) if done > 0.02 else None
        self._listener(
            Event(
                stage=self._stage,
                step=self._step,
                steps=self._steps,
                percent=100 * min(1.0, done),
                eta=eta,
                seconds=seconds,
            )
        )


def expected_work(plan: Plan) -> dict[str, float]:
    """Rough shares of the stages, for a percentage that moves evenly.

    The unit is token-steps, with attention's growth.
    """
    work = {"prompt": 2e3, "base": pass_work(plan.base)}
    if plan.base.conditions:
        work["condition"] = 1e3
    upscaled = len(plan.upscalers) + (plan.temporal_round is not None)
    if upscaled:
        work["upsample"] = 1e3 * upscaled
    if plan.refine:
        work["refine"] = pass_work(plan.refine)
    if plan.temporal_round:
        tiles = plan.temporal_round.tiles
        share = max(tile.end - tile.start for tile in tiles)
        longest = replace(plan.temporal_round.denoise, frames=pixel_frames(share))
        work["round"] = len(tiles) * pass_work(longest)
    if plan.detail:
        windows = len(plan.detail.spans(latent_frames(plan.num_frames)))
        # What a window follows lies beside it and doubles its tokens.
        longer = replace(plan.detail.denoise, frames=2 * plan.detail.denoise.frames)
        work["detail"] = windows * pass_work(longer)
    work["sound"] = 1e3
    work["decode+encode"] = 3.0 * video_tokens(plan.width, plan.height, plan.num_frames)
    return work


def pass_work(plan: DenoisePlan) -> float:
    """The work of one pass, in the unit of `expected_work`."""
    video, audio = plan.video_guidance, plan.audio_guidance
    forwards = 1 + sum(
        (
            video.cfg != 1 or audio.cfg != 1,
            video.stg != 0 or audio.stg != 0,
            video.modality != 1 or audio.modality != 1,
        )
    )
    tokens = video_tokens(plan.width, plan.height, plan.frames)
    # Attention equals the linears near 40k tokens.
    return plan.steps * forwards * tokens * (1 + tokens / 40_000)


def counted(chunks: Iterable[Chunk], progress: Progress) -> Generator[Chunk]:
    """The chunks of a clip, with a progress step after each, where decoding can be cancelled."""
    for chunk in chunks:
        yield chunk
        progress.step()
