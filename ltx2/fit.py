"""Whether a plan fits this machine's memory, in which residency, and what would fit instead."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ltx2.errors import TooLarge
from ltx2.extent import NAMED_SIZES, named_size
from ltx2.planner import plan as decide
from ltx2.request import Request
from ltx2.room import GIB, Room, room_on
from pipelines.checkpoints.files import Weights
from pipelines.components import Components, adapter_bytes
from pipelines.geometry import Size
from pipelines.memory.forecast import (
    RESIDENCIES,
    Forecast,
    device_bytes,
    forecast,
    host_forecast,
)
from pipelines.memory.long_video import extended, stretches
from pipelines.memory.outline import Outlines, outlines_of, tensor_bytes
from pipelines.memory.rehearsal import Rehearsal, Rehearsed
from pipelines.models import Checkpoint
from pipelines.plan import Adapter, DenoisePlan, Mode, Plan, RestorePlan
from pipelines.residency import Residency, home
from pipelines.speed.levers import USUAL, Levers
from pipelines.stages.decode import halved, smaller_tiles

# What libraries take beside the tensors, and what is lost between tensors, as a share of these.
DEVICE_SLACK = 0.05
NO_GPU = "there is no GPU memory to save"
# What the process still takes of the host beside weights and tensors: page tables, CUDA's own
# buffers, the encoder of the file.
HOST_SLACK = GIB
# A run that cannot take more than this is not rehearsed: times the bytes of all files, and bytes of
# a pixel of the clip. In bfloat16, passes take about 20 of these and the decoder 30.
AMPLE_WEIGHTS, AMPLE_PIXEL = 3, 400
AnyPlan = Plan | RestorePlan
# Of what ran out of memory, the share that another try may take at most: the forecast was too low
# by an amount that nobody knows.
LESS = 0.97


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How a plan runs here."""

    plan: Any  # the same plan, with other tiles where these had to be smaller
    residency: Residency
    reason: str  # in words
    forecast: Forecast | None  # None where there is so much memory that none was made


def device_need(found: Forecast, room: Room) -> int:
    """Bytes of the device that a forecast asks for, with what is beside its tensors."""
    return found.device + max(int(found.device * DEVICE_SLACK), room.libraries)


def host_need(found: Forecast) -> int:
    """Bytes of the host that a forecast asks for."""
    return found.host + HOST_SLACK


def lacking(found: Forecast, room: Room) -> str | None:
    """What a forecast asks for beyond the room there is, in words; None where it fits."""
    if room.device is not None and device_need(found, room) > room.device:
        need = device_need(found, room)
        return f"{need / GIB:.2f} GiB of GPU memory, {room.device / GIB:.2f} can be had"
    if host_need(found) > room.host:
        return f"{host_need(found) / GIB:.2f} GiB of host memory, {room.host / GIB:.2f} can be had"
    return None


