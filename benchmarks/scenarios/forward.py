"""One denoising step at a time: by size, guidance and levers, beside others' transformers' calls.

Ours is the time between the ends of a pass's steps, so that what a pass sets up once, in its first
step, is none of it; the stock transformer and Lightricks' own, which has our weights, are called as
often, one call after the other.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from benchmarks import levers
from benchmarks.baselines import lightricks_parts
from benchmarks.baselines.stock import widened
from benchmarks.bench import Bench, Unmeasurable
from benchmarks.cost.clip import Costs, cells
from benchmarks.counting import Calls, calls_of
from benchmarks.levers import Chosen
from benchmarks.results import Findings
from benchmarks.timing import Measured, Sample, Stages, timed, wait
from benchmarks.turns import Samples
from ltx2.prepare import Prepared

# Sizes on the grid of 32, both passes of the usual clips; and those of the toy.
LADDER = ((640, 352, 121), (960, 544, 121), (1280, 704, 121), (1920, 1088, 121))
TOY_LADDER = ((160, 96, 49), (320, 192, 49))
STEPS = 3  # between ends of steps, in a measured pass that has one more
GUIDED = {"cfg": {"cfg": 3.0}, "stg": {"stg": 1.0}, "isolated": {"modality": 3.0}}
LIGHTRICKS = "lightricks"
CALLED = ("stock", "stock_picture", LIGHTRICKS)  # of somebody else's: the transformer's call alone
KINDS = ("plain", "stock", LIGHTRICKS, "picture", "stock_picture", *GUIDED)
# Ratios that are told where both were measured.
PAIRS = (
    ("plain", "stock"),
    ("plain", LIGHTRICKS),
    ("picture", "stock_picture"),
    ("picture", "plain"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A size in pixels and frames, what is done at it, and with which levers."""

    width: int
    height: int
    frames: int
    kind: str  # one of KINDS
    chosen: Chosen

    @property
    def name(self) -> str:
        """In the table."""
        return self.chosen.row(f"{self.kind} {self.width}x{self.height}x{self.frames}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument(
        "--kinds",
        help=f"of {', '.join(KINDS)}, by comma; default all, {LIGHTRICKS} where it is installed",
    )
    parser.add_argument("--sizes", help="WIDTHxHEIGHTxFRAMES, by comma; default the usual ladder")
    levers.add_argument(parser)


def measure(bench: Bench) -> Findings:
    """Seconds a step, with its work and its share of the measured ceiling."""
    bench.found.facts = {"ceiling_tflops": bench.ceiling / 1e12}
    kinds = _kinds(bench)
    sets = levers.chosen(bench.arguments.levers, bench.engine)
    for width, height, frames in _sizes(bench):
        _measure_size(
            bench,
            [
                Rung(width=width, height=height, frames=frames, kind=kind, chosen=each)
                for kind in kinds
                for each in (sets[:1] if kind in CALLED else sets)
            ],
        )
    return bench.found


def _kinds(bench: Bench) -> list[str]:
    """What was asked for, or all that can be measured; a note tells of stock calls left out.

    Raises Unmeasurable where something asked for cannot be.
    """
    asked = bench.arguments.kinds
    kinds = list(KINDS) if asked is None else asked.split(",")
    if unknown := set(kinds) - set(KINDS):
        raise Unmeasurable(f"no kinds: {', '.join(unknown)}; there is {', '.join(KINDS)}")
    theirs = lightricks_parts.missing(bench.engine, "transformer")
    stock = widened(bench.engine, "distilled")
    reasons = {kind: theirs if kind == LIGHTRICKS else stock for kind in CALLED}
    out = [kind for kind in kinds if reasons.get(kind)]
    if asked is not None and out:
        raise Unmeasurable("; ".join(f"{kind}: {reasons[kind]}" for kind in out))
    bench.found.notes += [f"{kind} did not run: {stock}" for kind in out if kind != LIGHTRICKS]
    return [kind for kind in kinds if kind not in out]


