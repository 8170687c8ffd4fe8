"""What one can do with a video: make one, cancel, vary, mark, delete. All work without script."""

from urllib.parse import quote as quoted

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, RedirectResponse, Response

from gateway.desk import Account, Quote
from gateway.refusals import (
    KeyReused,
    Limited,
    Problem,
    Problems,
    Refusal,
    TooLarge,
    Unaffordable,
)
from gateway.states import Generation
from gateway.studio import board, draft, wording
from gateway.studio.pages import compose_page
from gateway.studio.routing import studio_router
from gateway.studio.visit import House, inside, new_key, sent_file, text, texts, wants_json


def action_routes(house: House) -> APIRouter:
    """The routes of the actions."""
    routes, desk, posted = studio_router(house), house.desk, Depends(house.posted)

    @routes.post("/")
    def create(request: Request, data: FormData = posted) -> Response:
        account = house.checked(request, data)
        shown = with_files(house, account, data)
        try:
            if shown.problems:
                raise Problems([Problem(field=k, message=m) for k, m in shown.problems.items()])
            job = made(house, account, shown, data)
        except Refusal as refusal:
            return _not_made(house, request, shown, refusal)
        if wants_json(request):
            return JSONResponse({"id": job.id, "key": new_key()}, 202)
        return RedirectResponse(_page(job.id), 303)

    @routes.post("/g/{generation_id}/cancel")
    def cancel(request: Request, generation_id: str, data: FormData = posted) -> Response:
        job = desk.cancel(house.checked(request, data), generation_id)
        return _after(house, request, job)

    @routes.post("/g/{generation_id}/vary")
    def vary(request: Request, generation_id: str, data: FormData = posted) -> Response:
        account = house.checked(request, data)
        form = board.another(desk.generation(account, generation_id))
        price = desk.estimate(account, form)
        fair = isinstance(price, Quote) and _seen(house, price, data)
        if not fair:  # the form shows what is wrong, or what it costs now
            return RedirectResponse(f"/?from={quoted(generation_id)}&vary=true", 303)
        job = desk.create(account, form, text(data, "key") or None)
        if wants_json(request):
            return JSONResponse({"id": job.id, "key": new_key()}, 202)
        return RedirectResponse(_page(job.id), 303)

    @routes.post("/g/{generation_id}/favourite")
    def favourite(request: Request, generation_id: str, data: FormData = posted) -> Response:
        account = house.checked(request, data)
        job = desk.favourite(account, generation_id, on=text(data, "on") == "true")
        if wants_json(request):
            return JSONResponse({"favourite": job.favourite})
        return RedirectResponse(inside(text(data, "back"), _page(job.id)), 303)

    @routes.post("/g/{generation_id}/delete")
    def delete(request: Request, generation_id: str, data: FormData = posted) -> Response:
        desk.delete(house.checked(request, data), generation_id)
        return RedirectResponse("/library?deleted=true", 303)

    return routes


def with_files(house: House, account: Account, data: FormData) -> draft.Draft:
    """The form as it was sent, with its pictures taken in."""
    values = texts(data)
    problems: list[Problem] = []
    for name in draft.PICTURES:
        sent = sent_file(data, f"{name}_file")
        if sent is None:
            continue
        try:
            values[name] = house.desk.upload(account, *sent).uri
        except (Limited, Problems, TooLarge) as refusal:
            problems.append(Problem(field=name, message=str(refusal)))
    return draft.with_problems(draft.filled(values), problems)


def made(house: House, account: Account, shown: draft.Draft, data: FormData) -> Generation:
    """The generation of a form, at the price that its button showed."""
    form, problems = draft.request_of(shown, house.desk.offer())
    if not shown.value("prompt"):
        problems.append(Problem(field="prompt", message="Say what happens in the video."))
    price = house.desk.estimate(account, form)
    if isinstance(price, Problems):
        known = {problem.field for problem in problems}
        problems += [each for each in price.problems if each.field not in known]
    if problems:
        raise Problems(problems)
    if isinstance(price, Quote) and not _seen(house, price, data):
        raise Repriced(price.credits)
    return house.desk.create(account, form, text(data, "key") or None)


def _seen(house: House, price: Quote, data: FormData) -> bool:
    """Whether a form's button showed its price, or there was none to show."""
    return house.free or str(price.credits) == text(data, "quoted")


class Repriced(Problems):
    """The button showed another price than the form has."""

    def __init__(self, count: int) -> None:
        words = wording.credit_words(count)
        message = f"With these settings it costs {words}. Press the button again to go ahead."
        super().__init__([Problem(field=None, message=message)])


def _not_made(house: House, request: Request, shown: draft.Draft, refusal: Refusal) -> Response:
    """The form again with what is wrong."""
    asks = isinstance(refusal, Repriced | KeyReused)  # nothing is wrong with it
    if isinstance(refusal, Problems):
        told = draft.with_problems(shown, refusal.problems)
        status = 409 if asks else 422
    elif isinstance(refusal, Unaffordable):
        message = (
            f"This costs {wording.credit_words(refusal.required)}, "
            f"and you have {refusal.available:,}. A shorter or smaller video costs less."
        )
        told, status = draft.Draft(shown.values, {"": message}), 402
    elif isinstance(refusal, KeyReused):
        message = "This form was sent once already. Press the button again to make another."
        told, status = draft.Draft(shown.values, {"": message}), 409
    else:
        told, status = draft.Draft(shown.values, {"": str(refusal)}), refusal.status
    if wants_json(request):
        body = {"problems": dict(told.problems), "key": new_key(), "asks": asks}
        return JSONResponse(body, status)
    return compose_page(house, request, told, status=status, asks=asks, ticket=status >= 500)


def _after(house: House, request: Request, job: Generation) -> Response:
    if wants_json(request):
        return JSONResponse(board.view(house, job).live_part())
    return RedirectResponse(_page(job.id), 303)


def _page(generation_id: str) -> str:
    return f"/g/{quoted(generation_id)}"
