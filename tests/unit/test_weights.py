"""Finding weights on this machine: the order of the places, what is missing, and what `auto`
chooses.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ltx2 import weights
from ltx2.errors import BadRequest, ConfigError
from ltx2.planner import plan
from ltx2.request import Request
from ltx2.settings import Settings
from ltx2.sources import original_files
from ltx2.weights import (
    Cuda,
    cuda,
    lora_file,
    missing_extras,
    missing_files,
    note,
    places,
    resolve,
    row_of,
    snapshot,
)
from pipelines.models import CHECKPOINTS
from pipelines.tiny import WEIGHTS
from tests.unit.checkpoint_files import (
    GEMMA_NAME,
    hub_snapshot,
    originals,
    safetensors,
    text_encoder,
)

ROW = CHECKPOINTS["ltx-2.3"]
GEMMA = f"google/{GEMMA_NAME}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A machine of which nothing but `tmp_path` is looked at."""
    return Settings(
        weights=None,
        runpod_cache=tmp_path / "huggingface-cache" / "hub",
        baked_weights=tmp_path / "models",
        volume_weights=tmp_path / "volume",
        hub_cache=tmp_path / "hf" / "hub",
        cache=tmp_path / "cache",
        hf_home=tmp_path / "hf",
    )


def fill(settings: Settings, place: str) -> Path:
    """Both modes of LTX-2.3 with the text encoder, laid out as the place has it."""
    folder = getattr(settings, place)
    if place in ("runpod_cache", "hub_cache"):
        text_encoder(hub_snapshot(folder, GEMMA))
        return originals(hub_snapshot(folder, ROW.files.repository), ROW, "fast", "pro")
    text_encoder(folder / ROW.name / GEMMA_NAME)
    return originals(folder / ROW.name, ROW, "fast", "pro")


ORDER = ("weights", "runpod_cache", "baked_weights", "volume_weights", "hub_cache")


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_places_are_looked_at_in_their_order(
    settings: Settings, tmp_path: Path, first: int
) -> None:
    settings = replace(settings, weights=tmp_path / "configured")
    filled = {place: fill(settings, place) for place in ORDER[first:]}
    found = resolve("ltx-2.3", settings, mode="all")
    assert found.path == filled[ORDER[first]]
    assert found.layout == "original"
    assert places(settings)[first].words in found.reason


def test_a_place_that_lacks_a_file_is_passed_over(settings: Settings) -> None:
    (fill(settings, "baked_weights") / ROW.files.distilled).unlink()
    whole = fill(settings, "hub_cache")
    assert resolve("ltx-2.3", settings, mode="fast").path == whole
    assert resolve("ltx-2.3", settings, mode="pro").path != whole


def test_the_plain_folder_itself_may_hold_the_files(settings: Settings) -> None:
    folder = settings.baked_weights
    assert folder is not None
    originals(folder, ROW, "fast")
    text_encoder(folder / GEMMA_NAME)
    assert resolve("ltx-2.3", settings, mode="fast").path == folder


def test_the_text_encoder_may_lie_in_another_place(settings: Settings) -> None:
    assert settings.runpod_cache is not None
    model = originals(hub_snapshot(settings.runpod_cache, ROW.files.repository), ROW, "fast")
    encoder = text_encoder(hub_snapshot(settings.hub_cache, GEMMA))
    found = resolve("ltx-2.3", settings, mode="fast")
    assert (found.path, found.text_encoder) == (model, encoder)
    (encoder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ConfigError, match="text_encoder"):
        resolve("ltx-2.3", settings, mode="fast")


def test_what_is_missing_is_named_with_the_command_that_fetches_it(settings: Settings) -> None:
    with pytest.raises(ConfigError) as nothing:
        resolve("ltx-2.3", settings, mode="pro")
    needed = {*original_files(ROW, "pro"), GEMMA} - {ROW.files.temporal_upscaler}
    for name in needed:
        assert name in str(nothing.value)
    assert "ltx2 download --checkpoint ltx-2.3 --mode pro" in str(nothing.value)
    folder = fill(settings, "baked_weights")
    (folder / ROW.files.distilled_lora).unlink()
    with pytest.raises(ConfigError, match=ROW.files.distilled_lora) as one:
        resolve("ltx-2.3", settings, mode="pro")
    assert ROW.files.dev not in str(one.value)
    assert missing_files(ROW, settings, "fast") == []
    assert len(missing_files(ROW, settings, "pro")) == 1


