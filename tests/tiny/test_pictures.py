"""The pictures of the pages: small files that show what they say, here of untrained weights."""

import json

import numpy as np
import pytest
from PIL import Image

from ltx2.engine import Engine
from ltx2.settings import Settings
from tiny import layout, pictures, records


@pytest.fixture(scope="module")
def scenery(untrained_family, tmp_path_factory):
    """Untrained weights, small clips, and the records of two parts."""
    kept = tmp_path_factory.mktemp("records")
    for part in ("video_vae", "camera_jib_up"):
        (kept / part).mkdir()
        (kept / part / records.RECIPE).write_text('{"steps": 20}')
        rows = [{"step": step, "seconds": step, "square": 1 / step} for step in (10, 20)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (kept / part / records.LOG).write_text(text)
    engine = Engine.load(str(untrained_family), settings=Settings.from_env({}))
    options = {"width": 128, "height": 64, "num_frames": 9}
    return pictures.Scenery(engine=engine, options=options, records=kept)


@pytest.mark.slow
@pytest.mark.parametrize("name", pictures.PICTURES)
def test_every_picture_is_a_small_file(scenery, tmp_path, name):
    path = tmp_path / f"{name}.webp"
    pictures.PICTURES[name](scenery, path)
    assert 0 < path.stat().st_size < layout.LIMIT
    with Image.open(path) as picture:
        still = name in ("picture", "temporal", "training")
        assert (picture.n_frames == 1) is still
    assert list(tmp_path.iterdir()) == [path]


def test_clips_are_laid_out_in_rows_under_their_names_and_play_at_their_rate(tmp_path):
    brighter = 5 * np.arange(5, dtype=np.uint8)[:, None, None, None]
    clips = {
        str(level): np.full((5, 32, 64, 3), level, np.uint8) + brighter for level in (0, 100, 200)
    }
    clips["200"] = clips["200"][:1]  # a shorter one stands still
    path = layout.animated(tmp_path / "a.webp", clips, columns=2, size=(64, 32), every=2)
    middle = layout.TITLE + 16
    below = middle + 32 + layout.TITLE + layout.GAP
    with Image.open(path) as animation:
        assert animation.n_frames == 3
        assert animation.size == (2 * 64 + layout.GAP, 2 * (32 + layout.TITLE) + layout.GAP)
        for index in range(3):
            animation.seek(index)
            animation.load()
            assert animation.info["duration"] == round(2 * 1000 / 24)
            shown = np.asarray(animation.convert("RGB")).astype(int)
            assert abs(shown[middle, 32, 0] - 10 * index) < 8
            assert abs(shown[middle, 64 + layout.GAP + 32, 0] - 100 - 10 * index) < 8
            assert abs(shown[below, 32, 0] - 200) < 8


def test_what_is_too_large_takes_a_lower_quality_or_is_refused(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    image, path = Image.fromarray(noise), tmp_path / "noise.webp"
    best = layout.save(path, [image]).stat().st_size
    monkeypatch.setattr(layout, "LIMIT", best)
    assert layout.save(path, [image]).stat().st_size < best
    kept = path.read_bytes()
    monkeypatch.setattr(layout, "LIMIT", 1000)
    with pytest.raises(layout.TooLarge, match="show less in it"):
        layout.save(path, [image])
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]
