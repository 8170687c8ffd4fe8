"""On a GPU, the benchmarks' drawn weights are full-size and finite, and a step is measured."""

import json

import pytest
import torch

from benchmarks import run

pytestmark = pytest.mark.gpu


NEEDED = 78 * 2**30  # all parts of 2.3, and a pass


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_properties(0).total_memory < NEEDED,
    reason="every part of 2.3 has to fit on the GPU",
)
def test_a_full_size_step_is_measured_on_drawn_weights(tmp_path, capsys):
    """One pass of the real architecture at a small size: NaN anywhere would raise."""
    arguments = ["forward", "--weights", "random", "--checkpoint", "ltx-2.3", "--runs", "2"]
    sizes = ["--sizes", "640x352x25", "--kinds", "plain,picture,stock"]
    assert run.main([*arguments, *sizes, "--results", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = {row["name"].split()[0]: row for row in told["rows"]}
    assert rows["plain"]["tokens"] == 880
    assert rows["plain"]["peak_gib"]["base"] > 35  # the transformer alone
    assert 0.02 < rows["plain"]["mfu"] < 1
