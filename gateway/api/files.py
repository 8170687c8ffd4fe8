"""Routes of what is not JSON: a generation's events and files, and pictures that are sent."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from gateway.api import bodies, events, views
from gateway.api.caller import Caller, Guards
from gateway.api.documented import content_of, file_of_generation, refused
from gateway.api.limits import Seats
from gateway.api.picture_body import MULTIPART, read_picture
from gateway.api.ranges import content_response
from gateway.api.reception import Variant

STREAMS = 20  # open streams of one account: a browser opens six to a host


class _Held(StreamingResponse):
    """A stream that gives back what it holds, also where it was never begun."""

    def __init__(self, lines: AsyncIterator[bytes], held: ExitStack) -> None:
        super().__init__(lines, media_type="text/event-stream", headers=_UNBUFFERED)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


_UNBUFFERED = {"x-accel-buffering": "no"}  # or nginx would keep events back


def router(guards: Guards) -> APIRouter:
    """The routes, over one desk."""
    api = APIRouter(prefix="/api")
    told = f"{STREAMS} streams of events are open, the most at once; close one first."
    desk, streams = guards.desk, Seats(STREAMS, told)

    @api.get(
        "/generations/{generation_id}/events",
        tags=["generations"],
        response_class=StreamingResponse,
        responses={
            **refused(404),
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        },
    )
    async def followed(account: Caller, generation_id: str) -> Response:
        """Its events, `generation` and `progress`: a full snapshot first, closed after its end."""
        first = await run_in_threadpool(desk.generation, account, generation_id)
        with ExitStack() as stack:
            stack.enter_context(streams.seat(account.id))
            guards.metrics.stream_opened()
            stack.callback(guards.metrics.stream_closed)
            lines = events.stream(first, lambda: desk.generation(account, generation_id))
            return _Held(lines, stack.pop_all())

    @api.get(
        "/generations/{generation_id}/content",
        tags=["generations"],
        response_class=Response,
        responses=file_of_generation(),
    )
    def content(
        request: Request,
        account: Caller,
        generation_id: str,
        variant: Variant = "video",
        download: Annotated[
            bool, Query(description="true: a browser saves it instead of showing it.")
        ] = False,
    ) -> Response:
        """The video, whole or by Range, or its thumbnail."""
        found = desk.content(account, generation_id, variant, download=download)
        return content_response(request, found, download=download)

    api.add_api_route(
        "/generations/{generation_id}/content", content, methods=["HEAD"], include_in_schema=False
    )

    @api.post(
        "/uploads",
        tags=["uploads"],
        status_code=201,
        responses=refused(400, 413, 415),
        openapi_extra=MULTIPART,
    )
    async def upload(request: Request, account: Caller) -> bodies.UploadBody:
        """Take a picture, as a multipart field `file` or as the body itself."""
        most = desk.offer().max_upload_bytes
        name, picture = await read_picture(request, most)
        return views.upload(await run_in_threadpool(desk.upload, account, name, picture))

    @api.get(
        "/uploads/{upload_id}/content",
        tags=["uploads"],
        response_class=Response,
        responses={**refused(404), 200: {"description": "The picture.", "content": _PICTURES}},
    )
    def picture(account: Caller, upload_id: str) -> Response:
        """A picture that was sent."""
        body, content_type = desk.picture(account, upload_id)
        return Response(body, media_type=content_type, headers={"cache-control": "private"})

    return api


_PICTURES = content_of("image/png", "image/jpeg", "image/webp")
