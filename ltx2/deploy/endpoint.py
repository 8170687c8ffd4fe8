"""What an endpoint is to be, as the body that RunPod's REST API takes. No torch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ltx2.deploy.defaults import CHECKPOINT, CUDA, DISK, INIT_TIMEOUT, NAME, TIMEOUT, WEIGHTS
from ltx2.deploy.pools import PriceList, checkpoints, need_of

_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]*/[a-z0-9._/-]+(:(?P<tag>[\w][\w.-]{0,127}))?"
                    r"(@sha256:(?P<digest>[0-9a-f]{64}))?")  # fmt: skip
_VERSION = re.compile(r"\d+\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for; None and empty where nothing was."""

    name: str | None = None
    image: str | None = None
    checkpoint: str | None = None
    modes: str | None = None
    weights: str | None = None
    gpus: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()  # types of cards
    min_cuda: str | None = None
    cuda: tuple[str, ...] = ()  # these versions and no other
    data_centers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    min_workers: int | None = None
    max_workers: int | None = None
    disk: int | None = None  # GB
    timeout: int | None = None  # seconds of a job
    init_timeout: int | None = None  # seconds of a cold start
    flashboot: bool | None = None
    registry: str | None = None  # id of a credential
    env: Mapping[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    replace_env: bool = False

    def problems(self, prices: PriceList) -> list[str]:
        """What is wrong with it, whatever the endpoint is now."""
        return [
            *_image_problems(self.image),
            *_number_problems(self),
            *_gpu_problems(self, prices),
            *(
                ["--weights volume means a --volume; give its id"]
                if self.weights == "volume" and not self.volumes
                else []
            ),
        ]


def for_creation(wish: Wish, prices: PriceList) -> tuple[Wish, list[str]]:
    """The wish with everything decided, and what is missing for it."""
    problems = wish.problems(prices)
    if wish.image is None:
        problems.append("--image is needed: the image of the worker, with its version as the tag")
    weights = wish.weights or ("volume" if wish.volumes else None)
    checkpoint, modes = wish.checkpoint or CHECKPOINT, wish.modes or "fast"
    if weights is None and checkpoint != "tiny":
        ways = "; ".join(f"{name}: {where}" for name, where in WEIGHTS.items())
        problems.append(f"--weights is needed, where the workers find them: {ways}")
    need = need_of(checkpoint, modes)
    gpus, excluded, disk = wish.gpus, wish.exclude, DISK
    if need is not None:
        gpus = gpus or tuple(prices.chosen(need))
        if not gpus:
            problems.append(f"--gpu is needed: no priced pool has {need.resident:g} GiB a card")
        excluded = excluded or tuple(prices.too_small(gpus, need.least))
        disk = need.disk if weights == "download" else DISK
    elif not gpus:
        known = ", ".join(checkpoints())
        problems.append(f"--gpu is needed: what {checkpoint!r} takes is not known, as of {known}")
    decided = {
        "name": wish.name or NAME,
        "checkpoint": checkpoint,
        "modes": modes,
        "weights": weights,
        "gpus": gpus,
        "exclude": excluded,
        "min_cuda": wish.min_cuda or (None if wish.cuda else CUDA),
        "min_workers": 0 if wish.min_workers is None else wish.min_workers,
        "max_workers": _most_workers(wish),
        "disk": wish.disk or disk,
        "timeout": wish.timeout or TIMEOUT,
        "init_timeout": wish.init_timeout or INIT_TIMEOUT,
        "flashboot": True if wish.flashboot is None else wish.flashboot,
    }
    kept = {name: getattr(wish, name) for name in Wish.__slots__ if name not in decided}
    return Wish(**decided, **kept), problems


def creation_body(wish: Wish) -> dict[str, Any]:
    """The body of `POST /v2/serverless` for a wish that is decided."""
    gpu: dict[str, Any] = {"pools": list(wish.gpus)}
    if wish.exclude:
        gpu["excludedTypes"] = list(wish.exclude)
    gpu["count"] = 1
    if wish.cuda:
        gpu["allowedCudaVersions"] = list(wish.cuda)
    else:
        gpu["minCudaVersion"] = wish.min_cuda
    body: dict[str, Any] = {
        "name": wish.name,
        "type": "QUEUE",
        "image": wish.image,
        "gpu": gpu,
        # A worker for each job: jobs take minutes, and a queue that waits would let them pile up.
        # With it the platform takes no `workers.idleTimeout`.
        "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
        "workers": {"min": wish.min_workers, "max": wish.max_workers},
        "disk": wish.disk,
        "env": {**own_env(wish), **wish.env},
        "flashboot": "FLASHBOOT" if wish.flashboot else "OFF",
        "timeout": (wish.timeout or 0) * 1000,  # always: the platform's own is 300 s
    }
    optional = {
        "registry": wish.registry,
        "networkVolumes": list(wish.volumes),
        "dataCenterIds": list(wish.data_centers),
    }
    return {**body, **{name: value for name, value in optional.items() if value}}


def own_env(wish: Wish) -> dict[str, str]:
    """The variables that follow from the options: the workers must know what the endpoint does."""
    found = {
        "LTX2_CHECKPOINT": wish.checkpoint,
        "LTX2_MODES": wish.modes,
        "LTX2_DOWNLOAD": wish.weights and ("1" if wish.weights == "download" else "0"),
        "LTX2_EXECUTION_SECONDS": wish.timeout and str(wish.timeout),
        "RUNPOD_INIT_TIMEOUT": wish.init_timeout and str(wish.init_timeout),
    }
    return {name: value for name, value in found.items() if value}


def warnings(checkpoint: str, modes: str, gpus: Sequence[str], prices: PriceList) -> list[str]:
    """What the cards of these pools cannot do with this checkpoint at full speed."""
    need = need_of(checkpoint, modes)
    told: list[str] = []
    for name in gpus:
        pool = prices.pool(name)
        if need is None or pool is None or pool.holds(need.resident):
            continue
        if pool.holds(need.least):
            told.append(
                f"{name} ({pool.gb:g} GB): the text encoder is not on the GPU together with the "
                f"rest, which takes {need.resident:g} GiB; each new prompt takes longer"
            )
        else:
            told.append(
                f"{name} ({pool.gb:g} GB): {checkpoint} takes {need.least:g} GiB; on less, parts "
                "move between host and GPU in every step, which is slow and needs as much host "
                "memory"
            )
    return told


def left_to_do(weights: str | None, checkpoint: str, modes: str) -> list[str]:
    """What is left for a person to do, since the REST API has no field for it."""
    steps: list[str] = []
    if weights == "cached":
        steps.append(
            "set the cached model: console > Serverless > the endpoint > Manage > Edit endpoint > "
            "Model: a repository of the Hugging Face Hub that holds what this checkpoint loads and "
            "nothing else, since all of it is fetched; or make the endpoint by `runpodctl "
            "serverless create --template-id ID --model-reference REPOSITORY_URL:REVISION`"
        )
    if weights == "volume":
        # Pods have the volume at another place than workers.
        steps.append(
            "fill the volume once, from a pod that mounts it, at /workspace unless its template "
            f"says otherwise: ltx2 download --checkpoint {checkpoint or 'NAME'} --mode {modes} "
            f"--to /workspace/models/{checkpoint or 'NAME'}"
        )
    return steps


def _most_workers(wish: Wish) -> int:
    return max(2, wish.min_workers or 0) if wish.max_workers is None else wish.max_workers


def _image_problems(image: str | None) -> list[str]:
    if image is None:
        return []
    found = _IMAGE.fullmatch(image)
    if not found:
        return [f"--image must be OWNER/NAME:TAG, with its registry in front; got {image[:200]!r}"]
    if found["digest"]:
        return []
    if not found["tag"] or found["tag"] == "latest":
        got = "latest" if found["tag"] else "no tag"
        return [
            f"--image must name a version, as its tag or digest, so that workers that start later "
            f"run the same; got {got}"
        ]
    return []


def _number_problems(wish: Wish) -> list[str]:
    bounds = (
        ("--min-workers", wish.min_workers, 0, 1000),
        ("--max-workers", wish.max_workers, 0, 1000),
        ("--disk", wish.disk, 5, 4096),
        ("--timeout", wish.timeout, 5, 7 * 86_400),  # what policy.executionTimeout takes
        ("--init-timeout", wish.init_timeout, 60, 86_400),
    )
    problems = [
        f"{name} must be a whole number from {low} to {high}; got {value}"
        for name, value, low, high in bounds
        if value is not None and not low <= value <= high
    ]
    low, high = wish.min_workers, wish.max_workers
    if low is not None and high is not None and low > high:
        problems.append(f"--min-workers {low} must not be more than --max-workers {high}")
    return problems


def _gpu_problems(wish: Wish, prices: PriceList) -> list[str]:
    problems: list[str] = []
    known = [pool.id for pool in prices.pools]
    for name in wish.gpus:
        if name not in known:
            problems.append(f"--gpu must be one of {', '.join(known)}; got {name[:100]!r}")
    if len(set(wish.gpus)) != len(wish.gpus):
        problems.append("--gpu names a pool twice")
    if wish.exclude and prices.types and wish.gpus:
        inside = sorted(card.id for card in prices.types if card.pool in wish.gpus)
        problems += [
            f"--exclude must be a type in these pools: {', '.join(inside)}; got {name[:100]!r}"
            for name in wish.exclude
            if name not in inside
        ]
    if wish.min_cuda and wish.cuda:
        problems.append("--min-cuda and --cuda exclude each other; give one of them")
    problems += [
        f"a CUDA version is two numbers such as {CUDA}; got {text[:20]!r}"
        for text in (*wish.cuda, *([wish.min_cuda] if wish.min_cuda else []))
        if not _VERSION.fullmatch(text)
    ]
    return problems
