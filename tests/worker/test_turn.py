"""The turn of a worker on a shared disk: one at a time, and nobody waits for the dead."""

import os
import threading
import time

import pytest

from ltx2.worker.turn import turn


def test_one_at_a_time(tmp_path):
    file = tmp_path / "new/folder/.turn"
    inside, most, count = 0, 0, 0

    def work():
        nonlocal inside, most, count
        with turn(file, poll=0.01):
            inside += 1
            most = max(most, inside)
            time.sleep(0.03)
            inside -= 1
            count += 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (most, count) == (1, 5)
    assert list(file.parent.iterdir()) == []


def test_a_turn_ends_with_an_error_too(tmp_path):
    file = tmp_path / ".turn"
    with pytest.raises(KeyError), turn(file):
        raise KeyError
    assert not file.exists()


def test_the_turn_of_one_that_is_gone_is_taken_over(tmp_path):
    file = tmp_path / ".turn"
    file.touch()
    os.utime(file, (0, 0))
    waits = []
    with turn(file, sleep=waits.append):
        assert file.stat().st_mtime > 0
    assert waits == []


def test_the_turn_of_one_that_lives_is_waited_for(tmp_path):
    file = tmp_path / ".turn"
    file.touch()
    waits = []

    def until_it_ends(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            file.unlink()

    with turn(file, poll=7.0, sleep=until_it_ends):
        pass
    assert waits == [7.0] * 3


def test_a_long_turn_gives_signs_of_life(tmp_path):
    file = tmp_path / ".turn"
    with turn(file, touch=0.02):
        os.utime(file, (0, 0))
        end = time.monotonic() + 10
        while file.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert file.stat().st_mtime > 0
