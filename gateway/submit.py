"""From the queue to the worker. The attempt is written down before the worker is asked."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway import transitions
from gateway.backends import Backend, Job, NotSubmitted, Rejected, Unreachable, Unsure
from gateway.clock import Clock
from gateway.database import Database
from gateway.forms import UPLOAD, worker_input
from gateway.ids import digest, new_secret
from gateway.offer_view import Offer
from gateway.refusals import NotFound
from gateway.side_by_side import work_off
from gateway.stores import StoreFailed
from gateway.tables import GenerationRow, TokenRow
from gateway.uploads import Uploads
from ltx2.request import PICTURES

logger = logging.getLogger(__name__)
# After an attempt whose outcome is unknown, how long a webhook or the store may still reveal it.
UNSURE = timedelta(seconds=60)
UNSURE_HOOKED = timedelta(minutes=5)  # where webhooks reach us: a worker's cold start takes minutes
PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(seconds=60)  # between two attempts
GIVE_UP_EVERY = timedelta(seconds=5)
MOST_ASKED = timedelta(days=1)  # that the platform may ask for; whatever waits has ended before


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds that the worker's platform gives a job, by mode, and that it may be there at all."""

    execution: Mapping[str, int]
    ttl: int
    margin: int = 120  # after the platform's own end, before we say that it is lost
    poll: float = 3.0  # between two looks at a running job
    longest_poll: float = 60.0
    hooked: bool = False  # whether webhooks of the platform reach us

    @property
    def unsure(self) -> timedelta:
        """From an attempt whose outcome is unknown to the next one."""
        return UNSURE_HOOKED if self.hooked else UNSURE

    @property
    def deadline(self) -> timedelta:
        """From the attempt to the moment when waiting is over."""
        return timedelta(seconds=self.ttl + self.margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A submission that was written down. `tries` counts it."""

    id: str
    form: Mapping[str, Any]
    token: str  # of its webhook
    tries: int


class NotOffered(Exception):
    """The settings changed between the queue and the worker."""


class Submitter:
    """Gives the worker what is queued, oldest first. `hook` makes a webhook's address of a token;
    None where the platform could not reach us. Where `leaving`, no more attempts are begun.
    """

    def __init__(
        self,
        database: Database,
        backend: Backend,
        uploads: Uploads,
        clock: Clock,
        *,
        offer: Offer,
        times: Times,
        hook: Callable[[str], str | None],
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._backend = backend
        self._uploads = uploads
        self._clock = clock
        self._offer = offer
        self._times = times
        self._hook = hook
        self._leaving = leaving
        self._gave_up_at: datetime | None = None

    def turn(self) -> int:
        """Submit everything that is due; how many attempts were made."""
        return work_off(self._claim, self._attempt, name="gateway-submit", leaving=self._leaving)

    def _give_up(self) -> None:
        """End what no worker took in time; looked for now and then, not with every claim."""
        now = self._clock.now()
        if self._gave_up_at is not None and now < self._gave_up_at + GIVE_UP_EVERY:
            return
        self._gave_up_at = now
        with self._database.write() as session:
            query = select(GenerationRow).where(
                GenerationRow.state == "queued",
                GenerationRow.created_at <= now - self._times.deadline,
            )
            for row in session.scalars(query.with_for_update(skip_locked=True)):
                logger.warning("%s was not taken by the worker in time", row.id)
                sentence = "No GPU took the video in time."
                transitions.failed(session, row, "timeout", sentence, now)

    def _claim(self, most: int, _busy: Sequence[Attempt]) -> Sequence[Attempt]:
        """The oldest that are due, marked as attempted."""
        self._give_up()
        now = self._clock.now()
        with self._database.write() as session:
            query = (
                select(GenerationRow)
                .where(GenerationRow.state == "queued", GenerationRow.next_check_at <= now)
                .order_by(GenerationRow.id)
                .limit(most)
                .with_for_update(skip_locked=True)
            )
            return [self._begun(session, row, now) for row in session.scalars(query).all()]

    def _begun(self, session: Session, row: GenerationRow, now: datetime) -> Attempt:
        transitions.submission_begins(row, now, ttl=self._times.deadline)
        row.next_check_at = now + UNSURE
        token = new_secret()
        session.add(TokenRow(sha256=digest(token), generation_id=row.id, created_at=now))
        return Attempt(id=row.id, form=dict(row.form), token=token, tries=row.attempts)

    def _attempt(self, attempt: Attempt) -> None:
        try:
            job = self._job(attempt)
            if _has_pictures(attempt.form) and not self._still_ours(attempt):
                logger.warning("%s was taken back while its pictures were read", attempt.id)
                return
            job_id = self._backend.submit(job)
        except NotSubmitted as error:
            pause = _pause(attempt.tries, error.seconds)
            logger.warning("%s was not submitted, again in %s: %s", attempt.id, pause, error)
            self._refused(attempt, pause, silent=not error.busy)
        except StoreFailed as error:
            logger.warning("%s was not submitted: %s", attempt.id, error)
            self._refused(attempt, _pause(attempt.tries, None), silent=False)
        except Unsure as error:
            # The row stays as it is: a webhook, the store or the time tells.
            logger.warning("%s may have been submitted: %s", attempt.id, error)
        except NotOffered:
            logger.error("%s is of a model, mode or size that is no longer offered", attempt.id)
            self._rejected(attempt, "no longer offered", "It is not offered any more.")
        except (Rejected, NotFound) as error:
            logger.error("%s was refused by the worker: %s", attempt.id, error)
            self._rejected(attempt, str(error), "The video could not be started.")
        else:
            logger.info("%s is job %s", attempt.id, job_id)
            self._accepted(attempt.id, job_id)

    def _job(self, attempt: Attempt) -> Job:
        form = attempt.form
        model = self._offer.model(form["model"])
        mode = None if model is None else model.mode(form["mode"])
        resolution = None if mode is None else mode.resolution(form["resolution"])
        if resolution is None:  # the worker is another one now
            raise NotOffered
        given = worker_input(form, resolution)
        for name in PICTURES:
            if name in given:
                given[name] = self._uploads.as_data(given[name])
        return Job(
            input={**given, "generation_id": attempt.id},
            webhook=self._hook(attempt.token),
            execution_seconds=self._times.execution[form["mode"]],
            ttl_seconds=self._times.ttl,
        )

    def _still_ours(self, attempt: Attempt) -> bool:
        """Count the attempt from now on: a store may take longer to give pictures than an attempt
        may take. False where it was held for lost meanwhile, or is to end.
        """
        now = self._clock.now()
        with self._database.write() as session:
            row = transitions.locked(session, attempt.id)
            assert row is not None, f"{attempt.id} is gone: rows are never deleted"
            ours = transitions.submission_sent(row, attempt.tries, now)
            if ours:
                row.next_check_at = now + UNSURE
            elif row.state == "cancelling" and row.attempts == attempt.tries and not row.job_id:
                transitions.cancelled(session, row, now)  # before anything was asked for
        return ours

    def _accepted(self, generation_id: str, job_id: str) -> None:
        now = self._clock.now()
        with self._database.write() as session:
            row = transitions.locked(session, generation_id)
            assert row is not None, f"{generation_id} is gone: rows are never deleted"
            poll = timedelta(seconds=self._times.poll)
            mine = transitions.submission_accepted(row, job_id, now, pause=poll)
        if not mine:
            logger.warning("job %s of %s is one too many", job_id, generation_id)
            try:
                self._backend.cancel(job_id)
            except Unreachable as error:
                logger.warning("job %s was not cancelled: %s", job_id, error)

    def _refused(self, attempt: Attempt, pause: timedelta, *, silent: bool) -> None:
        def waits(_session: Session, row: GenerationRow, now: datetime) -> None:
            transitions.submission_refused(row, now, pause=pause, silent=silent)

        self._not_taken(attempt, waits)

    def _rejected(self, attempt: Attempt, said: str, sentence: str) -> None:
        def fails(session: Session, row: GenerationRow, now: datetime) -> None:
            transitions.failed(session, row, "api_error", sentence, now, worker_error=said)

        self._not_taken(attempt, fails)

    def _not_taken(
        self, attempt: Attempt, then: Callable[[Session, GenerationRow, datetime], None]
    ) -> None:
        """An attempt came to no job. Nothing follows where another was begun meanwhile or a job is
        known, and the end where that was asked for.
        """
        now = self._clock.now()
        with self._database.write() as session:
            row = transitions.locked(session, attempt.id)
            assert row is not None, f"{attempt.id} is gone: rows are never deleted"
            if row.attempts != attempt.tries or row.job_id is not None:
                return
            if row.state == "cancelling":
                transitions.cancelled(session, row, now)
            else:
                then(session, row, now)


def _has_pictures(form: Mapping[str, Any]) -> bool:
    return any(str(form.get(name) or "").startswith(UPLOAD) for name in PICTURES)


def _pause(tries: int, asked: float | None) -> timedelta:
    """Longer with each try, and as long as the platform says."""
    pause = min(PAUSE * 2 ** min(tries - 1, 10), LONGEST_PAUSE)
    if asked is None:
        return pause
    return max(pause, timedelta(seconds=min(asked, MOST_ASKED.total_seconds())))
