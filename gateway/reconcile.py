"""What the worker's platform says of a job becomes the generation's state: the only way there is.

Webhooks are hints to look sooner. State and credits change after our own question, in one
transaction; the platform and the store are asked outside of it.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import assert_never

from sqlalchemy.orm import Session

from gateway import clips, due, transitions
from gateway.backends import Backend, Unreachable
from gateway.clips import Unfetched
from gateway.clock import Clock
from gateway.database import Database
from gateway.due import Looked
from gateway.rows import progress_of
from gateway.side_by_side import work_off
from gateway.sold import ANOTHER, another
from gateway.states import Output
from gateway.stores import Store, StoreFailed
from gateway.submit import UNSURE, Times
from gateway.tables import LIVE, GenerationRow
from gateway.verdict import (
    FAULT,
    LOST,
    TIMEOUT,
    Case,
    Finished,
    GiveUp,
    Over,
    Runs,
    Stopped,
    Verdict,
    Wait,
    judge,
)

logger = logging.getLogger(__name__)
# How long a result that cannot be fetched is tried for; RunPod keeps it for 30 minutes.
TROUBLED = timedelta(minutes=20)
MOST_ATTEMPTS = 3  # submissions whose outcome stays unknown
GROWTH = 1.5  # of the pause, with each look without news


class Reconciler:
    """Looks at every generation that is due. `woken` is told of work for the submitter; where
    `leaving`, no more looks are begun.
    """

    def __init__(
        self,
        database: Database,
        backend: Backend,
        store: Store,
        clock: Clock,
        *,
        times: Times,
        woken: Callable[[], object] = lambda: None,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._backend = backend
        self._store = store
        self._clock = clock
        self._times = times
        self._woken = woken
        self._leaving = leaving
        # Since when the platform says nothing of a generation; another process asks for itself.
        self._silent: dict[str, datetime] = {}

    def turn(self) -> int:
        """Look at all that is due; how many that were. A generation that cannot be looked at is due
        again later, and none keeps another from its turn.
        """
        return work_off(self._claim, self._visit, name="gateway-look", leaving=self._leaving)

    def _visit(self, seen: Looked) -> None:
        silent = False
        try:
            self._look(seen)
        except (Unreachable, Unfetched) as error:
            logger.warning("%s is looked at again: %s", seen.id, error)
            silent = isinstance(error, Unreachable)
        except Exception:
            logger.exception("%s cannot be looked at; again later", seen.id)
        else:
            self._silent.pop(seen.id, None)
            return
        self._trouble(seen, silent=silent)

    def check_all(self) -> None:
        """Have every generation that has not ended looked at in the next turn: at the start, when
        nobody knows what was missed.
        """
        with self._database.write() as session:
            due.all_now(session, self._clock.now())

    def _claim(self, most: int, busy: Sequence[Looked]) -> Sequence[Looked]:
        """Up to so many that are due, but those that are being looked at: a hint for one waits."""
        with self._database.write() as session:
            busy_ids = [each.id for each in busy]
            return due.claimed(session, self._clock.now(), most=most, busy=busy_ids)

    def _look(self, seen: Looked) -> None:
        if seen.surplus_jobs:
            self._cancel_surplus(seen)
        if seen.deleted:
            self._delete_files(seen)  # that came after those that were deleted with it
        elif seen.state == "failed":
            self._look_late(seen)
            return
        if seen.state == "cancelled" and seen.job_id is not None:
            self._backend.cancel(seen.job_id)  # a webhook told of a job that nobody knew of
        elif seen.state not in LIVE or seen.submitted_at is None or seen.deadline_at is None:
            return
        elif seen.job_id is None:
            self._look_unsure(seen)
        else:
            if seen.state == "cancelling":
                self._backend.cancel(seen.job_id)
            status = self._backend.status(seen.job_id)
            case = Case(
                cancelling=seen.state == "cancelling",
                submitted_at=seen.submitted_at,
                began_at=seen.began_at,
                deadline_at=seen.deadline_at,
                execution_seconds=self._times.execution[seen.mode],
                now=self._clock.now(),
            )
            self._carry_out(seen, judge(case, status))

    def _cancel_surplus(self, seen: Looked) -> None:
        """End what makes the same video once more."""
        for job_id in seen.surplus_jobs:
            logger.warning("job %s of %s is one too many", job_id, seen.id)
            self._backend.cancel(job_id)
        with self._locked(seen) as (_, row, _now):
            row.surplus_jobs = [each for each in row.surplus_jobs if each not in seen.surplus_jobs]

    def _carry_out(self, seen: Looked, verdict: Verdict) -> None:
        match verdict:
            case Wait():
                self._postpone(seen)
            case Runs():
                self._note(seen, verdict)
            case Finished():
                self._take(seen, verdict)
            case Over():
                self._end(seen, verdict)
            case Stopped():
                with self._locked(seen) as (session, row, now):
                    transitions.cancelled(session, row, now)
            case GiveUp():
                self._give_up(seen)
            case _:
                assert_never(verdict)

    def _note(self, seen: Looked, runs: Runs) -> None:
        """The worker is at it."""
        if runs.overdue and (output := self._stored(seen)) is not None:
            self._finish(seen, output, runs.queue_ms, None)
            return
        with self._locked(seen) as (_, row, now):
            transitions.began(row, now)
            row.queue_ms = runs.queue_ms if row.queue_ms is None else row.queue_ms
            before = row.version
            if runs.report is not None:
                news = progress_of(runs.report, row.progress, now, runs.worker)
                if news is not None:
                    transitions.progressed(row, news)
            self._pause(row, now, news=row.version != before)

    def _take(self, seen: Looked, finished: Finished) -> None:
        """Have the video in the store, and then the state. What cannot be had is tried again until
        the platform has forgotten it, too.
        """
        try:
            output = clips.take(self._store, seen.id, finished.result)
        except Unfetched as error:
            now = self._clock.now()
            if seen.troubled_at is None or now < seen.troubled_at + TROUBLED:
                with self._locked(seen) as (_, row, now):
                    row.troubled_at = row.troubled_at or now
                raise
            self._end(seen, Over("lost", LOST, str(error), stored=True))
            return
        self._finish(seen, output, finished.queue_ms, finished.execution_ms)

    def _finish(
        self, seen: Looked, output: Output, queue_ms: int | None, execution_ms: int | None
    ) -> None:
        wrong = output.checkpoint not in (None, seen.model)
        if wrong:  # before it has ended, or nobody came back to it
            self._delete_files(seen)
        with self._locked(seen) as (session, row, now):
            row.queue_ms = queue_ms if queue_ms is not None else row.queue_ms
            row.execution_ms = execution_ms if execution_ms is not None else row.execution_ms
            if row.began_at is None and row.state in LIVE:
                row.began_at = now
            row.checkpoint = output.checkpoint
            if wrong:
                said = another(str(output.checkpoint), seen.model, who="the worker runs")
                logger.error("%s is not sold as what it is: %s", seen.id, said)
                transitions.no_video(session, row, "api_error", ANOTHER, now, worker_error=said)
            else:
                transitions.finished(session, row, output, now)
            deleted = row.deleted_at is not None
        if deleted:
            self._delete_files(seen)

    def _delete_files(self, seen: Looked) -> None:
        """Nothing is kept of what was deleted. Raises Unfetched where the store does not do it: it
        is asked again.
        """
        try:
            self._store.delete(seen.id)
        except StoreFailed as error:
            raise Unfetched(f"its files cannot be deleted: {error}") from error

    def _end(self, seen: Looked, over: Over) -> None:
        """The job has ended without a result: the store has the last word."""
        if over.stored and (output := self._stored(seen)) is not None:
            self._finish(seen, output, over.queue_ms, over.execution_ms)
            return
        logger.warning("%s ends without a video: %s", seen.id, over.worker_error)
        with self._locked(seen) as (session, row, now):
            row.queue_ms, row.execution_ms = over.queue_ms, over.execution_ms
            transitions.no_video(
                session, row, over.error, over.sentence, now, worker_error=over.worker_error
            )

    def _stored(self, seen: Looked) -> Output | None:
        """The store's word for what goes on, and nothing from a store that is away for longer than
        the deadline and TROUBLED: no hold is for ever. Raises Unfetched until then.
        """
        try:
            return clips.stored(self._store, seen.id)
        except Unfetched as error:
            if self._clock.now() < seen.deadline + TROUBLED:
                raise
            logger.warning("the store has no say in the end of %s: %s", seen.id, error)
            return None

    def _give_up(self, seen: Looked) -> None:
        """Nothing more is waited for."""
        if seen.job_id is not None:
            self._backend.cancel(seen.job_id)
        self._end(seen, Over("timeout", TIMEOUT, "no end before the deadline", stored=True))

    def _look_unsure(self, seen: Looked) -> None:
        """A submission whose outcome nobody knows: the store may, and then time decides."""
        assert seen.submitted_at is not None
        now = self._clock.now()
        if now < seen.submitted_at + UNSURE:  # it may still be on its way
            self._postpone(seen)
            return
        output = self._stored(seen)
        if output is not None:
            self._finish(seen, output, None, None)
            return
        if seen.state != "cancelling" and now < seen.submitted_at + self._times.unsure:
            self._postpone(seen)
            return
        with self._locked(seen) as (session, row, now):
            if row.job_id is not None:  # a webhook told it meanwhile
                row.next_check_at = now
            elif row.state == "cancelling":
                transitions.cancelled(session, row, now)
            elif row.attempts >= MOST_ATTEMPTS:
                said = f"the outcome of {row.attempts} submissions is unknown"
                transitions.failed(session, row, "api_error", FAULT, now, worker_error=said)
            else:
                # With the same generation id: a worker that has it made answers what it made.
                transitions.submission_refused(row, now, pause=timedelta(), silent=True)
        self._woken()

    def _look_late(self, seen: Looked) -> None:
        """A hint for what we gave up: a video that came too late is kept, for free."""
        status = None if seen.job_id is None else self._backend.status(seen.job_id)
        if status is not None and status.state == "completed" and status.output:
            self._finish(seen, clips.take(self._store, seen.id, status.output), None, None)
        elif (output := clips.stored(self._store, seen.id)) is not None:
            self._finish(seen, output, None, None)

    def _trouble(self, seen: Looked, *, silent: bool) -> None:
        """Platform or store did not answer, or not as they should. What has ended is looked at
        again for as long as a result is kept; what goes on, until its time is over and the platform
        stays silent.
        """
        with self._locked(seen) as (_, row, now):
            if row.state in LIVE:
                self._pause(row, now, news=False, failed=silent)
            else:
                row.troubled_at = since = row.troubled_at or now
                if now < since + TROUBLED:
                    row.hinted_at = now + timedelta(seconds=5 * self._times.poll)
                return
        if not silent:
            self._silent.pop(seen.id, None)
        elif self._silent.setdefault(seen.id, now) + TROUBLED <= now >= seen.deadline:
            with suppress(Unfetched):
                self._end(seen, Over("timeout", TIMEOUT, "the platform is silent", stored=True))
                del self._silent[seen.id]

    def _postpone(self, seen: Looked) -> None:
        with self._locked(seen) as (_, row, now):
            self._pause(row, now, news=False)

    def _pause(
        self, row: GenerationRow, now: datetime, *, news: bool, failed: bool = False
    ) -> None:
        """When to look again: soon after news, and less and less often without."""
        if failed:
            row.checks = min(row.checks, 0) - 1
        else:
            row.checks = 0 if news else max(row.checks, 0) + 1
        times = self._times
        longest = times.longest_poll if row.state == "submitted" else 5 * times.poll
        seconds = min(times.poll * GROWTH ** min(abs(row.checks), 20), max(longest, times.poll))
        row.next_check_at = now + timedelta(seconds=seconds)

    @contextmanager
    def _locked(self, seen: Looked) -> Iterator[tuple[Session, GenerationRow, datetime]]:
        """A transaction with one generation in it."""
        with self._database.write() as session:
            row = transitions.locked(session, seen.id)
            assert row is not None, f"{seen.id} is gone: rows are never deleted"
            yield session, row, self._clock.now()
