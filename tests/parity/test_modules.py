"""Each part alone, through our loader, against the reference.

A failing graph would be traced to one of these.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines.checkpoints.files import Weights, find
from pipelines.checkpoints.load import load as load_part
from pipelines.components import Components
from pipelines.plan import Adapter
from pipelines.stages.condition import encode_pixels
from pipelines.stages.prompt import connect
from pipelines.stages.upsample import upsample
from pipelines.tokens import denormalise_audio, denormalise_video, normalise_audio
from pipelines.upstream.cross_modal_gate import cross_modal_gate
from pipelines.upstream.first_frame_marker import first_frame_marker
from pipelines.upstream.perturbed_attention import perturbed_streams
from pipelines.values import Latents
from tests.parity.cases import VERSIONS, Case, assert_close, load

DEV = {"2.0": "ltx-2-19b-dev", "2.3": "ltx-2.3-22b-dev", "2.5": "ltx-2.5-22b-dev"}
TEXT_WIDTH = 20


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def weights(version: str, checkpoints: Path) -> Weights:
    found = find(checkpoints / version / f"{DEV[version]}.safetensors")
    return replace(found, text_width=TEXT_WIDTH)


@pytest.fixture(scope="module")
def model(weights: Weights, version: str, checkpoints: Path) -> Components:
    return Components(weights, find_adapter=lambda adapter: checkpoints / version / adapter.source)


@torch.inference_mode()
def velocity(
    model: Components,
    case: Case,
    *,
    sigma: float | None = None,
    mask: float = 1.0,
    audio_sigma: float | None = None,
    blocks: tuple[int, ...] = (),
    isolate: bool = False,
    adapters: tuple[Adapter, ...] = (),
) -> tuple[Tensor, Tensor]:
    """One forward pass.

    `mask` is that of the first latent frame, `audio_sigma` 0 freezes the sound.
    """
    recipe = case.recipe
    frames, height, width = (recipe[f"latent_{name}"] for name in ("frames", "height", "width"))
    sigma = recipe["sigma"] if sigma is None else sigma
    tokens = case["video_tokens"]
    levels = torch.full(tokens.shape[:2], sigma * 1000)
    levels[:, : height * width] *= mask
    sound = torch.full((1, 1), 1000 * (sigma if audio_sigma is None else audio_sigma))
    with (
        model.using_transformer("dev", adapters) as transformer,
        cross_modal_gate(transformer),
        perturbed_streams(transformer, blocks, video=True, audio=True) as perturbed,
    ):
        return transformer(
            hidden_states=tokens,
            audio_hidden_states=case["audio_tokens"],
            encoder_hidden_states=case["context_video"],
            audio_encoder_hidden_states=case["context_audio"],
            timestep=levels,
            audio_timestep=sound,
            sigma=torch.full((1,), sigma * 1000),
            audio_sigma=sound[:, 0],
            num_frames=frames,
            height=height,
            width=width,
            fps=recipe["fps"],
            audio_num_frames=case["audio_tokens"].shape[1],
            isolate_modalities=isolate,
            spatio_temporal_guidance_blocks=perturbed,
            video_keyframes_mask=first_frame_marker(transformer, tokens, height * width),
            return_dict=False,
        )


FORWARDS = {
    "t2v": {},
    "t2v_s1": {"sigma": 1.0},
    "i2v1": {"mask": 0.0},
    "i2v08": {"mask": 0.2},
    "frozen_audio": {"audio_sigma": 0.0},
    "stg": {"blocks": (1,)},
    "iso": {"isolate": True},
}


@pytest.mark.parametrize("kind", FORWARDS)
def test_a_forward_pass(model, version, kind):
    case = load(version, "transformer")
    ours = velocity(model, case, **FORWARDS[kind])
    checked = 0
    for stream, value in zip(("video", "audio"), ours, strict=True):
        if (name := f"out_{kind}_{stream}") in case:
            assert_close(value, case[name], stream)
            checked += 1
    assert checked


def test_positions_are_those_of_the_reference(model, version):
    case = load(version, "transformer")
    recipe = case.recipe
    with model.using_transformer("dev", ()) as transformer:
        grid = [recipe[f"latent_{name}"] for name in ("frames", "height", "width")]
        video = transformer.rope.prepare_video_coords(
            1, *grid, torch.device("cpu"), fps=recipe["fps"]
        )
        audio = transformer.audio_rope.prepare_audio_coords(1, 18, torch.device("cpu"))
    assert_close(video, case["positions_video"], "video", 1e-6)
    assert_close(audio, case["positions_audio"], "audio", 1e-6)


@pytest.mark.parametrize(("strength", "suffix"), [(1.0, "s10"), (0.5, "s05")])
def test_a_lora_with_alpha(model, version, strength, suffix):
    case = load(version, "transformer_lora_alpha")
    ours = velocity(model, case, adapters=(Adapter(source=case.recipe["lora"], strength=strength),))
    for stream, value in zip(("video", "audio"), ours, strict=True):
        assert_close(value, case[f"out_{suffix}_{stream}"], stream)
        ignored = case[f"out_{suffix}_alpha_ignored_{stream}"]
        assert float((value - ignored).abs().max()) > 1e-2


def test_connectors_give_both_contexts(model, version):
    case = load(version, "connectors")
    for row in range(2):
        hidden, mask = (case[name][row : row + 1] for name in ("text_hidden", "text_mask"))
        video, audio = connect(model.part("connectors:dev"), hidden, mask)
        assert_close(video, case["out_video"][row : row + 1], "video")
        assert_close(audio, case["out_audio"][row : row + 1], "audio")


@torch.inference_mode()
def test_video_vae_both_ways(model, version):
    case = load(version, "video_vae")
    pixels = case["pixels"].permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    assert_close(encode_pixels(model, pixels), case["out_latent"], "clip")
    assert_close(encode_pixels(model, pixels[:, :, :1]), case["out_latent_first_frame"], "picture")
    with model.using("vae") as vae:
        decoded = vae.decode(denormalise_video(vae, case["latent"]), return_dict=False)[0]
    assert_close(decoded, case["out_pixels"], "decoded")


@torch.inference_mode()
def test_audio_vae_both_ways(model, version):
    case = load(version, "audio_vae")
    with model.using("audio_vae") as audio_vae:
        latent = audio_vae.encode(case["mel"]).latent_dist.mode()
        mel = audio_vae.decode(denormalise_audio(audio_vae, case["latent"]), return_dict=False)[0]
        assert_close(normalise_audio(audio_vae, latent), case["out_latent"], "latent")
    assert_close(mel, case["out_mel"], "mel")


@torch.inference_mode()
def test_vocoder_at_both_volumes(model, version):
    case = load(version, "vocoder")
    extended = version != "2.0"  # periodic activations amplify last-bit differences
    with model.using("vocoder") as vocoder:
        assert_close(
            vocoder(case["mel"])[0][None], case["out_wave"], "wave", 5e-4 if extended else 1e-4
        )
        loud = vocoder(case["mel"] * 30)
        assert_close(loud, case["out_wave_loud"], "loud", 2e-3 if extended else 1e-4)
        assert vocoder.config.output_sampling_rate == case.recipe["sampling_rate"]


@torch.inference_mode()
def test_upscalers_alone_and_on_normalised_latents(model, weights, version, checkpoints):
    case = load(version, "upsamplers")
    files = case.recipe["files"]
    for kind, file in files.items():
        component = "temporal_upscaler" if kind == "temporal" else "spatial_upscaler"
        path = checkpoints / version / file
        staged = Components(weights.with_file(component, path))
        raw = load_part(staged.weights, component)(case["latent"])
        assert_close(raw, case[f"out_{kind}_raw"], f"{kind} alone")
        scaled = upsample(
            staged, Latents(video=case["latent"], audio=torch.zeros(1, 8, 1, 16)), component
        )
        assert_close(scaled.video, case[f"out_{kind}"], kind)
    assert {"spatial", "temporal"} <= set(files)


@pytest.mark.slow
# It means that uncompiled attention is slow, which a tiny decoder on a CPU may be.
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@torch.inference_mode()
def test_diffusion_decoder_of_2_5(checkpoints):
    case = load("2.5", "video_vae_diffusion")
    weights = find(checkpoints / "2.5" / case.recipe["checkpoint"])
    decoder = load_part(weights, "diffusion_decoder")
    noise = torch.Generator().manual_seed(case.recipe["seed"])
    latent = denormalise_video(decoder, case["latent"])
    pixels = decoder.decode(latent, generator=noise, return_dict=False)[0]
    assert_close(pixels[:, :, ::2, ::2, ::2], case["out_pixels_every_2nd"], "decoded")


@pytest.mark.parametrize("component", ["transformer", "connectors", "vae", "audio_vae", "vocoder"])
def test_split_files_of_2_5_hold_the_same_model(checkpoints, component):
    folder = checkpoints / "2.5"
    whole = replace(find(folder / f"{DEV['2.5']}.safetensors"), text_width=TEXT_WIDTH)
    names = {
        "transformer": ["ltx-2.5-22b-dev-transformer-bf16"],
        "connectors": ["ltx-2.5-22b-dev-transformer-bf16", "gemma4-12b-with-proj-ltx-2.5-bf16"],
        "vae": ["ltx-2.5-video-vae-conv-bf16"],
        "audio_vae": ["ltx-2.5-audio-vae-bf16"],
        "vocoder": ["ltx-2.5-audio-vae-bf16"],
    }[component]
    part = "transformer:dev" if component == "transformer" else component
    split = whole.with_file(part, *(folder / f"{name}.safetensors" for name in names))
    ours, theirs = (
        load_part(split, component, variant="dev"),
        load_part(whole, component, variant="dev"),
    )
    assert ours.config == theirs.config
    for (name, a), (_, b) in zip(
        ours.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name
