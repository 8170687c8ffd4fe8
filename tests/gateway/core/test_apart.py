"""gateway.apart: the process of the loops, where it cannot be begun, stands still or does not end.

Its life is tested with the real server in test_killed_server.
"""

import json
import multiprocessing
import re
import threading
import time
from functools import partial
from multiprocessing import resource_tracker
from signal import SIGINT, SIGTERM

import psutil
import pytest
import yaml

from gateway import apart, loops, server
from gateway.backends.runpod import RunPod
from gateway.clock import SystemClock
from gateway.loops import Loop, Loops
from gateway.metrics import Metrics
from gateway.parts import Parts
from gateway.stores.folder import FolderStore
from ltx2.extent import Limits
from ltx2.gateway_settings import GatewaySettings
from tests.gateway.core import apart_mains
from tests.gateway.eventually import eventually
from tests.rules.tree import ROOT

PATIENCE = 120  # seconds, on a busy machine
RESPAWNS = 50


@pytest.fixture
def kept(monkeypatch, caplog):
    """Keeps a main function with short pauses, and closes what it kept."""
    monkeypatch.setattr(apart, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(apart, "LONGEST_PAUSE_SECONDS", 0.04)
    made = []

    def start(main, counts=None):
        made.append(apart.Apart(main, counts or Metrics()))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.close()


def ends(caplog):
    """How processes ended, and the seconds to the next one, for each that did."""
    said = [each.getMessage() for each in caplog.records]
    found = (re.search(r"loops (.+); it begins again in ([\d.]+) s", each) for each in said)
    return [(each[1], float(each[2])) for each in found if each]


def until(holds):
    eventually(holds, PATIENCE)


def test_a_process_that_cannot_be_begun_is_tried_again_ever_more_seldom(kept, caplog):
    works = kept(lambda wakes, telling: None)  # nothing that can be sent there
    works.wake("submit")
    until(lambda: len(ends(caplog)) >= 4)
    assert not works.alive
    works.close()
    assert works.closing()
    pauses = [0.01, 0.02, 0.04, 0.04]
    assert ends(caplog)[:4] == [("cannot be begun", pause) for pause in pauses]


@pytest.mark.slow
def test_the_pause_is_short_again_once_the_loops_have_worked(kept, caplog):
    kept(apart_mains.work_once)
    until(lambda: len(ends(caplog)) >= 2)
    assert ends(caplog)[:2] == [("ended with 0", 0.01)] * 2


@pytest.mark.slow
def test_processes_that_end_leave_no_file_open(kept, caplog):
    resource_tracker.ensure_running()
    before = psutil.Process().num_fds()
    works = kept(apart_mains.end)
    until(lambda: len(ends(caplog)) >= RESPAWNS)
    works.close()
    assert {how for how, _ in ends(caplog)} == {"ended with 0"}
    assert psutil.Process().num_fds() == before


@pytest.mark.slow
def test_a_process_without_its_database_ends_with_a_line_in_the_log(kept, caplog, capfd, tmp_path):
    url = "postgresql://gateway:hidden@127.0.0.1:1/gateway"
    parts = Parts(
        settings=GatewaySettings(folder=tmp_path, database=url, worker="http://127.0.0.1:1"),
        backend=partial(RunPod, "http://127.0.0.1:1", None),
        store=partial(FolderStore, tmp_path / "files"),
        clock=SystemClock(),
        limits=Limits(),
    )
    works = kept(partial(server.serve_loops, parts))
    until(lambda: ends(caplog) != [])
    assert not works.alive
    works.close()
    assert ends(caplog)[0] == ("ended with 1", 0.01)
    said = capfd.readouterr().err
    (first, *_) = lines = [json.loads(line) for line in said.splitlines()]
    assert (first["message"], first["level"]) == ("the loops cannot go on", "ERROR")
    assert all("Traceback" in line["traceback"] for line in lines)
    assert "hidden" not in said


@pytest.mark.slow
def test_a_process_that_stands_still_is_not_held_to_work(kept, monkeypatch, caplog):
    monkeypatch.setattr(apart, "FRESH_SECONDS", 2 * apart.LOOK_SECONDS)
    works = kept(apart_mains.work_on)
    until(lambda: works.alive)
    (child,) = multiprocessing.active_children()
    process = psutil.Process(child.pid)
    process.suspend()
    until(lambda: not works.alive)
    assert process.is_running()
    process.resume()
    until(lambda: works.alive)
    assert ends(caplog) == []  # it is the same process


@pytest.mark.slow
def test_a_process_that_does_not_end_is_killed(kept, monkeypatch, caplog):
    monkeypatch.setattr(apart, "LEAVE_SECONDS", 0.5)
    works = kept(apart_mains.hang)
    until(lambda: works.alive)
    works.close()
    until(lambda: not works.alive)
    assert multiprocessing.active_children() == []
    assert "did not end in 0.5 s; killed" in caplog.text


@pytest.mark.slow
def test_a_process_that_still_begins_is_not_waited_for(kept, caplog):
    works = kept(apart_mains.begin)
    until(lambda: multiprocessing.active_children() != [])
    works.close()
    assert multiprocessing.active_children() == []
    assert caplog.text == ""


@pytest.mark.slow
def test_the_signals_of_a_terminal_are_kept_from_the_process_from_its_start(kept):
    counts = apart_mains.Heard()
    works = kept(apart_mains.tell_mask, counts)
    until(lambda: works.alive)
    works.close()
    assert counts.outcomes == [str(sorted({int(SIGINT), int(SIGTERM)}))]


def test_loops_have_the_time_to_end_all_together():
    hold, made = threading.Event(), Loops()
    made.add(*(Loop(name=str(number), turn=hold.wait, every=1) for number in range(20)))
    made.start()
    began = time.monotonic()
    made.close(1.0)
    took = time.monotonic() - began
    hold.set()
    assert 1.0 <= took < 15  # a second for each would be 20


def test_docker_leaves_the_gateway_the_time_that_it_takes_to_end():
    compose = yaml.safe_load((ROOT / "gateway" / "compose.yaml").read_text())
    grace = compose["services"]["gateway"]["stop_grace_period"]
    calls = server.LEAVE_SECONDS + server.CUT_SECONDS
    assert float(grace.removesuffix("s")) >= calls + apart.LEAVE_SECONDS + 5  # and some to spare
    assert apart.LEAVE_SECONDS > loops.LEAVE_SECONDS
