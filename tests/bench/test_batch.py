"""Clips a minute: what fails or holds memory does not spoil what is measured beside or after it."""

import json

import pytest
import torch

from benchmarks import run
from benchmarks.scenarios import batch
from benchmarks.timing import Sample

ONE_CLIP = ["batch", "--clips", "1", "--engines", "1", "--device", "cpu", "--runs", "1"]


@pytest.fixture
def told(tmp_path, capsys):
    """What a run tells that has to end well."""

    def tell(*arguments):
        assert run.main([*ONE_CLIP, *arguments, "--results", str(tmp_path)]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return tell


def test_a_baseline_that_does_not_load_costs_ours_nothing(told, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError("no room for a second set of weights")

    monkeypatch.setattr(batch, "_stock", too_large)
    found = told("--weights", "random", "--checkpoint", "tiny")
    assert [row["name"] for row in found["rows"]] == [batch.ONE]
    assert "b0 failed: OutOfMemoryError: no room for a second set of weights" in found["notes"]


def test_the_command_finds_a_device_that_this_process_holds_nothing_on(told, monkeypatch):
    held = []

    def command(bench):
        held.append(bench.engine.components.held)
        return Sample(seconds=1.0)

    made = batch._one_engine

    def made_and_seen(bench, orders):
        made(bench, orders)
        held.append(bench.engine.components.held)

    monkeypatch.setattr(batch, "_command", command)
    monkeypatch.setattr(batch, "_one_engine", made_and_seen)
    found = told("--against", "none")
    assert held[0]
    assert held[-1] == ()
    assert found["rows"][-1]["name"] == "ltx2 batch, loading counted"


def test_a_stock_pipeline_that_is_closed_holds_no_part(told, monkeypatch):
    made = []
    build = batch._stock

    def kept(*given):
        made.append(build(*given))
        return made[-1]

    monkeypatch.setattr(batch, "_stock", kept)
    found = told("--weights", "random", "--checkpoint", "tiny")
    assert [row["name"] for row in found["rows"]] == [batch.ONE, "b0"]
    (closed,) = made
    assert (closed._pipe, closed._upsample) == (None, None)
