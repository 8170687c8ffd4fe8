"""Turns: what fails or finds no time costs the others nothing, and what there is is kept."""

import json
import time

import pytest
import torch

from benchmarks import run
from benchmarks.bench import Bench
from benchmarks.results import Findings, kept
from benchmarks.scenarios import tail
from benchmarks.timing import Sample, Stages
from benchmarks.turns import Turns


def turns(runs, found=None, **more):
    return Turns(found=found or Findings(), runs=runs, tell=lambda line: None, **more)


def work(order, name, fails_at=None):
    def once():
        order.append(name)
        if order.count(name) == fails_at:
            raise torch.OutOfMemoryError("no room")
        return Sample(seconds=float(len(order)))

    return once


def test_works_take_turns_after_a_warm_up_that_is_not_counted():
    order = []
    found = turns(2).take({name: work(order, name) for name in "ab"})
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert [sample.seconds for sample in found["b"]] == [4.0, 6.0]


@pytest.mark.parametrize(("fails_at", "runs"), [(1, None), (2, None), (3, 1)])
def test_a_baseline_that_fails_is_dropped_with_a_note(fails_at, runs):
    order, found = [], Findings()
    works = {"ours": work(order, "ours"), "b0": work(order, "b0", fails_at)}
    samples = turns(3, found).take(works, needed={"ours"})
    assert len(samples["ours"]) == 3
    assert (len(samples["b0"]) if "b0" in samples else None) == runs
    assert found.notes == ["b0 failed: OutOfMemoryError: no room"]
    assert found.problems == []


def test_ours_failing_is_a_problem_and_the_baseline_is_measured_all_the_same():
    order, found = [], Findings()
    works = {"ours": work(order, "ours", 2), "b0": work(order, "b0")}
    samples = turns(2, found).take(works, needed={"ours"})
    assert len(samples["b0"]) == 2
    assert found.problems == ["ours failed: OutOfMemoryError: no room"]


def test_when_the_time_is_up_what_is_warm_has_one_run_and_the_rest_none():
    order, found = [], Findings()
    mine = turns(5, found, ends=time.monotonic() + 1000)

    def slow():
        mine.ends = time.monotonic() - 1
        return work(order, "b")()

    samples = mine.take({"a": work(order, "a"), "b": slow, "c": work(order, "c")})
    assert {name: len(each) for name, each in samples.items()} == {"a": 1, "b": 1}
    assert order == ["a", "b", "a", "b"]
    assert found.notes == [
        "c was not begun: the time was up",
        "1 of 5 turns were run: the time was up",
    ]


def test_what_is_to_run_once_runs_once():
    order = []
    samples = turns(3).take({name: work(order, name) for name in "ab"}, once=["b"])
    assert {name: len(each) for name, each in samples.items()} == {"a": 3, "b": 1}


def test_rows_of_unlike_length_are_compared_over_the_turns_that_both_have():
    found = Findings()
    found.put("a", [Sample(seconds=2.0), Sample(seconds=50.0)])
    found.put("b", [Sample(seconds=4.0)])
    found.compare("a", "b")
    found.compare("a", "nothing")
    assert found.ratios == {"a / b": 0.5}
    found.put("a", [Sample(seconds=3.0)])
    assert [(row["name"], row["runs"]) for row in found.rows] == [("a", 1), ("b", 1)]


TAIL = ["tail", "--size", "64x64", "--frames", "9", "--device", "cpu", "--runs", "2"]


def test_a_run_that_is_cut_off_leaves_what_it_had_marked_as_partial(tmp_path, monkeypatch):
    saved = []

    def save_and_end(self):
        keep(self)
        saved.append(self.partial)
        if self.found.rows:
            raise KeyboardInterrupt

    keep = Bench.save
    monkeypatch.setattr(Bench, "save", save_and_end)
    with pytest.raises(KeyboardInterrupt):
        run.main([*TAIL, "--results", str(tmp_path)])
    (line,) = kept(tmp_path)
    assert line["card"]["partial"] is True
    assert {row["runs"] for row in line["rows"]} == {1}
    monkeypatch.undo()
    assert run.main([*TAIL, "--results", str(tmp_path)]) == 0
    (line,) = kept(tmp_path)  # the whole one took its place
    assert "partial" not in line["card"]
    assert {row["name"] for row in line["rows"]} == {
        tail.OURS,
        tail.OURS_ON_BYTES,
        tail.ON_BYTES,
        tail.ON_FLOATS,
        tail.TO_FLOATS,
    }
    assert json.dumps(line["ratios"]).count("by frame") == 5


def test_a_stage_apart_is_taken_off_the_one_around_it():
    report, inner = Stages(torch.device("cpu")), 0.0
    outer = time.monotonic()
    with report.stage("base"):
        for _ in range(2):
            began = time.monotonic()
            with report.apart("prompt"):
                sum(range(300_000))
            inner += time.monotonic() - began
    outer = time.monotonic() - outer
    # As much as was measured around them, and no second of it twice.
    assert 0 < report.timings["prompt"] <= inner
    assert report.timings["base"] + report.timings["prompt"] <= outer
    assert set(report.peaks) == {"base", "prompt"}