def _measure_size(bench: Bench, rungs: list[Rung]) -> None:
    """All that is done at one size, in turns."""
    found = bench.found
    works: dict[str, Measured] = {}
    steps: dict[str, Step] = {}
    facts: dict[str, dict[str, Any]] = {}
    for rung in rungs:
        step = steps[rung.name] = Step(bench, rung)
        works[rung.name] = step.called if rung.kind in CALLED else step.ours
        tokens = cells(rung.frames, rung.height, rung.width)
        facts[rung.name] = {
            "tokens": tokens[0] * tokens[1] * tokens[2],
            "tflop": Costs.of(bench.engine, step.plan).step(step.plan.base).total / 1e12,
        }

    def warm_up(name: str, work: Measured) -> Sample:
        with calls_of(steps[name].transformer) as calls:
            sample = work()
        facts[name] |= steps[name].per_step(calls) | steps[name].difference()
        return sample

    def show(samples: Samples) -> None:
        for name, runs in samples.items():
            row = found.put(name, runs, **facts[name])
            row["mfu"] = row["tflop"] * 1e12 / row["seconds"]["median"] / bench.ceiling
        usual = {rung.kind: rung.name for rung in rungs if not rung.chosen.name}
        for one, other in PAIRS:
            if one in usual and other in usual:
                found.compare(usual[one], usual[other])
        for rung in rungs:
            if rung.chosen.name:
                found.compare(rung.name, usual[rung.kind])

    ours = {rung.name for rung in rungs if rung.kind not in CALLED}
    bench.turns.take(works, show, needed=ours, warm_up=warm_up)


def _sizes(bench: Bench) -> Iterator[tuple[int, int, int]]:
    if bench.arguments.sizes is None:
        yield from TOY_LADDER if bench.engine.checkpoint.embedded else LADDER
        return
    for text in bench.arguments.sizes.split(","):
        numbers = text.split("x")
        if len(numbers) != 3 or not all(each.isdigit() for each in numbers):
            raise Unmeasurable(f"--sizes: {text!r} is not WIDTHxHEIGHTxFRAMES")
        width, height, frames = map(int, numbers)
        yield width, height, frames


def _prepared(bench: Bench, rung: Rung) -> Prepared:
    """One pass of a few steps at that size, without a second one."""
    picture = {"image": bench.picture()} if "picture" in rung.kind else {}
    prepared = bench.prepared(
        mode="fast",
        width=rung.width,
        height=rung.height,
        num_frames=rung.frames,
        spatial_upscaler=False,
        **picture,
    )
    plan = prepared.plan
    sigmas = (*plan.base.sigmas[: STEPS + 1], 0.0)
    base = replace(plan.base, sigmas=sigmas, sampler="euler", eta=0.0)
    if rung.kind in GUIDED:
        guidance = replace(base.video_guidance, **GUIDED[rung.kind])
        blocks = bench.engine.checkpoint.generation.stg_blocks
        base = replace(base, video_guidance=guidance, audio_guidance=guidance, stg_blocks=blocks)
        plan = replace(plan, negative_prompt="worst quality")
    return replace(prepared, plan=replace(plan, base=base))


