"""The baselines' own settings are diffusers as it is, and their weights are exact."""

import argparse

import pytest
import torch

from benchmarks.baselines import stock
from benchmarks.bench import Bench, Unmeasurable
from benchmarks.scenarios import forward
from ltx2.settings import Settings
from pipelines.speed.levers import STOCK


def bench_of(tmp_path, **given):
    """A bench on the tiny checkpoint whose transformer may be rounded."""
    asked = {"weights": "tiny", "device": "cpu", "checkpoint": "tiny", "kinds": None}
    rounding = {"LTX2_TRANSFORMER_QUANTISATION": given.pop("rounding", "none")}
    bench = Bench(arguments=argparse.Namespace(**asked, **given), scratch=tmp_path)
    bench.settings = Settings.from_env(rounding)
    return bench


def test_a_baselines_settings_leave_every_lever_alone():
    assert stock.as_shipped(Settings()).levers() == STOCK


@pytest.mark.parametrize("kind", stock.KINDS.values(), ids=stock.KINDS)
@pytest.mark.parametrize("rounding", ["fp8", "int8"])
def test_no_stock_pipeline_runs_on_weights_that_it_would_widen(kind, rounding, tmp_path):
    bench = bench_of(tmp_path, rounding=rounding)
    reason = stock.missing(kind, bench.engine, bench.prepared(mode="fast"))
    assert f"the transformer's weights are rounded ({rounding})" in reason


def test_exact_weights_are_the_stock_pipelines_too(tmp_path):
    bench = bench_of(tmp_path)
    assert stock.missing(stock.KINDS["b1"], bench.engine, bench.prepared(mode="fast")) == ""


def test_a_stock_call_on_rounded_weights_is_left_out_with_a_note_or_refused(tmp_path):
    bench = bench_of(tmp_path, rounding="int8")
    assert not set(forward._kinds(bench)) & set(forward.CALLED)
    assert [note.partition(" did")[0] for note in bench.found.notes] == ["stock", "stock_picture"]
    bench.arguments.kinds = "plain,stock"
    with pytest.raises(Unmeasurable, match="stock: the transformer's weights are rounded"):
        forward._kinds(bench)


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_a_compiled_baseline_leaves_the_limit_of_compiling_as_it_was(tmp_path):
    bench = bench_of(tmp_path)
    kind = stock.KINDS["b2"]
    made = stock.Stock(kind, bench.engine, bench.prepared(mode="fast"), tmp_path / "b2.mp4")
    before = torch._dynamo.config.recompile_limit
    with made._blocks():
        assert torch._dynamo.config.recompile_limit == stock.RECOMPILES > before
    assert torch._dynamo.config.recompile_limit == before
