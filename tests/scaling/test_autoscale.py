"""The simulator of scaling: exact queues, laws of conservation, rules, and its command."""

import itertools
import json
import math
import random

import pytest

from benchmarks.autoscale import EXAMPLE, Study, main
from benchmarks.results import Findings, as_line, keep
from benchmarks.scaling import arrivals
from benchmarks.scaling.report import Prices, percentile, picture, row
from benchmarks.scaling.rules import Rules
from benchmarks.scaling.simulate import simulate
from benchmarks.scaling.times import Times
from benchmarks.timing import Sample

COLD, FLASH = Times(samples=(80.0, 120.0)), Times(constant=5.0)
SETTINGS = [
    Rules(name="from zero", max_workers=4),
    Rules(name="one for two", value=2, max_workers=4, flash_keep=600),
    Rules(name="delay", scaler="QUEUE_DELAY", value=4, max_workers=4, idle_seconds=60),
    Rules(name="some always", scaler="QUEUE_DELAY", value=20, min_workers=2, max_workers=5),
]


def trace(seed=0, per_hour=120, hours=10):
    return arrivals.poisson(random.Random(seed), per_hour, hours)


USUAL = Times(exponential=25.0)


def outcome(rules, seed=0, service=USUAL, times=None):
    return simulate(trace(seed) if times is None else times, rules, service, COLD, FLASH, seed)


def waits(found):
    return [job.began - job.arrived for job in found.jobs]


def always(count):
    return Rules(name=f"{count} always", min_workers=count, max_workers=count)


# Queueing theory: workers that always run, Poisson arrivals


def erlang_c(servers, load):
    """The probability that a request of an M/M/c queue has to wait; `load` in servers."""
    top = load**servers / math.factorial(servers) * servers / (servers - load)
    return top / (sum(load**k / math.factorial(k) for k in range(servers)) + top)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (2, 1.4), (5, 4.0)])
def test_exponential_jobs_wait_as_erlang_c_says(servers, load):
    mean = 20.0
    times = arrivals.poisson(random.Random(1), 3600 * load / mean, 12_000 * mean / load / 3600)
    found = outcome(always(servers), 1, Times(exponential=mean), times)
    waiting = erlang_c(servers, load)
    expected = waiting * mean / (servers - load)
    assert sum(waits(found)) / len(times) == pytest.approx(expected, rel=0.15)
    assert sum(wait > 0 for wait in waits(found)) / len(times) == pytest.approx(waiting, rel=0.05)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_jobs_of_one_length_wait_as_pollaczek_and_khinchine_say(load):
    seconds = 30.0
    times = arrivals.poisson(random.Random(2), 3600 * load / seconds, 10_000 * 30 / load / 3600)
    found = outcome(always(1), 2, Times(constant=seconds), times)
    expected = load * seconds / (2 * (1 - load))
    assert sum(waits(found)) / len(times) == pytest.approx(expected, rel=0.15)


# Conservation


@pytest.mark.parametrize("rules", SETTINGS, ids=lambda rules: rules.name)
def test_every_request_is_done_once_in_its_turn_by_a_worker_that_has_no_other(rules):
    found = outcome(rules)
    times = trace()
    assert [job.arrived for job in found.jobs] == times
    began = [job.began for job in found.jobs]
    assert began == sorted(began)
    assert all(job.arrived <= job.began <= job.ended for job in found.jobs)
    for index in range(rules.max_workers):
        mine = [job for job in found.jobs if job.worker == index]
        assert all(a.ended <= b.began for a, b in itertools.pairwise(mine))


@pytest.mark.parametrize("rules", SETTINGS, ids=lambda rules: rules.name)
def test_what_is_billed_is_what_ran(rules):
    """The area under the workers, by the timeline and by the bills; that of work by the jobs."""
    found = outcome(rules)
    line = [*found.timeline, (found.seconds, 0, 0, 0)]
    area = sum((b[0] - a[0]) * a[1] for a, b in itertools.pairwise(line))
    billed = sum(sum(worker.billed.values()) for worker in found.workers)
    assert billed == pytest.approx(area)
    worked = sum(job.ended - job.began for job in found.jobs)
    assert sum(worker.billed["busy"] for worker in found.workers) == pytest.approx(worked)


