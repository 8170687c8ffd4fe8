"""One that is slow keeps nobody else waiting: submissions, and looks at jobs. Both databases."""

import threading
from collections import Counter
from contextlib import contextmanager

import pytest

from gateway.side_by_side import work_off
from tests.gateway.eventually import eventually


@contextmanager
def turning(turn):
    """A loop's turn on a thread of its own, at its end behind the block."""
    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def gate(house):
    """What a slow answer waits for."""
    made = threading.Event()
    yield made
    made.set()


def test_a_slow_submission_keeps_no_other_from_the_worker(house, gate):
    slow, quick = house.create().id, house.create().id
    house.runpod.held[slow] = gate
    with turning(house.core.submitter.turn):
        eventually(lambda: house.row(quick).job_id is not None)
        later = house.create().id  # while the turn goes on
        eventually(lambda: house.row(later).job_id is not None)
        assert house.row(slow).job_id is None
        gate.set()
    assert house.row(slow).job_id is not None
    assert Counter(job.generation_id for job in house.runpod.jobs) == {slow: 1, quick: 1, later: 1}


def test_a_video_that_is_long_on_its_way_keeps_no_other_from_its_end(house, gate):
    (slow, first), (quick, second), (later, third) = (house.submit() for _ in range(3))
    for job in (first, second):
        house.runpod.complete(job)
    house.runpod.held[slow] = gate
    house.clock.move(90)
    with turning(house.core.reconciler.turn):
        eventually(lambda: house.see(quick).status == "completed")
        house.hint(first)  # waits for the look that goes on
        house.runpod.complete(third)
        house.hint(third)
        eventually(lambda: house.see(later).status == "completed")
        assert house.see(slow).status == "queued"
        gate.set()
    assert house.see(slow).status == "completed"
    assert len(house.runpod.sent("GET", f"/files/{slow}.mp4")) == 1
    house.check()


def test_what_is_begun_is_finished_and_nothing_more_is_begun_by_those_who_leave():
    pieces, done, leaving = list(range(20)), [], []

    def claim(most, busy):
        assert most + len(busy) == 4
        return [pieces.pop() for _ in range(min(most, len(pieces)))]

    def do(piece):
        done.append(piece)
        leaving.append(True)

    count = work_off(claim, do, name="test", leaving=lambda: bool(leaving), at_once=4)
    assert count == len(done) < 20
    assert work_off(claim, do, name="test", at_once=4) + count == 20 == len(done)


def test_what_a_piece_raises_is_raised_by_the_turn():
    def do(_piece):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work_off(lambda most, _busy: [1], do, name="test")
