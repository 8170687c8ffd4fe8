"""Write the embedded checkpoint in Lightricks' file layout, the same bytes everywhere."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import diffusers
import transformers
from accelerate import init_empty_weights
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel, LTX2TextConnectors, LTX2Vocoder
from torch import nn
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    GenerationConfig,
)

from loras import catalog
from pipelines.checkpoints import keys
from pipelines.tiny import fill, sizes, stored
from pipelines.tiny.stored import Stored
from pipelines.tiny.tokenizer import (
    CHARACTERS,
    PICTURE,
    SPECIAL,
    TURN_END,
    vocabulary,
    write_tokenizer,
)

SOURCES = ("build.py", "fill.py", "random_tensors.py", "sizes.py", "stored.py", "tokenizer.py")
STAMP = "tiny.json"  # written last, with the size of every file
_CLASSES: dict[str, type[Any]] = {
    "transformer": LTX2VideoTransformer3DModel,
    "connectors": LTX2TextConnectors,
    "vae": AutoencoderKLLTX2Video,
    "audio_vae": AutoencoderKLLTX2Audio,
    "vocoder": LTX2Vocoder,
}
_EXACT = ("latents_mean", "latents_std")  # stored in float32, as in the released files


def build(folder: Path) -> Path:
    """The checkpoint in `folder`, built if it is not there yet or not whole.

    It appears whole or not at all, also where several processes build it at once. Raises
    FileExistsError for a folder that holds something else, which would be lost.
    """
    if is_built(folder):
        return folder
    _refuse_foreign(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    new, old = working / "new", working / "old"
    try:
        new.mkdir()
        _write(new)
        if not is_built(folder):
            with suppress(FileNotFoundError):
                folder.rename(old)
            new.rename(folder)
    except OSError:
        if not is_built(folder):  # else another process was faster
            raise
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return folder


def is_built(folder: Path) -> bool:
    """Whether `folder` holds this very version, with every file at its full size."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        return (
            stamp["version"] == _version()
            and bool(stamp["files"])
            and all((folder / name).stat().st_size == n for name, n in stamp["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists() or (folder / STAMP).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} holds something else (no {STAMP} in it); name an empty or a new folder"
        )


def _version() -> str:
    """Digest of everything that the files follow from."""
    sources = [Path(__file__).with_name(name).read_bytes() for name in SOURCES]
    facts = (
        sizes.FILES,
        [(entry.id, entry.kind, entry.file) for entry in _loras()],
        diffusers.__version__,
        transformers.__version__,
    )
    return hashlib.sha256(b"".join([*sources, repr(facts).encode()])).hexdigest()


def _loras() -> list[catalog.Entry]:
    return [entry for entry in catalog.entries() if "tiny" in entry.generations]


def _write(folder: Path) -> None:
    parts = {name: _module(name) for name in _CLASSES}
    # Everything but the transformer is the same model in both files.
    shared: dict[str, Stored] = {}
    for name, part in parts.items():
        if name != "transformer":
            shared |= _tensors(name, part, sizes.MODEL_VERSION)
    metadata = {"config": sizes.ORIGINAL, "model_version": sizes.MODEL_VERSION}
    for variant, file in (("dev", sizes.FILES.dev), ("distilled", sizes.FILES.distilled)):
        own = _tensors("transformer", parts["transformer"], variant)
        stored.write(folder / file, {**own, **shared}, metadata)
    for name, file in (
        ("spatial_upscaler", sizes.FILES.spatial_upscaler),
        ("spatial_upscaler_x1.5", sizes.FILES.spatial_upscaler_x1_5),
        ("temporal_upscaler", sizes.FILES.temporal_upscaler),
    ):
        metadata = {"config": sizes.UPSCALERS[name], "model_version": sizes.MODEL_VERSION}
        tensors = _tensors(name, _module(name), sizes.MODEL_VERSION)
        stored.write(folder / str(file), tensors, metadata)
    for entry in _loras():
        _write_lora(folder / entry.file, entry, parts["transformer"])
    _write_text_encoder(folder / sizes.TEXT_ENCODER)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stamp = {
        "version": _version(),
        "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
    }
    (folder / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


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
    return {
        keys.to_original(component, name): Stored(
            fill.values(component, name, tuple(tensor.shape), seed), exact=name in _EXACT
        )
        for name, tensor in module.state_dict().items()
    }


def _write_lora(path: Path, entry: catalog.Entry, transformer: nn.Module) -> None:
    """A LoRA in Lightricks' key format.

    Camera moves and the detailer act on the video stream alone, the distilled one on every layer.
    """
    rank, up = sizes.LORA_RANKS[entry.kind], sizes.LORA_UP[entry.kind]
    tensors: dict[str, Stored] = {}
    for module, layer in _linears(transformer, everything=entry.kind == "distilled"):
        original = keys.to_original("transformer", module).removeprefix(keys.TRANSFORMER_PREFIX)
        stream = f"{sizes.MODEL_VERSION}|{entry.id}|{module}"
        pair = fill.lora(stream, layer.out_features, layer.in_features, rank, up)
        for half, value in pair.items():
            tensors[f"diffusion_model.{original}.{half}.weight"] = Stored(value, exact=False)
    downscale = {"reference_downscale_factor": str(sizes.DETAILER_DOWNSCALE)}
    stored.write(path, tensors, downscale if entry.kind == "detailer" else {})


def _linears(transformer: nn.Module, *, everything: bool) -> Iterator[tuple[str, nn.Linear]]:
    for name, layer in transformer.named_modules():
        video = ".attn1." in name or ".attn2." in name or ".ff." in name
        if isinstance(layer, nn.Linear) and (everything or video):
            yield name, layer


def _write_text_encoder(folder: Path) -> None:
    """Gemma 3 with its tokenizer beside it, as a transformers folder."""
    folder.mkdir()
    write_tokenizer(folder)
    ids: dict[str, Any] = {
        f"{name}_token_id": SPECIAL.index(f"<{name}>") for name in ("pad", "eos", "bos")
    }
    marks: dict[str, Any] = {
        f"{name.removesuffix('_token')}_token_index": vocabulary()[token]
        for name, token in PICTURE.items()
    }
    edge = sizes.GEMMA_VISION["image_size"]
    config = Gemma3Config(
        text_config={**sizes.GEMMA_TEXT, "vocab_size": len(vocabulary()), **ids},
        vision_config=sizes.GEMMA_VISION,
        mm_tokens_per_image=(edge // sizes.GEMMA_VISION["patch_size"]) ** 2,
        architectures=[Gemma3ForConditionalGeneration.__name__],
        dtype="bfloat16",
        tie_word_embeddings=False,  # a language head of its own, so that what it writes varies
        **marks,
    )
    config.save_pretrained(folder)
    Gemma3ImageProcessorPil(size={"height": edge, "width": edge}).save_pretrained(folder)
    ends = [ids["eos_token_id"], vocabulary()[TURN_END]]
    writing: dict[str, Any] = {**ids, "eos_token_id": ends, "top_k": 64, "top_p": 0.95}
    GenerationConfig(**writing, do_sample=True).save_pretrained(folder)
    with init_empty_weights():
        model = Gemma3ForConditionalGeneration(config)
    # Not by save_pretrained: it draws a progress bar.
    tensors = {
        name: fill.values("text_encoder", name, tuple(tensor.shape), sizes.MODEL_VERSION)
        for name, tensor in model.state_dict().items()
    }
    unspoken = [index for token, index in vocabulary().items() if token not in CHARACTERS]
    tensors["lm_head.weight"][unspoken] = 0.0
    stored.write(
        folder / "model.safetensors",
        {_released(name): Stored(values, exact=False) for name, values in tensors.items()},
        {},
    )


def _released(name: str) -> str:
    """A tensor of transformers' Gemma 3 as the released files name it."""
    name = name.removeprefix("model.")
    if name.startswith("language_model."):
        return name.replace("language_model.", "language_model.model.", 1)
    return name
