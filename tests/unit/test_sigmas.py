"""Noise schedules against the published tables, to the five decimals they were published in."""

import struct
from itertools import pairwise

import pytest

from pipelines.geometry import video_tokens
from pipelines.sigmas import DISTILLED, REFINE, REFINE_TINY, TERMINAL, anchor, shifted

ANCHOR_40 = (
    "1 .99645 .99274 .98885 .98478 .98051 .97603 .97131 .96635 .96112 .95559 .94975 .94357 .93701 "
    ".93004 .92261 .9147 .90623 .89716 .88741 .87691 .86556 .85327 .83991 .82532 .80934 .79176 "
    ".77231 .7507 .72652 .69931 .66845 .63315 .59238 .54477 .48843 .42072 .33781 .23394 .1 0.0"
)
ANCHOR_30 = (
    "1 .99496 .9896 .98391 .97784 .97136 .96442 .95698 .94897 .94034 .93099 .92085 .90981 .89774 "
    ".88448 .86986 .85365 .83558 .81532 .79243 .76636 .73642 .70166 .66081 .61214 .55315 .48016 "
    ".38754 .26612 .1 0.0"
)
TOKENS_15 = (
    "1 .99349 .98602 .97734 .96715 .95501 .94031 .92214 .8991 .86892 .82771 .76803 .6739 .50338 "
    ".1 0.0"
)
TOKENS_20 = (
    "1 .99009 .97928 .96742 .95436 .93991 .92384 .90584 .88556 .86253 .83615 .80565 .76995 .72761 "
    ".6766 .61394 .53513 .43301 .29541 .1 0.0"
)


@pytest.mark.parametrize(
    ("made", "published"),
    [
        (anchor(40), ANCHOR_40),
        (anchor(30), ANCHOR_30),
        (shifted(15, 8160), TOKENS_15),
        (shifted(20, 3520), TOKENS_20),
    ],
    ids=["anchor 40", "anchor 30", "15 steps at 8160 tokens", "20 steps at 3520 tokens"],
)
def test_guided_schedules_equal_the_published_tables(made, published):
    expected = [float(text) for text in published.split()]
    assert made == pytest.approx(expected, abs=0.6e-5)  # half of the last decimal


def test_the_distilled_tables_are_the_published_ones():
    assert DISTILLED == (1, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0)
    assert REFINE == (0.909375, 0.725, 0.421875, 0)
    assert DISTILLED[-len(REFINE) :] == REFINE


def test_the_toys_levels_hide_as_much_of_its_shorter_clips():
    usual, toy_usual = video_tokens(1280, 704, 121), video_tokens(320, 192, 49)
    for real, toy in zip(REFINE[:-1], REFINE_TINY[:-1], strict=True):
        wanted = real / (1 - real) * toy_usual / usual
        assert toy / (1 - toy) == pytest.approx(wanted, rel=0.005)


def test_every_guided_schedule_falls_from_one_to_zero_in_its_steps():
    for steps in range(1, 101):
        table = anchor(steps)
        assert len(table) == steps + 1
        assert table[0] == pytest.approx(1, abs=1e-6)
        assert table[-1] == 0
        assert all(a > b for a, b in pairwise(table)), steps
        if steps > 1:
            assert table[-2] == pytest.approx(TERMINAL, abs=1e-6)


def test_guided_schedules_hold_float32_values():
    assert all(struct.unpack("f", struct.pack("f", sigma))[0] == sigma for sigma in anchor(30))


def test_more_tokens_keep_the_noise_higher_for_longer():
    few, many = shifted(20, 1024), shifted(20, 16_000)
    # Both begin at 1 and end in the terminal sigma and 0.
    assert all(a < b for a, b in zip(few[1:-2], many[1:-2], strict=True))
