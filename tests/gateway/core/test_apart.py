"""gateway.apart: the process of the loops, where it cannot be begun or does not end.

Its life is tested with the real server in test_killed_server.
"""

import time
from signal import SIGINT, SIGTERM

import pytest

from gateway import apart
from gateway.metrics import Metrics
from tests.gateway.core import apart_mains


def test_a_process_that_cannot_be_begun_is_tried_again_until_the_end(monkeypatch, caplog):
    monkeypatch.setattr(apart, "START_SECONDS", 0.5)
    monkeypatch.setattr(apart, "PAUSE_SECONDS", 0.05)
    works = apart.Apart(lambda wakes, telling: None, Metrics())  # nothing that can be sent there
    works.start()
    works.wake("submit")
    assert not works.alive
    began = time.monotonic()
    works.close()
    assert time.monotonic() - began < 5
    assert works.closing()
    tries = [each for each in caplog.records if "cannot be begun" in each.getMessage()]
    assert len(tries) > 1
    assert "does not run after 0.5 s" in caplog.text


@pytest.mark.slow
def test_a_process_that_does_not_end_is_killed(monkeypatch, caplog):
    monkeypatch.setattr(apart, "LEAVE_SECONDS", 0.5)
    works = apart.Apart(apart_mains.hang, Metrics())
    works.start()
    assert works.alive
    works.close()
    assert not works.alive
    assert "did not end in 0.5 s; killed" in caplog.text


@pytest.mark.slow
def test_the_signals_of_a_terminal_are_kept_from_the_process_from_its_start():
    counts = apart_mains.Heard()
    works = apart.Apart(apart_mains.tell_mask, counts)
    works.start()
    works.close()
    assert counts.outcomes[0] == str(sorted({int(SIGINT), int(SIGTERM)}))
