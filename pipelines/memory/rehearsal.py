"""A recipe run without weights and without data, to see what it holds in memory and when."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils._python_dispatch import _disable_current_modes

from pipelines.checkpoints.files import Weights
from pipelines.components import Components
from pipelines.memory.hollow import DEVICE, HOST, Hollow
from pipelines.memory.ledger import ALL
from pipelines.memory.outline import BLOCKS, Outlines, Size
from pipelines.memory.rounded_inputs import rounded_beside
from pipelines.plan import Adapter, DenoisePlan, Plan, RestorePlan, Variant
from pipelines.recipes import RECIPES, video_to_video
from pipelines.speed.levers import USUAL, Levers
from pipelines.values import Clip, Inputs

STEPS = 2  # of a pass: the second one shows what the first leaves behind
CHUNK = 8  # frames of a source video that come at once
PICTURE = Image.new("RGB", (64, 64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A stretch of a run in which the same parts are at work, and the most that is held in it.

    Bytes of tensors alone, without weights.
    """

    parts: tuple[str, ...]  # names as in `Components`
    device: int
    host: int
    both: int  # at one time, where the device is the host


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """A whole run: its moments in order, and the weights of every part that was at work in it."""

    moments: tuple[Moment, ...]
    sizes: Mapping[str, Size]  # by part
    adapters: Mapping[str, int]  # bytes of the adapters that lie on a part


class Rehearsal(Components):
    """Parts without weights, in a run that notes what is held while which of them are at work."""

    def __init__(
        self,
        weights: Weights,
        outlines: Outlines,
        *,
        find_adapter: Callable[[Adapter], Path],
        levers: Levers = USUAL,
    ) -> None:
        super().__init__(
            weights,
            device=DEVICE,
            dtype=outlines.dtype,
            keep_variants=True,
            find_adapter=find_adapter,
            # What fuses operations holds less than what does not, and runs on the device alone. So
            # do products in fp8, but for what `rounded_beside` adds.
            levers=replace(
                levers,
                blocks="stock" if levers.blocks == "stock" else "plain",
                fp8_products=False,
            ),
        )
        self._fp8_products = levers.fp8_products
        self.ledger = Hollow(outlines.operations)
        self.moments: list[Moment] = []
        self._outlines = outlines
        self._adapters = outlines.adapters
        self._at_work: list[str] = []
        self._sizes: dict[str, Size] = {}
        self._lying: dict[str, int] = {}

    def _load(self, component: str, variant: Variant, device: torch.device) -> Any:  # noqa: ANN401, ARG002
        with _disable_current_modes():  # what is built here is weights, not part of the run
            return self._outlines.part(component, variant)

    @contextmanager
    def _on_device(self, name: str, part: Any) -> Iterator[None]:  # noqa: ANN401
        name = self.key(name)
        component, _, variant = name.partition(":")
        self._sizes[name] = self._outlines.size(
            component, "dev" if variant == "dev" else "distilled"
        )
        if component in ("transformer", "connectors"):
            self._lying[name] = self._outlines.adapters.bytes_on(component, part)
        self._note()
        self._at_work.append(name)
        beside = component == "transformer" and self._fp8_products
        try:
            with rounded_beside(part) if beside else nullcontext():
                yield
        finally:
            self._note()
            self._at_work.remove(name)

    def _note(self) -> None:
        """A moment ends here and another begins."""
        peak = self.ledger.peak
        self.moments.append(
            Moment(parts=tuple(self._at_work), device=peak(DEVICE), host=peak(HOST), both=peak(ALL))
        )
        self.ledger.begin()

    def rehearse(self, plan: Plan | RestorePlan) -> Rehearsed:
        """Run a plan to its last frame; once for each of these."""
        with torch.inference_mode(), self.ledger:
            clip = self._run(shortened(plan))
            for _ in clip.frames:
                pass
        self._note()
        return Rehearsed(
            moments=tuple(self.moments), sizes=dict(self._sizes), adapters=dict(self._lying)
        )

    def _run(self, plan: Plan | RestorePlan) -> Clip:
        if isinstance(plan, RestorePlan):
            return video_to_video.run(self, plan, _frames(plan), _Steps())
        names = {picture.image for part in plan.passes.values() for picture in part.conditions}
        inputs = Inputs(images=dict.fromkeys(names, PICTURE))
        return RECIPES[plan.task](self, plan, inputs, _Steps())


class _Steps:
    """A progress that nobody watches: it counts the steps that were taken."""

    taken = 0

    def stage(self, name: str, steps: int = 1) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def step(self) -> None:
        """One more."""
        self.taken += 1


def _frames(plan: RestorePlan) -> Generator[np.ndarray]:
    """A black source video."""
    source = plan.source
    for start in range(0, source.frames, CHUNK):
        count = min(CHUNK, source.frames - start)
        yield np.zeros((count, source.height, source.width, 3), np.uint8)


def shortened(plan: Plan | RestorePlan) -> Plan | RestorePlan:
    """The same plan with a few steps a pass, and STG in a block that an outline has."""
    changes: dict[str, Any] = {}
    for name in ("base", "refine", "temporal_round", "detail"):
        part = getattr(plan, name, None)
        if isinstance(part, DenoisePlan):
            changes[name] = _shortened(part)
        elif part is not None:
            changes[name] = replace(part, denoise=_shortened(part.denoise))
    return replace(plan, **changes)


def _shortened(part: DenoisePlan) -> DenoisePlan:
    return replace(
        part,
        sigmas=(*part.sigmas[:-1][:STEPS], 0.0),
        stg_blocks=(BLOCKS - 1,) if part.stg_blocks else (),
    )
