"""How often an account may call, and how much it may hold open."""

import threading

import pytest

from gateway.api.limits import MOST_KEPT, Buckets, Rate, Seats
from gateway.refusals import Limited


class Seconds:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Seconds()


@pytest.fixture
def buckets(clock):
    return Buckets(Rate(per_minute=6, burst=3), clock)


def take(buckets, count, name="acc"):
    for _ in range(count):
        buckets.take(name)


def test_a_burst_is_taken_and_the_next_call_is_told_when_to_come(buckets):
    take(buckets, 3)
    with pytest.raises(Limited) as refused:
        buckets.take("acc")
    assert refused.value.type == "rate_limit_error"
    assert refused.value.retry_after == 10


def test_a_call_is_taken_after_the_seconds_that_were_said(buckets, clock):
    take(buckets, 3)
    clock.now = 9.0
    with pytest.raises(Limited) as refused:
        buckets.take("acc")
    assert refused.value.retry_after == 1
    clock.now = 10.0
    buckets.take("acc")
    with pytest.raises(Limited):
        buckets.take("acc")


def test_a_quiet_hour_saves_no_more_than_a_burst(buckets, clock):
    take(buckets, 3)
    clock.now = 3600.0
    take(buckets, 3)
    with pytest.raises(Limited):
        buckets.take("acc")


def test_accounts_do_not_share(buckets):
    take(buckets, 3)
    take(buckets, 3, "other")
    with pytest.raises(Limited):
        buckets.take("other")


def test_memory_has_an_end(buckets):
    for number in range(MOST_KEPT + 50):
        buckets.take(f"acc{number}")
    assert len(buckets._kept) == MOST_KEPT


def test_calls_at_the_same_time_get_no_more_than_the_burst(clock):
    buckets, taken = Buckets(Rate(per_minute=1, burst=50), clock), []

    def call():
        for _ in range(20):
            try:
                buckets.take("acc")
            except Limited:
                continue
            taken.append(1)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 50


def test_a_seat_is_free_again_when_it_is_left():
    seats = Seats(1, "streams")
    with seats.seat("acc"), seats.seat("other"):
        with pytest.raises(Limited) as refused, seats.seat("acc"):
            pytest.fail("two sat on one seat")
        assert refused.value.type == "concurrency_limit_error"
    with seats.seat("acc"):
        assert seats._taken == {"acc": 1}
    assert seats._taken == {}
