"""Model generations and named checkpoints: one row each, newest first. No torch."""

from dataclasses import dataclass, replace
from typing import Literal

from pipelines.plan import Guidance, Sampler
from pipelines.sigmas import REFINE, REFINE_TINY


@dataclass(frozen=True, slots=True, kw_only=True)
class Enhancer:
    """The language model that rewrites prompts, and how it writes."""

    part: Literal["text_encoder", "enhancer"]  # the text encoder itself, or a model of its own
    new_tokens: int  # at most
    temperature: float | None  # of the draws; None: the likeliest word, always
    no_repeat: int  # so many tokens in a row never come twice; 0: they may


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What differs between generations of the model. Adding a generation is adding a row."""

    name: str
    version: tuple[int, int]  # first `model_version` that this row serves
    dev_steps: int
    stg_blocks: tuple[int, ...]
    image_crf: int  # H.264 quality of the conditioning pictures the model was trained on
    distilled_sampler: Sampler  # of the base pass; refine is plain Euler everywhere
    refine_sigmas: tuple[float, ...]
    camera_loras: bool  # False: a camera move is asked for by its prompt suffix alone
    # Where twice the frames are made: in the refine pass, or in a round of their own after it
    temporal: Literal["refine", "round"]
    text_encoder: str  # architecture that the connectors were trained on
    enhancer: Enhancer
    duration_head: bool  # whether a model for the length that a prompt asks for was trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """Lightricks' own files of a checkpoint, by component.

    All lie in one repository but for the text encoder and the enhancer.
    """

    repository: str
    dev: str
    distilled: str
    distilled_lora: str
    spatial_upscaler: str
    temporal_upscaler: str
    spatial_upscaler_x1_5: str | None = None  # for existing videos only
    vae: str | None = None  # None: inside the checkpoint file
    audio_vae: str | None = None
    text_projection: str | None = None
    duration_head: str | None = None
    text_encoder_repository: str | None = None
    enhancer_repository: str | None = None  # None: the text encoder writes
    gated: bool = False
    licence: str = "LTX-2 Community License"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A name that users choose, with what it defaults to."""

    name: str
    generation: Generation
    files: Original
    width: int  # default 16:9 frame; `resolution` replaces it
    height: int
    seconds: float
    embedded: bool = False  # it comes with the package


# Reference guidance of the dev model, every generation: video, audio.
PRO_VIDEO = Guidance(cfg=3.0, stg=1.0, modality=3.0, rescale=0.7)
PRO_AUDIO = Guidance(cfg=7.0, stg=1.0, modality=3.0, rescale=0.7)

LTX_2 = Generation(
    name="2.0",
    version=(2, 0),
    dev_steps=40,
    stg_blocks=(29,),
    image_crf=33,
    distilled_sampler="euler",
    refine_sigmas=REFINE,
    camera_loras=True,
    temporal="refine",
    text_encoder="gemma3",
    enhancer=Enhancer(part="text_encoder", new_tokens=512, temperature=0.7, no_repeat=0),
    duration_head=False,
)
LTX_2_3 = replace(
    LTX_2, name="2.3", version=(2, 3), dev_steps=30, stg_blocks=(28,), camera_loras=False
)
LTX_2_5 = replace(
    LTX_2_3,
    name="2.5",
    version=(2, 4),  # the reference gives every version from 2.4 on the newest row
    image_crf=18,
    distilled_sampler="ancestral_euler",
    temporal="round",
    text_encoder="gemma4",
    enhancer=Enhancer(part="enhancer", new_tokens=600, temperature=None, no_repeat=5),
    duration_head=True,
)
# Five blocks instead of 48: the same graph, but STG and the schedules fit the toy.
TINY = replace(
    LTX_2,
    name="tiny",
    version=(0, 0),
    stg_blocks=(1,),
    dev_steps=10,
    refine_sigmas=REFINE_TINY,
)

GENERATIONS = {row.name: row for row in (LTX_2_5, LTX_2_3, LTX_2, TINY)}

_GEMMA_3 = "google/gemma-3-12b-it-qat-q4_0-unquantized"

