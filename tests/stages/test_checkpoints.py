"""Checkpoints on disk become exactly the modules they were made from, or are refused by name."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.ltx2 import LTX2VocoderWithBWE
from safetensors.torch import load_file, save_file

from pipelines.checkpoints.files import find
from pipelines.checkpoints.headers import CheckpointError, read_header
from pipelines.checkpoints.load import load
from pipelines.models import CHECKPOINTS, LTX_2, LTX_2_3, LTX_2_5
from tests.stages import originals as made
from tests.stages.originals import GENERATIONS, MONOLITH, NAMES, TEXT_WIDTH, write


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A whole-model file per generation, each in a folder of its own."""
    root = tmp_path_factory.mktemp("originals")
    paths = {}
    for version in GENERATIONS:
        tensors, config, _ = made.monolith(version)
        paths[version] = write(root / version / NAMES[version], tensors, config, version)
    return paths


def opened(path, row=None):
    return replace(find(path, row), text_width=TEXT_WIDTH)


def assert_same(module, wanted):
    """Equal classes, tensors and configurations."""
    assert type(module) is type(wanted)
    ours, theirs = module.state_dict(), wanted.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    for name, value in plain(wanted.config).items():
        # The text's width is not used where the connectors project; perturbed_attn is always on.
        assert plain(module.config)[name] == value, name


def plain(config):
    public = {name: value for name, value in config.items() if not name.startswith("_")}
    return json.loads(json.dumps(public))


# Loading


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize("component", MONOLITH)
def test_a_whole_model_file_gives_back_the_module_it_was_made_from(files, component, version):
    module = load(opened(files[version]), component, variant="dev")
    assert_same(module, made.SAMPLES[component](version).module)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize("component", MONOLITH)
def test_nothing_is_left_without_values(files, component, version):
    module = load(opened(files[version]), component, variant="dev")
    wanted = dict(made.SAMPLES[component](version).module.named_buffers())
    buffers = dict(module.named_buffers())
    assert buffers.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(buffers[name], tensor), name
    assert not any(tensor.is_meta for tensor in module.parameters())


def test_buffers_that_no_file_holds_are_those_of_a_built_module(files):
    module = load(opened(files["2.3"]), "vocoder", variant="dev")
    stored = read_header(files["2.3"]).tensors
    assert not any("resampler" in name for name in stored)
    built = LTX2VocoderWithBWE(**plain(module.config)).resampler.filter
    assert torch.equal(module.resampler.filter, built)


@pytest.mark.parametrize("kind", ["spatial", "temporal"])
@pytest.mark.parametrize("rational", [False, True])
def test_upscalers_load(tmp_path, kind, rational):
    sample = made.upscaler(kind, rational=rational and kind == "spatial")
    name = f"{kind}_upscaler"
    path = tmp_path / f"ltx-2-{kind}-upscaler-x2-1.0.safetensors"
    write(path, made.originals(name, sample.module), sample.config)
    assert_same(load(find(tmp_path), name), sample.module)


def test_an_upscaler_of_the_other_kind_is_refused(files, tmp_path):
    sample = made.upscaler("temporal")
    tensors = made.originals("temporal_upscaler", sample.module)
    path = write(tmp_path / "upscaler.safetensors", tensors, sample.config)
    weights = opened(files["2.0"]).with_file("spatial_upscaler", path)
    with pytest.raises(CheckpointError, match="a spatial upscaler is needed here"):
        load(weights, "spatial_upscaler")


@pytest.mark.parametrize("prefix", ["duration_head.", "model.diffusion_model.duration_head."])
def test_the_duration_head_loads(tmp_path, prefix):
    sample = made.duration_head()
    tensors = made.originals("duration_head", sample.module)
    renamed = {name.replace("duration_head.", prefix): value for name, value in tensors.items()}
    write(tmp_path / "ltx-2.5-duration-head-bf16.safetensors", renamed, {}, "2.5")
    assert_same(load(find(tmp_path), "duration_head"), sample.module)


