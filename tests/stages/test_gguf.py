"""GGUF transformers: what is read, what is refused, and that a model works on them."""

import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter, dequantize_gguf_tensor
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file

from ltx2.engine import Engine
from ltx2.errors import ConfigError
from ltx2.settings import Settings
from ltx2.weights import resolve
from pipelines.checkpoints import keys
from pipelines.checkpoints.configs import diffusers_config
from pipelines.checkpoints.files import find
from pipelines.checkpoints.gguf import PACKED, told
from pipelines.checkpoints.headers import CheckpointError, Header, read_header
from pipelines.checkpoints.load import load
from pipelines.checkpoints.quantise import weight_bytes
from pipelines.components import Components
from pipelines.models import CHECKPOINTS
from pipelines.plan import Adapter
from pipelines.stages.denoise import denoise
from pipelines.stages.prompt import encode_prompts
from tests.stages import gguf_files
from tests.stages.plans import small_plan, usual_plan

FILES = CHECKPOINTS["tiny"].files
# Relative error of a base pass, all but the modulation tables and the first projection packed.
LATENT_ERROR = {"Q8_0": 0.04, "Q5_0": 0.15}
# Where a block keeps its float16 scales, in bytes: any bits are a block but for these.
SCALES = {
    "Q8_0": (0,), "Q5_1": (0, 2), "Q5_0": (0,), "Q4_1": (0, 2), "Q4_0": (0,), "Q6_K": (208,),
    "Q5_K": (0, 2), "Q4_K": (0, 2), "Q3_K": (108,), "Q2_K": (80, 82), "IQ4_NL": (0,),
    "IQ4_XS": (0,),
}  # fmt: skip


class Silent:
    """A progress that listens to nobody."""

    def stage(self, _name, _steps=1):
        return nullcontext()

    def step(self):
        """Nothing to tell."""


@pytest.fixture(scope="module")
def source(tiny):
    return tiny / FILES.distilled


@pytest.fixture(scope="module")
def packed(source, tmp_path_factory):
    """The embedded checkpoint's distilled transformer by type."""
    folder = tmp_path_factory.mktemp("packed")
    return {
        kind: gguf_files.write(folder / f"some-distilled-{kind}.gguf", source, kind)
        for kind in LATENT_ERROR
    }


@pytest.fixture
def folder(tiny, packed, tmp_path):
    """The embedded checkpoint with a GGUF file in place of its distilled model."""
    path = shutil.copytree(tiny, tmp_path / "mixed")
    (path / FILES.distilled).unlink()
    shutil.copy(packed["Q8_0"], path)
    return path


def base_pass(model, adapters=()):
    plan = usual_plan()
    return denoise(
        model,
        replace(plan.base, adapters=adapters),
        encode_prompts(model, plan)["base"],
        stage="base",
        noise=torch.Generator().manual_seed(1),
        step_noise=torch.Generator().manual_seed(2),
        progress=Silent(),
    )


def off(ours, reference):
    return float((ours - reference).norm() / reference.norm())


