"""The pages one can look at: create, library, a video, credits."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway.states import Status
from gateway.studio import board, composer, draft
from gateway.studio.guide import guide
from gateway.studio.routing import studio_router
from gateway.studio.visit import House, NoSuchPage

# The filters of the library: what each is called, and what it asks of the desk.
FILTERS: dict[str, tuple[str, Status | None, bool]] = {
    "all": ("All", None, False),
    "favourites": ("Favourites", None, True),
    "finished": ("Finished", "completed", False),
    "running": ("Running", "in_progress", False),
    "queued": ("Queued", "queued", False),
    "failed": ("Failed", "failed", False),
    "cancelled": ("Cancelled", "canceled", False),
}
_EMPTY = {
    "all": "Nothing here yet. What you make is kept here.",
    "favourites": "No favourites yet. Mark a video with the star and it is listed here.",
    "finished": "No finished videos yet.",
    "running": "Nothing is running now.",
    "queued": "Nothing is waiting now.",
    "failed": "Nothing has failed.",
    "cancelled": "Nothing was cancelled.",
}


def page_routes(house: House) -> APIRouter:
    """The routes of the pages."""
    routes = studio_router(house)
    desk = house.desk

    @routes.get("/")
    def create(
        request: Request,
        source: Annotated[str | None, Query(alias="from")] = None,
        vary: bool = False,
        example: int | None = None,
    ) -> Response:
        account = house.account(request)
        offer = desk.offer()
        shown = draft.fresh(offer)
        begun = guide(embedded=offer.models[0].embedded).examples
        if example is not None and 0 <= example < len(begun):
            shown = draft.Draft({**shown.values, "prompt": begun[example][1]})
        if source is not None:
            form = desk.generation(account, source).form
            shown = draft.again(offer, form, keep_seed=not vary)
        return compose_page(house, request, shown, fresh=source is None and example is None)

    @routes.get("/library")
    def library(
        request: Request, show: str = "all", cursor: str | None = None, deleted: bool = False
    ) -> Response:
        if show not in FILTERS:
            raise NoSuchPage
        _, status, favourites = FILTERS[show]
        found = desk.generations(
            house.account(request), cursor=cursor, status=status, favourites=favourites
        )
        return house.page(
            request,
            "library.html",
            jobs=board.views(house, list(found.items)),
            next_cursor=found.next_cursor,
            cursor=cursor,
            filters={name: row[0] for name, row in FILTERS.items()},
            show=show,
            empty=_EMPTY[show],
            deleted=deleted,
        )

    @routes.get("/g/{generation_id}")
    def generation(request: Request, generation_id: str) -> Response:
        account = house.account(request)
        found = desk.generation(account, generation_id)
        return house.page(
            request,
            "generation.html",
            stage=board.stage(house, account, found, house.origin(request)),
        )

    @routes.get("/g/{generation_id}/delete")
    def ask_delete(request: Request, generation_id: str) -> Response:
        found = desk.generation(house.account(request), generation_id)
        return house.page(request, "delete.html", job=board.view(house, found))

    @routes.get("/credits")
    def credits_page(request: Request, cursor: str | None = None) -> Response:
        if house.free:
            raise NoSuchPage  # there are no credits where all is free
        found = desk.credits(house.account(request), cursor=cursor, limit=25)
        return house.page(request, "credits.html", credits=found, cursor=cursor)

    return routes


def compose_page(
    house: House,
    request: Request,
    shown: draft.Draft,
    *,
    status: int = 200,
    notice: str = "",
    enhanced: str = "",
    undo: str = "",
    chosen: str | None = None,
    fresh: bool = False,
    asks: bool = False,
    ticket: bool = False,
) -> Response:
    """The create page with a filled form. What is wrong with it is in the draft; a `fresh` one may
    give way to what the visitor left in it. One that `asks` only wants to be sent again, and one
    with a `ticket` says its request, for what visitors cannot mend.
    """
    account = house.account(request)
    offer = house.desk.offer()
    quote = priced(house, request, shown)
    beside = board.board(house, account, house.origin(request), chosen)
    available = house.desk.credits(account, limit=1).available
    return house.page(
        request,
        "create.html",
        status=status,
        draft=shown,
        form=composer.composer(offer, shown, composer.usual_seconds(beside.page), free=house.free),
        button=composer.button(quote, available, free=house.free),
        board=beside,
        notice=notice,
        enhanced=enhanced,
        undo=undo,
        fresh=fresh,
        asks=asks,
        ticket=ticket,
    )


def priced(house: House, request: Request, shown: draft.Draft) -> composer.Quote | None:
    """What a draft costs, None where it cannot be made as it is."""
    form, problems = draft.request_of(shown, house.desk.offer())
    if problems:
        return None
    quote = house.desk.estimate(house.account(request), form)
    return quote if isinstance(quote, composer.Quote) else None
