"""Weights from disk into modules, tensor by tensor and without a second copy in host memory."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    LTX2VideoDiffusionDecoderModel,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import (
    LTX2DurationHead,
    LTX2LatentUpsamplerModel,
    LTX2TextConnectors,
    LTX2Vocoder,
    LTX2VocoderWithBWE,
)
from safetensors import safe_open
from torch import Tensor, nn

from pipelines.checkpoints import keys
from pipelines.checkpoints.autoencoders import NO_TIMESTEPS
from pipelines.checkpoints.building import BUILDING, assign, weightless
from pipelines.checkpoints.configs import Shapes, diffusers_config
from pipelines.checkpoints.enhancer import load_conversation, load_enhancer
from pipelines.checkpoints.files import (
    Weights,
    check_text_features,
    check_text_version,
    folder_config,
)
from pipelines.checkpoints.folders import read_json
from pipelines.checkpoints.gguf import is_gguf
from pipelines.checkpoints.headers import CheckpointError, Header, read_header, refuse_quantised
from pipelines.checkpoints.quantise import QUANTISABLE, Quantisation, is_rounded, rounded
from pipelines.checkpoints.text_encoder import load_text_encoder, load_tokenizer
from pipelines.plan import Variant
from pipelines.upstream.vocoder_clamp import clamp_first_stage

_CLASSES: dict[str, type[Any]] = {
    "transformer": LTX2VideoTransformer3DModel,
    "connectors": LTX2TextConnectors,
    "vae": AutoencoderKLLTX2Video,
    "audio_vae": AutoencoderKLLTX2Audio,
    "vocoder": LTX2Vocoder,
    "spatial_upscaler": LTX2LatentUpsamplerModel,
    "spatial_upscaler_x1.5": LTX2LatentUpsamplerModel,
    "temporal_upscaler": LTX2LatentUpsamplerModel,
    "duration_head": LTX2DurationHead,
    "diffusion_decoder": LTX2VideoDiffusionDecoderModel,
}
# The sound's path is float32 whatever is asked for: in bfloat16 the vocoder is off by 8 %.
_ALWAYS_FP32 = ("audio_vae", "vocoder")
STATISTICS = ("latents_mean", "latents_std")  # float32 in every dtype: they scale every latent
_SHOWN = 10  # names in an error


def load(
    weights: Weights,
    component: str,
    *,
    variant: Variant = "distilled",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    quantise: Quantisation = "none",
) -> Any:  # noqa: ANN401 - a module, or for "tokenizer" a tokenizer
    """One component of a checkpoint, on `device`, in evaluation mode and without gradients.

    `component` is one of pipelines.checkpoints.keys.COMPONENTS, "text_encoder", "tokenizer",
    "enhancer" (2.5's model that rewrites prompts) or "conversation" (what that reads). The audio
    VAE and the vocoder are always float32. `quantise` rounds the large layers of a transformer or
    text encoder as they are read, so that the whole is never there unrounded. Raises
    CheckpointError for a component that is not there, for files that contradict themselves or
    would be rounded twice, and for every tensor that is missing or unknown.
    """
    return begin(
        weights, component, variant=variant, device=device, dtype=dtype, quantise=quantise
    )()


def begin(
    weights: Weights,
    component: str,
    *,
    variant: Variant = "distilled",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    quantise: Quantisation = "none",
) -> Callable[[], Any]:
    """`load` up to where the bytes are read: what is returned reads them and gives the component.

    What begins in one thread may be read in several at once.
    """
    device = torch.device(device)
    if quantise != "none" and component not in QUANTISABLE:
        raise ValueError(f"{component} is never rounded, only {' and '.join(QUANTISABLE)} are")
    if component == "conversation":
        return partial(load_conversation, weights)
    if component == "enhancer":
        return partial(load_enhancer, weights, device, dtype)
    files = weights.files(component, variant)
    if component == "tokenizer":
        return partial(load_tokenizer, files[0])
    if component == "text_encoder":
        _check_text(weights)
        return partial(load_text_encoder, files[0], device, dtype, quantise)
    if component not in _CLASSES:
        raise CheckpointError(
            f"{component!r} is no component; one of {', '.join(_CLASSES)}, text_encoder, tokenizer"
        )
    if component == "connectors":
        _check_text(weights, variant)
    dtype = torch.float32 if component in _ALWAYS_FP32 else dtype
    if component == "transformer":
        refuse_twice(weights, variant, quantise)
    if not files[0].is_dir():
        read = _from_originals(weights, component, files, device, dtype, quantise)
    elif component == "transformer":
        # diffusers itself would hold a whole shard unrounded, and a turn to build while it reads.
        read = _from_shards(component, files[0], device, dtype, quantise)
    else:
        read = partial(_from_folder, component, files[0], device, dtype)

    def whole() -> nn.Module:
        module = read()
        _prepare(component, module)
        return module.requires_grad_(False).eval()

    return whole


def refuse_twice(weights: Weights, variant: Variant, quantise: Quantisation) -> None:
    """Raise CheckpointError where a GGUF transformer is to be rounded once more."""
    if quantise == "none" or not weights.has("transformer", variant):
        return
    file = weights.files("transformer", variant)[0]
    if is_gguf(file):
        raise CheckpointError(
            f"{file} is quantised already, so the transformer cannot also be made {quantise}; leave"
            " the quantisation of the transformer at none, or use the bf16 file"
        )


def _prepare(component: str, module: Any) -> None:  # noqa: ANN401 - diffusers gives modules configs
    """What both layouts need after loading."""
    if component == "vocoder":
        clamp_first_stage(module)
    if component == "transformer" and not module.config.perturbed_attn:
        raise RuntimeError(
            "the transformer was built without perturbed_attn, so STG would do nothing"
        )


def _from_folder(
    component: str, folder: Path, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    cls: Any = _CLASSES[component]
    config = folder_config(folder)
    if component == "vocoder" and config.get("_class_name") == LTX2VocoderWithBWE.__name__:
        cls = LTX2VocoderWithBWE
    if component == "vae" and config.get("timestep_conditioning"):
        raise CheckpointError(f"{folder}: {NO_TIMESTEPS}")
    for file in sorted(folder.glob("*.safetensors")):
        refuse_quantised(read_header(file))
    options = _options(component)
    # A map to one device: each tensor goes there as it is read,
    # and the whole never lies in host memory.
    with BUILDING:
        module, report = cls.from_pretrained(
            folder,
            torch_dtype=dtype,
            device_map={"": device},
            low_cpu_mem_usage=True,
            output_loading_info=True,
            **options,
        )
    _refuse_differences(str(folder), report["missing_keys"], report["unexpected_keys"])
    stored = {
        name: value
        for file in sorted(folder.glob("*.safetensors"))
        for name, value in _statistics(file)
    }
    for name, value in stored.items():
        if (
            name in module._buffers
        ):  # read only; there is no public view of one module's own buffers
            module.register_buffer(name, value.to(device, torch.float32))
    return module


def _options(component: str) -> dict[str, Any]:
    """What a converted repository's configuration lacks.

    The flag needs no weights; repositories were converted with the class default, which makes STG a
    no-op.
    """
    return {"perturbed_attn": True} if component == "transformer" else {}


def _from_shards(
    component: str, folder: Path, device: torch.device, dtype: torch.dtype, quantise: Quantisation
) -> Callable[[], nn.Module]:
    """The same folder tensor by tensor."""
    headers = [read_header(file) for file in _shards(folder)]
    for header in headers:
        refuse_quantised(header)
    with weightless():
        module: Any = _CLASSES[component].from_config(folder_config(folder) | _options(component))
    shapes = {name: entry.shape for header in headers for name, entry in header.tensors.items()}
    _check_names(component, tuple(header.path for header in headers), shapes, module)

    def read() -> nn.Module:
        for header in headers:
            with safe_open(header.path, framework="pt", device=str(device)) as content:
                for name in header.tensors:
                    tensor = content.get_tensor(name).to(dtype)
                    _assign(module, name, _maybe_rounded(component, module, name, tensor, quantise))
        return _buffers_moved(module, device)

    return read


def _shards(folder: Path) -> list[Path]:
    """The files of a component's folder: those its index names, else all."""
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if indexes:
        return [folder / name for name in sorted(set(read_json(indexes[0])["weight_map"].values()))]
    return sorted(folder.glob("*.safetensors"))


def _maybe_rounded(
    component: str, module: nn.Module, name: str, tensor: Tensor, quantise: Quantisation
) -> Tensor:
    """A tensor as it is kept: rounded where it is the weight of a layer that is."""
    path, _, leaf = name.rpartition(".")
    if quantise == "none" or leaf != "weight":
        return tensor
    layer = module.get_submodule(path)
    return rounded(tensor, quantise) if is_rounded(component, path, layer) else tensor


def _statistics(file: Path) -> Iterator[tuple[str, Tensor]]:
    with safe_open(file, framework="pt") as content:
        for name in set(STATISTICS).intersection(content.keys()):
            yield name, content.get_tensor(name)


def _from_originals(
    weights: Weights,
    component: str,
    files: tuple[Path, ...],
    device: torch.device,
    dtype: torch.dtype,
    quantise: Quantisation,
) -> Callable[[], nn.Module]:
    headers = [read_header(file) for file in files]
    for header in headers:
        refuse_quantised(header)
    shapes = component_shapes(component, headers)
    module = _described(weights, component, headers, shapes)
    _check_names(component, files, shapes, module)

    def read() -> nn.Module:
        if is_gguf(files[0]):
            # Only such files need the package that reads them.
            from pipelines.checkpoints.gguf_layers import packed_tensors

            for name, tensor in packed_tensors(module, headers[0], device, dtype):
                _assign(module, name, tensor)
            return _buffers_moved(module, device)
        for header in headers:
            for name, tensor in _tensors(component, header, device):
                tensor = tensor.to(torch.float32 if name in STATISTICS else dtype)
                _assign(module, name, _maybe_rounded(component, module, name, tensor, quantise))
        return _buffers_moved(module, device)

    return read


def _buffers_moved(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with the buffers that no file holds on the device, too."""
    for owner in module.modules():
        for name, buffer in owner._buffers.items():  # to move one buffer without touching its dtype
            if buffer is not None and buffer.device != device:
                owner._buffers[name] = buffer.to(device)
    return module


def _described(
    weights: Weights, component: str, headers: list[Header], shapes: Shapes
) -> nn.Module:
    """The module that original files describe, without memory for its parameters.

    Buffers have their values: those no file holds (the resampler's taps) are right.
    """
    config = {name: value for header in reversed(headers) for name, value in header.config.items()}
    arguments = diffusers_config(component, config, shapes, text_width=weights.text_width)
    with weightless():
        return module_class(component, arguments)(**arguments)


def module_class(component: str, config: Mapping[str, Any]) -> Any:  # noqa: ANN401 - diffusers' own
    """diffusers' class of a component with this configuration."""
    if component == "vocoder" and "bwe_in_channels" in config:
        return LTX2VocoderWithBWE
    return _CLASSES[component]


def without_weights(weights: Weights, component: str, variant: Variant = "distilled") -> nn.Module:
    """A component of diffusers as `load` would build it, but for the values of its parameters."""
    files = weights.files(component, variant)
    if files[0].is_dir():
        config = folder_config(files[0]) | _options(component)
        with weightless():
            return module_class(component, config).from_config(config)
    headers = [read_header(file) for file in files]
    return _described(weights, component, headers, component_shapes(component, headers))


def owned_keys(component: str, header: Header) -> list[str]:
    """The original tensors of a component in one file, those that are read and dropped included."""
    names = list(header.tensors)
    if _CLASSES.get(component) is LTX2LatentUpsamplerModel:
        return names
    diffusion = keys.is_diffusion_decoder(names)
    if component == "diffusion_decoder":
        return [
            name
            for name in names
            if keys.component_of(name) == "vae" and ".encoder." not in f".{name}"
        ]
    if component == "vae" and diffusion:
        raise CheckpointError(
            f"{header.path} decodes by diffusion and has no convolutional decoder; use the file "
            "with 'conv' in its name"
        )
    return [name for name in names if keys.component_of(name) == component]


def component_shapes(component: str, headers: list[Header]) -> Shapes:
    """Diffusers name -> shape of everything a component's files hold."""
    shapes: dict[str, tuple[int, ...]] = {}
    for header in headers:
        for key in owned_keys(component, header):
            names = keys.targets(component, key)
            shape = header.tensors[key].shape
            for name in names:
                shapes[name] = (shape[0] // len(names), *shape[1:]) if len(names) > 1 else shape
    return shapes


def _check_names(
    component: str, files: tuple[Path, ...], shapes: Shapes, module: nn.Module
) -> None:
    """Every tensor the module has must be in the files with its shape, and the other way round."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    where = f"{component} in {', '.join(file.name for file in files)}"
    _refuse_differences(where, wanted.keys() - shapes.keys(), shapes.keys() - wanted.keys())
    wrong = [
        f"{name} {shapes[name]} instead of {shape}"
        for name, shape in wanted.items()
        if shapes[name] != shape
    ]
    if wrong:
        raise CheckpointError(f"{where}: {len(wrong)} tensors have another shape: {_some(wrong)}")


def _refuse_differences(where: str, missing: Collection[str], unknown: Collection[str]) -> None:
    problems: list[str] = []
    for word, names in (("missing", missing), ("unknown", unknown)):
        if names:
            problems.append(f"{len(names)} {word}: {_some(sorted(names))}")
    if problems:
        raise CheckpointError(f"{where} does not fit diffusers' module: {'; '.join(problems)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _tensors(component: str, header: Header, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Diffusers name and tensor, one at a time, on the device and as stored."""
    with safe_open(header.path, framework="pt", device=str(device)) as content:
        for key in owned_keys(component, header):
            names = keys.targets(component, key)
            if not names:
                continue
            tensor: Tensor = content.get_tensor(key)
            gate = keys.gate_of(key) if component == "diffusion_decoder" else None
            if gate in header.tensors:
                tensor = _gated(tensor, content.get_tensor(gate))
            if len(names) == 1:
                yield names[0], tensor
                continue
            for name, piece in zip(names, tensor.chunk(len(names)), strict=True):
                yield name, piece.clone()  # a view would keep the whole tensor


def _gated(tensor: Tensor, gate: Tensor) -> Tensor:
    """Rows scaled by a static gate, in float32: diffusers' blocks have no gates."""
    rows = gate.float().view(-1, *[1] * (tensor.ndim - 1))
    return (tensor.float() * rows).to(tensor.dtype)


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put one tensor in its place: `load_state_dict` would need all of them at once."""
    path, _, leaf = name.rpartition(".")
    assign(module.get_submodule(path), leaf, tensor)


def _check_text(weights: Weights, variant: Variant = "distilled") -> None:
    """Refuse a text encoder that does not fit the connectors, before gigabytes are read."""
    if not weights.has("connectors", variant):
        return
    files = weights.files("connectors", variant)
    if files[0].is_dir():
        config = folder_config(files[0])
        check_text_features(
            weights, config["caption_channels"] * config["text_proj_in_factor"], files
        )
        return
    headers = [read_header(file) for file in files]
    shapes = component_shapes("connectors", headers)
    for features in {
        shape[1] for name, shape in shapes.items() if name.endswith("text_proj_in.weight")
    }:
        check_text_features(weights, features, files)
    for header in headers:
        if trained_with := header.json("gemma_source_checkpoint").get("gemma_version"):
            check_text_version(weights, trained_with, header.path)
