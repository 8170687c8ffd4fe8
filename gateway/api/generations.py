"""Routes of generations: estimate, create, list, look, cancel, delete, mark as favourite."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from gateway.api import bodies, views
from gateway.api.caller import Caller, Guards
from gateway.api.documented import form_body, json_body, refused
from gateway.api.json_body import SMALL_BYTES, read_object
from gateway.refusals import Limited, Problem, Problems
from gateway.states import Cancelling, Status

MOST_LISTED = 100


def router(guards: Guards) -> APIRouter:
    """The routes, over one desk."""
    api = APIRouter(prefix="/api/generations", tags=["generations"])
    _add_making(api, guards)
    _add_keeping(api, guards)
    return api


def _add_making(api: APIRouter, guards: Guards) -> None:
    desk = guards.desk

    @api.post("/estimate", responses=refused(400, 413, 415), openapi_extra=form_body(prompt=False))
    async def estimate(request: Request, account: Caller) -> bodies.EstimateBody:
        """What a request costs and really gives; nothing is held. `prompt` may be left out."""
        form = await read_object(request)
        quote = await run_in_threadpool(desk.estimate, account, form)
        if isinstance(quote, Problems):
            raise quote
        return views.estimate(quote)

    @api.post(
        "",
        status_code=202,
        response_model=bodies.GenerationBody,
        responses=refused(400, 402, 413, 415, 422),
        openapi_extra=form_body(),
    )
    async def create(
        request: Request,
        account: Caller,
        idempotency_key: Annotated[
            str | None,
            Header(
                min_length=1,
                max_length=255,
                description="The same key with the same request gives the same generation again.",
            ),
        ] = None,
    ) -> Response:
        """Hold the credits and queue a generation. Only `prompt` is required."""
        form = await read_object(request)
        try:
            made = await run_in_threadpool(desk.create, account, form, idempotency_key)
        except Limited as error:
            guards.metrics.limited(error.type)
            raise
        headers = {"location": f"/api/generations/{made.id}"}
        if made.replayed:
            headers["idempotent-replayed"] = "true"
        return _answer(views.generation(made), 202, headers)


def _add_keeping(api: APIRouter, guards: Guards) -> None:
    desk = guards.desk

    @api.get("", responses=refused(400))
    def listed(
        account: Caller,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 24,
        status: Status | None = None,
        favourites: bool = False,
    ) -> bodies.GenerationsBody:
        """The account's generations, newest first."""
        page = desk.generations(
            account, cursor=cursor, limit=limit, status=status, favourites=favourites
        )
        return views.page(page)

    @api.get("/{generation_id}", responses=refused(404))
    def one(account: Caller, generation_id: str) -> bodies.GenerationBody:
        """A generation as it is now."""
        return views.generation(desk.generation(account, generation_id))

    @api.post(
        "/{generation_id}/cancel",
        response_model=bodies.GenerationBody,
        responses={
            **refused(404),
            202: {"model": bodies.GenerationBody, "description": "It is asked to stop."},
        },
    )
    def cancel(account: Caller, generation_id: str) -> Response:
        """Ask for its end: 200 where it has ended, 202 while the worker is asked to stop."""
        now = desk.cancel(account, generation_id)
        status = 202 if isinstance(now.state, Cancelling) else 200
        return _answer(views.generation(now, message=views.cancel_message(now)), status)

    @api.delete("/{generation_id}", responses=refused(404, 409))
    def delete(account: Caller, generation_id: str) -> bodies.DeletedBody:
        """Take it out of the list, with its files; the ledger stays."""
        desk.delete(account, generation_id)
        return bodies.DeletedBody(id=generation_id)

    @api.put(
        "/{generation_id}/favourite",
        responses=refused(400, 404, 413, 415),
        openapi_extra=json_body(
            {
                "type": "object",
                "properties": {"favourite": {"type": "boolean"}},
                "required": ["favourite"],
                "additionalProperties": False,
            }
        ),
    )
    async def favourite(
        request: Request, account: Caller, generation_id: str
    ) -> bodies.GenerationBody:
        """Mark it, or unmark it."""
        given = await read_object(request, SMALL_BYTES)
        on = given.get("favourite")
        if not isinstance(on, bool) or len(given) > 1:
            raise Problems(
                [Problem(field="favourite", message='send {"favourite": true} or false')]
            )
        marked = await run_in_threadpool(desk.favourite, account, generation_id, on=on)
        return views.generation(marked)


def _answer(body: BaseModel, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body.model_dump(mode="json"), status, headers=headers)
