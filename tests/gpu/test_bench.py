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
    sizes = ["--sizes", "640x352x25", "--kinds", "plain,picture,stock,stock_picture"]
    levers = ["--levers", "blocks=plain/attention=default"]
    assert run.main([*arguments, *sizes, *levers, "--results", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["notes"], told["problems"]) == ([], [])
    rows = {row["name"].replace(" 640x352x25", ""): row for row in told["rows"]}
    assert {"picture", "stock", "stock_picture", "plain, blocks=plain"} < set(rows)
    assert rows["plain"]["tokens"] == 880
    assert rows["plain"]["peak_gib"]["base"] > 35  # the transformer alone
    assert rows["plain"]["reserved_gib"] >= rows["plain"]["peak_gib"]["base"]
    assert 0.02 < rows["plain"]["mfu"] < 1
