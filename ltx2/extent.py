"""How large and how long a clip is: named sizes, shapes, grids and limits. No torch."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ltx2.errors import BadRequest, Ltx2Error, TooLarge
from ltx2.request import MAX_SECONDS, Request, asked_pictures
from pipelines.geometry import (
    SPATIAL,
    TEMPORAL,
    Size,
    frames_for,
    pixel_frames,
    snap_down,
    snap_frames,
    snap_near,
    video_tokens,
)
from pipelines.models import Checkpoint
from pipelines.plan import DecodePlan, Snap

TWO_PASS_GRID = 2 * SPATIAL  # the first pass runs at half the edge, itself a multiple of 32

# 16:9 frames by name; other shapes keep the area.
NAMED_SIZES: Mapping[str, Size] = {
    "540p": Size(1024, 576),
    "720p": Size(1280, 704),
    "1080p": Size(1920, 1088),
}
RATIOS: Mapping[str, float] = {
    "16:9": 16 / 9,
    "9:16": 9 / 16,
    "1:1": 1.0,
    "4:3": 4 / 3,
    "3:4": 3 / 4,
    "21:9": 21 / 9,
}
WIDEST = RATIOS["21:9"]  # and its inverse: a picture's own shape is followed up to here

# Share of a picture that the grid alone may cut off, and that is not worth a word.
CUT_UNTOLD = 0.08

# The decoder's tiles, by the reference.
TILE, OVERLAP, TILE_FRAMES, OVERLAP_FRAMES = 768, 64, 80, 24
# Windows of the encoder: twice the decoder's, and a run-up after which a window cannot be told
# from the whole; see docs/numerics.md.
ENCODE_FRAMES, RUN_UP = 2 * TILE_FRAMES, 2 * OVERLAP_FRAMES + TEMPORAL
ENCODE_OVERLAP = 128  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What this worker takes. The defaults pass every named size in every shape, at full length."""

    max_pixels: int = 1536 * 1536  # of a frame
    max_seconds: float = float(MAX_SECONDS)
    max_tokens: int | None = None  # video tokens of the larger pass; None = no limit
    max_video_seconds: float = 600.0  # of an existing video


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """What the planner needs to know of a fetched picture."""

    width: int  # pixels, upright
    height: int
    sha256: str  # of the bytes as they came


Pictures = Mapping[str, PictureFacts]  # by name, as in `ltx2.request.asked_pictures`


@dataclass(slots=True)
class Notes:
    """What comes up while deciding."""

    refusals: list[Ltx2Error] = field(default_factory=list[Ltx2Error])
    snaps: list[Snap] = field(default_factory=list[Snap])
    warnings: list[str] = field(default_factory=list[str])

    def snap(self, name: str, asked: float, used: float) -> None:
        """Note a value that was moved."""
        if asked != used:
            self.snaps.append(Snap(name=name, asked=asked, used=used))

    def raise_refusals(self) -> None:
        """Raise one error with every sentence, as `combined` makes it."""
        if self.refusals:
            raise combined(self.refusals)


def combined(refusals: Sequence[Ltx2Error]) -> Ltx2Error:
    """One error with every sentence: of the refusals' own class where they agree, else BadRequest.

    There must be one at least.
    """
    sentences: list[str] = []
    for each in refusals:
        sentences += each.problems if isinstance(each, BadRequest) else [str(each)]
    kinds = {type(each) for each in refusals}
    kind = kinds.pop() if len(kinds) == 1 else BadRequest
    return kind(sentences) if issubclass(kind, BadRequest) else kind("; ".join(sentences))


def frame_size(area: Size, ratio: float) -> Size:
    """A frame of about the same area in another shape (width / height), on the grid of 64."""
    pixels = area.width * area.height
    return Size(
        snap_near(math.sqrt(pixels * ratio), TWO_PASS_GRID),
        snap_near(math.sqrt(pixels / ratio), TWO_PASS_GRID),
    )


def named_size(row: Checkpoint, resolution: str | None, ratio: float) -> Size:
    """The frame of a resolution, or of the checkpoint's default for None.

    16:9 and 9:16 are exact. On the grid of 64 also where one pass runs, so that a name is one size.
    """
    wide = Size(row.width, row.height) if resolution is None else NAMED_SIZES[resolution]
    if ratio == RATIOS["16:9"]:
        return wide
    if ratio == RATIOS["9:16"]:
        return Size(wide.height, wide.width)
    return frame_size(wide, ratio)


def decode_tiles(size: Size) -> DecodePlan:
    """The reference's tiles: 768 pixels along the longer side, the other in proportion, by 32."""
    short = snap_near(TILE * min(size) / max(size), SPATIAL)
    short = max(short, 2 * OVERLAP)  # a tile must be more than its overlaps
    wide = size.width >= size.height
    return DecodePlan(
        tile_width=TILE if wide else short,
        tile_height=short if wide else TILE,
        overlap=OVERLAP,
        tile_frames=TILE_FRAMES,
        overlap_frames=OVERLAP_FRAMES,
    )


