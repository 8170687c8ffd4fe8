"""The training loop: it learns, resumes where it was, and stops at what is not a number."""

import json

import pytest
import torch
from torch import nn

from tiny.loop import Draw, Recipe, Training
from tiny.muon import Muon, orthogonal

RECIPE = Recipe(steps=60, rate=0.02, warm_up=5, evaluate=20, save=10, average=0.9)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))


def losses_of(module: nn.Module):
    def losses(draw):
        x = torch.randn(32, 4, generator=draw.torch)
        wanted = torch.stack((x[:, 0] * x[:, 1], x[:, 2].sin()), dim=1)
        return {"square": (module(x) - wanted).square().mean()}

    return losses


def evaluate(module: nn.Module):
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    return {"size": module(x).square().mean().item()}


def run(folder, *, until=None) -> tuple[Training, nn.Module]:
    module = network()
    training = Training("part", module, RECIPE, folder)
    training.resume()
    training.run(losses_of(module), evaluate, until=until)
    return training, module


def test_it_learns_and_keeps_a_log(tmp_path):
    training, _ = run(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "part/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [20, 40, 60]
    assert rows[-1]["square"] < 0.8 * rows[0]["square"]
    assert training.step == 60


def test_a_run_that_was_interrupted_ends_where_another_does(tmp_path):
    _, whole = run(tmp_path / "whole")
    run(tmp_path / "parts", until=30)
    _, resumed = run(tmp_path / "parts")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_module_ends_with_the_average_of_its_weights(tmp_path):
    training, module = run(tmp_path)
    assert all(torch.equal(p, training.mean[name]) for name, p in module.named_parameters())


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    module = network()
    training = Training("part", module, RECIPE, tmp_path)
    with pytest.raises(FloatingPointError, match="the loss of step 0"):
        training.run(lambda _: {"square": module(torch.full((1, 4), torch.inf)).sum()}, evaluate)
    assert not (tmp_path / "part/state.pt").exists()


def test_frozen_weights_stay(tmp_path):
    module = network()
    module[0].requires_grad_(requires_grad=False)
    before = module[0].weight.clone()
    Training("part", module, RECIPE, tmp_path).run(losses_of(module), evaluate, until=10)
    assert torch.equal(module[0].weight, before)


def test_the_rate_rises_stays_and_falls_to_zero():
    scales = [RECIPE.scale(step) for step in range(RECIPE.steps)]
    assert scales[0] == pytest.approx(1 / 5)
    assert max(scales) == 1.0
    assert 0 < scales[-1] < 0.06
    assert scales[36:] == sorted(scales[36:], reverse=True)


@pytest.mark.parametrize("shape", [(8, 32), (32, 8), (16, 4, 3, 3, 3)])
def test_an_update_is_nearly_orthogonal(shape):
    update = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = orthogonal(update)
    assert made.shape == update.shape
    rows, columns = made.shape[0], made[0].numel()
    values = torch.linalg.svdvals(made.reshape(rows, columns)) / max(1.0, rows / columns) ** 0.5
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_the_optimiser_leaves_untouched_weights_alone():
    first, second = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3, 3))
    optimiser = Muon((first, second), rate=0.1, other_rate=0.1)
    first.square().sum().backward()
    optimiser.step(1.0)
    assert first.grad is None
    assert not torch.equal(first, torch.ones(3, 3))
    assert torch.equal(second, torch.ones(3, 3))


def test_processes_share_the_clips_of_a_step():
    for processes in (1, 2, 3):
        draws = [Draw.at(0, 0, rank=rank, processes=processes) for rank in range(processes)]
        parts = [draw.mine(20) for draw in draws]
        assert sum(parts) == 20
        assert max(parts) - min(parts) <= 1
    assert Draw.at(0, 0, rank=2, processes=3).mine(1) == 1


def test_a_loss_that_only_some_steps_have_is_logged_as_the_mean_over_those(tmp_path):
    module = network()

    def losses(draw):
        found = losses_of(module)(draw)
        return {**found, "seldom": torch.tensor(3.0)} if draw.step % 4 == 0 else found

    Training("part", module, RECIPE, tmp_path).run(losses, evaluate, until=20)
    row = json.loads((tmp_path / "part/log.jsonl").read_text().splitlines()[0])
    assert row["seldom"] == pytest.approx(3.0)


def test_a_process_alone_draws_its_clips_apart_from_what_all_share():
    draw = Draw.at(0, 5)
    assert draw.shared.random() != draw.plain.random()
