"""The parity data are what they say: the checkpoints are the reference's, every case is whole."""

import hashlib
import json

import numpy as np
import pytest

from tests.parity import cases, maker


@pytest.mark.parametrize("version", cases.VERSIONS)
def test_the_checkpoints_are_the_bytes_the_reference_read(checkpoints, version):
    recorded = json.loads((maker.DATA / "sha256.json").read_text())
    for name in maker.files_of(version):
        content = (checkpoints / version / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == recorded[name], name


def test_every_file_of_the_table_belongs_to_a_generation():
    listed = [name for version in cases.VERSIONS for name in maker.files_of(version)]
    assert sorted(listed) == sorted(maker.table()["files"])


@pytest.mark.parametrize("version", cases.VERSIONS)
def test_every_case_is_finite_and_names_itself(version):
    for name in cases.names(version):
        case = cases.load(version, name)
        assert (case.recipe["version"], case.recipe["case"]) == (version, name)
        assert any(key.startswith("out_") for key in case.arrays)
        for key, array in case.arrays.items():
            assert np.isfinite(array.numpy()).all(), key


def test_a_wrong_number_is_noticed():
    reference = cases.load("2.0", "t2v_distilled")["out_video"]
    cases.assert_close(reference + 5e-5, reference, "close")
    with pytest.raises(AssertionError, match="off by"):
        cases.assert_close(reference + 5e-4, reference, "far")


def test_not_a_number_is_noticed():
    reference = cases.load("2.0", "t2v_distilled")["out_video"]
    with pytest.raises(AssertionError, match="off by nan"):
        cases.assert_close(reference * float("nan"), reference, "broken")


def test_the_data_stay_small():
    held = [path.stat().st_size for path in maker.DATA.rglob("*") if path.is_file()]
    assert sum(held) <= 12_000_000
    assert max(held) < 500_000
