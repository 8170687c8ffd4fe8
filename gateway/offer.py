"""The offer of a deployed worker, made from the model table and the price table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from gateway.offer_view import (
    CameraMove,
    Capabilities,
    Defaults,
    Mode,
    ModelOffer,
    ModeOffer,
    Offer,
    ResolutionOffer,
)
from gateway.prices import Prices
from ltx2.describe import describe
from ltx2.errors import Ltx2Error
from ltx2.extent import Limits
from ltx2.planner import plan
from ltx2.request import RESOLUTIONS, Request

MODES: tuple[Mode, ...] = get_args(Mode)
# Whole seconds that are sold: all for what is quick, the first seven for what takes long.
SHORT, LONG = (2, 3, 4, 5, 6, 8, 10), (12, 14, 16, 18, 20)
TOY_SECONDS = (1, 2, 3, 4, 5)
# More frames in a second would be more work for one price.
FRAME_RATES = (24, 25)
NOTES: Mapping[Mode, tuple[str, str]] = {
    "fast": ("Fast", "few steps, quickest"),
    "pro": ("Pro", "full steps and guidance, best detail"),
}
UPLOAD_TYPES = ("image/png", "image/jpeg", "image/webp")
MAX_UPLOAD_BYTES = 15_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What is known of the deployed worker: its checkpoint, the modes it loaded and its limits."""

    checkpoint: str
    modes: tuple[Mode, ...]
    limits: Limits


def make_offer(worker: Worker, prices: Prices) -> Offer:
    """Everything that the worker can do and the table has a price for."""
    facts = describe(worker.checkpoint, limits=worker.limits)
    fields = {field["name"]: field for field in facts["fields"]}
    modes = tuple(
        _mode(facts, fields, mode, worker, prices) for mode in MODES if mode in worker.modes
    )
    first = modes[0].resolutions
    names = [each.id for each in first]
    usual = own_resolution(worker.checkpoint) if toy(facts) else "720p"
    resolution = usual if usual in names else names[0]
    row = next(each for each in first if each.id == resolution)
    wanted = round(facts["checkpoint"]["duration"])
    return Offer(
        price_version=prices.version,
        credit_usd=prices.credit_usd,
        default=Defaults(
            model=worker.checkpoint,
            mode=modes[0].mode,
            resolution=resolution,
            aspect_ratio="16:9",
            duration=min(row.fps_durations[FRAME_RATES[0]], key=lambda each: abs(each - wanted)),
            fps=FRAME_RATES[0],
        ),
        models=(
            ModelOffer(
                id=worker.checkpoint,
                modes=modes,
                embedded=facts["checkpoint"]["embedded"],
            ),
        ),
        cameras=tuple(CameraMove(name=c["name"], title=c["title"]) for c in facts["cameras"]),
        surcharges=prices.surcharges,
        max_prompt=fields["prompt"]["maxLength"],
        max_upload_bytes=MAX_UPLOAD_BYTES,
        upload_types=UPLOAD_TYPES,
    )


def toy(facts: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is one that a processor runs in seconds, at its own size."""
    return not facts["checkpoint"]["repository"]


def own_resolution(checkpoint: str) -> str:
    """The name of a checkpoint's own size: its height, as the others are named."""
    return f"{describe(checkpoint)['checkpoint']['height']}p"


def request_size(
    resolution: str, sizes: Mapping[str, tuple[int, int]], aspect_ratio: str
) -> dict[str, Any]:
    """The fields by which a worker is asked for a resolution: its name, or pixels where it has no
    name there.
    """
    if resolution in RESOLUTIONS:
        return {"resolution": resolution, "aspect_ratio": aspect_ratio}
    shape = "16:9" if aspect_ratio == "auto" else aspect_ratio
    width, height = sizes[shape]
    return {"width": width, "height": height}


def _mode(
    facts: Mapping[str, Any],
    fields: Mapping[str, Any],
    mode: Mode,
    worker: Worker,
    prices: Prices,
) -> ModeOffer:
    row = next(each for each in facts["modes"] if each["name"] == mode)
    label, note = NOTES[mode]
    names = [own_resolution(worker.checkpoint)] if toy(facts) else list(RESOLUTIONS)
    found = (_resolution(facts, mode, name, worker, prices) for name in names)
    resolutions = tuple(each for each in found if each is not None)
    return ModeOffer(
        mode=mode,
        label=label,
        note=note,
        steps=row["steps"],
        refine_steps=row["refine_steps"],
        capabilities=Capabilities(
            t2v=True,
            i2v=True,
            last_frame=True,
            audio=True,
            loras=bool(facts["loras"]),
            negative_prompt=mode in fields["negative_prompt"]["modes"],
            guidance=row["guided"],
            spatial_upscaler=True,
            temporal_upscaler=True,
            detailer=fields["detailer"]["available"],
            enhance_prompt=True,
            camera_motion=tuple(c["name"] for c in facts["cameras"] if c["name"] != "none"),
        ),
        resolutions=resolutions,
    )


def _resolution(
    facts: Mapping[str, Any], mode: Mode, name: str, worker: Worker, prices: Prices
) -> ResolutionOffer | None:
    """A resolution with what it can be combined with; None where it has no price or no length."""
    rate = prices.rate(mode, name)
    if rate is None:
        return None
    listed = facts["sizes"]["default" if toy(facts) else name]
    sizes = {shape: cast("tuple[int, int]", tuple(size)) for shape, size in listed.items()}
    lengths = _lengths(facts, mode, name)
    durations = {fps: _fitting(worker, mode, name, sizes, fps, lengths) for fps in FRAME_RATES}
    offered = {fps: seconds for fps, seconds in durations.items() if seconds}
    if not offered:
        return None
    return ResolutionOffer(id=name, sizes=sizes, fps_durations=offered, credits_per_second=rate)


def _lengths(facts: Mapping[str, Any], mode: Mode, name: str) -> tuple[int, ...]:
    if toy(facts):
        return TOY_SECONDS
    return (*SHORT, *LONG) if mode == "fast" and name != "1080p" else SHORT


def _fitting(
    worker: Worker,
    mode: Mode,
    name: str,
    sizes: Mapping[str, tuple[int, int]],
    fps: int,
    lengths: tuple[int, ...],
) -> tuple[int, ...]:
    """The lengths that the worker's planner takes, in the shape with the most pixels: what fits in
    that fits in every other, and so does what is shorter.
    """
    largest = max(sizes, key=lambda shape: sizes[shape][0] * sizes[shape][1])
    for count in range(len(lengths), 0, -1):
        try:
            request = Request(
                prompt="a",
                mode=mode,
                duration=lengths[count - 1],
                fps=fps,  # pyright: ignore[reportArgumentType]
                seed=0,
                **request_size(name, sizes, largest),
            )
            plan(request, checkpoint=worker.checkpoint, limits=worker.limits)
        except Ltx2Error:
            continue
        return lengths[:count]
    return ()