class Fit:
    """What plans take of a checkpoint, by rehearsal; each shape is rehearsed once.

    `residencies` are those that may be chosen, fastest first.
    """

    def __init__(
        self,
        weights: Weights,
        outlines: Outlines,
        row: Checkpoint,
        *,
        find_adapter: Callable[[Adapter], Path] = lambda adapter: Path(adapter.source),
        residencies: Sequence[Residency] = RESIDENCIES,
        levers: Levers = USUAL,
    ) -> None:
        self._weights = weights
        self._levers = levers
        self._outlines = outlines
        self._row = row
        self._find_adapter = find_adapter
        self._residencies = tuple(residencies)
        self._known: dict[AnyPlan, Rehearsed] = {}

    def rehearsed(self, plan: AnyPlan) -> Rehearsed:
        """The plan's run without weights; plans that differ in words and seeds alone are one."""
        key = _shape(plan)
        if key not in self._known:
            parts = stretches(key) if isinstance(key, RestorePlan) else None
            if parts is None or not isinstance(key, RestorePlan):
                self._known[key] = self._rehearse(key)
            else:
                short, long = (self._rehearse(part) for part in parts)
                self._known[key] = extended(short, long, key.source.padded_frames)
        return self._known[key]

    def _rehearse(self, plan: AnyPlan) -> Rehearsed:
        rehearsal = Rehearsal(
            self._weights, self._outlines, find_adapter=self._find_adapter, levers=self._levers
        )
        return rehearsal.rehearse(plan)

    def forecasts(self, plan: AnyPlan, room: Room) -> list[Forecast]:
        """What the plan takes, in each residency that may be chosen."""
        return self._forecasts(self.rehearsed(plan), room)

    def _forecasts(self, run: Rehearsed, room: Room) -> list[Forecast]:
        if room.device is None:
            return [replace(host_forecast(run), residency=self._residencies[0])]
        return [forecast(run, residency) for residency in self._residencies]

    def decide(self, plan: AnyPlan, room: Room) -> Decision:
        """The fastest residency in which a plan fits, with smaller tiles where none does otherwise.

        Raises TooLarge with what would fit.
        """
        if self._ample(plan, room):
            reason = NO_GPU if room.device is None else f"there is plenty: {room.described()}"
            residency = self._residencies[0]
            return Decision(plan=plan, residency=residency, reason=reason, forecast=None)
        decision = self._fitting(plan, room)
        if decision is None:
            raise TooLarge(self._refusal(plan, room))
        return decision

    def fits(self, plan: AnyPlan, room: Room) -> bool:
        """Whether a plan fits in any residency that may be chosen, be it with smaller tiles."""
        return self._fitting(plan, room) is not None

    def _fitting(self, plan: AnyPlan, room: Room) -> Decision | None:
        for candidate in (plan, *_with_smaller_tiles(plan)):
            for found in self.forecasts(candidate, room):
                if lacking(found, room) is None:
                    return Decision(
                        plan=candidate,
                        residency=found.residency,
                        reason=_reason(found, room),
                        forecast=found,
                    )
            if candidate is plan and not self._fits_but_for_decoding(plan, room):
                return None
        return None

    def _fits_but_for_decoding(self, plan: AnyPlan, room: Room) -> bool:
        """Whether smaller tiles can be of any help."""
        run = self.rehearsed(plan)
        rest = replace(run, moments=tuple(m for m in run.moments if "vae" not in m.parts))
        return any(lacking(found, room) is None for found in self._forecasts(rest, room))

    def _ample(self, plan: AnyPlan, room: Room) -> bool:
        """Whether a plan fits so surely that it need not be rehearsed."""
        wide = self._outlines.dtype.itemsize / 2  # files are in bfloat16
        pixels = plan.width * plan.height * plan.num_frames
        most = wide * (AMPLE_WEIGHTS * self._weights.nbytes + AMPLE_PIXEL * pixels)
        least = room.host if room.device is None else min(room.host, room.device)
        return most + HOST_SLACK + room.libraries < least

    def after_failure(
        self, plan: Plan, residency: Residency, room: Room, *, decoding: bool
    ) -> Decision | None:
        """The fastest way that takes clearly less, where a plan ran out of memory in a residency;
        None where there is none.

        What is compared is what was at work then: the decoder, or all that came before it.
        """
        most = LESS * self._taken(plan, residency, room, decoding=decoding)
        smaller: Iterator[Any] = _with_smaller_tiles(plan) if decoding else iter(())
        for candidate in (plan, *smaller):
            for found in self.forecasts(candidate, room):
                taken = self._taken(candidate, found.residency, room, decoding=decoding)
                if taken <= most and lacking(found, room) is None:
                    return Decision(
                        plan=candidate,
                        residency=found.residency,
                        reason=f"{_part(decoding)} ran out of memory, and this takes less",
                        forecast=found,
                    )
        return None

    def after_failures(
        self, plan: Plan, residency: Residency, room: Room, *, decoding: bool
    ) -> str:
        """What would fit instead, where a plan has run out of memory in the most frugal way there
        is: less than what that was foretold to take.
        """
        most = int(LESS * self._taken(plan, residency, room, decoding=decoding))
        if room.device is None:
            left = replace(room, host=min(room.host, most + HOST_SLACK))
        else:
            slack = max(int(most * DEVICE_SLACK), room.libraries)
            left = replace(room, device=min(room.device, most + slack))
        return self._advice(plan, left)

    def _taken(self, plan: Plan, residency: Residency, room: Room, *, decoding: bool) -> int:
        """Bytes of tensors and weights at the fullest moment of decoding, or of all before it."""
        if decoding:
            plan = replace(plan, decode=halved(plan.decode))  # the decoder has tried these, too
        run = self.rehearsed(plan)
        moments = [m for m in run.moments if ("vae" in m.parts) == decoding]
        if room.device is None:
            weights = sum(size.whole for size in run.sizes.values()) + sum(run.adapters.values())
            return weights + max(moment.both for moment in moments)
        return max(device_bytes(run, moment, residency) for moment in moments)

    def _refusal(self, plan: AnyPlan, room: Room) -> str:
        frugal = min(self.forecasts(plan, room), key=lambda found: found.device)
        told = f"{plan.width}x{plan.height} for {plan.duration:.1f} s needs at least "
        told += lacking(frugal, room) or "more memory than there is"
        if isinstance(plan, RestorePlan):
            return f"{told}; a video of fewer pixels needs less"
        return f"{told}: {self._advice(plan, room)}"

    def _advice(self, plan: Plan, room: Room) -> str:
        """The longest clip of this size, and the largest of the named sizes at this length."""
        own = Size(plan.width, plan.height)
        found: list[str] = []
        for size in sizes_below(self._row, plan):
            if self.fits(self._resized(plan, size, plan.duration), room):
                found.append(f"{size} for {plan.duration:.1f} s")
                break
        sizes = [own] if found else [own, *sizes_below(self._row, plan)]
        for size in sizes:
            if seconds := self._longest(plan, size, room):
                found.append(f"{size} for {seconds} s")
                break
        if not found:
            return f"not even a second at {sizes[-1]} fits"
        return f"{' or '.join(found)} would fit"

    def _longest(self, plan: Plan, size: Size, room: Room) -> int:
        """Whole seconds below the plan's length that fit at a size; 0 for none."""
        low, high = 0, int(plan.duration - 1e-6)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.fits(self._resized(plan, size, middle), room)
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def _resized(self, plan: Plan, size: Size, seconds: float) -> Plan:
        """The same kind of clip at another size and length: same passes, pictures and LoRAs."""
        doubled = plan.temporal_round is not None or "temporal_upscaler" in plan.upscalers
        fps = plan.fps // 2 if doubled else plan.fps
        request = Request.parse(
            {
                "prompt": "x",
                "seed": plan.seed,
                "mode": plan.mode,
                "width": size.width,
                "height": size.height,
                "num_frames": max(9, int(seconds * fps) + 1),
                "fps": fps,
                "spatial_upscaler": "spatial_upscaler" in plan.upscalers,
                "temporal_upscaler": doubled,
                "detailer": plan.detail is not None,
                "generate_audio": plan.audio_from is not None,
            }
        )
        new = decide(request, checkpoint=self._row)
        return replace(
            new,
            task=plan.task,
            base=_as_in(plan.base, new.base),
            refine=new.refine and plan.refine and _as_in(plan.refine, new.refine),
        )


