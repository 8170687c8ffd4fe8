"""The queue and its one worker: what RunPod does around a handler, on this machine."""

import asyncio
import contextlib
import gc
import json
import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from ltx2.errors import Ltx2Error
from ltx2.serve.jobs import Ended, Job, Queued, Running, Status
from ltx2.serve.refusal import Refusal, no_such_job
from ltx2.serve.rules import Kind, Rules
from ltx2.serve.submission import Submission
from ltx2.serve.webhooks import Webhooks
from ltx2.worker.log import job_context

logger = logging.getLogger(__name__)
TICK = 0.1  # seconds between two looks at the clock
GRACE = 5.0  # seconds that webhooks get when the server ends
RETRIED: tuple[Status, ...] = ("FAILED", "TIMED_OUT")  # what the platform runs again

Send = Callable[[dict[str, Any]], None]


class Gate(Protocol):
    """What runs the jobs, as `ltx2.worker.gate.Gate`."""

    async def __call__(self, job: dict[str, Any], *, send: Send | None = None) -> dict[str, Any]:
        """A job's answer. A cancelled call returns once the job has really ended."""
        ...

    def close(self) -> None:
        """Take no job any more."""
        ...


class Endpoint:
    """Jobs in the order they came, one at a time, with the platform's states and times.

    `load` makes a gate ready and runs once in a thread before the first job is taken; without it
    the gate's first job does that. `renew` makes the gate that follows one which asked to be
    replaced. `clock` counts seconds. Call everything from one event loop.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        rules: Rules,
        load: Callable[[Any], object] | None = None,
        renew: Callable[[], Gate] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules
        self.error: BaseException | None = None  # why no job can be run
        self.broken = asyncio.Event()  # there is one
        self.settled = asyncio.Event()  # the gate is loaded, or cannot be
        self._gate = gate
        self._load = load
        self._renew = renew
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._low: deque[Job] = deque()
        self._arrived = asyncio.Event()
        self._attempt: asyncio.Task[dict[str, Any]] | None = None
        self._current: Job | None = None
        self._counts: Counter[str] = Counter()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._webhooks: Webhooks | None = None

    # What callers ask for. Each looks at the clock first.

    def submit(self, kind: Kind, submission: Submission) -> Job:
        """Queue a job. Raises Refusal where the queue is full or the server ends."""
        self._sweep()
        if self._closing:
            raise Refusal(503, "the server is stopping and takes no job")
        if len(self._queue) + len(self._low) >= self.rules.queued:
            raise Refusal(429, f"{self.rules.queued} jobs are waiting; try again later")
        execution = submission.execution_seconds or self.rules.execution_seconds
        job = Job(
            id=f"{'sync-' if kind == 'runsync' else ''}{uuid.uuid4()}",
            kind=kind,
            submission=submission,
            submitted=self._clock(),
            execution_seconds=execution,
            forgotten_at=float("inf"),
        )
        self._jobs[job.id] = job
        self._enqueue(job)
        _log(job, "the job is queued as /%s", kind)
        return job

    def find(self, job_id: str) -> Job:
        """A job that is here. Raises Refusal."""
        self._sweep()
        if job_id not in self._jobs:
            raise no_such_job(job_id)
        return self._jobs[job_id]

    def cancel(self, job_id: str) -> Job:
        """Call a job off; one that has ended stays as it is."""
        job = self.find(job_id)
        self._stop(job, "CANCELLED")
        return job

    def retry(self, job_id: str) -> Job:
        """Queue a job that failed or ran out of time once more. Raises Refusal for any other."""
        job = self.find(job_id)
        status = job.body()["status"]
        if status not in RETRIED:
            wanted = " or ".join(RETRIED)
            raise Refusal(400, f"a job that is {wanted} can be retried; this one is {status}")
        if self._closing:
            raise Refusal(503, "the server is stopping and takes no job")
        job.submitted, job.state, job.over = self._clock(), Queued(), asyncio.Event()
        self._enqueue(job)
        self._counts["retried"] += 1
        return job

    def purge(self) -> int:
        """Call off all jobs that wait; how many they were."""
        self._sweep()
        waiting = [*self._queue, *self._low]
        for job in waiting:
            self._stop(job, "CANCELLED")
        return len(waiting)

    def forget_after(self, job: Job, seconds: float) -> None:
        """Forget an ended job earlier than it would be."""
        if isinstance(job.state, Ended):
            job.forgotten_at = min(job.forgotten_at, self._clock() + seconds)

    async def finished(self, job: Job, seconds: float) -> Job:
        """The job once it is over, or as it stands `seconds` later. Raises Refusal if it is gone
        by then.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(job.over.wait(), seconds)
        return self.find(job.id)

    def health(self) -> dict[str, dict[str, int]]:
        """Jobs and workers, counted as the platform does."""
        self._sweep()
        loaded = self.settled.is_set() and self.error is None
        running = self._attempt is not None
        return {
            "jobs": {
                "completed": self._counts["COMPLETED"],
                "failed": self._counts["FAILED"] + self._counts["TIMED_OUT"],
                "inProgress": int(
                    self._current is not None and isinstance(self._current.state, Running)
                ),
                "inQueue": len(self._queue) + len(self._low),
                "retried": self._counts["retried"],
            },
            "workers": {
                "idle": int(loaded and not running),
                "initializing": int(not self.settled.is_set()),
                "ready": int(loaded),
                "running": int(running),
                "throttled": 0,
                "unhealthy": int(self.error is not None),
            },
        }

    # The life of the endpoint.

    def open(self) -> None:
        """Begin to take jobs, unless the end came first."""
        if self._closing:
            return
        self._webhooks = Webhooks(self.rules)
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._watch())]
        for task in self._tasks:
            task.add_done_callback(self._fell)

    async def close(self, *, drain: float = 0.0) -> None:
        """End in order: what waits is called off, what runs gets `drain` seconds and is then
        stopped, and every job is answered.
        """
        if self._closing:
            return
        self._closing = True
        self.purge()
        if (attempt := self._attempt) is not None and (job := self._current) is not None:
            if drain > 0:
                await asyncio.wait({attempt}, timeout=drain)
            if not attempt.done():
                self._stop(job, "CANCELLED")
                attempt.cancel()  # also where the job was called off before
            await asyncio.wait({attempt})
            await job.over.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._webhooks is not None:
            await self._webhooks.close(GRACE)
        if self.settled.is_set():
            await asyncio.to_thread(self._gate.close)

    async def _work(self) -> None:
        await self._loaded()
        while True:
            while not self._queue and not self._low:
                self._arrived.clear()
                await self._arrived.wait()
            await self._run((self._queue or self._low).popleft())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._sweep()

    async def _loaded(self) -> None:
        if self._load is not None:
            loading = asyncio.create_task(asyncio.to_thread(self._load, self._gate))
            await asyncio.wait({loading})
            if error := loading.exception():
                self._break(error)
        self.settled.set()

    def _fell(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._break(error)

    def _break(self, error: BaseException) -> None:
        expected = isinstance(error, Ltx2Error)
        logger.error("no job can be run: %s", error, exc_info=None if expected else error)
        self.error = error
        self.broken.set()

    async def _run(self, job: Job) -> None:
        """One attempt at a job. Only an answer to the attempt that is still wanted counts."""
        running = Running(began=self._clock())
        job.state = running
        _log(job, "the job begins")
        loop = asyncio.get_running_loop()

        def send(progress: dict[str, Any]) -> None:  # called from a thread of the worker
            loop.call_soon_threadsafe(setattr, running, "progress", progress)

        attempt = asyncio.create_task(self._gate(job.handed_over(), send=send))
        self._attempt, self._current = attempt, job
        await asyncio.wait({attempt})
        self._attempt = self._current = None
        answer = self._answer(job, attempt)
        refresh = answer.pop("refresh_worker", False) is True
        if job.state is running:
            self._end(job, self._ended(job, running, answer))
        if refresh:
            await self._replaced()

    def _answer(self, job: Job, attempt: asyncio.Task[dict[str, Any]]) -> dict[str, Any]:
        if attempt.cancelled():
            return {"error": "CANCELLED: the worker stopped the job"}
        if fault := attempt.exception():
            with job_context(job.id):
                logger.error("the job failed by a fault of this program", exc_info=fault)
            return {"error": "INTERNAL: the worker failed; the server's log says why"}
        return dict(attempt.result())

    def _ended(self, job: Job, running: Running, answer: dict[str, Any]) -> Ended:
        """An answer as the platform stores it: `error` is taken out of it and fails the job."""
        error = answer.pop("error", None)
        limit = self.rules.size(job.kind)
        output: dict[str, Any] | None = answer or None
        try:
            length = len(json.dumps(answer, allow_nan=False))
        except (TypeError, ValueError) as fault:
            length, output = 0, None
            error = f"INTERNAL: the result is no JSON: {fault}"
        if length > limit:
            _log(
                job,
                "the result has %s bytes; the platform takes %s of /%s and drops it in silence, so "
                "the job is %s without an output, as there",
                f"{length:,}",
                f"{limit:,}",
                job.kind,
                "FAILED" if error else "COMPLETED",
                level=logging.ERROR,
            )
            output = None
        return Ended(
            status="FAILED" if error else "COMPLETED",
            began=running.began,
            at=self._clock(),
            output=output,
            error=str(error) if error else None,
        )

    async def _replaced(self) -> None:
        """What a new worker is on the platform: a new gate, loaded anew, in this process."""
        if self._renew is None:
            logger.warning("the worker asks to be replaced; start the server anew")
            return
        logger.warning("the worker asks to be replaced: its model is loaded anew")
        self.settled.clear()
        await asyncio.to_thread(self._gate.close)
        self._gate = self._renew()
        gc.collect()  # the old model, before the new one needs the room
        await self._loaded()

    # Changes of a job's state.

    def _enqueue(self, job: Job) -> None:
        ttl = job.submission.ttl_seconds or self.rules.ttl_seconds
        job.forgotten_at = job.submitted + ttl
        (self._low if job.submission.low_priority else self._queue).append(job)
        self._arrived.set()

    def _dequeue(self, job: Job) -> None:
        (self._low if job.submission.low_priority else self._queue).remove(job)

    def _stop(self, job: Job, status: Status, error: str | None = None) -> None:
        """End a job that has not ended, whether it waits or runs."""
        if isinstance(job.state, Ended):
            return
        began = None
        if isinstance(job.state, Running):
            began = job.state.began
            self._halt()
        else:
            self._dequeue(job)
        self._end(job, Ended(status=status, began=began, at=self._clock(), error=error))

    def _halt(self) -> None:
        """Stop what the worker does. The next job starts when its thread is free."""
        if self._attempt is not None:
            self._attempt.cancel()

    def _end(self, job: Job, end: Ended) -> None:
        job.state = end
        job.forgotten_at = end.at + self.rules.kept(job.kind)
        job.over.set()
        self._counts[end.status] += 1
        _log(job, "the job is %s", end.status)
        if job.submission.webhook is not None and self._webhooks is not None:
            self._webhooks.post(job.submission.webhook, job.id, job.body())
        if end.status not in RETRIED:
            # Nobody needs the input again, and it may hold pictures of many megabytes.
            job.submission = replace(job.submission, job={})

    def _sweep(self) -> None:
        """Stop what runs too long, and forget what is past its time."""
        now = self._clock()
        for job in list(self._jobs.values()):
            state = job.state
            if now >= job.forgotten_at:
                self._forget(job)
            elif isinstance(state, Running) and now >= state.began + job.execution_seconds:
                limit = f"{job.execution_seconds:g} s"
                self._stop(job, "TIMED_OUT", f"stopped after its execution timeout of {limit}")

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        if isinstance(job.state, Running):
            self._halt()
        elif isinstance(job.state, Queued):
            self._dequeue(job)
        if not isinstance(job.state, Ended):
            _log(job, "the job is deleted: its time to live is over", level=logging.WARNING)
            # What its attempt still answers counts for nothing and is told to nobody.
            job.state = Ended(status="CANCELLED", began=None, at=self._clock())
        job.over.set()


def _log(job: Job, message: str, *values: object, level: int = logging.INFO) -> None:
    with job_context(job.id):
        logger.log(level, message, *values)