@pytest.mark.parametrize("prefix", ["vae.", ""])
def test_the_diffusion_decoder_loads_with_its_gates_folded(tmp_path, prefix):
    sample = made.diffusion_decoder()
    tensors = made.originals("diffusion_decoder", sample.module)
    gate = torch.linspace(0.5, 1.5, 16)
    tensors["vae.decoder.diff_blocks.0.gate_msa"] = gate
    tensors["vae.decoder.coarse_head.weight"] = torch.ones(3)
    tensors["vae.encoder.conv_in.conv.weight"] = torch.ones(3)
    renamed = {prefix + name.removeprefix("vae."): value for name, value in tensors.items()}
    write(tmp_path / "ltx-2.5-video-vae.safetensors", renamed, {"vae": sample.config}, "2.5")
    module = load(find(tmp_path), "diffusion_decoder")
    out = sample.module.decoder.diff_blocks[0].attn.to_out[0]
    out.weight.mul_(gate[:, None])
    out.bias.mul_(gate)
    assert_same(module, sample.module)


def test_a_diffusion_decoder_is_not_taken_for_the_convolutional_one(tmp_path):
    sample = made.diffusion_decoder()
    tensors = made.originals("diffusion_decoder", sample.module)
    path = write(tmp_path / "ltx-2.5-vae.safetensors", tensors, {"vae": sample.config}, "2.5")
    assert not find(tmp_path).has("vae")
    with pytest.raises(CheckpointError, match="'conv' in its name"):
        load(find(tmp_path).with_file("vae", path), "vae")


def test_the_sound_and_the_statistics_stay_float32(files):
    weights = opened(files["2.3"])
    parts = {name: load(weights, name, variant="dev", dtype=torch.bfloat16) for name in MONOLITH}
    for name, part in parts.items():
        kinds = {parameter.dtype for parameter in part.parameters()}
        sound = name in ("audio_vae", "vocoder")
        assert kinds == {torch.float32 if sound else torch.bfloat16}, name
    assert parts["vae"].latents_mean.dtype == parts["vae"].latents_std.dtype == torch.float32


def test_the_wanted_variant_is_the_one_that_is_loaded(files, tmp_path):
    tensors, config, _ = made.monolith("2.0")
    for name in ("dev", "distilled"):
        scaled = {key: value * (2 if name == "distilled" else 1) for key, value in tensors.items()}
        write(tmp_path / f"ltx-2-19b-{name}.safetensors", scaled, config, "2.0")
    weights = opened(tmp_path)
    for component in MONOLITH:
        dev = load(weights, component, variant="dev").state_dict()
        distilled = load(weights, component, variant="distilled").state_dict()
        name = next(key for key in dev if key.endswith("weight"))
        assert torch.equal(dev[name] * 2, distilled[name])


def test_one_variants_file_serves_the_shared_parts_of_both_but_not_its_transformer(files):
    weights = opened(files["2.0"])
    assert weights.files("vae", "distilled") == (files["2.0"],)
    with pytest.raises(CheckpointError, match="transformer:distilled"):
        weights.files("transformer", "distilled")


# Strictness


def changed(files, tmp_path, version, change, config_change=None):
    tensors = load_file(files[version])
    header = read_header(files[version])
    change(tensors)
    config = {name: dict(part) for name, part in header.config.items()}
    if config_change:
        config_change(config)
    return opened(write(tmp_path / NAMES[version], tensors, config, version))


def test_a_missing_tensor_is_named(files, tmp_path):
    name = "vae.encoder.conv_out.conv.bias"
    weights = changed(files, tmp_path, "2.0", lambda tensors: tensors.pop(name))
    with pytest.raises(CheckpointError, match=r"1 missing: encoder\.conv_out\.conv\.bias"):
        load(weights, "vae", variant="dev")


def test_unknown_tensors_are_counted_and_ten_are_named(files, tmp_path):
    def add(tensors):
        for index in range(12):
            tensors[f"vae.decoder.extra.{index:02}"] = torch.ones(1)

    with pytest.raises(CheckpointError, match="12 unknown") as caught:
        load(changed(files, tmp_path, "2.0", add), "vae", variant="dev")
    assert str(caught.value).count("decoder.extra.") == 10


def test_a_tensor_of_another_shape_is_named(files, tmp_path):
    def grow(tensors):
        tensors["vae.encoder.conv_out.conv.bias"] = torch.ones(99)

    weights = changed(files, tmp_path, "2.0", grow)
    with pytest.raises(
        CheckpointError, match=r"another shape: encoder\.conv_out\.conv\.bias \(99,\)"
    ):
        load(weights, "vae", variant="dev")


