"""The short form of the soak: many kinds of jobs leave nothing behind, and what does is seen."""

import pytest

from benchmarks.run import main
from benchmarks.scenarios.soak import Sample, floor_slope, judged
from tests.worker.logged import loggers_as_before


def still(**changes):
    return Sample(**{"rss": 500.0, "descriptors": 9, "threads": 4, "files": 0, **changes})


@pytest.mark.slow
def test_a_handful_of_jobs_of_every_kind_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LTX2_CACHE", str(tmp_path))
    with loggers_as_before():
        main(["soak", "--jobs", "12", "--device", "cpu", "--no-keep"])
    said, log = capsys.readouterr()
    # Memory is judged over the long form: so few jobs only fill caches.
    problems = [
        line
        for line in said.splitlines()
        if line.startswith(("job ", "the floor of open")) or "are left" in line
    ]
    assert problems == [], said + log
    assert '"jobs":12' in said.splitlines()[-1]


def test_what_stays_the_same_is_no_problem():
    assert judged([still() for _ in range(40)], [])["problems"] == []


def test_memory_that_rises_is_a_problem():
    rising = [still(rss=500 + 2 * number + number % 5) for number in range(100)]
    assert "memory rises by 2.0" in judged(rising, [])["problems"][0]


def test_memory_of_a_gpu_that_rises_is_a_problem_too_and_is_told_where_there_is_one():
    rising = judged([still(gpu=900 + number) for number in range(100)], [])
    assert rising["problems"] == ["the GPU's memory rises by 1.00 MiB a job; 0.25 are allowed"]
    level = judged([still(gpu=900)] * 40, [])
    assert (level["problems"], set(level["gpu_floors_mib"])) == ([], {900})
    assert "gpu_floors_mib" not in judged([still()] * 40, [])


def test_a_sawtooth_is_no_rise():
    _, slope = floor_slope([500 + 80 * (number % 7) for number in range(140)])
    assert abs(slope) < 0.2


def test_files_and_lines_that_stay_open_are_problems():
    leaking = [still(descriptors=9 + number, threads=4 + number) for number in range(40)]
    problems = judged([*leaking, still(files=2, descriptors=99, threads=99)], ["job 3 was lost"])
    said = "; ".join(problems["problems"])
    for part in (
        "job 3 was lost",
        "open descriptors rose",
        "open threads rose",
        "2 files are left",
    ):
        assert part in said