def blocks(kind, rows, columns):
    """Random blocks of a type, their scales finite."""
    size, packed = gguf.GGML_QUANT_SIZES[Kind[kind]]
    generator = np.random.default_rng(0)
    data = generator.integers(0, 256, (rows * columns // size, packed), np.uint8)
    for at in SCALES[kind]:
        scales = generator.uniform(0.001, 0.01, (len(data), 1)).astype(np.float16)
        data[:, at : at + 2] = scales.view(np.uint8)
    return data.reshape(rows, -1)


@pytest.mark.parametrize("kind", PACKED)
def test_each_type_is_widened_as_the_format_defines_it(kind):
    data = blocks(kind, 4, 512)
    ours = dequantize_gguf_tensor(GGUFParameter(torch.from_numpy(data), quant_type=Kind[kind]))
    wanted = torch.from_numpy(gguf.quants.dequantize(data, Kind[kind]))
    assert ours.shape == wanted.shape == (4, 512)
    assert off(ours.float(), wanted) < 1e-3  # diffusers multiplies in float16


@pytest.mark.parametrize("kind", LATENT_ERROR)
def test_a_pass_stays_within_the_error_of_the_type(tiny, packed, kind):
    weights = find(tiny)
    exact = base_pass(Components(weights))
    ours = base_pass(Components(weights.with_file("transformer:distilled", packed[kind])))
    for name in ("video", "audio"):
        error = off(getattr(ours, name), getattr(exact, name))
        assert 0 < error < LATENT_ERROR[kind], name


def test_the_weights_stay_packed_and_keep_their_place(tiny, packed):
    weights = find(tiny).with_file("transformer:distilled", packed["Q8_0"])
    exact, ours = load(find(tiny), "transformer"), load(weights, "transformer")
    before = dict(exact.named_parameters())
    names = [name for name, _ in ours.named_parameters()]
    assert sorted(names) == sorted(before)
    packed_names = [n for n, p in ours.named_parameters() if isinstance(p, GGUFParameter)]
    assert len(packed_names) > 100
    for name, parameter in ours.named_parameters():
        assert not parameter.requires_grad
        mine = dequantize_gguf_tensor(parameter).float()
        assert mine.shape == before[name].shape
        if before[name].norm() > 0:
            assert off(mine, before[name]) < 0.01, name
    file = packed["Q8_0"]
    assert 0.9 < weight_bytes(ours) / file.stat().st_size < 1.1
    assert weight_bytes(ours) < 0.4 * weight_bytes(exact)


def test_an_engine_runs_on_a_folder_with_a_gguf_and_says_so(folder):
    engine = Engine.load(str(folder), settings=Settings.from_env({}))
    file = folder / "some-distilled-Q8_0.gguf"
    assert engine.components.weights.files("transformer", "distilled") == (file,)
    warning = "the transformer's weights are quantised (some-distilled-Q8_0.gguf: Q8_0)"
    assert engine.run_warnings(small_plan()) == (warning,)
    assert engine.run_warnings(small_plan(mode="pro")) == ()
    with engine.components.using_transformer("distilled", ()) as transformer:
        assert isinstance(transformer.proj_out, GGUFLinear)


def test_the_exact_file_of_a_folder_comes_first_unless_the_gguf_is_named(tiny, folder):
    file = folder / "some-distilled-Q8_0.gguf"
    shutil.copy(tiny / FILES.distilled, folder)
    assert find(folder).files("transformer", "distilled") == (folder / FILES.distilled,)
    named = find(file)
    assert named.files("transformer", "distilled") == (file,)
    assert not named.has("transformer", "dev")  # a model that was not named is not taken
    assert named.missing("fast") == []


def test_parts_from_elsewhere_complete_a_gguf_that_lies_alone(tiny, packed, tmp_path, monkeypatch):
    """As a user has it: the model where it is looked for, the file in the downloads."""
    settings = Settings.from_env({})
    file = packed["Q8_0"]
    found = resolve(str(file), settings)
    assert (found.path, found.transformer) == (tiny, file)
    assert str(tiny) in found.reason
    engine = Engine.open(found, settings)
    assert engine.components.weights.files("transformer") == (file,)
    assert engine.components.weights.missing("fast") == []
    with pytest.raises(ConfigError, match="mode pro misses transformer:dev"):
        resolve(str(file), settings, mode="pro")
    monkeypatch.setattr("ltx2.weights.EMBEDDED", tmp_path)
    with pytest.raises(ConfigError, match=r"Q8_0\.gguf: mode fast misses connectors") as alone:
        resolve(str(file), settings)
    assert "ltx2 download" not in str(alone.value)  # the embedded checkpoint cannot be fetched


def test_what_a_gguf_misses_is_what_the_fullest_place_misses(tiny, packed, tmp_path, monkeypatch):
    place = tmp_path / "tiny"
    shutil.copytree(tiny, place, ignore=shutil.ignore_patterns(FILES.spatial_upscaler))
    monkeypatch.setattr("ltx2.weights.EMBEDDED", place)
    with pytest.raises(ConfigError) as refusal:
        resolve(str(packed["Q8_0"]), Settings.from_env({}))
    assert f"mode fast misses spatial_upscaler ({FILES.spatial_upscaler});" in str(refusal.value)
    assert f"put them into {place} or name a folder" in str(refusal.value)


def test_several_for_one_variant_are_refused_by_name(folder, packed):
    shutil.copy(packed["Q5_0"], folder)
    with pytest.raises(CheckpointError, match=r"several.*Q5_0\.gguf.*Q8_0\.gguf.*name the one"):
        find(folder)
    assert find(folder / packed["Q5_0"].name).missing("fast") == []


def test_a_name_must_tell_the_variant(packed, tmp_path):
    file = shutil.copy(packed["Q8_0"], tmp_path / "ltx-2.gguf")
    with pytest.raises(CheckpointError, match="dev or the distilled model; its name must contain"):
        find(file)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"extra": ("transformer_blocks.0.more.weight",)}, r"1 unknown: transformer_blocks\.0\.mo"),
        ({"leave_out": ("proj_out.bias",)}, r"1 missing: proj_out\.bias"),
        ({"config": False}, r"brings no configuration.*5 blocks of width 128 are not those of a"),
        ({"leave_out": ("audio_patchify_proj.weight",)}, "without sound.*before LTX-2"),
        ({"leave_out": ("patchify_proj.weight",)}, "holds no LTX-2 transformer"),
    ],
)
def test_other_tensors_than_the_models_are_refused(source, tiny, tmp_path, options, sentence):
    file = gguf_files.write(tmp_path / "some-distilled.gguf", source, "Q8_0", **options)
    with pytest.raises(CheckpointError, match=sentence):
        load(find(tiny, transformer=file), "transformer")


