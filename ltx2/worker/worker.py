"""The worker: the flow of one job, from the platform's dictionary to a delivered clip."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx2.delivery.file import ToFile
from ltx2.delivery.kept import Kept
from ltx2.delivery.outbox import IdTaken, Outbox, Route
from ltx2.delivery.s3 import S3Config, S3Store
from ltx2.errors import DeviceLost
from ltx2.prepare import prepare
from ltx2.progress import Progress
from ltx2.session import execute
from ltx2.settings import Settings
from ltx2.worker.actions import Health, enhance, schema, smoke
from ltx2.worker.answer import sendable
from ltx2.worker.deadline import Deadline, Pace
from ltx2.worker.job import Action, Task, find_action, read_task, read_words
from ltx2.worker.report import Reporter
from ltx2.worker.scratch import clear_leftovers, job_folder
from ltx2.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from ltx2.worker.start import Started

logger = logging.getLogger(__name__)


class Worker:
    """Makes the clips that jobs ask for, one at a time.

    `load` finds the weights and opens the engine; it is called once, by `ensure_loaded` or by the
    first job that makes a clip.
    """

    def __init__(
        self,
        settings: Settings,
        worker: WorkerSettings,
        *,
        load: Callable[[], "Started"] | None = None,
    ) -> None:
        self.settings = settings
        self.worker = worker
        self.counts: Counter[str] = Counter()
        self.pace = Pace()
        self._load = load or self._start
        self._loading = threading.Lock()
        self._started: Started | None = None
        self._lost: str | None = None  # what broke the GPU; not the error, which holds its tensors
        self._began = time.monotonic()
        config = S3Config.from_settings(worker)
        self.outbox = Outbox(
            store=None if config is None else S3Store(config),
            kept=Kept(worker.kept_in(settings), worker.keep_bytes),
            inline_bytes=worker.inline_bytes,
            allow_private=settings.allow_private_urls,
            scratch=worker.scratch,
        )
        clear_leftovers(worker.scratch)

    def _start(self) -> "Started":
        from ltx2.worker.start import start

        return start(self.settings, self.worker)

    def ensure_loaded(self) -> "Started":
        """The engine and how it started. Raises what kept it from starting, each time anew."""
        with self._loading:
            if self._started is None:
                self._started = self._load()
            return self._started

    @property
    def engine(self) -> "Engine":
        """The engine, loaded if it is not yet."""
        return self.ensure_loaded().engine

    def answer_now(self, action: Action) -> dict[str, Any]:
        """What needs neither weights nor the GPU: `health` and `schema`, beside a running job."""
        if action == "schema":
            return schema()
        return Health(
            worker=self.worker,
            started=self._started,
            store=self.outbox.store_kind,
            counts=dict(self.counts),
            uptime=time.monotonic() - self._began,
            lost=self._lost is not None,
        ).as_dict()

    def run(
        self, job: Mapping[str, Any], *, stop: threading.Event, report: Reporter
    ) -> dict[str, Any]:
        """The answer to one job. Raises Cancelled where `stop` was set, and Ltx2Error."""
        action = find_action(job)
        if action in ("health", "schema"):
            return self.answer_now(action)
        if self._lost is not None:
            raise DeviceLost(self._lost)
        try:
            if action == "smoke":
                deadline = Deadline(self.worker.execution_seconds)
                with job_folder(self.worker.scratch) as folder:
                    progress = Progress(report, cancelled=stopper(stop, deadline))
                    return smoke(self.settings, Path(folder), progress, loaded=self._started)
            if action == "enhance":
                return self._words(job, stop, report)
            task = read_task(job, folders=self.worker.input_folders)
            return sendable(self._clip(task, stop, report))
        except DeviceLost as lost:
            self._lost = str(lost)
            raise

    def _words(
        self, job: Mapping[str, Any], stop: threading.Event, report: Reporter
    ) -> dict[str, Any]:
        """A richer prompt, by the language model that a clip's own would be written by."""
        folders = self.worker.input_folders
        words = read_words(job, folders=folders)
        stopped = stopper(stop, Deadline(words.seconds or self.worker.execution_seconds))
        progress = Progress(report, cancelled=stopped)
        return enhance(words.request, self.engine, folders=folders, progress=progress, stop=stopped)

    def _clip(self, task: Task, stop: threading.Event, report: Reporter) -> dict[str, Any]:
        """Everything that can be refused is refused before the engine runs; then the clip is made,
        kept and handed over.
        """
        deadline = Deadline(task.seconds or self.worker.execution_seconds)
        stopped = stopper(stop, deadline)
        route = self.outbox.route(task.output, task.s3_config, task.upload_url, stop=stopped)
        if earlier := self._earlier(task, route, stopped):
            return earlier
        engine = self.engine
        prepared = prepare(
            task.request,
            checkpoint=engine.checkpoint,
            limits=engine.limits,
            media=engine.media_limits,
            paths=False,
            folders=self.worker.input_folders,
            files=engine.lora_files,
            sources=engine.lora_sources,
            stop=stopped,
        )
        self.pace.check(prepared.plan, engine.components.residency, deadline)
        progress = Progress(report, cancelled=stopped)
        with job_folder(self.worker.scratch) as folder:
            video = Path(folder) / "video.mp4"
            receipt = execute(prepared, engine=engine, deliver=ToFile(video), progress=progress)
            self.pace.learn(prepared.plan, engine.components.residency, receipt.timings)
            result = {**receipt.as_dict(), "generation_id": task.generation_id}
            del result["video_url"]  # of a file that goes with the folder
            # However late it is by now, what is finished is kept, and answered if that can be.
            handing_over = Progress(report, cancelled=stop.is_set)
            with handing_over.stage("deliver"):
                answer = self.outbox.deliver(
                    route,
                    task.generation_id,
                    video,
                    result,
                    request_sha256=task.request_sha256,
                    stop=stopped,
                    cancelled=stop.is_set,
                )
        return {
            **answer,
            "timings": {**answer["timings"], "deliver": round(handing_over.timings["deliver"], 3)},
        }

    def _earlier(
        self, task: Task, route: Route, stopped: Callable[[], bool]
    ) -> dict[str, Any] | None:
        """The finished result of the same job, as a retry of the platform or of its caller asks."""
        try:
            return self.outbox.earlier(route, task.generation_id, task.request_sha256, stop=stopped)
        except IdTaken:
            if task.own_key:
                raise
            return None  # a number that was used again: what was made under it is another clip


def stopper(stop: threading.Event, deadline: Deadline) -> Callable[[], bool]:
    """The question that a run asks between its steps; raises where the time is up."""

    def stopped() -> bool:
        deadline.check()
        return stop.is_set()

    return stopped
