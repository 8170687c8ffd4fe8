"""The embedded checkpoint: real classes, real layout, the same bytes everywhere."""

import hashlib
from pathlib import Path

import pytest
import torch

from loras import catalog
from loras.adapters import metadata
from pipelines.checkpoints.files import find
from pipelines.checkpoints.load import load
from pipelines.models import CHECKPOINTS, TINY
from pipelines.tiny import sizes
from pipelines.tiny.build import STAMP, build, is_built

PARTS = ("transformer", "connectors", "vae", "audio_vae", "vocoder")
LIMIT_BYTES = 40 * 10**6


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_builds_are_the_same_bytes(tiny, tmp_path):
    assert digests(build(tmp_path / "again")) == digests(tiny)


def test_a_complete_folder_is_left_alone_and_a_broken_one_is_replaced(tmp_path):
    folder = build(tmp_path / "tiny")
    before = (folder / STAMP).stat().st_mtime_ns
    assert build(folder).joinpath(STAMP).stat().st_mtime_ns == before
    (folder / STAMP).unlink()
    assert not is_built(folder)
    assert is_built(build(folder))
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_the_family_is_small(tiny):
    assert sum(path.stat().st_size for path in tiny.rglob("*") if path.is_file()) <= LIMIT_BYTES


def test_nothing_is_missing_in_either_mode(tiny):
    weights = find(tiny, CHECKPOINTS["tiny"])
    assert weights.layout == "original"
    assert weights.missing("fast") == weights.missing("pro") == []
    assert weights.has("temporal_upscaler")


def test_the_files_alone_tell_that_it_is_tiny(tiny):
    assert find(tiny).generation == TINY


@pytest.mark.parametrize("name", PARTS)
def test_the_loader_reads_the_sizes_of_the_table(tiny, name):
    config = load(find(tiny, CHECKPOINTS["tiny"]), name).config
    for argument, value in sizes.MODULES[name].items():
        assert config[argument] == (list(value) if isinstance(config[argument], list) else value), (
            argument
        )


def test_dev_and_distilled_differ_in_the_transformer_alone(tiny):
    weights = find(tiny, CHECKPOINTS["tiny"])
    dev, distilled = (load(weights, "transformer", variant=v) for v in ("dev", "distilled"))
    assert not torch.equal(dev.proj_in.weight, distilled.proj_in.weight)
    assert dev.config == distilled.config
    assert len(dev.transformer_blocks) > max(TINY.stg_blocks)


def test_every_tiny_lora_of_the_catalogue_is_there(tiny):
    entries = [entry for entry in catalog.entries() if "tiny" in entry.generations]
    assert {entry.kind for entry in entries} == {"camera", "detailer", "distilled"}
    assert all((tiny / entry.file).is_file() for entry in entries)
    detailer = catalog.get("detailer", "tiny")
    assert metadata(tiny / detailer.file)["reference_downscale_factor"] == str(
        sizes.DETAILER_DOWNSCALE
    )


@pytest.mark.parametrize(
    "prompt", ["a red ball", "  eine rote Kugel, groß  ", "赤いボール 🔴", "a\nb\tc"]
)
def test_the_tokenizer_reads_any_prompt_back(tiny, prompt):
    tokenizer = load(find(tiny, CHECKPOINTS["tiny"]), "tokenizer")
    ids = tokenizer(prompt)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == prompt
    assert tokenizer.unk_token_id not in ids
