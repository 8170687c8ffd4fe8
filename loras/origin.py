"""What model a LoRA file seems to be made for, from its names, for messages. No torch."""

import re

from loras.headers import Header
from loras.kinds import split

# Names that only one family of models has.
_SIGNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"double_blocks|single_blocks"), "Flux or HunyuanVideo"),
    (re.compile(r"single_transformer_blocks"), "Flux"),
    (re.compile(r"joint_blocks"), "Stable Diffusion 3"),
    (re.compile(r"(^|[._])blocks[._]\d+[._](self_attn|cross_attn)"), "Wan"),
    (re.compile(r"(down|up|input|output)_blocks"), "a UNet such as Stable Diffusion's"),
    (re.compile(r"lora_te|text_encoder"), "a text encoder"),
    (re.compile(r"to_gate_logits|prompt_adaln"), "LTX-2.3 or later"),
    (re.compile(r"audio_attn1|audio_to_video_attn|caption_projection"), "LTX-2"),
)
_STATED = ("modelspec.architecture", "ss_base_model_version", "base_model", "model_version")
_BLOCK = re.compile(r"transformer_blocks[._](\d+)[._]")
_WIDTH = re.compile(r"transformer_blocks[._]\d+[._]attn1[._]to_q\.")


def made_for(header: Header) -> str:
    """What a file seems to be for, as the end of a message; empty if it does not tell."""
    shapes, metadata = header.shapes, header.metadata
    told = [f"{key} {metadata[key][:60]!r}" for key in _STATED if metadata.get(key)]
    told += [sign for part, sign in _SIGNS if any(part.search(name) for name in shapes)][:1]
    if blocks := [int(found[1]) for name in shapes if (found := _BLOCK.search(name))]:
        told.append(f"{max(blocks) + 1} blocks")
    widths = [
        shape[1]
        for name, shape in shapes.items()
        if _WIDTH.search(name) and split(name)[1] == "A" and len(shape) == 2
    ]
    if widths:
        told.append(f"width {widths[0]}")
    return f"; it seems to be made for {', '.join(told)}" if told else ""