def encode_tiles(size: Size) -> DecodePlan:
    """The decoder's tiles with wider seams, and longer windows."""
    tiles = decode_tiles(size)
    return replace(
        tiles,
        overlap=ENCODE_OVERLAP,
        tile_height=max(tiles.tile_height, 2 * ENCODE_OVERLAP),
        tile_width=max(tiles.tile_width, 2 * ENCODE_OVERLAP),
        tile_frames=ENCODE_FRAMES,
        overlap_frames=RUN_UP,
    )


def size_of(
    request: Request,
    row: Checkpoint,
    limits: Limits,
    pictures: Pictures,
    notes: Notes,
    *,
    shrink: int,
) -> Size:
    """The frame: explicit edges snapped down, else a named size in the shape asked for.

    `shrink` is how much smaller than the frame the smallest thing is that a pass reads or makes.
    """
    if request.width is not None and request.height is not None:
        grid = shrink * SPATIAL
        size = Size(snap_down(request.width, grid), snap_down(request.height, grid))
        notes.snap("width", request.width, size.width)
        notes.snap("height", request.height, size.height)
        if request.resolution is not None or request.aspect_ratio != "auto":
            notes.warnings.append("width and height replace resolution and aspect_ratio")
    else:
        size = named_size(row, request.resolution, _ratio(request, pictures, notes))
    pixels = size.width * size.height
    if pixels > limits.max_pixels:
        share = math.sqrt(limits.max_pixels / pixels)
        fits = Size(*(snap_down(int(edge * share), TWO_PASS_GRID) for edge in size))
        notes.refusals.append(
            TooLarge(
                f"{size} has {pixels:,} pixels a frame, this worker takes {limits.max_pixels:,}: "
                f"{fits} fits"
            )
        )
    return size


def _ratio(request: Request, pictures: Pictures, notes: Notes) -> float:
    if request.aspect_ratio != "auto":
        return RATIOS[request.aspect_ratio]
    asked = list(asked_pictures(request))
    for name in asked:
        if name in pictures:
            ratio = pictures[name].width / pictures[name].height
            return min(max(ratio, 1 / WIDEST), WIDEST)
    if asked:
        notes.warnings.append(f"{asked[0]} was not read: the frame's shape is taken as 16:9")
    return RATIOS["16:9"]


def tell_of_cuts(size: Size, pictures: Pictures, used: Collection[str], notes: Notes) -> None:
    """Warn of those among the `used` pictures that have another shape than the frame: each is
    scaled to cover it, and what stands over is cut off.

    A frame of the grid is never quite the picture's shape, so little is told of as nothing.
    """
    for name in used:
        if name not in pictures:
            continue
        picture = Size(pictures[name].width, pictures[name].height)
        wider = picture.width * size.height / (picture.height * size.width)
        lost = 1 - min(wider, 1 / wider)
        if lost > CUT_UNTOLD:
            sides = "left and right" if wider > 1 else "top and bottom"
            notes.warnings.append(
                f"{name} is {picture} and the frame {size}: {lost:.0%} of the picture is cut off, "
                f"{sides}; a picture of the frame's shape is kept whole"
            )


def frames_of(request: Request, row: Checkpoint, limits: Limits, notes: Notes) -> int:
    """Length in frames, 8k + 1. A duration is on the grid where (frames - 1) / fps equals it.

    So at 24 fps every whole second is: s seconds are 24 s + 1 frames. Off the grid the snap says
    what the clip then plays, frames / fps.
    """
    fps = request.fps
    if request.num_frames is not None:
        frames = snap_frames(request.num_frames)
        notes.snap("num_frames", request.num_frames, frames)
        if request.duration is not None:
            notes.warnings.append("num_frames replaces duration")
    else:
        seconds = row.seconds if request.duration is None else request.duration
        frames = frames_for(seconds, fps)
        if not math.isclose(seconds * fps, frames - 1, abs_tol=1e-6):
            notes.snap("duration", seconds, frames / fps)
    longest = frames_for(min(limits.max_seconds, MAX_SECONDS), fps)
    if frames > longest:
        text = f"{frames} frames at {fps} fps play {frames / fps:.1f} s; at most {longest} fit"
        notes.refusals.append(
            TooLarge(f"{text} the {limits.max_seconds:g} s that this worker takes")
            if limits.max_seconds < MAX_SECONDS
            else BadRequest(f"{text} the {MAX_SECONDS} s that the model knows")
        )
    return frames


def check_tokens(size: Size, frames: int, fps: int, limits: Limits, notes: Notes) -> None:
    """Refuse a clip with more video tokens than this worker takes, and say how long it may be.

    `frames` and `fps` are those of the largest pass, twice what was asked for where the temporal
    upscaler doubles them.
    """
    tokens = video_tokens(*size, frames)
    if limits.max_tokens is None or tokens <= limits.max_tokens:
        return
    latents = limits.max_tokens // video_tokens(*size, 1)
    advice = (
        f"{pixel_frames(latents) / fps:.1f} s fit at this size"
        if latents
        else "not one frame of this size fits, a smaller one may"
    )
    notes.refusals.append(
        TooLarge(
            f"{size} for {frames / fps:.1f} s is {tokens:,} video tokens, this worker takes "
            f"{limits.max_tokens:,}: {advice}"
        )
    )