@pytest.mark.parametrize("rules", SETTINGS, ids=lambda rules: rules.name)
def test_littles_law_holds_exactly_for_the_queue(rules):
    found = outcome(rules)
    line = [*found.timeline, (found.seconds, 0, 0, 0)]
    area = sum((b[0] - a[0]) * a[3] for a, b in itertools.pairwise(line))
    assert area == pytest.approx(sum(waits(found)))


@pytest.mark.parametrize("rules", SETTINGS, ids=lambda rules: rules.name)
def test_workers_stay_between_their_bounds_and_go_when_all_is_done(rules):
    found = outcome(rules)
    assert all(rules.min_workers <= alive <= rules.max_workers for _, alive, *_ in found.timeline)
    assert all(ready <= alive for _, alive, ready, _ in found.timeline)
    assert found.timeline[-1][1] == rules.min_workers


@pytest.mark.parametrize("rules", SETTINGS, ids=lambda rules: rules.name)
def test_one_seed_gives_one_outcome_and_another_seed_another(rules):
    assert outcome(rules) == outcome(rules)
    assert outcome(rules, 1) != outcome(rules)


def test_settings_are_compared_on_the_same_work():
    worked = {
        round(sum(job.ended - job.began for job in outcome(rules).jobs), 6) for rules in SETTINGS
    }
    assert len(worked) == 1


# Rules, on traces that can be followed by hand

TEN = Times(constant=10.0)
HUNDRED = Times(constant=100.0)


def by_hand(rules, *times):
    found = simulate(times, rules, TEN, HUNDRED, FLASH, 0)
    return found, [job.began for job in found.jobs]


def test_request_count_starts_a_worker_for_each_job_up_to_the_most():
    found, began = by_hand(Rules(name="", max_workers=2), 0.0, 1.0, 2.0)
    assert began == [100.0, 101.0, 110.0]
    assert sum(worker.starts for worker in found.workers) == 2


def test_a_higher_request_count_lets_jobs_queue_at_one_worker():
    found, began = by_hand(Rules(name="", value=3, max_workers=2), 0.0, 1.0, 2.0)
    assert began == [100.0, 110.0, 120.0]
    assert sum(worker.starts for worker in found.workers) == 1


def test_queue_delay_starts_a_worker_only_after_the_delay():
    rules = Rules(name="", scaler="QUEUE_DELAY", value=4, max_workers=2)
    found, began = by_hand(rules, 0.0)
    assert began == [104.0]
    # The second has waited long enough at 105: a worker is started, which the third finds at 205.
    found, began = by_hand(rules, 0.0, 101.0, 150.0)
    assert began == [104.0, 114.0, 205.0]
    assert found.seconds == 205.0 + 10 + rules.idle_seconds
    # A worker is free before the second has waited long enough: none is started for it.
    found, began = by_hand(rules, 0.0, 111.0)
    assert began == [104.0, 114.0]
    assert sum(worker.starts for worker in found.workers) == 1


def test_a_worker_idles_for_its_time_and_then_ends():
    found, began = by_hand(Rules(name="", idle_seconds=30.0), 0.0, 139.0, 180.0)
    # The second comes 29 s into the idle time, the third 31 s after the second's end.
    assert began == [100.0, 139.0, 280.0]
    assert found.workers[0].billed == {"starting": 200.0, "busy": 30.0, "idle": 29.0 + 30.0 + 30.0}


def test_a_worker_that_ended_lately_starts_fast():
    rules = Rules(name="", max_workers=1, flash_keep=60.0)
    _, began = by_hand(rules, 0.0, 150.0, 400.0)
    # Ended at 120: 30 s later it is kept; ended again at 175: 225 s later it is not.
    assert began == [100.0, 155.0, 500.0]


def test_workers_that_always_run_cost_their_own_price_and_never_start():
    found, began = by_hand(always(1), 5.0)
    assert began == [5.0]
    told = row(found, Prices(flex=1.0, always=0.5))
    assert told["starts"] == 0
    assert told["cost"] == pytest.approx(0.5 * 15.0)


# Arrivals


def test_a_daily_curve_keeps_its_mean_and_has_its_peak():
    times = arrivals.daily(random.Random(0), 100, 240, 0.9, 15)
    assert len(times) / 240 == pytest.approx(100, rel=0.03)
    by_hour = [0] * 24
    for time in times:
        by_hour[int(time / 3600) % 24] += 1
    assert sum(by_hour[13:17]) > 10 * sum(by_hour[1:5])


