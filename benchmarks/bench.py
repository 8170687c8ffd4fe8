"""What a scenario works with: the arguments, and an engine on the weights that were asked for."""

import argparse
import base64
import io
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import ltx2
from benchmarks.ceiling import matmul_ceiling
from benchmarks.results import Findings, as_line, keep_so_far, partial_file
from benchmarks.turns import Turns
from ltx2.engine import find_device
from ltx2.prepare import Prepared, prepare
from ltx2.settings import Settings

PROMPT = "a large red square moving left on a gray checked ground"
PICTURE = (768, 512)  # pixels of the conditioning picture


class Unmeasurable(RuntimeError):
    """This scenario has nothing to measure with these weights or on this machine."""


@dataclass(kw_only=True)
class Bench:
    """One run of the command."""

    arguments: argparse.Namespace
    scratch: Path  # a folder that is empty and goes away
    found: Findings = field(default_factory=Findings)
    card: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @cached_property
    def settings(self) -> Settings:
        """The settings of the environment."""
        return Settings.from_env()

    @cached_property
    def device(self) -> torch.device:
        """Where it is measured."""
        return find_device(self.arguments.device or self.settings.device)

    @property
    def turns(self) -> Turns:
        """How this run's works take turns."""
        budget = self.arguments.budget
        return Turns(
            found=self.found,
            runs=self.arguments.runs,
            ends=None if budget is None else self.began + budget,
            tell=self.tell,
            save=self.save,
        )

    @cached_property
    def partial(self) -> Path:
        """Where the findings so far are kept while it runs."""
        given = self.arguments
        return partial_file(given.results, self.card["device"], self.card["scenario"])

    def save(self) -> None:
        """Keep the findings so far: what is cut off is not lost."""
        if not self.arguments.no_keep:
            keep_so_far(as_line({**self.card, "partial": True}, self.found), self.partial)

    @property
    def random(self) -> bool:
        """Whether weights are drawn instead of read."""
        return self.arguments.weights == "random"

    @cached_property
    def engine(self) -> "ltx2.Engine":
        """The engine, on weights that are drawn or read, in a process that is its own."""
        engine = self._opened()
        engine.own_process()
        return engine

    def _opened(self) -> "ltx2.Engine":
        mode = getattr(self.arguments, "mode", None) or "fast"
        if self.random:
            from ltx2.drawn import drawn_engine

            return drawn_engine(
                self.arguments.checkpoint,
                device=self.device,
                settings=self.settings,
                scratch=self.scratch,
            )
        return ltx2.Engine.load(
            self.arguments.weights, mode=mode, device=str(self.device), settings=self.settings
        )

    @cached_property
    def ceiling(self) -> float:
        """Operations a second of a large matrix product in the engine's type, on this device."""
        return matmul_ceiling(self.device, self.engine.components.dtype)

    def weights_card(self) -> dict[str, Any]:
        """What the engine is and how it runs."""
        parts = self.engine.components
        return {
            "weights": "random" if self.random else self.engine.checkpoint.name,
            "checkpoint": self.engine.checkpoint.name,
            "generation": self.engine.checkpoint.generation.name,
            "dtype": str(parts.dtype).removeprefix("torch."),
            "residency": parts.residency,
            "quantised": {name: kind for name, kind in parts.quantise.items() if kind != "none"},
            "levers": self.engine.levers,
        }

    def prepared(self, **fields: Any) -> Prepared:  # noqa: ANN401 - fields of a request
        """A request of these fields, as a caller's would be prepared."""
        engine = self.engine
        request = ltx2.Request.parse({"prompt": PROMPT, "seed": 7, **fields})
        ready = prepare(
            request,
            checkpoint=engine.checkpoint,
            limits=engine.limits,
            media=engine.media_limits,
            files=None if self.random else engine.lora_files,
            sources=None if self.random else engine.lora_sources,
        )
        if self.random:  # its LoRAs have no files to look into
            return replace(ready, matches={})
        return ready

    def picture(self) -> str:
        """A conditioning picture as a request has it: a gradient, so that it is not flat."""
        width, height = PICTURE
        ramp = Image.linear_gradient("L").resize((width, height))
        turned = ramp.transpose(Image.Transpose.ROTATE_180)
        file = io.BytesIO()
        Image.merge("RGB", (ramp, turned, ramp)).save(file, "PNG")
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

    def tell(self, line: str) -> None:
        """A line for whoever watches."""
        print(line, flush=True)
