"""The route that the worker's platform calls: a hint, answered at once."""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from gateway.api.json_body import read_bytes
from gateway.webhooks.incoming import MOST_BYTES, PATH, Incoming


def router(incoming: Incoming) -> APIRouter:
    """The route. What a hint says is not believed; its token says which generation is meant."""
    api = APIRouter(include_in_schema=False)

    @api.post(PATH)
    async def hint(request: Request, token: str) -> dict[str, bool]:
        """Note it. 404 without detail for a token that is none of ours."""
        body = await read_bytes(request, MOST_BYTES)
        await run_in_threadpool(incoming.take, token, body)
        return {"received": True}

    return api