def _as_in(old: DenoisePlan, new: DenoisePlan) -> DenoisePlan:
    """A pass with the guidance, adapters and pictures of another; pictures move to its last frame
    where theirs are beyond it.
    """
    return replace(
        new,
        adapters=old.adapters,
        video_guidance=old.video_guidance,
        audio_guidance=old.audio_guidance,
        stg_blocks=old.stg_blocks,
        conditions=tuple(replace(c, frame=min(c.frame, new.frames - 1)) for c in old.conditions),
    )


def _part(decoding: bool) -> str:
    return "the decoder" if decoding else "a pass"


def _with_smaller_tiles(plan: AnyPlan) -> Iterator[AnyPlan]:
    """The plan with smaller tiles of the decoder, and a warning that says so."""
    for tiles in smaller_tiles(plan.decode):
        told = (
            f"decoded in tiles of {tiles.tile_width}x{tiles.tile_height} pixels and "
            f"{tiles.tile_frames} frames: there is no memory for "
            f"{plan.decode.tile_width}x{plan.decode.tile_height} and {plan.decode.tile_frames}"
        )
        yield replace(plan, decode=tiles, warnings=(*plan.warnings, told))


def _reason(found: Forecast, room: Room) -> str:
    """Why a residency was chosen."""
    if room.device is None:
        return NO_GPU
    return (
        f"at most {device_need(found, room) / GIB:.1f} of {room.device / GIB:.1f} GiB of GPU "
        f"memory and {host_need(found) / GIB:.1f} of {room.host / GIB:.1f} GiB of host memory are "
        "taken"
    )


