"""gateway.apart: the process of the loops, where it cannot be begun. Its life is tested with the
real server in test_killed_server.
"""

import time

from gateway import apart
from gateway.metrics import Metrics


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
