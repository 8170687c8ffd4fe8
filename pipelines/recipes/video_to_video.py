"""Video to video: an existing clip is encoded, [upscaled], [refined], [detailed] and decoded."""

from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction

import numpy as np
import torch

from pipelines.components import Components
from pipelines.geometry import pixel_frames
from pipelines.plan import RestorePlan
from pipelines.stages.decode import decode_video, tile_count
from pipelines.stages.denoise import AUDIO_MEL_BINS
from pipelines.stages.detail import detail
from pipelines.stages.encode import encode_spans, encode_video
from pipelines.stages.prompt import encode_prompts
from pipelines.stages.upsample_long import upsample_long
from pipelines.stages.windows import in_windows
from pipelines.values import Clip, Latents, Progress


def run(
    model: Components, plan: RestorePlan, frames: Generator[np.ndarray], progress: Progress
) -> Clip:
    """The graph from a source's frames, uint8 (n, h, w, 3) in chunks, to a lazily decoded clip.

    `frames` is used up and closed. No pass hears a sound, and the clip has none.
    """
    prompts = {}
    if plan.passes:
        with progress.stage("prompt"):
            prompts = encode_prompts(model, plan)
    latents = _encoded(model, plan, frames, progress)
    for upscaler in plan.upscalers:
        with progress.stage("upsample"):
            latents = upsample_long(model, latents, upscaler)
    length = latents.video.shape[2]
    if plan.refine:
        with progress.stage("refine", plan.refine.steps(length)):
            latents = in_windows(
                model, plan.refine, latents, prompts["refine"], stage="refine", progress=progress
            )
    if plan.detail:
        with progress.stage("detail", plan.detail.steps(length)):
            latents = detail(
                model, plan.detail, latents, plan.decode, prompts["detail"], progress=progress
            )
    warnings: list[str] = []
    decoded = decode_video(model, latents.video, plan.decode, warnings)
    return Clip(
        frames=cut(decoded, plan.width, plan.height, plan.num_frames),
        chunks=tile_count(pixel_frames(length), plan.decode),
        width=plan.width,
        height=plan.height,
        num_frames=plan.num_frames,
        fps=Fraction(plan.rate),
        warnings=warnings,
    )


def _encoded(
    model: Components, plan: RestorePlan, frames: Generator[np.ndarray], progress: Progress
) -> Latents:
    source = plan.source
    size = (source.padded_width, source.padded_height)
    windows = encode_spans(source.padded_frames, plan.encode)
    with progress.stage("encode", len(windows)), closing(frames):
        padding = padded(frames, *size, source.padded_frames)
        video = encode_video(
            model,
            padding,
            frames=source.padded_frames,
            width=size[0],
            height=size[1],
            tiles=plan.encode,
            progress=progress,
        )
    # No pass of an existing clip makes or reads a sound.
    silence = torch.zeros(1, 1, 1, AUDIO_MEL_BINS, device=video.device)
    return Latents(video=video, audio=silence)


def padded(
    chunks: Iterator[np.ndarray], width: int, height: int, frames: int
) -> Iterator[np.ndarray]:
    """The same frames with the last column, the last row and the last frame repeated."""
    last: np.ndarray | None = None
    for chunk in chunks:
        below, beside = height - chunk.shape[1], width - chunk.shape[2]
        filled = np.pad(chunk, ((0, 0), (0, below), (0, beside), (0, 0)), mode="edge")
        frames -= len(filled)
        last = filled[-1:]
        yield filled
    for _ in range(frames):
        if last is not None:
            yield last


def cut(
    chunks: Generator[np.ndarray], width: int, height: int, frames: int
) -> Generator[np.ndarray]:
    """The first `frames` frames without what was added to their right and below.

    Twice the frames of a clip are one more than lie between its first and its last: the last is
    shown twice where the padding does not hold it.
    """
    last: np.ndarray | None = None
    with closing(chunks):
        for chunk in chunks:
            kept = chunk[:frames, :height, :width]
            frames -= len(kept)
            if len(kept):
                last = kept[-1:]
                yield kept
    if frames == 1 and last is not None:
        yield last
