"""How generations ended, counted from the ledger: every process says the same, also after a start.

A settlement is a row of the ledger with a growing id, so a look reads only what the last one did
not, however long the history is.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import func, select

from gateway.clock import Clock
from gateway.database import Database
from gateway.states import Status
from gateway.tables import SETTLEMENTS, GenerationRow, LedgerRow

# A row's id is given before its transaction ends: by then all with lower ones have ended, too.
SETTLED = timedelta(seconds=30)

_STATUSES: Mapping[str, Status] = {"done": "completed", "failed": "failed", "cancelled": "canceled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Sums over every generation that has ended."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # by status and error type
    queued: Counter[str] = field(default_factory=Counter)  # by mode: those whose times are known
    queue_ms: Counter[str] = field(default_factory=Counter)
    executed: Counter[str] = field(default_factory=Counter)
    execution_ms: Counter[str] = field(default_factory=Counter)


class Tally:
    """Adds up what has ended. Safe from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = 0  # id of the last row of the ledger that is counted
        self._sums = Ended()

    def ended(self) -> Ended:
        """The sums, without the last half minute."""
        with self._lock:
            self._count_new()
            return Ended(
                outcomes=Counter(self._sums.outcomes),
                queued=Counter(self._sums.queued),
                queue_ms=Counter(self._sums.queue_ms),
                executed=Counter(self._sums.executed),
                execution_ms=Counter(self._sums.execution_ms),
            )

    def _count_new(self) -> None:
        settled = self._clock.now() - SETTLED
        new = (LedgerRow.id > self._seen, LedgerRow.created_at <= settled)
        each = GenerationRow
        with self._database.read() as session:
            last = session.scalar(select(func.max(LedgerRow.id)).where(*new))
            if last is None:
                return
            found = session.execute(
                select(
                    each.state,
                    each.error_type,
                    each.mode,
                    func.count(),
                    func.count(each.queue_ms),
                    func.sum(each.queue_ms),
                    func.count(each.execution_ms),
                    func.sum(each.execution_ms),
                )
                .join(LedgerRow, LedgerRow.generation_id == each.id)
                .where(LedgerRow.id > self._seen, LedgerRow.id <= last)
                .where(LedgerRow.kind.in_(SETTLEMENTS))
                .group_by(each.state, each.error_type, each.mode)
            ).all()
        sums = self._sums
        for state, error, mode, count, queued, queue_ms, executed, execution_ms in found:
            sums.outcomes[_STATUSES[state], error or ""] += count
            sums.queued[mode] += queued
            sums.queue_ms[mode] += int(queue_ms or 0)
            sums.executed[mode] += executed
            sums.execution_ms[mode] += int(execution_ms or 0)
        self._seen = last