class Ends(Stages):
    """A progress that notes when each step of a pass has ended, on a GPU without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._ends: list[Any] = []

    def step(self) -> None:
        """A step of the stage is done."""
        if self._open[-1:] == ["base"]:
            self._ends.append(_moment(self.device))
        super().step()

    def between(self) -> list[float]:
        """Seconds from each end to the next."""
        wait(self.device)
        return [
            one.elapsed_time(other) / 1e3 if self.device.type == "cuda" else other - one
            for one, other in zip(self._ends[:-1], self._ends[1:], strict=True)
        ]


def _moment(device: torch.device) -> Any:  # noqa: ANN401 - an event of the device, or seconds
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


class Step:
    """A denoising step: through the product's pass, or a transformer's call as others make it."""

    def __init__(self, bench: Bench, rung: Rung) -> None:
        self._engine = bench.engine
        self._rung = rung
        self._prepared = _prepared(bench, rung)
        self.plan: Any = self._prepared.plan
        self._ours = bench.engine.components.part("transformer:distilled")

    @property
    def transformer(self) -> nn.Module:
        """What is called."""
        return self._theirs.model if self._rung.kind == LIGHTRICKS else self._ours

    def ours(self) -> Sample:
        """A pass's seconds between the ends of its steps; frames are not decoded."""
        report = Ends(self._engine.components.device)
        with self._rung.chosen.pulled(self._engine):
            clip = self._engine.run(self.plan, self._prepared.inputs, report)
            clip.frames.close()
        step = statistics.median(report.between())
        whole = report.timings["base"]
        return Sample(
            seconds=step,
            stages={"set-up of the pass": max(0.0, whole - step * self.plan.base.steps)},
            peaks={"base": report.peaks["base"]},
            reserved=report.reserved or None,
        )

    def called(self) -> Sample:
        """A call as the stock pipelines or Lightricks' make it; of several, one after the other."""
        call = self._call()

        def calls() -> None:
            for _ in range(STEPS):
                call()

        with torch.no_grad():
            whole = timed(self._engine.components.device, calls)
        return replace(whole, seconds=whole.seconds / STEPS)

    def difference(self) -> dict[str, float]:
        """How far Lightricks' result is off the stock call's, which has the same weights: the norm
        of the difference as a share of the result's, of the worse stream.
        """
        if self._rung.kind != LIGHTRICKS:
            return {}
        with torch.no_grad():
            expected = self._ours(**self._given())
        pairs = zip(self._theirs.velocities(), expected, strict=True)
        return {"off_stock": max(float((a - b).norm() / b.norm()) for a, b in pairs)}

    def _call(self) -> Callable[[], object]:
        if self._rung.kind == LIGHTRICKS:
            return self._theirs
        given = self._given()
        return lambda: self._ours(**given)

    @cached_property
    def _theirs(self) -> lightricks_parts.Call:
        return lightricks_parts.Call.of(self._ours, self.plan.base, self._given())

    def per_step(self, calls: Calls) -> dict[str, float]:
        """Forwards and rows of a step, of what a measured run called."""
        return calls.per_step(STEPS if self._rung.kind in CALLED else self.plan.base.steps)

    def _given(self) -> dict[str, Any]:
        """What the stock pipelines hand in: masks, positions, and with a picture a timestep for
        each token, which is 0 where the picture is held.
        """
        part = self.plan.base
        device, dtype = self._engine.components.device, self._engine.components.dtype
        config = self._ours.config
        frames, rows, columns = cells(part.frames, part.height, part.width)
        text = self._engine.components.part("tokenizer").model_max_length
        generator = torch.Generator(device).manual_seed(0)
        widths = [
            config.caption_channels if config.use_prompt_embeddings else width
            for width in (config.cross_attention_dim, config.audio_cross_attention_dim)
        ]

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(shape, device=device, generator=generator).to(dtype)

        tokens = frames * rows * columns
        level = torch.full((1,), 500.0, device=device)
        timestep: dict[str, torch.Tensor] = {"timestep": level, "sigma": level}
        if self._rung.kind == "stock_picture":
            by_token = level.repeat(1, tokens)
            by_token[:, : rows * columns] = 0.0
            timestep |= {"timestep": by_token, "audio_timestep": level}
        transformer: Any = self._ours
        return {
            "hidden_states": random(1, tokens, config.in_channels),
            "audio_hidden_states": random(1, part.audio_latents, config.audio_in_channels),
            "encoder_hidden_states": random(1, text, widths[0]),
            "audio_encoder_hidden_states": random(1, text, widths[1]),
            "encoder_attention_mask": torch.ones(1, text, device=device, dtype=dtype),
            "audio_encoder_attention_mask": torch.ones(1, text, device=device, dtype=dtype),
            **timestep,
            "num_frames": frames,
            "height": rows,
            "width": columns,
            "fps": part.fps,
            "audio_num_frames": part.audio_latents,
            "video_coords": transformer.rope.prepare_video_coords(
                1, frames, rows, columns, device, fps=part.fps
            ),
            "audio_coords": transformer.audio_rope.prepare_audio_coords(
                1, part.audio_latents, device
            ),
            "return_dict": False,
        }
