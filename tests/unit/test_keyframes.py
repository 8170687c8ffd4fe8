"""Pictures at moments of the clip: where they go, and what is refused."""

import pytest

from ltx2.errors import BadRequest
from ltx2.extent import PictureFacts
from ltx2.flags import keyframe
from ltx2.planner import plan
from ltx2.request import Request

URL = "https://example.com/picture.png"
FACTS = PictureFacts(width=160, height=90, sha256="a" * 64)
NAMES = ("image", "keyframes[0]", "keyframes[1]", "last_image")


def planned(**fields):
    request = {"prompt": "a red ball", "seed": 7, "num_frames": 49, **fields}
    return plan(Request(**request), checkpoint="tiny", pictures=dict.fromkeys(NAMES, FACTS))


def refused(**fields) -> list[str]:
    with pytest.raises(BadRequest) as refusal:
        planned(**fields)
    return refusal.value.problems


def placed(part):
    return [(c.image, c.frame, c.strength) for c in part.conditions]


def test_pictures_stand_at_their_exact_frames_in_both_passes():
    keyframes = [
        {"image": URL, "second": 1.5, "strength": 0.6},
        {"image": URL, "frame": 5},
    ]
    made = planned(image=URL, last_image=URL, image_strength=0.8, keyframes=keyframes)
    expected = [
        ("image", 0, 0.8),
        ("keyframes[1]", 5, 1.0),
        ("keyframes[0]", 36, 0.6),
        ("last_image", 48, 0.8),
    ]
    assert placed(made.base) == placed(made.refine) == expected
    assert made.task == "image_to_video"
    assert [name for name, _ in made.images] == [name for name, *_ in expected]


def test_twice_the_frames_show_a_picture_at_the_same_moment():
    keyframes = [{"image": URL, "frame": 5}]
    made = planned(last_image=URL, keyframes=keyframes, temporal_upscaler=True)
    assert placed(made.base) == [("keyframes[0]", 5, 1.0), ("last_image", 48, 1.0)]
    assert placed(made.refine) == [("keyframes[0]", 10, 1.0), ("last_image", 96, 1.0)]
    assert made.num_frames == 97


def test_a_time_goes_to_the_nearest_frame_and_says_so():
    made = planned(keyframes=[{"image": URL, "second": 1.01}])
    assert placed(made.base) == [("keyframes[0]", 24, 1.0)]
    assert [(s.name, s.asked, s.used) for s in made.snaps] == [("keyframes[0].second", 1.01, 1.0)]


def test_a_picture_at_strength_zero_is_left_out_with_a_warning():
    made = planned(keyframes=[{"image": URL, "frame": 8, "strength": 0}])
    assert made.task == "text_to_video"
    assert made.warnings == ("keyframes[0] at strength 0 is ignored",)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"keyframes": [{"image": URL, "frame": 49}]}, "ends with frame 48, 2 s"),
        ({"keyframes": [{"image": URL, "second": 3}]}, "keyframes[0] is at frame 72"),
        ({"keyframes": [{"image": URL, "frame": 0}], "image": URL}, "both at frame 0"),
        ({"keyframes": [{"image": URL, "frame": 48}], "last_image": URL}, "both at frame 48"),
        ({"keyframes": [{"image": URL, "frame": 8}] * 2}, "both at frame 8"),
        ({"keyframes": [{"image": URL}]}, "frame or as second"),
        ({"keyframes": [{"image": URL, "frame": 1, "second": 1.0}]}, "frame or as second"),
        ({"keyframes": [{"image": URL, "frame": 1}] * 9}, "at most 8"),
        ({"keyframes": [{"picture": URL, "frame": 1}]}, "unknown field 'picture'"),
    ],
)
def test_a_moment_that_cannot_be_is_refused_by_a_sentence(fields, words):
    assert any(words in problem for problem in refused(**fields))


def test_a_remote_caller_names_no_file():
    with pytest.raises(BadRequest, match=r"keyframes\[0\].image is none of the forms"):
        Request.parse({"prompt": "a", "keyframes": [{"image": "/etc/passwd.png", "frame": 1}]})


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("cat.png@48", {"image": "cat.png", "frame": 48}),
        ("cat.png@2.5s", {"image": "cat.png", "second": 2.5}),
        ("cat.png@48@0.5", {"image": "cat.png", "frame": 48, "strength": 0.5}),
        ("me@home.png@1s@0.5", {"image": "me@home.png", "second": 1, "strength": 0.5}),
    ],
)
def test_the_command_line_names_a_moment_after_an_at_sign(text, fields):
    assert keyframe(text) == fields


@pytest.mark.parametrize("text", ["cat.png", "cat.png@soon", "cat.png@soon@0.5", "@48"])
def test_a_keyframe_without_a_moment_is_refused_with_the_form(text):
    with pytest.raises(ValueError, match="the form is IMAGE@MOMENT"):
        keyframe(text)
