"""Progress messages: in order, one at a time, throttled, and none after the end."""

import threading
import time

import pytest

from ltx2.progress import Event
from ltx2.worker.report import Reporter


def event(percent, stage="base", eta=None):
    return Event(stage=stage, step=3, steps=8, percent=percent, eta=eta, seconds=1.0)


class Wire:
    """Takes messages, each in its time."""

    def __init__(self, seconds=0.0):
        self.seconds, self.got, self.at, self.open, self.most = seconds, [], [], 0, 0
        self.arrived = threading.Condition()

    def __call__(self, message):
        self.open += 1
        self.most = max(self.most, self.open)
        time.sleep(self.seconds)
        self.open -= 1
        with self.arrived:
            self.got.append(message)
            self.at.append(time.monotonic())
            self.arrived.notify_all()

    def wait(self, count):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.got) >= count, 10)


def test_a_message_says_where_the_job_stands():
    wire = Wire()
    report = Reporter(wire)
    report(event(12.345, eta=7.77))
    wire.wait(1)
    assert wire.got == [
        {"seq": 0, "phase": "base", "step": 3, "steps": 8, "percent": 12.3, "eta": 7.8}
    ]
    report.close()


def test_messages_are_throttled_and_the_newest_state_is_sent():
    wire = Wire()
    report = Reporter(wire, every=0.2)
    for percent in range(50):
        report(event(percent))
        time.sleep(0.01)
    wire.wait(3)
    report.close()
    assert len(wire.got) <= 4
    assert all(b - a >= 0.19 for a, b in zip(wire.at, wire.at[1:], strict=False))
    percents = [message["percent"] for message in wire.got]
    assert percents == sorted(percents)
    assert percents[-1] > 15  # overtaken states are left out


def test_a_slow_wire_gets_one_message_at_a_time_and_does_not_hold_up_the_run():
    wire = Wire(0.1)
    report = Reporter(wire, every=0.0)
    slowest = 0.0
    for percent in range(40):
        began = time.monotonic()
        report(event(percent))
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.01)
    assert slowest < 0.1
    wire.wait(2)
    report.close()
    assert wire.most == 1
    assert [message["seq"] for message in wire.got] == list(range(len(wire.got)))


def test_the_percentage_never_falls():
    wire = Wire()
    report = Reporter(wire, every=0.0)
    for count, percent in enumerate((10.0, 40.0, 20.0, 50.0), 1):
        report(event(percent))
        wire.wait(count)
    report.close()
    assert [message["percent"] for message in wire.got] == [10, 40, 40, 50]


def test_closing_waits_for_the_message_on_its_way_and_lets_none_follow():
    wire = Wire(0.3)
    report = Reporter(wire, every=0.0)
    report(event(1))
    time.sleep(0.1)
    report(event(2))
    report.close()
    assert [message["percent"] for message in wire.got] == [1]
    report(event(3))
    time.sleep(0.2)
    assert len(wire.got) == 1


def test_closing_does_not_wait_for_ever():
    gate = threading.Event()
    report = Reporter(lambda message: gate.wait(30), every=0.0)
    report(event(1))
    time.sleep(0.05)
    began = time.monotonic()
    report.close(0.2)
    assert time.monotonic() - began < 2
    gate.set()


@pytest.mark.parametrize("events", [0, 3])
def test_without_anyone_to_tell_no_thread_is_started(events):
    before = threading.active_count()
    report = Reporter(None)
    for _ in range(events):
        report(event(1))
    assert threading.active_count() == before
    report.close()


def test_once_it_is_to_be_silent_nothing_is_sent_any_more():
    wire, stop = Wire(), threading.Event()
    report = Reporter(wire, every=0.0, silent=stop.is_set)
    report(event(1))
    wire.wait(1)
    stop.set()
    for percent in range(2, 5):
        report(event(percent))
        time.sleep(0.02)
    report.close()
    assert len(wire.got) == 1


def test_a_message_that_cannot_be_sent_is_logged_and_the_next_one_goes(caplog):
    wire, first = Wire(), threading.Event()

    def send(message):
        if not first.is_set():
            first.set()
            raise RuntimeError("can't start new thread")
        wire(message)

    report = Reporter(send, every=0.0)
    report(event(1))
    assert first.wait(5)
    report(event(2))
    wire.wait(1)
    report.close()
    assert "a progress message could not be sent" in caplog.text
