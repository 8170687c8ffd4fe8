"""A Gemma tokenizer over bytes: the real class with a vocabulary that can be written down."""

from pathlib import Path

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
    """Write the tokenizer's files into `folder`."""
    tokenizer = GemmaTokenizer(vocab=vocabulary(), merges=[], model_max_length=MAX_TOKENS)
    tokenizer.save_pretrained(folder)
