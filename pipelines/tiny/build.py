"""Write the embedded checkpoint.

Random weights for now, in Lightricks' file layout, the same bytes everywhere.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel, LTX2TextConnectors, LTX2Vocoder
from torch import nn
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from loras import catalog
from pipelines.checkpoints import keys
from pipelines.tiny import sizes, stored
from pipelines.tiny.random_tensors import fan_in, spread, uniform
from pipelines.tiny.stored import Stored
from pipelines.tiny.tokenizer import SPECIAL, vocabulary, write_tokenizer

SOURCES = ("build.py", "random_tensors.py", "sizes.py", "stored.py", "tokenizer.py")
STAMP = "tiny.json"  # written last: a folder with the right stamp is complete
_CLASSES: dict[str, type[Any]] = {
    "transformer": LTX2VideoTransformer3DModel,
    "connectors": LTX2TextConnectors,
    "vae": AutoencoderKLLTX2Video,
    "audio_vae": AutoencoderKLLTX2Audio,
    "vocoder": LTX2Vocoder,
}
_EXACT = ("latents_mean", "latents_std")  # stored in float32, as in the released files


def build(folder: Path) -> Path:
    """The checkpoint in `folder`, built if it is not there yet.

    The folder appears whole or not at all.
    """
    if is_built(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(working)
        if folder.exists() and not is_built(folder):
            shutil.rmtree(folder)
        working.chmod(0o755)  # mkdtemp makes it private
        if not folder.exists():
            working.rename(folder)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return folder


def is_built(folder: Path) -> bool:
    """Whether `folder` holds this very version."""
    stamp = folder / STAMP
    return stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == _stamp()


def _stamp() -> dict[str, str]:
    """What the files follow from: the sizes and the code that fills them."""
    sources = [Path(__file__).with_name(name) for name in SOURCES]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources))
    return {"model_version": sizes.MODEL_VERSION, "sources": digest.hexdigest()}


def _write(folder: Path) -> None:
    shared = [name for name in _CLASSES if name != "transformer"]
    parts = {name: _module(name) for name in _CLASSES}
    tensors: dict[str, Stored] = {}
    for name in shared:
        tensors |= _tensors(name, parts[name], sizes.MODEL_VERSION)
    metadata = {"config": sizes.ORIGINAL, "model_version": sizes.MODEL_VERSION}
    dev = _tensors("transformer", parts["transformer"], "dev")
    stored.write(folder / sizes.FILES.dev, {**dev, **tensors}, metadata)
    # Everything but the transformer is the same model, so it is not stored twice.
    distilled = _tensors("transformer", parts["transformer"], "distilled")
    stored.write(folder / sizes.FILES.distilled, distilled, metadata)
    for name, file in (
        ("spatial_upscaler", sizes.FILES.spatial_upscaler),
        ("temporal_upscaler", sizes.FILES.temporal_upscaler),
    ):
        metadata = {"config": sizes.UPSCALERS[name], "model_version": sizes.MODEL_VERSION}
        stored.write(folder / file, _tensors(name, _module(name), sizes.MODEL_VERSION), metadata)
    for entry in catalog.entries():
        if "tiny" in entry.generations:
            _write_lora(folder / entry.file, entry.kind, entry.id, parts["transformer"])
    _write_text_encoder(folder / sizes.TEXT_ENCODER)
    (folder / STAMP).write_text(json.dumps(_stamp(), indent=1) + "\n", encoding="utf-8")


def _module(name: str) -> nn.Module:
    """A module without memory: only its names and shapes are wanted."""
    with init_empty_weights():
        if name in sizes.UPSCALERS:
            options = {**sizes.UPSCALERS[name]}
            scale, rational = options.pop("spatial_scale"), options.pop("rational_resampler")
            return LTX2LatentUpsamplerModel(
                **options, rational_spatial_scale=scale, use_rational_resampler=rational
            )
        return _CLASSES[name](**sizes.MODULES[name])


def _tensors(component: str, module: nn.Module, seed: str) -> dict[str, Stored]:
    """Lightricks' name and value of every tensor of a component."""
    decoder = component == "vae"
    out = {}
    for name, tensor in module.state_dict().items():
        fill = _decoder_value if decoder and name.startswith("decoder.") else _value
        values = fill(name, tuple(tensor.shape), f"{seed}|{component}|{name}")
        out[keys.to_original(component, name)] = Stored(values, exact=name in _EXACT)
    return out


