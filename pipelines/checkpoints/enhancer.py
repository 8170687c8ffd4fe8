"""The model that rewrites prompts, and how a conversation with a picture becomes its inputs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import (
    AutoTokenizer,
    Gemma3ImageProcessorPil,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessorPil,
)

from pipelines.checkpoints.enhancer_files import EnhancerFiles, enhancer_files
from pipelines.checkpoints.files import Weights
from pipelines.checkpoints.headers import CheckpointError
from pipelines.checkpoints.text_encoder import load_folder

if TYPE_CHECKING:
    from PIL.Image import Image

ALIGNMENT = 8  # tokens; by the reference, conversations are padded on the left to a multiple
# The transformers library prepares pictures in several ways that differ in rounding; these are the
# same on every machine.
_PICTURES: dict[str, type[Any]] = {
    "gemma3": Gemma3ImageProcessorPil,
    "gemma4": Gemma4ImageProcessorPil,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What turns an instruction, a wish and a picture into inputs of a model, and ids into text."""

    files: EnhancerFiles
    tokenizer: Any
    pictures: Any | None  # None: the model sees none

    def inputs(self, instruction: str, wish: str, picture: "Image | None") -> dict[str, Tensor]:
        """Arguments of the model's `generate`: ids and mask (1, tokens), and those of the picture.

        Raises CheckpointError for a picture where the model sees none.
        """
        seen = {} if picture is None else self._seen(picture)
        count = seen.pop("num_soft_tokens_per_image", None)
        text = self._spoken(instruction, wish, pictured=picture is not None)
        if picture is not None:
            placeholder, expansion = self._placeholder(
                self.files.picture_tokens if count is None else int(count[0])
            )
            text = text.replace(placeholder, expansion, 1)
        # The template has a leading BOS and Gemma 3's tokenizer adds another: so has the reference.
        ids = self.tokenizer(text, return_tensors="pt", verbose=False)["input_ids"]
        tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if picture is not None:
            # A picture's tokens see one another in both directions.
            marks = (ids == self.tokenizer.image_token_id).long()
            tokens["token_type_ids" if self._third else "mm_token_type_ids"] = marks
        short = -ids.shape[1] % ALIGNMENT
        filler = self.tokenizer.pad_token_id or 0
        return {
            name: pad(value, (short, 0), value=filler if name == "input_ids" else 0)
            for name, value in tokens.items()
        } | seen

    def text(self, ids: Tensor) -> str:
        """What ids (tokens,) say, without the marks of turns and ends."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    @property
    def _third(self) -> bool:
        return self.files.model_type != "gemma4"

    def _seen(self, picture: "Image") -> dict[str, Tensor]:
        """A picture as the model's tower reads it."""
        if self.pictures is None:
            raise CheckpointError(f"{self.files.model} sees no pictures")
        seen = dict(self.pictures(images=[picture], return_tensors="pt"))
        seen.pop("num_crops", None)  # of a division into pieces that is never asked for
        return seen

    def _placeholder(self, count: int) -> tuple[str, str]:
        """Where the template has a picture, and what stands there for a tower of `count` tokens."""
        names = self.tokenizer
        body = f"{names.boi_token}{names.image_token * count}{names.eoi_token}"
        return (names.boi_token, f"\n\n{body}\n\n") if self._third else (names.image_token, body)

    def _spoken(self, instruction: str, wish: str, *, pictured: bool) -> str:
        """The conversation in the model's own form, up to where it answers."""
        for token in self.tokenizer.added_tokens_decoder.values():
            if token.special:  # a wish must not end its own turn or claim a picture
                wish = wish.replace(token.content, " ")
        said: Any = wish
        if pictured:
            said = [{"type": "image"}, {"type": "text", "text": wish}]
        turns = [{"role": "system", "content": instruction}, {"role": "user", "content": said}]
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def load_conversation(weights: Weights) -> Conversation:
    """What a checkpoint's writer reads and says. Raises CheckpointError where it was not trained
    for conversations.
    """
    files = enhancer_files(weights)
    tokenizer: Any = AutoTokenizer.from_pretrained(files.tokenizer, local_files_only=True)
    tokenizer.chat_template = tokenizer.chat_template or files.template
    if tokenizer.chat_template is None:
        raise CheckpointError(
            f"{files.tokenizer} has no form for conversations (chat_template.jinja): prompts are "
            "rewritten by an instruction-tuned Gemma, whose name ends in -it; fetch it whole"
        )
    pictures = None
    if files.pictures is not None:
        cls = _PICTURES[files.model_type]
        pictures = cls.from_pretrained(files.pictures, local_files_only=True)
    return Conversation(files=files, tokenizer=tokenizer, pictures=pictures)


def load_enhancer(weights: Weights, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The separate language model of a checkpoint, on `device`, in evaluation mode.

    Raises CheckpointError for another kind of model, ValueError for float16, in which Gemma
    overflows to empty text.
    """
    if dtype == torch.float16:
        raise ValueError("the enhancer overflows in float16; use bfloat16 or float32")
    path = enhancer_files(weights).model
    # A stock model: which of its tensors this version of transformers leaves out is its business.
    model = load_folder(Gemma4ForConditionalGeneration, path, device, dtype, surplus=None)
    return model.requires_grad_(False).eval()
