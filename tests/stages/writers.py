"""What 2.5 decides words with, small: a Gemma 4 that writes, and files with a duration head."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessorPil,
    Gemma4Processor,
    Gemma4UnifiedForCausalLM,
    Gemma4UnifiedTextConfig,
    GemmaTokenizer,
    GenerationConfig,
    ProcessorMixin,
)

from pipelines.checkpoints.files import Weights
from pipelines.models import CHECKPOINTS, LTX_2_5
from tests.stages import originals
from tiny.tokenizer import CHARACTERS, SPECIAL
from tiny.tokenizer import MARKS as GEMMA_3_MARKS

MARKS = {
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "image_token": "<|image|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "audio_token": "<|audio|>",
    "sot_token": "<|turn>",
    "eot_token": "<turn|>",
}
TEMPLATE = (
    "<bos>{% for turn in messages %}<|turn>{{ turn.role }}\n"
    "{% if turn.content is string %}{{ turn.content }}{% else %}{% for part in turn.content %}"
    "{{ '<|image|>' if part.type == 'image' else part.text }}{% endfor %}{% endif %}<turn|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|turn>model\n{% endif %}"
)
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "global_head_dim": 32,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 2,  # as E2B has them, of each kind
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "use_double_wide_mlp": True,
    "final_logit_softcapping": 30.0,
    "use_bidirectional_attention": "vision",
}
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "position_embedding_size": 64,
}
AUDIO: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "subsampling_conv_channels": [4, 4],
    "output_proj_dims": 16,
}


class PictureProcessor(Gemma4Processor):
    """transformers' own expansion of pictures, without its parts for sound and video."""

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        for name in ("boi", "eoi", "image", "boa", "eoa", "audio"):
            setattr(self, f"{name}_token", getattr(tokenizer, f"{name}_token"))
        self.image_token_id = tokenizer.image_token_id
        self.audio_token_id = tokenizer.audio_token_id
        self.video_token = self.video_token_id = None
        ProcessorMixin.__init__(self, image_processor=image_processor, tokenizer=tokenizer)


def vocabulary() -> dict[str, int]:
    """Token to id: bytes and letters."""
    tokens = (*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *CHARACTERS, *GEMMA_3_MARKS)
    return {token: index for index, token in enumerate(tokens)}


def write_gemma_4(folder: Path) -> Gemma4ForConditionalGeneration:
    """A Gemma 4 with towers, per-layer embeddings and shared keys as E2B has, in `folder`."""
    words = vocabulary()
    for token in MARKS.values():
        words[token] = len(words)
    # As Gemma 4's own, it adds no BOS.
    tokenizer = GemmaTokenizer(
        vocab=words, merges=[], padding_side="left", extra_special_tokens=MARKS
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    Gemma4ImageProcessorPil(max_soft_tokens=70).save_pretrained(folder)
    ids = {f"{name}_token_id": SPECIAL.index(f"<{name}>") for name in ("pad", "eos", "bos")}
    config = Gemma4Config(
        text_config={
            **TEXT,
            **ids,
            "vocab_size": len(words),
            "vocab_size_per_layer_input": len(words),
        },
        vision_config=VISION,
        audio_config=AUDIO,
        tie_word_embeddings=False,
        **{f"{name.split('_')[0]}_token_id": words[token] for name, token in MARKS.items()},
    )
    torch.manual_seed(0)
    model = Gemma4ForConditionalGeneration(config).eval()
    unspoken = [index for token, index in words.items() if token not in CHARACTERS]
    with torch.no_grad():
        model.lm_head.weight.normal_(std=0.5)
        model.lm_head.weight[unspoken] = 0
    model.generation_config = GenerationConfig(
        **{**ids, "eos_token_id": [1, words["<turn|>"]]}, do_sample=True, top_k=64, top_p=0.95
    )
    model.save_pretrained(folder)
    return model


def weights_with(folder: Path) -> Weights:
    """A checkpoint of 2.5 that has nothing but its writer."""
    return Weights(
        root=folder.parent,
        generation=LTX_2_5,
        layout="original",
        parts={"enhancer": (folder,)},
    )


def write_checkpoint(folder: Path, *, head: bool = True) -> Path:
    """A small 2.5 in Lightricks' files, with or without its duration head; returns `folder`.

    The text encoder reads bytes, so any prompt is one.
    """
    tensors, config, _ = originals.monolith("2.5")
    projections = {
        name: tensors.pop(name)
        for name in list(tensors)
        if name.startswith("text_embedding_projection.")
    }
    originals.write(folder / originals.NAMES["2.5"], tensors, config, "2.5")
    torch.manual_seed(0)
    text = Gemma4UnifiedTextConfig(
        vocab_size=len(vocabulary()),
        hidden_size=originals.TEXT_WIDTH,
        intermediate_size=16,
        num_hidden_layers=originals.TEXT_STATES - 1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        attention_k_eq_v=False,
    )
    model = Gemma4UnifiedForCausalLM(text).eval()
    stored = {f"model.{name}": value for name, value in model.model.state_dict().items()}
    definition = GemmaTokenizer(vocab=vocabulary(), merges=[]).backend_tokenizer.to_str()
    options = json.dumps({"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"})
    for name, content in (
        ("tokenizer_json", definition),
        ("hf_asset__tokenizer_config.json", options),
    ):
        stored[name] = torch.frombuffer(bytearray(content.encode()), dtype=torch.uint8)
    files = CHECKPOINTS["ltx-2.5"].files
    assert files.text_projection is not None
    assert files.duration_head is not None
    path = folder / files.text_projection
    path.parent.mkdir(parents=True)
    gemma = {
        "model_type": "gemma4_unified",
        "gemma_version": "gemma4-12b-ltx-v1",
        "text_config": text.to_dict(),
    }
    metadata = {"model_version": "2.5.0", "gemma_config": json.dumps(gemma)}
    save_file({**stored, **projections}, path, metadata)
    if head:
        module = originals.duration_head().module
        module.get_submodule("mlp_out").get_parameter("weight").mul_(0.05)  # some seconds
        originals.write(
            folder / files.duration_head, originals.originals("duration_head", module), {}, "2.5"
        )
    return folder
