"""A double of RunPod's REST API, version 2: endpoints in memory, bodies checked by its rules."""

import re
from typing import Any

from tests.worker.loopback import Call, Loopback, Reply

POOLS = ("AMPERE_16", "AMPERE_24", "ADA_24", "ADA_32_PRO", "AMPERE_48", "ADA_48_PRO", "AMPERE_80",
         "ADA_80_PRO", "BLACKWELL_96", "HOPPER_141", "BLACKWELL_180")  # fmt: skip
FIELDS = {"name", "type", "scaling", "gpu", "cpu", "image", "templateId", "registry", "args",
          "ports", "dataCenterIds", "networkVolumes", "workers", "disk", "env", "flashboot",
          "timeout"}  # fmt: skip
GPU = {"pools", "count", "excludedTypes", "minCudaVersion", "allowedCudaVersions"}
DEFAULTS: dict[str, Any] = {"flashboot": "OFF", "timeout": 300_000, "workers": {"min": 0, "max": 3}}
CATALOGUE = [
    {"id": "NVIDIA H100 80GB HBM3", "name": "H100", "pool": "ADA_80_PRO", "memory": 80,
     "price": {"serverless": 3.99}, "cudaVersions": ["13.0"]},
    {"id": "NVIDIA RTX PRO 6000", "name": "PRO 6000", "pool": "BLACKWELL_96", "memory": 96,
     "price": {"serverless": 3.50}, "cudaVersions": ["13.0"]},
    {"id": "NVIDIA RTX PRO 6000 MIG 24GB", "name": "slice", "pool": "BLACKWELL_96", "memory": 24,
     "price": {"serverless": 1.00}, "cudaVersions": ["13.0"]},
    {"id": "NVIDIA L4", "name": "L4", "pool": "ADA_24", "memory": 24,
     "price": {"serverless": 0.69}, "cudaVersions": ["13.0"]},
    {"id": "no pool", "name": "old", "pool": None, "memory": 8, "price": {}},
]  # fmt: skip
TYPES = {card["id"]: card["pool"] for card in CATALOGUE}


