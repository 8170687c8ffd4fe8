"""Clips a minute: what fails or holds memory does not spoil what is measured beside or after it."""

import argparse
import json
from contextlib import contextmanager

import pytest
import torch

from benchmarks import run
from benchmarks.bench import Bench
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


class Noted:
    """Engines that note when they are there and when they are gone."""

    def __init__(self, events, name):
        self._events, self._name = events, name

    def make(self, _orders):
        self._events.append(f"{self._name} make")

    def first(self):
        return self

    @contextmanager
    def there(self):
        self._events.append(f"{self._name} begin")
        yield self
        self._events.append(f"{self._name} end")


def test_on_several_gpus_the_baseline_begins_when_the_engines_have_ended(tmp_path, monkeypatch):
    events = []

    @contextmanager
    def elsewhere(*_):
        with Noted(events, "b0").there() as one:
            yield one.make

    def made(_device, work):
        work()
        return Sample(seconds=1.0)

    monkeypatch.setattr(batch, "seats", lambda *_: ["a seat", "another"])
    monkeypatch.setattr(batch, "running", lambda _: Noted(events, "engines").there())
    monkeypatch.setattr(batch, "_elsewhere", elsewhere)
    monkeypatch.setattr(batch, "_runs", lambda *_: True)
    monkeypatch.setattr(batch, "timed", made)
    given = {"clips": 2, "engines": None, "mode": "fast", "against": "b0", "weights": "tiny",
             "runs": 1, "budget": None, "no_keep": True}  # fmt: skip
    bench = Bench(arguments=argparse.Namespace(**given), scratch=tmp_path)
    bench.device = torch.device("cuda")
    batch._take_turns(bench)
    assert events.index("engines end") < events.index("b0 begin")
    assert [row["name"] for row in bench.found.rows] == ["2 engines", batch.ONE, "b0"]
    assert bench.found.ratios == {
        "2 engines / one engine": 1.0,
        "2 engines / b0": 1.0,
        "one engine / b0": 1.0,
    }
