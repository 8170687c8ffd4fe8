"""The worker's start: where weights are found, how they are fetched, and what is loaded."""

import itertools
import logging
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ltx2.engine import Engine
from ltx2.errors import ConfigError
from ltx2.fit import reference_plan
from ltx2.room import GIB, Room
from ltx2.settings import Settings
from ltx2.weights import Cuda
from ltx2.worker.settings import WorkerSettings
from ltx2.worker.start import (
    LoggedBar,
    fetch_weights,
    find_weights,
    require_memory,
    start,
    usual_plan,
)
from pipelines.models import CHECKPOINTS
from pipelines.tiny import WEIGHTS
from tests.unit.checkpoint_files import GEMMA_NAME, hub_snapshot, originals, text_encoder
from tests.unit.hub_server import FakeHub, serving

ROW = CHECKPOINTS["ltx-2.3"]
GEMMA = f"google/{GEMMA_NAME}"
ON_PLATFORM = "https://example.invalid/job-done/$ID?gpu=x"


@pytest.fixture
def machine(tmp_path):
    """Settings of a machine whose places for weights are all empty."""
    return Settings(
        checkpoint=ROW.name,
        runpod_cache=tmp_path / "volume/huggingface-cache/hub",
        baked_weights=tmp_path / "models",
        volume_weights=tmp_path / "volume/models",
        cache=tmp_path / "cache",
        hub_cache=tmp_path / "hub",
    )


@pytest.fixture
def told(caplog):
    """What was logged, as lines."""
    with caplog.at_level(logging.INFO, logger="ltx2"):
        yield lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(
        "ltx2.worker.start.cuda", lambda confirm: Cuda(usable=True, reason="a CUDA GPU is there")
    )


def whole(folder: Path, *modes: str) -> Path:
    originals(folder, ROW, *(modes or ("fast",)))
    text_encoder(folder / GEMMA_NAME)
    return folder


def cached(cache: Path) -> Path:
    text_encoder(hub_snapshot(cache, GEMMA))
    return originals(hub_snapshot(cache, ROW.files.repository), ROW, "fast")


def test_weights_are_taken_from_the_cached_model_then_the_image_then_the_volume(machine, told):
    volume = whole(machine.volume_weights / ROW.name)
    assert find_weights(machine, WorkerSettings()).path == volume
    baked = whole(machine.baked_weights / ROW.name)
    assert find_weights(machine, WorkerSettings()).path == baked
    snapshot = cached(machine.runpod_cache)
    assert find_weights(machine, WorkerSettings()).path == snapshot
    own = whole(machine.baked_weights.parent / "own" / ROW.name)
    configured = replace(machine, weights=own.parent)
    assert find_weights(configured, WorkerSettings()).path == own
    assert any("the configured weights folder" in line and "complete" in line for line in told())


def test_every_place_that_was_passed_over_is_logged_with_what_it_lacks(machine, told):
    snapshot = cached(machine.runpod_cache)
    (snapshot / ROW.files.spatial_upscaler).unlink()
    volume = whole(machine.volume_weights / ROW.name)
    assert find_weights(machine, WorkerSettings()).path == volume
    first, second, third = told()
    assert first.startswith(f"ltx-2.3 in the worker's cached-model folder ({snapshot}) misses ")
    assert ROW.files.spatial_upscaler in first
    assert second == (
        f"the folder baked into the image ({machine.baked_weights}) has nothing of ltx-2.3"
    )
    assert third == f"ltx-2.3 in the network volume ({volume}) is complete for mode fast"


def test_weights_of_one_mode_are_not_enough_for_a_worker_of_both(machine):
    whole(machine.volume_weights / ROW.name, "fast")
    worker = WorkerSettings(modes="all", download=False)
    with pytest.raises(ConfigError, match=r"misses .*dev.*ltx2 download .*--mode all"):
        find_weights(machine, worker)
    whole(machine.volume_weights / ROW.name, "fast", "pro")
    assert find_weights(machine, worker) is not None


def test_weights_that_lie_nowhere_are_fetched_or_refused(machine, told):
    assert find_weights(machine, WorkerSettings(download=True)) is None
    assert len(told()) == 4
    with pytest.raises(ConfigError, match="fetch with: ltx2 download --checkpoint"):
        find_weights(machine, WorkerSettings(download=False))


