"""The gate: one job at a time, and the next starts when a cancelled one's thread has ended."""

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from ltx2.errors import Cancelled, DeviceLost, TooLarge
from ltx2.progress import Event
from ltx2.worker.gate import Gate
from ltx2.worker.log import JsonLines
from ltx2.worker.scrub import Scrub

JOB = {"id": "a", "input": {"prompt": "x"}}


class Steps:
    """A worker whose jobs take steps of 20 ms until they are done or stopped."""

    def __init__(self, steps=10, *, deaf=0.0, ending=None):
        self.worker = SimpleNamespace(stop_seconds=60.0)
        self.counts = Counter()
        self.steps, self.deaf, self.ending = steps, deaf, ending
        self.running, self.most = 0, 0
        self.log = []
        self.began = threading.Event()

    def run(self, job, *, stop, report):
        self.running += 1
        self.most = max(self.most, self.running)
        self.log.append(("began", job["id"]))
        self.began.set()
        try:
            time.sleep(self.deaf)
            for step in range(self.steps):
                if stop.is_set():
                    raise Cancelled("stopped")
                report(event(100 * step / self.steps))
                time.sleep(0.02)
            if self.ending is not None:
                raise self.ending
            return {"id": job["id"]}
        finally:
            self.running -= 1
            self.log.append(("ended", job["id"]))


class Lines(logging.Handler):
    """The lines of the worker's log, as it writes them."""

    def __init__(self):
        super().__init__()
        self.setFormatter(JsonLines(Scrub(), prompts=False))
        self.written = []

    def emit(self, record):
        self.written.append(json.loads(self.format(record)))


def event(percent):
    return Event(stage="base", step=1, steps=2, percent=percent, eta=1.0, seconds=0.0)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


async def begun(worker):
    await asyncio.to_thread(worker.began.wait, 10)


def test_a_job_is_answered_with_what_the_worker_made():
    worker = Steps(2)
    assert run(Gate(worker)(JOB)) == {"id": "a"}
    assert worker.counts == {"finished": 1}


def test_two_jobs_at_once_run_one_after_the_other():
    worker = Steps(3)
    gate = Gate(worker)

    async def both():
        return await asyncio.gather(gate({**JOB, "id": "a"}), gate({**JOB, "id": "b"}))

    assert run(both()) == [{"id": "a"}, {"id": "b"}]
    assert worker.most == 1


@pytest.mark.parametrize("signals", [1, 2, 5])
def test_a_cancelled_job_is_over_only_when_its_thread_is(signals):
    worker = Steps(500, deaf=0.3)
    gate = Gate(worker)

    async def cancelled():
        task = asyncio.create_task(gate(JOB))
        await begun(worker)
        for _ in range(signals):
            task.cancel()
            await asyncio.sleep(0.02)
        assert not task.done()  # the thread is deaf for a while
        with pytest.raises(asyncio.CancelledError):
            await task
        assert worker.running == 0
        assert worker.log == [("began", "a"), ("ended", "a")]
        worker.steps, worker.deaf = 1, 0
        return await gate({**JOB, "id": "b"})

    assert run(cancelled()) == {"id": "b"}
    assert worker.counts == {"cancelled": 1, "finished": 1}


def test_a_job_that_is_done_when_the_stop_comes_is_cancelled_all_the_same():
    worker = Steps(0, deaf=0.2)

    async def cancelled():
        task = asyncio.create_task(Gate(worker)(JOB))
        await begun(worker)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled())


def test_a_job_that_waits_for_another_is_cancelled_without_having_run():
    worker = Steps(20)
    gate = Gate(worker)

    async def cancelled():
        first = asyncio.create_task(gate(JOB))
        await begun(worker)
        second = asyncio.create_task(gate({**JOB, "id": "b"}))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert worker.running == 1
        return await first

    assert run(cancelled()) == {"id": "a"}
    assert ("began", "b") not in worker.log


def test_a_job_that_does_not_stop_ends_the_process():
    worker = Steps(0, deaf=0.6)
    ended = threading.Event()

    async def cancelled():
        gate = Gate(worker, stop_seconds=0.1, on_stuck=ended.set)
        task = asyncio.create_task(gate(JOB))
        await begun(worker)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled())
    assert ended.is_set()


def test_a_job_that_stops_in_time_does_not_end_the_process():
    worker = Steps(500)
    ended = threading.Event()

    async def cancelled():
        gate = Gate(worker, stop_seconds=0.3, on_stuck=ended.set)
        task = asyncio.create_task(gate(JOB))
        await begun(worker)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.5)

    run(cancelled())
    assert not ended.is_set()


def test_an_error_is_answered_with_its_code():
    answer = run(Gate(Steps(1, ending=TooLarge("too many pixels")))(JOB))
    assert answer == {"error": "TOO_LARGE: too many pixels", "error_code": "TOO_LARGE"}


def test_a_fault_of_the_program_is_answered_without_its_words(caplog):
    answer = run(Gate(Steps(1, ending=KeyError("/secret/path")))(JOB))
    assert answer["error_code"] == "INTERNAL"
    assert "secret" not in str(answer)
    assert "secret" in caplog.text  # in the log, with its traceback
    assert "Traceback" in caplog.text


def test_a_lost_gpu_asks_the_platform_for_a_new_worker():
    answer = run(Gate(Steps(1, ending=DeviceLost("the GPU does not answer")))(JOB))
    assert answer["refresh_worker"] is True
    assert answer["error"] == "INTERNAL: the GPU does not answer"


@pytest.mark.parametrize("job", [{}, {"id": 3, "input": None}, {"id": "a", "input": []}])
def test_a_job_without_an_input_is_refused_by_the_worker_and_not_by_the_gate(job):
    worker = Steps(0)
    worker.run = lambda job, *, stop, report: {"seen": True}
    assert run(Gate(worker)(job)) == {"seen": True}


def test_nothing_is_sent_after_the_answer():
    sent = []

    def send(progress):
        time.sleep(0.15)
        sent.append(progress["seq"])

    worker = Steps(30)

    async def job():
        await Gate(worker)(JOB, send=send)
        count = len(sent)
        await asyncio.sleep(0.4)
        assert len(sent) == count
        assert sent == list(range(count))

    run(job())
    assert sent


def test_no_progress_is_sent_between_a_stop_and_the_end_of_the_thread():
    sent = []
    worker = Steps(0)
    halted = threading.Event()

    def run_on(job, *, stop, report):
        report(event(1))
        worker.began.set()
        stop.wait(10)
        for percent in range(2, 60):  # a step that is long, and deaf
            report(event(percent))
            time.sleep(0.03)
        halted.set()
        raise Cancelled("stopped")

    worker.run = run_on

    async def cancelled():
        task = asyncio.create_task(Gate(worker)(JOB, send=lambda progress: sent.append(progress)))
        await begun(worker)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled())
    assert halted.is_set()
    assert [message["percent"] for message in sent] == [1]


def test_the_log_says_which_job_did_not_stop():
    lines = Lines()
    logging.getLogger("ltx2.worker.gate").addHandler(lines)
    worker = Steps(0, deaf=0.6)

    async def cancelled():
        gate = Gate(worker, stop_seconds=0.1, on_stuck=lambda: None)
        task = asyncio.create_task(gate(JOB))
        await begun(worker)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    try:
        run(cancelled())
    finally:
        logging.getLogger("ltx2.worker.gate").removeHandler(lines)
    [stuck] = [line for line in lines.written if "did not stop" in line["message"]]
    assert stuck["requestId"] == JOB["id"]
