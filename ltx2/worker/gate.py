"""One job at a time on one thread, stopped for real: what the platform's event loop calls.

The platform's client cancels the task of a job that is to stop and takes the next job as soon as
that task has ended. So the task must not end before the thread that holds the GPU is free.
"""

import asyncio
import contextvars
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ltx2.errors import Cancelled, DeviceLost, Ltx2Error
from ltx2.worker.answer import failure, refused
from ltx2.worker.job import find_action, job_id
from ltx2.worker.log import job_context
from ltx2.worker.report import Reporter, Send
from ltx2.worker.worker import Worker

logger = logging.getLogger(__name__)
STUCK = 70  # exit code of a process whose job would not stop; EX_SOFTWARE of sysexits.h


class Gate:
    """Runs a worker's jobs. Call it from one event loop; it answers every job exactly once.

    A cancelled job that has not stopped `stop_seconds` later ends the process by `on_stuck`: its
    thread holds the GPU, and only a new process gets it back.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        stop_seconds: float | None = None,
        on_stuck: Callable[[], object] = lambda: os._exit(STUCK),
    ) -> None:
        self.worker = worker
        self._stop_seconds = worker.worker.stop_seconds if stop_seconds is None else stop_seconds
        self._on_stuck = on_stuck
        self._gpu = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gpu")

    async def __call__(self, job: Mapping[str, Any], *, send: Send | None = None) -> dict[str, Any]:
        """The answer to a job. `send` gets its progress, from another thread.

        Raises CancelledError when its task was cancelled, once the job's thread is free, and then
        nothing is answered and no progress sent any more.
        """
        with job_context(job_id(job), job):
            if _light(job):
                return await asyncio.to_thread(self._answered, job, threading.Event(), None)
            stop = threading.Event()
            context = contextvars.copy_context()
            work = self._gpu.submit(context.run, self._answered, job, stop, send)
            return await self._waited(work, stop)

    async def _waited(
        self, work: "Future[dict[str, Any]]", stop: threading.Event
    ) -> dict[str, Any]:
        """The answer, or CancelledError once the thread has ended, however many cancels come."""
        waiting = asyncio.wrap_future(work)
        watchdog: threading.Timer | None = None
        while not waiting.done():
            try:
                await asyncio.wait({waiting})  # unlike `await waiting`, never cancels it
            except asyncio.CancelledError:
                stop.set()
                if work.cancel():  # it was still waiting for another one
                    raise
                if watchdog is None:
                    run_here = contextvars.copy_context().run  # so that its log line names the job
                    watchdog = threading.Timer(self._stop_seconds, run_here, (self._stuck,))
                    watchdog.daemon = True
                    watchdog.start()
        if watchdog is not None:
            watchdog.cancel()
            waiting.exception()  # retrieved, so that nobody complains
            raise asyncio.CancelledError
        return waiting.result()

    def _stuck(self) -> None:
        logger.error(
            "the job did not stop within %g s; the process ends, to free the GPU",
            self._stop_seconds,
        )
        self._on_stuck()

    def _answered(
        self, job: Mapping[str, Any], stop: threading.Event, send: Send | None
    ) -> dict[str, Any]:
        """The worker's answer or its failure, counted and logged; here everything is caught."""
        report = Reporter(send, silent=stop.is_set)
        counts = Counter[str]() if _light(job) else self.worker.counts
        try:
            answer = self.worker.run(job, stop=stop, report=report)
        except Cancelled as error:
            logger.info("%s", error)
            counts["cancelled"] += 1
            return refused(error)
        except DeviceLost as error:
            logger.exception("the GPU's context is broken; the platform is asked for a new worker")
            counts["failed"] += 1
            return {**refused(error), "refresh_worker": True}
        except Ltx2Error as error:
            logger.warning("%s: %s", error.code, error)
            counts["failed"] += 1
            return refused(error)
        except Exception:
            logger.exception("the job failed by a fault of this program")
            counts["failed"] += 1
            return failure("INTERNAL", f"the worker failed; its log says why for job {job_id(job)}")
        finally:
            report.close()
        counts["finished"] += 1
        return answer

    def close(self) -> None:
        """Wait for the running job, and take none after it."""
        self._gpu.shutdown(wait=True)


def _light(job: Mapping[str, Any]) -> bool:
    """Whether a job is answered beside the one that runs. A faulty one is refused in its turn."""
    try:
        return find_action(job) in ("health", "schema")
    except Ltx2Error:
        return False
