"""Loading before the first job: what a mode uses, several parts at once, and a clip to warm up."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from ltx2.errors import ConfigError, Ltx2Error
from ltx2.fit import Decision, reference_plan
from ltx2.planner import plan as decide
from ltx2.progress import Progress
from ltx2.request import Request
from pipelines.plan import Mode, Plan, Variant
from pipelines.residency import home
from pipelines.values import Inputs

if TYPE_CHECKING:
    from ltx2.engine import Engine

logger = logging.getLogger(__name__)

# The largest first: what is read beside it then costs no time of its own.
LARGE = ("transformer", "text_encoder")
WARM_STEPS = 2  # of a guided pass
SMALLEST = {"width": 128, "height": 128, "num_frames": 9}


def preload(engine: "Engine", modes: Sequence[Mode] = ("fast",)) -> dict[str, float]:
    """Load what a usual clip of these modes uses to where it lives between clips; seconds by part.

    Parts that live nowhere between clips are left out, and where only one transformer stays loaded,
    that of the first mode is taken. Raises ConfigError with everything that cannot be loaded, and
    OutOfMemory.
    """
    from ltx2.engine import translated

    components = engine.components
    plans = [_usual(engine, mode) for mode in dict.fromkeys(modes)]
    if not components.keeps_variants:
        for left in plans[1:]:
            logger.info("mode %s loads with its first clip: one transformer is kept", left.mode)
        plans = plans[:1]
    names = dict.fromkeys(name for plan in plans for name in _staying(engine, plan))
    ordered = sorted(names, key=lambda name: name.partition(":")[0] not in LARGE)
    try:
        seconds = components.load_together(ordered)
    except ExceptionGroup as errors:
        raise _one_error(errors.exceptions, plans[0]) from errors
    for plan in plans:
        for part in (plan.base, plan.refine):
            if part is None or home(components.residency, "transformer") != "device":
                continue  # elsewhere the weights of a LoRA move with the transformer, once a use
            began = time.monotonic()
            with translated(plan), components.using_transformer(part.variant, part.adapters):
                pass
            for adapter in part.adapters:
                name = f"lora:{adapter.source}"
                seconds[name] = seconds.get(name, 0.0) + time.monotonic() - began
    return seconds


def warm(engine: "Engine", mode: Mode = "fast") -> float:
    """Make a clip of a mode without keeping or writing it; seconds.

    The smallest one, with parts where they are: how it would run best says nothing of the next one.
    Where blocks are compiled for each shape, one of the usual size, placed as such a clip is.
    """
    began = time.monotonic()
    usual = engine.components.levers.blocks == "compiled"
    plan = _warming(engine, mode, {} if usual else SMALLEST)
    decision = Decision(
        plan=plan,
        residency=engine.components.residency,
        reason="it warms up where parts are",
        forecast=None,
    )
    clip = engine.run(plan, Inputs(), Progress(), None if usual else decision)
    with closing(clip.frames):
        for _ in clip.frames:
            pass
    return time.monotonic() - began


def _warming(engine: "Engine", mode: Mode, size: Mapping[str, int]) -> Plan:
    steps = {"num_inference_steps": WARM_STEPS} if mode == "pro" else {}
    upscaled = engine.components.weights.has("spatial_upscaler")
    wanted = {"prompt": "warm up", "seed": 0, "mode": mode, "spatial_upscaler": upscaled}
    return decide(Request.parse({**wanted, **size, **steps}), checkpoint=engine.checkpoint)


def _usual(engine: "Engine", mode: Mode) -> Plan:
    plan = reference_plan(engine.checkpoint, engine.components.weights, mode)
    if missing := engine.components.weights.missing(mode, plan.wanted_parts):
        raise ConfigError(f"{mode} needs files that are not there: {', '.join(missing)}")
    return plan


def _staying(engine: "Engine", plan: Plan) -> list[str]:
    """The parts of a plan that live somewhere between clips, by name."""
    variant: Variant = plan.base.variant
    names = [
        f"transformer:{variant}",
        "text_encoder",
        "tokenizer",
        f"connectors:{variant}",
        *(part for part in plan.wanted_parts if part.endswith("_upscaler")),
        *(("audio_vae", "vocoder") if plan.audio_from else ()),
        "vae",
    ]
    return [name for name in names if home(engine.components.residency, name) != "disk"]


def _one_error(errors: Sequence[Exception], plan: Plan) -> Exception:
    """One error of this project for all that could not be loaded. Raises a fault of the program."""
    from ltx2.engine import translated

    known: list[Ltx2Error] = []
    for error in errors:
        try:
            with translated(plan):
                raise error
        except ConfigError as found:
            known.append(found)
        except Ltx2Error as found:
            return found
        except OSError as found:
            known.append(ConfigError(str(found)))
    return ConfigError("; ".join(dict.fromkeys(str(error) for error in known)))