CHECKPOINTS = {
    row.name: row
    for row in (
        Checkpoint(
            name="ltx-2.5",
            generation=LTX_2_5,
            width=1280,
            height=704,
            seconds=5.0,
            files=Original(
                repository="Lightricks/LTX-2.5",
                dev="diffusion_models/ltx-2.5-22b-dev-transformer-bf16.safetensors",
                distilled="diffusion_models/ltx-2.5-22b-distilled-transformer-bf16.safetensors",
                distilled_lora="loras/ltx-2.5-22b-distilled-lora-450-bf16.safetensors",
                spatial_upscaler="latent_upscale_models/ltx-2.5-latent-spatial-upscaler-x2-bf16-1.0.safetensors",
                temporal_upscaler="latent_upscale_models/ltx-2.5-latent-temporal-upscaler-x2-bf16-1.0.safetensors",
                vae="vae/ltx-2.5-video-vae-conv-bf16.safetensors",
                audio_vae="vae/ltx-2.5-audio-vae-bf16.safetensors",
                text_projection="text_encoders/gemma4-12b-with-proj-ltx-2.5-bf16.safetensors",
                duration_head="model_patches/ltx-2.5-duration-head-bf16.safetensors",
                enhancer_repository="google/gemma-4-E2B-it",
                gated=True,
                licence="LTX-2.x Community License",
            ),
        ),
        Checkpoint(
            name="ltx-2.3",
            generation=LTX_2_3,
            width=1280,
            height=704,
            seconds=5.0,
            files=Original(
                repository="Lightricks/LTX-2.3",
                dev="ltx-2.3-22b-dev.safetensors",
                distilled="ltx-2.3-22b-distilled-1.1.safetensors",
                distilled_lora="ltx-2.3-22b-distilled-lora-384-1.1.safetensors",
                spatial_upscaler="ltx-2.3-spatial-upscaler-x2-1.1.safetensors",
                spatial_upscaler_x1_5="ltx-2.3-spatial-upscaler-x1.5-1.0.safetensors",
                temporal_upscaler="ltx-2.3-temporal-upscaler-x2-1.0.safetensors",
                text_encoder_repository=_GEMMA_3,
            ),
        ),
        Checkpoint(
            name="ltx-2",
            generation=LTX_2,
            width=1280,
            height=704,
            seconds=5.0,
            files=Original(
                repository="Lightricks/LTX-2",
                dev="ltx-2-19b-dev.safetensors",
                distilled="ltx-2-19b-distilled.safetensors",
                distilled_lora="ltx-2-19b-distilled-lora-384.safetensors",
                spatial_upscaler="ltx-2-spatial-upscaler-x2-1.0.safetensors",
                temporal_upscaler="ltx-2-temporal-upscaler-x2-1.0.safetensors",
                text_encoder_repository=_GEMMA_3,
            ),
        ),
        Checkpoint(
            name="tiny",
            generation=TINY,
            width=320,
            height=192,
            seconds=2.0,
            embedded=True,
            files=Original(
                repository="",
                dev="ltx-2-tiny-dev.safetensors",
                distilled="ltx-2-tiny-distilled.safetensors",
                distilled_lora="ltx-2-tiny-distilled-lora.safetensors",
                spatial_upscaler="ltx-2-tiny-spatial-upscaler-x2.safetensors",
                spatial_upscaler_x1_5="ltx-2-tiny-spatial-upscaler-x1.5.safetensors",
                temporal_upscaler="ltx-2-tiny-temporal-upscaler-x2.safetensors",
                licence="Apache-2.0",
            ),
        ),
    )
}


def generation_of(model_version: str) -> Generation:
    """The row for a checkpoint's `model_version` metadata, e.g. "2.3.0" or "2-5".

    Raises ValueError for a text that names no version: guessing would run the wrong recipe without
    a word.
    """
    parts = model_version.strip().replace("-", ".").split(".")
    if model_version.startswith("tiny"):
        return TINY
    try:
        version = (int(parts[0]), int(parts[1]) if len(parts) > 1 else 0)
    except ValueError:
        raise ValueError(
            f"model_version {model_version!r} is not a version such as '2.3.0'"
        ) from None
    for row in (LTX_2_5, LTX_2_3, LTX_2):
        if version >= row.version:
            return row
    raise ValueError(f"model_version {model_version!r} is older than 2.0; this project runs LTX-2")
