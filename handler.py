"""The RunPod worker: `python handler.py` loads the model and then takes jobs."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import runpod
from runpod.serverless.modules.rp_logger import RunPodLogger

from ltx2.errors import Ltx2Error
from ltx2.settings import Settings
from ltx2.worker.answer import refused
from ltx2.worker.fitness import checks
from ltx2.worker.gate import Gate
from ltx2.worker.log import configure
from ltx2.worker.report import Send
from ltx2.worker.settings import WorkerSettings
from ltx2.worker.worker import Worker

logger = logging.getLogger(__name__)
POST_SECONDS = 30.0  # to wait for one progress message; a slow one only delays the next


def to_platform(job: Mapping[str, Any]) -> Send:
    """Sends a job's progress to RunPod and returns when it has arrived.

    The SDK posts from a thread of its own and tells nobody when that is done: two messages could
    overtake one another, and the last one the result.
    """

    def send(progress: dict[str, Any]) -> None:
        before = set(threading.enumerate())
        runpod.serverless.progress_update(dict(job), progress)
        for thread in set(threading.enumerate()) - before:
            if "_thread_target" in thread.name:  # the SDK's function for this
                thread.join(POST_SECONDS)

    return send


def main() -> None:
    """Check the machine, load the model, then take jobs until the platform ends the process."""
    try:
        settings, worker_settings = Settings.from_env(), WorkerSettings.from_env()
        configure(worker_settings, settings)
        keep_results_out_of_the_log()
        gate = Gate(Worker(settings, worker_settings))
    except Ltx2Error as error:
        refuse_to_start(error)
        return
    on_platform = worker_settings.on_platform

    async def handler(job: dict[str, Any]) -> dict[str, Any]:
        return await gate(job, send=to_platform(job) if on_platform else None)

    def model_loads() -> None:
        gate.worker.ensure_loaded()
        configure(worker_settings, settings)  # libraries that came with it log by themselves

    # They run in this order before the SDK takes jobs; one that fails ends the process, and the
    # platform is told why.
    for check in (*checks(settings, worker_settings), last_of_all(model_loads)):
        runpod.serverless.register_fitness_check(check)
    runpod.serverless.start({"handler": handler})


def last_of_all(check: Callable[[], None]) -> Callable[[], None]:
    """A check that passes and puts `check` behind all others.

    The SDK adds its own when they begin, of memory, disk, network and GPU, and these are to judge a
    machine that holds no model yet: what a loaded one takes is not missing, and a GPU that fails
    should do so before minutes were spent on it.
    """

    def model_is_next() -> None:
        runpod.serverless.register_fitness_check(check)

    return model_is_next


def keep_results_out_of_the_log() -> None:
    """Below INFO, which is where the SDK starts, it logs whole results: base64 and signed links."""
    sdk = RunPodLogger()
    if sdk.level in ("TRACE", "DEBUG"):
        logger.info("RunPod's SDK logs from INFO on; at %s it would log whole results", sdk.level)
        sdk.level = "INFO"


def refuse_to_start(error: Ltx2Error) -> None:
    """Tell the platform what is wrong with the settings: it shows why a check failed."""

    def settings_are_right() -> None:
        raise error

    async def handler(_job: dict[str, Any]) -> dict[str, Any]:
        return refused(error)  # local runs make no checks

    runpod.serverless.register_fitness_check(settings_are_right)
    runpod.serverless.start({"handler": handler})


if __name__ == "__main__":  # the SDK's heartbeat is a process that may import this file again
    main()