def _value(name: str, shape: tuple[int, ...], stream: str) -> np.ndarray:
    """A random tensor that keeps activations near unit size: a clip is neither flat nor clipped."""
    leaf = name.rpartition(".")[2]
    if leaf == "latents_std":
        value = 0.5 + uniform(stream, shape[0])
    elif leaf == "latents_mean":
        value = 0.2 * spread(stream, shape)
    elif "norm" in name and leaf == "weight":
        value = np.ones(shape)
    elif leaf in ("bias", "scale_shift_table") or "scale_shift_table" in name:
        value = 0.1 * spread(stream, shape)
    elif "learnable_registers" in name:
        value = spread(stream, shape)
    else:
        value = spread(stream, shape) / np.sqrt(fan_in(shape))
    return value.astype(np.float32)


def _decoder_value(name: str, shape: tuple[int, ...], stream: str) -> np.ndarray:
    """A random tensor of the video decoder that paints soft patches.

    Independent values would paint white noise. Kernels are smooth, and the pixels that one cell is
    spread over share their weights.
    """
    spread_over = 16 if name.startswith("decoder.conv_out.") else 8 if ".upsamplers." in name else 1
    rows = shape[0] // spread_over
    if len(shape) == 1:
        value = _value(name, (rows,), stream)
    else:
        smooth = np.array((0.25, 0.5, 0.25))
        kernel = np.einsum("t,h,w->thw", smooth, smooth, smooth)
        mixing = spread(stream, (rows, shape[1])) / np.sqrt(shape[1])
        value = np.einsum("oi,thw->oithw", mixing, kernel).astype(np.float32)
    return np.repeat(value, spread_over, axis=0)


def _write_lora(path: Path, kind: str, lora: str, transformer: nn.Module) -> None:
    """A LoRA in Lightricks' key format.

    Camera moves act on the video stream alone, the distilled one on every layer.
    """
    rank = sizes.LORA_RANKS[kind]
    tensors = {}
    for module, layer in _linears(transformer, everything=kind == "distilled"):
        name = "diffusion_model." + keys.to_original("transformer", module).removeprefix(
            keys.TRANSFORMER_PREFIX
        )
        down = spread(f"{lora}|{module}|A", (rank, layer.in_features)) / np.sqrt(layer.in_features)
        up = 0.1 * spread(f"{lora}|{module}|B", (layer.out_features, rank))
        for suffix, value in (("lora_A", down), ("lora_B", up)):
            tensors[f"{name}.{suffix}.weight"] = Stored(value.astype(np.float32), exact=False)
    metadata = (
        {"reference_downscale_factor": str(sizes.DETAILER_DOWNSCALE)} if kind == "detailer" else {}
    )
    stored.write(path, tensors, metadata)


def _linears(transformer: nn.Module, *, everything: bool) -> Iterator[tuple[str, nn.Linear]]:
    for name, layer in transformer.named_modules():
        video = ".attn1." in name or ".attn2." in name or ".ff." in name
        if isinstance(layer, nn.Linear) and (everything or (video and ".audio_" not in name)):
            yield name, layer


def _write_text_encoder(folder: Path) -> None:
    """Gemma 3 with the tokenizer beside it, as transformers saves them."""
    folder.mkdir()
    write_tokenizer(folder)
    text = {
        "hidden_size": sizes.TEXT_WIDTH,
        "intermediate_size": 2 * sizes.TEXT_WIDTH,
        "num_hidden_layers": sizes.TEXT_LAYERS,
        "num_attention_heads": sizes.TEXT_HEADS,
        "num_key_value_heads": sizes.TEXT_HEADS,
        "head_dim": sizes.TEXT_WIDTH // sizes.TEXT_HEADS,
        "vocab_size": len(vocabulary()),
        "max_position_embeddings": sizes.MAX_TOKENS,
        "pad_token_id": SPECIAL.index("<pad>"),
        "eos_token_id": SPECIAL.index("<eos>"),
        "bos_token_id": SPECIAL.index("<bos>"),
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    with init_empty_weights():
        model = Gemma3ForConditionalGeneration(config)
    state = {
        name: torch.from_numpy(
            _value(name, tuple(tensor.shape), f"{sizes.MODEL_VERSION}|text|{name}")
        )
        for name, tensor in model.state_dict().items()
    }
    # Tied, as in every Gemma.
    state["lm_head.weight"] = state["model.language_model.embed_tokens.weight"]
    model.to_empty(device="cpu")
    model.load_state_dict(state)
    model.bfloat16().save_pretrained(folder)
