"""Processes that train together do what one does with all of their batches."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tiny.loop import Losses, Recipe, Training, read
from tiny.parallel import run

RECIPE = Recipe(steps=3, rate=0.05, warm_up=1, evaluate=3, save=3, average=0.5)
EXAMPLES = torch.arange(24.0).sin().view(4, 6)


def train(folder: Path) -> None:
    """Three steps on the examples, shared between the processes that there are."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 6))
    model.seldom = nn.Linear(6, 6)
    taken = iter(range(RECIPE.steps))
    rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    mine = EXAMPLES[rank::processes]

    def losses(_: object) -> Losses:
        found = {"square": (model[:3](mine) - mine).square().mean()}
        if next(taken) == 0:  # afterwards momentum alone is left of it
            found["seldom"] = (model.seldom(mine) - mine).square().mean()
        return found

    Training("part", model, RECIPE, folder).run(losses, lambda _: {"square": 1.0})


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    kept = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        run(train, folder, processes)
        kept.append(read(folder / "part" / "state.pt"))
    alone, shared = kept
    assert alone["step"] == shared["step"] == 3
    for name, value in alone["weights"].items():
        torch.testing.assert_close(shared["weights"][name], value, rtol=1e-4, atol=1e-5)
