"""The routes of `/v1/videos`: create, retrieve, list, content, delete."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from gateway.api.caller import Caller, Guards
from gateway.api.documented import BINARY, file_of_generation, refused
from gateway.api.json_body import FORM_BYTES, read_object
from gateway.api.picture_body import refuse_long, too_large
from gateway.api.ranges import content_response
from gateway.api.reception import Variant
from gateway.facade.words import Video, VideoDeleted, Videos, form_of, from_strings, video
from gateway.refusals import Limited, Problem, Problems

POLL_MS = 2_000  # between two looks of the package, which asks every second where nothing is said
MOST_FIELDS = 64
_POLL = {"openai-poll-after-ms": str(POLL_MS)}
_REFERENCE = "input_reference"


def router(guards: Guards) -> APIRouter:
    """The routes, over one desk."""
    api = APIRouter(prefix="/v1/videos", tags=["openai"])
    _add_create(api, guards)
    _add_others(api, guards)
    return api


def _add_create(api: APIRouter, guards: Guards) -> None:
    desk = guards.desk

    @api.post(
        "",
        response_model=Video,
        responses=refused(400, 402, 413, 415, 422),
        openapi_extra=_BODY,
    )
    async def create(
        request: Request,
        account: Caller,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    ) -> Response:
        """Queue a video. Fields of our own, such as `seed`, may be given beside theirs."""
        given, picture = await _read(request, desk.offer().max_upload_bytes)
        image = _reference(given.get(_REFERENCE))
        form = form_of(given, desk.offer(), image=image)
        if picture is not None:
            taken = await run_in_threadpool(desk.upload, account, *picture)
            form = {**form, "image": taken.uri}
        try:
            made = await run_in_threadpool(desk.create, account, form, idempotency_key)
        except Limited as error:
            guards.metrics.limited(error.type)
            raise
        headers = {**_POLL, "idempotent-replayed": "true"} if made.replayed else _POLL
        return JSONResponse(video(made, desk.offer()).model_dump(mode="json"), headers=headers)


def _add_others(api: APIRouter, guards: Guards) -> None:
    desk = guards.desk

    @api.get("", responses=refused(400))
    def listed(
        account: Caller,
        after: Annotated[str | None, Query(max_length=200)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Annotated[Literal["asc", "desc"], Query(description="desc: newest first.")] = "desc",
    ) -> Videos:
        """The account's videos, newest first unless `order` says otherwise."""
        page = desk.generations(account, cursor=after, limit=limit, oldest_first=order == "asc")
        found = [video(each, desk.offer()) for each in page.items]
        return Videos(
            data=found,
            first_id=found[0].id if found else None,
            last_id=found[-1].id if found else None,
            has_more=page.next_cursor is not None,
        )

    @api.get("/{video_id}", response_model=Video, responses=refused(404))
    def one(account: Caller, video_id: str) -> Response:
        """A video as it is now."""
        found = video(desk.generation(account, video_id), desk.offer())
        return JSONResponse(found.model_dump(mode="json"), headers=_POLL)

    @api.get(
        "/{video_id}/content",
        response_class=Response,
        responses=file_of_generation(),
    )
    def content(
        request: Request, account: Caller, video_id: str, variant: Variant = "video"
    ) -> Response:
        """The file."""
        found = desk.content(account, video_id, variant, download=True)
        return content_response(request, found, download=True)

    api.add_api_route("/{video_id}/content", content, methods=["HEAD"], include_in_schema=False)

    @api.delete("/{video_id}", responses=refused(404, 409))
    def delete(account: Caller, video_id: str) -> VideoDeleted:
        """Take it out of the list, with its files."""
        desk.delete(account, video_id)
        return VideoDeleted(id=video_id)


async def _read(request: Request, most: int) -> tuple[Mapping[str, Any], tuple[str, bytes] | None]:
    """The fields, and the picture that was sent as a file. Raises Problems, TooLarge."""
    content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content != "multipart/form-data":
        return await read_object(request), None
    await refuse_long(request, most + FORM_BYTES)
    texts: dict[str, str] = {}
    picture: tuple[str, bytes] | None = None
    try:
        reading = request.form(max_files=1, max_fields=MOST_FIELDS, max_part_size=FORM_BYTES // 2)
        async with reading as form:
            for name, value in form.multi_items():
                if not isinstance(value, UploadFile):
                    texts[name] = value
                elif name != _REFERENCE:
                    raise _problem(name, f"send a picture as {_REFERENCE}, not as {name[:40]!r}")
                elif (value.size or 0) > most:
                    raise too_large(most)
                else:
                    picture = (value.filename or "picture", await value.read())
    except HTTPException as error:  # what multipart's reader refuses
        raise _problem(None, str(error.detail)) from error
    inner = {
        name.removeprefix(f"{_REFERENCE}[").removesuffix("]"): texts.pop(name)
        for name in list(texts)
        if name.startswith(f"{_REFERENCE}[")
    }
    return {**from_strings(texts), **({_REFERENCE: inner} if inner else {})}, picture


def _reference(given: object) -> str | None:
    """The picture's address from `{"image_url": ...}` or `{"file_id": ...}`. Raises Problems."""
    if given is None:
        return None
    if isinstance(given, dict):
        fields = cast("dict[str, object]", given)
        match fields:
            case {"image_url": str(url), **rest} if not rest:
                return url
            case {"file_id": str(name), **rest} if not rest:
                return f"upload://{name}"
            case _:
                pass
    told = f"{_REFERENCE} must be a file, or an object with image_url or file_id"
    raise _problem(_REFERENCE, told)


def _problem(field: str | None, message: str) -> Problems:
    return Problems([Problem(field=field, message=message)])


_FIELDS: dict[str, Any] = {
    "prompt": {"type": "string", "minLength": 1, "maxLength": 10_000},
    "model": {"type": "string"},
    "seconds": {"type": "string"},
    "size": {"type": "string", "description": "Width x height; the nearest offered one is made."},
    "seed": {"type": "integer", "minimum": 0},
}
_REFERRED = {
    "type": "object",
    "properties": {"image_url": {"type": "string"}, "file_id": {"type": "string"}},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["prompt"],
                    "properties": {**_FIELDS, _REFERENCE: _REFERRED},
                }
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["prompt"],
                    "properties": {**_FIELDS, _REFERENCE: BINARY},
                }
            },
        },
    }
}
