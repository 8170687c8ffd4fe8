"""ltx2.collector: the garbage collector rests and goes on."""

import gc
import subprocess
import sys

import pytest

from ltx2.collector import at_rest

# What the collector did while the engine was imported, and whether it works again.
COUNTED = """
import gc, sys
full = []
gc.callbacks.append(lambda phase, info: full.append(phase) if info["generation"] == 2 else None)
import ltx2.engine
assert gc.isenabled() and "torch" in sys.modules
print(len(full))
"""


class Knot:
    """Refers to itself: only the collector can let go of it."""

    def __init__(self, gone):
        self.knot, self.gone = self, gone

    def __del__(self):
        self.gone.append(True)


@pytest.fixture
def collecting():
    """The collector works, and has no frozen objects, whatever the tests' process does."""
    frozen, enabled = gc.get_freeze_count(), gc.isenabled()
    gc.unfreeze()
    gc.enable()
    yield
    if frozen:
        gc.freeze()
    if not enabled:
        gc.disable()


def test_it_rests_and_goes_on_also_after_an_error(collecting):
    states = []

    def fails():
        with at_rest():
            states.append(gc.isenabled())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert (states, gc.isenabled()) == ([False], True)


def test_who_has_it_off_keeps_it_off(collecting):
    gc.disable()
    with at_rest():
        pass
    assert not gc.isenabled()


def test_garbage_of_the_meantime_is_found_later_but_not_at_the_next_small_look(collecting):
    gone = []
    with at_rest():
        Knot(gone)
    gc.collect(1)
    assert gone == []
    gc.collect()
    assert gone == [True]


def test_frozen_objects_stay_frozen(collecting):
    gc.freeze()
    before = gc.get_freeze_count()
    with at_rest():
        pass
    assert gc.get_freeze_count() >= before - 100 > 0


def test_the_engine_comes_in_without_a_full_look():
    done = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
