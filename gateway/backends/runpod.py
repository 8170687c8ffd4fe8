"""RunPod's job API over HTTP: an endpoint there, or `ltx2 serve` on any machine."""

import time
from collections.abc import Mapping
from typing import Any, cast

from gateway.backends import (
    Health,
    Job,
    JobState,
    JobStatus,
    NotSubmitted,
    Rejected,
    Unreachable,
    Unsure,
)
from ltx2 import rest
from ltx2.rest import Service, ServiceError

STATES: Mapping[str, JobState] = {
    "IN_QUEUE": "queued",
    "IN_PROGRESS": "running",
    "RUNNING": "running",
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "TIMED_OUT": "timed_out",
}
MOST_BYTES = 10_000_000  # of a request that RunPod's /run takes
ANSWER_SECONDS = 30.0  # for each answer
KEY_REFUSED = 60.0  # seconds before a key that was refused is tried again: an operator must act


class RunPod:
    """An endpoint at `url`, such as https://api.runpod.ai/v2/ENDPOINT_ID."""

    def __init__(self, url: str, key: str | None, *, timeout: float = ANSWER_SECONDS) -> None:
        checked = rest.checked_url(url, name="the worker's address", keyed=key is not None)
        self._service = Service(
            checked, rest.checked_key(key), name="the worker's endpoint", timeout=timeout
        )

    def submit(self, job: Job) -> str:
        """The job's id. Raises NotSubmitted, Rejected, Unsure."""
        body: dict[str, Any] = {
            "input": dict(job.input),
            "policy": {
                "executionTimeout": 1000 * job.execution_seconds,
                "ttl": 1000 * job.ttl_seconds,
            },
        }
        if job.webhook is not None:
            body["webhook"] = job.webhook
        if (size := len(rest.encoded(body))) > MOST_BYTES:
            raise Rejected(f"the job has {size:,} bytes and the platform takes {MOST_BYTES:,}")
        try:
            answer = self._ask("POST", "/run", body=body, repeatable=False)
        except rest.Unsure as error:
            raise Unsure(str(error)) from error
        except rest.RateLimited as error:
            raise NotSubmitted(str(error), seconds=error.seconds, busy=True) from error
        except rest.RefusedKey as error:
            raise NotSubmitted(str(error), seconds=KEY_REFUSED) from error
        except rest.NotFound as error:
            raise NotSubmitted(str(error), seconds=KEY_REFUSED) from error
        except rest.Refusal as error:
            raise Rejected(str(error)) from error
        except ServiceError as error:
            raise NotSubmitted(str(error)) from error
        job_id = answer.get("id") if isinstance(answer, Mapping) else None
        if not isinstance(job_id, str) or not job_id:
            raise Unsure("the worker's endpoint answered /run without a job's id")
        return job_id

    def status(self, job_id: str) -> JobStatus | None:
        """Where a job stands; None where it is not known (any more). Raises Unreachable."""
        try:
            answer = self._ask("GET", f"/status/{job_id}")
        except rest.NotFound:
            return None
        except ServiceError as error:
            raise Unreachable(str(error)) from error
        return read_status(answer)

    def cancel(self, job_id: str) -> None:
        """Ask for a job's end; it may have ended or be unknown. Raises Unreachable."""
        try:
            self._ask("POST", f"/cancel/{job_id}", body={})
        except (rest.NotFound, rest.Refusal):
            return
        except ServiceError as error:
            raise Unreachable(str(error)) from error

    def enhance(self, prompt: str, image: str | None, *, seconds: float) -> str:
        """A richer prompt, by the worker's action `enhance`. Raises Rejected, Unreachable."""
        asked = {"action": "enhance", "prompt": prompt, **({"image": image} if image else {})}
        found = self._at_once(asked, seconds=seconds).get("prompt")
        if not isinstance(found, str):
            raise Unreachable("the worker answered without a prompt")
        return found

    def facts(self, *, seconds: float) -> Mapping[str, Any]:
        """What a worker says of itself, by its action `health`. Raises Rejected, Unreachable."""
        return self._at_once({"action": "health"}, seconds=seconds)

    def _at_once(self, asked: Mapping[str, Any], *, seconds: float) -> Mapping[str, Any]:
        """The output of a job that is waited for. Raises Rejected, Unreachable."""
        body = {"input": asked, "policy": {"executionTimeout": 60_000, "ttl": 120_000}}
        wait = {"wait": str(round(1000 * min(max(seconds, 1), 300)))}
        try:
            answer = self._ask("POST", "/runsync", body=body, query=wait)
        except (rest.Refusal, rest.NotFound) as error:
            raise Rejected(str(error)) from error
        except ServiceError as error:
            raise Unreachable(str(error)) from error
        status = read_status(answer)
        if status.state == "completed" and status.output is not None:
            return status.output
        if status.state == "failed":
            raise Rejected(status.error or "the worker gives no reason")
        raise Unreachable(f"the worker did not answer in {seconds:g} s")

    def health(self) -> Health:
        """Whether jobs are taken."""
        try:
            answer = self._ask("GET", "/health")
        except ServiceError as error:
            return Health(ok=False, detail=str(error))
        workers = answer.get("workers") if isinstance(answer, Mapping) else None
        counts = cast("Mapping[str, object]", workers) if isinstance(workers, Mapping) else {}
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return Health(ok=True, detail=f"workers: {told or 'none started'}")

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: object | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Any:  # noqa: ANN401 - JSON
        # One try: whoever asks comes again by itself, and waits in the database and not here.
        now = time.monotonic()
        return self._service.ask(
            method, path, body=body, query=query, repeatable=repeatable, until=now
        )


def read_status(answer: object) -> JobStatus:
    """A body of /status. Raises Unreachable for anything else."""
    facts = cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else {}
    job_id, word = facts.get("id"), facts.get("status")
    if not isinstance(job_id, str) or not isinstance(word, str):
        raise Unreachable("the worker's endpoint answered without a job's id and status")
    output, error = facts.get("output"), facts.get("error")
    return JobStatus(
        id=job_id,
        state=STATES.get(word, "unknown"),
        output=cast("Mapping[str, Any]", output) if isinstance(output, Mapping) else None,
        error=None if error in (None, "") else str(error),
        worker=str(facts["workerId"]) if facts.get("workerId") else None,
        queue_ms=_milliseconds(facts.get("delayTime")),
        execution_ms=_milliseconds(facts.get("executionTime")),
    )


def _milliseconds(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value)