def test_every_contradiction_of_a_configuration_is_named_at_once(files, tmp_path):
    def lie(config):
        config["transformer"] |= {"num_layers": 9, "in_channels": 7, "qk_norm": "layer_norm"}

    weights = changed(files, tmp_path, "2.0", lambda tensors: None, lie)
    with pytest.raises(CheckpointError) as caught:
        load(weights, "transformer", variant="dev")
    text = str(caught.value)
    assert "num_layers = 9, the tensors 2" in text
    assert "in_channels = 7, the tensors 16" in text
    assert "qk_norm = 'layer_norm' is not supported" in text


def test_a_file_without_its_configuration_is_refused(files, tmp_path):
    weights = changed(
        files, tmp_path, "2.0", lambda tensors: None, lambda config: config.pop("vocoder")
    )
    with pytest.raises(CheckpointError, match="no 'vocoder' configuration"):
        load(weights, "vocoder", variant="dev")


def test_connectors_of_unknown_text_width_are_refused(files):
    with pytest.raises(CheckpointError, match="put the text encoder beside them"):
        load(find(files["2.3"]), "connectors", variant="dev")


def test_fp8_weights_are_refused_with_the_file_that_works(files, tmp_path):
    tensors = load_file(files["2.0"])
    tensors["model.diffusion_model.transformer_blocks.0.attn1.to_q.weight_scale"] = torch.ones(1)
    path = write(tmp_path / "ltx-2-19b-dev-fp8.safetensors", tensors, {}, "2.0")
    for place in (path, tmp_path):
        with pytest.raises(
            CheckpointError, match=r"to_q\.weight_scale.*ltx-2-19b-dev\.safetensors"
        ):
            find(place, CHECKPOINTS["ltx-2"])


def test_a_bf16_file_is_taken_where_an_fp8_file_lies_beside_it(files, tmp_path):
    tensors = load_file(files["2.0"])
    write(tmp_path / "ltx-2-19b-dev.safetensors", tensors, {}, "2.0")
    tensors["model.diffusion_model.transformer_blocks.0.attn1.to_q.weight_scale"] = torch.ones(1)
    write(tmp_path / "ltx-2-19b-dev-fp8.safetensors", tensors, {}, "2.0")
    assert find(tmp_path).path("transformer:dev").name == "ltx-2-19b-dev.safetensors"


def test_half_a_download_is_refused(files, tmp_path):
    path = tmp_path / NAMES["2.0"]
    path.write_bytes(files["2.0"].read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="download it again"):
        find(path)
    path.write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        find(path)


@pytest.mark.parametrize("content", [b"<html>", b"\x10\0\0\0\0\0\0\0not a header...", "version"])
def test_an_unreadable_file_is_named_only_where_something_is_missing(files, tmp_path, content):
    (tmp_path / NAMES["2.0"]).symlink_to(files["2.0"])
    other = tmp_path / "notes" / "other.safetensors"
    other.parent.mkdir()
    if content == "version":
        save_file({"unet.weight": torch.ones(1)}, other, {"model_version": "first"})
    else:
        other.write_bytes(content)
    weights = find(tmp_path)
    assert weights.has("vae", "dev")
    assert find(tmp_path / NAMES["2.0"]).has("vae", "dev")
    missing = weights.missing("pro")
    assert [str(other) in name for name in missing] == [False] * (len(missing) - 1) + [True]
    with pytest.raises(CheckpointError, match=r"has no duration_head.*not usable: .*other\.safe"):
        weights.path("duration_head")


def test_a_folder_with_nothing_but_a_broken_file_names_it(tmp_path):
    (tmp_path / NAMES["2.0"]).write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"nothing that can be loaded.*download it again"):
        find(tmp_path)


def half_upscaler(path):
    sample = made.upscaler("spatial", rational=True)
    tensors = made.originals("spatial_upscaler", sample.module)
    return write(path, tensors, {**sample.config, "spatial_scale": 1.5})


def test_a_spatial_upscaler_that_does_not_double_is_refused(files, tmp_path):
    (tmp_path / NAMES["2.3"]).symlink_to(files["2.3"])
    half = half_upscaler(tmp_path / "ltx-2.3-spatial-upscaler-x1.5-1.0.safetensors")
    weights = find(tmp_path)
    assert not weights.has("spatial_upscaler")
    assert "x1.5-1.0.safetensors enlarges by 1.5, the refine pass" in weights.missing("pro")[-1]
    with pytest.raises(CheckpointError, match=r"enlarges by 1\.5"):
        find(half)
    sample = made.upscaler("spatial")
    name = "ltx-2.3-spatial-upscaler-x2-mine.safetensors"
    write(tmp_path / name, made.originals("spatial_upscaler", sample.module), sample.config)
    weights = find(tmp_path)
    assert weights.path("spatial_upscaler").name == name
    assert not any("enlarges" in lacking for lacking in weights.missing("pro"))


