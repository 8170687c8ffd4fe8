"""What the script asks for while a page is open: prices, progress, pictures, a richer prompt."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, Response

from gateway.desk import Quote
from gateway.refusals import (
    Limited,
    NotFound,
    Problem,
    Problems,
    TooLarge,
    Unaffordable,
    Unavailable,
)
from gateway.studio import board, composer, draft, wording
from gateway.studio.pages import compose_page
from gateway.studio.routing import studio_router
from gateway.studio.visit import House, sent_file, text, texts, wants_json

MOST_JOBS = 50  # asked for at once


def live_routes(house: House) -> APIRouter:
    """The routes of the script, and what stands in for them without it."""
    routes, desk, posted = studio_router(house), house.desk, Depends(house.posted)

    @routes.post("/studio/quote")
    def quote(request: Request, data: FormData = posted) -> Response:
        account = house.checked(request, data)
        shown = draft.filled(texts(data))
        form, problems = draft.request_of(shown, desk.offer())
        price = desk.estimate(account, form)
        if isinstance(price, Problems):
            problems += [each for each in price.problems if each.field != "prompt"]
        found = price if isinstance(price, Quote) and not problems else None
        shown = draft.with_problems(shown, problems)
        available = desk.credits(account, limit=1).available
        if not wants_json(request):
            return compose_page(house, request, shown)
        body = composer.button(found, available, free=house.free).as_json()
        return JSONResponse(body | {"problems": dict(shown.problems)})

    @routes.get("/studio/jobs")
    def jobs(request: Request, id: Annotated[list[str] | None, Query()] = None) -> Response:  # noqa: A002 - the name in the address
        session = house.session(request)
        account = session.account
        found: list[dict[str, object]] = []
        for each in (id or [])[:MOST_JOBS]:
            try:
                found.append(board.view(house, desk.generation(account, each)).live_part())
            except NotFound:
                found.append({"id": each, "gone": True, "live": False})
        available = desk.credits(account, limit=1).available
        seen: dict[str, object] = {"jobs": found, "available": wording.amount(available)}
        if house.local is not None:
            # There it is the same visitor's always. Elsewhere a page from before a sign-in, whoever
            # it was that signed in, is to be loaded again before it may send anything.
            seen["csrf"] = session.csrf
        return JSONResponse(seen, headers={"cache-control": "no-store"})

    @routes.get("/studio/board")
    def beside(request: Request, stage: str | None = None) -> Response:
        shown = board.board(house, house.account(request), house.origin(request), stage)
        return house.page(request, "beside.html", board=shown)

    @routes.get("/studio/stage/{generation_id}")
    def stage(request: Request, generation_id: str) -> Response:
        account = house.account(request)
        found = desk.generation(account, generation_id)
        shown = board.stage(house, account, found, house.origin(request))
        return house.page(request, "stage.html", stage=shown)

    @routes.post("/studio/uploads")
    def upload(request: Request, data: FormData = posted) -> Response:
        account = house.checked(request, data)
        sent = sent_file(data, "file")
        if sent is None:
            raise Problems([Problem(field="file", message="Choose a picture.")])
        try:
            taken = desk.upload(account, *sent)
        except TooLarge as refusal:
            return JSONResponse({"message": str(refusal)}, refusal.status)
        return JSONResponse({"uri": taken.uri, "width": taken.width, "height": taken.height}, 201)

    @routes.get("/studio/uploads/{upload_id}")
    def picture(request: Request, upload_id: str) -> Response:
        content, media_type = desk.picture(house.account(request), upload_id)
        return Response(
            content, media_type=media_type, headers={"cache-control": "private, max-age=3600"}
        )

    @routes.post("/studio/enhance")
    def enhance(request: Request, data: FormData = posted) -> Response:
        account = house.checked(request, data)
        shown = draft.filled(texts(data))
        if not shown.value("prompt"):
            raise Problems([Problem(field="prompt", message="Write a prompt first.")])
        try:
            richer = desk.enhance(
                account, shown.value("prompt"), image=shown.value("image") or None
            )
        except (Limited, Problems, Unaffordable, Unavailable) as refusal:
            if wants_json(request):
                raise
            told = draft.with_problems(
                shown, [Problem(field="prompt", message=wording.sentence(str(refusal)))]
            )
            return compose_page(
                house, request, told, status=refusal.status, ticket=refusal.status >= 500
            )
        if wants_json(request):
            return JSONResponse({"prompt": richer})
        return compose_page(house, request, shown, enhanced=richer)

    @routes.post("/studio/enhanced")
    def take_enhanced(request: Request, data: FormData = posted) -> Response:
        house.checked(request, data)
        return _with_prompt(house, request, data, "enhanced", undo=text(data, "prompt"))

    @routes.post("/studio/remove")
    def remove(request: Request, data: FormData = posted) -> Response:
        house.checked(request, data)
        kept = texts(data)
        kept.pop(kept.get("remove", ""), None)
        return compose_page(house, request, draft.filled(kept))

    @routes.post("/studio/undo")
    def undo(request: Request, data: FormData = posted) -> Response:
        house.checked(request, data)
        return _with_prompt(house, request, data, "undo", undo="")

    return routes


def _with_prompt(
    house: House, request: Request, data: FormData, source: str, *, undo: str
) -> Response:
    values = texts(data) | {"prompt": text(data, source)}
    return compose_page(house, request, draft.filled(values), undo=undo)
