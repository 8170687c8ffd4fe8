"""The engine end to end on the embedded checkpoint: what users get, again and again."""

import logging
import math
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import ltx2
from ltx2.delivery.file import ToFile
from ltx2.engine import Engine
from ltx2.prepare import prepare
from ltx2.progress import Progress
from ltx2.session import execute, generate
from ltx2.settings import Settings
from ltx2.weights import Cuda
from pipelines.models import CHECKPOINTS
from pipelines.values import Inputs
from tests.unit.checkpoint_files import GEMMA_NAME, originals, text_encoder

FRAMES = 9
SMALL = {
    "prompt": "a red ball rolls left",
    "seed": 7,
    "width": 128,
    "height": 64,
    "num_frames": FRAMES,
}


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    gradient = np.linspace(0, 255, 96 * 150 * 3).reshape(96, 150, 3).astype(np.uint8)
    Image.fromarray(gradient).save(path)
    return str(path)


PRO = {"mode": "pro", "num_inference_steps": 3}


def request(**changes):
    return ltx2.Request(**{**SMALL, **changes})


@pytest.fixture(scope="module")
def plain(engine):
    """The clip of the plain request, made before any other of this file."""
    return engine.generate(request())


@pytest.mark.parametrize("mode", [{}, PRO], ids=["fast", "pro"])
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("stages", [1, 2])
def test_every_graph_gives_the_planned_clip(engine, picture, mode, conditioned, stages):
    changes = {**mode, "spatial_upscaler": stages == 2}
    if conditioned:
        changes |= {"image": picture, "last_image": picture}
    result = engine.generate(request(**changes))
    assert result.frames.shape == (FRAMES, 64, 128, 3)
    assert result.frames.dtype == np.uint8
    assert result.frames.std() > 1
    channels, samples = result.audio.shape
    assert channels == 2
    assert samples / result.audio_sample_rate == pytest.approx(FRAMES / 24, abs=0.05)
    assert np.abs(result.audio).max() <= 1
    assert set(result.timings) >= {"prompt", "base", "sound", "decode+encode"}
    assert ("refine" in result.timings) == (stages == 2)


def test_the_same_seed_gives_the_same_clip_and_another_seed_does_not(engine, plain):
    again = engine.generate(request())
    assert np.array_equal(plain.frames, again.frames)
    assert np.array_equal(plain.audio, again.audio)
    other = engine.generate(request(seed=8))
    assert not np.array_equal(plain.frames, other.frames)
    assert not np.array_equal(plain.audio, other.audio)


def test_another_job_in_between_changes_nothing(engine, plain, picture):
    engine.generate(request(**PRO, image=picture, camera_motion="dolly_in"))
    assert np.array_equal(plain.frames, engine.generate(request()).frames)


def test_no_sound_when_none_was_asked_for(engine, tmp_path):
    result = engine.generate(request(generate_audio=False))
    assert "refine" in result.timings
    assert result.audio is None
    single = request(generate_audio=False, spatial_upscaler=False)
    receipt = generate(single, engine=engine, deliver=ToFile(tmp_path / "out.mp4")).as_dict()
    assert receipt["has_audio"] is False
    assert receipt["audio_sample_rate"] is None


