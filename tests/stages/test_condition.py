"""pipelines.stages.condition: pictures cover the frame, pass the codec, are encoded per pass."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pipelines.stages.condition import cover, encode_picture, place
from pipelines.values import Inputs
from tests.stages.plans import small_plan
from tiny.sizes import VIDEO_CHANNELS


def circle(width, height):
    picture = Image.new("RGB", (width, height), "black")
    radius = min(width, height) // 4
    box = (width // 2 - radius, height // 2 - radius, width // 2 + radius, height // 2 + radius)
    ImageDraw.Draw(picture).ellipse(box, fill="white")
    return picture


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (400, 100), (128, 64), (65, 33)])
def test_a_circle_stays_a_circle(size):
    pixels = cover(np.array(circle(*size))[None], 128, 64)
    assert pixels.shape == (1, 3, 1, 64, 128)
    assert float(pixels.abs().max()) == pytest.approx(1)
    lit = pixels[0, 0, 0] > 0
    columns, rows = lit.any(0).sum(), lit.any(1).sum()
    if rows < 64:  # else the picture was cropped through the circle
        assert abs(int(columns) - int(rows)) <= 2


def test_the_centre_is_kept():
    picture = np.zeros((64, 256, 3), np.uint8)
    picture[:, 96:160] = 255
    pixels = cover(picture[None], 128, 64)
    assert pixels[0, 0, 0, :, 32:96].mean() > 0.9
    assert pixels[0, 0, 0, :, :28].mean() < -0.9


def test_the_codec_changes_the_latent(tiny_model):
    noise = np.random.default_rng(0).integers(0, 256, (64, 128, 3)).astype(np.uint8)
    picture = Image.fromarray(noise)
    rough, clean = (encode_picture(tiny_model, picture, 128, 64, crf) for crf in (33, 0))
    assert rough.shape == clean.shape == (1, VIDEO_CHANNELS, 1, 2, 4)
    assert float((rough - clean).abs().max()) > 1e-2


def test_each_pass_encodes_the_pictures_at_its_own_size_and_frame(tiny_model):
    pictures = {"image": circle(150, 100), "last_image": circle(100, 150)}
    from ltx2.extent import PictureFacts
    from ltx2.planner import plan as make_plan
    from ltx2.request import Request

    facts = {
        name: PictureFacts(width=p.width, height=p.height, sha256=name)
        for name, p in pictures.items()
    }
    request = Request(
        prompt="a", seed=1, width=128, height=64, num_frames=17,
        image="a.png", last_image="b.png", image_strength=0.6,
    )  # fmt: skip
    plan = make_plan(request, checkpoint="tiny", pictures=facts)
    for part, rows in ((plan.base, 1), (plan.refine, 2)):
        first, last = place(tiny_model, part, Inputs(images=pictures))
        assert first.latent.shape == last.latent.shape == (1, VIDEO_CHANNELS, 1, rows, 2 * rows)
        assert (first.frame, first.append, first.strength) == (0, False, 0.6)
        assert (last.frame, last.append) == (16, True)
        assert not torch.equal(first.latent, last.latent)


def test_a_plan_without_pictures_places_nothing(tiny_model):
    assert place(tiny_model, small_plan().base, Inputs()) == ()
