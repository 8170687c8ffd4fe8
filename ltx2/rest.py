"""JSON to and from an HTTP service with a key: repeated where that is safe, within limits.

The key goes to the service's own host and into no message. No torch.
"""

import email.utils
import json
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, cast
from urllib.parse import urlsplit

import httpx

from ltx2.errors import BadRequest, ConfigError, Ltx2Error
from ltx2.media.address import is_loopback

TRIES = 5
FIRST_PAUSE = 0.5  # seconds before the second try; doubled for each further one
LONGEST_PAUSE = 60.0  # seconds that a service may ask to be left alone before that is an error
SHORTEST_SECRET = 6  # characters; what is shorter would blot out ordinary words
TOO_MANY = 429
# Nothing of the request has left this machine when these are raised.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class ServiceError(Ltx2Error):
    """A service did not do what it was asked: out of reach, out of order or unwilling."""

    code = "SERVICE"
    status = 502


class RefusedKey(ServiceError):
    """The service does not take the key, or the key may not do this."""

    status = 401


class NotFound(ServiceError):
    """The service has nothing by this name."""

    status = 404


class RateLimited(ServiceError):
    """The service asks to be left alone for longer than is waited. `seconds`: how long it said."""

    status = TOO_MANY

    def __init__(self, message: str, *, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


class Refusal(ServiceError):
    """The service does not accept what was sent; `problems` are its own sentences."""

    def __init__(self, message: str, *, problems: Iterable[str], status: int) -> None:
        super().__init__(message)
        self.problems = list(problems)
        self.status = status


class Unsure(ServiceError):
    """The line broke after something was sent that must not be sent twice: it may have been done,
    or not.
    """


class Service:
    """One service at `url`. `timeout` is in seconds, for each answer."""

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        name: str,
        timeout: float = 30.0,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.name = name
        self._pause = pause
        self._free_at = 0.0  # on the monotonic clock: when the service may be asked again
        self._secrets: set[str] = set()
        self.hide(key)
        headers = {"User-Agent": "ltx2", "Accept": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        # Without encryption a proxy would read the key. A redirect is not followed: it could lead
        # the key to another host.
        self._line = httpx.Client(
            headers=headers,
            timeout=timeout,
            trust_env=urlsplit(self.url).scheme == "https",
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._line.close()

    def hide(self, *secrets: str | None) -> None:
        """Texts that no message of this service may hold, whatever the service answers."""
        for text in secrets:
            if text and len(text) >= SHORTEST_SECRET:
                self._secrets |= {text, json.dumps(text)[1:-1]}  # as is, and as JSON writes it

    def masked(self, text: str) -> str:
        """A text with `***` for everything that is hidden, longest first: one may hold another."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: object | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
        until: float = float("inf"),
    ) -> Any:  # noqa: ANN401 - JSON, or None for an empty answer
        """The JSON that is answered.

        429 and lines that were never open are tried again, server errors and broken lines only
        where asking twice does no harm (`repeatable`). `until` is the moment of the monotonic clock
        after which nothing more is tried. Raises ServiceError.
        """
        content = None if body is None else encoded(body)
        headers = {} if content is None else {"Content-Type": "application/json"}
        for tried in range(1, TRIES + 1):
            self._wait_until(self._free_at, until)
            last = tried == TRIES
            wait = FIRST_PAUSE * 2 ** (tried - 1) * random.uniform(0.8, 1.2)
            last = last or time.monotonic() + wait >= until
            try:
                answer = self._line.request(
                    method, self.url + path, content=content, headers=headers, params=query
                )
            except httpx.RequestError as error:
                unsent = isinstance(error, _UNSENT)
                if not unsent and not repeatable:
                    raise self._unsure(type(error).__name__) from None
                if last:
                    # Not chained: the library's error holds the request, and that the key.
                    raise ServiceError(
                        f"{self.name} cannot be reached: {self.masked(str(error)) or 'no answer'}"
                        f" (after {tried} {'try' if tried == 1 else 'tries'})"
                    ) from None
                self._wait_until(time.monotonic() + wait, until)
                continue
            self._note_limits(answer)
            if answer.is_success:
                return self._json(answer)
            if answer.status_code == TOO_MANY:
                asked = retry_after(answer.headers)
                if (
                    last
                    or (asked or 0.0) > LONGEST_PAUSE
                    or time.monotonic() + (asked or 0) > until
                ):
                    raise self._limited(asked)
                self._wait_until(time.monotonic() + max(wait, asked or 0.0), until)
            elif answer.is_server_error:
                if not repeatable:
                    raise self._unsure(f"it answered {answer.status_code}")
                if last:
                    raise self._error(answer)
                self._wait_until(time.monotonic() + wait, until)
            else:
                raise self._error(answer)
        raise AssertionError("the last try returns or raises")

    def _wait_until(self, moment: float, until: float) -> None:
        seconds = min(moment, until) - time.monotonic()
        if seconds > 0:
            self._pause(seconds)

    def _note_limits(self, answer: httpx.Response) -> None:
        """Where nothing is left of the rate, the next question waits for the next window."""
        left, seconds = rate_left(answer.headers)
        if left == 0 and seconds is not None:
            self._free_at = time.monotonic() + min(seconds, LONGEST_PAUSE)

    def _json(self, answer: httpx.Response) -> Any:  # noqa: ANN401 - JSON
        if not answer.content.strip():
            return None
        try:
            return answer.json()
        except ValueError:
            raise ServiceError(
                f"{self.name} answered {answer.status_code} with something that is no JSON; is "
                f"{self.url} the right address?"
            ) from None

    def _error(self, answer: httpx.Response) -> ServiceError:
        """The error of an answer, with everything that the service says of it."""
        sentences = [self.masked(text) for text in said(answer)]
        status = answer.status_code
        what = f"{self.name} answered {status}" + (f": {'; '.join(sentences)}" if sentences else "")
        match status:
            case 401 | 403:
                return RefusedKey(f"{what}; check the API key and what it may do")
            case 404:
                return NotFound(what)
            case _ if answer.is_client_error:
                return Refusal(what, problems=sentences or [what], status=status)
            case _:
                return ServiceError(what)

    def _unsure(self, why: str) -> Unsure:
        return Unsure(
            f"{self.name} may have done what it was asked, or not ({why}); it was not asked twice"
        )

    def _limited(self, asked: float | None) -> RateLimited:
        when = "" if asked is None else f"; it takes requests again in {asked:.0f} s"
        return RateLimited(f"{self.name} answered 429, too many requests{when}", seconds=asked)


def encoded(body: object) -> bytes:
    """JSON as it is sent. Raises BadRequest for what JSON has no word for."""
    try:
        return json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise BadRequest(f"what is sent must be JSON: {error}") from error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a service asks to wait, from Retry-After, else from its rate headers."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if text:
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        return max(0.0, moment.timestamp() - time.time())
    return rate_left(headers)[1]


def rate_left(headers: Mapping[str, str]) -> tuple[int | None, float | None]:
    """Requests left and seconds until the window ends, of a `RateLimit` header.

    Both spellings of the drafts are read: `limit=60, remaining=0, reset=7` and `"name";r=0;t=7`.
    """
    text = headers.get("RateLimit", "")
    left = re.search(r"(?:\bremaining|;\s*r)\s*=\s*(\d+)", text)
    ends = re.search(r"(?:\breset|;\s*t)\s*=\s*(\d+(?:\.\d+)?)", text)
    return (int(left[1]) if left else None), (float(ends[1]) if ends else None)


def said(answer: httpx.Response) -> list[str]:
    """What a service says of an error: `{title, detail, errors[]}`, `{error}`, else its text."""
    try:
        body: object = answer.json()
    except ValueError:
        kind = answer.headers.get("Content-Type", "")
        text = answer.text.strip()
        return [text[:500]] if text and "html" not in kind else []
    if not isinstance(body, Mapping):
        return [json.dumps(body)[:500]]
    facts = cast("Mapping[str, object]", body)
    heads = [facts.get(name) for name in ("title", "detail", "error", "message")]
    found = [head for head in heads if isinstance(head, str) and head]
    listed = facts.get("errors")
    for entry in cast("list[object]", listed) if isinstance(listed, list) else []:
        found.append(entry if isinstance(entry, str) else _sentence(entry))
    return list(dict.fromkeys(found)) or [json.dumps(facts)[:500]]


def _sentence(entry: object) -> str:
    """One entry of a list of errors: its place and its words where it has them."""
    if isinstance(entry, Mapping):
        facts = cast("Mapping[str, object]", entry)
        words = next((facts[n] for n in ("message", "detail") if isinstance(facts.get(n), str)), "")
        places = ("path", "location", "pointer", "field")
        place = next((facts[n] for n in places if isinstance(facts.get(n), str)), "")
        if words:
            return f"{place}: {words}" if place else str(words)
    return json.dumps(entry)


def checked_key(key: str | None) -> str | None:
    """A key as it can be sent; None for none. Raises ConfigError, without the key in it."""
    key = (key or "").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", key):
        raise ConfigError("the API key holds characters that no key has; copy it again")
    return key or None


def checked_url(url: str, *, name: str, keyed: bool) -> str:
    """The address of a service. A key is never sent without encryption but to this machine.

    Raises BadRequest.
    """
    wanted = f"{name} must be an https:// address, or http:// on this machine"
    if not keyed:
        wanted = f"{name} must be an http:// or https:// address"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise BadRequest(f"{wanted}; it cannot be read") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadRequest(f"{name} must be a plain address, without user, query or fragment")
    plain = parts.scheme == "http" and (not keyed or is_loopback(host))
    if not host or not (parts.scheme == "https" or plain):
        raise BadRequest(f"{wanted}; got {url[:100]!r}")
    return url.rstrip("/")
