"""The text encoder and its tokenizer: a transformers folder, or 2.5's file that carries both."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma4UnifiedForCausalLM,
    Gemma4UnifiedForConditionalGeneration,
    Gemma4UnifiedTextConfig,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from pipelines.checkpoints.building import BUILDING, assign, weightless
from pipelines.checkpoints.folders import TextEncoderFacts, text_encoder_facts
from pipelines.checkpoints.headers import CheckpointError, read_header, refuse_quantised
from pipelines.checkpoints.quantise import (
    Quantisation,
    is_rounded,
    rounded,
    text_encoder_options,
)
from pipelines.checkpoints.survey import TOKENIZER_TENSOR
from pipelines.upstream.prompt_tokens import MAX_TOKENS

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
    "vision_tower.",
    "vision_embedder.",
    "embed_vision.",
    "embed_audio.",
    "audio_projector.",
    "multi_modal_projector.",
    "text_embedding_projection.",
    _ASSET,
)
_SHOWN = 10  # names in an error
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


def load_text_encoder(
    path: Path, device: torch.device, dtype: torch.dtype, quantise: Quantisation = "none"
) -> nn.Module:
    """The text encoder whose `.model` gives the hidden states, on `device`, in evaluation mode.

    `quantise` rounds its decoder layers as they are read. Raises CheckpointError for another kind
    of model, ValueError for float16, in which Gemma overflows to empty text.
    """
    if dtype == torch.float16:
        raise ValueError("the text encoder overflows in float16; use bfloat16 or float32")
    facts = text_encoder_facts(path)
    if path.is_dir():
        cls, options = _CLASSES[facts.model_type], text_encoder_options(quantise)
        model = load_folder(cls, path, device, dtype, surplus=_UNUSED, options=options)
    else:
        model = _from_file(facts, device, dtype, quantise)
    return model.requires_grad_(False).eval()


def empty_text_encoder(path: Path) -> nn.Module:
    """The text encoder that `load_text_encoder` gives, but for the values of its parameters."""
    facts = text_encoder_facts(path)
    cls: Any = _CLASSES[facts.model_type] if path.is_dir() else Gemma4UnifiedForCausalLM
    config = (
        AutoConfig.from_pretrained(path, local_files_only=True)
        if path.is_dir()
        else Gemma4UnifiedTextConfig.from_dict(facts.text)
    )
    with weightless():
        model: nn.Module = cls(config)
    return model


def load_folder(
    cls: type[Any],
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    surplus: tuple[str, ...] | None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """A transformers folder as a model of `cls`, each tensor to the device as it is read.

    Tensors whose names begin as one of `surplus` may lie there unused; None: any may. `options` go
    to `from_pretrained`. Raises CheckpointError for every other difference.
    """
    for file in sorted(path.glob("*.safetensors")):
        refuse_quantised(read_header(file))
    with BUILDING, _no_bar():
        model, report = cls.from_pretrained(
            path,
            dtype=dtype,
            device_map={"": device},
            ignore_mismatched_sizes=True,  # so that they come in the report
            low_cpu_mem_usage=True,
            output_loading_info=True,
            local_files_only=True,
            **options,
        )
    unknown = [
        name
        for name in report["unexpected_keys"]
        if surplus is not None and not name.removeprefix("model.").startswith(surplus)
    ]
    wrong = [
        f"{name} {tuple(stored)} instead of {tuple(built)}"
        for name, stored, built in report["mismatched_keys"]
    ]
    _refuse_differences(path, report["missing_keys"], unknown, wrong)
    return model


def _refuse_differences(
    path: Path, missing: Iterable[str], unknown: Iterable[str], wrong: Iterable[str], hint: str = ""
) -> None:
    kinds = (("missing", missing), ("unknown", unknown), ("of another shape", wrong))
    problems = [
        f"{len(names)} {word} ({', '.join(names[:_SHOWN])}{', ...' if names[_SHOWN:] else ''})"
        for word, names in ((word, sorted(names)) for word, names in kinds)
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{path} does not fit transformers' model, tensors: {'; '.join(problems)}{hint}"
        )


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


def _from_file(
    facts: TextEncoderFacts, device: torch.device, dtype: torch.dtype, quantise: Quantisation
) -> nn.Module:
    """2.5's file: metadata `gemma_config`, the language model under `model.`, no head."""
    header = read_header(facts.path)
    refuse_quantised(header)
    config = Gemma4UnifiedTextConfig.from_dict(facts.text)
    with weightless():
        model = Gemma4UnifiedForCausalLM(config)
    language = model.model
    wanted = {name: tuple(tensor.shape) for name, tensor in language.state_dict().items()}
    held = {
        name: entry.shape for name, entry in header.tensors.items() if name.startswith("model.")
    }
    stored = {name.removeprefix("model."): shape for name, shape in held.items()}
    _refuse_differences(
        facts.path,
        wanted.keys() - stored.keys(),
        [
            *(f"model.{name}" for name in stored.keys() - wanted.keys()),
            *(
                name
                for name in header.tensors.keys() - held.keys()
                if not name.startswith((*_UNUSED, TOKENIZER_TENSOR))
            ),
        ],
        [
            f"{name} {stored[name]} instead of {shape}"
            for name, shape in wanted.items()
            if name in stored and stored[name] != shape
        ],
        "; the repository in diffusers' format (Lightricks/LTX-2.5-Diffusers) loads through "
        "transformers itself",
    )
    with safe_open(facts.path, framework="pt", device=str(device)) as content:
        for name in sorted(held):
            owner_path, _, leaf = name.removeprefix("model.").rpartition(".")
            owner = language.get_submodule(owner_path)
            tensor = content.get_tensor(name).to(dtype)
            large = leaf == "weight" and is_rounded("text_encoder", owner_path, owner)
            if large and quantise != "none":
                tensor = rounded(tensor, quantise)
            assign(owner, leaf, tensor)  # load_state_dict would need all tensors at once
    table: Any = language.embed_tokens.weight
    model.lm_head._parameters["weight"] = table  # one, as in every Gemma
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
