"""Tells callers that their jobs have ended: a POST of what /status says, tried three times."""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from ltx2.serve.rules import Rules
from ltx2.worker.log import job_context

logger = logging.getLogger(__name__)
CONTENT = {"content-type": "application/json"}


class Webhooks:
    """Posts in the background, so that no job waits for a receiver.

    Any http(s) address is called, loopback and private ones too: this server is for development,
    and its callers have this machine or its key. Redirects are not followed and the environment's
    proxies not used.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=None)
        self._posts: set[asyncio.Task[None]] = set()

    def post(self, url: str, job_id: str, body: Mapping[str, Any]) -> None:
        """Send a job's end to its receiver, from the loop's next turn on."""
        with job_context(job_id):  # the task keeps it
            task = asyncio.create_task(self._deliver(url, json.dumps(body).encode()))
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    async def close(self, seconds: float) -> None:
        """Give what is under way `seconds` more, then drop it."""
        if self._posts:
            _, late = await asyncio.wait(self._posts, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if late:
                logger.warning("%d webhooks were not delivered: the server ends", len(late))
        await self._client.aclose()

    async def _deliver(self, url: str, body: bytes) -> None:
        place, said = urlsplit(url).hostname, ""
        for number in range(1, self._rules.webhook_tries + 1):
            if number > 1:
                await asyncio.sleep(self._rules.webhook_pause)
            said = await self._try(url, body)
            if said == "200":
                logger.info("the webhook was taken by %s", place)
                return
            logger.warning("the webhook's try %d: %s said %s", number, place, said)
        logger.error("the webhook is given up: %s must answer 200", place)

    async def _try(self, url: str, body: bytes) -> str:
        """The status that came back, or what went wrong; without the URL, which may hold a key."""
        try:
            async with (
                asyncio.timeout(self._rules.webhook_seconds),
                self._client.stream("POST", url, content=body, headers=CONTENT) as response,
            ):
                return str(response.status_code)
        except TimeoutError:
            return f"nothing within {self._rules.webhook_seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            return type(error).__name__
