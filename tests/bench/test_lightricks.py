"""Lightricks' own modules beside ours: their names and configuration, and what they compute."""

import json
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import run
from benchmarks.baselines import lightricks_layout as layout
from benchmarks.baselines import lightricks_parts as parts
from benchmarks.baselines.lightricks import Lightricks
from benchmarks.cost.transformer import Lengths, forward
from pipelines.checkpoints import keys
from pipelines.checkpoints.load import module_class
from pipelines.memory.released import RELEASED, released_module
from pipelines.models import GENERATIONS
from tests.parity.cases import assert_close

INSTALL = "pip install --no-deps ltx-core==1.0.0 einops==0.8.2"
THERE = not parts.not_installed()
theirs = pytest.mark.skipif(
    not THERE, reason=f"Lightricks' code is licensed otherwise, so no dependency: {INSTALL}"
)
PART = {"transformer": "transformer:distilled", "vae": "vae"}
SMALL = {
    "transformer": {
        "num_layers": 2,
        "num_attention_heads": 4,
        "attention_head_dim": 32,
        "cross_attention_dim": 128,
        "audio_num_attention_heads": 4,
        "audio_attention_head_dim": 16,
        "audio_cross_attention_dim": 64,
        "caption_channels": 48,
    },
    "vae": {"latent_channels": 16, "layers_per_block": (1,) * 5},
}
NARROW = {  # the decoder's, which both generations build in their own way
    "2.0": {
        "block_out_channels": (16, 32, 64, 128),
        "decoder_block_out_channels": (16, 32, 64),
        "decoder_layers_per_block": (1, 2, 1, 1),
    },
    "2.3": {
        "block_out_channels": (16, 32, 64, 64),
        "decoder_block_out_channels": (16, 32, 32, 64),
        "decoder_layers_per_block": (1, 2, 1, 1, 1),
    },
}
LENGTHS = Lengths(video=4 * 6 * 10, audio=26, text=1024)


@pytest.fixture(scope="module", params=["2.0", "2.3"])
def released(request):
    """A part of a released generation by its name, without memory."""

    def build(component):
        with torch.device("meta"):
            return released_module(GENERATIONS[request.param], component)

    return build


@pytest.mark.parametrize("name", ["2.0", "2.3", "tiny"])
def test_every_tensor_is_named_as_the_files_of_lightricks_name_it(name, tiny_model):
    for component, part, theirs_of, prefix in (
        ("transformer", "transformer:distilled", layout.transformer_name, "model.diffusion_model."),
        ("vae", "vae", layout.decoder_name, "vae."),
    ):
        with torch.device("meta"):
            ours = (
                tiny_model.part(part)
                if name == "tiny"
                else released_module(GENERATIONS[name], component)
            )
        for key in ours.state_dict():
            named, written = theirs_of(key), keys.to_original(component, key)
            if named is None:
                assert written.startswith("vae.encoder.")
            else:
                inner = written.removeprefix(prefix)
                assert inner in (named, f"decoder.{named}"), key


def test_what_its_release_cannot_be_is_refused_by_name():
    with torch.device("meta"):
        ours = released_module(GENERATIONS["2.5"], "transformer")
    with pytest.raises(ValueError, match="no feed-forward layers without bias, no positions"):
        layout.transformer_config(ours.config)


