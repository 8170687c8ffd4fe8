"""A batch without models: what its lines ask for, in which order, and who does what."""

import json
from itertools import pairwise

import pytest

from ltx2.batch.jobs import named, read_lines
from ltx2.batch.ledger import Ledger, now
from ltx2.batch.order import Planned, ordered, shares, turns
from ltx2.cli import main
from ltx2.errors import BadRequest, ConfigError
from ltx2.planner import plan
from ltx2.request import Request
from ltx2.settings import Launch, Settings

SMALL = {"seed": 7, "width": 128, "height": 128, "num_frames": 9}


def written(folder, *lines):
    path = folder / "requests.jsonl"
    path.write_text(
        "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    )
    return path


def jobs_of(path, checkpoint="tiny"):
    return named(read_lines(path), checkpoint, Settings())


def planned(path):
    return [Planned(job=job, plan=plan(job.request)) for job in jobs_of(path)]


# Lines


def test_every_problem_of_every_line_is_told_with_its_line(tmp_path):
    path = written(
        tmp_path,
        {"prompt": "a ball"},
        {"prompt": "", "fps": 23},
        "",
        "{no json",
        {"promt": "a ball"},
        '["a list"]',
    )
    with pytest.raises(BadRequest) as caught:
        read_lines(path)
    told = [problem.partition(":")[0] for problem in caught.value.problems]
    assert told == ["line 2", "line 2", "line 4", "line 5", "line 5", "line 6"]


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_a_request_is_refused(tmp_path, content):
    with pytest.raises(BadRequest, match="has no request"):
        read_lines(written(tmp_path, content))


def test_lines_keep_their_numbers_over_empty_ones_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n\r\n{"prompt": "b"}\r\n')
    assert [line.number for line in read_lines(path)] == [1, 3]


def test_bad_lines_and_bad_options_are_refused_together_and_nothing_is_made(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, {"prompt": "a", "fps": 23}, {"prompt": "b", "image": "none.png"})
    line = ["batch", "requests.jsonl", "--out", "made", "--device", "tpu", "--sed", "7"]
    assert main([*line, "--checkpoint", "tiny"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    for word in ("--device", "--sed", "line 1: fps"):
        assert word in err
    assert main(["batch", "none.jsonl", "--out", "made"]) == 2
    assert "none.jsonl cannot be read" in capsys.readouterr().err


def test_what_only_a_plan_can_refuse_is_told_for_all_lines_before_weights(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    written(
        tmp_path,
        {"prompt": "a", "image": "none.png"},
        {"prompt": "b"},
        {"prompt": "c", "width": 4096, "height": 4096},
    )
    # Weights that are not on this machine: they are not looked for yet.
    assert main(["batch", "requests.jsonl", "--out", "made", "--checkpoint", "ltx-2.3"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    told = [line.partition(": ")[2] for line in err.splitlines()]
    assert [text[:6] for text in told] == ["line 1", "line 3"]
    assert list((tmp_path / "made").iterdir()) == []


# Names


def test_equal_work_has_equal_names_wherever_it_stands(tmp_path):
    ball, ring = {"prompt": "a ball", **SMALL}, {"prompt": "a ring", **SMALL}
    first = {job.request.prompt: job.key for job in jobs_of(written(tmp_path, ball, ring))}
    again = {job.request.prompt: job.key for job in jobs_of(written(tmp_path, ring, "", ball))}
    assert first == again
    assert len(set(first.values())) == 2


def test_a_repeated_line_has_a_name_of_its_own(tmp_path):
    ball = {"prompt": "a ball", **SMALL}
    keys = [job.key for job in jobs_of(written(tmp_path, ball, ball, ball))]
    assert keys[1:] == [f"{keys[0]}-2", f"{keys[0]}-3"]


def test_other_weights_or_another_picture_are_other_work(tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"one")
    path = written(tmp_path, {"prompt": "a ball", "image": str(picture), **SMALL})
    key = jobs_of(path)[0].key
    assert jobs_of(path)[0].key == key
    assert jobs_of(path, "ltx-2.3")[0].key != key
    assert named(read_lines(path), "tiny", Settings().quantised("int8"))[0].key != key
    picture.write_bytes(b"two")
    assert jobs_of(path)[0].key != key


# Order


def changes(items, key):
    values = [key(item) for item in items]
    return sum(a != b for a, b in pairwise(values))


def mixed(folder):
    lines = [
        {"prompt": prompt, "mode": mode, "camera_motion": camera, **SMALL}
        for prompt in ("a ball", "a ring")
        for camera in ("none", "dolly_in")
        for mode in ("fast", "pro")
    ]
    return planned(written(folder, *lines))


def test_weights_change_least_then_loras_and_nothing_is_lost(tmp_path):
    items = mixed(tmp_path)
    found = ordered(items)
    assert sorted(item.job.line for item in found) == [item.job.line for item in items]
    assert changes(found, lambda item: item.plan.mode) == 1
    assert changes(found, lambda item: (item.plan.mode, item.plan.base.adapters)) == 3
    assert changes(items, lambda item: item.plan.mode) == 7
    assert found[0] == items[0]


def test_jobs_alike_keep_the_order_of_the_file(tmp_path):
    lines = [{"prompt": "a ball", **SMALL, "seed": seed} for seed in (5, 3, 9)]
    items = planned(written(tmp_path, *lines))
    assert ordered(items) == items


@pytest.mark.parametrize("processes", [1, 2, 3, 8, 20])
def test_every_job_is_in_one_share_and_every_process_would_see_all_of_them(tmp_path, processes):
    items = ordered(mixed(tmp_path))
    parts = shares(items, processes)
    assert [item for part in parts for item in part] == items
    for process in range(processes):
        seen = list(turns(parts, process))
        assert seen[: len(parts[process])] == parts[process]
        assert sorted(item.job.line for item in seen) == list(range(1, 9))


def test_shares_are_of_about_equal_work(tmp_path):
    lines = [{"prompt": f"{n}", **SMALL, "num_frames": 9 + 8 * (n % 3)} for n in range(24)]
    items = ordered(planned(written(tmp_path, *lines)))
    works = [sum(item.work for item in part) for part in shares(items, 3)]
    assert max(works) - min(works) <= 2 * max(item.work for item in items)


# Ledger


def result(key, folder, content=b"clip"):
    (folder / f"{key}.mp4").write_bytes(content)
    return {"job": key, "line": 1, "bytes": len(content)}


def test_done_is_a_result_and_its_clip(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.add(result("one", tmp_path))
        ledger.add(result("two", tmp_path))
        ledger.add({"job": "three", "error": "TOO_LARGE: no"})
        (tmp_path / "two.mp4").write_bytes(b"cl")  # cut short by hand
        done = {key: ledger.is_done(record) for key, record in ledger.records().items()}
    assert done == {"one": True, "two": False, "three": False}


def test_a_torn_line_is_no_record_and_the_next_one_stands_alone(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.add(result("one", tmp_path))
        path = tmp_path / "results.jsonl"
        path.write_bytes(path.read_bytes() + b'{"job": "two", "by')
        assert set(ledger.records()) == {"one"}
        ledger.add(result("three", tmp_path))
        assert set(ledger.records()) == {"one", "three"}
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_one_job_is_claimed_once_and_free_afterwards(tmp_path):
    with Ledger(tmp_path) as mine, Ledger(tmp_path) as other:
        with mine.claimed("one") as ours:
            assert ours is not None
            with other.claimed("one") as theirs, other.claimed("two") as free:
                assert theirs is None
                assert free is not None
        with other.claimed("one") as theirs:
            assert theirs is not None


def test_what_a_lost_process_left_of_a_job_goes_with_the_next_claim(tmp_path):
    with Ledger(tmp_path) as ledger:
        left = tmp_path / ".work" / "one" / ".ltx2-x" / "half.mp4"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
        with ledger.claimed("one") as deliver:
            assert list(deliver.work.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_the_last_to_leave_takes_the_folder_of_work_away(tmp_path):
    with Ledger(tmp_path):
        with Ledger(tmp_path):
            pass
        assert (tmp_path / ".work").is_dir()
    assert not (tmp_path / ".work").exists()


def test_a_folder_that_cannot_be_is_a_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    path = written(tmp_path, {"prompt": "a"})
    assert main(["batch", str(path), "--out", str(tmp_path / "file" / "below")]) == 2
    assert "--out: cannot write" in capsys.readouterr().err


def test_later_times_sort_behind_earlier_ones():
    times = [now() for _ in range(50)]
    assert times == sorted(times)


# Processes


def test_the_launcher_says_which_process_this_is():
    assert Launch.from_env({}) == Launch(rank=0, local_rank=0, processes=1)
    found = Launch.from_env({"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"})
    assert found == Launch(rank=5, local_rank=1, processes=8)


@pytest.mark.parametrize("environ", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x"}])
def test_a_launcher_that_contradicts_itself_is_refused(environ):
    with pytest.raises(ConfigError, match="RANK="):
        Launch.from_env(environ)


def test_one_clip_by_several_processes_has_to_be_asked_for():
    assert "torchrun" in Launch().problems(parallel=True)[0]
    several = Launch(rank=1, local_rank=1, processes=2)
    assert "add --parallel" in several.problems(parallel=False)[0]
    assert several.problems(parallel=True) == Launch().problems(parallel=False) == []


def test_a_request_is_read_as_the_command_line_reads_it(tmp_path):
    lines = read_lines(written(tmp_path, {"prompt": "a", "mode": "pro", "stg_scale": 0}))
    assert lines[0].request == Request(prompt="a", mode="pro", stg_scale=0)
