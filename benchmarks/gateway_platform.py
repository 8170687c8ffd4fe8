"""The other side of a gateway under load: a platform that runs jobs in no time, and a receiver of
webhooks, in a process of their own.
"""

import asyncio
import base64
import hashlib
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY = "rpa_underload"
WIDTH, HEIGHT, FRAMES, FPS = 96, 64, 25, 24
QUICKEST, SLOWEST = 0.3, 3.0  # seconds that a job takes
FAILING = 10  # one job of so many fails
SILENT = 5  # of so many webhooks of the platform one is lost; the others come twice
BUSY = 6  # one event of so many is not taken by the receiver at first


@dataclass(slots=True)
class Job:
    """One job. What becomes of it is decided by its name and the time."""

    id: str
    input: Mapping[str, Any]
    webhook: str | None
    began: float
    cancelled: bool = False
    told: bool = False

    @property
    def number(self) -> int:
        """A number that is the job's own and the same every time."""
        return int.from_bytes(hashlib.sha256(self.input["generation_id"].encode()).digest()[:4])

    @property
    def over(self) -> bool:
        """Whether its time has passed."""
        share = self.number % 1000 / 1000
        return time.monotonic() >= self.began + QUICKEST + share * (SLOWEST - QUICKEST)

    @property
    def status(self) -> str:
        """The platform's word."""
        if self.cancelled:
            return "CANCELLED"
        if not self.over:
            return "IN_PROGRESS"
        return "FAILED" if self.number % FAILING == 0 else "COMPLETED"


@dataclass(slots=True)
class Platform:
    """All that has happened."""

    clip: bytes
    jobs: dict[str, Job] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)  # by generation
    events: dict[str, set[str]] = field(default_factory=dict)  # webhook ids by generation
    busy: set[str] = field(default_factory=set)

    def body(self, job: Job) -> dict[str, Any]:
        """What /status says."""
        body: dict[str, Any] = {"id": job.id, "status": job.status, "workerId": "w"}
        match job.status:
            case "COMPLETED":
                body |= {"output": self._result(job), "delayTime": 10, "executionTime": 500}
            case "FAILED":
                body |= {"error": "OUT_OF_MEMORY: it did not fit"}
            case "IN_PROGRESS":
                body |= {"output": {"seq": 1, "phase": "base", "step": 1, "steps": 8,
                                    "percent": 12.5, "eta": 1.0}}  # fmt: skip
        return body

    def _result(self, job: Job) -> dict[str, Any]:
        asked = job.input
        return {
            "video": base64.b64encode(self.clip).decode(), "content_type": "video/mp4",
            "bytes": len(self.clip), "sha256": hashlib.sha256(self.clip).hexdigest(),
            "width": WIDTH, "height": HEIGHT, "fps": FPS, "num_frames": FRAMES,
            "duration": FRAMES / FPS, "has_audio": False, "audio_sample_rate": None,
            "seed": asked["seed"], "prompt": asked["prompt"], "mode": asked["mode"],
            "warnings": [], "snaps": [], "loras": [], "generation_id": asked["generation_id"],
        }  # fmt: skip


def serve(connection: Connection) -> None:
    """Answer until the process is ended; the port goes through the connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = platform_app(Platform(clip=make_clip()))
    connection.send(listening.getsockname()[1])
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


def platform_app(platform: Platform) -> Starlette:
    """The routes of both."""

    async def run(request: Request) -> Response:
        given = await request.json()
        job = Job(f"job-{len(platform.jobs)}-u1", given["input"], given.get("webhook"),
                  time.monotonic())  # fmt: skip
        platform.jobs[job.id] = job
        platform.runs[job.input["generation_id"]] += 1
        return JSONResponse({"id": job.id, "status": "IN_QUEUE"})

    async def status(request: Request) -> Response:
        job = platform.jobs.get(request.path_params["job"])
        if job is None:
            return JSONResponse({"error": "no such job"}, 404)
        return JSONResponse(platform.body(job))

    async def cancel(request: Request) -> Response:
        job = platform.jobs[request.path_params["job"]]
        job.cancelled = job.cancelled or not job.over
        return JSONResponse({"id": job.id, "status": job.status})

    async def health(_request: Request) -> Response:
        return JSONResponse({"jobs": {}, "workers": {"idle": 1}})

    async def receive(request: Request) -> Response:
        event = request.headers["webhook-id"]
        if hash(event) % BUSY == 0 and event not in platform.busy:
            platform.busy.add(event)
            return Response(status_code=503)
        name = (await request.json())["data"]["id"]
        platform.events.setdefault(name, set()).add(event)
        return Response(status_code=204)

    async def happened(_request: Request) -> Response:
        ends = {job.input["generation_id"]: job.status for job in platform.jobs.values()}
        events = {name: len(found) for name, found in platform.events.items()}
        return JSONResponse({"runs": platform.runs, "ends": ends, "events": events})

    @asynccontextmanager
    async def telling(_app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(_tell(platform))
        yield
        task.cancel()

    return Starlette(
        routes=[
            Route("/v2/ep/run", run, methods=["POST"]),
            Route("/v2/ep/status/{job}", status),
            Route("/v2/ep/cancel/{job}", cancel, methods=["POST"]),
            Route("/v2/ep/health", health),
            Route("/hooks", receive, methods=["POST"]),
            Route("/happened", happened),
        ],
        lifespan=telling,
    )


async def _tell(platform: Platform) -> None:
    """Send the gateway webhooks of jobs that have ended: twice, or never."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        while True:
            await asyncio.sleep(0.05)
            for job in list(platform.jobs.values()):
                if job.told or not (job.over or job.cancelled):
                    continue
                job.told = True
                if job.webhook is None or job.number % SILENT == 0:
                    continue
                for _ in range(2):
                    try:
                        await client.post(job.webhook, json=platform.body(job))
                    except httpx.HTTPError:
                        break  # it ends


def make_clip() -> bytes:
    """A real MP4, small."""
    from imageio_ffmpeg import get_ffmpeg_exe

    source = f"testsrc=size={WIDTH}x{HEIGHT}:rate={FPS}"
    command = [
        get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", str(FRAMES),
        "-pix_fmt", "yuv420p", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "-",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, check=True).stdout
