"""A Gemma tokenizer over bytes: the real class with a vocabulary that can be written down."""

from pathlib import Path

from tokenizers.processors import TemplateProcessing
from transformers import GemmaTokenizer

from pipelines.tiny.sizes import MAX_TOKENS

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
# Printable ASCII and Gemma's space are tokens; any other character falls back to its UTF-8 bytes.
CHARACTERS = ("\u2581", *(chr(code) for code in range(33, 127)))


def vocabulary() -> dict[str, int]:
    """Token to id."""
    tokens = (*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *CHARACTERS, *MARKS)
    return {token: index for index, token in enumerate(tokens)}


def write_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files into `folder`. It pads on the left and starts with `<bos>`."""
    tokenizer = GemmaTokenizer(
        vocab=vocabulary(),
        merges=[],
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
