"""Keys of a store: safe, and never the same for two generation ids."""

import itertools

import pytest

from ltx2.delivery.keys import MOST_SEGMENT, object_key, segment
from ltx2.errors import BadRequest

ODD = [
    "a", "A", "a b", "a/b", "a%2Fb", "a%2fb", "..", ".", "...", "%2E.", ".hidden", "-rf", "a~b",
    "a%7Eb", "é", "e\u0301", "日本", "a\\b", "a:b", "a?b", "a#b", "x" * 160, "x" * 161, "x" * 200,
    "é" * 200, "é" * 199 + "e", "x" * 95 + "~" + "0" * 64, "CON", "a+b", "a&b=c",
]  # fmt: skip


def test_a_plain_id_is_its_own_segment():
    assert object_key("job-1_x.y", "video.mp4") == "job-1_x.y/video.mp4"
    assert object_key("job-1", "video.mp4", "made/clips") == "made/clips/job-1/video.mp4"
    assert object_key("job-1", "video.mp4", "/made/") == "made/job-1/video.mp4"


@pytest.mark.parametrize("generation_id", ODD, ids=range(len(ODD)))
def test_a_segment_is_safe_in_a_key_and_as_a_file_name(generation_id, tmp_path):
    found = segment(generation_id)
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%")
    assert not found.startswith(".")
    assert len(found) <= MOST_SEGMENT
    (tmp_path / found).mkdir()
    assert [file.name for file in tmp_path.iterdir()] == [found]


def test_two_ids_never_have_one_segment():
    for one, other in itertools.combinations(ODD, 2):
        assert segment(one) != segment(other), (one, other)


@pytest.mark.parametrize("generation_id", ["", "x" * 201, "a\nb", "a\x00", "\ud800", "\u200b"])
def test_an_id_that_cannot_be_a_key_is_refused_with_what_would_be(generation_id):
    with pytest.raises(BadRequest, match="1 to 200 printable characters"):
        object_key(generation_id, "video.mp4")