@pytest.mark.usefixtures("gpu")
def test_on_the_platform_auto_is_never_the_embedded_checkpoint(machine):
    auto = replace(machine, checkpoint="auto")
    worker = WorkerSettings(post_output_url=ON_PLATFORM)
    assert find_weights(auto, worker) is None  # it is fetched there unless that is switched off
    with pytest.raises(ConfigError, match=r"ltx-2\.3: mode fast misses"):
        find_weights(auto, replace(worker, download=False))
    volume = whole(machine.volume_weights / ROW.name)
    assert find_weights(auto, worker).path == volume


def test_on_the_platform_a_gpu_that_is_missing_is_not_made_up_for_by_a_toy(machine, monkeypatch):
    missing = Cuda(usable=False, reason="this machine has no CUDA GPU")
    for place in ("ltx2.worker.start.cuda", "ltx2.weights.cuda"):
        monkeypatch.setattr(place, lambda confirm: missing)
    auto, worker = replace(machine, checkpoint="auto"), WorkerSettings(post_output_url=ON_PLATFORM)
    with pytest.raises(ConfigError, match="this machine has no CUDA GPU, and checkpoint auto is"):
        find_weights(auto, worker)
    assert find_weights(replace(auto, device="cpu"), worker).embedded


def test_elsewhere_and_without_a_gpu_auto_is_the_embedded_checkpoint(machine):
    found = find_weights(replace(machine, checkpoint="auto"), WorkerSettings(download=True))
    assert found.path == WEIGHTS
    assert found.embedded
    assert "no CUDA GPU" in found.reason


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def hub(tmp_path):
    """A hub on loopback that has the model and its text encoder."""
    model = originals(tmp_path / "remote/model", ROW, "fast", "pro")
    temporal = model / ROW.files.temporal_upscaler
    shutil.copy(model / ROW.files.spatial_upscaler, temporal)
    encoder = text_encoder(tmp_path / "remote/encoder")
    fake = FakeHub({ROW.files.repository: files_below(model), GEMMA: files_below(encoder)})
    with serving(fake) as address:
        yield fake, address


def test_weights_are_fetched_onto_the_volume_where_there_is_one(machine, hub, told):
    fake, address = hub
    machine.volume_weights.parent.mkdir()
    online = replace(machine, hf_endpoint=address)
    found = fetch_weights(online, WorkerSettings(download=True))
    assert found.path == machine.volume_weights / ROW.name
    assert "the network volume" in found.reason
    assert not (machine.volume_weights / ROW.name / ROW.files.dev).exists()  # of the other mode
    assert any("the weights of ltx-2.3 are fetched:" in line for line in told())
    assert not list(machine.volume_weights.glob(".*"))
    asked = len(fake.requests)
    assert fetch_weights(online, WorkerSettings(download=True)).path == found.path
    assert len(fake.requests) == asked


def test_without_a_volume_they_are_fetched_into_the_hubs_cache(machine, hub):
    online = replace(machine, hf_endpoint=hub[1])
    found = fetch_weights(online, WorkerSettings(download=True))
    assert found.path.is_relative_to(machine.hub_cache)
    assert not machine.volume_weights.parent.exists()


