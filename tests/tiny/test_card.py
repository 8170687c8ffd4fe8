"""The model card: what it says of measures, records and files, and that the shipped one is true."""

import shutil

import pytest

from pipelines.tiny import WEIGHTS
from tests.rules.tree import ROOT
from tiny import captions, card, records
from tiny.evaluate import report
from tiny.evaluate.measures import Measure
from tiny.evaluate.report import Report
from tiny.records import Record

GOOD = Measure(name="colour", value=0.97, least=0.95, control=0.125, most=0.2, of=200)
BAD = Measure(name="first frame (dB)", value=19.5, least=25.0, control=12.0, most=20.0, of=50)


def test_a_card_says_what_was_measured_trained_and_written(untrained_family):
    found = Report(weights=report.digest(untrained_family)).with_group("a", 200, [GOOD, BAD])
    trained = {
        "video_vae": Record(recipe={}, last={"step": 1700, "seconds": 5400, "clip_db": 31.25}),
        "vocoder": Record(recipe={}, last={"step": 500, "seconds": 1800, "snr_db": 20.0}),
    }
    text = card.text(untrained_family, found, trained)
    assert "| colour | 0.97 | 0.95 | 0.125 | 200 | yes |" in text
    assert "| first frame (dB) | 19.5 | 25 | 12 | 50 | no |" in text
    assert "| video vae | 1700 | 1.5 | clip_db 31.2 |" in text
    assert "Together 2.0 hours" in text
    for file in untrained_family.rglob("*.safetensors"):
        assert f"`{file.relative_to(untrained_family).as_posix()}`" in text
    assert "| video VAE | 0 |" not in text
    assert "license: apache-2.0" in text
    assert all(colour in text for colour in ("red", "purple", "white"))
    assert "Clips are 320x192" in text
    assert all(f'"{said}"' in text for said in captions.CAMERA.values())


def test_a_report_of_other_weights_makes_no_card(untrained_family):
    with pytest.raises(card.OtherWeights, match="is of other weights"):
        card.text(untrained_family, Report(weights="0"), {})


def test_the_command_says_what_is_missing_and_writes_nothing(tmp_path, capsys):
    assert card.main(["--weights", str(tmp_path), "--records", str(tmp_path)]) == 2
    assert report.FILE in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_card_is_not_written_without_the_records_of_every_part(
    untrained_family, tmp_path, capsys
):
    weights = shutil.copytree(untrained_family, tmp_path / "weights")
    report.write(weights / report.FILE, Report(weights=report.digest(weights)))
    (tmp_path / "vocoder").mkdir()
    (tmp_path / "vocoder" / records.RECIPE).write_text("{}")
    (tmp_path / "vocoder" / records.LOG).write_text('{"step": 1, "seconds": 2}\n')
    assert card.main(["--weights", str(weights), "--records", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "camera_jib_up" in said
    assert "vocoder" not in said
    assert not (weights / card.FILE).exists()


def test_the_shipped_card_is_what_the_shipped_files_and_records_say():
    found = report.read(WEIGHTS / report.FILE)
    trained = records.read(ROOT / card.RECORDS)
    assert set(trained) == set(records.recipes())
    assert (WEIGHTS / card.FILE).read_text(encoding="utf-8") == card.text(WEIGHTS, found, trained)
