"""A gate for tests of what stands around one: its jobs do what their inputs say."""

import asyncio
import threading


class StandInGate:
    """Obeys `ltx2.serve.endpoint.Gate`.

    An input may hold `answer`; `length`, of an answer; `progress`, a list that is sent from a
    thread; `hold`, to go on only when `release` is set; `deaf`, the seconds for which a cancelled
    job still has its thread; `fault`, to raise. `answers` are those that no input can hold, by
    the job's `name`.
    """

    def __init__(self):
        self.jobs, self.log = [], []
        self.release = threading.Event()
        self.running, self.most = 0, 0
        self.closed = False
        self.answers = {}

    async def __call__(self, job, *, send=None):
        given, name = job["input"], job["input"].get("name", job["id"])
        self.jobs.append(job)
        self.log.append(f"{name} begins")
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for progress in given.get("progress", []):
                await asyncio.to_thread(send, progress)
            while given.get("hold") and not self.release.is_set():
                await asyncio.sleep(0.01)
            if given.get("fault"):
                raise ZeroDivisionError("a fault of the gate")
            if length := given.get("length"):
                return {"video": "A" * length}
            return dict(self.answers.get(name) or given.get("answer", {"made": name}))
        finally:
            if given.get("deaf"):
                await asyncio.shield(asyncio.sleep(given["deaf"]))
            self.running -= 1
            self.log.append(f"{name} ends")

    def close(self):
        self.closed = True


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds
