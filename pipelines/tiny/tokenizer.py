"""A Gemma tokenizer over bytes: the real class with a vocabulary that can be written down."""

from pathlib import Path

from tokenizers.processors import TemplateProcessing
from transformers import GemmaTokenizer

from pipelines.tiny.sizes import MAX_TOKENS

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
# Printable ASCII and Gemma's space are tokens; any other character falls back to its UTF-8 bytes.
CHARACTERS = ("\u2581", *(chr(code) for code in range(33, 127)))


def vocabulary() -> dict[str, int]:
    """Token to id."""
    tokens = (*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *CHARACTERS)
    return {token: index for index, token in enumerate(tokens)}


def write_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files into `folder`. It pads on the left and starts with `<bos>`."""
    tokenizer = GemmaTokenizer(
        vocab=vocabulary(), merges=[], model_max_length=MAX_TOKENS, padding_side="left"
    )
    # The class adds no <bos> of its own: in Gemma's files the definition does.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", SPECIAL.index("<bos>"))]
    )
    tokenizer.save_pretrained(folder)
