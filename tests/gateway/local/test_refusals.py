"""What keeps `ltx2 studio` from starting is told before any worker is."""

import socket

import pytest

from gateway.alone import alone
from gateway.backends.local import Model
from gateway.local import FOLDER, local_settings
from ltx2.cli import main
from ltx2.errors import ConfigError


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder of its own: exit code and what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*options):
        code = main(["studio", *options])
        return code, capsys.readouterr().err

    return run


def test_a_port_that_is_taken_is_a_sentence(told):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = told("--port", str(port))
    assert code == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in said
    assert not FOLDER.exists()


@pytest.mark.parametrize("port", ["x", "-1", "65536"])
def test_a_port_that_is_none_is_refused(told, port):
    code, said = told(f"--port={port}")
    assert (code, "--port must be a whole number from 0 to 65535" in said) == (2, True)


def test_two_studios_do_not_share_a_folder(told):
    with alone(FOLDER.absolute() / "gateway.db", taken="taken"):
        code, said = told("--port", "0")
    assert code == 1
    assert "another ltx2 studio uses ltx2-studio" in said
    assert not (FOLDER / "worker.log").exists()
    with alone(FOLDER.absolute() / "gateway.db", taken="taken"):  # and it is free afterwards
        pass


def test_a_folder_that_cannot_be_made_is_a_sentence(told, tmp_path):
    (tmp_path / FOLDER).write_text("a file")
    code, said = told("--port", "0")
    assert (code, "cannot be written" in said) == (1, True)


def test_a_night_between_two_starts_ends_no_video(tmp_path):
    model = Model(checkpoint="ltx-2.3", reason="", embedded=False, modes="fast")
    settings = local_settings(tmp_path, model, worker="http://127.0.0.1:1/v2/local")
    assert settings.ttl_seconds >= 24 * 3600
    assert settings.loaded_modes == ("fast",)


def test_a_lock_is_held_by_one(tmp_path):
    file = tmp_path / "new" / "gateway.db"
    ours, theirs = alone(file, taken="mine"), alone(file, taken="mine")
    with ours, pytest.raises(ConfigError, match=r"^mine$"), theirs:
        raise AssertionError("two had it")
    with alone(file, taken="mine"):
        assert not file.exists()
