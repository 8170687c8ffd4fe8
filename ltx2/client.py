"""A client of the worker, on RunPod or at `ltx2 serve`: submit, wait with progress, cancel, save.

    from ltx2.client import Client

    with Client("ENDPOINT_ID") as client:      # or "http://127.0.0.1:8000/v2/local"
        outcome = client.run({"prompt": "Rain on a roof"}, save="rain.mp4", progress=print)

ServiceError (ltx2.rest)   the endpoint cannot be reached or answers otherwise than it should
├── RefusedKey             401, 403: the API key
├── RateLimited            429 for longer than is waited; `seconds` says how long
├── Refusal                400 and the like; `problems` are the endpoint's sentences
├── Unsure                 /run broke off: the job may run or not
└── JobError               `job_id` names the job
    ├── JobFailed          the worker's `code`: BAD_REQUEST, TOO_LARGE, OUT_OF_MEMORY, ...
    ├── JobCancelled       it was cancelled
    ├── JobTimedOut        the platform ended it at its execution timeout
    ├── JobGone            the platform does not know it any more
    └── WaitedTooLong      it still runs; the time to wait for it is over

No torch, and no library of the platform.
"""

import base64
import mimetypes
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from ltx2.errors import BadRequest, ConfigError, DeliveryFailed, TooLarge
from ltx2.rest import (
    NotFound,
    RateLimited,
    Refusal,
    RefusedKey,
    Service,
    ServiceError,
    Unsure,
    checked_key,
    checked_url,
    encoded,
)

if TYPE_CHECKING:
    from ltx2.request import Request

__all__ = [
    "Client",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobGone",
    "JobTimedOut",
    "Outcome",
    "RateLimited",
    "Refusal",
    "RefusedKey",
    "ServiceError",
    "Status",
    "Unsure",
    "WaitedTooLong",
    "data_uri",
]

JOBS = "https://api.runpod.ai/v2"
MOST_BYTES = 10_000_000  # of a request that RunPod's /run takes
POLLS = (0.5, 5.0)  # seconds between two looks at a job: the shortest, and the longest without news
_WORKER_CODE = re.compile(r"([A-Z][A-Z_]+): (.+)", re.DOTALL)

OnProgress = Callable[[dict[str, Any]], object]


class JobError(ServiceError):
    """A job that ended without a clip, or did not end."""

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobFailed(JobError):
    """The worker's own error; `code` is one of the contract's."""

    def __init__(self, message: str, *, job_id: str, code: str) -> None:
        super().__init__(message, job_id=job_id)
        self.code = code


class JobCancelled(JobError):
    """The job was cancelled."""

    code = "CANCELLED"


class JobTimedOut(JobError):
    """The platform ended the job at its execution timeout."""

    code = "DEADLINE"


class JobGone(JobError):
    """The platform does not know the job: its time to live or that of its result is over."""

    status = 404


