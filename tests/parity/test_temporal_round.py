"""LTX-2.5's invented pictures and temporal round against diffusers' pipelines for them.

diffusers lets the round listen to the finished sound; the reference runs it on the picture alone.
And diffusers modulates the attention between the streams otherwise where tokens are held (see
pipelines/upstream/cross_modal_gate.py). So the passes that hold tokens are compared with the
streams cut apart.
"""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    LTX2DFRPipeline,
    LTX2DFRTemporalRefinePipeline,
    LTXEulerAncestralRFScheduler,
)

from ltx2.planner import plan
from ltx2.request import Request
from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.geometry import audio_latents
from pipelines.plan import Plan
from pipelines.stages.condition import follow
from pipelines.stages.denoise import denoise
from pipelines.stages.prompt import connect
from pipelines.stages.temporal_round import temporal_round
from pipelines.stages.upsample import upsample
from pipelines.tokens import denormalise_audio, denormalise_video
from pipelines.values import Inputs, Latents, Prompts, Text
from tests.parity.cases import assert_close, load
from tests.parity.test_graphs import TEXT_WIDTH, Silent

SEED = 10


@pytest.fixture(scope="module")
def model(checkpoints) -> Components:
    folder = checkpoints / "2.5"
    weights = replace(find(folder / "ltx-2.5-22b-dev.safetensors"), text_width=TEXT_WIDTH)
    for kind in ("spatial", "temporal"):
        file = folder / f"ltx-2.5-latent-{kind}-upscaler-x2-bf16-1.0.safetensors"
        weights = weights.with_file(f"{kind}_upscaler", file)
    return Components(weights)


def planned(frames: int, width: int = 64, height: int = 64) -> Plan:
    return plan(
        Request(
            prompt="a",
            seed=SEED,
            width=width,
            height=height,
            num_frames=frames,
            temporal_upscaler=True,
        ),
        checkpoint="ltx-2.5",
    )


def clip(frames: int, known: int) -> Latents:
    draw = torch.Generator().manual_seed(3)
    latents = (frames - 1) // 8 + 1
    return Latents(
        video=torch.randn(1, 128, latents, 2, 2, generator=draw),
        audio=torch.randn(1, 8, audio_latents(frames / 24), 16, generator=draw),
        slots=torch.randn(1, 128, known, 2, 2, generator=draw),
    )


@pytest.fixture(scope="module")
def text(model) -> tuple[torch.Tensor, torch.Tensor, Text]:
    """Hidden states, their mask, and both through the connectors."""
    case = load("2.5", "connectors")
    hidden, mask = case["text_hidden"][:1], case["text_mask"][:1]
    video, audio = connect(model.part("connectors:dev"), hidden, mask)
    return hidden, mask, Text(video=video, audio=audio, tokens=1, truncated=False)


@contextmanager
def cut_apart(transformer):
    def isolate(_module, args, kwargs):
        return args, {**kwargs, "isolate_modalities": True}

    hook = transformer.register_forward_pre_hook(isolate, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def stock(model, pipeline, scheduler, **parts):
    pipe = pipeline(
        scheduler=scheduler,
        vae=model.part("vae"),
        audio_vae=model.part("audio_vae"),
        text_encoder=None,
        tokenizer=None,
        connectors=model.part("connectors:dev"),
        transformer=model.part("transformer:dev"),
        vocoder=model.part("vocoder"),
        **parts,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.inference_mode()
def test_both_passes_with_invented_pictures_equal_those_of_diffusers(model, text):
    hidden, mask, words = text
    made = planned(49, width=128, height=64)
    base, refine = (replace(part, variant="dev") for part in (made.base, made.refine))
    assert base.slots == refine.slots == (24, 48)
    noise = torch.Generator().manual_seed(SEED)
    options = {"prompts": Prompts(positive=words), "noise": noise, "progress": Silent()}
    first = denoise(model, base, stage="base", **options)
    upscaled = upsample(model, first, "spatial_upscaler")
    second = denoise(
        model,
        replace(refine, sound="absent", audio_latents=1),
        stage="refine",
        init=upscaled,
        placed=follow(refine, first.video),
        **{**options, "noise": torch.Generator().manual_seed(SEED)},
    )

    vae, audio_vae = model.part("vae"), model.part("audio_vae")
    pipe = stock(model, LTX2DFRPipeline, FlowMatchEulerDiscreteScheduler())
    shared = {
        "prompt_embeds": hidden.flatten(2),
        "prompt_attention_mask": mask,
        "num_frames": 49,
        "frame_rate": 24.0,
        "output_type": "latent",
    }
    theirs = pipe(
        **shared,
        width=64,
        height=32,
        sigmas=list(base.sigmas[:-1]),
        generator=torch.Generator().manual_seed(SEED),
    )
    assert_close(denormalise_video(vae, first.video), theirs.frames, "base")
    assert_close(denormalise_video(vae, first.slots), theirs.keyframes, "pictures of the base")
    assert_close(denormalise_audio(audio_vae, first.audio), theirs.audio, "sound of the base")
    with cut_apart(model.part("transformer:dev")):
        theirs = pipe(
            **shared,
            width=128,
            height=64,
            sigmas=list(refine.sigmas[:-1]),
            generator=torch.Generator().manual_seed(SEED),
            latents=denormalise_video(vae, upscaled.video),
            keyframes_latents=denormalise_video(vae, upscaled.slots),
            reference_latents=denormalise_video(vae, first.video),
            reference_downscale_factor=2,
            audio_latents=theirs.audio,
        )
    assert_close(denormalise_video(vae, second.video), theirs.frames, "refine")
    assert_close(denormalise_video(vae, second.slots), theirs.keyframes, "pictures of the refine")


@torch.inference_mode()
def test_a_round_equals_that_of_diffusers_without_the_sound(model, text):
    hidden, mask, words = text
    frames = 97
    made = planned(frames).temporal_round
    after = replace(made, denoise=replace(made.denoise, variant="dev"))
    latents = clip(frames, len(after.known))
    doubled = upsample(model, latents, "temporal_upscaler")
    ours = temporal_round(
        model,
        after,
        doubled,
        Prompts(positive=words),
        Inputs(),
        noise=torch.Generator().manual_seed(SEED),
        progress=Silent(),
    )

    vae, audio_vae = model.part("vae"), model.part("audio_vae")
    pipe = stock(
        model,
        LTX2DFRTemporalRefinePipeline,
        LTXEulerAncestralRFScheduler(eta=0.5),
        temporal_latent_upsampler=model.part("temporal_upscaler"),
    )
    with cut_apart(model.part("transformer:dev")):
        theirs = pipe(
            latents=denormalise_video(vae, latents.video),
            keyframes_latents=denormalise_video(vae, latents.slots),
            keyframe_positions=[frame // 2 for frame in after.known],
            audio_latents=denormalise_audio(audio_vae, latents.audio),
            prompt_embeds=hidden.flatten(2),
            prompt_attention_mask=mask,
            height=64,
            width=64,
            num_frames=frames,
            frame_rate=24.0,
            generator=torch.Generator().manual_seed(SEED),
            output_type="latent",
        )
    assert_close(denormalise_video(vae, ours.video), theirs.frames, "round")
    assert ours.audio is doubled.audio
    assert len(after.tiles) == 2