def test_a_burst_comes_at_once_and_a_file_begins_at_zero(tmp_path):
    times = arrivals.burst(random.Random(0), 1, 5, 40, 2)
    assert times.count(7200.0) == times.count(14400.0) == 40
    (tmp_path / "trace").write_text("30\n10\n12.5\n")
    found = arrivals.read({"kind": "file", "path": "trace"}, random.Random(0), tmp_path)
    assert found == [0.0, 2.5, 20.0]


# The command


def test_a_percentile_is_a_value_that_was_seen():
    assert [percentile([4, 1, 3, 2], p) for p in (0.5, 0.75, 0.99)] == [2, 3, 4]


def test_the_command_compares_settings_and_draws_them(tmp_path, capsys):
    drawing = tmp_path / "scaling.svg"
    assert main([str(EXAMPLE), "--seed", "3", "--picture", str(drawing)]) == 0
    out = capsys.readouterr().out
    rows = json.loads(out.splitlines()[-1])["rows"]
    assert len(rows) == len(Study.read(EXAMPLE, 3).rules)
    assert all(f"| {each['setting']} |" in out for each in rows)
    assert drawing.read_text().count("<polyline") == 3 * len(rows)
    assert main([str(EXAMPLE), "--seed", "3"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == rows


def measured(scenario, device, **rows):
    """A line as a scenario's run keeps it."""
    found = Findings()
    for name, seconds in rows.items():
        found.add(name, [Sample(seconds=each) for each in seconds])
    return as_line({"scenario": scenario, "device": device}, found)


@pytest.mark.parametrize(
    ("field", "samples"),
    [("seconds.median", (5.5, 5.7)), ("each", (5.4, 5.5, 5.9, 5.7))],
)
def test_seconds_can_come_from_rows_of_results(tmp_path, field, samples):
    for line in (
        measured("fast", "NVIDIA H200", ours=[5.4, 5.5, 5.9], b1=[11.0]),
        measured("pro", "NVIDIA H200", ours=[30.0]),
        measured("fast", "NVIDIA H200", ours=[5.7]),
    ):
        file = keep(line, "NVIDIA H200", tmp_path)
    keep(json.dumps({"card": {"scenario": "compare"}, "a": "plain"}), "NVIDIA H200", tmp_path)
    config = study(tmp_path, file, field, '"card.scenario" = "fast", name = "ours"')
    assert Study.read(config, 0).service == Times(samples=samples)


def test_rows_that_none_match_are_a_sentence(tmp_path, capsys):
    file = keep(measured("fast", "NVIDIA H200", ours=[5.4]), "NVIDIA H200", tmp_path)
    config = study(tmp_path, file, "seconds.median", '"card.scenario" = "pro"')
    assert main([str(config)]) == 2
    assert "no row like {'card.scenario': 'pro'}" in capsys.readouterr().err


def study(folder, file, field, where):
    """The example, with a job's seconds from a file."""
    lines = f'results = "{file.name}"\nfield = "{field}"\nwhere = {{ {where} }}'
    config = folder / "study.toml"
    given = EXAMPLE.read_text()
    assert "samples = [8.0, 9.0, 10.0, 14.0]" in given
    config.write_text(given.replace("samples = [8.0, 9.0, 10.0, 14.0]", lines))
    return config


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_workers = 5", "max_workers = 0", "1 or more"),
        ('kind = "daily"', 'kind = "weekly"', "poisson"),
        ("constant = 8.0", "constant = -1", "0 or more"),
        ("constant = 8.0", "seconds = 8", "one of constant"),
        ("value = 4", "delay = 4", "has no delay"),
        ("per_hour = 40", "per_hour = 0.0001", "no request"),
    ],
)
def test_a_wrong_configuration_is_a_sentence(tmp_path, capsys, old, new, words):
    config = tmp_path / "study.toml"
    config.write_text(EXAMPLE.read_text().replace(old, new))
    assert main([str(config)]) == 2
    assert words in capsys.readouterr().err


def test_a_picture_of_one_moment_can_be_drawn():
    assert "<svg" in picture([by_hand(always(1), 0.0)[0]])
