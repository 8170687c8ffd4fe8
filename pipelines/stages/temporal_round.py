"""A temporal round: a clip with twice as many frames is refined in tiles between known pictures.

LTX-2.5 only: the pictures at the tiles' ends are ones that the model made as stills in the passes
before, and in each tile it makes new ones halfway between them.
"""

from dataclasses import replace

import torch

from pipelines.components import Components
from pipelines.geometry import TEMPORAL, pixel_frames
from pipelines.plan import Condition, RoundPlan, Tile
from pipelines.stages.condition import place
from pipelines.stages.denoise import denoise
from pipelines.values import Inputs, Latents, Placed, Progress, Prompts


def temporal_round(
    model: Components,
    plan: RoundPlan,
    latents: Latents,
    prompts: Prompts,
    inputs: Inputs,
    *,
    noise: torch.Generator,
    progress: Progress,
) -> Latents:
    """Refine `latents`, upscaled in time, whose `slots` are the known pictures in order.

    Starts are drawn from `noise`, tile after tile; the ancestral noise has a seed per tile. The
    result has no slots: it is a finished clip.
    """
    if latents.slots is None:
        raise ValueError("a temporal round needs the pictures that the passes before it made")
    pieces = []
    for number, tile in enumerate(plan.tiles):
        picture = {frame: latents.slots[:, :, i : i + 1] for i, frame in enumerate(plan.known)}
        begin = tile.start * TEMPORAL
        anchors = [
            Placed(
                latent=picture[frame],
                strength=plan.anchor_strength,
                frame=frame - begin,
                append=True,
            )
            for frame in tile.anchors
        ]
        part = replace(
            plan.denoise,
            frames=pixel_frames(tile.end - tile.start),
            slots=tuple(frame - begin for frame in tile.slots),
            conditions=within(plan.denoise.conditions, tile),
        )
        video = latents.video[:, :, tile.start : tile.end]
        seeds = [min(round(frame / TEMPORAL), video.shape[2] - 1) for frame in part.slots]
        refined = denoise(
            model,
            part,
            prompts,
            stage="round",
            noise=noise,
            step_noise=torch.Generator().manual_seed(plan.seed + number),
            init=Latents(
                video=video, audio=latents.audio, slots=video[:, :, seeds] if seeds else None
            ),
            placed=(*place(model, part, inputs), *anchors),
            progress=progress,
        )
        pieces.append(refined.video[:, :, tile.drop :])
    return Latents(video=torch.cat(pieces, dim=2), audio=latents.audio)


def within(conditions: tuple[Condition, ...], tile: Tile) -> tuple[Condition, ...]:
    """The pictures of a tile, by the tile's own frames."""
    first, last = tile.start * TEMPORAL, (tile.end - 1) * TEMPORAL
    return tuple(
        replace(condition, frame=condition.frame - first)
        for condition in conditions
        if first <= condition.frame <= last
    )
