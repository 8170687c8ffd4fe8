"""An engine on drawn weights: a checkpoint's whole architecture without its files.

What measurements need of the layers below it is here, too.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ltx2.fit import RESIDENCIES, Fit, find_residency, room_for
from ltx2.levers import levers_for
from ltx2.planner import find_checkpoint
from ltx2.settings import Settings
from pipelines.checkpoints.files import Weights, find
from pipelines.checkpoints.load import without_weights
from pipelines.checkpoints.quantise import Quantisation
from pipelines.checkpoints.text_encoder import empty_text_encoder, load_tokenizer
from pipelines.components import Components
from pipelines.drawn import PARTS, Drawn
from pipelines.memory.outline import outlines_of
from pipelines.memory.released import released_outlines
from pipelines.models import Checkpoint
from pipelines.stages.pixels import frames_on_host
from pipelines.tiny import WEIGHTS

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from ltx2.engine import Engine

MODULES = tuple(name for name in PARTS if name not in ("tokenizer", "distilled_lora"))
TOY_RANK = 16
SHARD = "5GB"


def drawn_engine(
    checkpoint: str, *, device: torch.device, settings: Settings, scratch: Path, seed: int = 0
) -> "Engine":
    """An engine that runs every plan of a checkpoint's generation, on weights that are drawn.

    What it makes is noise; what that takes is what the released weights take. `scratch` is a folder
    for LoRAs, which are drawn when a plan has one. Raises BadRequest for an unknown checkpoint.
    """
    from ltx2.engine import Engine, default_dtype

    row = find_checkpoint(checkpoint)
    dtype = default_dtype(device, settings)
    quantise: dict[str, Quantisation] = {
        "transformer": settings.transformer_quantisation,
        "text_encoder": settings.text_encoder_quantisation,
    }
    if row.embedded:
        outlines = outlines_of(find(WEIGHTS, row), dtype=dtype, quantisation=quantise)
    else:
        outlines = released_outlines(row.generation, dtype=dtype, quantisation=quantise)
    components = Drawn(
        row.generation,
        device=device,
        dtype=dtype,
        scratch=scratch,
        seed=seed,
        nbytes=sum(outlines.size(name, "distilled").whole for name in MODULES),
        quantise=quantise,
        levers=levers_for(settings, device, dtype),
        **(_embedded(row) if row.embedded else {}),
    )
    told = settings.residency
    fit = Fit(
        components.weights,
        outlines,
        row,
        find_adapter=components.find_adapter,
        residencies=RESIDENCIES if told is None else (told,),
        levers=components.levers,
    )
    room = room_for(components, settings.device_memory)
    residency, reason = find_residency(fit, components.weights, row, room, told)
    components.live_as(residency)
    return Engine(
        components,
        checkpoint=row,
        reason="its weights are drawn",
        residency_reason=reason,
        settings=settings,
        fit=fit,
    )


def written_transformer(engine: "Engine", folder: Path, blocks: int | None = None) -> Components:
    """An engine's transformer as files in a folder, and components that read them from there.

    In diffusers' layout, in shards as they are published. `blocks` of it, where memory or disk
    holds no more: the engine's own is then not drawn.
    """
    components: Any = engine.components
    transformer: Any = (
        components.part("transformer:distilled") if blocks is None else components.shortened(blocks)
    )
    transformer.save_pretrained(folder, max_shard_size=SHARD)
    weights = Weights(
        root=folder,
        generation=engine.checkpoint.generation,
        layout="diffusers",
        parts={"transformer:distilled": (folder,)},
    )
    return Components(weights, device=engine.components.device, dtype=engine.components.dtype)


def decoded_chunk(pixels: torch.Tensor) -> "np.ndarray":
    """A decoder's pixels (1, 3, n, height, width) in -1..1, as an engine hands them on:

    uint8 (n, height, width, 3) in host memory. Raises pipelines.values.NonFinite.
    """
    return frames_on_host(pixels)[0]


def _embedded(row: Checkpoint) -> dict[str, Any]:
    """The embedded checkpoint's architecture, which its own headers tell."""
    weights = find(WEIGHTS, row)

    def build(component: str) -> "nn.Module":
        if component == "text_encoder":
            return empty_text_encoder(weights.files(component)[0])
        return without_weights(weights, component)

    tokens = load_tokenizer(weights.files("tokenizer")[0]).model_max_length
    return {"build": build, "tokens": tokens, "rank": TOY_RANK}
