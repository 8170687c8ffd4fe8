"""Component folders: diffusers' layout and the text encoder of transformers. No torch."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.checkpoints.headers import CheckpointError, read_header
from pipelines.models import LTX_2, LTX_2_3, LTX_2_5, Checkpoint, Generation

Parts = dict[str, tuple[Path, ...]]

# model_type of the text encoders that can be loaded -> family, as in Generation.text_encoder.
TEXT_ENCODERS = {
    "gemma3": "gemma3",
    "gemma3_text": "gemma3",
    "gemma4_unified": "gemma4",
    "gemma4_unified_text": "gemma4",
}
# Subfolder of a diffusers repository -> component.
_SUBFOLDERS = {
    "connectors": "connectors",
    "vae": "vae",
    "audio_vae": "audio_vae",
    "vocoder": "vocoder",
    "latent_upsampler": "spatial_upscaler",
    "duration_head": "duration_head",
    "prompt_enhancer": "enhancer",
    "diffusion_decoder": "diffusion_decoder",
}
REFINE_SCALE = 2.0  # between the base pass and the refine pass


@dataclass(slots=True)
class Survey:
    """What was found. `named` are the parts whose files the wanted row names, `unusable` says of
    the files that serve no part why they cannot.
    """

    parts: Parts = field(default_factory=dict)
    named: Parts = field(default_factory=dict)
    generation: Generation | None = None
    unusable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderFacts:
    """What a text encoder's configuration says."""

    path: Path
    model_type: str
    family: str
    width: int
    layers: int
    text: dict[str, Any]  # configuration of the language model
    version: str | None = None  # LTX's own name of a tuned Gemma


def subfolders(root: Path) -> list[Path]:
    return sorted(
        folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")
    )


def text_encoder_folder(root: Path, row: Checkpoint | None, wanted: Generation | None) -> Parts:
    """A transformers Gemma below `root`, with its tokenizer inside or in the folder `tokenizer`
    beside it.
    """
    found: dict[str, Parts] = {}
    for folder in subfolders(root):
        if not (folder / "config.json").is_file() or not is_complete(folder):
            continue
        family = TEXT_ENCODERS.get(read_json(folder / "config.json").get("model_type", ""))
        if family is None or (wanted and family != wanted.text_encoder):
            continue
        tokenizer = next((one for one in (folder, root / "tokenizer") if _has_tokenizer(one)), None)
        found[folder.name] = {"text_encoder": (folder,)} | (
            {"tokenizer": (tokenizer,)} if tokenizer else {}
        )
    if len(found) > 1:
        repository = row.files.text_encoder_repository if row else None
        usual = [
            name
            for name in ("text_encoder", (repository or "").rpartition("/")[2])
            if name in found
        ]
        if len(usual) != 1:
            raise CheckpointError(
                f"{root}: several folders could be the text encoder: "
                f"{', '.join(sorted(found))}; keep one"
            )
        return found[usual[0]]
    return next(iter(found.values()), {})


def survey_diffusers(root: Path, row: Checkpoint | None) -> Survey:
    """A folder in diffusers' format.

    2.5 has `transformer/` = distilled and `transformer_full/` = dev. Where there is one transformer
    only, the folder's or the repository's name tells: distilled where it contains the word, else
    dev, as in the repositories of 2.0 and 2.3.
    """
    parts: Parts = {}
    for name, component in _SUBFOLDERS.items():
        if is_complete(root / name):
            parts[component] = (root / name,)
    unusable: list[str] = []
    if "spatial_upscaler" in parts:
        folder = root / "latent_upsampler"
        config = read_json(folder / "config.json")
        scale = config.get("rational_spatial_scale", REFINE_SCALE)
        if config.get("use_rational_resampler") and scale != REFINE_SCALE:
            del parts["spatial_upscaler"]
            unusable.append(wrong_scale(folder, scale))
    if is_complete(root / "text_encoder"):
        parts["text_encoder"] = (root / "text_encoder",)
    tokenizer = next(
        (one for one in (root / "tokenizer", root / "text_encoder") if _has_tokenizer(one)), None
    )
    if tokenizer:
        parts["tokenizer"] = (tokenizer,)
    half = root / "transformer" / "config.json"
    full = root / "transformer_full" / "config.json"
    known = next((one for one in (half, full) if one.is_file()), None)
    generation = _diffusers_generation(known) if known else (row.generation if row else None)
    named_distilled = any("distilled" in part.lower() for part in root.absolute().parts[-4:])
    two = full.is_file() or (generation == LTX_2_5)
    if is_complete(root / "transformer"):
        parts["transformer:distilled" if two or named_distilled else "transformer:dev"] = (
            root / "transformer",
        )
    if is_complete(root / "transformer_full"):
        parts["transformer:dev"] = (root / "transformer_full",)
    return Survey(parts=parts, generation=generation, unusable=unusable)


def wrong_scale(path: Path, scale: float) -> str:
    """Why a spatial upscaler cannot stand between the two passes."""
    return f"{path} enlarges by {scale:g}, the refine pass needs a spatial upscaler of 2"


def _diffusers_generation(config: Path) -> Generation:
    """By what only a generation has: the first-frame marker (2.5), prompt modulation (2.3)."""
    content = read_json(config)
    if content.get("use_keyframes_abs_pos_embedding"):
        return LTX_2_5
    return LTX_2_3 if content.get("cross_attn_mod") else LTX_2


def is_complete(folder: Path) -> bool:
    """Whether a component's folder has its configuration and every shard its index names."""
    if not (folder / "config.json").is_file():
        return False
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if indexes:
        shards = set(read_json(indexes[0]).get("weight_map", {}).values())
        return bool(shards) and all((folder / shard).is_file() for shard in shards)
    return any(folder.glob("*.safetensors"))


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))


def text_encoder_facts(path: Path) -> TextEncoderFacts:
    """Kind and size of a text encoder: a transformers folder, or 2.5's single file. Raises
    CheckpointError for others.
    """
    config = (
        read_json(path / "config.json") if path.is_dir() else read_header(path).json("gemma_config")
    )
    kind = str(config.get("model_type", ""))
    if kind not in TEXT_ENCODERS:
        raise CheckpointError(
            f"{path} is no text encoder of LTX-2: its model_type is {kind!r}, accepted are "
            f"{', '.join(TEXT_ENCODERS)}"
        )
    text: dict[str, Any] = config.get("text_config", config)
    if "hidden_size" not in text or "num_hidden_layers" not in text:
        raise CheckpointError(f"{path}: its configuration lacks hidden_size or num_hidden_layers")
    return TextEncoderFacts(
        path=path,
        model_type=kind,
        family=TEXT_ENCODERS[kind],
        width=text["hidden_size"],
        layers=text["num_hidden_layers"],
        text=text,
        version=config.get("gemma_version"),
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises CheckpointError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return content
