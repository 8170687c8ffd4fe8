"""Weight-only rounding: which layers, how far off, how many bytes, and what it leaves alone."""

import gc
import json
from contextlib import nullcontext
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import LTX2VideoTransformer3DModel
from safetensors.torch import load_file, save_file
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from ltx2 import settings as settings_module
from ltx2.cli import main
from ltx2.engine import Engine
from ltx2.errors import BadRequest
from ltx2.progress import Progress
from ltx2.settings import Settings
from pipelines.checkpoints.files import find
from pipelines.checkpoints.headers import CheckpointError
from pipelines.checkpoints.load import load
from pipelines.checkpoints.quantise import (
    QUANTISATIONS,
    is_rounded,
    pieces,
    quantise,
    rounded,
    weight_bytes,
)
from pipelines.components import Components
from pipelines.models import CHECKPOINTS
from pipelines.plan import Adapter
from pipelines.residency import streaming, visiting
from pipelines.stages.denoise import denoise
from pipelines.stages.prompt import encode_prompts
from pipelines.values import Inputs
from tests.stages import originals, test_text_encoder
from tests.stages.plans import small_plan, usual_plan

KINDS = ("int8", "fp8")
PARTS = ("transformer", "text_encoder")
CPU, META = torch.device("cpu"), torch.device("meta")
ROUNDS = {"LTX2_TRANSFORMER_QUANTISATION": "fp8"}  # which products in fp8 ask for
# Largest relative error of a base pass, transformer and text encoder rounded both; bfloat16 alone
# is off by 0.009.
LATENT_ERROR = {"int8": 0.02, "fp8": 0.07}
# Of one weight: half a step of 1/127 of its row's largest, or half of the last of three bits.
WEIGHT_ERROR = {"int8": 0.01, "fp8": 0.04}


class Silent:
    """A progress that listens to nobody."""

    def stage(self, _name, _steps=1):
        return nullcontext()

    def step(self):
        """Nothing to tell."""


@pytest.fixture(scope="module")
def weights(tiny):
    return find(tiny, CHECKPOINTS["tiny"])


@pytest.fixture(scope="module")
def camera(weights):
    return weights.root / "ltx-2-tiny-lora-camera-control-dolly-in.safetensors"


def components(weights, kind="none", parts=PARTS):
    return Components(weights, quantise=dict.fromkeys(parts, kind), keep_variants=True)


def base_pass(model, adapters=()):
    plan = usual_plan()
    prompts = encode_prompts(model, plan)["base"]
    return denoise(
        model,
        replace(plan.base, adapters=adapters),
        prompts,
        stage="base",
        noise=torch.Generator().manual_seed(1),
        step_noise=torch.Generator().manual_seed(2),
        progress=Silent(),
    )


def off(ours, reference):
    return float((ours - reference).norm() / reference.norm())


def is_plain(tensor):
    return type(tensor) in (torch.Tensor, nn.Parameter)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rounded_pass_stays_within_the_stated_error(weights, kind):
    exact, ours = base_pass(components(weights)), base_pass(components(weights, kind))
    for name in ("video", "audio"):
        error = off(getattr(ours, name), getattr(exact, name))
        assert 0 < error < LATENT_ERROR[kind], name


@pytest.mark.parametrize("part", PARTS)
def test_none_is_the_same_bits_as_not_asking(weights, part):
    plain, none = load(weights, part), load(weights, part, quantise="none")
    assert all(is_plain(parameter) for parameter in none.parameters())
    ours, theirs = plain.state_dict(), none.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", PARTS)
def test_the_layers_of_the_blocks_are_rounded_and_nothing_else(weights, part, kind):
    plain, ours = load(weights, part), load(weights, part, quantise=kind)
    assert not ours.training
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    before = dict(plain.named_parameters())
    changed = set()
    for name, parameter in ours.named_parameters():
        exact = before[name]
        assert (parameter.shape, parameter.dtype) == (exact.shape, exact.dtype)
        if is_plain(parameter):
            assert torch.equal(parameter, exact), name
        else:
            changed.add(name.removesuffix(".weight"))
            assert off(parameter.dequantize(), exact) < WEIGHT_ERROR[kind], name
    inside = "transformer_blocks." if part == "transformer" else "model.language_model.layers."
    linear = {name for name, layer in ours.named_modules() if isinstance(layer, nn.Linear)}
    assert changed == {name for name in linear if name.startswith(inside)}
    assert changed < linear


