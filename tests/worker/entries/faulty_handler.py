"""A worker under the SDK's loop whose model fails at every job, for tests of what it answers.

At the first by a fault of the program, then as on a GPU that is lost.
"""

import os

import runpod

from ltx2.errors import DeviceLost
from ltx2.settings import Settings
from ltx2.worker.gate import Gate
from ltx2.worker.log import configure
from ltx2.worker.settings import WorkerSettings
from ltx2.worker.worker import Worker

faults = iter([KeyError(os.environ["HOME"])])


def load():
    raise next(faults, DeviceLost("the GPU does not answer"))


if __name__ == "__main__":
    settings, worker_settings = Settings.from_env({}), WorkerSettings.from_env()
    configure(worker_settings, settings)
    gate = Gate(Worker(Settings.from_env(), worker_settings, load=load))

    async def handler(job):
        return await gate(job)

    runpod.serverless.start({"handler": handler})
