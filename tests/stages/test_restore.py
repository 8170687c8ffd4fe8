"""Existing videos from file to file: what is where and when, the sound, limits and stops."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from diffusers import LTX2VideoTransformer3DModel
from torch.nn.modules.module import register_module_forward_pre_hook

import ltx2
from ltx2.cli import main
from ltx2.delivery.file import ToFile
from ltx2.errors import BadRequest, Cancelled, ConfigError
from ltx2.extent import Limits
from ltx2.media.video import probe, read_frames
from ltx2.progress import Progress
from ltx2.video_planner import plan_video
from ltx2.video_request import VideoRequest
from ltx2.video_session import detailer_downscale, prepare_video
from pipelines.models import CHECKPOINTS
from pipelines.recipes import video_to_video
from pipelines.stages.upsample import upsample
from pipelines.stages.upsample_long import upsample_long
from pipelines.values import Latents
from tests.media.videos import packets, pictures, video
from tests.stages.blocks import BlockModel
from tiny.sizes import AUDIO_CHANNELS, VIDEO_CHANNELS

FILM = Fraction(24000, 1001)

TINY = CHECKPOINTS["tiny"]


def restored(engine, source, target, task="detail", progress=None, **changes):
    """The receipt of a run on the embedded checkpoint."""
    request = VideoRequest(task=task, video=source, **{"seed": 7, **changes})
    return ltx2.restore(request, engine=engine, deliver=ToFile(target), progress=progress)


def read(path):
    facts = probe(path)
    return facts, np.concatenate(list(read_frames(facts)))


# Places and times


def through_blocks(source, **changes):
    """Frames (n, h, w, 3) through the recipe without a pass of the transformer."""
    facts = replace(
        probe_of(source), width=source.shape[2], height=source.shape[1], frames=len(source)
    )
    request = VideoRequest(task="upscale", video=facts.path, seed=7, refine=False, **changes)
    plan = plan_video(request, facts, TINY, limits=Limits())
    chunks = (source[start : start + 5] for start in range(0, len(source), 5))
    clip = video_to_video.run(BlockModel(), plan, chunks, Progress())
    made = np.concatenate(list(clip.frames))
    assert made.shape == (plan.num_frames, plan.height, plan.width, 3)
    assert clip.num_frames == len(made)
    return made


def probe_of(source):
    """Facts of a video with these frames, which need not be written for the planner."""
    from tests.unit.test_restore_plan import facts

    return facts(audio=())


def blocks(frames, scale):
    """What the block model makes of frames: means of 32x32 pixels, at `scale`, cut to the frame."""
    count, height, width = frames.shape[:3]
    below, beside = -height % 64, -width % 64
    padded = np.pad(frames, ((0, 0), (0, below), (0, beside), (0, 0)), mode="edge")
    means = padded.reshape(count, (height + below) // 32, 32, (width + beside) // 32, 32, 3)
    means = means.mean(axis=(2, 4))
    edge = round(32 * scale)
    large = means.repeat(edge, axis=1).repeat(edge, axis=2)
    return large[:, : int(height * scale) // 2 * 2, : int(width * scale) // 2 * 2]


@pytest.mark.parametrize("count", [1, 9, 20, 100, 181])
@pytest.mark.parametrize(("width", "height"), [(96, 64), (201, 121)])
def test_every_frame_comes_out_at_its_place_in_its_order(count, width, height):
    source = pictures(count, width, height)
    made = through_blocks(source, spatial=2)
    assert np.abs(made.astype(float) - blocks(source, 2)).max() <= 1


@pytest.mark.parametrize("count", [9, 20, 100])
def test_twice_the_frames_stand_at_twice_their_number(count):
    source = pictures(count, 96, 64)
    made = through_blocks(source, spatial=1, temporal=True)
    assert len(made) == 2 * count
    assert np.abs(made[::2].astype(float) - blocks(source, 1)).max() <= 1
    assert np.abs(made[1::2].astype(float) - blocks(source, 1)).max() <= 1


def test_both_upscalers_keep_places_and_times():
    source = pictures(20, 200, 120)
    made = through_blocks(source, spatial=1.5, temporal=True)
    assert made.shape == (40, 180, 300, 3)
    means = blocks(source, 1)[:, ::32, ::32]  # one value a cell
    # Cell 0 covers 48 pixels, of which the first 32 are surely its own colour.
    assert np.abs(made[::2, 0, 0].astype(float) - means[:, 0, 0]).max() <= 1
    assert np.abs(made[::2, -1, -1].astype(float) - means[:, -1, -1]).max() <= 1


@pytest.mark.parametrize("upscaler", ["spatial_upscaler", "temporal_upscaler"])
def test_a_long_clip_is_upscaled_in_stretches_as_in_one(upscaler):
    import torch

    model = BlockModel()
    draw = torch.Generator().manual_seed(1)
    video_latent = torch.randn(1, VIDEO_CHANNELS, 40, 2, 2, generator=draw)
    video_latent[:, 24:] = 0  # the block model knows 24 channels
    video_latent[:, :24, 0] = video_latent[:, [7, 15, 23], 0].repeat_interleave(8, dim=1)
    latents = Latents(video=video_latent, audio=torch.zeros(1, AUDIO_CHANNELS, 1, 16))
    whole = upsample(model, latents, upscaler).video
    for stretch, margin in ((7, 2), (8, 1), (16, 4), (48, 12)):
        made = upsample_long(model, latents, upscaler, stretch=stretch, margin=margin).video
        assert made.shape == whole.shape
        torch.testing.assert_close(made, whole)


def test_a_margin_makes_the_stretches_of_a_real_upscaler_alike(untrained_model):
    import torch

    draw = torch.Generator().manual_seed(1)
    latents = Latents(
        video=torch.randn(1, VIDEO_CHANNELS, 60, 6, 8, generator=draw),
        audio=torch.zeros(1, AUDIO_CHANNELS, 1, 16),
    )
    whole = upsample(untrained_model, latents, "temporal_upscaler").video
    errors = []
    for margin in (1, 6, 12):
        options = {"stretch": 30, "margin": margin}
        made = upsample_long(untrained_model, latents, "temporal_upscaler", **options).video
        errors.append(float((made - whole).norm() / whole.norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.04  # what is left is the norms, which measure a stretch and not the clip


# Files


def test_detail_keeps_size_rate_frames_and_sound(engine, tmp_path):
    source = video(tmp_path / "in.mp4", count=20, rate=FILM)
    receipt = restored(engine, source, tmp_path / "out.mp4")
    facts, frames = read(tmp_path / "out.mp4")
    assert (facts.width, facts.height, facts.rate, facts.frames) == (96, 64, FILM, 20)
    assert frames.std() > 5
    before, after = packets(source), packets(tmp_path / "out.mp4")
    assert before[0] == after[0]
    assert np.abs(np.subtract(before[1], after[1])).max() < 0.002
    told = receipt.as_dict()
    assert (told["num_frames"], told["mode"], told["prompt"], told["seed"]) == (20, "pro", "", 7)
    assert told["plan_id"] == receipt.plan.id
    assert told["has_audio"]
    assert told["source"]["frame_rate"] == "24000/1001"
    assert told["source"]["sha256"] == probe(source).sha256
    assert [(each["source"], each["stage"]) for each in told["loras"]] == [("detailer", "detail")]
    assert set(told["timings"]) == {"prompt", "encode", "detail", "decode+encode"}


def test_the_same_request_gives_the_same_bytes_and_another_seed_others(engine, tmp_path):
    source = video(tmp_path / "in.mp4", count=9)
    made = [
        restored(engine, source, tmp_path / f"{n}.mp4", seed=seed).encoded.sha256
        for n, seed in enumerate((7, 7, 8))
    ]
    assert made[0] == made[1] != made[2]


def test_a_video_longer_than_a_window_and_off_every_grid_is_detailed(engine, tmp_path):
    source = video(tmp_path / "in.mp4", count=75, width=101, height=67, codec="libx264",
                   pixels="yuv444p", audio=None)  # fmt: skip
    receipt = restored(engine, source, tmp_path / "out.mp4", mode="fast")
    facts, _ = read(tmp_path / "out.mp4")
    assert len(receipt.plan.detail.spans(11)) == 2
    assert (facts.width, facts.height, facts.frames, facts.audio) == (100, 66, 75, ())
    assert [snap["name"] for snap in receipt.as_dict()["snaps"]] == ["width", "height"]


@pytest.mark.parametrize(
    ("changes", "size", "frames", "rate"),
    [
        ({}, (192, 128), 12, 24),
        ({"mode": "pro", "prompt": "a cat"}, (192, 128), 12, 24),
        ({"spatial": 1.5}, (144, 96), 12, 24),
        ({"spatial": 1, "temporal": True}, (96, 64), 24, 48),
        ({"temporal": True, "detailer": True, "refine": False}, (192, 128), 24, 48),
    ],
)
def test_upscaling_makes_the_size_and_rate_it_was_asked_for(
    engine, tmp_path, changes, size, frames, rate
):
    source = video(tmp_path / "in.mp4", count=12)
    receipt = restored(engine, source, tmp_path / "out.mp4", "upscale", **changes)
    facts, _ = read(tmp_path / "out.mp4")
    assert (facts.width, facts.height) == size
    assert (facts.frames, facts.rate) == (frames, rate)
    assert receipt.as_dict()["duration"] == pytest.approx(0.5)
    assert packets(source)[0] == packets(tmp_path / "out.mp4")[0]


def test_a_phone_clip_is_upright_and_stays_so(engine, tmp_path):
    source = video(tmp_path / "in.mp4", count=9, rotation=90)
    restored(engine, source, tmp_path / "out.mp4", "upscale")
    facts = probe(tmp_path / "out.mp4")
    assert (facts.width, facts.height) == (128, 192)


def test_windows_of_the_refine_pass_meet_without_a_jump(engine, tmp_path):
    """What two windows share is the same in both, so the cut between them is in neither."""
    import torch

    source = video(tmp_path / "in.mp4", count=97, audio=None)
    request = VideoRequest(task="upscale", video=source, seed=7, spatial=1, temporal=True)
    plan = prepare_video(request, checkpoint=TINY, limits=Limits(max_seconds=1.5)).plan
    window = plan.refine
    assert len(window.spans(25)) > 1
    from pipelines.stages import windows
    from pipelines.stages.prompt import encode_prompts

    draw = torch.Generator().manual_seed(2)
    size = (1, VIDEO_CHANNELS, 25, window.denoise.height // 32, window.denoise.width // 32)
    made = torch.randn(size, generator=draw)
    latents = Latents(video=made, audio=torch.zeros(1, AUDIO_CHANNELS, 1, 16))
    prompts = encode_prompts(engine.components, plan)["refine"]
    options = {"stage": "refine", "progress": Progress()}
    made = windows.in_windows(engine.components, window, latents, prompts, **options).video
    (_, end), (start, _) = window.spans(25)[:2]
    first = replace(window, latents=end, overlap=0)
    part = replace(latents, video=latents.video[:, :, :end])
    alone = windows.in_windows(engine.components, first, part, prompts, **options).video
    assert end - start == window.overlap == 4
    torch.testing.assert_close(made[:, :, :end], alone, atol=1e-4, rtol=0)


# Refusals and stops


def test_a_missing_detailer_is_refused_before_anything_loads(tmp_path, tiny):
    from ltx2.engine import Engine
    from ltx2.settings import Settings

    folder = tmp_path / "weights"
    folder.mkdir()
    for file in tiny.iterdir():
        if "detailer" not in file.name:
            (folder / file.name).symlink_to(file)
    settings = Settings.from_env({"HF_HUB_CACHE": str(tmp_path)})
    engine = Engine.load(str(folder), settings=settings)
    source = video(tmp_path / "in.mp4", count=9)
    with pytest.raises(ConfigError, match="the detailer needs ltx-2-tiny-ic-lora-detailer"):
        restored(engine, source, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
    assert engine.components.held == ()


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({}, None),
        ({"reference_downscale_factor": "1"}, 1),
        ({"reference_downscale_factor": "2.0"}, 2),
        ({"reference_downscale_factor": "4", "reference_temporal_scale_factor": "1"}, 4),
        ({"reference_downscale_factor": "0"}, "a whole number from 1 to 4 works"),
        ({"reference_downscale_factor": "-2"}, "has the reference_downscale_factor '-2'"),
        ({"reference_downscale_factor": "1.5"}, "a whole number"),
        ({"reference_downscale_factor": "inf"}, "a whole number"),
        ({"reference_downscale_factor": "nan"}, "a whole number"),
        ({"reference_downscale_factor": "half"}, "a whole number"),
        ({"reference_downscale_factor": "5"}, "a whole number"),
        ({"reference_temporal_scale_factor": "2"}, "follows a slower clip"),
        ({"reference_temporal_scale_factor": "x"}, "only 1 works here"),
    ],
)
def test_what_a_detailers_file_says_of_its_reference_is_used_or_refused(tmp_path, told, found):
    import torch
    from safetensors.torch import save_file

    from ltx2.settings import Settings

    save_file({"a": torch.zeros(1)}, tmp_path / "ltx-2-tiny-ic-lora-detailer.safetensors", told)
    settings = Settings.from_env({"HF_HUB_CACHE": str(tmp_path / "hub")})
    if isinstance(found, str):
        with pytest.raises(ConfigError, match=found):
            detailer_downscale(TINY, tmp_path, settings)
    else:
        assert detailer_downscale(TINY, tmp_path, settings) == found


@pytest.mark.parametrize("link", [False, True])
def test_the_source_is_never_written_over(engine, tmp_path, link):
    source = video(tmp_path / "in.mp4", count=9)
    before = source.read_bytes()
    target = source
    if link:
        target = tmp_path / "link.mp4"
        target.symlink_to(source)
    events = []
    with pytest.raises(BadRequest, match="is the video itself; name another file"):
        restored(engine, source, target, progress=Progress(events.append))
    assert (source.read_bytes(), events) == (before, [])


def test_sound_that_nobody_knows_is_refused_by_a_sentence_and_may_be_left_away(engine, tmp_path):
    source = video(tmp_path / "in.mkv", count=9)
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with pytest.raises(BadRequest, match="sound is unknown, which an MP4 does not hold"):
        restored(engine, source, tmp_path / "out.mp4")
    restored(engine, source, tmp_path / "out.mp4", "upscale", audio=False, refine=False)
    assert probe(tmp_path / "out.mp4").audio == ()


def test_a_missing_upscaler_is_named(tmp_path, tiny):
    from ltx2.engine import Engine
    from ltx2.settings import Settings

    folder = tmp_path / "weights"
    folder.mkdir()
    for file in tiny.iterdir():
        if "x1.5" not in file.name:
            (folder / file.name).symlink_to(file)
    engine = Engine.load(str(folder), settings=Settings.from_env({}))
    source = video(tmp_path / "in.mp4", count=9)
    with pytest.raises(ConfigError, match=r"spatial_upscaler_x1\.5 .*x1\.5\.safetensors"):
        restored(engine, source, tmp_path / "out.mp4", "upscale", spatial=1.5)


@pytest.mark.parametrize("stage", ["encode", "detail", "decode+encode"])
def test_a_stop_leaves_no_file_and_the_next_run_is_whole(engine, tmp_path, stage):
    source = video(tmp_path / "in.mp4", count=9)
    whole = restored(engine, source, tmp_path / "whole.mp4").encoded.sha256
    reached = []

    def listen(event):
        reached.append(event.stage)

    progress = Progress(listen, cancelled=lambda: reached[-1:] == [stage])
    with pytest.raises(Cancelled):
        restored(engine, source, tmp_path / "out.mp4", progress=progress)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "whole.mp4"]
    assert restored(engine, source, tmp_path / "out.mp4").encoded.sha256 == whole


def test_progress_reaches_the_end_over_all_stages(engine, tmp_path):
    source = video(tmp_path / "in.mp4", count=9)
    events = []
    restored(
        engine, source, tmp_path / "out.mp4", "upscale", detailer=True,
        progress=Progress(events.append),
    )  # fmt: skip
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages == ["prompt", "encode", "upsample", "refine", "detail", "decode+encode"]
    assert events[-1].percent > 99
    assert all(a.percent <= b.percent for a, b in pairwise(events))


# The command


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_a_file_and_one_json_document(shell, capsys):
    video(shell / "in.mp4", count=9)
    done = main(
        ["detail", "in.mp4", "--checkpoint", "tiny", "--seed", "3", "-o", "out.mp4", "--json"]
    )
    told = json.loads(capsys.readouterr().out)
    assert done == 0
    assert Path(told["video_url"].removeprefix("file://")) == shell / "out.mp4"
    assert (told["num_frames"], told["seed"], told["mode"]) == (9, 3, "pro")


def test_the_command_upscales_under_a_new_name(shell, capsys):
    video(shell / "in.mp4", count=9, audio=None)
    command = ["upscale", "in.mp4", "--checkpoint", "tiny", "--spatial", "1.5", "--temporal"]
    assert main([*command, "--no-refine"]) == 0
    made = list(shell.glob("ltx2-*.mp4"))
    assert len(made) == 1
    assert "144x96, 0.4 s at 48 fps" in capsys.readouterr().err
    assert probe(made[0]).frames == 18


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["detail", "in.mp4", "--checkpoint", "ltx-2.5"], "no detailer for ltx-2.5"),
        (
            ["upscale", "in.mp4", "--checkpoint", "ltx-2", "--spatial", "1.5"],
            "ltx-2 has no spatial",
        ),
        (["detail", "no.mp4"], "no.mp4 is not there"),
        (["detail", "in.mp4", "-o", "in.mp4"], "another file than the video"),
        (["detail", "in.mp4", "--strength", "a lot"], "strength must be a number"),
        (["detail", "in.mp4", "--strenght", "1"], "did you mean --strength?"),
        (["detail", "in.mp4", "--temporal"], "--temporal is no option here"),
        (["upscale", "in.mp4", "-o", "out.mov", "--seed", "x"], "--output must end in .mp4"),
    ],
)
def test_the_command_refuses_in_a_sentence(shell, capsys, arguments, said):
    video(shell / "in.mp4", count=3)
    if "--checkpoint" not in arguments:
        arguments = [*arguments, "--checkpoint", "tiny"]
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in shell.iterdir()) == ["in.mp4"]


def test_weights_that_are_not_here_are_missed_before_torch_is_imported(shell):
    video(shell / "in.mp4", count=3)
    code = """
