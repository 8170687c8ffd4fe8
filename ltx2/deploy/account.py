"""The endpoints of a RunPod account, through its REST API, version 2. No torch."""

import re
from collections.abc import Mapping
from typing import Any, Self, cast

from ltx2.deploy.environment import secrets_of
from ltx2.errors import BadRequest
from ltx2.rest import NotFound, Refusal, Service, ServiceError, Unsure, checked_url

API = "https://api.runpod.io/v2"
CONSOLE = "https://console.runpod.io/serverless"


class Account:
    """What a key may do. Errors are ServiceError, and BadRequest for what RunPod does not take;
    they hold neither the key nor a secret of an environment that was sent or read.
    """

    def __init__(self, key: str, *, url: str = API) -> None:
        address = checked_url(url, name="--api-url", keyed=True)
        self._service = Service(address, key, name="RunPod")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._service.close()

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make an endpoint; what RunPod answers, its `id` above all."""
        self._hide_env(body)
        try:
            return self._object("POST", "/serverless", body=body, repeatable=False)
        except Unsure as error:
            raise Unsure(
                f"{error}: look at {CONSOLE} whether the endpoint {body['name']!r} is there before "
                "you try again"
            ) from None

    def endpoint(self, endpoint_id: str) -> dict[str, Any]:
        """An endpoint as it is."""
        found = self._object("GET", _path(endpoint_id))
        self._hide_env(found)
        return found

    def update(self, endpoint_id: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Change an endpoint. The same PATCH twice is the same as once, so it may be repeated."""
        self._hide_env(patch)
        return self._object("PATCH", _path(endpoint_id), body=patch)

    def delete(self, endpoint_id: str) -> None:
        """Delete an endpoint that is there; its jobs are cancelled and its template goes."""
        try:
            self._ask("DELETE", _path(endpoint_id))
        except NotFound:
            return  # an earlier try of this call did it, and its answer was lost

    def workers(self, endpoint_id: str) -> list[dict[str, Any]]:
        """The endpoint's workers."""
        return self._list(f"{_path(endpoint_id)}/workers")

    def releases(self, endpoint_id: str) -> list[dict[str, Any]]:
        """Its releases, of which an update starts one, with how many workers run each."""
        return self._list(f"{_path(endpoint_id)}/releases")

    def catalogue(self) -> object:
        """The GPUs that endpoints can have today, with their prices."""
        query = {"include": "AVAILABILITY", "product": "SERVERLESS"}
        return self._ask("GET", "/catalog/gpus", query=query)

    def masked(self, text: str) -> str:
        """A text without the key and without the secrets of an environment that was seen."""
        return self._service.masked(text)

    def _ask(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401 - JSON
        try:
            return self._service.ask(method, path, **more)
        except Refusal as error:
            raise BadRequest([f"RunPod: {problem}" for problem in error.problems]) from None

    def _object(self, method: str, path: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        answer = self._ask(method, path, **more)
        if not isinstance(answer, Mapping):
            raise ServiceError(f"RunPod answered {method} {path} with no object")
        return dict(cast("Mapping[str, Any]", answer))

    def _list(self, path: str) -> list[dict[str, Any]]:
        """The entries of a list, or of the one list in an object."""
        answer: object = self._ask("GET", path)
        if isinstance(answer, Mapping):
            values = cast("Mapping[str, object]", answer).values()
            lists = [value for value in values if isinstance(value, list)]
            answer = lists[0] if len(lists) == 1 else answer
        if not isinstance(answer, list):
            raise ServiceError(f"RunPod answered GET {path} with no list")
        entries = cast("list[object]", answer)
        return [dict(cast("Mapping[str, Any]", e)) for e in entries if isinstance(e, Mapping)]

    def _hide_env(self, endpoint: Mapping[str, Any]) -> None:
        env: object = endpoint.get("env")
        if isinstance(env, Mapping):
            texts = {str(k): str(v) for k, v in cast("Mapping[object, object]", env).items()}
            self._service.hide(*secrets_of(texts))


def _path(endpoint_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", endpoint_id):
        raise BadRequest(f"an endpoint's id is letters and digits; got {endpoint_id[:100]!r}")
    return f"/serverless/{endpoint_id}"
