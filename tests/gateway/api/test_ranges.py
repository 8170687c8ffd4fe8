"""Parts of a file, as RFC 9110 has them."""

import pytest

from gateway.api.ranges import Unsatisfiable, part_of


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-", (0, 99)),
        ("bytes=0-0", (0, 0)),
        ("bytes=10-19", (10, 19)),
        ("bytes=90-200", (90, 99)),
        ("bytes=-10", (90, 99)),
        ("bytes=-200", (0, 99)),
        ("BYTES=5-9", (5, 9)),
    ],
)
def test_a_part_is_given(asked, part):
    assert part_of(asked, 100) == part


@pytest.mark.parametrize(
    "asked", ["", "bytes", "bytes=", "bytes=-", "bytes=9-5", "bytes=a-b", "bytes=0-1,5-6",
              "lines=0-1", "bytes=0-" + "9" * 30, "bytes=--5"]
)  # fmt: skip
def test_what_cannot_be_read_is_passed_over(asked):
    assert part_of(asked, 100) is None


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=500-600", "bytes=-0"])
def test_a_part_behind_the_end_is_refused(asked):
    with pytest.raises(Unsatisfiable) as refused:
        part_of(asked, 100)
    assert refused.value.size == 100
