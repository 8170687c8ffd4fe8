"""The fitness checks: each refuses a machine that would fail its jobs, with a reason in words."""

import inspect
import subprocess
import sys
from dataclasses import replace

import pytest

from ltx2.settings import Settings, process_environment
from ltx2.worker.fitness import (
    checks,
    encoder_is_there,
    folders_can_be_written,
    gpu_is_usable,
    runs_on,
    store_is_configured,
    weights_can_be_had,
)
from ltx2.worker.settings import WorkerSettings
from pipelines.models import CHECKPOINTS
from tests.unit.checkpoint_files import GEMMA_NAME, originals, text_encoder

WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


@pytest.fixture
def settings(tmp_path):
    return Settings(
        checkpoint="ltx-2.3",
        cache=tmp_path / "cache",
        hub_cache=tmp_path / "hub",
        runpod_cache=None,
        baked_weights=tmp_path / "models",
        volume_weights=None,
    )


def test_a_machine_that_is_fit_passes_every_check(settings, tiny, tmp_path):
    fit = replace(settings, checkpoint=str(tiny))
    worker = WorkerSettings(scratch=tmp_path / "scratch")
    for check in checks(fit, worker):
        check()


def test_the_platform_is_told_a_name_for_each(settings):
    """The SDK reports a function's own name and awaits what is a coroutine function."""
    found = checks(settings, WorkerSettings())
    names = [check.__name__ for check in found]
    assert len(set(names)) == len(names)
    assert "<lambda>" not in names
    assert names[-1] == "weights_can_be_had"
    assert not any(inspect.iscoroutinefunction(check) for check in found)


@pytest.mark.parametrize(
    ("capability", "architectures", "fits"),
    [
        ((7, 5), WHEEL, True),
        ((7, 0), WHEEL, False),
        ((8, 9), WHEEL, True),  # by sm_86
        ((8, 6), ["sm_89"], False),
        ((9, 0), ["sm_90a"], True),
        ((10, 3), WHEEL, True),
        ((12, 1), WHEEL, True),
        ((13, 0), WHEEL, True),  # by compute_120
        ((13, 0), ["sm_120"], False),
        ((8, 0), [], False),
    ],
)
def test_code_runs_on_its_own_major_version_and_intermediate_code_on_newer_cards(
    capability, architectures, fits
):
    assert runs_on(capability, architectures) is fits


def test_a_gpu_that_is_wanted_must_be_there(settings):
    gpu_is_usable(settings)  # nothing says that there should be one
    gpu_is_usable(replace(settings, device="cpu"))
    with pytest.raises(RuntimeError, match=r"no CUDA GPU; .*LTX2_DEVICE=cpu"):
        gpu_is_usable(replace(settings, device="cuda"))


def test_a_machine_whose_ffmpeg_has_no_encoders_is_refused():
    encoder_is_there()
    code = "from ltx2.worker.fitness import encoder_is_there; encoder_is_there()"
    done = subprocess.run(  # of its own: the package that brings ffmpeg looks for it once
        [sys.executable, "-c", code],
        env={**process_environment(), "IMAGEIO_FFMPEG_EXE": "/bin/true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError: /bin/true lacks the encoders aac, libx264" in done.stderr


def test_all_folders_that_cannot_be_written_are_named_at_once(settings, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(RuntimeError) as raised:
        folders_can_be_written(
            replace(settings, cache=blocked / "cache"),
            WorkerSettings(scratch=blocked / "scratch", keep_folder=blocked / "kept"),
        )
    for name in ("LTX2_SCRATCH", "LTX2_CACHE", "LTX2_KEEP_FOLDER"):
        assert f"{name} {blocked}" in str(raised.value)
    folders_can_be_written(settings, WorkerSettings(scratch=tmp_path / "new", keep_bytes=0))


def test_a_folder_with_too_little_room_is_refused(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("ltx2.worker.fitness.LEAST_FREE", 2**60)
    with pytest.raises(RuntimeError, match=r"LTX2_SCRATCH .* bytes free; 1,152,9"):
        folders_can_be_written(settings, WorkerSettings(scratch=tmp_path))


def test_a_store_that_is_half_configured_is_refused():
    store_is_configured(WorkerSettings())
    with pytest.raises(RuntimeError, match="BUCKET_SECRET_ACCESS_KEY"):
        store_is_configured(
            WorkerSettings(bucket_endpoint="https://s3.example.com", bucket_access_key="key")
        )


def test_weights_must_be_there_whole_or_to_be_fetched(settings):
    with pytest.raises(RuntimeError, match=r"ltx-2\.3: mode fast misses"):
        weights_can_be_had(settings, WorkerSettings(download=False))
    weights_can_be_had(settings, WorkerSettings(download=True))
    with pytest.raises(RuntimeError, match="HF_HUB_OFFLINE"):
        weights_can_be_had(replace(settings, hf_offline=True), WorkerSettings(download=True))
    folder = settings.baked_weights
    originals(folder, CHECKPOINTS["ltx-2.3"], "fast")
    shards = text_encoder(folder / GEMMA_NAME)
    weights_can_be_had(settings, WorkerSettings(download=False))
    next(shards.glob("*00002*")).unlink()
    with pytest.raises(RuntimeError, match=GEMMA_NAME):
        weights_can_be_had(settings, WorkerSettings(download=False))