def _shape(plan: AnyPlan) -> AnyPlan:
    """A plan with everything left out that changes no shape."""
    common: dict[str, Any] = {"prompt": "", "seed": 0, "snaps": (), "warnings": ()}
    detail = plan.detail and replace(plan.detail, prompt="detail", seed=0)
    if isinstance(plan, RestorePlan):
        # One text or two: that changes what is held.
        same = plan.refine and plan.detail and plan.refine.prompt == plan.detail.prompt
        refine = plan.refine and replace(plan.refine, prompt="detail" if same else "refine", seed=0)
        source = replace(plan.source, sha256="")
        return replace(plan, **common, source=source, refine=refine, detail=detail)
    rounds = plan.temporal_round
    return replace(
        plan,
        **common,
        negative_prompt=None if plan.negative_prompt is None else "negative",
        ancestral_seed=0,
        images=(),
        # Words of its own, so that two texts stay two.
        detail=detail,
        temporal_round=rounds and replace(rounds, seed=0),
    )


def fit_for(
    components: Components, row: Checkpoint, residencies: Sequence[Residency] = RESIDENCIES
) -> Fit:
    """What plans take of these parts."""
    outlines = outlines_of(
        components.weights, dtype=components.dtype, quantisation=components.quantise
    )
    return Fit(
        components.weights,
        outlines,
        row,
        find_adapter=components.find_adapter,
        residencies=residencies,
        levers=components.levers,
    )


def room_for(components: Components, limit: float | None) -> Room:
    """The room for a run of these parts: what is free, and what they hold already."""
    held = {"device": 0, "host": 0, "disk": 0}
    for name in components.held:
        part = components.part(name)
        if isinstance(part, nn.Module):
            held[home(components.residency, name)] += tensor_bytes(part)
    if components.device.type != "cuda":
        return room_on(components.device, limit=limit, held_host=held["host"] + held["device"])
    return room_on(
        components.device, limit=limit, held_device=held["device"], held_host=held["host"]
    )


def make_room(components: Components, decision: Decision, room: Room) -> None:
    """Let go of what other plans left on the device, where this one needs the memory."""
    found = decision.forecast
    if found is None or room.device is None:
        return
    spare = room.device - device_need(found, room)
    idle = {
        name: tensor_bytes(components.part(name))
        for name in components.held
        if name not in found.parts
        and home(components.residency, name) == "device"
        and isinstance(components.part(name), nn.Module)
    }
    if sum(idle.values()) > spare:
        for name in idle:
            components.drop(name)
    else:
        spare -= sum(idle.values())
    components.limit_adapters(min(adapter_bytes(components.device), spare + found.adapters))


def sizes_below(row: Checkpoint, plan: Plan) -> Iterator[Size]:
    """Named sizes and the model's own in the plan's shape, with fewer pixels, largest first."""
    ratio = plan.width / plan.height
    sizes = {named_size(row, name, ratio) for name in (None, *NAMED_SIZES)}
    for size in sorted(sizes, key=lambda size: -size.width * size.height):
        if size.width * size.height < plan.width * plan.height:
            yield size


def reference_plan(row: Checkpoint, weights: Weights, mode: Mode | None = None) -> Plan:
    """What a machine should run well: a clip of the default size and length, with what is there."""
    if mode is None:
        mode = "fast" if weights.has("transformer", "distilled") else "pro"
    upscaled = weights.has("spatial_upscaler")
    request = Request.parse({"prompt": "x", "seed": 0, "mode": mode, "spatial_upscaler": upscaled})
    return decide(request, checkpoint=row)


def find_residency(
    fit: Fit, weights: Weights, row: Checkpoint, room: Room, told: Residency | None
) -> tuple[Residency, str]:
    """Where parts live, and why: as it was told, else the fastest way for a usual clip."""
    if told is not None:
        return told, "it is set so"
    if room.device is None:
        return "resident", NO_GPU
    plan = reference_plan(row, weights)
    if missing := weights.missing(plan.mode, plan.wanted_parts):
        return "resident", f"not known before its files are here: {', '.join(missing)}"
    try:
        decision = fit.decide(plan, room)
    except TooLarge as refusal:
        return "stream", f"for less only: {refusal}"
    return decision.residency, decision.reason