def test_a_file_that_is_cut_off_or_no_gguf_is_refused(packed, tmp_path):
    whole = packed["Q8_0"].read_bytes()
    file = tmp_path / "cut-distilled.gguf"
    for content in (whole[:-100], whole[:3000], whole[:6], b"", b"PK\3\4" + whole[4:]):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cut-distilled\.gguf is no whole GGUF file"):
            find(file)


def test_a_broken_file_beside_the_model_is_no_obstacle(tiny, tmp_path):
    path = shutil.copytree(tiny, tmp_path / "tiny")
    (path / "broken-distilled.gguf").write_bytes(b"GGUF")
    weights = find(path)
    assert weights.missing("fast") == []
    assert "broken-distilled.gguf is no whole GGUF file" in weights.unusable[0]


def test_a_type_that_cannot_be_widened_is_named(tmp_path):
    file = tmp_path / "some-distilled.gguf"
    writer = gguf.GGUFWriter(file, "ltxv")
    _, packed = gguf.GGML_QUANT_SIZES[Kind.IQ2_XS]
    data = np.zeros((2, packed), np.uint8)
    writer.add_tensor("patchify_proj.weight", data, raw_dtype=Kind.IQ2_XS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=r"of the types IQ2_XS; readable are F32, F16, BF16"):
        find(file)


