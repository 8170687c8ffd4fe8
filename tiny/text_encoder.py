"""The text encoder: a small Gemma 3 whose weights are drawn once and never trained.

Random features are enough to tell the grammar's captions apart: every word is a token of its own,
and the connectors read the embeddings beside the layers. A word's spellings share an embedding.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    GenerationConfig,
)

from tiny import sizes
from tiny.tokenizer import (
    CHARACTERS,
    PICTURE,
    SPECIAL,
    TURN_END,
    spellings,
    vocabulary,
    write_tokenizer,
)
from tiny.words import words

SEED = 1
CHOICE = 0.5  # size of the language head: at 1 it would write one letter over and over


def write_text_encoder(folder: Path) -> None:
    """Gemma 3 with its tokenizer beside it, as a transformers folder."""
    folder.mkdir(parents=True)
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
    # Not by save_pretrained: it draws a progress bar.
    tensors = {
        _released(name): value.to(torch.bfloat16).contiguous()
        for name, value in _weights(Gemma3ForConditionalGeneration(config)).items()
    }
    path = folder / "model.safetensors"
    save_file(tensors, path, {"format": "pt"})
    path.chmod(0o644)  # as in `tiny.export`


def same_words(one: Path, other: Path) -> bool:
    """Whether two such folders read a prompt alike; the tower for pictures does not count."""
    said = [(folder / "tokenizer.json").read_bytes() for folder in (one, other)]
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return (
        said[0] == said[1]
        and set(first) == set(second)
        and all(
            torch.equal(value, second[name])
            for name, value in first.items()
            if name.startswith("language_model.")
        )
    )


@torch.no_grad()
def _weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """Every tensor of the model by its name: outputs as large as inputs, norms as they are, biases
    zero. The class draws some of these anew each time.
    """
    draw = torch.Generator("cpu").manual_seed(SEED)
    tensors: dict[str, Tensor] = {}
    for name, value in sorted(model.state_dict().items()):
        if value.ndim < 2:
            kept = torch.zeros_like(value) if name.endswith(".bias") else value
            tensors[name] = kept.cpu()
            continue
        drawn = torch.randn(value.shape, generator=draw, device="cpu")
        tensors[name] = drawn / value[0].numel() ** 0.5
        if name.endswith("embed_tokens.weight"):
            # Each row as long as 1: the class multiplies by the root of the width.
            for word in words():
                first, *others = (vocabulary()[way] for way in spellings(word))
                tensors[name][others] = tensors[name][first].clone()
        elif name == "lm_head.weight":
            unspoken = [index for token, index in vocabulary().items() if token not in CHARACTERS]
            tensors[name] *= CHOICE
            tensors[name][unspoken] = 0.0
    return tensors


def _released(name: str) -> str:
    """A tensor of transformers' Gemma 3 as the released files name it."""
    name = name.removeprefix("model.")
    if name.startswith("language_model."):
        return name.replace("language_model.", "language_model.model.", 1)
    return name