class RestV2(Loopback):
    """One account, whose key is `key`."""

    def __init__(self, key: str = "rpa_THEKEY0123456789") -> None:
        self.key = key
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.catalogue: Any = {"gpus": CATALOGUE}
        self.echoes = False  # an error repeats what was sent
        super().__init__()

    def answer(self, call: Call) -> Reply:
        if call.headers.get("Authorization") != f"Bearer {self.key}":
            return problem(401, "Unauthorized", "the key is not known")
        if call.path == "/v2/catalog/gpus":
            asked = {"include": ["AVAILABILITY"], "product": ["SERVERLESS"]}
            return Reply(body=self.catalogue) if call.query == asked else problem(422, "Bad query")
        if call.path == "/v2/serverless" and call.method == "POST":
            return self._create(call)
        found = re.fullmatch(r"/v2/serverless/(\w+)(/workers|/releases)?", call.path)
        if not found or found[1] not in self.endpoints:
            return problem(404, "Not Found", "no such endpoint")
        match call.method, found[2]:
            case "GET", None:
                return Reply(body=self.endpoints[found[1]])
            case "GET", "/workers":
                return Reply(body=[{"id": "w1", "status": "IDLE", "gpuTypeId": "NVIDIA H100"}])
            case "GET", "/releases":
                env = self.endpoints[found[1]]["env"]
                return Reply(body={"releases": [{"id": "r1", "workerCount": 1, "env": env}]})
            case "PATCH", None:
                return self._patch(found[1], call)
            case "DELETE", None:
                del self.endpoints[found[1]]
                return Reply(status=204)
            case _:
                return problem(405, "Method Not Allowed")

    def _create(self, call: Call) -> Reply:
        body = call.body
        missing = [n for n in ("name", "type", "scaling") if n not in body]
        if missing:
            return self._refused(422, [f"{name} is required" for name in missing], body)
        if ("gpu" in body) == ("cpu" in body):
            return self._refused(400, ["exactly one of gpu and cpu"], body)
        if "image" not in body and "templateId" not in body:
            return self._refused(400, ["image or templateId"], body)
        if faults := faults_of(body):
            return self._refused(*faults, body)
        made = f"ep{len(self.endpoints) + 1}"
        self.endpoints[made] = {"id": made, **DEFAULTS, **body}
        verbs = {"run": "run", "runSync": "runsync", "status": "status/{id}", "health": "health"}
        urls = {n: f"https://api.runpod.ai/v2/{made}/{verb}" for n, verb in verbs.items()}
        return Reply(status=201, body={**self.endpoints[made], "requestUrls": urls})

    def _patch(self, name: str, call: Call) -> Reply:
        body, before = call.body, self.endpoints[name]
        if "excludedTypes" in body.get("gpu", {}) and "pools" not in body["gpu"]:
            return self._refused(400, ["excludedTypes needs pools"], body)
        after = {**before, **body}  # env among the rest: replaced whole
        gpu = body.get("gpu", {})
        after["gpu"] = {**before.get("gpu", {}), **gpu}
        if "pools" in gpu and "excludedTypes" not in gpu:
            after["gpu"].pop("excludedTypes", None)
        after["gpu"] = {key: value for key, value in after["gpu"].items() if value is not None}
        after["workers"] = {**before.get("workers", {}), **body.get("workers", {})}
        unknown = set(body) - FIELDS
        checked = {key: value for key, value in after.items() if key != "id"} | {
            key: body[key] for key in unknown
        }
        if faults := faults_of(checked):
            return self._refused(*faults, body)
        self.endpoints[name] = after
        return Reply(body=after)

    def _refused(self, status: int, errors: list[str], body: Any) -> Reply:
        detail = f"not accepted: {body}" if self.echoes else "the body is not accepted"
        return problem(status, "Unprocessable", detail, errors)


def problem(status: int, title: str, detail: str = "", errors: list[str] | None = None) -> Reply:
    """An error in the API's form."""
    body = {"title": title, "status": status, "detail": detail, "errors": errors or []}
    return Reply(status=status, body=body)


def faults_of(body: dict[str, Any]) -> tuple[int, list[str]] | None:
    """Status and sentences for a body that is not accepted."""
    unknown = [f"{name}: unknown property" for name in body if name not in FIELDS]
    gpu, scaling, workers = body.get("gpu", {}), body["scaling"], body.get("workers", {})
    unknown += [f"gpu.{name}: unknown property" for name in gpu if name not in GPU]
    env = body.get("env", {})
    unknown += [f"env.{name}: not a string" for name, v in env.items() if not isinstance(v, str)]
    unknown += [f"gpu.pools: unknown {pool}" for pool in gpu.get("pools", []) if pool not in POOLS]
    for name in ("timeout", "disk"):
        value = body.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            unknown.append(f"{name}: not an integer")
    if body.get("flashboot") not in (None, "OFF", "FLASHBOOT"):
        unknown.append("flashboot: unknown value")
    if body.get("type") not in ("QUEUE", "LOAD_BALANCER"):
        unknown.append("type: unknown value")
    if unknown:
        return 422, unknown
    wrong: list[str] = []
    if gpu.get("minCudaVersion") and gpu.get("allowedCudaVersions"):
        wrong.append("minCudaVersion and allowedCudaVersions exclude each other")
    for name in gpu.get("excludedTypes", []):
        if TYPES.get(name) not in gpu.get("pools", []):
            wrong.append(f"excludedTypes: {name} is outside the pools")
    if scaling["type"] == "REQUEST_COUNT" and "idleTimeout" in workers:
        wrong.append("workers.idleTimeout goes with QUEUE_DELAY")
    if workers.get("min", 0) > workers.get("max", 3):
        wrong.append("workers.min is above workers.max")
    return (400, wrong) if wrong else None