@pytest.mark.skipif(THERE, reason="its packages are installed here")
@pytest.mark.parametrize(
    "arguments",
    [["forward", "--kinds", "plain,lightricks"], ["stages", "--only", "lightricks decoder"]],
)
def test_without_its_packages_it_is_refused_in_one_line_with_the_command(
    arguments, tmp_path, capsys
):
    assert run.main([*arguments, "--device", "cpu", "--results", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"{arguments[0]} is not measured: lightricks")
    assert said.endswith(f"not installed: {INSTALL}")
    assert list(tmp_path.iterdir()) == []


def test_another_version_than_the_pinned_one_counts_as_none(tmp_path, monkeypatch):
    file = tmp_path / "requirements.txt"
    file.write_text(f"# pins\neinops==0\nltx-core=={version('torch')}\n")
    monkeypatch.setattr(parts, "REQUIREMENTS", file)
    assert "einops==0 are not installed: pip install --no-deps ltx-core==" in parts.not_installed()


def test_its_clips_need_the_pinned_versions_too(tmp_path, monkeypatch):
    file = tmp_path / "requirements.txt"
    file.write_text("ltx-core==0\nltx-pipelines==0\n")
    monkeypatch.setattr(parts, "REQUIREMENTS", file)
    told = Lightricks.missing(SimpleNamespace(components=SimpleNamespace(weights=None)), None)
    assert told == (
        "ltx-core==0 and ltx-pipelines==0 are not installed: "
        "pip install -r benchmarks/baselines/requirements.txt"
    )


@theirs
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"generation": "2.5"}, "runs 2.0 and 2.3, not 2.5"),
        ({"residency": "offload"}, "parts are offload"),
        ({"quantise": {"transformer": "fp8"}}, "those of the transformer are rounded: fp8"),
        ({}, ""),
    ],
)
def test_an_engine_whose_weights_cannot_be_shared_is_refused(changed, reason):
    engine = SimpleNamespace(
        checkpoint=SimpleNamespace(
            generation=SimpleNamespace(name=changed.get("generation", "2.3"))
        ),
        components=SimpleNamespace(
            residency=changed.get("residency", "resident"), quantise=changed.get("quantise", {})
        ),
    )
    assert reason in parts.missing(engine, "transformer")
    assert bool(parts.missing(engine, "transformer")) == bool(reason)


@pytest.fixture(params=["tiny", "2.0", "2.3"])
def weighted(request, tiny_model):
    """The tiny checkpoint's part of a name, or a released generation's with few and thin layers."""

    def build(component):
        if request.param == "tiny":
            return tiny_model.part(PART[component])
        torch.manual_seed(0)
        options = RELEASED[request.param][component] | SMALL[component]
        if component == "vae":
            options |= NARROW[request.param]
        module = module_class(component, options)(**options)
        for parameter in module.parameters():  # also those that training begins at nothing
            torch.nn.init.normal_(parameter, 0, 0.15)
        return module.requires_grad_(False).eval()

    return build


@theirs
def test_its_transformer_computes_what_ours_does(weighted):
    ours = weighted("transformer")
    part = SimpleNamespace(frames=17, height=96, width=64, fps=24.0, audio_latents=18)
    given = inputs(ours, part)
    call = parts.Call.of(ours, part, given)
    with torch.no_grad():
        expected = ours(**given)
    for found, wanted, stream in zip(call.velocities(), expected, ("video", "audio"), strict=True):
        assert_close(found, wanted, stream)
    assert not any(parameter.requires_grad for parameter in ours.parameters())


@theirs
def test_its_transformer_has_the_tensors_that_it_would_read_of_the_file_and_no_copies(
    tiny, tiny_model
):
    from ltx_core.model.transformer import LTXV_MODEL_COMFY_RENAMING_MAP

    ours = tiny_model.part("transformer:distilled")
    shared = parts.transformer(ours).state_dict()
    with safe_open(tiny / "ltx-2-tiny-distilled.safetensors", "pt") as file:
        named = {LTXV_MODEL_COMFY_RENAMING_MAP.apply_to_key(key): key for key in file.keys()}  # noqa: SIM118 - no mapping
        assert all(torch.equal(file.get_tensor(named[key]), shared[key]) for key in shared)
    pointers = [
        {each.data_ptr() for each in weights.values()} for weights in (shared, ours.state_dict())
    ]
    assert pointers[0] == pointers[1]