def test_a_folder_of_diffusers_with_an_upscaler_that_does_not_double_is_refused(tmp_path):
    made.vae("2.0").module.save_pretrained(tmp_path / "vae")
    made.upscaler("spatial", rational=True).module.save_pretrained(tmp_path / "latent_upsampler")
    (tmp_path / "model_index.json").write_text("{}")
    assert find(tmp_path, CHECKPOINTS["ltx-2"]).has("spatial_upscaler")
    config = tmp_path / "latent_upsampler" / "config.json"
    stored = json.loads(config.read_text())
    config.write_text(json.dumps({**stored, "rational_spatial_scale": 1.5}))
    weights = find(tmp_path, CHECKPOINTS["ltx-2"])
    assert not weights.has("spatial_upscaler")
    assert "latent_upsampler enlarges by 1.5" in weights.missing("fast")[-1]


# Finding


def test_finding_needs_no_torch():
    code = "import sys, pipelines.checkpoints.files; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize(
    ("version", "generation"), [("2.0", LTX_2), ("2.3", LTX_2_3), ("2.5", LTX_2_5)]
)
def test_a_file_says_its_generation(files, version, generation):
    weights = find(files[version])
    assert weights.generation == generation
    assert weights.layout == "original"
    assert weights.root == files[version].parent
    assert weights.nbytes == files[version].stat().st_size


def test_what_a_mode_lacks_is_listed_whole_and_with_the_usual_names(files):
    weights = find(files["2.0"], CHECKPOINTS["ltx-2"])
    assert weights.missing("fast") == [
        "transformer:distilled (ltx-2-19b-distilled.safetensors)",
        "text_encoder (google/gemma-3-12b-it-qat-q4_0-unquantized)",
        "tokenizer (google/gemma-3-12b-it-qat-q4_0-unquantized)",
        "spatial_upscaler (ltx-2-spatial-upscaler-x2-1.0.safetensors)",
    ]
    assert [name.split(" ")[0] for name in weights.missing("pro")] == [
        "text_encoder",
        "tokenizer",
        "distilled_lora",
        "spatial_upscaler",
    ]
    assert len(weights.missing("pro", ())) == 2


def test_mixed_generations_are_refused_in_one_sentence(files, tmp_path):
    for version in ("2.0", "2.3"):
        (tmp_path / NAMES[version]).symlink_to(files[version])
    with pytest.raises(CheckpointError, match=r"LTX-2\.0.*LTX-2\.3.*separate folders"):
        find(tmp_path)


def test_a_row_picks_its_own_model_from_a_folder_with_several(files, tmp_path):
    for version in GENERATIONS:
        (tmp_path / NAMES[version]).symlink_to(files[version])
    weights = find(tmp_path, CHECKPOINTS["ltx-2.3"])
    assert weights.generation == LTX_2_3
    assert weights.path("transformer:dev").name == NAMES["2.3"]
    assert weights.files("vae", "dev") == (tmp_path / NAMES["2.3"],)


def test_another_generation_than_the_row_asks_for_is_refused(files):
    for place in (files["2.0"], files["2.0"].parent):
        with pytest.raises(CheckpointError, match=r"LTX-2\.0"):
            find(place, CHECKPOINTS["ltx-2.5"])


def test_the_row_decides_between_two_files_and_two_unknown_ones_are_refused(files, tmp_path):
    names = ("ltx-2.3-22b-distilled.safetensors", "ltx-2.3-22b-distilled-1.1.safetensors")
    for name in names:
        (tmp_path / name).symlink_to(files["2.3"])
    assert find(tmp_path).path("transformer:distilled").name == names[1]
    (tmp_path / names[1]).rename(tmp_path / "my-distilled.safetensors")
    with pytest.raises(CheckpointError, match="several files could be"):
        find(tmp_path)


def test_a_model_that_says_neither_dev_nor_distilled_is_refused(files, tmp_path):
    (tmp_path / "model.safetensors").symlink_to(files["2.0"])
    with pytest.raises(CheckpointError, match="dev or the distilled"):
        find(tmp_path)


