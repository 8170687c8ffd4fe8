"""What it costs to switch a LoRA, to load it anew, and to fuse it instead of computing beside it.

Three questions, each answered in one process with what is compared taking turns:

switch   a job with another LoRA: both stay loaded and only strengths change, against taking it off
         and loading it from its file (which is in the page cache: a cold disk adds its own time)
refine   the refine pass of `pro` without a LoRA, with its distilled LoRA computed beside the
         weights as the engine does, and with that LoRA fused into them; each with the device idle
         at both ends
fuse     what fusing and undoing it cost by themselves: a new weight for every layer, and the kept
         one put back, which is exact and takes the memory of those layers a second time

With drawn weights there is one LoRA, the distilled one, so that only the first is answered.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer

import ltx2
from benchmarks.bench import Bench
from benchmarks.results import Findings
from benchmarks.timing import Sample, Stages, timed, wait
from ltx2.planner import plan
from ltx2.prepare import prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its engine has what `pro` needs."""
    parser.set_defaults(mode="pro")


def measure(bench: Bench) -> Findings:
    """Seconds of each, and how they compare."""
    found = bench.found
    runs = bench.arguments.runs
    results = _switching(bench.engine, runs, drawn=bench.random)
    if bench.random:
        found.notes.append("fusing was not run: full-size weights are not there a second time")
    else:
        results |= _fusing(bench.engine, runs)
    for name, seconds in results.items():
        found.add(name, [Sample(seconds=each) for each in seconds])
    for name, other in (
        ("load anew", "switch"),
        ("refine, beside", "refine, without"),
        ("refine, fused", "refine, without"),
    ):
        found.compare(name, other)
    return found


def _request(engine: "ltx2.Engine", **fields: Any) -> "ltx2.Request":  # noqa: ANN401 - its fields
    """A small clip; what is measured does not depend on its words."""
    shape = {"width": 128, "height": 64, "num_frames": 17} if engine.checkpoint.embedded else {}
    return ltx2.Request(prompt="a lighthouse at dusk", seed=7, **{**shape, **fields})


def _switching(engine: "ltx2.Engine", runs: int, *, drawn: bool) -> dict[str, list[float]]:
    """Another LoRA for the next pass: resident, and loaded anew.

    Two camera moves where the model has them and files are read, else the distilled LoRA and none.
    """
    if engine.checkpoint.generation.camera_loras and not drawn:
        passes = [
            plan(_request(engine, camera_motion=move), checkpoint=engine.checkpoint).base
            for move in ("dolly_in", "jib_up")
        ]
    else:
        decided = plan(_request(engine, mode="pro"), checkpoint=engine.checkpoint)
        passes = [part for part in (decided.refine, decided.base) if part is not None]
    components = engine.components
    found: dict[str, list[float]] = {"switch": [], "load anew": []}

    def switch(turn: int) -> None:
        part = passes[turn % 2]
        with components.using_transformer(part.variant, part.adapters):
            wait(components.device)

    for turn in range(2):  # both are loaded, and the transformer with them
        switch(turn)
    for turn in range(runs):
        found["switch"].append(timed(components.device, lambda: switch(turn)).seconds)  # noqa: B023
    for turn in range(runs):
        components.drop_adapters()
        anew = timed(components.device, lambda: switch(2 * turn))  # noqa: B023
        found["load anew"].append(anew.seconds)
    return found


def _fusing(engine: "ltx2.Engine", runs: int) -> dict[str, list[float]]:
    """The refine pass of `pro` in three ways, taking turns, and the price of the third."""
    prepared = prepare(
        _request(engine, mode="pro", num_inference_steps=1),
        checkpoint=engine.checkpoint,
        limits=engine.limits,
        media=engine.media_limits,
    )
    beside = prepared.plan
    if beside.refine is None:
        raise RuntimeError("the request's plan has no refine pass")
    without = replace(beside, refine=replace(beside.refine, adapters=()))
    names = ("refine, without", "refine, beside", "refine, fused", "fuse", "undo")
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(runs + 1):
        seconds = [
            _refine_seconds(engine, without, prepared.inputs),
            _refine_seconds(engine, beside, prepared.inputs),
            *_fused_seconds(engine, beside, without, prepared.inputs),
        ]
        if turn:  # the first of each warms up
            for name, value in zip(names, seconds, strict=True):
                found[name].append(value)
    return found


def _fused_seconds(
    engine: "ltx2.Engine",
    beside: Any,  # noqa: ANN401 - a plan
    without: Any,  # noqa: ANN401
    inputs: Any,  # noqa: ANN401
) -> tuple[float, float, float]:
    """Seconds of the pass with its LoRAs in the weights, of putting them there, and of undoing."""
    components, part = engine.components, beside.refine
    with components.using_transformer(part.variant, part.adapters) as transformer:
        layers = [each for each in transformer.modules() if isinstance(each, LoraLayer)]
        kept = [each.get_base_layer().weight for each in layers]
        wait(components.device)
        started = time.perf_counter()
        changed = [_fused(each) for each in layers]
    try:
        _put(layers, changed)
        wait(components.device)
        fuse = time.perf_counter() - started
        fused = _refine_seconds(engine, without, inputs)
    finally:
        wait(components.device)
        started = time.perf_counter()
        _put(layers, kept)
        wait(components.device)
        undo = time.perf_counter() - started
    return fused, fuse, undo


@torch.no_grad()
def _fused(layer: LoraLayer) -> torch.nn.Parameter:
    """The weight of a layer with its active adapters."""
    weight = cast("torch.nn.Linear", layer.get_base_layer()).weight
    linear = cast("LoraLinear", layer)
    changes = [LoraLinear.get_delta_weight(linear, name) for name in linear.active_adapters]
    return torch.nn.Parameter(sum(changes, start=weight.detach()), requires_grad=False)


def _put(layers: Sequence[LoraLayer], weights: Sequence[Any]) -> None:
    for layer, weight in zip(layers, weights, strict=True):
        layer.get_base_layer().weight = weight


def _refine_seconds(
    engine: "ltx2.Engine",
    plan: Any,  # noqa: ANN401
    inputs: Any,  # noqa: ANN401
) -> float:
    """The refine pass of a clip whose frames are not decoded."""
    report = Stages(engine.components.device)
    engine.run(plan, inputs, report).frames.close()
    return report.timings["refine"]
