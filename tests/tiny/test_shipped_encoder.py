"""The text encoder that is shipped is the one that the code writes: nobody trained or kept it."""

import json

import torch
from safetensors.torch import load_file

from pipelines.tiny import WEIGHTS
from tiny import sizes
from tiny.text_encoder import write_text_encoder

SHIPPED = WEIGHTS / sizes.TEXT_ENCODER


def content(path):
    """What a file says; which version of transformers wrote it is no part of that."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return text
    return {k: v for k, v in json.loads(text).items() if k != "transformers_version"}


def test_its_files_say_what_the_code_writes(tiny_text_encoder):
    """The vocabulary above all: a word with another number would be another word."""
    names = {path.name for path in SHIPPED.iterdir()}
    assert names == {path.name for path in tiny_text_encoder.iterdir()}
    others = [
        name
        for name in sorted(names - {"model.safetensors"})
        if content(SHIPPED / name) != content(tiny_text_encoder / name)
    ]
    assert others == []


def test_its_weights_are_those_that_the_code_draws(tiny_text_encoder):
    shipped, written = (
        load_file(folder / "model.safetensors") for folder in (SHIPPED, tiny_text_encoder)
    )
    assert set(shipped) == set(written)
    for name, value in written.items():
        # Processors differ in the last bit of what they draw.
        torch.testing.assert_close(shipped[name], value, rtol=0.01, atol=1e-6, msg=name)


def test_the_code_writes_the_same_bytes_each_time(tiny_text_encoder, tmp_path):
    torch.manual_seed(1234)
    write_text_encoder(tmp_path / "again")
    for path in tiny_text_encoder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_word_that_moved_in_the_vocabulary_is_noticed(tiny_text_encoder, tmp_path):
    path = tiny_text_encoder / "tokenizer.json"
    other = json.loads(path.read_text(encoding="utf-8"))
    known = other["model"]["vocab"]
    known["red"], known["blue"] = known["blue"], known["red"]
    (tmp_path / path.name).write_text(json.dumps(other), encoding="utf-8")
    assert content(tmp_path / path.name) != content(path)
