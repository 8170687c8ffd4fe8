"""What the studio says of states, times, sizes and money."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.states import Progress, Submitted
from gateway.studio import wording
from gateway.studio.guide import guide
from gateway.studio.jobs import job_view
from tests.gateway.studio.sample_timeline import PLAN, WAIT, WORK


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "a few seconds"), (27, "about 25 s"), (95, "about 2 min"), (5400, "about 1.5 h")],
)
def test_a_guess_is_told_no_more_exactly_than_it_is(seconds, words):
    assert wording.roughly(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(999, "999 B"), (49_341, "49 kB"), (8_123_456, "8.1 MB"), (2_500_000_000, "2.50 GB")],
)
def test_sizes_are_told_in_the_units_of_a_file_manager(count, words):
    assert wording.size_words(count) == words


@pytest.mark.parametrize(("seconds", "words"), [(41.9, "0:41"), (725, "12:05"), (3725, "1:02:05")])
def test_times_are_told_as_a_clock_does(seconds, words):
    assert wording.clock(seconds) == words


@pytest.mark.parametrize(
    ("past", "words"),
    [
        (timedelta(seconds=20), "just now"),
        (timedelta(minutes=5), "5 min ago"),
        (timedelta(hours=3), "3 h ago"),
        (timedelta(days=1), "yesterday"),
        (timedelta(days=3), "3 days ago"),
        (timedelta(days=30), "2 Nov 2026"),
    ],
)
def test_moments_are_told_from_now(clock, past, words):
    assert wording.ago(clock.now() - past, clock.now()) == words


def test_one_credit_is_one_credit():
    assert wording.credit_words(1) == "1 credit"
    assert wording.credit_words(1200) == "1,200 credits"


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (480, "480"),
        (999_999, "999,999"),
        (1_000_000, "1M"),
        (999_999_973, "999.9M"),
        (10**9, "1B"),
        (-2_500_000, "-2.5M"),
    ],
)
def test_a_large_balance_is_short_and_never_more_than_there_is(count, words):
    assert wording.amount(count) == words


@pytest.mark.parametrize(("count", "words"), [(6, "+6"), (-1200, "−1,200"), (0, "–")])
def test_bookings_have_a_sign(count, words):
    assert wording.signed(count) == words


@pytest.mark.parametrize(
    ("words", "told"),
    [("try again in a moment", "Try again in a moment."), ("It broke.", "It broke.")],
)
def test_what_stands_alone_is_a_sentence(words, told):
    assert wording.sentence(words) == told


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (51.4, "51 s"), (312, "5:12 min"), (3725, "1:02:05 h")]
)
def test_how_long_it_took(seconds, words):
    assert wording.took(seconds) == words


def test_steps_are_told_where_a_phase_has_them():
    steps = Progress(seq=1, phase="generate", step=5, steps=8, percent=42)
    whole = Progress(seq=2, phase="decode", step=None, steps=None, percent=90)
    assert wording.phase_words(steps) == "Generating 5/8"
    assert wording.phase_words(whole) == "Decoding video and audio"
    assert wording.phase_words(None) == "Starting"


def test_a_job_tells_each_of_its_phases_in_order(desk, clock):
    job = desk.create(desk.account, {"prompt": "a kite", "duration": 2, "resolution": "540p"})
    clock.advance(0.6 + WAIT + 0.31)
    heard = []
    for _ in range(int(WORK * 5)):
        view = job_view(desk.generation(desk.account, job.id), clock.now(), {})
        word = view.headline.partition(" ")[0]
        if not heard or heard[-1] != word:
            heard.append(word)
        clock.advance(0.2)
        if not view.live:
            break
    expected = [wording.PHASES[phase].partition(" ")[0] for phase, _, _ in PLAN]
    assert heard == [*expected, "Done"]


def test_a_waiting_job_says_what_it_waits_for(desk, clock):
    jobs = [desk.create(desk.account, {"prompt": name}) for name in ("first", "second", "third")]
    clock.advance(0.7)

    def headline(job):
        return job_view(desk.generation(desk.account, job.id), clock.now(), {}).headline

    assert [headline(job) for job in jobs] == [
        "Waiting for a GPU",
        "Next in the queue",
        "Queued, number 2",
    ]


def test_a_job_that_the_worker_has_says_how_many_are_before_it(desk, clock):
    job = desk.create(desk.account, {"prompt": "a kite"})
    waiting = replace(job, state=Submitted(at=clock.now(), position=3))
    toy = guide(embedded=True).waiting
    view = job_view(waiting, clock.now(), {}, toy)
    assert (view.headline, view.detail) == ("Waiting for the worker", "2 before it.")
    first = replace(job, state=Submitted(at=clock.now(), position=1))
    assert job_view(first, clock.now(), {}, toy).detail == "It makes one video at a time."


def test_a_long_prompt_is_cut_between_words(desk, clock):
    prompt = "A very long sentence about a lighthouse, " * 4
    view = job_view(desk.create(desk.account, {"prompt": prompt}), clock.now(), {})
    assert view.title.endswith("…")
    assert len(view.title) <= 61
    assert prompt.startswith(view.title[:-1])
    assert view.said
