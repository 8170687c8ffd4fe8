"""The scenarios by name: what each measures, and the fields of the request that it makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A row: its module under `benchmarks.scenarios`, and arguments that it fixes."""

    name: str
    module: str
    says: str
    request: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def _clips() -> list[Scenario]:
    """Whole clips: the checkpoint's own size, and the usual sizes and lengths."""
    rows = []
    sizes: list[tuple[str, dict[str, Any]]] = [("", {})]
    sizes += [
        (f"_{resolution}_{seconds}s", {"resolution": resolution, "duration": seconds})
        for resolution, seconds in product(("720p", "1080p"), (5, 10))
    ]
    for mode, (suffix, fields), task in product(("fast", "pro"), sizes, ("", "_i2v")):
        what = "image to video" if task else "text to video"
        where = f"{fields['resolution']}, {fields['duration']} s" if fields else "its default clip"
        rows.append(
            Scenario(
                name=f"{mode}{suffix}{task}",
                module="clip",
                says=f"{mode}, {what}, {where}, beside the baselines",
                request={"mode": mode, "fields": fields, "picture": bool(task)},
            )
        )
    return rows


SCENARIOS = {
    row.name: row
    for row in (
        Scenario(name="ceilings", module="ceilings", says="what the device can do at best"),
        Scenario(name="forward", module="forward", says="one denoising step, by size and guidance"),
        Scenario(name="stages", module="stages", says="each part by itself"),
        *_clips(),
        Scenario(name="tail", module="tail", says="frames to an MP4, beside diffusers' encoder"),
        Scenario(name="coldstart", module="coldstart", says="a new process to its first clip"),
        Scenario(name="lora_switch", module="lora_switch", says="another LoRA, and fusing one"),
        Scenario(
            name="batch",
            module="batch",
            says="clips a minute, with all cores or GPUs",
        ),
        Scenario(name="soak", module="soak", says="many jobs through one worker: nothing grows"),
        Scenario(name="gateway_load", module="gateway", says="many clients of one gateway"),
    )
}
