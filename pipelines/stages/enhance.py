"""A prompt rewritten by a language model, as each generation's reference does it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.pipelines.ltx2 import utils as texts
from diffusers.pipelines.ltx2.prompt_enhancement import clean_response
from PIL.Image import Resampling
from torch import nn
from transformers import StoppingCriteria, StoppingCriteriaList

from pipelines.components import Components
from pipelines.models import Enhancer
from pipelines.residency import home
from pipelines.values import Progress

if TYPE_CHECKING:
    from PIL.Image import Image

WORKING = 1.3  # what a model of its own takes of the device while it writes, next to its weights
PICTURE_EDGE = 896  # pixels of the longer edge of the picture that the model is shown
# What the model is told, without and with a picture; diffusers ships the reference's texts.
INSTRUCTIONS: dict[str, tuple[str, str]] = {
    "text_encoder": (texts.T2V_DEFAULT_SYSTEM_PROMPT, texts.I2V_DEFAULT_SYSTEM_PROMPT),
    "enhancer": (texts.LTX2_5_T2V_DEFAULT_SYSTEM_PROMPT, texts.LTX2_5_I2V_DEFAULT_SYSTEM_PROMPT),
}
# Control characters but tab and newline, and the sign of a character that the last token cut.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffd]")


class NothingWritten(RuntimeError):
    """The language model's answer has no words."""


@torch.inference_mode()
def enhance(
    model: Components,
    prompt: str,
    *,
    seed: int,
    picture: "Image | None" = None,
    progress: Progress | None = None,
) -> str:
    """The prompt as the checkpoint's language model rewrites it. Equal seeds give equal texts.

    `picture` is the clip's first one, upright RGB. A model of its own is freed afterwards; the
    state of the random generators is as it was. `progress` gets a step a token, where it may stop
    the run. Raises NothingWritten for an answer without words.
    """
    recipe = model.weights.generation.enhancer
    with model.using("conversation") as conversation:
        pictured = picture is not None
        inputs = conversation.inputs(
            INSTRUCTIONS[recipe.part][pictured],
            f"User Raw Input Prompt: {prompt}." if pictured else f"user prompt: {prompt}",
            None if picture is None else shown(picture),
        )
    if recipe.part == "enhancer" and model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        make_room(model, WORKING * weight_bytes(conversation.files.model), free)
    try:
        with model.using(recipe.part) as writer, own_draws(model.device, seed):
            ids = writer.generate(
                **{name: value.to(model.device) for name, value in inputs.items()},
                **options(recipe),
                stopping_criteria=StoppingCriteriaList(
                    [] if progress is None else [_EachToken(progress)]
                ),
            )
    finally:
        if recipe.part == "enhancer":
            model.drop("enhancer")
    text = cleaned(conversation.text(ids[0, inputs["input_ids"].shape[1] :]))
    if not text:
        raise NothingWritten("the language model wrote no words")
    return text


def make_room(model: Components, needed: float, free: int) -> None:
    """Let go of the parts that lie idle on the device where `needed` bytes are more than are free.

    They load again for the clip, when the model that writes is gone.
    """
    if needed <= free:
        return
    for name in model.held:
        if home(model.residency, name) == "device" and isinstance(model.part(name), nn.Module):
            model.drop(name)


def weight_bytes(folder: Path) -> int:
    """Bytes of the weights in a transformers folder."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def options(recipe: Enhancer) -> dict[str, Any]:
    """A recipe as arguments of transformers' `generate`."""
    if recipe.temperature is None:
        # The model's own numbers of drawing, which greedy writing has no use for.
        drawing: dict[str, Any] = dict.fromkeys(("temperature", "top_k", "top_p"))
    else:
        drawing = {"temperature": recipe.temperature}
    return {
        "do_sample": recipe.temperature is not None,
        "max_new_tokens": recipe.new_tokens,
        "no_repeat_ngram_size": recipe.no_repeat,
        **drawing,
    }


def shown(picture: "Image") -> "Image":
    """A picture at the size that the language model is shown, smaller ones enlarged."""
    scale = PICTURE_EDGE / max(picture.size)
    width, height = (max(1, int(edge * scale)) for edge in picture.size)
    return picture.convert("RGB").resize((width, height), Resampling.BICUBIC)


def cleaned(text: str) -> str:
    """An answer as a prompt: plain quotes, nothing before the first letter; "" without letters."""
    words = clean_response(_UNPRINTABLE.sub("", text)).strip()
    return words if any(character.isalpha() for character in words) else ""


@contextmanager
def own_draws(device: torch.device, seed: int) -> Iterator[None]:
    """Global random generators that start at `seed`, and are put back as they were.

    transformers draws from these and takes no other.
    """
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        # Not torch.manual_seed, which would also reset GPUs that are not put back.
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


class _EachToken(StoppingCriteria):
    """Reports every token; never stops by itself, but the report may raise."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ANN401, ARG002 - the library's signature
        self._progress.step()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
