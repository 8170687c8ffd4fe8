"""Routes of an account's own: credits and ledger; and what can be asked for, and better prompts."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from gateway.api import bodies, views
from gateway.api.caller import Caller, Guards
from gateway.api.documented import json_body, refused
from gateway.api.json_body import read_object
from gateway.refusals import Problem, Problems


def router(guards: Guards) -> APIRouter:
    """The routes, over one desk."""
    api = APIRouter(prefix="/api", tags=["account"])
    desk = guards.desk

    @api.get("/models")
    def models() -> bodies.ModelsBody:
        """What can be asked for, and what it costs. Needs no key."""
        return views.models(desk.offer())

    @api.get("/credits", responses=refused())
    def credits(account: Caller) -> bodies.CreditsBody:
        """Balance and newest entries."""
        return views.credits(desk.credits(account))

    @api.get("/credits/ledger", responses=refused(400))
    def ledger(
        account: Caller,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> bodies.LedgerBody:
        """Every entry, newest first."""
        return views.ledger(desk.credits(account, cursor=cursor, limit=limit))

    @api.post(
        "/enhance-prompt",
        responses=refused(400, 402, 413, 415),
        openapi_extra=json_body(
            {
                "type": "object",
                "properties": {
                    "prompt": {"type": "string", "minLength": 1},
                    "image": {"type": ["string", "null"]},
                },
                "required": ["prompt"],
                "additionalProperties": False,
            }
        ),
    )
    async def enhance(request: Request, account: Caller) -> bodies.EnhancedBody:
        """A richer prompt, by the worker's language model: free, for accounts with credits."""
        given = await read_object(request)
        prompt, image = given.pop("prompt", None), given.pop("image", None)
        problems: list[Problem] = []
        if not isinstance(prompt, str) or not prompt.strip():
            problems.append(Problem(field="prompt", message="prompt must be a text"))
        if image is not None and not isinstance(image, str):
            problems.append(Problem(field="image", message="image must be a text or null"))
        problems += [
            Problem(field=name, message=f"unknown field {name[:40]!r}; prompt, image are accepted")
            for name in list(given)[:20]
        ]
        if problems:
            raise Problems(problems)
        richer = await run_in_threadpool(desk.enhance, account, prompt, image=image)
        return bodies.EnhancedBody(prompt=richer)

    return api
