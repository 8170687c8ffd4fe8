"""pipelines.speed.runs: which tokens have which level."""

import torch

from pipelines.speed.runs import Run, levels_of

CPU = torch.device("cpu")


def per_token(stretches, tokens):
    """The same by writing each token's share."""
    found = torch.ones(tokens)
    for start, end, share in stretches:
        found[start:end] = share
    return found


def test_stretches_become_runs_of_distinct_levels():
    levels = levels_of([(0, 2, 0.0), (6, 8, 0.0)], 8)
    assert levels.shares == (0.0, 1.0)
    assert levels.runs == (Run(0, 2, 0), Run(2, 6, 1), Run(6, 8, 0))


def test_the_rows_are_those_of_every_token():
    draw = torch.Generator().manual_seed(0)
    for _ in range(50):
        stretches = []
        for _ in range(int(torch.randint(4, (1,), generator=draw))):
            start, end = sorted(torch.randint(1, 20, (2,), generator=draw).tolist())
            share = float(torch.randint(3, (1,), generator=draw)) / 2
            stretches.append((start - 1, end, share))
        levels = levels_of(stretches, 20)
        found = torch.tensor(levels.shares)[levels.rows(CPU).long()]
        assert torch.equal(found, per_token(stretches, 20)), stretches
        assert len(set(levels.shares)) == len(levels.shares)
        assert levels.tokens == 20