def test_the_first_frame_is_held(engine, picture):
    """The latent tells: it is the picture's at full strength.

    Pixels would also tell how good the VAE is, which `tests/tiny` measures.
    """
    prepared = prepare(
        request(image=picture, spatial_upscaler=False),
        checkpoint=engine.checkpoint, limits=engine.limits, media=engine.media_limits,
    )  # fmt: skip
    from pipelines.stages.condition import place
    from pipelines.stages.denoise import denoise
    from pipelines.stages.prompt import encode_prompts

    plan, model = prepared.plan, engine.components
    placed = place(model, plan.base, prepared.inputs)
    latents = denoise(
        model, plan.base, encode_prompts(model, plan)["base"], stage="base",
        noise=torch.Generator().manual_seed(1), placed=placed, progress=Progress(),
    )  # fmt: skip
    torch.testing.assert_close(latents.video[:, :, :1], placed[0].latent, atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_a_camera_move_changes_the_clip_and_is_taken_off_again(engine, plain, strength):
    moved = engine.generate(request(camera_motion="dolly_left", camera_strength=strength))
    assert not np.array_equal(plain.frames, moved.frames)
    assert np.array_equal(plain.frames, engine.generate(request()).frames)


def test_a_run_stops_between_steps_and_leaves_no_file(engine, tmp_path):
    called_off = threading.Event()
    seen = []

    def listener(event):
        seen.append((event.stage, event.step))
        if event.stage == "base" and event.step == 3:
            called_off.set()

    with pytest.raises(ltx2.Cancelled, match="base, step 3 of 8"):
        generate(
            request(), engine=engine, deliver=ToFile(tmp_path / "out.mp4"),
            progress=Progress(listener, cancelled=called_off.is_set),
        )  # fmt: skip
    assert seen[-1] == ("base", 3)
    assert list(tmp_path.iterdir()) == []


def test_a_run_stops_between_decoded_chunks_and_leaves_no_file(engine, tmp_path):
    long = request(width=64, num_frames=81, spatial_upscaler=False)
    stages, decoded = [], []
    decoder = engine.components.part("vae").decoder
    hook = decoder.register_forward_pre_hook(lambda *_: decoded.append(stages[-1]))
    try:
        with pytest.raises(ltx2.Cancelled, match=r"decode\+encode, step 1 of 2"):
            generate(
                long, engine=engine, deliver=ToFile(tmp_path / "out.mp4"),
                progress=Progress(
                    lambda event: stages.append(event.stage),
                    cancelled=lambda: "decode+encode" in stages,
                ),
            )  # fmt: skip
    finally:
        hook.remove()
    assert decoded == ["decode+encode"]
    assert list(tmp_path.iterdir()) == []


def test_a_clean_run_follows_a_cancelled_one(engine):
    """It is stopped where the LoRA of the second pass acts."""
    before = engine.generate(request(**PRO))
    prepared = prepare(
        request(**PRO),
        checkpoint=engine.checkpoint,
        limits=engine.limits,
        media=engine.media_limits,
    )
    stages = []
    progress = Progress(
        lambda event: stages.append(event.stage), cancelled=lambda: "refine" in stages
    )
    with pytest.raises(ltx2.Cancelled, match="refine"):
        engine.run(prepared.plan, prepared.inputs, progress)
    assert np.array_equal(before.frames, engine.generate(request(**PRO)).frames)


@pytest.mark.parametrize(
    ("stage", "part"),
    [
        ("base", "transformer:distilled"),
        ("upsample", "spatial_upscaler"),
        ("refine", "transformer:distilled"),
        ("sound", "vocoder"),
        ("decode", "vae"),
    ],
)
def test_what_is_not_finite_is_an_error_that_names_its_stage_never_a_black_clip(
    tiny, tmp_path, stage, part
):
    engine = Engine.load(str(tiny), settings=Settings.from_env({}))

    def listener(event):
        if event.stage == stage and event.step == 0:
            broken = engine.components.part(part)
            with torch.no_grad():
                list(broken.parameters())[-1].fill_(float("nan"))

    if stage == "decode":
        with torch.no_grad():
            list(engine.components.part("vae").decoder.parameters())[-1].fill_(float("nan"))
    with pytest.raises(ltx2.GenerationFailed, match=rf"^{stage}: .* not finite; plan .*, seed 7"):
        generate(
            request(), engine=engine, deliver=ToFile(tmp_path / "out.mp4"),
            progress=Progress(listener),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_an_infinity_in_the_sound_is_an_error_though_it_could_be_clamped(tiny, tmp_path):
    engine = Engine.load(str(tiny), settings=Settings.from_env({}))
    vocoder = engine.components.part("vocoder")
    vocoder.register_forward_hook(lambda _module, _mel, wave: torch.full_like(wave, math.inf))
    with pytest.raises(ltx2.GenerationFailed, match=r"^sound: .* not finite"):
        generate(request(), engine=engine, deliver=ToFile(tmp_path / "out.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_progress_moves_forward_to_the_end(engine, tmp_path):
    events = []
    generate(
        request(),
        engine=engine,
        deliver=ToFile(tmp_path / "out.mp4"),
        progress=Progress(events.append),
    )
    percents = [event.percent for event in events]
    assert percents == sorted(percents)
    assert percents[-1] > 99
    assert [event.stage for event in events if event.stage == "refine"][1:] == ["refine"] * 3
    assert all(event.eta is None or event.eta >= 0 for event in events)


def test_offload_gives_the_same_clip(plain, tiny):
    settings = replace(Settings.from_env({}), residency="offload")
    offloaded = Engine.load(str(tiny), settings=settings)
    assert np.array_equal(offloaded.generate(request()).frames, plain.frames)


@pytest.mark.parametrize("residency", ["staged", "offload"])
def test_pro_with_a_lora_is_the_same_wherever_its_parts_live(engine, tiny, residency):
    asked = request(**PRO, camera_motion="dolly_left")
    settings = replace(Settings.from_env({}), residency=residency)
    elsewhere = Engine.load(str(tiny), settings=settings)
    assert elsewhere.components.residency == residency
    mine = engine.generate(asked)
    for _ in range(2):
        theirs = elsewhere.generate(asked)
        assert np.array_equal(mine.frames, theirs.frames)
        assert np.array_equal(mine.audio, theirs.audio)


@pytest.mark.slow
def test_bfloat16_gives_nearly_the_clip_of_float32(engine, tiny):
    half = Engine.load(str(tiny), dtype=torch.bfloat16)
    for mode in ({}, PRO):
        asked = request(**mode)
        result, exact = half.generate(asked), engine.generate(asked)
        assert half.components.part(f"transformer:{result.plan.base.variant}").dtype == (
            torch.bfloat16
        )
        assert result.frames.shape == exact.frames.shape
        difference = np.abs(result.frames.astype(float) - exact.frames).mean()
        assert difference < 0.06 * exact.frames.std()
        assert np.abs(result.audio - exact.audio).mean() < 0.1 * np.abs(exact.audio).mean()
    assert np.array_equal(result.frames, half.generate(asked).frames)


def test_the_residency_is_chosen_and_its_reason_kept(tiny, caplog):
    with caplog.at_level(logging.INFO, logger="ltx2.engine"):
        engine = Engine.load(str(tiny), device="cpu", settings=Settings.from_env({}))
        assert engine.components.residency == "resident"
        assert engine.residency_reason == "there is no GPU memory to save"
        assert f"parts are resident: {engine.residency_reason}" in caplog.messages
        settings = replace(Settings.from_env({}), residency="offload")
        assert Engine.load(str(tiny), settings=settings).residency_reason == "it is set so"


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "cuda:x", "meta"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(tiny, name):
    with pytest.raises(ltx2.ConfigError, match=f"no device '{name}' here; there is .*cpu"):
        Engine.load(str(tiny), device=name)
    settings = replace(Settings.from_env({}), device=name)
    with pytest.raises(ltx2.ConfigError, match=f"no device '{name}' here"):
        Engine.load(str(tiny), settings=settings)


def test_without_a_name_the_settings_say_which_checkpoint(tiny, tmp_path, caplog):
    settings = replace(Settings.from_env({}), checkpoint=str(tiny))
    assert Engine.load(settings=settings).checkpoint == CHECKPOINTS["tiny"]
    said = caplog.records[-1]
    assert (said.levelname, said.name) == ("WARNING", "ltx2.engine")
    assert "asked for by its path" in said.message
    assert "tiny is a toy" in said.message


def test_auto_says_what_it_chose_and_why_and_a_name_only_to_those_who_listen(
    tmp_path, caplog, monkeypatch
):
    row = CHECKPOINTS["ltx-2.3"]
    originals(tmp_path / row.name, row, "fast")
    text_encoder(tmp_path / row.name / GEMMA_NAME)
    settings = replace(Settings.from_env({}), weights=tmp_path)
    assert Engine.load("ltx-2.3", settings=settings).checkpoint == row
    assert caplog.records == []  # warnings are on by default, the rest is not
    monkeypatch.setattr("ltx2.weights.cuda", lambda confirm: Cuda(usable=False, reason="no GPU"))
    assert Engine.load(settings=settings).checkpoint == CHECKPOINTS["tiny"]
    assert "checkpoint tiny (auto): no GPU" in caplog.messages[-1]
    monkeypatch.setattr("ltx2.weights.cuda", lambda confirm: Cuda(usable=True, reason="a GPU"))
    assert Engine.load(settings=settings).checkpoint == row
    assert "checkpoint ltx-2.3 (auto): a GPU, and its weights are in" in caplog.messages[-1]


@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_one_pass_needs_neither_the_upscaler_nor_the_distilled_lora(engine, tiny, tmp_path, mode):
    files = CHECKPOINTS["tiny"].files
    ours = shutil.copytree(
        tiny, tmp_path / "ours",
        ignore=shutil.ignore_patterns(files.spatial_upscaler, files.distilled_lora),
    )  # fmt: skip
    steps = {"num_inference_steps": 3} if mode == "pro" else {}
    single = request(mode=mode, **steps, spatial_upscaler=False)
    settings = Settings.from_env({})
    lacking = Engine.load(str(ours), mode=mode, spatial_upscaler=False, settings=settings)
    assert np.array_equal(lacking.generate(single).frames, engine.generate(single).frames)
    with pytest.raises(ltx2.ConfigError, match="spatial_upscaler"):
        lacking.generate(request(mode=mode))
    with pytest.raises(ltx2.ConfigError, match="spatial_upscaler"):
        Engine.load(str(ours), mode=mode, settings=settings)


def test_loading_is_a_stage_of_its_own(tiny, tmp_path):
    engine = Engine.load(str(tiny), settings=Settings.from_env({}))
    events = []
    result = engine.generate(request(), progress=events.append)
    assert next(iter(result.timings)) == "load"
    loads = [event for event in events if event.stage == "load"]
    assert [event.step for event in loads] == list(range(loads[0].steps + 1))
    assert {event.percent for event in loads} == {0}
    again = engine.generate(request())
    assert again.timings["load"] < 0.1
    fresh = Engine.load(str(tiny), settings=Settings.from_env({}))
    seen = []
    stopped = Progress(seen.append, cancelled=lambda: len(seen) > 2)
    with pytest.raises(ltx2.Cancelled, match="load, step 2"):
        fresh.run(result.plan, Inputs(), stopped)


@pytest.mark.parametrize("name", ["transformer:distilled", "vae", "text_encoder"])
def test_memory_that_runs_out_with_nothing_to_save_is_an_error_and_leaves_no_file(
    tiny, tmp_path, name
):
    engine = Engine.load(str(tiny), settings=Settings.from_env({}))

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    part = engine.components.part(name)
    inner = {"vae": "decoder", "text_encoder": "model"}.get(name)
    hook = (getattr(part, inner) if inner else part).register_forward_pre_hook(full)
    with pytest.raises(ltx2.OutOfMemory, match=r"128x64 for 0\.4 s: .* not even a second"):
        generate(request(), engine=engine, deliver=ToFile(tmp_path / "out.mp4"))
    assert list(tmp_path.iterdir()) == []
    hook.remove()
    generate(request(), engine=engine, deliver=ToFile(tmp_path / "out.mp4"))


def test_neither_the_plan_nor_the_file_tells_where_the_weights_are(engine, tiny, tmp_path):
    receipt = generate(request(), engine=engine, deliver=ToFile(tmp_path / "out.mp4")).as_dict()
    assert receipt["checkpoint"] == "tiny"
    content = (tmp_path / "out.mp4").read_bytes()
    assert b'"checkpoint": "tiny"' in content or b'"checkpoint":"tiny"' in content
    assert str(tiny).encode() not in content


def test_the_pipeline_inside_is_made_of_the_same_parts(engine):
    pipe = engine.pipe
    assert type(pipe).__name__ == "LTX2ConditionPipeline"
    assert pipe.transformer is engine.components.part("transformer:distilled")
    assert pipe.vae is engine.components.part("vae")


def test_a_result_saves_what_it_holds(engine, tmp_path):
    result = engine.generate(request())
    made = result.save(tmp_path / "out.mp4")
    assert (made.width, made.height, made.num_frames) == (128, 64, FRAMES)
    assert result.seed == result.plan.seed == 7
    straight = generate(request(), engine=engine, deliver=ToFile(tmp_path / "straight.mp4"))
    assert straight.encoded.sha256 == made.sha256


def test_a_result_is_saved_as_the_settings_say(engine, tiny, tmp_path):
    settings = replace(Settings.from_env({}), crf=45, preset="ultrafast")
    coarse = Engine.load(str(tiny), settings=settings)
    saved = coarse.generate(request()).save(tmp_path / "saved.mp4")
    straight = generate(request(), engine=coarse, deliver=ToFile(tmp_path / "straight.mp4"))
    assert saved.sha256 == straight.encoded.sha256
    assert saved.bytes < engine.generate(request()).save(tmp_path / "fine.mp4").bytes


def test_a_prompt_that_is_too_long_is_reported(engine, tmp_path):
    receipt = generate(
        request(prompt="word " * 400), engine=engine, deliver=ToFile(tmp_path / "out.mp4")
    ).as_dict()
    assert "prompt was cut at 64 tokens" in receipt["warnings"]


def test_execute_needs_only_what_was_prepared(engine, tmp_path):
    prepared = prepare(
        request(generation_id="abc"),
        checkpoint=engine.checkpoint,
        limits=engine.limits,
        media=engine.media_limits,
    )
    receipt = execute(
        prepared, engine=engine, deliver=ToFile(tmp_path / "out.mp4"), progress=Progress()
    ).as_dict()
    assert receipt["generation_id"] == "abc"
    assert receipt["plan_id"] == prepared.plan.id
    assert receipt["video_url"] == (tmp_path / "out.mp4").as_uri()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.safetensors", "there is no file"),
        ("http://127.0.0.1/style.safetensors", "must come from a public address"),
        ("someone/loras:style.safetensors", "not in the hub's cache, and HF_HUB_OFFLINE is set"),
    ],
)
def test_a_lora_that_cannot_be_had_is_refused_before_the_run(engine, source, message, tmp_path):
    asked = request(loras=[{"source": source}])
    with pytest.raises(ltx2.BadRequest, match=message):
        prepare(
            asked,
            checkpoint=engine.checkpoint,
            limits=engine.limits,
            media=engine.media_limits,
            sources=Settings(cache=tmp_path, hub_cache=tmp_path, hf_offline=True).lora_sources(),
        )


def test_a_lora_from_a_local_file_acts_in_the_passes_it_was_given(engine, plain, tiny):
    file = str(tiny / "ltx-2-tiny-lora-camera-control-jib-up.safetensors")
    for stages in ("base", "refine", "both"):
        styled = engine.generate(
            request(loras=[{"source": file, "strength": 0.7, "stages": stages}])
        )
        assert not np.array_equal(plain.frames, styled.frames)
    assert np.array_equal(plain.frames, engine.generate(request()).frames)


def test_the_smallest_clip_that_is_accepted_is_made(engine):
    result = engine.generate(request(width=64, height=64, num_frames=1))
    assert result.frames.shape == (1, 64, 64, 3)
