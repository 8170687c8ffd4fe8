"""Every control with every other: a pairwise matrix of clips, made and probed."""

from fractions import Fraction
from itertools import combinations, cycle, product

import av
import numpy as np
import pytest
from PIL import Image

import ltx2

MOVES = ("dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down")
FACTORS = {
    "mode": ("fast", "pro"),
    "task": ("text", "image", "first and last", "keyframes"),
    "spatial_upscaler": (True, False),
    "temporal_upscaler": (False, True),
    "detailer": (False, True),
    "camera_motion": ("none", "a move", "another move", "static"),
}
FRAMES, FPS = 17, 24


def pairwise() -> list[dict[str, object]]:
    """Rows in which every two values of different factors come together at least once.

    Greedy: of all rows, the one that has the most pairs that are still missing.
    """
    names = list(FACTORS)
    rows = [dict(zip(names, values, strict=True)) for values in product(*FACTORS.values())]

    def pairs(row):
        return {(a, row[a], b, row[b]) for a, b in combinations(names, 2)}

    missing = set().union(*(pairs(row) for row in rows))
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(pairs(row) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def moved(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows with the camera moves in turn: they are files of one kind."""
    turn = cycle(MOVES)
    return [
        row | {"camera_motion": next(turn)} if "move" in str(row["camera_motion"]) else row
        for row in rows
    ]


PAIRS = pairwise()
ROWS = moved(PAIRS)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    gradient = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    Image.fromarray(gradient).save(path)
    return str(path)


def request(row, picture):
    pictures = {
        "text": {},
        "image": {"image": picture},
        "first and last": {"image": picture, "last_image": picture},
        "keyframes": {"keyframes": [{"image": picture, "frame": 5, "strength": 0.7}]},
    }[row["task"]]
    fields = {name: value for name, value in row.items() if name != "task"}
    if row["mode"] == "pro":
        fields["num_inference_steps"] = 2
    size = {"width": 64, "height": 64, "num_frames": FRAMES, "fps": FPS}
    return ltx2.Request(prompt="a red ball", seed=7, **size, **fields, **pictures)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row.values())))
def test_a_clip_is_what_was_asked_for_and_the_same_again(engine, picture, tmp_path, row):
    asked = request(row, picture)
    made = engine.generate(asked)
    if row["mode"] == "pro" or row["temporal_upscaler"] or row["detailer"]:  # what is not plain
        again = engine.generate(asked)
        np.testing.assert_array_equal(made.frames, again.frames)
        np.testing.assert_array_equal(made.audio, again.audio)
    assert made.frames.std() > 1

    doubled = row["temporal_upscaler"]
    frames, fps = (2 * FRAMES - 1, 2 * FPS) if doubled else (FRAMES, FPS)
    made.save(tmp_path / "clip.mp4")
    with av.open(tmp_path / "clip.mp4") as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.width, video.height) == (64, 64)
        assert video.average_rate == Fraction(fps)
        assert sum(1 for _ in file.decode(video)) == frames
        file.seek(0)
        assert audio.rate == made.audio_sample_rate
        seconds = float(audio.duration * audio.time_base)
        assert seconds == pytest.approx(frames / fps, abs=1 / fps)
    assert ("detail" in made.timings) == row["detailer"]
    assert ("condition" in made.timings) == (row["task"] != "text")
    assert ("refine" in made.timings) == (row["spatial_upscaler"] or doubled)


def test_the_matrix_holds_every_pair():
    for (a, values), (b, others) in combinations(FACTORS.items(), 2):
        met = {(row[a], row[b]) for row in PAIRS}
        assert met == set(product(values, others)), (a, b)
    assert {row["camera_motion"] for row in ROWS} == {"none", "static", *MOVES}


@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_doubled_frames_leave_the_sound_as_the_first_pass_made_it(engine, mode):
    steps = {"num_inference_steps": 2} if mode == "pro" else {}
    fields = {"prompt": "a", "seed": 7, "width": 64, "height": 64, "num_frames": 17, "mode": mode}
    plain = engine.generate(ltx2.Request(**fields, **steps, spatial_upscaler=True))
    doubled = engine.generate(ltx2.Request(**fields, **steps, temporal_upscaler=True))
    if mode == "pro":  # whose sound is the first pass's in either
        np.testing.assert_array_equal(doubled.audio, plain.audio)
    assert doubled.audio.shape == plain.audio.shape
