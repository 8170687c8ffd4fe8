"""What is drawn differs from run to run, and an error says how to draw the same again."""

import re
from types import SimpleNamespace

import pytest
from hypothesis import strategies as st

from tests.gateway.api.drawn import COUNT, SEED, draw

LARGE = 900


def asked(**options):
    """A run of pytest with these options."""
    given = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    config = SimpleNamespace(getoption=lambda name, otherwise: given.get(name, otherwise))
    return SimpleNamespace(config=config, node=SimpleNamespace(nodeid="test.py::test"))


def numbers(request, *, most=LARGE):
    """What was drawn, and the note of the error that there may have been."""
    drawn = []

    def fails_for_large_ones(number):
        drawn.append(number)
        assert number < most

    try:
        draw(request, fails_for_large_ones, usually=300, number=st.integers(0, 1000))
    except AssertionError as error:
        return drawn, "\n".join(error.__notes__)
    return drawn, ""


def test_an_error_says_the_seed_that_draws_the_same_again():
    first, note = numbers(asked())
    found = re.search(rf"pytest 'test\.py::test' {SEED}=(\d+) {COUNT}=300", note)
    assert found, note
    again, _ = numbers(asked(hypothesis_seed=found[1]))
    assert first == again
    assert max(first) >= LARGE


def test_two_runs_draw_differently_and_as_often_as_they_are_told():
    (first, _), (second, _) = (numbers(asked(drawn=40), most=2000) for _ in range(2))
    assert len(first) == len(second) == 40
    assert first != second


@pytest.mark.parametrize("number", ["0", 7])
def test_a_seed_that_is_given_is_taken(number):
    runs = [numbers(asked(hypothesis_seed=number, drawn=20), most=2000) for _ in range(2)]
    assert runs[0] == runs[1]
