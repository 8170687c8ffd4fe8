"""Preparing a request: every refusal in one error, and LoRA files judged by their headers."""

import dataclasses
import json
import struct
from pathlib import Path

import pytest
from PIL import Image

from loras import headers
from loras.keys import match
from ltx2.errors import BadRequest, ConfigError, MediaRefused, TooLarge
from ltx2.extent import Limits
from ltx2.lora_files import LoraFiles, transformer_layers
from ltx2.media.fetch import MediaLimits
from ltx2.prepare import prepare
from ltx2.request import Request
from pipelines.checkpoints.files import find
from pipelines.models import CHECKPOINTS
from pipelines.plan import Adapter

ROW = CHECKPOINTS["tiny"]
LAYER = "diffusion_model.transformer_blocks.0.attn1.to_q"
CAMERA = "ltx-2-tiny-lora-camera-control-jib-up.safetensors"


def prepared(request, **options):
    options = {"checkpoint": ROW, "limits": Limits(), "media": MediaLimits(), **options}
    return prepare(request, **options)


def ask(**fields):
    return Request(**{"prompt": "a", "seed": 7, **fields})


def refusal(kind, request, **options):
    with pytest.raises(kind) as caught:
        prepared(request, **options)
    assert type(caught.value) is kind
    return caught.value


def file(path: Path, shapes, content=b"\0", **metadata):
    """A whole safetensors file of float32 tensors with these shapes."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, size = end, 4
        for edge in shape:
            size *= edge
        end = start + size
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content * end)
    return path


def lora(path: Path, inputs=8, outputs=8, content=b"\0", **metadata):
    pair = {f"{LAYER}.lora_A.weight": (2, inputs), f"{LAYER}.lora_B.weight": (outputs, 2)}
    return file(path, pair, content, **metadata)


def of(*sources):
    return ask(loras=[{"source": str(source)} for source in sources])


@pytest.fixture
def files(tiny):
    """The embedded checkpoint's LoRAs, and a place for paths."""

    def find_file(source):
        if source == "jib_up":
            return tiny / CAMERA
        if source.endswith(".safetensors"):
            return Path(source)
        raise ConfigError(f"the LoRA {source} needs a file that is not here")

    return LoraFiles(find=find_file, weights=find(tiny, ROW))


def test_pictures_plan_and_loras_are_refused_in_one_error(tmp_path):
    request = ask(
        image=str(tmp_path / "nothing.png"),
        temporal_upscaler=True,
        num_frames=1,
        fps=50,
        keyframes=[{"image": str(tmp_path / "neither.png"), "frame": 3}],
        loras=[{"source": str(tmp_path / "no.safetensors")}, {"source": "dolly_inn"}],
    )
    found = refusal(BadRequest, request).problems
    assert len(found) == 6
    expected = ("nothing.png", "neither.png", "temporal_upscaler needs", "ends with frame 0")
    for words in (*expected, "no.safetensors", "dolly_inn"):
        assert any(words in text for text in found), words


def test_a_single_kind_of_refusal_keeps_its_own_class(tmp_path):
    refusal(MediaRefused, ask(image=str(tmp_path / "nothing.png")))
    small = Limits(max_pixels=64 * 64)
    text = str(refusal(TooLarge, ask(), limits=small))
    assert "pixels a frame" in text
    strip = tmp_path / "strip.png"
    Image.new("RGB", (20_000, 40)).save(strip)
    both = str(refusal(TooLarge, ask(image=str(strip)), limits=small))
    assert "16,384" in both
    assert "pixels a frame" in both


@pytest.mark.parametrize(
    ("source", "paths", "advice"),
    [
        ("https://example.com/style.safetensors?key=secret", True, "a local .safetensors file"),
        ("someone/loras:style.safetensors", False, "a catalogue id"),
    ],
)
def test_a_lora_that_is_elsewhere_is_refused_with_what_the_caller_may_give(source, paths, advice):
    error = refusal(BadRequest, of(source), paths=paths)
    name = source.removesuffix("?key=secret")
    assert error.problems == [f"loras[0]: {name} is not on this machine; give {advice}"]


def test_a_lora_file_is_judged_before_there_are_weights(tmp_path):
    text = tmp_path / "text.safetensors"
    text.write_text("not a safetensors file, though long enough for a length")
    cut = lora(tmp_path / "cut.safetensors")
    cut.write_bytes(cut.read_bytes()[:-1])
    model = file(tmp_path / "model.safetensors", {"transformer.proj_in.weight": (8, 8)})
    reference = lora(tmp_path / "reference.safetensors", reference_downscale_factor="2")
    sources = [text, cut, model, reference]
    found = refusal(BadRequest, of(*sources)).problems
    words = ["not a safetensors file", "its header promises", "is no LoRA", "IC-LoRA"]
    assert len(found) == len(words)
    for index, (problem, wanted) in enumerate(zip(found, words, strict=True)):
        assert problem.startswith(f"loras[{index}]: ")
        assert wanted in problem
        assert sources[index].name in problem


def test_new_bytes_in_a_lora_file_are_another_plan(tmp_path):
    path = tmp_path / "style.safetensors"
    ids = []
    for content in (b"\0", b"\1", b"\0"):
        lora(path, content=content)
        ids.append(prepared(of(path)).plan.id)
    assert ids[0] == ids[2] != ids[1]


def test_a_lora_that_does_not_fit_is_refused_from_its_header(tmp_path, files):
    wide = lora(tmp_path / "wide.safetensors", inputs=4096, outputs=4096)
    gone = tmp_path / "gone.safetensors"
    assert prepared(of(wide)).plan  # what it must fit is not known yet
    found = refusal(BadRequest, of(wide, gone), files=files).problems
    assert len(found) == 2
    assert "gone.safetensors" in found[0]
    assert "other shapes" in found[1]


def test_a_camera_lora_that_is_missing_is_found_before_the_run(files):
    assert prepared(ask(camera_motion="jib_up"), files=files).plan.base.adapters
    request = ask(camera_motion="dolly_in")
    assert "dolly_in" in str(refusal(ConfigError, request, files=files))
    assert prepared(request).plan.base.adapters


def test_a_lora_of_the_catalogue_that_is_damaged_is_a_fault_of_the_machine(tmp_path, files):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"broken")
    damaged = dataclasses.replace(files, find=lambda _source: broken)
    (found,) = damaged.refusals([Adapter(source="jib_up", strength=1.0)], "distilled")
    assert isinstance(found, ConfigError)
    assert "the LoRA jib_up" in str(found)


@pytest.mark.parametrize("variant", ["distilled", "dev"])
def test_the_layers_in_the_headers_are_those_of_the_module(tiny, tiny_model, variant):
    from torch import nn

    module = tiny_model.part(f"transformer:{variant}")
    linears = {
        name.removesuffix(".base_layer"): (layer.out_features, layer.in_features)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and ".lora_" not in name
    }
    layers = transformer_layers(tiny_model.weights, variant)
    assert layers == linears
    header = headers.read(tiny / CAMERA)
    assert match(header.shapes, {"transformer": layers}, file=CAMERA, metadata=header.metadata)


def test_the_public_plan_reads_the_pictures_as_the_command_does(tmp_path):
    import ltx2

    path = tmp_path / "tall.png"
    Image.new("RGB", (60, 90)).save(path)
    request = ltx2.Request(prompt="a", seed=1, image=str(path))
    planned = ltx2.plan(request, checkpoint="tiny")
    assert planned.height > planned.width
    assert [name for name, _ in planned.images] == ["image"]
    assert planned.warnings == ()
