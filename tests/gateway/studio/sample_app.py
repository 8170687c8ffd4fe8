"""The studio with sample data: `python -m tests.gateway.studio.sample_app --port 8123`."""

import argparse
from datetime import UTC, datetime, timedelta

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.api.security import SecurityHeaders
from gateway.refusals import Refusal
from gateway.studio.routes import open_studio
from tests.gateway.studio.sample_desk import KEY, SampleDesk

HISTORY = (
    ("A grey heron lifts off a misty lake at dawn; the camera glides in low over the water.",
     {"camera_motion": "dolly_in", "resolution": "540p", "duration": 3}, 12, 60 * 26),
    ("Night rain on a narrow street. Neon signs blur as the focus moves to a cook at his wok.",
     {"resolution": "540p", "duration": 2, "mode": "pro", "camera_motion": "focus_shift"}, 8, 1200),
    ("A gigantic stadium seen from above, every one of a hundred thousand seats in focus.",
     {"resolution": "1080p", "duration": 10, "mode": "pro"}, 9, 60 * 7),
    ("Moonlight on a calm sea, a far ship's horn, slow swell.",
     {"resolution": "540p", "duration": 3, "aspect_ratio": "9:16"}, 13, 60 * 6),
    ("Layered hills in evening haze, swifts overhead.",
     {"resolution": "540p", "duration": 2, "aspect_ratio": "1:1"}, 15, 60 * 5),
    ("City lights out of focus through a café window, a spoon rings against a cup.",
     {"resolution": "540p", "duration": 2, "temporal_upscaler": True}, 5, 65),
    ("Green valley at first light, a train passes far below, wind in the grass.",
     {"resolution": "540p", "duration": 2, "camera_motion": "jib_up", "detailer": True}, 27, 20),
)  # fmt: skip


def with_history(desk, now):
    """Some days of work, newest last."""
    for number, (prompt, form, seed, minutes) in enumerate(HISTORY):
        at = now - timedelta(minutes=minutes)
        job = desk.add({"prompt": prompt, **form}, at, seed=seed)
        job.favourite = number in (0, 4)
    return desk


def create_app(desk, *, local=False):
    """The studio over a sample desk, with the two addresses of the API that its pages link."""
    app = FastAPI(docs_url=None, redoc_url=None)
    studio = open_studio(desk, secure=False, local_key=KEY if local else None, now=desk.now)
    app.include_router(studio.routes)

    @app.get("/api/health")
    def health() -> Response:
        return JSONResponse({"status": "ok", "fake": True})

    @app.get("/api/generations/{generation_id}/content")
    def content(request: Request, generation_id: str, variant: str = "video") -> Response:
        if variant == "thumbnail":
            return Response(desk.thumbnail(generation_id), media_type="image/jpeg")
        return ranged(request, desk.content(generation_id))

    @app.exception_handler(Refusal)
    def refused(request: Request, refusal: Refusal) -> Response:
        return JSONResponse({"message": str(refusal)}, refusal.status)

    app.add_middleware(SecurityHeaders)
    return app


def ranged(request, content):
    """The bytes that a browser asks for when it seeks."""
    headers = {"accept-ranges": "bytes"}
    unit, _, asked = request.headers.get("range", "").partition("=")
    if unit != "bytes":
        return Response(content, media_type="video/mp4", headers=headers)
    first, _, last = asked.partition("-")
    start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
    headers["content-range"] = f"bytes {start}-{end}/{len(content)}"
    return Response(content[start : end + 1], 206, media_type="video/mp4", headers=headers)


def utc_now():
    return datetime.now(UTC)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--empty", action="store_true", help="an account without a past")
    parser.add_argument("--sign-in", action="store_true", help=f"ask for the key, {KEY}")
    options = parser.parse_args()
    desk = SampleDesk(utc_now)
    if not options.empty:
        with_history(desk, utc_now())
    app = create_app(desk, local=not options.sign_in)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