class WaitedTooLong(JobError):
    """The job still runs; it goes on without being waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a job stands."""

    id: str
    state: str  # IN_QUEUE, IN_PROGRESS, RUNNING, COMPLETED, FAILED, CANCELLED, TIMED_OUT
    output: Any = None  # the result; while the job runs its last progress
    error: str | None = None
    worker: str | None = None
    delay_seconds: float | None = None  # in the queue
    execution_seconds: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")

    @property
    def progress(self) -> dict[str, Any] | None:
        """`{seq, phase, step, steps, percent, eta}` of a job that runs; None before the first."""
        if self.ended or not isinstance(self.output, Mapping):
            return None
        found = dict(cast("Mapping[str, Any]", self.output))
        return found if isinstance(found.get("seq"), int) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished job: `result` is what the worker answered."""

    result: dict[str, Any]
    job_id: str
    worker: str | None = None
    delay_seconds: float | None = None
    execution_seconds: float | None = None

    def save(self, path: str | Path, *, timeout: float = 600.0) -> Path:
        """Write the MP4 to `path`, where it appears whole and checked or not at all.

        `timeout` is in seconds, for fetching a clip that was answered as a link. Raises
        ServiceError, and ltx2.DeliveryFailed for a place that cannot be written.
        """
        from ltx2.saving import save

        return save(self.result, Path(path), timeout=timeout)


class Job:
    """A job that was submitted. It needs its client to be open."""

    def __init__(self, service: Service, job_id: str, *, polls: tuple[float, float]) -> None:
        self.id = job_id
        self._service = service
        self._polls = polls

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self) -> Status:
        """Where the job stands. Raises JobGone, ServiceError."""
        return self._look(until=float("inf"))

    def cancel(self) -> Status:
        """Stop the job, in the queue or between two of its steps. Raises JobGone, ServiceError."""
        return self._asked("POST", "cancel", until=float("inf"))

    def wait(self, progress: OnProgress | None = None, *, timeout: float | None = None) -> Outcome:
        """Wait until the job has ended. `progress` gets each state of the run once, in order.

        After `timeout` seconds WaitedTooLong is raised and the job goes on; `wait` may be called
        again. Raises JobFailed, JobCancelled, JobTimedOut, JobGone, ServiceError.
        """
        until = float("inf") if timeout is None else time.monotonic() + timeout
        shortest, longest = self._polls
        pause, seen = shortest, (None, -1)
        while True:
            now = self._look(until=until)
            if now.ended:
                return self._outcome(now)
            if (found := now.progress) is not None:
                # Another worker that took the job over counts from 0 again.
                last = seen[1] if now.worker == seen[0] else -1
                if found["seq"] > last:
                    seen, pause = (now.worker, found["seq"]), shortest
                    if progress is not None:
                        progress(found)
            left = until - time.monotonic()
            if left <= 0:
                raise WaitedTooLong(
                    f"job {self.id} is {now.state} after {timeout:g} s of waiting, and goes on",
                    job_id=self.id,
                )
            # Spread, so that many clients do not ask at one moment.
            time.sleep(min(pause * random.uniform(0.8, 1.2), left))
            pause = min(pause * 1.5, longest)

    def _look(self, *, until: float) -> Status:
        return self._asked("GET", "status", until=until)

    def _asked(self, method: str, what: str, *, until: float) -> Status:
        try:
            answer = self._service.ask(method, f"/{what}/{self.id}", until=until)
        except NotFound:
            raise JobGone(
                f"job {self.id} is not known here: RunPod keeps the result of /run for 30 minutes, "
                "and drops a job at the end of its policy.ttl",
                job_id=self.id,
            ) from None
        return read_status(answer)

    def _outcome(self, now: Status) -> Outcome:
        match now.state:
            case "COMPLETED" if isinstance(now.output, Mapping) and now.output:
                return Outcome(
                    result=dict(cast("Mapping[str, Any]", now.output)),
                    job_id=self.id,
                    worker=now.worker,
                    delay_seconds=now.delay_seconds,
                    execution_seconds=now.execution_seconds,
                )
            case "COMPLETED":
                raise JobFailed(
                    f"job {self.id} is COMPLETED without a result, which the platform does to one "
                    "it does not take; submit the input again with the same generation_id to be "
                    "answered from what the worker kept",
                    job_id=self.id,
                    code="DELIVERY_FAILED",
                )
            case "CANCELLED":
                raise JobCancelled(f"job {self.id} was cancelled", job_id=self.id)
            case "TIMED_OUT":
                raise JobTimedOut(
                    f"job {self.id} was ended at its execution timeout; give it a longer one by "
                    "policy.executionTimeout, or ask for less",
                    job_id=self.id,
                )
            case _:
                text = now.error or "the platform gives no reason"
                found = _WORKER_CODE.fullmatch(text)
                raise JobFailed(text, job_id=self.id, code=found[1] if found else "INTERNAL")


class Client:
    """An endpoint: its id on RunPod, or the whole address of another one.

    `api_key` is needed on RunPod; without it the environment's RUNPOD_API_KEY is taken, which goes
    to RunPod alone. `timeout` is in seconds, for each answer. Raises BadRequest, ConfigError.
    """

    def __init__(
        self,
        endpoint: str,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        polls: tuple[float, float] = POLLS,
    ) -> None:
        own = "://" not in endpoint
        if own and not re.fullmatch(r"[A-Za-z0-9_-]+", endpoint):
            raise BadRequest(
                "endpoint must be an endpoint's id, or a whole address such as "
                f"http://127.0.0.1:8000/v2/local; got {endpoint[:100]!r}"
            )
        key = checked_key(api_key)
        url = f"{JOBS}/{endpoint}" if own else endpoint
        if key is None and url.startswith(f"{JOBS}/"):
            key = _key_of_environment()
        self._service = Service(
            checked_url(url, name="endpoint", keyed=key is not None),
            key,
            name="the endpoint",
            timeout=timeout,
        )
        self._polls = polls

    def __repr__(self) -> str:
        return f"Client({self._service.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    def submit(
        self,
        input: "Mapping[str, Any] | Request",  # noqa: A002 - the platform's own word
        *,
        webhook: str | None = None,
        policy: Mapping[str, Any] | None = None,
        s3_config: Mapping[str, Any] | None = None,
    ) -> Job:
        """Send a job. `policy` is `{executionTimeout, ttl, lowPriority}`, times in milliseconds.

        An input with a `generation_id` is sent again where the line breaks, since the worker
        answers a repeated one from what it has. Another is not: Unsure is raised. Raises BadRequest
        and TooLarge for what cannot be sent, ServiceError.
        """
        given = _as_input(input)
        more = {"webhook": webhook, "policy": policy, "s3Config": s3_config}
        body = {"input": given, **{name: value for name, value in more.items() if value}}
        if (size := len(encoded(body))) > MOST_BYTES:
            raise TooLarge(
                f"the job has {size:,} bytes and /run takes {MOST_BYTES:,}; give pictures by URL"
            )
        if s3_config:
            self._service.hide(*(v for v in s3_config.values() if isinstance(v, str)))
        repeatable = bool(given.get("generation_id"))
        try:
            answer = self._service.ask("POST", "/run", body=body, repeatable=repeatable)
        except Unsure as error:
            raise Unsure(
                f"{error}: a job may be running; an input with a generation_id can be repeated"
            ) from None
        except NotFound as error:
            raise NotFound(f"{error}; is {self._service.url} the endpoint?") from None
        return self.job(read_status(answer).id)

    def job(self, job_id: str) -> Job:
        """A job of this endpoint by its id, to wait for one that was submitted elsewhere."""
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", job_id):
            raise BadRequest(f"job_id must be the id of a job; got {job_id[:100]!r}")
        return Job(self._service, job_id, polls=self._polls)

    def run(
        self,
        input: "Mapping[str, Any] | Request",  # noqa: A002 - the platform's own word
        *,
        save: str | Path | None = None,
        progress: OnProgress | None = None,
        timeout: float | None = None,
        webhook: str | None = None,
        policy: Mapping[str, Any] | None = None,
        s3_config: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Submit, wait and, with `save`, write the clip there; that this is possible is seen first.

        A job that is not waited for to its end, after `timeout` seconds or by Ctrl-C, is cancelled:
        nobody would take its clip. Raises what `submit`, `Job.wait` and `Outcome.save` raise.
        """
        if save is not None:
            from ltx2.saving import check_place

            check_place(Path(save))
        job = self.submit(input, webhook=webhook, policy=policy, s3_config=s3_config)
        try:
            outcome = job.wait(progress, timeout=timeout)
        except (JobFailed, JobCancelled, JobTimedOut, JobGone):
            raise
        except BaseException as reason:
            try:
                job.cancel()
            except ServiceError as error:
                reason.add_note(f"job {job.id} could not be cancelled and may go on: {error}")
            raise
        if save is not None:
            try:
                outcome.save(save)
            except (ServiceError, DeliveryFailed) as error:
                error.add_note(f"the clip is made: Client.job({job.id!r}).wait().save(PATH) has it")
                raise
        return outcome

    def health(self) -> dict[str, Any]:
        """Jobs and workers of the endpoint, by state. Raises ServiceError."""
        answer = self._service.ask("GET", "/health")
        if not isinstance(answer, Mapping):
            raise ServiceError("the endpoint answered /health with no object")
        return dict(cast("Mapping[str, Any]", answer))


