"""The smallest files that are recognised as a checkpoint: right headers, next to no tensors."""

import json
import struct
from pathlib import Path

from pipelines.models import Checkpoint

GEMMA_NAME = "gemma-3-12b-it-qat-q4_0-unquantized"
WHOLE_MODEL = (
    "model.diffusion_model.patchify_proj.weight",
    "model.diffusion_model.video_embeddings_connector.learnable_registers",
    "text_embedding_projection.aggregate_embed.weight",
    "vae.decoder.conv_in.conv.weight",
    "audio_vae.decoder.conv_in.conv.weight",
    "vocoder.conv_pre.weight",
)


def safetensors(path: Path, names: tuple[str, ...], **metadata: str) -> Path:
    """A safetensors file with these tensors, one float each."""
    header = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}
        for i, name in enumerate(names)
    }
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4 * len(names)))
    return path


def originals(folder: Path, row: Checkpoint, *modes: str) -> Path:
    """Lightricks' files of these modes, without the text encoder."""
    version = f"{row.generation.name}.0"
    if "fast" in modes:
        safetensors(folder / row.files.distilled, WHOLE_MODEL, model_version=version)
    if "pro" in modes:
        safetensors(folder / row.files.dev, WHOLE_MODEL, model_version=version)
        lora = "diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight"
        safetensors(folder / row.files.distilled_lora, (lora,))
    upscaler = ("initial_conv.weight", "final_conv.weight")
    safetensors(folder / row.files.spatial_upscaler, upscaler)
    return folder


def text_encoder(folder: Path) -> Path:
    """A Gemma 3 as far as headers and configuration go, in two shards."""
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for shard in shards:
        safetensors(folder / shard, ("weight",))
    files = {
        "config.json": {
            "model_type": "gemma3",
            "text_config": {"hidden_size": 3840, "num_hidden_layers": 48},
        },
        "tokenizer.json": {},
        "model.safetensors.index.json": {"weight_map": {"a": shards[0], "b": shards[1]}},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def hub_snapshot(cache: Path, repository: str, commit: str = "0" * 40) -> Path:
    """The folder of a repository's snapshot in a hub cache, named by its `main`."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    path = folder / "snapshots" / commit
    path.mkdir(parents=True, exist_ok=True)
    return path
