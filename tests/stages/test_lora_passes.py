"""LoRAs in plans and jobs of the embedded checkpoint: which layers, how strong, in which pass."""

import hashlib
import json
import re
import struct

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

import ltx2
from loras import catalog
from ltx2.delivery.file import ToFile
from ltx2.errors import BadRequest, Cancelled
from ltx2.lora_files import module_layers
from ltx2.planner import plan
from ltx2.progress import Progress
from ltx2.session import generate
from pipelines.checkpoints import keys
from pipelines.stages.prompt import encode_prompts

SMALL = {"prompt": "a red ball rolls left", "seed": 7, "width": 128, "height": 64, "num_frames": 9}
CONNECTOR = "video_connector.transformer_blocks.0.attn1.to_q"


def request(**changes):
    return ltx2.Request(**{**SMALL, **changes})


def acting(model):
    """Of every layer with an active adapter: how each of these changes the weight."""
    return {
        path: {name: layer.get_delta_weight(name) for name in layer.active_adapters}
        for path, layer in model.named_modules()
        if isinstance(layer, LoraLayer) and layer.active_adapters
    }


def stored(file):
    """A file's updates by the path of their layer in the module, at strength 1."""
    tensors = load_file(file)
    changes = {}
    for name in tensors:
        if name.endswith(".lora_A.weight"):
            path = name.removesuffix(".lora_A.weight").removeprefix("diffusion_model.")
            up = tensors[name.replace("lora_A", "lora_B")].float()
            change = up @ tensors[name].float()
            changes[keys.targets("transformer", path)[0]] = change
    return changes


def entry_of(lora):
    return catalog.get(lora, "tiny")


def assert_acting(found, expected):
    """What changes the weights is exactly these files: (path of a file, strength)."""
    found = {path: sum(deltas.values()) for path, deltas in found.items()}
    sums = {}
    for file, strength in expected:
        for path, change in stored(file).items():
            sums[path] = sums.get(path, 0) + strength * change
    assert found.keys() == sums.keys()
    for path, change in sums.items():
        torch.testing.assert_close(found[path], change, rtol=1e-5, atol=1e-6)


def check_only(model, decided, name, expected):
    """Exactly these files act where a pass of a plan has its transformer."""
    part = decided.passes[name]
    with model.using_transformer(part.variant, part.adapters) as transformer:
        assert_acting(acting(transformer), expected)
    assert acting(transformer) == {}


class Watch:
    """What acts on a transformer in each of its forward passes, by the job's stage."""

    def __init__(self, transformer):
        self.transformer = transformer
        self.stage, self.seen, self.scales = None, {}, {}

    def __call__(self, event):
        """As a job's progress."""
        self.stage = event.stage

    def hook(self, *_):
        """As a hook of the transformer: the changes at a stage's first step, scales at all."""
        self.seen.setdefault(self.stage, None)
        if self.seen[self.stage] is None:
            self.seen[self.stage] = acting(self.transformer)
        now = {
            (path, name): layer.scaling[name]
            for path, layer in self.transformer.named_modules()
            if isinstance(layer, LoraLayer)
            for name in layer.active_adapters
        }
        self.scales.setdefault(self.stage, []).append(now)


def watched(engine, asked):
    """A job, and what acted while it ran."""
    variant = "dev" if asked.mode == "pro" else "distilled"
    watch = Watch(engine.components.part(f"transformer:{variant}"))
    handle = watch.transformer.register_forward_pre_hook(watch.hook)
    try:
        engine.generate(asked, progress=watch)
    finally:
        handle.remove()
    assert acting(watch.transformer) == {}
    return watch


