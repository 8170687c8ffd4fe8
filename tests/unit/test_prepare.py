"""Preparing a request: every refusal in one error, and LoRA files judged by their headers."""

import dataclasses
import json
import struct
from pathlib import Path

import pytest
from PIL import Image

from loras import headers
from ltx2.errors import BadRequest, ConfigError, MediaRefused, TooLarge
from ltx2.extent import Limits
from ltx2.lora_files import LoraFiles, module_layers
from ltx2.media.fetch import MediaLimits
from ltx2.prepare import prepare
from ltx2.request import Request
from ltx2.settings import Settings
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

    def find_file(adapter):
        if adapter.source == "jib_up":
            return tiny / CAMERA
        raise ConfigError(f"the LoRA {adapter.source} needs a file that is not here")

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
    files = ("image names a file", "keyframes[0] names a file")
    expected = (*files, "temporal_upscaler needs", "ends with frame 0")
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


def test_a_lora_that_is_elsewhere_is_planned_without_its_query_and_named_as_unread():
    url = "https://example.com/style.safetensors?key=secret#part"
    plan = prepared(of(url, "someone/loras:style.safetensors")).plan
    sources = ["https://example.com/style.safetensors", "someone/loras:style.safetensors"]
    assert [(a.source, a.sha256) for a in plan.base.adapters] == [(s, None) for s in sources]
    assert [text for text in plan.warnings if "was not read" in text] == [
        f"loras[{n}] was not read: the plan's id does not name what is in it" for n in (0, 1)
    ]
    assert "secret" not in json.dumps(plan.as_dict())


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
    assert "other shapes" in found[0]
    assert "gone.safetensors" in found[1]


def test_a_camera_lora_that_is_missing_is_found_before_the_run(files):
    assert prepared(ask(camera_motion="jib_up"), files=files).plan.base.adapters
    request = ask(camera_motion="dolly_in")
    assert "dolly_in" in str(refusal(ConfigError, request, files=files))
    assert prepared(request).plan.base.adapters


def test_a_lora_of_the_catalogue_that_is_damaged_is_a_fault_of_the_machine(tmp_path, files):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"broken")
    damaged = dataclasses.replace(files, find=lambda _adapter: broken)
    _, (found,) = damaged.examine([Adapter(source="jib_up", strength=1.0)], "distilled")
    assert isinstance(found, ConfigError)
    assert "the LoRA jib_up" in str(found)


@pytest.mark.parametrize("component", ["transformer", "connectors"])
@pytest.mark.parametrize("variant", ["distilled", "dev"])
def test_the_layers_in_the_headers_are_those_of_the_module(tiny, tiny_model, component, variant):
    from torch import nn

    module = tiny_model.part(f"{component}:{variant}")
    linears = {
        name.removesuffix(".base_layer"): (layer.out_features, layer.in_features)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and ".lora_" not in name
    }
    assert module_layers(tiny_model.weights, component, variant) == linears


def test_what_each_lora_does_is_known_before_the_run(tiny, tmp_path, files):
    layers = module_layers(files.weights, "transformer", "distilled")
    outputs, inputs = layers["transformer_blocks.0.attn1.to_q"]
    mine = lora(tmp_path / "mine.safetensors", inputs=inputs, outputs=outputs)
    found = prepared(of(mine, "jib_up"), files=files)
    digest = found.plan.base.adapters[0].sha256
    own, camera = found.matches[str(mine), digest], found.matches["jib_up", None]
    assert (own.kind, own.rank, own.layers("transformer"), own.layers("connectors")) == (
        "lora", 2, 1, 0,
    )  # fmt: skip
    header = headers.read(tiny / CAMERA)
    assert camera.layers("transformer") == len(header.tensors) / 2
    assert prepared(of(mine)).matches is None


@pytest.mark.parametrize(
    ("source", "checkpoint", "words"),
    [
        ("ltx-2-19b-lora-camera-control-jib-up.safetensors", "tiny", "made for 2.0, not for tiny"),
        ("https://x.org/a/ltx-2-19b-lora-camera-control-static.safetensors?k=1", "ltx-2.3",
         "made for 2.0, not for ltx-2.3; the catalogue has none for ltx-2.3"),
        ("Lightricks/LTX-2.3:ltx-2.3-22b-distilled-lora-384-1.1.safetensors", "ltx-2",
         "those for ltx-2 are dolly_in, dolly_left"),
        ("jib_up", "ltx-2.5", "'jib_up' was not made for ltx-2.5"),
        ("Lightricks/LTX-2:ltx-2-19b-distilled-lora-384.safetensors", "ltx-2", "a second time"),
        ("detailer", "tiny", "set detailer to true"),
        ("x/y:ltx-2-19b-ic-lora-detailer.safetensors", "ltx-2", "`ltx2 detail`"),
    ],
)  # fmt: skip
def test_a_file_of_the_catalogue_is_known_by_its_name_wherever_it_comes_from(
    source, checkpoint, words
):
    problem = str(refusal_of_any(of(source), checkpoint=CHECKPOINTS[checkpoint]))
    assert words in problem
    assert "?k=1" not in problem


def refusal_of_any(request, **options):
    with pytest.raises(BadRequest) as caught:
        prepared(request, **options)
    return caught.value


def test_two_camera_moves_are_refused_also_by_the_name_of_a_file(tmp_path):
    file = lora(tmp_path / CAMERA)
    request = ask(camera_motion="static", loras=[{"source": str(file)}])
    assert "static and jib_up are asked for" in str(refusal(BadRequest, request))


def test_a_local_lora_that_is_too_heavy_is_refused_as_such(tmp_path):
    sources = dataclasses.replace(Settings().lora_sources(), max_bytes=100)
    file = lora(tmp_path / "style.safetensors")
    text = str(refusal(TooLarge, of(file), sources=sources))
    assert text.startswith("loras[0] has ")
    assert "a LoRA may have 100 here" in text


def test_the_public_plan_reads_the_pictures_as_the_command_does(tmp_path):
    import ltx2

    path = tmp_path / "tall.png"
    Image.new("RGB", (60, 100)).save(path)
    request = ltx2.Request(prompt="a", seed=1, image=str(path))
    planned = ltx2.plan(request, checkpoint="tiny")
    assert planned.height > planned.width
    assert [name for name, _ in planned.images] == ["image"]
    assert planned.warnings == ()
