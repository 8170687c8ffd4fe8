"""A camera LoRA of one's own on untrained weights: from the move to the engine that takes it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from loras import catalog
from ltx2.engine import Engine
from ltx2.request import Request
from ltx2.settings import Settings
from pipelines.checkpoints.headers import read_header
from tiny import layout, own_camera, preview, shipped
from tiny.moves import Move

pytestmark = pytest.mark.slow
SETTINGS = Settings.from_env({})
SMALL = {"prompt": "a red circle", "seed": 1, "width": 128, "height": 64, "num_frames": 9,
         "spatial_upscaler": False, "generate_audio": False}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(untrained_family):
    return untrained_family


@pytest.fixture(scope="module")
def task(checkpoint):
    return own_camera.Task(
        name="roll_left",
        move=Move.parse("roll_left"),
        checkpoint=str(checkpoint),
        clips=2,
        steps=2,
        batch=2,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, task):
    """Where a LoRA was made, with all that led to it."""
    folder = tmp_path_factory.mktemp("own") / "roll_left"
    own_camera.make(task, folder, processes=1, settings=SETTINGS)
    return folder


@pytest.fixture(scope="module")
def engine(checkpoint):
    return Engine.load(str(checkpoint), settings=SETTINGS)


def test_the_file_has_the_tensors_of_the_shipped_camera_loras(folder, checkpoint):
    (entry,) = [
        each for each in catalog.entries() if each.id == "jib_up" and "tiny" in each.generations
    ]
    own = load_file(folder / "roll_left.safetensors")
    other = load_file(checkpoint / entry.file)
    assert {name: (value.shape, value.dtype) for name, value in own.items()} == {
        name: (value.shape, value.dtype) for name, value in other.items()
    }
    ups = [value for name, value in own.items() if ".lora_B." in name]
    assert all(value.any() for value in ups)  # nothing of it was left as it began


def test_the_folder_keeps_the_clips_the_log_and_the_curve(folder):
    assert [path.name for path in sorted((folder / "latents").iterdir())] == [
        "own-0000.pt",
        "own-0001.pt",
    ]
    rows = [json.loads(row) for row in (folder / "training/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert {"video", "with", "without"} <= set(rows[-1])
    assert rows[-1]["with"] != rows[-1]["without"]
    assert (folder / "training/curve.png").is_file()


@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_the_engine_takes_the_file_and_makes_another_clip(folder, engine, mode):
    file = folder / "roll_left.safetensors"
    steps = {"num_inference_steps": 2} if mode == "pro" else {}
    clips = [
        engine.generate(
            Request.parse({**SMALL, **steps, "mode": mode, "loras": loras}, paths=True)
        ).frames.astype(int)
        for loras in ([], [{"source": str(file)}], [{"source": str(file), "strength": 0.0}])
    ]
    assert (clips[1] != clips[0]).any()
    assert (clips[2] == clips[0]).all()


def test_what_is_there_is_not_made_again(folder, task):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    own_camera.make(task, folder, processes=1, settings=SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_that_was_cut_goes_on_with_its_clips(folder, task):
    """What it draws follows from the task, so the same LoRA comes out."""
    file = folder / "roll_left.safetensors"
    before = file.read_bytes()
    file.unlink()
    clips = {path: path.stat().st_mtime_ns for path in (folder / "latents").iterdir()}
    own_camera.make(task, folder, processes=1, settings=SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in clips} == clips
    assert file.read_bytes() == before


@pytest.mark.parametrize("change", [{"move": Move.parse("diagonal")}, {"steps": 3}, {"clips": 3}])
def test_a_folder_of_another_task_is_refused(folder, task, change):
    (name,) = change
    with pytest.raises(own_camera.Refused, match=rf"was begun with {name} .*--name"):
        own_camera.make(replace(task, **change), folder, processes=1, settings=SETTINGS)


def test_the_preview_shows_both_clips_and_says_what_is_seen(folder, task):
    told = own_camera.show(task, folder / "roll_left.safetensors", SETTINGS, **SMALL)
    assert told.count("the move cannot be told") == 2  # untrained weights show no ground
    with Image.open(folder / "preview.webp") as animation:
        assert animation.n_frames == 5
        assert animation.size == (2 * 128 + layout.GAP, 64 + layout.TITLE)
    with Image.open(folder / "preview.png") as sheet:
        assert sheet.height == 2 * (64 + layout.TITLE) + layout.GAP


def test_clips_of_different_shapes_are_not_put_beside_each_other(tmp_path):
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="one shape"):
        preview.write(tmp_path / "preview", {"one": frames, "other": frames[:2]})


def test_a_generator_of_the_files_is_the_one_that_was_written(checkpoint):
    weights = shipped.weights_of(str(checkpoint), SETTINGS)
    model = shipped.generator(weights)
    with safe_open(weights.files("transformer", "dev")[0], "pt") as file:
        stored = file.get_tensor("model.diffusion_model.transformer_blocks.0.attn1.to_q.weight")
    assert (model.transformer.transformer_blocks[0].attn1.to_q.weight == stored.float()).all()
    assert not any(weight.requires_grad for weight in model.parameters())


def test_files_of_other_sizes_are_refused(checkpoint, tmp_path):
    """Those that load all the same, here of another decoder."""
    file = shipped.weights_of(str(checkpoint), SETTINGS).files("transformer", "dev")[0]
    header = read_header(file)
    config = {**header.config, "vae": {**header.config["vae"], "decoder_base_channels": 8}}
    shutil.copytree(checkpoint, tmp_path / "other")
    save_file(
        load_file(file),
        tmp_path / "other" / file.name,
        {**header.metadata, "config": json.dumps(config)},
    )
    with pytest.raises(shipped.NotThisFamily, match="other sizes"):
        shipped.weights_of(str(tmp_path / "other"), SETTINGS)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["spin"], "no axis that is known"),
        (["roll:0..10"], "needs one: --name"),
        (["roll:0..10", "--name", "../up"], "is no name"),
        (["roll_left", "--clips", "1", "--steps", "0"], "1 clips are too few"),
        (["roll_left", "--clips", "1", "--steps", "0"], "0 steps are too few"),
        (["roll_left", "--checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_the_command_refuses_in_a_sentence(arguments, problem, tmp_path, capsys):
    assert own_camera.main([*arguments, "--folder", str(tmp_path), "--device", "cpu"]) == 2
    assert problem in capsys.readouterr().err
    assert list(tmp_path.rglob("*.pt")) == []