def test_a_damaged_file_is_named_and_does_not_hide_a_whole_place(settings: Settings) -> None:
    broken = fill(settings, "baked_weights") / ROW.files.distilled
    broken.write_bytes(broken.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="download it again"):
        resolve("ltx-2.3", settings, mode="fast")
    whole = fill(settings, "hub_cache")
    assert resolve("ltx-2.3", settings, mode="fast").path == whole


def test_an_explicit_folder_or_file_is_taken_and_says_its_generation(
    settings: Settings, tmp_path: Path
) -> None:
    folder = originals(tmp_path / "mine", ROW, "fast")
    encoder = text_encoder(hub_snapshot(settings.hub_cache, GEMMA))
    found = resolve(str(folder), settings, mode="fast")
    assert found.row.generation == ROW.generation
    assert (found.name, found.path, found.text_encoder) == (str(folder), folder, encoder)
    file = folder / ROW.files.distilled
    assert resolve(str(file), settings, mode="fast").layout == "file"
    with pytest.raises(ConfigError, match="mode pro misses"):
        resolve(str(folder), settings, mode="pro")


def test_one_pass_needs_neither_the_upscaler_nor_the_distilled_lora(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(settings, "baked_weights")
    (folder / ROW.files.spatial_upscaler).unlink()
    (folder / ROW.files.distilled_lora).unlink()
    monkeypatch.setattr(weights, "cuda", lambda confirm: Cuda(usable=True, reason="a GPU is there"))
    for mode in ("fast", "pro"):
        for wanted in ("ltx-2.3", "auto", str(folder)):
            found = resolve(wanted, settings, mode=mode, parts=frozenset(), prepare=False)
            assert found.path == folder
            row, _ = row_of(wanted, settings, mode=mode, parts=frozenset())
            assert row == ROW
        with pytest.raises(ConfigError, match=ROW.files.spatial_upscaler):
            resolve("ltx-2.3", settings, mode=mode)
    (folder / ROW.files.dev).unlink()
    with pytest.raises(ConfigError) as refusal:
        resolve("ltx-2.3", settings, mode="pro", parts=frozenset())
    assert ROW.files.dev in str(refusal.value)
    assert ROW.files.spatial_upscaler not in str(refusal.value)
    assert ROW.files.distilled_lora not in str(refusal.value)


def test_a_plan_for_a_folder_carries_the_models_name_and_never_the_path(
    settings: Settings, tmp_path: Path
) -> None:
    rows = []
    for owner in ("anna", "ben"):
        folder = originals(tmp_path / owner, ROW, "fast")
        text_encoder(folder / GEMMA_NAME)
        for path in (folder, folder / ROW.files.distilled):
            rows.append(row_of(str(path), settings)[0])
            assert resolve(str(path), settings).name == str(path)
    assert {row.name for row in rows} == {"ltx-2.3"}
    ids = {plan(Request(prompt="a cat", seed=7), checkpoint=row).id for row in rows}
    assert len(ids) == 1


def test_the_embedded_checkpoint_is_in_the_package_and_nowhere_else(settings: Settings) -> None:
    found = resolve("tiny", settings, mode="all")
    assert (found.path, found.layout, found.embedded) == (WEIGHTS, "original", True)
    assert found.reason == f"its weights are in the package ({WEIGHTS})"
    assert missing_files(CHECKPOINTS["tiny"], settings, "all") == []
    assert missing_extras(CHECKPOINTS["tiny"], settings) == {}
    assert not settings.cache.exists()
    told = note(found.row)
    assert told is not None
    assert told.startswith("tiny is a toy")
    assert [note(CHECKPOINTS[name]) for name in weights.REAL] == [None] * 3


def test_a_package_without_a_file_of_the_embedded_checkpoint_says_so(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = CHECKPOINTS["tiny"].files
    ours = shutil.copytree(WEIGHTS, tmp_path / "ours")
    (ours / files.dev).unlink()
    monkeypatch.setattr(weights, "EMBEDDED", ours)
    monkeypatch.setattr(weights, "cuda", lambda confirm: Cuda(usable=False, reason="no GPU here"))
    assert resolve("tiny", settings, mode="fast").path == ours
    for wanted in ("tiny", "auto"):
        with pytest.raises(ConfigError) as refusal:
            resolve(wanted, settings, mode="pro")
        assert f"mode pro misses transformer:dev ({files.dev})" in str(refusal.value)
        assert str(refusal.value).endswith(f"(looked in {ours}); install ltx2 again")


def test_a_folder_without_weights_is_refused_with_what_is_accepted(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"accepted are|Lightricks' own files"):
        resolve(str(tmp_path), settings)


def test_a_repository_is_read_from_its_snapshot_without_the_network(settings: Settings) -> None:
    folder = originals(hub_snapshot(settings.hub_cache, "someone/ltx"), ROW, "fast")
    text_encoder(folder / "text_encoder")
    found = resolve("someone/ltx", settings, mode="fast")
    assert found.path == folder
    assert found.row.name == "someone/ltx"
    with pytest.raises(ConfigError, match="ltx2 download --checkpoint someone/else"):
        resolve("someone/else", settings)


def test_an_unknown_name_is_refused_with_all_that_are_known(settings: Settings) -> None:
    with pytest.raises(BadRequest) as refusal:
        resolve("ltx-3", settings)
    for name in ("auto", *CHECKPOINTS):
        assert name in str(refusal.value)


def test_auto_says_why_it_takes_the_embedded_checkpoint(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(settings, "hub_cache")
    monkeypatch.setattr(weights, "cuda", lambda confirm: Cuda(usable=False, reason="no GPU here"))
    found = resolve("auto", settings, prepare=False)
    assert found.embedded
    assert found.reason == "no GPU here"


def test_auto_on_a_gpu_takes_a_whole_model_and_else_names_the_download(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "cuda", lambda confirm: Cuda(usable=True, reason="a GPU is there"))
    empty = resolve("auto", settings, prepare=False)
    assert empty.embedded
    assert "ltx2 download --checkpoint ltx-2.3 --mode fast" in empty.reason
    folder = fill(settings, "hub_cache")
    found = resolve("auto", settings, prepare=False)
    assert (found.name, found.path) == ("ltx-2.3", folder)
    assert found.reason.startswith("a GPU is there, and its weights are in")


def test_a_gpu_is_looked_for_by_its_driver_and_by_torchs_build(tmp_path: Path) -> None:
    from torch import version

    assert cuda(confirm=False, devices=tmp_path).reason == "this machine has no CUDA GPU"
    (tmp_path / "nvidia0").touch()
    assert cuda(confirm=False, devices=tmp_path).usable == (version.cuda is not None)


def test_a_plan_for_a_named_model_needs_no_weights(settings: Settings) -> None:
    row, reason = row_of("ltx-2.5", settings)
    assert row == CHECKPOINTS["ltx-2.5"]
    assert reason == "it was asked for by name"


def test_main_decides_between_snapshots_and_the_newest_stands_in(tmp_path: Path) -> None:
    old = hub_snapshot(tmp_path, "a/b", "1" * 40)
    new = hub_snapshot(tmp_path, "a/b", "2" * 40)
    ref = tmp_path / "models--a--b" / "refs" / "main"
    ref.write_text("1" * 40)
    assert snapshot(tmp_path, "a/b") == old
    ref.unlink()
    new.touch()
    assert snapshot(tmp_path, "a/b") == new
    assert snapshot(tmp_path, "a/c") is None


def test_a_lora_is_found_where_the_download_puts_it(settings: Settings) -> None:
    name = "camera.safetensors"
    assert lora_file("Lightricks/camera", name, settings) is None
    cached = safetensors(hub_snapshot(settings.hub_cache, "Lightricks/camera") / name, ("a",))
    assert lora_file("Lightricks/camera", name, settings) == cached
    assert settings.baked_weights is not None
    baked = safetensors(settings.baked_weights / "loras" / name, ("a",))
    assert lora_file("Lightricks/camera", name, settings) == baked


def test_looking_for_weights_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from ltx2.settings import Settings\n"
        "from ltx2.weights import resolve\n"
        "resolve('auto', Settings(), prepare=False)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What a model can do without


NEWEST = CHECKPOINTS["ltx-2.5"]
E2B = "google/gemma-4-E2B-it"


def newest(folder: Path, *, head: bool = False) -> Path:
    """LTX-2.5 for mode fast, as far as headers go."""
    originals(folder, NEWEST, "fast")
    if head:
        assert NEWEST.files.duration_head is not None
        safetensors(folder / NEWEST.files.duration_head, ("duration_head.mlp_out.weight",))
    return folder


def writer(folder: Path) -> Path:
    """The model that rewrites prompts, as far as file names go."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_bytes(b"{}")
    return folder


def test_what_only_some_requests_need_is_told_by_what_it_is_for(settings):
    everything = {"enhance_prompt": E2B, "automatic duration": NEWEST.files.duration_head}
    assert missing_extras(NEWEST, settings) == everything
    assert missing_extras(CHECKPOINTS["ltx-2"], settings) == {}
    assert settings.baked_weights is not None
    newest(settings.baked_weights / "ltx-2.5")
    assert missing_extras(NEWEST, settings) == everything
    newest(settings.baked_weights / "ltx-2.5", head=True)
    assert missing_extras(NEWEST, settings) == {"enhance_prompt": E2B}
    writer(hub_snapshot(settings.hub_cache, E2B))
    assert missing_extras(NEWEST, settings) == {}


def smaller_upscaler(folder: Path) -> Path:
    """The upscaler by 1.5 of LTX-2.3, as far as headers go."""
    assert ROW.files.spatial_upscaler_x1_5 is not None
    names = ("initial_conv.weight", "upsampler.blur_down.kernel", "final_conv.weight")
    config = '{"rational_resampler": true, "spatial_scale": 1.5}'
    return safetensors(folder / ROW.files.spatial_upscaler_x1_5, names, config=config)


def test_the_smaller_upscaler_is_an_extra_that_a_video_may_need(settings):
    name = ROW.files.spatial_upscaler_x1_5
    wanted = {"mode": "fast", "parts": frozenset({"spatial_upscaler_x1.5"})}
    assert missing_extras(ROW, settings) == {"upscaling by 1.5": name}
    with pytest.raises(ConfigError, match=re.escape(f"{ROW.files.distilled}, {name}, {GEMMA}")):
        resolve("ltx-2.3", settings, **wanted)
    folder = fill(settings, "baked_weights")
    with pytest.raises(ConfigError, match=rf"misses spatial_upscaler_x1\.5 \({name}\)"):
        resolve("ltx-2.3", settings, **wanted)
    smaller_upscaler(folder)
    assert missing_extras(ROW, settings) == {}
    assert resolve("ltx-2.3", settings, **wanted).path == folder


def test_the_model_that_rewrites_prompts_is_found_inside_beside_and_in_the_cache(settings):
    folder = newest(settings.hub_cache.parent / "models" / "mine")
    row = replace(NEWEST, name="mine")
    assert resolve_enhancer(folder, settings) is None
    cached = writer(hub_snapshot(settings.hub_cache, E2B))
    assert resolve_enhancer(folder, settings) == cached
    beside = writer(folder.parent / "gemma-4-E2B-it")
    assert resolve_enhancer(folder, settings) == beside
    inside = writer(folder / "gemma-4-E2B-it")
    assert resolve_enhancer(folder, settings) == inside
    assert row.files.enhancer_repository == E2B


def resolve_enhancer(folder: Path, settings: Settings) -> Path | None:
    """Where `resolve` finds it for weights in a folder of one's own."""
    text = "text_encoders/gemma4-12b-with-proj-ltx-2.5-bf16.safetensors"
    config = '{"model_type": "gemma4_unified", "hidden_size": 3840, "num_hidden_layers": 48}'
    names = ("tokenizer_json", "text_embedding_projection.aggregate_embed.weight")
    safetensors(folder / text, names, gemma_config=config, model_version="2.5.0")
    return resolve(str(folder), settings).enhancer