@pytest.mark.parametrize("content", [None, "nothing", "other"])
def test_places_without_a_checkpoint_are_refused(tmp_path, content):
    place = tmp_path / "place"
    if content is None:
        with pytest.raises(FileNotFoundError, match="does not exist"):
            find(place)
        return
    place.mkdir()
    if content == "other":
        save_file({"unet.weight": torch.ones(1)}, place / "unet.safetensors")
        with pytest.raises(CheckpointError, match="no LTX-2 checkpoint"):
            find(place / "unet.safetensors")
    with pytest.raises(CheckpointError, match="accepted are a folder in diffusers' format"):
        find(place)


def split(files, root):
    """2.5 as Lightricks ships it: one file per component, in subfolders."""
    tensors = load_file(files["2.5"])
    config = read_header(files["2.5"]).config
    row = CHECKPOINTS["ltx-2.5"].files
    for name in (row.dev, row.distilled):
        own = {key: value for key, value in tensors.items() if key.startswith("model.diffusion")}
        write(root / name, own, {"transformer": config["transformer"]}, "2.5")
    video = {key[4:]: value for key, value in tensors.items() if key.startswith("vae.")}
    write(root / row.vae, video, {"vae": config["vae"]}, "2.5")
    audio = {k: v for k, v in tensors.items() if k.startswith(("audio_vae.", "vocoder."))}
    sound = {name: config[name] for name in ("audio_vae", "vocoder")}
    write(root / row.audio_vae, audio, sound, "2.5")
    text = {k: v for k, v in tensors.items() if k.startswith("text_embedding_projection.")}
    write(root / row.text_projection, text, {}, "2.5")
    return root


def test_split_files_load_as_the_whole_model_does(files, tmp_path):
    weights = opened(split(files, tmp_path), CHECKPOINTS["ltx-2.5"])
    assert weights.files("connectors", "dev") == (
        tmp_path / CHECKPOINTS["ltx-2.5"].files.dev,
        tmp_path / CHECKPOINTS["ltx-2.5"].files.text_projection,
    )
    for component in MONOLITH:
        assert_same(load(weights, component), made.SAMPLES[component]("2.5").module)
    assert [name.split(" ")[0] for name in weights.missing("fast")] == [
        "text_encoder",
        "tokenizer",
        "spatial_upscaler",
    ]


def test_connectors_without_their_projection_are_missing(files, tmp_path):
    split(files, tmp_path)
    (tmp_path / CHECKPOINTS["ltx-2.5"].files.text_projection).unlink()
    assert "connectors" in find(tmp_path).missing("fast")


def test_a_decoder_with_timestep_conditioning_is_refused(files, tmp_path):
    def condition(config):
        config["vae"]["timestep_conditioning"] = True

    weights = changed(files, tmp_path, "2.0", lambda tensors: None, condition)
    with pytest.raises(CheckpointError, match="timestep conditioning is not supported"):
        load(weights, "vae", variant="dev")


def test_a_folder_whose_decoder_has_timestep_conditioning_is_refused(tmp_path):
    made.vae("2.0").module.save_pretrained(tmp_path / "vae")
    (tmp_path / "model_index.json").write_text("{}")
    config = tmp_path / "vae" / "config.json"
    stored = json.loads(config.read_text())
    config.write_text(json.dumps({**stored, "timestep_conditioning": True}))
    with pytest.raises(CheckpointError, match="timestep conditioning is not supported"):
        load(find(tmp_path, CHECKPOINTS["ltx-2"]), "vae")


# Diffusers' layout


@pytest.fixture(scope="module")
def diffusers_folder(tmp_path_factory):
    """2.5 as on the hub: `transformer/` is the distilled model, `transformer_full/` the dev one."""
    root = tmp_path_factory.mktemp("LTX-2.5-Diffusers")
    (root / "model_index.json").write_text("{}")
    for component in MONOLITH:
        module = made.SAMPLES[component]("2.5").module
        if component == "transformer":
            module.register_to_config(perturbed_attn=False)
        module.save_pretrained(root / component)
        if component == "transformer":
            module.proj_in.weight.mul_(2)
            module.save_pretrained(root / "transformer_full")
    made.upscaler("spatial").module.save_pretrained(root / "latent_upsampler")
    (root / "ltx-2.5-22b-distilled-lora-450-bf16.safetensors").write_bytes(
        lora_bytes(root / "scratch.safetensors")
    )
    return root


def lora_bytes(scratch):
    save_file({"diffusion_model.patchify_proj.lora_A.weight": torch.ones(1, 1)}, scratch)
    content = scratch.read_bytes()
    scratch.unlink()
    return content