@theirs
def test_its_decoder_computes_what_ours_does_and_gives_every_frame_as_bytes(weighted):
    vae = weighted("vae")
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(1, vae.config.latent_channels, 3, 2, 3, generator=generator)
    mean, std = (each.view(1, -1, 1, 1, 1) for each in (vae.latents_mean, vae.latents_std))
    decoder = parts.decoder(vae)
    with torch.no_grad():
        expected = vae.decode(latent * std + mean, return_dict=False)[0]
        assert_close(decoder(latent), expected, "pixels")
    frames = torch.cat(list(parts.decoded(decoder, latent)))
    assert (frames.shape, frames.dtype) == ((17, 64, 96, 3), torch.uint8)
    bytes_of_ours = ((expected[0].permute(1, 2, 3, 0) + 1) / 2).clamp(0, 1) * 255
    assert (frames.float() - bytes_of_ours).abs().max() <= 1


@theirs
def test_at_full_size_it_has_the_tensors_of_ours(released):
    for component, build in (("transformer", parts.transformer), ("vae", parts.decoder)):
        ours = released(component)
        built = build(ours)  # which refuses a tensor more, fewer or of another shape
        side = ours if component == "transformer" else ours.decoder
        assert sum(each.numel() for each in built.parameters()) == sum(
            each.numel() for each in side.parameters()
        )


@theirs
def test_its_forward_is_the_work_that_is_counted_and_timesteps_for_every_token():
    with torch.device("meta"):
        ours = released_module(GENERATIONS["2.3"], "transformer")
    built, config = parts.transformer(ours), ours.config
    del built.transformer_blocks[2:]
    part = SimpleNamespace(frames=25, height=192, width=320, fps=24.0, audio_latents=26)
    call = parts.Call.of(ours, part, inputs(ours, part))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built(call.video, call.audio, None)
    least = forward({**config, "num_layers": 2}, LENGTHS).total
    every = forward({**config, "num_layers": 2}, LENGTHS, timesteps=LENGTHS.video).total
    assert least < counter.get_total_flops() < every * 1.01


@theirs
def test_rows_of_its_parts_stand_beside_ours_by_default(tmp_path, capsys):
    least = ["--device", "cpu", "--runs", "1", "--no-keep", "--results", str(tmp_path)]
    assert run.main(["forward", "--sizes", "64x64x9", "--kinds", "plain,lightricks", *least]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    row = told["rows"][1]
    assert (row["name"], row["forwards_per_step"], row["rows_per_step"]) == (
        "lightricks 64x64x9", 1, 1,
    )  # fmt: skip
    assert row["off_stock"] < 1e-4
    assert set(told["ratios"]) == {"plain 64x64x9 / lightricks 64x64x9"}
    only = ["--size", "64x64x9", "--only", "decoder,lightricks decoder"]
    assert run.main(["stages", *only, *least]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    name = "decoder, Lightricks' own, its tiles"
    assert f"{name} / decoder, the plan's tiles" in told["ratios"]


def inputs(ours, part):
    """What a stock pipeline hands to a transformer, at half the noise."""
    config, device = ours.config, ours.proj_in.weight.device
    generator = None if device.type == "meta" else torch.Generator().manual_seed(1)
    frames, rows, columns = (part.frames - 1) // 8 + 1, part.height // 32, part.width // 32
    widths = [
        config.caption_channels if config.use_prompt_embeddings else width
        for width in (config.cross_attention_dim, config.audio_cross_attention_dim)
    ]

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, device=device)

    level = torch.full((1,), 500.0, device=device)
    return {
        "hidden_states": drawn(1, frames * rows * columns, config.in_channels),
        "audio_hidden_states": drawn(1, part.audio_latents, config.audio_in_channels),
        "encoder_hidden_states": drawn(1, LENGTHS.text, widths[0]),
        "audio_encoder_hidden_states": drawn(1, LENGTHS.text, widths[1]),
        "timestep": level,
        "sigma": level,
        "num_frames": frames,
        "height": rows,
        "width": columns,
        "fps": part.fps,
        "audio_num_frames": part.audio_latents,
        "return_dict": False,
    }
