"""The training loop of every part: steps, a moving average of the weights, save and resume, a log.

What a step draws follows from the seed, the step's number and the process's alone, so a run that
was interrupted and resumed ends where an uninterrupted one does. Processes share a step: each draws
a batch of its own, gradients are averaged.
"""

import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tiny import curves
from tiny.muon import Muon
from tiny.parallel import summed

STATE = "state.pt"  # in a part's folder: weights, their average, and how far training is


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a part is trained. `rate` is for matrices, `other_rate` for vectors (see `Muon`)."""

    steps: int
    rate: float
    other_rate: float = 1e-3
    decay: float = 0.0
    warm_up: int = 50  # steps
    cool_down: float = 0.4  # share of the steps over which the rate falls to zero
    average: float = 0.995  # of the weights that are kept
    seed: int = 0
    evaluate: int = 200  # steps between two evaluations
    save: int = 100  # steps between two saves

    def scale(self, step: int) -> float:
        """What the learning rates are multiplied with at `step`."""
        rising = (step + 1) / self.warm_up
        falling = (self.steps - step) / max(1.0, self.steps * self.cool_down)
        return min(1.0, rising, falling)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """What a step may draw from; `shared` draws the same in every process."""

    step: int
    shared: random.Random
    plain: random.Random
    torch: torch.Generator
    rank: int = 0
    processes: int = 1

    @classmethod
    def at(cls, seed: int, step: int, *, rank: int = 0, processes: int = 1) -> "Draw":
        """The draws of a step's `rank`-th process."""
        value = seed * 1_000_003 + step * processes + rank
        return cls(
            rank=rank,
            processes=processes,
            step=step,
            # Of its own: one process alone would draw the same twice.
            shared=random.Random(f"shared {seed} {step}"),
            plain=random.Random(value),
            torch=torch.Generator(torch.get_default_device()).manual_seed(value),
        )

    def mine(self, count: int) -> int:
        """This process's part of `count` clips of a step, one at least."""
        return max(1, (count + self.processes - 1 - self.rank) // self.processes)


def read(path: Path) -> Any:  # noqa: ANN401
    """A file of tensors, on the default device."""
    return torch.load(path, weights_only=True, map_location=torch.get_default_device())


def load_average(module: nn.Module, part: Path) -> None:
    """Give a module the averaged weights that are kept in a part's folder; others stay."""
    module.load_state_dict({**module.state_dict(), **read(part / STATE)["mean"]})


Losses = Mapping[str, Tensor]  # the sum is minimised


class Training:
    """A part in training: its module, the average of its weights, and where they are kept."""

    def __init__(self, name: str, module: nn.Module, recipe: Recipe, folder: Path) -> None:
        self.name, self.module, self.recipe = name, module, recipe
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        trained = {k: p for k, p in module.named_parameters() if p.requires_grad}
        self.optimiser = Muon(
            trained.values(), rate=recipe.rate, other_rate=recipe.other_rate, decay=recipe.decay
        )
        self.weights = trained
        self.mean = {key: value.detach().clone() for key, value in trained.items()}
        self.step = 0
        self.seconds = 0.0

    @property
    def _state(self) -> Path:
        return self.folder / STATE

    def resume(self) -> None:
        """Go on from the last save, if there is one."""
        if not self._state.exists():
            return
        state = read(self._state)
        with torch.no_grad():
            for key, value in self.weights.items():
                value.copy_(state["weights"][key])
        self.mean, self.step = state["mean"], state["step"]
        self.seconds = state["seconds"]
        self.optimiser.load_state_dict(state["optimiser"])

    def save(self) -> None:
        working = self._state.with_suffix(".new")
        torch.save(
            {
                "weights": {k: v.detach() for k, v in self.weights.items()},
                "mean": self.mean,
                "step": self.step,
                "seconds": self.seconds,
                "optimiser": self.optimiser.state_dict(),
            },
            working,
        )
        working.replace(self._state)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The module with the averaged weights inside the `with`."""
        before = {key: value.detach().clone() for key, value in self.weights.items()}
        self._load(self.mean)
        try:
            yield self.module
        finally:
            self._load(before)

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for key, value in self.weights.items():
                value.copy_(weights[key])

    def run(
        self,
        losses: Callable[[Draw], Losses],
        evaluate: Callable[[nn.Module], Mapping[str, float]],
        *,
        until: int | None = None,
    ) -> None:
        """Train to the recipe's last step, or to `until`; the module then holds the average."""
        recipe = self.recipe
        end = min(recipe.steps, recipe.steps if until is None else until)
        rank, processes = 0, 1
        if dist.is_initialized():
            rank, processes = dist.get_rank(), dist.get_world_size()
        sums: dict[str, list[float]] = {}
        while self.step < end:
            begun = time.monotonic()
            found = losses(Draw.at(recipe.seed, self.step, rank=rank, processes=processes))
            total = sum(found.values(), start=torch.zeros(()))
            if not math.isfinite(total.item()):
                raise FloatingPointError(f"{self.name}: the loss of step {self.step} is {total}")
            total.backward()
            if processes > 1:
                self._average_gradients(processes)
            self.optimiser.step(recipe.scale(self.step))
            keep = min(recipe.average, (self.step + 1) / (self.step + 10))
            with torch.no_grad():
                for key, value in self.weights.items():
                    self.mean[key].lerp_(value, 1 - keep)
            self.step += 1
            self.seconds += time.monotonic() - begun
            for key, value in found.items():
                sums.setdefault(key, []).append(value.item())
            last = self.step == end
            if rank:
                continue
            if self.step % recipe.evaluate == 0 or last:
                with self.averaged() as module, torch.no_grad():
                    module.eval()
                    measured = evaluate(module)
                    module.train()
                # Of the steps that had it: batches are of several kinds.
                self._log({key: sum(value) / len(value) for key, value in sums.items()}, measured)
                sums = {}
            if self.step % recipe.save == 0 or last:
                self.save()
        self._load(self.mean)

    def _average_gradients(self, processes: int) -> None:
        """The mean over all processes; where one's batch did not touch a weight, its part is 0, and
        where none did, there is no gradient: momentum alone makes no step.
        """
        weights = list(self.weights.values())
        parts = [w.grad if w.grad is not None else torch.zeros_like(w) for w in weights]
        touched = torch.tensor([float(weight.grad is not None) for weight in weights])
        *parts, touched = summed([*parts, touched])
        for weight, part, count in zip(weights, parts, touched.tolist(), strict=True):
            weight.grad = part / processes if count else None

    def _log(self, losses: Mapping[str, float], measured: Mapping[str, float]) -> None:
        row = {"step": self.step, "seconds": round(self.seconds, 1), **losses, **measured}
        line = json.dumps({k: float(f"{v:.5g}") for k, v in row.items()})
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(line + "\n")
        curves.write(self.folder.parent, self.name)
        sys.stdout.write(f"{self.name} {line}\n")
        sys.stdout.flush()
