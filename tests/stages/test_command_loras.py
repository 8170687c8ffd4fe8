"""LoRAs by an address on the command line: judged by the weights before they are fetched."""

import json

import pytest

from ltx2.cli import main
from tests.media.server import serving
from tests.media.test_lora_sources import LORA, content

SMALL = ["--width", "128", "--height", "64", "--num-frames", "9", "--seed", "7", "-o", "out.mp4"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A machine with the embedded checkpoint, in an empty folder; its cache's folder of LoRAs."""
    home = tmp_path / "cache"
    home.mkdir()
    monkeypatch.setenv("LTX2_CACHE", str(home))
    monkeypatch.setenv("LTX2_CHECKPOINT", "tiny")
    monkeypatch.setenv("LTX2_ALLOW_PRIVATE_URLS", "1")
    monkeypatch.chdir(tmp_path)
    return home


def kept(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def test_what_does_not_fit_is_refused_by_its_place_in_the_request_and_not_kept(cache, capsys):
    misfit = content(inputs=4096, rank=64)  # more than what a connection holds unread
    with serving({"/style.safetensors": misfit}) as server:
        url = server.url("/style.safetensors?key=secret")
        assert main(["generate", "a red ball", *SMALL, "--lora", url]) == 2
    told = capsys.readouterr().err
    assert "error: loras[0]: style.safetensors: other shapes than 1 layer" in told
    assert "secret" not in told
    assert kept(cache) == []


def test_nothing_is_asked_of_a_server_where_the_weights_are_missing(cache, capsys, tmp_path):
    with serving({"/style.safetensors": LORA}) as server:
        line = ["generate", "a red ball", *SMALL, "--lora", server.url("/style.safetensors")]
        assert main([*line, "--checkpoint", "ltx-2.3"]) == 1
        assert server.asked == []
    assert "ltx-2.3" in capsys.readouterr().err
    assert kept(cache) == []


def test_what_fits_is_kept_and_acts_and_its_plan_says_that_it_was_read(cache, capsys):
    with serving({"/style.safetensors": content()}) as server:
        line = ["generate", "a red ball", *SMALL, "--lora", server.url("/style.safetensors")]
        assert main([*line, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [(each["stage"], each["layers"]) for each in result["loras"]] == [
        ("base", 1), ("refine", 1),
    ]  # fmt: skip
    assert "was not read" not in captured.err
    assert len(kept(cache)) == 1
