"""From an endpoint as it is to one as it is wanted: the smallest body of a PATCH. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ltx2.deploy.endpoint import Wish, own_env
from ltx2.deploy.environment import OWN, shown
from ltx2.errors import BadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that changes; None where it was or will be absent. Nothing of it is secret."""

    place: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.place}: {self.after} (new)"
        if self.after is None:
            return f"{self.place}: {self.before} goes"
        if self.before == self.after:
            return f"{self.place}: another value"
        return f"{self.place}: {self.before} becomes {self.after}"


def patch_body(wish: Wish, current: Mapping[str, Any]) -> dict[str, Any]:
    """The body of `PATCH /v2/serverless/{id}`: what differs, and nothing else.

    What the platform replaces whole is sent whole: `env`, the pools with their excluded types.
    Raises BadRequest.
    """
    plain = {
        "name": wish.name,
        "image": wish.image,
        "disk": wish.disk,
        "registry": wish.registry,
        "flashboot": None if wish.flashboot is None else ("OFF", "FLASHBOOT")[wish.flashboot],
        "timeout": None if wish.timeout is None else wish.timeout * 1000,
        "networkVolumes": list(wish.volumes) or None,
        "dataCenterIds": list(wish.data_centers) or None,
        "workers": _workers(wish, current),
        "gpu": _gpu(wish, current),
        "env": _env(wish, current),
    }
    return {
        name: value
        for name, value in plain.items()
        if value is not None and (name == "env" or not _same(value, current.get(name)))
    }


def differences(patch: Mapping[str, Any], current: Mapping[str, Any]) -> list[Difference]:
    """What a PATCH changes, for people: values of the environment are masked."""
    found: list[Difference] = []
    for name, value in patch.items():
        before = current.get(name)
        if not isinstance(value, Mapping):
            found.append(Difference(place=name, before=before, after=value))
            continue
        old: Mapping[str, Any] = before if isinstance(before, Mapping) else {}
        # Only the environment loses what is not named.
        places = [*value, *(key for key in old if key not in value)] if name == "env" else value
        masked = shown if name == "env" else dict
        was, will = masked(old), masked(value)
        found += [
            Difference(place=f"{name}.{key}", before=was.get(key), after=will.get(key))
            for key in places
            if old.get(key) != value.get(key)
        ]
    return found


def merged(patch: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """The endpoint as it will be."""
    result = {**current, **patch}
    for name in ("gpu", "workers"):
        if name in patch:
            result[name] = {**(current.get(name) or {}), **patch[name]}
    return result


def _same(value: object, before: object) -> bool:
    """Whether nothing changes; of an object only what is sent counts. Not for the environment."""
    if isinstance(value, Mapping) and isinstance(before, Mapping):
        return all(_empty_as_none(before.get(key)) == _empty_as_none(value[key]) for key in value)
    return value == before


def _empty_as_none(value: object) -> object:
    return None if value == [] else value


def _workers(wish: Wish, current: Mapping[str, Any]) -> dict[str, Any] | None:
    if wish.min_workers is None and wish.max_workers is None:
        return None
    before = current.get("workers") or {}
    low = before.get("min", 0) if wish.min_workers is None else wish.min_workers
    high = before.get("max", low) if wish.max_workers is None else wish.max_workers
    if low > high:
        raise BadRequest(f"the endpoint would have at least {low} and at most {high} workers")
    return {"min": low, "max": high}


def _gpu(wish: Wish, current: Mapping[str, Any]) -> dict[str, Any] | None:
    before = current.get("gpu") or {}
    body: dict[str, Any] = {}
    if wish.gpus or wish.exclude:
        # Pools without excluded types would clear those, and excluded types need the pools.
        body["pools"] = list(wish.gpus) or before.get("pools") or []
        body["excludedTypes"] = list(wish.exclude) or (
            [] if wish.gpus else before.get("excludedTypes") or []
        )
    if wish.cuda:
        # Setting one of the two does not clear the other, and both together are refused.
        body |= {"allowedCudaVersions": list(wish.cuda), "minCudaVersion": None}
    elif wish.min_cuda:
        body |= {"minCudaVersion": wish.min_cuda, "allowedCudaVersions": []}
    return body or None


def _env(wish: Wish, current: Mapping[str, Any]) -> dict[str, str] | None:
    """The whole environment as it will be; None where nothing of it changes."""
    given = {**own_env(wish), **wish.env}
    if not given and not wish.unset and not wish.replace_env:
        return None
    before = current.get("env")
    if not isinstance(before, Mapping) and not wish.replace_env:
        raise BadRequest(
            "RunPod does not tell this endpoint's environment, which an update replaces whole; "
            "give all of it, with --replace-env"
        )
    before = dict(before) if isinstance(before, Mapping) else {}
    problems = [
        f"--unset {name}: it is set by {OWN[name]} and must agree with the endpoint"
        for name in wish.unset
        if name in OWN
    ]
    problems += [
        f"--unset {name}: the endpoint has no such variable; it has {', '.join(before) or 'none'}"
        for name in wish.unset
        if name not in before and name not in OWN
    ]
    problems += [f"{name} is both set and unset" for name in wish.unset if name in given]
    if problems:
        raise BadRequest(problems)
    if wish.replace_env:
        # What the options stand for stays: the workers must know it.
        before = {name: value for name, value in before.items() if name in OWN}
    after = {**{n: v for n, v in before.items() if n not in wish.unset}, **given}
    return None if after == dict(current.get("env") or {}) else after
