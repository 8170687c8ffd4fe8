"""What each correction is worth: the reference's cases with one correction taken away.

    python -m tests.parity.effects

Prints a row per correction and generation: the error against the reference as it is and without the
correction, as max |ours - reference| in units of max(1, std(reference)). Random weights: a size
says "different", not "visible".
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from pipelines import sigmas
from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.geometry import video_tokens
from pipelines.models import GENERATIONS
from pipelines.plan import DenoisePlan
from pipelines.stages import denoise as stage
from pipelines.stages.condition import place
from pipelines.values import Latents
from tests.parity import maker
from tests.parity import test_graphs as graphs
from tests.parity.cases import VERSIONS, Case, load


@dataclass(frozen=True)
class Without:
    """A correction to take away.

    A name of the denoise stage and what stands in for it, or a change of the plan.
    """

    name: str
    case: str
    versions: tuple[str, ...] = VERSIONS
    attribute: str = ""
    instead: Any = None
    plan: Callable[[DenoisePlan], DenoisePlan] = lambda plan: plan


@contextmanager
def other_level(transformer: torch.nn.Module) -> Iterator[None]:
    """Stock `use_cross_timestep=True`: scale, shift and gate from the other stream."""

    def choose(
        _module: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "use_cross_timestep": True}

    hook = transformer.register_forward_pre_hook(choose, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def shifted_again(plan: DenoisePlan, device: torch.device) -> FlowMatchEulerDiscreteScheduler:
    """The scheduler as the repositories configure it."""
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, shift_terminal=0.1
    )
    tokens = video_tokens(plan.width, plan.height, plan.frames)
    scheduler.set_timesteps(
        sigmas=list(plan.sigmas[:-1]), device=device, mu=0.95 + (tokens - 1024) * 1.1 / 3072
    )
    return scheduler


def real_tokens(plan: DenoisePlan) -> DenoisePlan:
    """The guided schedule from the clip's own token count."""
    table = sigmas.shifted(plan.steps, video_tokens(plan.width, plan.height, plan.frames))
    return replace(plan, sigmas=table, noise_scale=table[0])


CORRECTIONS = (
    Without(
        "gate: both from the own stream", "i2v_strength1", attribute="cross_modal_gate",
        instead=nullcontext,
    ),
    Without(
        "gate: both from the other", "i2v_strength1", attribute="cross_modal_gate",
        instead=other_level,
    ),
    Without(
        "first-frame marker", "t2v_distilled", ("2.5",), attribute="first_frame_marker",
        instead=lambda *_: None,
    ),
    Without(
        "held tokens at their own sigma", "i2v_strength08", attribute="to_x0",
        instead=lambda sample, velocity, sigma, _mask: sample - velocity * sigma,
    ),
    Without("static schedule", "t2v_distilled", attribute="static_schedule", instead=shifted_again),
    Without("one guided schedule for all sizes", "t2v_guided", plan=real_tokens),
    Without("STG pass", "t2v_guided", plan=lambda plan: replace(
        plan,
        video_guidance=replace(plan.video_guidance, stg=0.0),
        audio_guidance=replace(plan.audio_guidance, stg=0.0),
    )),
    Without("picture through the codec", "i2v_strength1", plan=lambda plan: replace(
        plan, conditions=tuple(replace(condition, crf=0) for condition in plan.conditions)
    )),
    Without("camera LoRA", "t2v_lora_camera_10", plan=lambda plan: replace(plan, adapters=())),
)  # fmt: skip


def error(case: Case, latents: Latents) -> float:
    """The larger error of both streams, relative to max(1, std)."""
    return max(
        float((ours - case[name]).abs().max()) / max(1.0, float(case[name].std()))
        for name, ours in (("out_video", latents.video), ("out_audio", latents.audio))
    )


def run(model: Components, case: Case, plan: DenoisePlan) -> float:
    """The error of one pass."""
    placed = place(model, plan, graphs.inputs(case)) if plan.conditions else ()
    return error(case, graphs.run(model, case, plan, placed=placed))


def main() -> None:
    """Print the table."""
    dev = {"2.0": "ltx-2-19b-dev", "2.3": "ltx-2.3-22b-dev", "2.5": "ltx-2.5-22b-dev"}
    print(f"{'without':34}{'case':20}{'LTX-':6}{'as it is':>10}{'without':>10}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for version in VERSIONS:
            for file in maker.files_of(version):
                maker.write(folder, file)
            weights = replace(
                find(folder / f"{dev[version]}.safetensors"), text_width=graphs.TEXT_WIDTH
            )
            model = Components(weights, find_adapter=lambda adapter: folder / adapter.source)
            generation = replace(GENERATIONS[version], stg_blocks=(graphs.STG_BLOCK,))
            for row in CORRECTIONS:
                if version in row.versions:
                    case = load(version, row.case)
                    plan = graphs.base_plan(case, generation)
                    right = run(model, case, plan)
                    kept = getattr(stage, row.attribute, None)
                    if row.attribute:
                        setattr(stage, row.attribute, row.instead)
                    try:
                        wrong = run(model, case, row.plan(plan))
                    finally:
                        if row.attribute:
                            setattr(stage, row.attribute, kept)
                    print(f"{row.name:34}{row.case:20}{version:6}{right:10.0e}{wrong:10.0e}")


if __name__ == "__main__":
    main()
