"""Tensor names: Lightricks' original files <-> diffusers 0.42 modules. Pure text, no torch.

Original names are those of the whole-model files ("monolith"): `model.diffusion_model.`, `vae.`,
... The split files of 2.5 use the same names, but for the video VAE, whose keys have no prefix
there; both forms are read, the monolith form is written. Both generations of a component share one
table: where they differ (7 or 9 `up_blocks`, one or two text projections, one or two vocoders) the
names themselves differ.
"""

import re
from collections.abc import Iterable
from typing import Literal, get_args

from loras.keys import CONNECTOR_RENAMES, TRANSFORMER_RENAMES

Component = Literal[
    "transformer",
    "connectors",
    "vae",
    "audio_vae",
    "vocoder",
    "spatial_upscaler",
    "spatial_upscaler_x1.5",
    "temporal_upscaler",
    "duration_head",
    "diffusion_decoder",
]
COMPONENTS: tuple[str, ...] = get_args(Component)

TRANSFORMER_PREFIX = "model.diffusion_model."
PROJECTION_PREFIX = "text_embedding_projection."
_CONNECTORS = ("video_embeddings_connector.", "audio_embeddings_connector.")

# Whole path elements, original -> diffusers. Every table is one to one, so that it can be read
# backwards. Transformer and connectors share theirs with the LoRA files.
_ELEMENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "transformer": TRANSFORMER_RENAMES,
    "connectors": CONNECTOR_RENAMES,
    "vae": (("res_blocks", "resnets"),),
    "audio_vae": (),
    "vocoder": (
        ("ups", "upsamplers"),
        ("resblocks", "resnets"),
        ("conv_pre", "conv_in"),
        ("conv_post", "conv_out"),
        ("act_post", "act_out"),
    ),
    "spatial_upscaler": (),
    "spatial_upscaler_x1.5": (),
    "temporal_upscaler": (),
    "duration_head": (),
    "diffusion_decoder": (("q_norm", "norm_q"), ("k_norm", "norm_k")),
}
_PREFIX = {
    "transformer": TRANSFORMER_PREFIX,
    "connectors": TRANSFORMER_PREFIX,
    "vae": "vae.",
    "audio_vae": "audio_vae.",
    "vocoder": "vocoder.",
    "spatial_upscaler": "",
    "spatial_upscaler_x1.5": "",
    "temporal_upscaler": "",
    "duration_head": "duration_head.",
    "diffusion_decoder": "vae.",
}
_ALSO = {
    "duration_head": (TRANSFORMER_PREFIX + "duration_head.",)
}  # prefixes that are read, never written
_STATISTICS = "per_channel_statistics."
_KEPT_STATISTICS = {"mean-of-means": "latents_mean", "std-of-means": "latents_std"}
_GATED = {".attn.proj": ".gate_msa", ".mlp.w_down": ".gate_mlp", ".context_proj": ".gate_ctx"}
_WITH_STATISTICS = ("vae", "audio_vae", "diffusion_decoder")


def targets(component: str, key: str) -> tuple[str, ...]:
    """The diffusers tensors an original tensor becomes: one, three (a fused q-k-v cut along dim 0)
    or none (unused).

    `key` may carry the monolith prefix or, for the video VAE and LoRA-style transformer names,
    leave it out. Raises ValueError where the key belongs to another component.
    """
    bare = _without_prefix(component, key)
    if component in _WITH_STATISTICS and bare.startswith(_STATISTICS):
        kept = _KEPT_STATISTICS.get(bare.removeprefix(_STATISTICS))
        return (kept,) if kept else ()
    if component == "diffusion_decoder":
        return _decoder_targets(_elements(component, bare))
    if component == "duration_head":
        return _duration_targets(bare)
    if component == "vae":
        bare = _VAE_LEVEL.sub(_level_to_diffusers, bare)
    if component == "vocoder":
        bare = bare.replace(".downsample.lowpass.", ".downsample.")
    return (_elements(component, bare),)


def to_original(component: str, key: str) -> str:
    """The monolith name of the original tensor that holds a diffusers tensor; q, k and v may share
    one.
    """
    _known(component)
    prefix = _PREFIX[component]
    for statistic, name in _KEPT_STATISTICS.items():
        if component in _WITH_STATISTICS and key == name:
            return f"{prefix}{_STATISTICS}{statistic}"
    if component == "connectors" and "text_proj_in" in key.split(".", 1)[0]:
        prefix = PROJECTION_PREFIX
    key = ".".join(_backwards(component).get(part, part) for part in key.split("."))
    if component == "vae":
        key = _VAE_ORIGINAL.sub(_level_to_original, key)
    elif component == "vocoder":
        key = re.sub(r"\.downsample\.filter$", ".downsample.lowpass.filter", key)
    elif component == "diffusion_decoder":
        key = re.sub(r"\.attn\.to_[qkv]\.", ".attn.qkv.", key).replace(
            ".attn.to_out.0.", ".attn.proj."
        )
        key = key.replace("t_embedder.timestep_embedder.linear_1.", "t_embedder.mlp.0.")
        key = key.replace("t_embedder.timestep_embedder.linear_2.", "t_embedder.mlp.2.")
    elif component == "duration_head":
        key = re.sub(r"attention_pooler\.to_[qkv]\.", "attention_pooler.cross_attn.in_proj_", key)
        key = key.replace("attention_pooler.to_out.", "attention_pooler.cross_attn.out_proj.")
    return prefix + key


def is_connector(key: str) -> bool:
    """Whether an original name, with or without the transformer's prefix, belongs to the text
    connectors.
    """
    bare = _strip(key, (TRANSFORMER_PREFIX, "diffusion_model."))
    return bare.startswith((*_CONNECTORS, PROJECTION_PREFIX))


