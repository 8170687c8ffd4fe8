"""Writing the family: from parts that are all trained, with their records, or untrained."""

import json
import shutil
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.checkpoints.files import find
from pipelines.checkpoints.load import load
from pipelines.models import CHECKPOINTS
from tiny import adapters, card, export, latents, records, sizes, upscalers, world
from tiny.loop import STATE
from tiny.modules import module
from tiny.transformer import Generator

LIMIT_BYTES = 40 * 10**6
PARTS = {"vae": "video_vae", "audio_vae": "audio_vae", "vocoder": "vocoder"}


def finish(folder, part, weights):
    """A part as training leaves it after twenty steps, the last ten of them done twice."""
    (folder / part).mkdir(parents=True, exist_ok=True)
    torch.save({"mean": weights}, folder / part / STATE)
    rows = [{"step": step, "seconds": 36.0, "square": value} for step, value in DONE]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / part / records.LOG).write_text(text)


DONE = [(10, 3.0), (20, 2.0), (20, 1.0)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_text_encoder):
    """Every part as it began, but for the distilled LoRA, which does something."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(tiny_text_encoder, folder / "text_encoder")
    for name, part in PARTS.items():
        made = module(name, seed=3)
        finish(folder, part, made.state_dict())
        if name != "vocoder":
            ones = torch.ones_like(made.latents_mean)
            statistics = {"latents_mean": 0.25 * ones, "latents_std": 0.5 * ones}
            torch.save(statistics, folder / part / latents.STATISTICS)
    for name in sizes.UPSCALERS:
        finish(folder, name, upscalers._scaled(folder, name).state_dict())
    model = Generator(seed=3)
    finish(folder, "transformer", model.state_dict())
    adapters.add(model.transformer, sizes.LORA_RANKS["distilled"], everything=True, seed=0)
    found = {k: torch.full_like(v, 0.01) for k, v in model.state_dict().items() if ".lora_" in k}
    finish(folder, "distilled", found)
    for move in world.CAMERAS:
        finish(folder, f"camera_{move}", {})
    finish(folder, "detailer", {})
    return folder


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """What the command wrote of it: the family, and the records."""
    to = tmp_path_factory.mktemp("exported")
    arguments = [str(to / "family"), "--folder", str(trained), "--records", str(to / "records")]
    assert export.main(arguments) == 0
    return to


def test_the_family_is_whole_small_and_readable_by_everyone(exported):
    family = exported / "family"
    weights = find(family, CHECKPOINTS["tiny"])
    assert weights.missing("fast") == weights.missing("pro") == []
    files = [path for path in family.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LIMIT_BYTES
    assert all(path.stat().st_mode & stat.S_IROTH for path in files)


def test_the_parts_are_those_that_were_trained(exported, trained):
    weights = find(exported / "family", CHECKPOINTS["tiny"])
    vae = load(weights, "vae")
    assert vae.latents_mean.unique().item() == 0.25
    assert vae.latents_std.unique().item() == 0.5
    wanted = module("vae", seed=3).state_dict()["decoder.conv_in.conv.weight"]
    found = vae.state_dict()["decoder.conv_in.conv.weight"]
    assert torch.equal(found, wanted.to(torch.bfloat16).float())


def test_the_distilled_model_is_the_dev_model_with_the_distilled_lora(exported):
    weights = find(exported / "family", CHECKPOINTS["tiny"])
    dev, distilled = (load(weights, "transformer", variant=v) for v in ("dev", "distilled"))
    added = distilled.proj_in.weight - dev.proj_in.weight
    rank = sizes.LORA_RANKS["distilled"]
    assert added.mean().item() == pytest.approx(rank * 0.01**2, rel=0.05)
    lora = load_file(exported / "family" / str(sizes.FILES.distilled_lora))
    assert {value.dtype for value in lora.values()} == {torch.bfloat16}
    assert any("audio" in name for name in lora)


def test_the_records_are_recipe_log_and_curve_of_every_part(exported):
    kept = exported / "records"
    assert {path.name for path in kept.iterdir()} == set(records.recipes())
    for part, recipe in records.recipes().items():
        names = {path.name for path in (kept / part).iterdir()}
        assert names == {records.RECIPE, records.LOG, records.CURVE}
        assert json.loads((kept / part / records.RECIPE).read_text())["steps"] == recipe.steps
    rows = (kept / "vocoder" / records.LOG).read_text().splitlines()
    assert [json.loads(row)["square"] for row in rows] == [3.0, 1.0]  # each step once, the last
    found = records.read(kept)
    assert list(found) == list(records.recipes())
    assert (found["vocoder"].steps, found["vocoder"].hours) == (20, 0.01)


def test_nothing_is_written_while_a_part_is_missing_and_all_are_named(trained, tmp_path, capsys):
    for part in records.recipes():
        if part not in ("vocoder", "camera_jib_up"):
            (tmp_path / "half" / part).mkdir(parents=True)
            for file in (STATE, records.LOG):
                (tmp_path / "half" / part / file).symlink_to(trained / part / file)
    arguments = ["--folder", str(tmp_path / "half"), "--records", str(tmp_path / "records")]
    assert export.main([str(tmp_path / "new"), *arguments]) == 2
    said = capsys.readouterr().err
    for missing in ("vocoder/state.pt", "vocoder/log.jsonl", "camera_jib_up/state.pt"):
        assert missing in said
    assert "detailer" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["half"]


def test_parts_that_learnt_another_text_encoders_words_are_not_exported(
    trained, tiny_text_encoder, tmp_path, capsys
):
    for path in trained.iterdir():
        (tmp_path / "other").mkdir(exist_ok=True)
        if path.name != "text_encoder":
            (tmp_path / "other" / path.name).symlink_to(path)
    arguments = [str(tmp_path / "new"), "--folder", str(tmp_path / "other")]
    assert export.main(arguments) == 2
    assert "text_encoder is missing" in capsys.readouterr().err
    encoder = shutil.copytree(tiny_text_encoder, tmp_path / "other" / "text_encoder")
    file = encoder / "model.safetensors"
    tensors = load_file(file)
    name = "language_model.model.embed_tokens.weight"
    save_file({**tensors, name: tensors[name].roll(1, 0)}, file, {"format": "pt"})
    assert export.main(arguments) == 2
    assert "another one's words" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_there_is_not_written_into(tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    assert export.main([str(tmp_path), "--untrained"]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_untrained_weights_have_no_records(tmp_path):
    with pytest.raises(SystemExit):
        export.main([str(tmp_path / "new"), "--untrained", "--records", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_the_card_of_what_was_exported_tells_of_every_part(exported):
    trained = records.read(exported / "records")
    assert "| camera jib up | 20 | 0.0 | square 1 |" in card.training(trained)
