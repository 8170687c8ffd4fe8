"""The embedded checkpoint: real classes, real layout, small enough for the package."""

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
from pipelines.upstream.prompt_tokens import prompt_tokens
from tiny import sizes
from tiny.sizes import FILES

PARTS = ("transformer", "connectors", "vae", "audio_vae", "vocoder")
LIMIT_BYTES = 40 * 10**6
# Words that the checkpoint was trained on.
PROMPT = "a large red square moving left on a gray checked ground"


def test_the_folder_is_small_and_holds_nothing_that_is_not_shipped(tiny):
    files = [path for path in tiny.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LIMIT_BYTES
    kinds = {path.suffix for path in files}
    assert kinds == {".safetensors", ".json", ".jinja", ".md"}


def test_the_blocks_that_guidance_perturbs_are_there():
    assert 0 <= TINY.stg_blocks[0] <= TINY.stg_blocks[-1] < sizes.BLOCKS


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
    (red,) = tokenizer("red", add_special_tokens=False)["input_ids"]  # a word that it knows
    ids = tokenizer("red", padding="max_length", max_length=4)["input_ids"]
    assert ids == [pad, pad, bos, red]
    assert tokenizer.model_max_length == sizes.MAX_TOKENS  # as many as there are registers


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
    assert latent.shape == (1, sizes.VIDEO_CHANNELS, 1, 6, 10)
    assert 0.1 < float(latent.std()) < 3
    assert float(latent.std((3, 4)).mean()) > 0.05  # it tells the left from the right


def generate(engine, **changes):
    standard = {"prompt": PROMPT, "seed": 7, "num_frames": 17}
    return engine.generate(ltx2.Request(**{**standard, **changes}))


@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_a_clip_shows_and_sounds_like_something(engine, mode):
    clip = generate(engine, mode=mode)
    frames = clip.frames.astype(np.float32)
    assert frames.std((1, 2)).mean() > 5  # within a frame and a colour, of 255
    assert frames.std(0).mean() > 1  # over time
    assert np.isin(clip.frames, (0, 255)).mean() < 0.2
    assert clip.audio.std(1).min() > 1e-3
    assert np.abs(clip.audio).max() < 0.999


def test_prompt_seed_and_camera_are_seen_and_heard(engine):
    clip = generate(engine)
    for changes in (
        {"prompt": "a small blue ring growing on a black ground"},
        {"seed": 8},
        {"camera_motion": "dolly_in"},
    ):
        other = generate(engine, **changes)
        difference = np.abs(clip.frames.astype(np.float32) - other.frames).mean()
        assert difference > 0.3, (changes, difference)
        assert not np.array_equal(clip.audio, other.audio), changes


def test_every_camera_move_moves_the_clip_in_its_own_way(engine):
    size = {"width": 128, "height": 64, "num_frames": 9}
    cameras = [entry.id for entry in catalog.entries() if "tiny" in entry.generations]
    cameras = [name for name in cameras if name in catalog.cameras()]
    clips = {name: generate(engine, **size, camera_motion=name).frames for name in cameras}
    assert len({clip.tobytes() for clip in clips.values()}) == len(cameras) == 7
