"""A batch on the embedded checkpoint: clips as alone, what is done stays done, shared work."""

import contextlib
import hashlib
import json
import signal
import subprocess
import sys

import pytest

from ltx2.cli import main
from ltx2.delivery.file import ToFile
from ltx2.request import Request
from ltx2.session import generate
from tests.stages.launched import accelerated, environment

SMALL = {"width": 128, "height": 64, "num_frames": 9}
LINES = [
    {"prompt": "a red ball", "seed": 7, **SMALL},
    {"prompt": "a red ball", "seed": 8, "mode": "pro", "num_inference_steps": 2, **SMALL},
    {"prompt": "a blue ring", "seed": 9, "camera_motion": "dolly_in", **SMALL},
    {"prompt": "a blue ring", "seed": 9, **SMALL},
]


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A folder to work in, with a batch in it, where commands take the embedded checkpoint."""
    monkeypatch.setenv("LTX2_CHECKPOINT", "tiny")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requests.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    return tmp_path


COMMAND = ["batch", "requests.jsonl", "--out", "made"]


def records(text):
    return {record["line"]: record for record in map(json.loads, text.splitlines())}


def shas(folder):
    return {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.mp4")
    }


def only_whole_clips(folder, count):
    names = sorted(path.name for path in folder.iterdir())
    assert names.pop() == "results.jsonl"
    assert len(names) == count
    assert all(name.endswith(".mp4") for name in names)


@pytest.mark.slow
def test_a_batch_makes_the_clips_that_each_request_makes_alone(shell, capsys, engine):
    assert main(COMMAND) == 0
    told = records(capsys.readouterr().out)
    assert set(told) == {1, 2, 3, 4}
    for number, fields in enumerate(LINES, start=1):
        alone = generate(Request(**fields), engine=engine, deliver=ToFile(shell / f"{number}.mp4"))
        assert told[number]["sha256"] == alone.encoded.sha256, number
        made = shell / "made" / told[number]["file"]
        assert made.read_bytes() == (shell / f"{number}.mp4").read_bytes()
        assert told[number]["video_url"] == made.as_uri()
    only_whole_clips(shell / "made", 4)

    # Again: every line is told, nothing is made anew.
    before = {path: path.stat().st_mtime_ns for path in (shell / "made").iterdir()}
    assert main(COMMAND) == 0
    out, err = capsys.readouterr()
    assert {n: r["finished_at"] for n, r in records(out).items()} == {
        n: r["finished_at"] for n, r in told.items()
    }
    assert "all of 4 are done" in err
    assert {path: path.stat().st_mtime_ns for path in (shell / "made").iterdir()} == before

    # A clip that was taken away is made again, the same.
    lost = shell / "made" / told[3]["file"]
    lost.unlink()
    assert main(COMMAND) == 0
    assert records(capsys.readouterr().out)[3]["sha256"] == told[3]["sha256"]
    assert lost.exists()


def test_what_fails_is_told_and_the_others_are_made(shell, capsys):
    """A picture that goes between the check and the run; a rerun tries it again."""
    from PIL import Image

    from ltx2.batch.run import Run

    Image.new("RGB", (64, 64), "red").save("photo.png")
    lines = [{**LINES[0], "image": "photo.png"}, LINES[3]]
    (shell / "requests.jsonl").write_text("\n".join(map(json.dumps, lines)))
    works = Run.work_through

    def after_the_picture_went(self, planned):
        (shell / "photo.png").rename(shell / "away.png")
        works(self, planned)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "work_through", after_the_picture_went)
        assert main(COMMAND) == 2
    told = records(capsys.readouterr().out)
    assert "image" in told[1]["error"]
    assert told[2]["bytes"] > 0
    only_whole_clips(shell / "made", 1)
    (shell / "away.png").rename(shell / "photo.png")
    assert main(COMMAND) == 0
    told = records(capsys.readouterr().out)
    assert "error" not in told[1]
    only_whole_clips(shell / "made", 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_lost_leaves_whole_clips_and_a_rerun_makes_the_rest(shell, capsys, kind):
    running = subprocess.Popen(
        [sys.executable, "-m", "ltx2", *COMMAND],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with running:
        first = json.loads(running.stdout.readline())
        running.send_signal(kind)
        rest = running.stdout.read()
    assert running.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[kind]
    kept = shas(shell / "made")
    done = 1 + rest.count("\n")
    assert done < 4, "the process was not stopped in time"
    assert kept[first["job"]] == first["sha256"]
    assert main(COMMAND) == 0
    told = records(capsys.readouterr().out)
    assert set(told) == {1, 2, 3, 4}
    assert told[first["line"]]["finished_at"] == first["finished_at"]
    only_whole_clips(shell / "made", 4)
    assert kept.items() <= shas(shell / "made").items()


@pytest.mark.slow
def test_two_processes_share_a_batch_without_double_work(shell):
    done = accelerated(2, "-m", "ltx2", *COMMAND)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert sorted(record["line"] for record in told) == [1, 2, 3, 4]
    kept = (shell / "made" / "results.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["line"] for line in kept) == [1, 2, 3, 4]
    assert "process 0: " in done.stderr
    assert "process 1: " in done.stderr
    only_whole_clips(shell / "made", 4)
    with contextlib.redirect_stdout(sys.stderr):
        assert main(["batch", "requests.jsonl", "--out", "alone"]) == 0
    assert shas(shell / "alone") == shas(shell / "made")
