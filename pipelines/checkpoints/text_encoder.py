"""The text encoder and its tokenizer: a transformers folder, or 2.5's file that carries both."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma4UnifiedForCausalLM,
    Gemma4UnifiedForConditionalGeneration,
    Gemma4UnifiedTextConfig,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from pipelines.checkpoints.folders import text_encoder_facts
from pipelines.checkpoints.headers import CheckpointError, read_header
from pipelines.checkpoints.survey import TOKENIZER_TENSOR

_CLASSES: dict[str, type[Any]] = {
    "gemma3": Gemma3ForConditionalGeneration,
    "gemma3_text": Gemma3ForCausalLM,
    "gemma4_unified": Gemma4UnifiedForConditionalGeneration,
    "gemma4_unified_text": Gemma4UnifiedForCausalLM,
}
_ASSET = "hf_asset__"  # prefix of further files that 2.5's text encoder carries as bytes
# Towers for pictures and sound that a prompt never reaches, and LTX's projections, which the
# connectors own.
_UNUSED = (
    "vision_model.",
    "audio_projector.",
    "multi_modal_projector.",
    "text_embedding_projection.",
    _ASSET,
)
# Entries of a tokenizer_config.json that are not constructor arguments of the plain fast tokenizer.
_NOT_ARGUMENTS = {
    "added_tokens_decoder",
    "auto_map",
    "backend",
    "is_local",
    "local_files_only",
    "model_max_length",
    "processor_class",
    "tokenizer_class",
}
MAX_TOKENS = 1024  # what the connectors were trained on


def load_text_encoder(path: Path, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The text encoder whose `.model` gives the hidden states, on `device`, in evaluation mode.

    Raises CheckpointError for another kind of model, ValueError for float16, in which Gemma
    overflows to empty text.
    """
    if dtype == torch.float16:
        raise ValueError("the text encoder overflows in float16; use bfloat16 or float32")
    facts = text_encoder_facts(path)
    if path.is_dir():
        with _no_bar():
            model, report = _CLASSES[facts.model_type].from_pretrained(
                path,
                dtype=dtype,
                low_cpu_mem_usage=True,
                output_loading_info=True,
                local_files_only=True,
            )
        if report["missing_keys"]:
            listed = ", ".join(sorted(report["missing_keys"])[:10])
            raise CheckpointError(
                f"{path} lacks {len(report['missing_keys'])} tensors of its model: {listed}"
            )
        model = model.to(device)
    else:
        model = _from_file(path, device, dtype)
    return model.requires_grad_(False).eval()


@contextmanager
def _no_bar() -> Iterator[None]:
    """Keep transformers' own bar off the terminal: it would break into the line of our progress."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _from_file(path: Path, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """2.5's file: metadata `gemma_config`, the language model under `model.`, no head."""
    header = read_header(path)
    if header.quantised:
        raise CheckpointError(
            f"{path} holds quantised weights ({header.quantised}); use the bf16 file"
        )
    config = Gemma4UnifiedTextConfig.from_dict(header.json("gemma_config")["text_config"])
    with init_empty_weights(include_buffers=False):
        model = Gemma4UnifiedForCausalLM(config)
    language = model.model
    wanted = set(language.state_dict())
    held = {name for name in header.tensors if name.startswith("model.")}
    rest = [
        name
        for name in header.tensors
        if name not in held and not name.startswith((*_UNUSED, TOKENIZER_TENSOR))
    ]
    missing = sorted(wanted - {name.removeprefix("model.") for name in held})
    unknown = sorted([*(name for name in held if name.removeprefix("model.") not in wanted), *rest])
    if missing or unknown:
        raise CheckpointError(
            f"{path} does not fit transformers' Gemma 4: {len(missing)} tensors missing "
            f"({', '.join(missing[:10])}), "
            f"{len(unknown)} unknown ({', '.join(unknown[:10])}); the repository in diffusers' "
            "format "
            "(Lightricks/LTX-2.5-Diffusers) loads through transformers itself"
        )
    with safe_open(path, framework="pt", device=str(device)) as content:
        for name in sorted(held):
            owner_path, _, leaf = name.removeprefix("model.").rpartition(".")
            owner = language.get_submodule(owner_path)
            tensor = content.get_tensor(name).to(dtype)
            if leaf in owner._parameters:  # load_state_dict would need all tensors at once
                owner.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
            else:
                owner.register_buffer(leaf, tensor)
    model.lm_head.weight = language.embed_tokens.weight  # one table, as in every Gemma
    for owner in model.modules():
        for name, buffer in owner._buffers.items():  # to move buffers without touching their dtype
            if buffer is not None:
                owner._buffers[name] = buffer.to(device)
    return model


def load_tokenizer(path: Path) -> Any:  # noqa: ANN401 - any transformers tokenizer
    """The tokenizer of a folder, or the one inside 2.5's text encoder file; at most 1024 tokens,
    padded on the left.
    """
    if path.is_dir():
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    else:
        tokenizer = _tokenizer_from_file(path)
    tokenizer.model_max_length = min(tokenizer.model_max_length, MAX_TOKENS)
    tokenizer.padding_side = "left"
    return tokenizer


def _tokenizer_from_file(path: Path) -> PreTrainedTokenizerFast:
    with safe_open(path, framework="pt") as content:
        if TOKENIZER_TENSOR not in content.keys():  # noqa: SIM118 - the file handle is no mapping
            raise CheckpointError(
                f"{path} holds no tokenizer ({TOKENIZER_TENSOR}); use Lightricks' own file"
            )
        definition = bytes(content.get_tensor(TOKENIZER_TENSOR).numpy())
        name = f"{_ASSET}tokenizer_config.json"
        options: dict[str, Any] = {}
        if name in content.keys():  # noqa: SIM118
            options = json.loads(bytes(content.get_tensor(name).numpy()))
    arguments = {key: value for key, value in options.items() if key not in _NOT_ARGUMENTS}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_buffer(definition), **arguments)