import sys
from ltx2.cli import main
from tiny.sizes import AUDIO_CHANNELS, VIDEO_CHANNELS
assert main(["detail", "in.mp4", "--checkpoint", "ltx-2"]) == 1
assert "torch" not in sys.modules
"""
    settings = {"HF_HUB_CACHE": str(shell / "hub"), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **settings}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ltx-2: mode pro misses ltx-2-19b-dev.safetensors" in done.stderr


def test_ctrl_c_stops_the_command_and_leaves_the_source_alone(shell, capfd):
    source = video(shell / "in.mp4", count=33)
    before = source.read_bytes()
    steps = []

    def interrupted(module, _inputs):
        if isinstance(module, LTX2VideoTransformer3DModel):
            steps.append(module)
            signal.raise_signal(signal.SIGINT)

    hook = register_module_forward_pre_hook(interrupted)
    try:
        assert main(["detail", "in.mp4", "--checkpoint", "tiny", "-o", "o.mp4"]) == 130
    finally:
        hook.remove()
    assert len(steps) == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith("stopped: cancelled during detail")
    assert source.read_bytes() == before
    assert sorted(path.name for path in shell.iterdir()) == ["in.mp4"]


def test_a_text_that_is_no_request_is_refused_in_python_too(engine, tmp_path):
    with pytest.raises(BadRequest, match="nothing to upscale"):
        restored(engine, tmp_path / "in.mp4", tmp_path / "out.mp4", "upscale", spatial=1)
