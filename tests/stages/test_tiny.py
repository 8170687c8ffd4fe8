"""The embedded checkpoint: real classes, real layout, the same bytes everywhere."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Gemma3ForConditionalGeneration

import ltx2
from loras import catalog
from loras.adapters import metadata
from pipelines.checkpoints.files import find
from pipelines.checkpoints.load import load
from pipelines.models import CHECKPOINTS, TINY
from pipelines.stages.condition import encode_pixels
from pipelines.stages.prompt import hidden_states
from pipelines.tiny import sizes
from pipelines.tiny.build import STAMP, build, is_built
from pipelines.tiny.sizes import FILES
from pipelines.upstream.prompt_tokens import prompt_tokens

PARTS = ("transformer", "connectors", "vae", "audio_vae", "vocoder")
LIMIT_BYTES = 40 * 10**6


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_builds_are_the_same_bytes(tiny, tmp_path):
    assert digests(build(tmp_path / "again")) == digests(tiny)


def test_the_blocks_that_guidance_perturbs_are_there():
    assert 0 <= TINY.stg_blocks[0] <= TINY.stg_blocks[-1] < sizes.BLOCKS


def test_a_whole_folder_is_left_alone(tmp_path):
    folder = build(tmp_path / "tiny")
    before = (folder / STAMP).stat().st_mtime_ns
    assert build(folder).joinpath(STAMP).stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("damage", ["missing", "cut", "of another version"])
def test_a_damaged_folder_is_built_anew(tiny, tmp_path, damage):
    folder = Path(shutil.copytree(tiny, tmp_path / "tiny"))
    file = folder / FILES.spatial_upscaler
    stamp = folder / STAMP
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-2])
    else:
        stamp.write_text(stamp.read_text().replace('"version": "', '"version": "0'))
    assert not is_built(folder)
    assert digests(build(folder)) == digests(tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_what_somebody_else_keeps_there_is_not_deleted(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(FileExistsError, match="name an empty or a new folder"):
            build(taken)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_two_processes_may_build_it_at_once(tiny, tmp_path):
    code = "import sys, pathlib; from pipelines.tiny.build import build"
    code += "; build(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path / "tiny")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        assert errors == b""  # a first run shows its own progress, not the libraries'
    assert digests(tmp_path / "tiny") == digests(tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_the_family_is_small(tiny):
    assert sum(path.stat().st_size for path in tiny.rglob("*") if path.is_file()) <= LIMIT_BYTES


def test_nothing_is_missing_in_either_mode(tiny):
    weights = find(tiny, CHECKPOINTS["tiny"])
    assert weights.layout == "original"
    assert weights.missing("fast") == weights.missing("pro") == []
    assert weights.has("temporal_upscaler")


@pytest.mark.parametrize(("file", "mode"), [(FILES.dev, "pro"), (FILES.distilled, "fast")])
def test_either_file_alone_is_a_whole_model(tiny, file, mode):
    assert find(tiny / file).missing(mode) == []


def test_the_files_alone_tell_that_it_is_tiny(tiny):
    assert find(tiny).generation == TINY


@pytest.mark.parametrize("name", PARTS)
def test_the_loader_reads_the_sizes_of_the_table(tiny, name):
    config = load(find(tiny, CHECKPOINTS["tiny"]), name).config
    for argument, value in sizes.MODULES[name].items():
        assert config[argument] == (list(value) if isinstance(config[argument], list) else value), (
            argument
        )


def test_dev_and_distilled_differ_in_the_transformer_alone(tiny):
    weights = find(tiny, CHECKPOINTS["tiny"])
    dev, distilled = (load(weights, "transformer", variant=v) for v in ("dev", "distilled"))
    assert not torch.equal(dev.proj_in.weight, distilled.proj_in.weight)
    assert dev.config == distilled.config
    assert len(dev.transformer_blocks) > max(TINY.stg_blocks)


def test_every_tiny_lora_of_the_catalogue_is_there(tiny):
    entries = [entry for entry in catalog.entries() if "tiny" in entry.generations]
    assert {entry.kind for entry in entries} == {"camera", "detailer", "distilled"}
    assert all((tiny / entry.file).is_file() for entry in entries)
    detailer = catalog.get("detailer", "tiny")
    assert metadata(tiny / detailer.file)["reference_downscale_factor"] == str(
        sizes.DETAILER_DOWNSCALE
    )


@pytest.mark.parametrize(
    "prompt", ["a red ball", "  eine rote Kugel, groß  ", "赤いボール 🔴", "a\nb\tc"]
)
def test_the_tokenizer_reads_any_prompt_back(tiny, prompt):
    tokenizer = load(find(tiny, CHECKPOINTS["tiny"]), "tokenizer")
    ids = tokenizer(prompt)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == prompt
    assert tokenizer.unk_token_id not in ids


def test_a_prompt_starts_with_bos_and_is_padded_on_the_left(tiny):
    tokenizer = load(find(tiny, CHECKPOINTS["tiny"]), "tokenizer")
    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    assert (bos, pad) == (2, 0)  # as in Gemma's own files
    ids = tokenizer("red", padding="max_length", max_length=6)["input_ids"]
    assert ids[:3] == [pad, pad, bos]
    assert tokenizer.model_max_length % 128 == 0  # the connectors' registers divide it


def test_transformers_finds_every_tensor_of_the_text_encoder_and_no_other(tiny):
    _, report = Gemma3ForConditionalGeneration.from_pretrained(
        tiny / sizes.TEXT_ENCODER, output_loading_info=True
    )
    assert not any(report.values()), report


def test_the_hidden_states_stay_near_unit_size(tiny_model):
    with tiny_model.using("tokenizer") as tokenizer:
        tokens = prompt_tokens(tokenizer, "a red ball rolls left")
    with tiny_model.using("text_encoder") as encoder:
        states = hidden_states(encoder, tokens.ids, tokens.mask, tiny_model.device)
    assert states.shape == (1, sizes.MAX_TOKENS, sizes.TEXT_WIDTH, sizes.TEXT_LAYERS + 1)
    assert 0.5 < float(states[:, -tokens.length :].std()) < 5


def test_a_picture_encodes_to_about_unit_latents(tiny_model):
    ramp = torch.linspace(-1, 1, 320).expand(1, 3, 1, 192, 320)
    latent = encode_pixels(tiny_model, ramp)
    assert latent.shape == (1, 128, 1, 6, 10)
    assert 0.4 < float(latent.std()) < 2
    assert float(latent.std((3, 4)).mean()) > 0.2  # it tells the left from the right


def generate(engine, **changes):
    standard = {"prompt": "a red ball rolls left", "seed": 7, "num_frames": 17}
    return engine.generate(ltx2.Request(**{**standard, **changes}))


@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_a_clip_shows_and_sounds_like_something(engine, mode):
    clip = generate(engine, mode=mode)
    frames = clip.frames.astype(np.float32)
    assert frames.std((1, 2)).mean() > 15  # within a frame and a colour, of 255
    assert frames.std(0).mean() > 10  # over time
    assert np.isin(clip.frames, (0, 255)).mean() < 0.1
    sound = clip.audio - clip.audio.mean(1, keepdims=True)
    assert np.abs(clip.audio.mean(1)).max() < 0.1
    assert sound.std(1).min() > 0.05
    assert np.abs(clip.audio).max() < 0.999


def test_prompt_seed_and_camera_are_seen_and_heard(engine):
    clip = generate(engine)
    for changes, seen, heard in (
        ({"prompt": "rain on a window"}, 2.0, 5e-3),
        ({"seed": 8}, 20.0, 5e-2),
        ({"camera_motion": "dolly_in"}, 0.5, 1e-3),
    ):
        other = generate(engine, **changes)
        difference = np.abs(clip.frames.astype(np.float32) - other.frames).mean()
        assert difference > seen, (changes, difference)
        assert np.abs(clip.audio - other.audio).mean() > heard, changes


def test_every_camera_move_moves_the_clip_in_its_own_way(engine):
    size = {"width": 128, "height": 64, "num_frames": 9}
    cameras = [entry.id for entry in catalog.entries() if "tiny" in entry.generations]
    cameras = [name for name in cameras if name in catalog.cameras()]
    clips = {name: generate(engine, **size, camera_motion=name).frames for name in cameras}
    assert len({clip.tobytes() for clip in clips.values()}) == len(cameras) == 7