def test_a_diffusers_folder_is_recognised(diffusers_folder):
    weights = find(diffusers_folder)
    assert (weights.layout, weights.generation) == ("diffusers", LTX_2_5)
    assert weights.path("transformer:distilled") == diffusers_folder / "transformer"
    assert weights.path("transformer:dev") == diffusers_folder / "transformer_full"
    assert weights.path("spatial_upscaler") == diffusers_folder / "latent_upsampler"
    assert weights.path("distilled_lora").name == "ltx-2.5-22b-distilled-lora-450-bf16.safetensors"
    assert [name.split(" ")[0] for name in weights.missing("pro")] == ["text_encoder", "tokenizer"]


def test_a_diffusers_folder_loads_with_the_same_corrections(diffusers_folder):
    weights = find(diffusers_folder)
    for component in MONOLITH:
        same_tensors = load(weights, component).state_dict()
        for name, tensor in made.SAMPLES[component]("2.5").module.state_dict().items():
            assert torch.equal(same_tensors[name], tensor), name
    half = load(weights, "vae", dtype=torch.bfloat16)
    assert half.encoder.conv_in.conv.weight.dtype == torch.bfloat16
    assert torch.equal(half.latents_std, made.vae("2.5").module.latents_std)
    assert load(weights, "vocoder", dtype=torch.bfloat16).dtype == torch.float32
    dev = load(weights, "transformer", variant="dev")
    assert torch.equal(dev.proj_in.weight, 2 * made.transformer("2.5").module.proj_in.weight)


# The transformer's shards are read by the project itself, one tensor after the other.
@pytest.mark.parametrize("component", [name for name in MONOLITH if name != "transformer"])
def test_a_diffusers_folder_goes_to_the_device_tensor_by_tensor(diffusers_folder, component):
    module = load(find(diffusers_folder), component, device="meta")
    assert {part.device.type for part in [*module.parameters(), *module.buffers()]} == {"meta"}
    # diffusers notes a placement only where it made it itself, while reading.
    assert module.hf_device_map == {"": torch.device("meta")}


def test_stg_works_whatever_a_diffusers_folder_says(diffusers_folder):
    stored = json.loads((diffusers_folder / "transformer" / "config.json").read_text())
    assert stored["perturbed_attn"] is False
    assert load(find(diffusers_folder), "transformer").config.perturbed_attn is True


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_the_first_stage_of_the_vocoder_is_clamped_in_both_layouts(files, diffusers_folder, layout):
    weights = find(diffusers_folder) if layout == "diffusers" else opened(files["2.5"])
    vocoder = load(weights, "vocoder", variant="dev")
    assert vocoder.vocoder.final_act_fn == "clamp"
    assert vocoder.bwe_generator.final_act_fn is None


@pytest.mark.parametrize(
    ("name", "variant"), [("LTX-2", "dev"), ("LTX-2-19b-distilled", "distilled")]
)
def test_a_single_transformer_folder_is_what_its_repositorys_name_says(tmp_path, name, variant):
    root = tmp_path / name
    made.transformer("2.0").module.save_pretrained(root / "transformer")
    (root / "model_index.json").write_text("{}")
    weights = find(root)
    assert weights.generation == LTX_2
    assert weights.has("transformer", variant)
    assert not weights.has("transformer", {"dev": "distilled", "distilled": "dev"}[variant])


def test_a_folder_whose_index_names_an_absent_shard_is_not_there(tmp_path):
    made.transformer("2.0").module.save_pretrained(tmp_path / "transformer", max_shard_size="50KB")
    (tmp_path / "model_index.json").write_text("{}")
    assert find(tmp_path).has("transformer", "dev")
    next((tmp_path / "transformer").glob("*00002-of*.safetensors")).unlink()
    (tmp_path / "vae").mkdir()
    made.vae("2.0").module.save_pretrained(tmp_path / "vae")
    assert not find(tmp_path).has("transformer", "dev")


def test_original_files_complete_a_diffusers_folder(files, tmp_path):
    made.transformer("2.0").module.save_pretrained(tmp_path / "transformer")
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "ltx-2-19b-distilled.safetensors").symlink_to(files["2.0"])
    weights = find(tmp_path, CHECKPOINTS["ltx-2"])
    assert weights.path("transformer:dev").is_dir()
    assert weights.path("transformer:distilled").is_file()
    assert weights.has("vocoder")