def data_uri(path: str | Path) -> str:
    """A picture of this machine as an input takes it: the worker cannot read its file."""
    file = Path(path)
    kind = mimetypes.guess_type(file.name)[0]
    if kind is None or not kind.startswith("image/"):
        raise BadRequest(f"{file.name} does not end as pictures do, such as .jpg, .png, .webp")
    try:
        return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
    except OSError as error:
        raise BadRequest(f"cannot read {file}: {error.strerror or error}") from error


def read_status(answer: object) -> Status:
    """The status that an endpoint answered. Raises ServiceError for anything else."""
    facts = cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else {}
    job_id, state = facts.get("id"), facts.get("status")
    if not isinstance(job_id, str) or not job_id or not isinstance(state, str):
        raise ServiceError("the endpoint answered without a job's id and status")
    error = facts.get("error")
    return Status(
        id=job_id,
        state=state,
        output=facts.get("output"),
        error=error if isinstance(error, str) or error is None else str(error),
        worker=facts.get("workerId"),
        delay_seconds=_seconds(facts.get("delayTime")),
        execution_seconds=_seconds(facts.get("executionTime")),
    )


def _seconds(milliseconds: object) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else None


def _as_input(given: "Mapping[str, Any] | Request") -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    return given.model_dump(mode="json", exclude_unset=True)


def _key_of_environment() -> str:
    from ltx2.worker.settings import WorkerSettings

    key = checked_key(WorkerSettings.from_env().api_key)
    if key is None:
        raise ConfigError(
            "RunPod needs an API key: give api_key, or set RUNPOD_API_KEY to one of "
            "https://console.runpod.io/user/settings"
        )
    return key
