"""Whole clips, from a request to an MP4: ours beside the baselines, taking turns."""

import argparse
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.baselines import stock
from benchmarks.baselines.lightricks import Lightricks
from benchmarks.baselines.stock import Stock
from benchmarks.bench import Bench, Unmeasurable
from benchmarks.card import plan_line
from benchmarks.cost.clip import Costs
from benchmarks.cost.work import Work
from benchmarks.counting import Calls, calls_of
from benchmarks.results import Findings
from benchmarks.timing import Measured, Sample, Stages, timed
from benchmarks.turns import Samples
from ltx2.delivery.file import ToFile
from ltx2.engine import Engine
from ltx2.prepare import Prepared
from ltx2.session import execute

BASELINES = ("b0", "b1", "b2", "b3")
COUNTED = ("ours", "b0", "b1", "b2")  # b3's transformer is its own
DENOISING = ("base", "refine")
KNOWN = "ours, prompt known"
TAILLESS = "ours, not encoded"  # frames are decoded and dropped: what the MP4 adds is the rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument(
        "--against", default="b0,b1", help=f"baselines, by comma: {', '.join(BASELINES)}; or none"
    )
    parser.add_argument("--once", help="baselines, by comma, that have one counted run")
    parser.add_argument("--steps", type=int, help="of a guided pass: fewer than the preset has")
    parser.add_argument("--width", type=int, help="pixels, instead of the scenario's size")
    parser.add_argument("--height", type=int)
    parser.add_argument("--frames", type=int)


def card(bench: Bench) -> dict[str, Any]:
    """The engine, the plan that is run, and how it differs from the scenario's own."""
    plan = _prepared(bench).plan
    card = {**bench.weights_card(), "plan": plan_line(plan), "plan_id": plan.id}
    changed = _changed(plan, _prepared(bench, own=True).plan)
    return {**card, "changed": changed} if changed else card


def _changed(plan: Any, own: Any) -> str:  # noqa: ANN401 - plans
    """Size, and steps of a pass, where they are not the scenario's own; empty where they are."""
    size, usual = (f"{each.width}x{each.height}x{each.num_frames}" for each in (plan, own))
    steps = [
        f"{name} {part.steps} steps"
        for name, part in plan.passes.items()
        if name not in own.passes or part.steps != own.passes[name].steps
    ]
    return ", ".join([*([size] if size != usual else []), *steps])


def measure(bench: Bench) -> Findings:
    """Ours with a new prompt and with a known one, and every baseline that can run here."""
    prepared = _prepared(bench)
    ours = Ours(bench, prepared)
    works: dict[str, Measured] = {
        "ours": ours.new_prompt,
        KNOWN: ours.known_prompt,
        TAILLESS: ours.without_tail,
    }
    needed = set(works)
    told = Told.of(bench, prepared)
    with ExitStack() as made:
        for name in _wanted(bench):
            if baseline := _baseline(name, bench, prepared):
                made.enter_context(closing(baseline))
                works[name] = baseline.make
        once = bench.arguments.once.split(",") if bench.arguments.once else ()
        bench.turns.take(works, told.show, needed=needed, warm_up=told.warm_up, once=once)
    return bench.found


@dataclass(kw_only=True)
class Told:
    """What is written down of a clip: its floor, and each row with its share of the ceiling."""

    found: Findings
    ceiling: float  # operations a second
    work: Mapping[str, Work]  # by stage
    steps: int  # of all passes
    engine: Engine
    transformer: str
    counted: dict[str, Calls] = field(default_factory=dict)

    @classmethod
    def of(cls, bench: Bench, prepared: Prepared) -> "Told":
        """Of a scenario's clip; the findings get its facts."""
        plan = prepared.plan
        costs = Costs.of(bench.engine, plan)
        told = cls(
            found=bench.found,
            ceiling=bench.ceiling,
            work=costs.stages(plan),
            steps=sum(part.steps for part in plan.passes.values()),
            engine=bench.engine,
            transformer=f"transformer:{plan.base.variant}",
        )
        told.found.facts = {
            "ceiling_tflops": told.ceiling / 1e12,
            "floor_seconds": told.floor,
            "work_tflop": {name: work.total / 1e12 for name, work in told.work.items()},
            "tiled_decode_tflop": costs.tiled_decode(plan).total / 1e12,
        }
        return told

    @property
    def floor(self) -> dict[str, float]:
        """Seconds of each stage at the ceiling."""
        return {name: work.seconds(self.ceiling) for name, work in self.work.items()}

    def warm_up(self, name: str, work: Measured) -> Sample:
        """The run that is not timed is the one in which calls are counted."""
        if name not in COUNTED:
            return work()
        with calls_of(self.engine.components.part(self.transformer)) as calls:
            sample = work()
        self.counted[name] = calls
        return sample

    def show(self, samples: Samples) -> None:
        """Rows and ratios as they stand."""
        for name, runs in samples.items():
            calls = self.counted.get(name)
            row = self.found.put(name, runs, **(calls.per_step(self.steps) if calls else {}))
            floor = self.floor
            if name == KNOWN:
                del floor["prompt"]
            row["mfu"] = sum(floor.values()) / row["seconds"]["median"]
            medians = {stage: each["median"] for stage, each in row["stages"].items()}
            row["mfu_by_stage"] = {
                stage: seconds / medians[stage]
                for stage, seconds in floor.items()
                if medians.get(stage)
            }
            if passes := [stage for stage in DENOISING if stage in medians]:
                row["denoise_seconds"] = sum(medians[stage] for stage in passes)
                least = sum(floor[stage] for stage in passes)
                row["denoise_mfu"] = least / row["denoise_seconds"]
        for name in samples:
            if name != "ours":
                self.found.compare("ours", name)


def _wanted(bench: Bench) -> list[str]:
    """The baselines that are asked for."""
    against = bench.arguments.against
    wanted = [] if against == "none" else against.split(",")
    if unknown := set(wanted) - set(BASELINES):
        raise Unmeasurable(f"no baselines: {', '.join(unknown)}; there is {', '.join(BASELINES)}")
    return wanted


def _prepared(bench: Bench, *, own: bool = False) -> Prepared:
    """The scenario's request, prepared: as the arguments change it, or its `own`."""
    given = bench.arguments
    fields = dict(given.fields)
    size = {"width": given.width, "height": given.height, "num_frames": given.frames}
    if any(size.values()) and not own:
        fields = {name: value for name, value in size.items() if value}
    if given.steps and given.mode == "pro" and not own:
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
        return report.sample(whole.seconds)

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
        return report.sample(whole.seconds)


def _baseline(name: str, bench: Bench, prepared: Prepared) -> Stock | Lightricks | None:
    """A baseline; None, with a note, where there is a reason against it or it cannot be built."""
    target = bench.scratch / f"{name}.mp4"
    stocks = name != "b3"
    reason = (
        stock.missing(stock.KINDS[name], bench.engine, prepared)
        if stocks
        else Lightricks.missing(bench.engine, prepared)
    )
    if not reason:
        try:
            if stocks:
                return Stock(stock.KINDS[name], bench.engine, prepared, target)
            return Lightricks(bench.engine, prepared, target)
        except Exception as error:  # noqa: BLE001 - somebody else's code must not cost us our own rows
            reason = f"{type(error).__name__}: {error}"
    bench.found.notes.append(f"{name} did not run: {reason}")
    return None
