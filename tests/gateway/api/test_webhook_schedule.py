"""When a webhook is tried again, given up, and when its receiver is disabled."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.webhooks.outgoing.schedule import (
    PAUSES,
    Again,
    Disabled,
    GivenUp,
    Taken,
    outcome,
)

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def after(status, tries, days=0):
    since = NOW - timedelta(days=days)
    return outcome(status, tries=tries, now=NOW, failing_since=lambda: since)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_two_hundred_and_something_is_taken(status):
    assert after(status, 1) == Taken()


@pytest.mark.parametrize("status", [None, 199, 301, 302, 307, 308, 400, 404, 429, 500, 503])
def test_everything_else_is_tried_again(status):
    assert after(status, 1) == Again(NOW + timedelta(seconds=5))


def test_the_pauses_grow_from_seconds_to_hours():
    waits = [after(500, tries).at - NOW for tries in range(1, len(PAUSES))]
    hours = timedelta(hours=1)
    assert waits == [
        timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30),
        2 * hours, 5 * hours, 10 * hours, 10 * hours,
    ]  # fmt: skip


def test_after_the_last_try_it_is_given_up():
    assert after(500, len(PAUSES)) == GivenUp()


def test_gone_disables_at_once():
    assert isinstance(after(410, 1), Disabled)


def test_five_days_of_failure_disable_when_the_tries_are_over():
    assert isinstance(after(500, len(PAUSES), days=5), Disabled)
    assert after(500, len(PAUSES), days=4) == GivenUp()
    assert isinstance(after(500, 1, days=9), Again)