def component_of(key: str) -> str | None:
    """Which component an original key belongs to; None without a known prefix.

    Of a video VAE's keys only "vae" is answered: whether its decoder is the diffusion one is a
    property of the file.
    """
    if is_connector(key) and key.startswith((TRANSFORMER_PREFIX, PROJECTION_PREFIX)):
        return "connectors"
    for component in ("duration_head", "transformer", "audio_vae", "vocoder", "vae"):
        if key.startswith((_PREFIX[component], *_ALSO.get(component, ()))):
            return component
    if key.startswith(("encoder.", "decoder.", _STATISTICS)):
        return "vae"
    return None


def is_diffusion_decoder(keys: Iterable[str]) -> bool:
    """Whether the video VAE among these keys decodes by diffusion (2.5) rather than by
    convolution.
    """
    return any(key.endswith("decoder.conv_in_x_t.weight") for key in keys)


# Levels of the video VAE. Original: residual levels and resamplers share one list. diffusers: a
# resampler is part of a level, the narrow end is `mid_block`. Encoder: level 2i, then its
# downsampler 2i + 1. Decoder: 0 is the middle, then an upsampler 2i + 1 and its level 2i + 2. The
# encoder always has nine entries, so 8 is its middle.
_VAE_LEVEL = re.compile(r"^(encoder\.down|decoder\.up)_blocks\.(\d+)\.")
_VAE_ORIGINAL = re.compile(
    r"^(encoder|decoder)\.(?:mid_block|(?:down|up)_blocks\.(\d+)(\.(?:down|up)samplers\.0)?)\."
)
_ENCODER_MIDDLE = 8


def _level_to_diffusers(match: re.Match[str]) -> str:
    side, index = match[1], int(match[2])
    if side == "encoder.down":
        if index == _ENCODER_MIDDLE:
            return "encoder.mid_block."
        return f"encoder.down_blocks.{index // 2}." + ("downsamplers.0." if index % 2 else "")
    if index == 0:
        return "decoder.mid_block."
    return f"decoder.up_blocks.{(index - 1) // 2}." + ("upsamplers.0." if index % 2 else "")


def _level_to_original(match: re.Match[str]) -> str:
    side, index, resampler = match[1], match[2], match[3]
    if side == "encoder":
        at = _ENCODER_MIDDLE if index is None else 2 * int(index) + (1 if resampler else 0)
        return f"encoder.down_blocks.{at}."
    at = 0 if index is None else 2 * int(index) + (1 if resampler else 2)
    return f"decoder.up_blocks.{at}."


def gate_of(key: str) -> str | None:
    """The static gate that scales the rows of a diffusion decoder's tensor, where the file has one;
    else None.

    Files of the standalone decoder keep gates that diffusers' ungated blocks expect folded into the
    matrix before them.
    """
    for tensor, gate in _GATED.items():
        for kind in (".weight", ".bias"):
            if key.endswith(tensor + kind):
                return key.removesuffix(tensor + kind) + gate
    return None


def _decoder_targets(bare: str) -> tuple[str, ...]:
    if bare.endswith(tuple(_GATED.values())) or bare.startswith("decoder.coarse_"):
        return ()  # gates are folded (gate_of), the coarse head is a preview nobody asks for
    bare = bare.replace("t_embedder.mlp.0.", "t_embedder.timestep_embedder.linear_1.")
    bare = bare.replace("t_embedder.mlp.2.", "t_embedder.timestep_embedder.linear_2.")
    bare = bare.replace(".attn.proj.", ".attn.to_out.0.")
    if ".attn.qkv." in bare:
        return tuple(bare.replace(".attn.qkv.", f".attn.to_{which}.") for which in "qkv")
    return (bare,)


def _duration_targets(bare: str) -> tuple[str, ...]:
    fused = "attention_pooler.cross_attn.in_proj_"
    if bare.startswith(fused):
        return tuple(f"attention_pooler.to_{which}.{bare.removeprefix(fused)}" for which in "qkv")
    return (bare.replace("attention_pooler.cross_attn.out_proj.", "attention_pooler.to_out."),)


def _elements(component: str, bare: str) -> str:
    forwards = dict(_ELEMENTS[component])
    return ".".join(forwards.get(part, part) for part in bare.split("."))


def _backwards(component: str) -> dict[str, str]:
    return {new: old for old, new in _ELEMENTS[component]}


def _without_prefix(component: str, key: str) -> str:
    _known(component)
    if component == "connectors":
        if not is_connector(key):
            raise ValueError(f"{key} is not a tensor of the connectors")
        return _strip(key, (TRANSFORMER_PREFIX, "diffusion_model.", PROJECTION_PREFIX))
    if component == "transformer":
        if is_connector(key):
            raise ValueError(f"{key} is a tensor of the connectors, not of the transformer")
        return _strip(key, (TRANSFORMER_PREFIX, "diffusion_model."))
    prefix = _PREFIX[component]
    for other in _ALSO.get(component, ()):
        if key.startswith(other):
            key = prefix + key.removeprefix(other)
    bare_form = component in ("vae", "diffusion_decoder") and not key.startswith(prefix)
    if bare_form and not key.startswith(("encoder.", "decoder.", _STATISTICS)):
        raise ValueError(f"{key} is not a tensor of the {component}")
    if not bare_form and not key.startswith(prefix):
        raise ValueError(
            f"{key} is not a tensor of the {component}: its keys start with {prefix!r}"
        )
    return key.removeprefix(prefix)


def _strip(key: str, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def _known(component: str) -> None:
    if component not in COMPONENTS:
        raise ValueError(f"{component!r} is not a component; one of {', '.join(COMPONENTS)}")