GENERATIONS = {
    "2.0": {},
    "2.3": {
        **{f"{stream}{name}": True for stream in ("", "audio_")
           for name in ("gated_attn", "cross_attn_mod")},
        "use_prompt_embeddings": False,
    },
}  # fmt: skip
GENERATIONS["2.5"] = GENERATIONS["2.3"] | {
    "ff_bias": False,
    "audio_ff_bias": False,
    "use_keyframes_abs_pos_embedding": True,
}
PARAMETERS = {"2.0": 18.876e9, "2.3": 18.989e9, "2.5": 18.988e9}  # of the released models


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_released_models_need_no_configuration(generation, tmp_path):
    """Their sizes are known, and with what is known of them the same module comes out."""
    released = {"rope_type": "split", "rope_double_precision": True, "perturbed_attn": True}
    with torch.device("meta"):
        module = LTX2VideoTransformer3DModel(**GENERATIONS[generation], **released)
    assert sum(p.numel() for p in module.parameters()) == pytest.approx(
        PARAMETERS[generation], rel=1e-4
    )
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    bare = {
        keys.to_original("transformer", name).removeprefix(keys.TRANSFORMER_PREFIX): shape
        for name, shape in shapes.items()
    }
    file = tmp_path / "some.gguf"
    header = Header(path=file, metadata=told(file, {}, bare), tensors={})
    assert header.model_version == generation
    arguments = diffusers_config("transformer", header.config, shapes)
    with torch.device("meta"):
        ours = LTX2VideoTransformer3DModel(**arguments)
    differing = {
        name: (value, ours.config[name])
        for name, value in module.config.items()
        if not name.startswith("_")
        and ours.config[name] != value
        # Asked for only where the prompt is modulated or projected inside of the model.
        and name not in ("caption_channels", "vae_scale_factors")
    }
    assert differing == {}
    assert {n: tuple(t.shape) for n, t in ours.state_dict().items()} == shapes


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_what_is_quantised_already_is_not_rounded_again(folder, kind):
    sentence = rf"Q8_0\.gguf is quantised already, so the transformer cannot also be made {kind}"
    with pytest.raises(CheckpointError, match=sentence):
        load(find(folder), "transformer", quantise=kind)
    with pytest.raises(ConfigError, match=sentence):
        Engine.load(str(folder), quantise=kind, settings=Settings.from_env({}))
    encoder = Settings.from_env({"LTX2_TEXT_ENCODER_QUANTISATION": kind})
    assert Engine.load(str(folder), settings=encoder).components.quantise["text_encoder"] == kind


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_lora_lies_on_top_of_packed_weights(folder, dtype):
    model = Components(find(folder), dtype=dtype)
    camera = folder / "ltx-2-tiny-lora-camera-control-dolly-in.safetensors"
    tensors = load_file(camera)
    name = next(key for key in tensors if key.endswith("attn1.to_q.lora_A.weight"))
    down, up = (tensors[n].to(dtype) for n in (name, name.replace("lora_A", "lora_B")))
    path = name.removeprefix("diffusion_model.").removesuffix(".lora_A.weight")
    x = torch.randn(3, down.shape[1], generator=torch.Generator().manual_seed(0)).to(dtype)
    adapter = (Adapter(source=str(camera), strength=0.5),)
    with torch.inference_mode():
        with model.using_transformer("distilled", ()) as transformer:
            base = transformer.get_submodule(path)(x)
        with model.using_transformer("distilled", adapter) as transformer:
            layer = transformer.get_submodule(path)
            assert isinstance(layer.get_base_layer(), GGUFLinear)
            with_lora = layer(x)
        with model.using_transformer("distilled", ()) as transformer:
            assert torch.equal(transformer.get_submodule(path)(x), base)
    wanted = base.float() + 0.5 * (x.float() @ down.float().T @ up.float().T)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.03}[dtype]
    torch.testing.assert_close(with_lora.float(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("residency", ["offload", "stream"])
def test_packed_weights_give_the_same_bits_wherever_they_live(folder, residency):
    wanted = base_pass(Components(find(folder)))
    elsewhere = Components(find(folder), residency=residency)
    for _ in range(2):
        assert torch.equal(base_pass(elsewhere).video, wanted.video)


def test_packed_weights_keep_their_type_on_a_visit(folder):
    model = Components(find(folder), device="meta", residency="offload")
    part = model.part("transformer:distilled")
    home = part.proj_out.weight
    with model.using_transformer("distilled", ()) as there:
        moved = there.proj_out.weight
        assert isinstance(moved, GGUFParameter)
        assert (moved.device.type, moved.quant_type) == ("meta", home.quant_type)
    assert part.proj_out.weight is home


def test_a_lora_finds_the_layers_of_a_packed_transformer_before_it_is_read(folder, tiny):
    packed, exact = (
        Engine.load(str(path), settings=Settings.from_env({})).lora_files.layers("distilled")
        for path in (folder, tiny)
    )
    assert packed["transformer"]
    assert packed == exact


def test_headers_are_read_without_torch(packed):
    code = (
        "import sys, pathlib; from pipelines.checkpoints.files import find;"
        "print(find(pathlib.Path(sys.argv[1])).generation.name, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(packed["Q8_0"])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tiny", "False"]


def test_the_header_tells_what_lightricks_own_file_would(source, packed):
    ours, theirs = read_header(packed["Q8_0"]), read_header(source)
    assert ours.config == theirs.config
    assert ours.model_version == theirs.model_version
    shapes = {n: e.shape for n, e in theirs.tensors.items() if n in ours.tensors}
    assert {name: entry.shape for name, entry in ours.tensors.items()} == shapes