def test_a_job_runs_each_pass_with_its_own_loras_and_leaves_none_active(engine, tiny):
    camera, detailer, distilled = (
        tiny / entry_of(name).file for name in ("jib_up", "detailer", "distilled")
    )
    asked = request(mode="pro", num_inference_steps=3, camera_motion="jib_up",
                    camera_strength=0.5, detailer=True)  # fmt: skip
    watch = watched(engine, asked)
    expected = {"base": [(camera, 0.5)], "refine": [(distilled, 1.0)], "detail": [(detailer, 1.0)]}
    assert watch.seen.keys() == expected.keys()
    names = {}
    for stage, files in expected.items():
        assert_acting(watch.seen[stage], files)
        first, *rest = watch.scales[stage]
        assert len(rest) >= 2
        assert all(scales == first for scales in rest)
        assert set(first.values()) == {files[0][1]}
        (names[stage],) = {name for _, name in first}
    assert len(set(names.values())) == len(expected)
    plain = watched(engine, request(mode="pro", num_inference_steps=3))
    assert plain.seen["base"] == {}
    assert_acting(plain.seen["refine"], expected["refine"])


@pytest.mark.parametrize("move", ["jib_up", "static"])
def test_a_camera_acts_in_the_base_pass_of_a_job_and_in_no_other(engine, tiny, move):
    watch = watched(engine, request(camera_motion=move))
    assert_acting(watch.seen["base"], [(tiny / entry_of(move).file, 1.0)])
    assert watch.seen["refine"] == {}


@pytest.mark.parametrize("strength", [0, 0.5, 1])
@pytest.mark.parametrize("move", catalog.cameras())
def test_a_camera_acts_on_its_layers_in_the_base_pass_and_is_gone_after_it(
    engine, tiny, move, strength
):
    decided = plan(request(camera_motion=move, camera_strength=strength), checkpoint="tiny")
    file = tiny / entry_of(move).file
    assert len(stored(file)) > 20
    check_only(engine.components, decided, "base", [(file, strength)] if strength else [])
    check_only(engine.components, decided, "refine", [])


def test_the_distilled_lora_acts_in_the_refine_pass_of_pro_alone(engine, tiny):
    file = tiny / entry_of("distilled").file
    decided = plan(request(mode="pro"), checkpoint="tiny")
    check_only(engine.components, decided, "base", [])
    check_only(engine.components, decided, "refine", [(file, 1.0)])
    fast = plan(request(), checkpoint="tiny")
    check_only(engine.components, fast, "refine", [])


def test_the_detailer_acts_in_its_own_pass_alone(engine, tiny):
    file = tiny / entry_of("detailer").file
    decided = plan(request(detailer=True), checkpoint="tiny")
    check_only(engine.components, decided, "base", [])
    check_only(engine.components, decided, "refine", [])
    check_only(engine.components, decided, "detail", [(file, 1.0)])


