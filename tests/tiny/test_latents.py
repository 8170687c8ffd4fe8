"""What the transformer and its LoRAs learn from: filmed, worn and encoded."""

import random

import pytest
import torch

from tiny import detailer, latents
from tiny.latents import Kind, write_shard
from tiny.loop import Draw
from tiny.modules import module
from tiny.transformer import Captions, Clips, Generator

SHAPE = {"frames": 9, "small": (64, 64), "large": (128, 128)}


@pytest.fixture(scope="module")
def vaes():
    return [module(part, seed=1).eval() for part in ("vae", "audio_vae")]


def test_worn_pixels_keep_their_colours_and_lose_what_is_fine():
    flat = torch.full((1, 3, 2, 16, 16), 0.25)
    assert torch.allclose(latents.worn(flat, 4), flat)
    fine = torch.ones(1, 3, 2, 16, 16)
    fine[..., ::2] = -1
    assert latents.worn(fine, 4).abs().max() < 1e-6


def test_a_worn_clip_is_kept_beside_the_whole_one_and_at_half_the_size(vaes, tmp_path):
    paths = [
        write_shard(tmp_path / f"{name}-0000.pt", kind, random.Random(3), 1, *vaes)
        for name, kind in {"whole": Kind(**SHAPE), "worn": Kind(**SHAPE, worn=(8,))}.items()
    ]
    whole, worn = (torch.load(path) for path in paths)
    assert whole["text"] == worn["text"]
    assert torch.equal(whole["large"], worn["large"])
    assert worn["worn"].shape == worn["large"].shape
    assert worn["worn_half"].shape == whole["small"].shape
    assert not torch.allclose(worn["worn"], worn["large"], atol=5e-3)
    assert not torch.allclose(worn["worn_half"], whole["small"], atol=5e-3)


def test_the_detailer_learns_from_worn_clips(vaes, tmp_path, tiny_text_encoder):
    kind = Kind(**SHAPE, worn=(4, 8, 16))
    write_shard(tmp_path / "worn-0000.pt", kind, random.Random(3), 2, *vaes)
    clips, captions = Clips(tmp_path, ("worn",)), Captions(tiny_text_encoder)
    clean, worn, half = detailer.pairs(random.Random(0), clips, captions, 8)
    assert clean.grid == (2, 4, 4)
    assert worn.shape == clean.video.shape
    assert half.shape[2:] == (2, 2, 2)
    model = Generator(seed=1)
    found = detailer.losses(model, clips, captions, Draw.at(0, 0))
    assert found["video"].isfinite()
    # What the model is shown beside the clip reaches it.
    clips.shards["worn"][0]["worn_half"].add_(1)
    with torch.no_grad():
        torch.nn.init.xavier_uniform_(model.transformer.proj_out.weight)
        other = [detailer.losses(model, clips, captions, Draw.at(0, 0))["video"]]
        clips.shards["worn"][0]["worn_half"].sub_(1)
        other.append(detailer.losses(model, clips, captions, Draw.at(0, 0))["video"])
    assert other[0] != other[1]