def test_workers_that_share_a_volume_fetch_a_file_once(machine, hub):
    fake, address = hub
    machine.volume_weights.parent.mkdir()
    online = replace(machine, hf_endpoint=address)
    found = []

    def fetch():
        found.append(fetch_weights(online, WorkerSettings(download=True)).path)

    workers = [threading.Thread(target=fetch) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert found == [machine.volume_weights / ROW.name] * 3
    assert len(fake.ranges(ROW.files.distilled)) == 1


@pytest.mark.parametrize("fault", ["offline", "gated", "gone"])
def test_weights_that_cannot_be_fetched_stop_the_start_with_the_reason(machine, hub, fault):
    fake, address = hub
    settings = replace(machine, hf_endpoint=address, hf_offline=fault == "offline")
    if fault == "gated":
        fake.gated.add(ROW.files.repository)
    if fault == "gone":
        fake.repositories.pop(GEMMA)
    reason = {"offline": "HF_HUB_OFFLINE", "gated": "accept its licence", "gone": "no such repos"}
    with pytest.raises(ConfigError, match=reason[fault]):
        start(settings, WorkerSettings(download=True))


def test_weights_that_are_nowhere_are_told_before_torch_comes_in(tmp_path):
    code = """
import sys
from ltx2.errors import Ltx2Error
from ltx2.settings import Settings
from ltx2.worker.settings import WorkerSettings
from ltx2.worker.start import start
try:
    start(Settings.from_env({"LTX2_CHECKPOINT": sys.argv[1]}), WorkerSettings())
except Ltx2Error:
    print("torch" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_a_worker_starts_with_everything_loaded_and_knows_what_took_how_long(tiny, told):
    ticks = itertools.count()
    settings = Settings.from_env({"LTX2_CHECKPOINT": str(tiny)})
    worker = WorkerSettings(modes="all", warm_up=True)
    started = start(settings, worker, clock=lambda: float(next(ticks)))
    phases = list(started.timings)
    assert phases[:4] == ["find weights", "import", "open", "load"]
    assert phases[-2:] == ["warm up", "start"]
    assert {"load transformer:distilled", "load transformer:dev", "load vae"} <= set(phases)
    assert started.timings["find weights"] == 1.0
    assert started.source == tiny
    assert set(started.engine.components.held) >= {"transformer:distilled", "transformer:dev"}
    assert started.reason == "it was asked for by its path"
    lines = told()
    assert "find weights took 1.00s" in lines
    assert any("tiny is a toy" in line for line in lines)


@pytest.mark.slow
def test_a_start_looks_nothing_up_in_the_network(tiny):
    """Every connection of the process would be seen, whoever makes it."""
    code = """
import sys
def forbid(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(forbid)
from ltx2.settings import Settings
from ltx2.worker.settings import WorkerSettings
from ltx2.worker.start import start
settings = Settings.from_env({"LTX2_CHECKPOINT": sys.argv[1]})
started = start(settings, WorkerSettings(modes="all", warm_up=True))
print(len(started.engine.components.held))
"""
    command = [sys.executable, "-c", code, str(tiny)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "10"), done.stderr


@pytest.fixture(scope="module")
def needs(tiny):
    """Bytes of the device that the usual clip needs at least, and one of a quarter of its length.

    In between, only a worker whose limit is lower is large enough.
    """
    engine = opened(tiny)
    row, weights = engine.checkpoint, engine.components.weights
    short = opened(tiny, LTX2_MAX_SECONDS=str(row.seconds / 4))
    room = Room(device=0, host=2**40)
    plans = (reference_plan(row, weights, "fast"), usual_plan(short, "fast"))
    return [min(each.device for each in engine.fit.forecasts(plan, room)) for plan in plans]


def opened(tiny, **variables):
    settings = Settings.from_env(variables)
    return Engine.load(str(tiny), settings=settings)


def test_a_machine_that_is_too_small_for_a_usual_clip_is_refused(tiny, needs):
    usual, short = needs
    assert short < 0.8 * usual
    between = str(1.06 * (usual + 2 * short) / 3 / GIB)
    engine = opened(tiny, LTX2_DEVICE_MEMORY_GIB=between)
    with pytest.raises(ConfigError, match=r"too small for a usual clip of mode fast: 320x192 .*"):
        require_memory(engine, ("fast",))
    row = engine.checkpoint
    seconds = str(row.seconds / 4)
    limited = opened(tiny, LTX2_DEVICE_MEMORY_GIB=between, LTX2_MAX_SECONDS=seconds)
    require_memory(limited, ("fast",))


def test_the_usual_clip_is_as_large_as_the_limits_let_through(tiny):
    engine = opened(tiny)
    usual = usual_plan(engine, "fast")
    assert (usual.width, usual.height) == (320, 192)
    assert usual.duration == pytest.approx(engine.checkpoint.seconds, abs=0.1)
    assert usual_plan(opened(tiny, LTX2_MAX_PIXELS="5000"), "fast") is None


def test_a_download_is_told_now_and_then(told, monkeypatch):
    monkeypatch.setattr(LoggedBar, "EVERY", 0.0)
    with LoggedBar(desc="model.safetensors", total=200, initial=50, unit="B") as bar:
        bar.update(50)
        monkeypatch.setattr(LoggedBar, "EVERY", 60.0)
        bar.update(50)
        bar.update(50)
    assert told() == ["model.safetensors: 50 %", "model.safetensors: 100 %"]
