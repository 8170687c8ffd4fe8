"""The flow of one job in the worker: what a lost GPU leaves, and what an error tells its caller."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from ltx2.errors import BadRequest, ConfigError, DeviceLost
from ltx2.settings import Settings
from ltx2.worker.actions import Health
from ltx2.worker.answer import refused, without_folders
from ltx2.worker.fitness import store_is_configured
from ltx2.worker.gate import Gate
from ltx2.worker.report import Reporter
from ltx2.worker.scratch import clear_leftovers, job_folder
from ltx2.worker.settings import WorkerSettings
from ltx2.worker.worker import Worker

CLIP = {"id": "job", "input": {"prompt": "a lighthouse", "seed": 1}}


class Weights:
    """What an error's traceback would hold on to."""


class Breaking:
    """Loads nothing: the GPU breaks while weights are on it."""

    def __init__(self):
        self.held, self.times = [], 0

    def __call__(self):
        weights = Weights()
        self.held.append(weakref.ref(weights))
        self.times += 1
        raise DeviceLost("the GPU does not answer")


@pytest.fixture
def settings(tmp_path):
    return Settings.from_env({"LTX2_CHECKPOINT": "tiny", "LTX2_CACHE": str(tmp_path / "cache")})


def answers(worker, *jobs):
    async def all_of_them():
        gate = Gate(worker)
        return [await gate(job) for job in jobs]

    return asyncio.run(all_of_them())


def test_a_worker_whose_gpu_is_lost_says_so_in_its_health_and_refuses_clips(settings):
    load = Breaking()
    worker = Worker(settings, WorkerSettings(), load=load)
    first, health, schema, second = answers(
        worker, CLIP, {"input": {"action": "health"}}, {"input": {"action": "schema"}}, CLIP
    )
    assert first == second
    assert (first["error_code"], first["refresh_worker"]) == ("INTERNAL", True)
    assert (health["status"], health["device"]) == ("lost", None)
    assert "input" in schema
    assert load.times == 1  # nothing was tried on a GPU that is lost


def test_what_broke_the_gpu_is_not_held_on_to(settings):
    load = Breaking()
    worker = Worker(settings, WorkerSettings(), load=load)
    gc.disable()
    try:
        with suppress(DeviceLost):
            worker.run(CLIP, stop=threading.Event(), report=Reporter(None))
        assert [held() for held in load.held] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("neither in /models/ltx-2.3 nor in the cache", "neither in ltx-2.3 nor in the cache"),
        ("'/runpod-volume/models/a b.safetensors' is cut", "'a b.safetensors' is cut"),
        ("the network volume (/runpod-volume/models/ltx-2)", "the network volume (ltx-2)"),
        ("~/.cache/hub is empty", "hub is empty"),
        ("the LoRA https://host/some/path/x.safetensors", "the LoRA https://host/some/path/x.safetensors"),
        ("owner/name:folder/x.safetensors", "owner/name:folder/x.safetensors"),
        ("24/7 and 1/2 at 3 MB/s", "24/7 and 1/2 at 3 MB/s"),
    ],
)  # fmt: skip
def test_a_worker_s_folders_are_not_told_to_its_callers(said, told):
    assert without_folders(said) == told
    assert refused(ConfigError(said))["error"] == f"CONFIG: {told}"
    assert refused(BadRequest(said))["error"] == f"BAD_REQUEST: {said}"  # the caller's own words


def test_health_does_not_say_where_the_weights_lie():
    components = SimpleNamespace(
        device=SimpleNamespace(type="cpu"), residency="resident", held=frozenset()
    )
    checkpoint = SimpleNamespace(
        name="ltx-2.3", generation=SimpleNamespace(name="ltx-2.3"), embedded=False
    )
    engine = SimpleNamespace(
        components=components,
        checkpoint=checkpoint,
        reason="its weights are in the network volume (/runpod-volume/models/ltx-2.3)",
    )
    report = Health(
        worker=WorkerSettings(),
        started=SimpleNamespace(engine=engine, timings={}),
        store="none",
        counts={},
        uptime=1.0,
        lost=False,
    ).as_dict()
    assert report["model"]["reason"] == "its weights are in the network volume (ltx-2.3)"


def test_folders_of_killed_jobs_are_cleared_and_those_of_running_ones_are_not(tmp_path):
    make = "from ltx2.worker.scratch import job_folder; import pathlib, sys\n"
    make += "folder = job_folder(pathlib.Path(sys.argv[1])); print(folder.name, flush=True)\n"
    make += "sys.stdin.read()"
    command = [sys.executable, "-c", make, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as running:
        folder = tmp_path / running.stdout.readline().strip()
        assert folder.is_dir()
        assert clear_leftovers(tmp_path) == 0
        assert folder.is_dir()
        running.kill()
    assert clear_leftovers(tmp_path) == 1
    assert not folder.exists()


def test_a_job_s_folder_of_another_machine_on_a_shared_disk_is_left_alone(tmp_path):
    ours = job_folder(tmp_path)
    name = ours.name.rpartition("/")[2]
    machine = name.removeprefix("ltx2-job-").partition("-")[0]
    theirs = tmp_path / name.replace(f"-{machine}-", f"-{machine}x-", 1)
    theirs.mkdir()
    assert clear_leftovers(tmp_path) == 1
    assert theirs.is_dir()
    ours.cleanup()


def test_the_folder_for_scratch_need_not_be_there(tmp_path):
    with job_folder(tmp_path / "not" / "yet") as folder:
        assert Path(folder).is_dir()


def test_a_store_that_is_out_of_reach_does_not_hold_up_the_start(caplog):
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        began = time.monotonic()
        store_is_configured(
            WorkerSettings(
                bucket_endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}/bucket",
                bucket_access_key="key-id",
                bucket_secret_key="secret-key",
            )
        )
    assert time.monotonic() - began < 6
    assert "the store does not answer yet" in caplog.text