def style(file, engine, layers, *, seed=0, variant="distilled", component="transformer"):
    """A LoRA of rank 2 for some layers of the embedded checkpoint."""
    sizes = module_layers(engine.components.weights, component, variant)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for path in layers:
        outputs, inputs = sizes[path]
        name = f"{component}.{path}"
        tensors[f"{name}.lora_A.weight"] = torch.randn(2, inputs, generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(outputs, 2, generator=generator) / 8
    save_file(tensors, file)
    return str(file)


def test_four_of_a_users_own_a_camera_the_detailer_and_the_distilled_one_in_one_job(
    engine, tiny, tmp_path
):
    path = "transformer_blocks.0.attn1.to_q"
    own = [style(tmp_path / f"{n}.safetensors", engine, [path], seed=n) for n in range(4)]
    stages = ("both", "base", "refine", "both")
    loras = [
        {"source": source, "strength": 0.25 * (n + 1), "stages": stage}
        for n, (source, stage) in enumerate(zip(own, stages, strict=True))
    ]
    asked = request(mode="pro", camera_motion="jib_up", detailer=True, loras=loras)
    decided = plan(asked, checkpoint="tiny")
    counts = {"base": 4, "refine": 4, "detail": 1}
    assert {name: len(part.adapters) for name, part in decided.passes.items()} == counts
    for name in ("base", "refine"):
        part = decided.passes[name]
        with engine.components.using_transformer(part.variant, part.adapters) as transformer:
            layer = transformer.get_submodule(path)
            strengths = [layer.scaling[name] for name in layer.active_adapters]
        assert strengths == [adapter.strength for adapter in part.adapters]


# What becomes of the second tensor's description.
BROKEN = {
    '"data_offsets":[0,8]': "begins at 0, where 8 is due",
    '"shape":[3]': "has 8 bytes for F32",
    '"dtype":"FOO"': "unknown type, 'FOO'",
    '"data_offsets":[8,1e999]': "no whole numbers",
}


def broken_header(file, changes):
    """A file of two tensors, of which the second is not what it says."""
    path = "diffusion_model.transformer_blocks.0.attn1.to_q"
    good = {"dtype": "F32", "shape": [2]}
    text = json.dumps(
        {
            f"{path}.lora_A.weight": {**good, "data_offsets": [0, 8]},
            f"{path}.lora_B.weight": {**good, "data_offsets": [8, 16]},
        },
        separators=(",", ":"),
    )
    start, _, end = text.rpartition("{")
    kind = changes.partition(":")[0]
    (value,) = re.findall(rf'{kind}:(?:\[[^]]*\]|"[^"]*")', end)
    text = f"{start}{{{end.replace(value, changes)}".encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    return file


def frames_hash(result):
    return hashlib.sha256(result.frames.tobytes() + result.audio.tobytes()).hexdigest()


def test_no_job_sees_the_lora_of_the_one_before_whatever_became_of_it(engine, tmp_path):
    plain = frames_hash(engine.generate(request()))
    camera = frames_hash(engine.generate(request(camera_motion="jib_up", camera_strength=2.0)))
    assert camera != plain
    assert frames_hash(engine.generate(request())) == plain

    def stop(event):
        if event.stage == "base" and event.step >= 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        engine.generate(request(camera_motion="jib_up"), progress=stop)
    assert frames_hash(engine.generate(request())) == plain

    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(b"\x00" * 64)
    pickled = tmp_path / "pickled.safetensors"
    torch.save({"a": torch.zeros(2)}, pickled)
    empty = tmp_path / "empty.safetensors"
    save_file({"diffusion_model.blocks.0.q.lora_A.weight": torch.zeros(1, 1)}, empty)
    odd = tmp_path / "odd.safetensors"
    path = style(odd, engine, ["transformer_blocks.0.attn1.to_q"])
    tensors = load_file(path)
    name = next(name for name in tensors if "lora_B" in name)
    save_file({**tensors, name: tensors[name][:, :1].contiguous()}, odd)
    broken = [
        (broken_header(tmp_path / f"{number}.safetensors", changes), words)
        for number, (changes, words) in enumerate(BROKEN.items())
    ]
    nan = tmp_path / "nan.safetensors"
    tensors = load_file(style(nan, engine, ["transformer_blocks.0.attn1.to_q"]))
    tensors[name][1, 1] = float("nan")
    save_file(tensors, nan)
    for source, words in (
        *broken,
        (nan, f"loras, {nan}: nan.safetensors: transformer_blocks.0.attn1.to_q: .* not finite"),
        (corrupt, "not a safetensors file"),
        (pickled, "is a pickle"),
        (empty, "none of its 1 tensor fits a layer"),
        (odd, "other shapes than 1 layer"),
        ("Lightricks/LTX-2.3:ltx-2.3-22b-distilled-lora-384-1.1.safetensors", "was made for 2.3"),
        ("http://127.0.0.1/style.safetensors", "must come from a public address"),
    ):
        asked = request(camera_motion="jib_up", loras=[{"source": str(source)}])
        with pytest.raises(BadRequest, match=words):
            engine.generate(asked)
    assert frames_hash(engine.generate(request())) == plain


def test_a_lora_on_the_connectors_acts_on_the_text_of_its_passes_alone(engine, tmp_path):
    words = style(tmp_path / "words.safetensors", engine, [CONNECTOR], component="connectors")
    model, texts = engine.components, {}
    for name, loras in {
        "plain": [],
        "base": [{"source": words, "stages": "base"}],
        "half": [{"source": words, "strength": 0.5, "stages": "base"}],
        "again": [],
    }.items():
        decided = plan(request(loras=loras), checkpoint="tiny")
        texts[name] = encode_prompts(model, decided)
    plain = texts["plain"]
    assert plain["base"].positive is plain["refine"].positive
    assert texts["again"]["base"].positive is plain["base"].positive
    assert texts["base"]["refine"].positive is plain["refine"].positive
    changed, half = texts["base"]["base"].positive, texts["half"]["base"].positive
    for one, other in ((changed, plain["base"].positive), (half, changed)):
        assert float((one.video - other.video).abs().max()) > 1e-3
        assert torch.equal(one.audio, other.audio)
    assert acting(model.part("connectors:distilled")) == {}


def test_the_text_encoder_runs_once_for_a_prompt_whatever_acts_on_the_connectors(engine, tmp_path):
    words = style(tmp_path / "words.safetensors", engine, [CONNECTOR], component="connectors")
    model, calls = engine.components, []
    hook = model.part("text_encoder").model.register_forward_hook(lambda *_: calls.append(1))
    try:
        asked = request(prompt="never seen", loras=[{"source": words, "stages": "base"}])
        encode_prompts(model, plan(asked, checkpoint="tiny"))
        assert len(calls) == 1
        encode_prompts(model, plan(asked, checkpoint="tiny"))
        encode_prompts(model, plan(request(prompt="never seen"), checkpoint="tiny"))
    finally:
        hook.remove()
    assert len(calls) == 1


def test_a_result_counts_what_acted(engine, tiny, tmp_path):
    sizes = module_layers(engine.components.weights, "transformer", "distilled")
    layers = [path for path in sizes if path.endswith("attn1.to_q")]
    mine = style(tmp_path / "mine.safetensors", engine, layers)
    words = load_file(
        style(tmp_path / "words.safetensors", engine, [CONNECTOR], component="connectors")
    )
    save_file({**load_file(mine), **words}, mine)
    asked = request(
        camera_motion="static", loras=[{"source": mine, "strength": 0.5, "stages": "refine"}]
    )
    receipt = generate(asked, engine=engine, deliver=ToFile(tmp_path / "out.mp4")).as_dict()
    digest = hashlib.sha256((tmp_path / "mine.safetensors").read_bytes()).hexdigest()
    camera = stored(tiny / entry_of("static").file)
    assert receipt["loras"] == [
        {"source": mine, "stage": "refine", "strength": 0.5, "sha256": digest, "kind": "lora",
         "rank": 2, "layers": len(layers), "connector_layers": 1},
        {"source": "static", "stage": "base", "strength": 1.0, "kind": "lora",
         "rank": load_rank(tiny / entry_of("static").file), "layers": len(camera),
         "connector_layers": 0},
    ]  # fmt: skip
    json.dumps(receipt)
    assert engine.generate(asked).loras == receipt["loras"]


def load_rank(file):
    return next(t.shape[0] for name, t in load_file(file).items() if "lora_A" in name)


def test_a_file_that_changed_since_it_was_planned_is_not_used(engine, tmp_path):
    layers = ["transformer_blocks.0.attn1.to_q"]
    source = style(tmp_path / "mine.safetensors", engine, layers)
    prepared = ltx2.prepare.prepare(
        request(loras=[{"source": source}]),
        checkpoint=engine.checkpoint, limits=engine.limits, media=engine.media_limits,
    )  # fmt: skip
    style(tmp_path / "mine.safetensors", engine, layers, seed=9)
    with pytest.raises(ltx2.ConfigError, match="has changed since it was planned"):
        engine.run(prepared.plan, prepared.inputs, Progress(None))
    assert np.isfinite(engine.generate(request()).frames).all()
