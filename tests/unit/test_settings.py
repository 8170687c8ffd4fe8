"""Settings: what the environment may say, and that the document lists all of it."""

from pathlib import Path
from typing import get_args

import pytest

from ltx2 import settings as settings_module
from ltx2.errors import ConfigError
from ltx2.extent import Limits
from ltx2.gateway_settings import GatewaySettings
from ltx2.media.fetch import MediaLimits
from ltx2.setting_rows import rows, table
from ltx2.settings import Settings, known_variables
from ltx2.worker.settings import WorkerSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def problem(environ):
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(environ)
    return str(caught.value)


@pytest.mark.parametrize("settings", [Settings, WorkerSettings, GatewaySettings])
def test_the_document_lists_every_setting(settings):
    assert table(settings) in DOCUMENT.read_text(encoding="utf-8")


def test_an_empty_environment_gives_the_defaults():
    settings = Settings.from_env({})
    assert settings == Settings()
    assert settings.checkpoint == "auto"
    assert settings.cache == Path("~/.cache/ltx2").expanduser()
    assert settings.hub_cache == Path("~/.cache/huggingface/hub").expanduser()
    assert settings.device is None
    assert Settings.from_env({"LTX2_CHECKPOINT": " "}) == settings


def test_where_parts_live_is_left_to_the_machine_unless_it_is_set():
    from pipelines import components

    assert Settings().residency is None
    assert get_args(settings_module.Residency) == get_args(components.Residency)
    for mode in get_args(settings_module.Residency):
        assert Settings.from_env({"LTX2_RESIDENCY": mode}).residency == mode
    assert "one of resident, staged, freed, offload, stream" in problem({"LTX2_RESIDENCY": "gpu"})


def test_the_default_limits_are_those_of_the_planner_and_of_the_pictures():
    assert Settings().limits() == Limits()
    assert Settings().media_limits() == MediaLimits()


def test_every_value_is_read_as_its_type():
    settings = Settings.from_env(
        {
            "LTX2_CHECKPOINT": "ltx-2.3",
            "LTX2_WEIGHTS": "/weights",
            "LTX2_DEVICE": "cuda:1",
            "LTX2_DTYPE": "bfloat16",
            "LTX2_RESIDENCY": "offload",
            "LTX2_X264_CRF": "23",
            "LTX2_X264_PRESET": "slow",
            "LTX2_MAX_SECONDS": "7.5",
            "LTX2_MAX_TOKENS": "1000",
            "LTX2_MAX_PIXELS": "1000000",
            "LTX2_MAX_IMAGE_BYTES": "2048",
            "LTX2_FETCH_SECONDS": "5",
            "LTX2_ALLOW_PRIVATE_URLS": "yes",
            "HF_HUB_OFFLINE": "1",
            "PATH": "/bin",
        }
    )
    assert settings.weights == Path("/weights")
    assert (settings.device, settings.dtype) == ("cuda:1", "bfloat16")
    assert (settings.residency, settings.crf, settings.preset) == ("offload", 23, "slow")
    assert settings.hf_offline
    assert settings.limits() == Limits(max_pixels=1_000_000, max_seconds=7.5, max_tokens=1000)
    media = settings.media_limits()
    assert (media.max_bytes, media.timeout_s, media.allow_private) == (2048, 5.0, True)


def test_cache_folders_follow_one_another():
    xdg = Settings.from_env({"XDG_CACHE_HOME": "/x"})
    assert (xdg.cache, xdg.hub_cache) == (Path("/x/ltx2"), Path("/x/huggingface/hub"))
    home = Settings.from_env({"XDG_CACHE_HOME": "/x", "HF_HOME": "/h", "LTX2_CACHE": "/c"})
    assert (home.cache, home.hub_cache) == (Path("/c"), Path("/h/hub"))
    assert Settings.from_env({"HF_HUB_CACHE": "/hub"}).hub_cache == Path("/hub")


@pytest.mark.parametrize(
    ("variable", "text", "wanted"),
    [
        ("LTX2_DEVICE", "gpu", "cpu, cuda or cuda:N"),
        ("LTX2_DTYPE", "fp8", "one of float32, bfloat16"),
        ("LTX2_X264_CRF", "52", "a whole number from 1 to 51"),
        ("LTX2_X264_CRF", "-1", "a whole number from 1 to 51"),
        ("LTX2_MAX_SECONDS", "nan", "seconds from 0.1 to 20"),
        ("LTX2_MAX_SECONDS", "21", "seconds from 0.1 to 20"),
        ("LTX2_MAX_TOKENS", "lots", "a whole number"),
        ("LTX2_DEBUG", "maybe", "1 or 0"),
        ("HF_HUB_OFFLINE", "2", "1 or 0"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_with_what_can(variable, text, wanted):
    said = problem({variable: text})
    assert said.startswith(f"{variable} must be {wanted}")
    assert repr(text) in said


def test_all_faults_of_the_environment_are_said_at_once():
    said = problem({"LTX2_DEVICE": "gpu", "LTX2_DTYPE": "fp8", "LTX2_MAX_PIXEL": "1"})
    assert "LTX2_DEVICE" in said
    assert "LTX2_DTYPE" in said
    assert "LTX2_MAX_PIXEL is no setting; did you mean LTX2_MAX_PIXELS" in said


def test_a_token_is_never_shown():
    settings = Settings.from_env({"HF_TOKEN": "hf_secret"})
    assert settings.hf_token == "hf_secret"
    assert "hf_secret" not in repr(settings)
    assert settings.as_dict()["HF_TOKEN"] == "set"
    assert Settings().as_dict()["HF_TOKEN"] is None


def test_every_setting_has_a_variable_and_a_sentence_of_its_own():
    assert len(set(known_variables())) == len(known_variables())
    for settings in (Settings, WorkerSettings, GatewaySettings):
        assert all(note["sentence"].endswith(".") for _, _, note in rows(settings))


def test_a_workers_variables_are_read_as_their_types():
    worker = WorkerSettings.from_env(
        {
            "LTX2_MODES": "all",
            "LTX2_DOWNLOAD": "0",
            "LTX2_INPUT_FOLDERS": "/a:/b/c",
            "LTX2_INLINE_BYTES": "1000",
            "LTX2_EXECUTION_SECONDS": "90",
            "BUCKET_SECRET_ACCESS_KEY": "do not tell",
        }
    )
    assert (worker.modes, worker.download, worker.inline_bytes) == ("all", False, 1000)
    assert worker.input_folders == (Path("/a"), Path("/b/c"))
    assert worker.as_dict()["LTX2_INPUT_FOLDERS"] == "/a:/b/c"
    assert "do not tell" not in repr(worker) + str(worker.as_dict())
    assert WorkerSettings.from_env({}) == WorkerSettings()


def test_faults_of_a_workers_variables_are_said_at_once():
    environ = {"LTX2_MODES": "both", "LTX2_INPUT_FOLDERS": "here", "BUCKET_LINK_SECONDS": "1"}
    with pytest.raises(ConfigError) as caught:
        WorkerSettings.from_env(environ)
    said = str(caught.value)
    assert "LTX2_MODES must be one of fast, pro, all" in said
    assert "LTX2_INPUT_FOLDERS must be absolute paths" in said
    assert "BUCKET_LINK_SECONDS must be a whole number from 60 to 604800" in said


def test_a_workers_variable_is_none_that_the_engine_calls_misspelt():
    assert Settings.from_env({"LTX2_MODES": "pro"}) == Settings()
    assert "did you mean LTX2_MODES" in problem({"LTX2_MODE": "pro"})
