"""A Gemma tokenizer that knows the grammar's words whole, and any other text letter by letter.

The real class, with a vocabulary that can be written down. A word is reached by merges that make it
longer letter by letter, so that texts of other words end in their first letters.
"""

from pathlib import Path

from tokenizers.processors import TemplateProcessing
from transformers import GemmaTokenizer

from tiny.sizes import MAX_TOKENS
from tiny.words import words

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
# Marks of a conversation by the names that Gemma 3's tokenizer has for them; a turn's marks have
# none there.
TURN, TURN_END = "<start_of_turn>", "<end_of_turn>"
PICTURE = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
MARKS = (TURN, TURN_END, *PICTURE.values())
# A conversation as Gemma 3 writes it, but that the instruction is a turn of its own.
TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}<start_of_turn>{{ turn.role }}\n"
    "{% if turn.content is string %}{{ turn.content | trim }}{% else %}"
    "{% for part in turn.content %}"
    "{{ '<start_of_image>' if part.type == 'image' else part.text | trim }}"
    "{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SPACE = "\u2581"  # Gemma's sign for a space
# Printable ASCII and the space are tokens; any other character falls back to its UTF-8 bytes.
CHARACTERS = (SPACE, *(chr(code) for code in range(33, 127)))


def spellings(word: str) -> tuple[str, ...]:
    """The ways in which a word is written; all of them mean the same to the text encoder."""
    plain = (word, word.capitalize())
    return tuple(dict.fromkeys((*(SPACE + way for way in plain), *plain)))


def merges() -> list[tuple[str, str]]:
    """Pairs to join, most urgent first: a word that follows a space before one that does not."""
    ways = sorted(
        (way for word in words() for way in spellings(word)),
        key=lambda way: (not way.startswith(SPACE), way),
    )
    return list(dict.fromkeys((way[:end], way[end]) for way in ways for end in range(1, len(way))))


def vocabulary() -> dict[str, int]:
    """Token to id."""
    joined = (first + second for first, second in merges())
    tokens = (*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *CHARACTERS, *MARKS)
    return {token: index for index, token in enumerate(dict.fromkeys((*tokens, *joined)))}


def write_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files into `folder`. It pads on the left and starts with `<bos>`."""
    tokenizer = GemmaTokenizer(
        vocab=vocabulary(),
        merges=merges(),
        model_max_length=MAX_TOKENS,
        padding_side="left",
        extra_special_tokens={"sot_token": TURN, "eot_token": TURN_END, **PICTURE},
    )
    tokenizer.chat_template = TEMPLATE
    # The class adds no <bos> of its own: in Gemma's files the definition does.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", SPECIAL.index("<bos>"))]
    )
    tokenizer.save_pretrained(folder)
