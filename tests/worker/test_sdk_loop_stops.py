"""Stops under the SDK's loop: where a job ends, that the next one waits for it, what stays behind.

The worker runs in a process of its own; a stop is sent when its log shows that a phase begins.
"""

import threading
from contextlib import contextmanager

import pytest

from tests.worker.job_taking import PACED, platform, worker

CLIP = {"prompt": "a boat", "width": 64, "height": 64, "num_frames": 9}
GUIDED = {**CLIP, "mode": "pro", "num_inference_steps": 40}
MIB = 2**20


@pytest.fixture(scope="module")
def line(tiny, tmp_path_factory):
    """A platform and a worker that takes its jobs."""
    folder = tmp_path_factory.mktemp("worker")
    with platform() as double, worker(double, folder, tiny, script=PACED) as process:
        yield double, process


@contextmanager
def slowly(process):
    """Steps last long enough that a job can be stopped in any phase."""
    process.slow_down(0.3)
    try:
        yield
    finally:
        process.slow_down(0)


def stop_after(line, job, phase, signals=1):
    """Stop a job once its log tells that a phase has ended: it is in the next one."""
    double, process = line
    double.wait(lambda: process.said(f"{phase} took", job))
    for _ in range(signals):
        double.stop(job)
    double.wait(lambda: f"{job} | Job stopped." in process.text())


def where(process, job, *parts):
    """The place in the worker's output of the only line of a job with all these words."""
    lines = process.text().splitlines()
    found = [n for n, line in enumerate(lines) if all(each in line for each in (job, *parts))]
    assert len(found) == 1, f"{job}, {parts}: {[lines[n] for n in found]}"
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "before", "given", "signals"),
    [
        ("base", "prompt", GUIDED, 1),
        ("refine", "upsample", CLIP, 2),
        ("decode+encode", "sound", CLIP, 3),
    ],
)
def test_a_job_ends_in_the_phase_it_was_stopped_in_before_the_next_begins(
    line, phase, before, given, signals
):
    double, process = line
    job, after = f"stopped-{phase}", f"after-{phase}"
    with slowly(process):
        double.give(job, given)
        double.give(after, CLIP)  # waits on the platform, to be taken as soon as the worker asks
        if phase == "base":  # the only one that is surely longer than from one message to the next
            double.wait(lambda: any(p.progress["phase"] == phase for p in double.progress(job)))
        stop_after(line, job, before, signals)
    answer = double.answer(after)
    assert answer["output"]["num_frames"] == 9
    assert double.answers(job) == []
    # The SDK takes the next job as soon as this one's task has ended, and says so: its thread,
    # which holds the model, has to be free by then.
    ended = where(process, job, f"cancelled during {phase},")
    assert ended < where(process, job, "Job stopped.") < where(process, after, "Started.")
    assert all(post.at < double.taken[after] for post in double.progress(job))


@pytest.fixture
def holding(line):
    """Where the answer of the job "late" has arrived, and what lets the platform take it."""
    double, _ = line
    arrived, let_go, before = threading.Event(), threading.Event(), double.refuse

    def held(job, _body, _before):
        if job == "late":
            arrived.set()
            let_go.wait(30)
        return 200

    double.refuse = held
    yield arrived, let_go
    let_go.set()
    double.refuse = before


@pytest.mark.slow
def test_a_stop_that_comes_while_the_result_is_posted_leaves_the_worker_in_order(line, holding):
    """The platform calls a job off that has just been finished: its answer is on its way."""
    double, process = line
    arrived, let_go = holding
    double.give("late", {**CLIP, "generation_id": "g"})
    double.wait(arrived.is_set)
    double.stop("late")
    double.wait(lambda: "late | Job stopped." in process.text())
    let_go.set()
    # What was finished is not made again when it is asked for after all.
    double.give("again", {**CLIP, "generation_id": "g"})
    assert double.answer("again")["output"]["num_frames"] == 9
    assert process.said("finished already", "again")


@pytest.mark.slow
def test_memory_files_and_threads_come_back_to_their_floor(line):
    double, process = line
    floors = []
    for turn in range(4):
        for name, given in (("clip", CLIP), ("bad", {**CLIP, "seed": -1})):
            double.give(f"{name}-{turn}", given)
            double.answer(f"{name}-{turn}")
        with slowly(process):
            double.give(f"off-{turn}", GUIDED)
            stop_after(line, f"off-{turn}", "prompt")
        double.give(f"end-{turn}", CLIP)
        double.answer(f"end-{turn}")
        assert double.answers(f"off-{turn}") == []
        floors.append((process.memory(), process.descriptors(), process.threads()))
    warm, last = floors[1], floors[-1]
    assert last[0] < warm[0] + 24 * MIB, floors
    # The SDK's own calls come and go between two looks; what leaks does not go.
    double.wait(lambda: process.descriptors() <= warm[1] and process.threads() <= warm[2], 20)
    assert list((process.log.parent / "scratch").iterdir()) == []
