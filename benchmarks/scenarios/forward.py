"""One denoising step at a time: by size, by guidance, and beside the stock transformer's call."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.bench import Bench
from benchmarks.cost.clip import Costs, cells
from benchmarks.counting import calls_of
from benchmarks.results import Findings
from benchmarks.timing import Measured, Sample, Stages, in_turns, timed
from ltx2.prepare import Prepared

# Sizes on the grid of 32, both passes of the usual clips; and those of the toy.
LADDER = ((640, 352, 121), (960, 544, 121), (1280, 704, 121), (1920, 1088, 121))
TOY_LADDER = ((160, 96, 49), (320, 192, 49))
STEPS = 2  # of a measured pass
GUIDED = {"cfg": {"cfg": 3.0}, "stg": {"stg": 1.0}, "isolated": {"modality": 3.0}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A size in pixels and frames, and what is done at it."""

    width: int
    height: int
    frames: int
    kind: str  # plain, picture, stock, or one of GUIDED beside the plain forward

    @property
    def name(self) -> str:
        """In the table."""
        return f"{self.kind} {self.width}x{self.height}x{self.frames}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--kinds", default="plain,stock,picture,cfg,stg,isolated")
    parser.add_argument("--sizes", help="WIDTHxHEIGHTxFRAMES, by comma; default the usual ladder")


def measure(bench: Bench) -> Findings:
    """Seconds a step, with its work and its share of the measured ceiling."""
    found = Findings()
    found.facts = {"ceiling_tflops": bench.ceiling / 1e12}
    for size in _sizes(bench):
        rungs = [Rung(width=size[0], height=size[1], frames=size[2], kind=kind)
                 for kind in bench.arguments.kinds.split(",")]  # fmt: skip
        works: dict[str, Measured] = {}
        facts: dict[str, dict[str, Any]] = {}
        for rung in rungs:
            prepared = _prepared(bench, rung)
            part = prepared.plan.base
            costs = Costs.of(bench.engine, prepared.plan)
            step = Step(bench, prepared)
            works[rung.name] = step.stock if rung.kind == "stock" else step.ours
            calls = step.counted(works[rung.name])
            tokens = cells(part.frames, part.height, part.width)
            facts[rung.name] = {
                "tokens": tokens[0] * tokens[1] * tokens[2],
                "tflop": costs.step(part).total / 1e12,
                **calls,
            }
        for name, samples in in_turns(works, bench.arguments.runs, bench.tell).items():
            row = found.add(name, samples, **facts[name])
            row["mfu"] = row["tflop"] * 1e12 / row["seconds"]["median"] / bench.ceiling
        plain, stock, picture = (
            f"{kind} {size[0]}x{size[1]}x{size[2]}" for kind in ("plain", "stock", "picture")
        )
        for one, other in ((plain, stock), (picture, plain)):
            if one in works and other in works:
                found.compare(one, other)
    return found


def _sizes(bench: Bench) -> Iterator[tuple[int, int, int]]:
    if bench.arguments.sizes is None:
        yield from TOY_LADDER if bench.engine.checkpoint.embedded else LADDER
        return
    for text in bench.arguments.sizes.split(","):
        width, height, frames = map(int, text.split("x"))
        yield width, height, frames


def _prepared(bench: Bench, rung: Rung) -> Prepared:
    """One pass of a few steps at that size, without a second one."""
    picture = {"image": bench.picture()} if rung.kind == "picture" else {}
    prepared = bench.prepared(
        mode="fast",
        width=rung.width,
        height=rung.height,
        num_frames=rung.frames,
        spatial_upscaler=False,
        **picture,
    )
    plan = prepared.plan
    base = replace(plan.base, sigmas=(*plan.base.sigmas[:STEPS], 0.0), sampler="euler", eta=0.0)
    if rung.kind in GUIDED:
        guidance = replace(base.video_guidance, **GUIDED[rung.kind])
        blocks = bench.engine.checkpoint.generation.stg_blocks
        base = replace(base, video_guidance=guidance, audio_guidance=guidance, stg_blocks=blocks)
        plan = replace(plan, negative_prompt="worst quality")
    return replace(prepared, plan=replace(plan, base=base))


class Step:
    """A denoising step: through the product's pass, or the transformer called as stock calls it."""

    def __init__(self, bench: Bench, prepared: Prepared) -> None:
        self._engine = bench.engine
        self._prepared = prepared
        self._transformer = bench.engine.components.part("transformer:distilled")

    def ours(self) -> Sample:
        """A pass's seconds by its steps; frames are not decoded."""
        report = Stages(self._engine.components.device)
        clip = self._engine.run(self._prepared.plan, self._prepared.inputs, report)
        clip.frames.close()
        steps = self._prepared.plan.base.steps
        return Sample(seconds=report.timings["base"] / steps, peaks={"base": report.peaks["base"]})

    def stock(self) -> Sample:
        """One call with what the stock pipelines hand in: masks, and no positions."""
        part: Any = self._prepared.plan.base
        device, dtype = self._engine.components.device, self._engine.components.dtype
        config = self._transformer.config
        frames, rows, columns = cells(part.frames, part.height, part.width)
        text = self._engine.components.part("tokenizer").model_max_length
        generator = torch.Generator(device).manual_seed(0)
        widths = [
            config.caption_channels if config.use_prompt_embeddings else width
            for width in (config.cross_attention_dim, config.audio_cross_attention_dim)
        ]

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(shape, device=device, generator=generator).to(dtype)

        given = {
            "hidden_states": random(1, frames * rows * columns, config.in_channels),
            "audio_hidden_states": random(1, part.audio_latents, config.audio_in_channels),
            "encoder_hidden_states": random(1, text, widths[0]),
            "audio_encoder_hidden_states": random(1, text, widths[1]),
            "encoder_attention_mask": torch.ones(1, text, device=device, dtype=dtype),
            "audio_encoder_attention_mask": torch.ones(1, text, device=device, dtype=dtype),
            "timestep": torch.full((1,), 500.0, device=device),
            "sigma": torch.full((1,), 0.5, device=device),
            "num_frames": frames,
            "height": rows,
            "width": columns,
            "fps": part.fps,
            "audio_num_frames": part.audio_latents,
            "return_dict": False,
        }
        with torch.no_grad():
            return timed(device, lambda: self._transformer(**given))

    def counted(self, work: Measured) -> dict[str, float]:
        """Forwards and rows of a step."""
        one = work == self.stock
        with calls_of(self._transformer) as calls:
            work()
        return calls.per_step(1 if one else self._prepared.plan.base.steps)
