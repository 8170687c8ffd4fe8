"""Webhooks of the worker's platform: hints to look sooner, and nothing else.

They are not signed, so nothing in them is believed. A token in the address says which generation is
meant; state and credits change after our own question to the platform.
"""

import hmac
import json
import logging
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway import transitions
from gateway.clock import Clock
from gateway.database import Database
from gateway.ids import digest
from gateway.refusals import NotFound
from gateway.tables import LIVE, GenerationRow, TokenRow

logger = logging.getLogger(__name__)
PATH = "/webhooks/runpod/{token}"
MOST_BYTES = 1_000_000  # of a body; what is longer is not read
_JOB_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")


class Incoming:
    """Takes hints. `woken` is told that there is one."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        ttl: timedelta,
        woken: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ttl = ttl
        self._woken = woken

    def take(self, token: str, body: bytes) -> None:
        """Note a hint. Raises NotFound, without detail, for a token that is none of ours."""
        wanted = digest(token)
        with self._database.read() as session:  # a stranger gets no chance to keep writers waiting
            known = session.get(TokenRow, wanted)
        if known is None or not hmac.compare_digest(known.sha256, wanted):
            raise NotFound("not found")
        with self._database.write() as session:
            row = transitions.locked(session, known.generation_id)
            assert row is not None, "a token without its generation"
            now = self._clock.now()
            row.hinted_at = now
            if row.state not in LIVE:
                row.troubled_at = None  # asking begins anew
            job_id = read_job_id(body)
            if job_id is not None and not _of_another(session, job_id, row.id):
                transitions.job_revealed(row, job_id, now, ttl=self._ttl)
            logger.info("a webhook speaks of %s", row.id)
        self._woken()


def _of_another(session: Session, job_id: str, generation_id: str) -> bool:
    """Whether a job is known as another generation's, which no hint for this one may touch."""
    others = GenerationRow.job_id == job_id, GenerationRow.id != generation_id
    return session.scalar(select(GenerationRow.id).where(*others).limit(1)) is not None


def read_job_id(body: bytes) -> str | None:
    """The job's id in a body, all that is read of it; None where there is none."""
    try:
        given: object = json.loads(body[:MOST_BYTES])
    except (ValueError, RecursionError):
        return None
    found = cast("Mapping[str, object]", given).get("id") if isinstance(given, Mapping) else None
    return found if isinstance(found, str) and _JOB_ID.fullmatch(found) else None
