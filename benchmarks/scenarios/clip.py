"""Whole clips, from a request to an MP4: ours beside the baselines, taking turns."""

import argparse
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

from benchmarks.baselines import stock
from benchmarks.baselines.lightricks import Lightricks
from benchmarks.baselines.stock import Stock
from benchmarks.bench import Bench
from benchmarks.card import plan_line
from benchmarks.cost.clip import Costs
from benchmarks.counting import Calls, calls_of
from benchmarks.results import Findings
from benchmarks.timing import Measured, Sample, Stages, in_turns, timed
from ltx2.delivery.file import ToFile
from ltx2.prepare import Prepared
from ltx2.session import execute

BASELINES = ("b0", "b1", "b2", "b3")
KNOWN = "ours, prompt known"
TAILLESS = "ours, not encoded"  # frames are decoded and dropped: what the MP4 adds is the rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument(
        "--against", default="b0,b1", help=f"baselines, by comma: {', '.join(BASELINES)}; or none"
    )
    parser.add_argument("--steps", type=int, help="of a guided pass: fewer than the preset has")
    parser.add_argument("--width", type=int, help="pixels, instead of the scenario's size")
    parser.add_argument("--height", type=int)
    parser.add_argument("--frames", type=int)


def card(bench: Bench) -> dict[str, Any]:
    """The engine, and the plan that is run."""
    plan = _prepared(bench).plan
    return {**bench.weights_card(), "plan": plan_line(plan), "plan_id": plan.id}


def measure(bench: Bench) -> Findings:
    """Ours with a new prompt and with a known one, and every baseline that can run here."""
    found = Findings()
    ceiling = bench.ceiling
    prepared = _prepared(bench)
    ours = Ours(bench, prepared)
    works: dict[str, Measured] = {
        "ours": ours.new_prompt,
        KNOWN: ours.known_prompt,
        TAILLESS: ours.without_tail,
    }
    counted = {"ours": ours.counted()}
    wanted = [] if bench.arguments.against == "none" else bench.arguments.against.split(",")
    if unknown := set(wanted) - set(BASELINES):
        raise ValueError(f"no baselines: {', '.join(unknown)}; there is {', '.join(BASELINES)}")
    baselines: list[Stock | Lightricks] = []
    for name in wanted:
        made, reason = _baseline(name, bench, prepared)
        if made is None:
            found.notes.append(f"{name} did not run: {reason}")
            continue
        baselines.append(made)
        works[name] = made.make
        counted[name] = _counted(bench, prepared, made.make)
    try:
        samples = in_turns(works, bench.arguments.runs, bench.tell)
    finally:
        for each in baselines:
            each.close()
    costs = Costs.of(bench.engine, prepared.plan).stages(prepared.plan)
    steps = sum(part.steps for part in prepared.plan.passes.values())
    found.facts = {
        "ceiling_tflops": ceiling / 1e12,
        "floor_seconds": {name: work.seconds(ceiling) for name, work in costs.items()},
        "work_tflop": {name: work.total / 1e12 for name, work in costs.items()},
    }
    for name, runs in samples.items():
        row = found.add(name, runs)
        if name in counted:
            row |= counted[name].per_step(steps)
        done = dict(found.facts["floor_seconds"])
        if name == KNOWN:
            del done["prompt"]
        row["mfu"] = sum(done.values()) / row["seconds"]["median"]
        stages = row["stages"]
        row["mfu_by_stage"] = {
            stage: seconds / stages[stage]["median"]
            for stage, seconds in done.items()
            if stage in stages and stages[stage]["median"]
        }
    for name in samples:
        if name != "ours":
            found.compare("ours", name)
    return found


def _prepared(bench: Bench) -> Prepared:
    """The scenario's request, prepared."""
    given = bench.arguments
    fields = dict(given.fields)
    own = {"width": given.width, "height": given.height, "num_frames": given.frames}
    if any(own.values()):
        fields = {name: value for name, value in own.items() if value}
    if given.steps and given.mode == "pro":
        fields["num_inference_steps"] = given.steps
    if given.picture:
        fields["image"] = bench.picture()
    return bench.prepared(mode=given.mode, **fields)


class Ours:
    """This project's whole flow, as the command and the worker take it."""

    def __init__(self, bench: Bench, prepared: Prepared) -> None:
        self._engine = bench.engine
        self._prepared = prepared
        self._target = bench.scratch / "ours.mp4"
        self._number = 0
        self._transformer = f"transformer:{prepared.plan.base.variant}"

    def new_prompt(self) -> Sample:
        """A clip of words that were not encoded before."""
        self._number += 1
        return self._make(f"{self._prepared.request.prompt} {self._number}")

    def known_prompt(self) -> Sample:
        """The same clip once more."""
        return self._make(self._prepared.request.prompt)

    def without_tail(self) -> Sample:
        """A clip of a new prompt up to its frames."""
        self._number += 1
        prompt = f"{self._prepared.request.prompt} {self._number}"
        report = Stages(self._engine.components.device)
        plan = replace(self._prepared.plan, prompt=prompt)

        def decoded() -> None:
            clip = self._engine.run(plan, self._prepared.inputs, report)
            with closing(clip.frames), report.stage("decode+encode"):
                for _ in clip.frames:
                    pass

        whole = timed(report.device, decoded)
        return Sample(seconds=whole.seconds, stages=report.timings, peaks=report.peaks)

    def counted(self) -> Calls:
        """Forwards and rows of a clip; it also warms up."""
        self.new_prompt()
        with calls_of(self._engine.components.part(self._transformer)) as calls:
            self.new_prompt()
        return calls

    def _make(self, prompt: str) -> Sample:
        report = Stages(self._engine.components.device)
        prepared = replace(
            self._prepared,
            request=self._prepared.request.model_copy(update={"prompt": prompt}),
            plan=replace(self._prepared.plan, prompt=prompt),
        )
        whole = timed(
            report.device,
            lambda: execute(
                prepared, engine=self._engine, deliver=ToFile(self._target), progress=report
            ),
        )
        return Sample(seconds=whole.seconds, stages=report.timings, peaks=report.peaks)


def _baseline(name: str, bench: Bench, prepared: Prepared) -> tuple[Stock | Lightricks | None, str]:
    """A baseline, or the reason why there is none."""
    target = bench.scratch / f"{name}.mp4"
    if name == "b3":
        reason = Lightricks.missing(bench.engine, prepared)
        return (None, reason) if reason else (Lightricks(bench.engine, prepared, target), "")
    kind = stock.KINDS[name]
    if reason := stock.missing(kind, bench.engine, prepared):
        return None, reason
    return Stock(kind, bench.engine, prepared, target), ""


def _counted(bench: Bench, prepared: Prepared, make: Callable[[], Any]) -> Calls:
    name = f"transformer:{prepared.plan.base.variant}"
    with calls_of(bench.engine.components.part(name)) as calls:
        make()
    return calls