def test_the_gates_of_attention_heads_are_left_alone():
    with init_empty_weights():
        model = LTX2VideoTransformer3DModel(num_layers=1, gated_attn=True, audio_gated_attn=True)
    linear = {name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    spared = {
        name
        for name in linear
        if name.startswith("transformer_blocks.")
        and not is_rounded("transformer", name, model.get_submodule(name))
    }
    assert spared
    assert all(name.endswith(".to_gate_logits") for name in spared)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", PARTS)
def test_a_rounded_weight_takes_a_byte_and_its_row_a_scale(weights, part, kind):
    plain, ours = load(weights, part), load(weights, part, quantise=kind)
    saved, rows = 0, 0
    for parameter in ours.parameters():
        if not is_plain(parameter):
            saved += 3 * parameter.numel()  # of float32's four bytes
            rows += parameter.shape[0]
    scale = {"int8": 4 + 1, "fp8": 4}[kind]  # torchao keeps a zero point beside int8's scale
    assert saved
    assert weight_bytes(ours) == weight_bytes(plain) - saved + scale * rows
    assert weight_bytes(plain) == sum(
        {id(t): t.nbytes for t in (*plain.parameters(), *plain.buffers())}.values()
    )


def test_the_released_transformer_takes_half_the_memory():
    with torch.device("meta"):
        model = LTX2VideoTransformer3DModel(perturbed_attn=True).bfloat16()
    before = weight_bytes(model)
    quantise(model, "transformer", "fp8")
    assert before > 35 * 2**30
    assert weight_bytes(model) < 0.52 * before


class Unrounded(TorchDispatchMode):
    """Watches how many bytes of floating tensors from a size on exist at a time."""

    def __init__(self, smallest):
        super().__init__()
        self.smallest = smallest
        self.most = 0
        self.alive = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if type(result) is torch.Tensor and result.dtype == torch.float32:
            storage = result.untyped_storage()
            if storage.nbytes() >= self.smallest:
                self.alive[storage.data_ptr()] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {at: held for at, held in self.alive.items() if not held[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return result


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_few_weights_are_there_unrounded_at_a_time(weights, tmp_path, layout, kind):
    if layout == "diffusers":
        load(weights, "transformer").save_pretrained(tmp_path / "transformer")
        weights = weights.with_file("transformer:distilled", tmp_path / "transformer")
    module = load(weights, "transformer", quantise=kind)
    sizes = [p.numel() * 4 for p in module.parameters() if not is_plain(p)]
    smallest = min(sizes)
    kept = sum(p.nbytes for p in module.parameters() if is_plain(p) and p.nbytes >= smallest)
    del module
    gc.collect()
    with Unrounded(smallest) as watched:
        load(weights, "transformer", quantise=kind)
    assert kept < watched.most < kept + 8 * max(sizes) < kept + sum(sizes) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_in_diffusers_format_gives_the_same_weights(weights, tmp_path, kind):
    plain = load(weights, "transformer")
    plain.save_pretrained(tmp_path / "transformer", max_shard_size="2MB")
    assert len(list((tmp_path / "transformer").glob("*.safetensors"))) > 1
    folder = weights.with_file("transformer:distilled", tmp_path / "transformer")
    ours, theirs = (load(one, "transformer", quantise=kind) for one in (folder, weights))
    assert ours.config.perturbed_attn
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert type(a) is type(b), name
        assert torch.equal(*(one if is_plain(one) else one.dequantize() for one in (a, b))), name


def test_a_folder_that_lacks_a_tensor_is_refused_when_it_is_rounded_too(weights, tmp_path):
    load(weights, "transformer").save_pretrained(tmp_path / "transformer")
    (file,) = (tmp_path / "transformer").glob("*.safetensors")
    tensors = load_file(file)
    del tensors["proj_out.bias"]
    save_file(tensors, file)
    folder = weights.with_file("transformer:distilled", tmp_path / "transformer")
    with pytest.raises(CheckpointError, match=r"1 missing: proj_out\.bias"):
        load(folder, "transformer", quantise="int8")


@pytest.mark.parametrize("kind", KINDS)
def test_a_lora_lies_on_top_of_the_rounded_weights(weights, camera, kind):
    """The layer gives what its rounded weight gives, plus the factors' product unrounded."""
    model = components(weights, kind)
    adapter = (Adapter(source=str(camera), strength=0.5),)
    tensors = load_file(camera)
    name = next(key for key in tensors if key.endswith("attn1.to_q.lora_A.weight"))
    down = tensors[name].float()
    up = tensors[name.replace("lora_A", "lora_B")].float()
    path = name.removeprefix("diffusion_model.").removesuffix(".lora_A.weight")
    x = torch.randn(3, down.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        with model.using_transformer("distilled", ()) as transformer:
            base = transformer.get_submodule(path)(x)
        with model.using_transformer("distilled", adapter) as transformer:
            layer = transformer.get_submodule(path)
            assert not is_plain(layer.get_base_layer().weight)
            with_lora = layer(x)
        with model.using_transformer("distilled", ()) as transformer:
            after = transformer.get_submodule(path)(x)
    torch.testing.assert_close(with_lora, base + 0.5 * x @ down.T @ up.T, rtol=1e-5, atol=1e-5)
    assert torch.equal(after, base)


@pytest.mark.parametrize("kind", KINDS)
def test_a_camera_lora_acts_on_a_rounded_model_as_on_the_exact_one(weights, camera, kind):
    adapter = (Adapter(source=str(camera), strength=1.0),)
    exact, ours = components(weights), components(weights, kind)
    wanted = base_pass(exact, adapter).video
    assert off(base_pass(ours, adapter).video, wanted) < LATENT_ERROR[kind]
    assert off(base_pass(ours).video, wanted) > 2 * LATENT_ERROR[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rounded_part_visits_the_device_and_comes_back(weights, kind):
    """The move is a copy, as to a GPU: another memory, the same output."""
    part = load(weights, "transformer", quantise=kind)
    layer = part.transformer_blocks[0].attn1.to_q
    home = layer.weight
    x = torch.randn(2, layer.in_features)
    with torch.inference_mode():
        expected = layer(x)
        moved = []
        with visiting(part, torch.device("cpu"), lambda t, _d: moved.append(t) or t.clone()):
            assert layer.weight is not home
            assert type(layer.weight) is type(home)
            assert layer.weight.qdata.data_ptr() != home.qdata.data_ptr()
            assert torch.equal(layer(x), expected)
            assert weight_bytes(part) == sum(one.nbytes for t in moved for one in pieces(t))
    assert layer.weight is home
    with visiting(part, torch.device("meta")):
        assert layer.weight.qdata.device.type == "meta"
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("residency", ["staged", "freed", "offload", "stream"])
def test_rounded_parts_give_the_same_bits_wherever_they_live(weights, residency):
    resident = components(weights, "int8")
    elsewhere = Components(
        weights, quantise=dict.fromkeys(PARTS, "int8"), keep_variants=True, residency=residency
    )
    wanted = base_pass(resident)
    for _ in range(2):
        assert torch.equal(base_pass(elsewhere).video, wanted.video)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loaded", ["before", "by the stage"])
def test_a_rounded_part_reaches_another_device_in_inference_mode(weights, kind, loaded):
    """The meta device is one that no operation may confuse with the host, as a GPU is."""
    model = Components(weights, quantise={"transformer": kind}, keep_variants=True)
    name = "transformer:distilled"
    if loaded == "before":
        model.part(name)
    with torch.inference_mode():
        part = model.part(name)
        block = part.transformer_blocks[1]
        home = block.attn1.to_q.weight
        with visiting(part, META):
            assert block.attn1.to_q.weight.qdata.device == META
        with streaming(part, CPU):
            assert type(block.attn1.to_q.weight) is type(home)
            assert block.attn1.to_q.weight is not home
        assert block.attn1.to_q.weight is home
        assert home.qdata.device == CPU


@pytest.fixture(scope="module")
def made(tiny):
    """The frames of a small plan by an engine that loads its parts first, by kind and residency."""

    def make(kind, residency, **more):
        settings = Settings.from_env({"LTX2_RESIDENCY": residency, **more})
        engine = Engine.load(str(tiny), settings=settings, quantise=kind)
        engine.preload()
        plan = small_plan(num_frames=9)
        # The second clip finds everything where the first one left it.
        return [
            np.concatenate(list(engine.run(plan, Inputs(), Progress()).frames)) for _ in range(2)
        ]

    resident = {}

    def both(kind, residency, **more):
        key = (kind, *more.items())
        if key not in resident:
            resident[key] = make(kind, "resident", **more)
        return resident[key], make(kind, residency, **more)

    return both


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("residency", ["staged", "freed", "offload", "stream"])
def test_an_engine_that_loaded_rounded_parts_first_gives_the_same_frames(made, kind, residency):
    wanted, found = made(kind, residency)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("residency", ["offload", "stream"])
def test_so_does_one_that_multiplies_them_in_fp8(made, residency):
    wanted, found = made("fp8", residency, LTX2_FP8_PRODUCTS="1", **ROUNDS)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_a_loaded_module_gives_what_loading_it_rounded_gives(weights, kind):
    for part in PARTS:
        late, early = load(weights, part), load(weights, part, quantise=kind)
        quantise(late, part, kind)
        for a, b in zip(late.parameters(), early.parameters(), strict=True):
            assert type(a) is type(b)
            assert torch.equal(*(one if is_plain(one) else one.dequantize() for one in (a, b)))


def test_only_the_two_large_parts_can_be_rounded(weights):
    with pytest.raises(ValueError, match="vae is never rounded, only transformer and text_encoder"):
        load(weights, "vae", quantise="int8")
    with pytest.raises(ValueError, match="'none' rounds nothing; it is one of none, fp8, int8"):
        rounded(torch.ones(2, 2), "none")


def test_the_float32_of_other_parts_keeps_its_precision(weights):
    before = torch.get_float32_matmul_precision()
    for kind in KINDS:
        load(weights, "text_encoder", quantise=kind)
    assert torch.get_float32_matmul_precision() == before


def test_an_engine_says_in_its_result_what_was_rounded(tiny):
    settings = Settings.from_env({"LTX2_TRANSFORMER_QUANTISATION": "int8"})
    engine = Engine.load(str(tiny), settings=settings)
    assert engine.components.quantise == {"transformer": "int8", "text_encoder": "none"}
    assert engine.run_warnings(small_plan()) == ("the transformer's weights are rounded to int8",)
    both = Engine.load(str(tiny), quantise="fp8", settings=settings)
    assert both.run_warnings(small_plan()) == (
        "the transformer's weights are rounded to fp8",
        "the text encoder's weights are rounded to fp8",
    )
    exact = Engine.load(str(tiny), quantise="none", settings=settings)
    assert exact.run_warnings(small_plan()) == ()


def test_the_settings_offer_what_can_be_done():
    assert get_args(settings_module.Quantisation) == QUANTISATIONS


def test_an_engine_refuses_another_kind():
    with pytest.raises(BadRequest, match="quantise must be one of none, fp8, int8; got 'int4'"):
        Engine.load("tiny", quantise="int4", settings=Settings.from_env({}))


def gemma_folder(root, *, pictures):
    """A Gemma 3 beside a 2.0 checkpoint: the language model alone, or one that sees pictures."""
    tensors, config, _ = originals.monolith("2.0")
    originals.write(root / originals.NAMES["2.0"], tensors, config, "2.0")
    if not pictures:
        test_text_encoder.text_only(root / "text_encoder")
        return find(root)
    tower = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
             "num_attention_heads": 1, "image_size": 28, "patch_size": 14}  # fmt: skip
    config = Gemma3Config(
        text_config=test_text_encoder.SIZES, vision_config=tower, mm_tokens_per_image=4
    )
    torch.manual_seed(0)
    Gemma3ForConditionalGeneration(config).save_pretrained(root / "text_encoder")
    test_text_encoder.save_tokenizer(root / "text_encoder")
    return find(root)


def gemma_file(root):
    """2.5's file with a Gemma 4, its tokenizer and the projections."""
    test_text_encoder.single_file(root)
    return find(root)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["language model", "with pictures", "file of 2.5"])
def test_every_form_of_a_text_encoder_is_rounded_in_its_decoder_layers(tmp_path, source, kind):
    if source == "file of 2.5":
        weights = gemma_file(tmp_path)
    else:
        weights = gemma_folder(tmp_path, pictures=source == "with pictures")
    exact, ours = load(weights, "text_encoder"), load(weights, "text_encoder", quantise=kind)
    changed = {name for name, one in ours.named_parameters() if not is_plain(one)}
    wanted = {
        f"{name}.weight"
        for name, layer in exact.named_modules()
        if isinstance(layer, nn.Linear) and ".layers." in name and "vision" not in name
    }
    assert changed == wanted
    assert len(changed) == 2 * 7
    assert ours.lm_head.weight is ours.get_input_embeddings().weight
    mine, reference = test_text_encoder.states(ours), test_text_encoder.states(exact)
    assert 0 < off(mine, reference) < {"int8": 0.02, "fp8": 0.08}[kind]


def test_the_command_rounds_and_says_so(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--width", "128", "--height", "64", "--num-frames", "9", "--seed", "7"]
    command = ["generate", "a red ball", *small, "--checkpoint", str(tiny), "-o", "out.mp4"]
    assert main([*command, "--quantise", "int8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [
        "the transformer's weights are rounded to int8",
        "the text encoder's weights are rounded to int8",
    ]
    assert main([*command, "--quantise", "fp8"]) == 0
    assert "warning: the transformer's weights are rounded to fp8\n" in capsys.readouterr().err
    assert main([*command, "--quantise", "int4"]) == 2
    assert "'int4' (choose from" in capsys.readouterr().err
