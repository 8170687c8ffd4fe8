"""Names of LoRA files: every spelling finds its layer, and what does not fit is refused by name."""

import json
import struct

import pytest

from loras import headers
from loras.headers import Entry, Header
from loras.keys import (
    CONNECTOR_RENAMES,
    TRANSFORMER_RENAMES,
    LoraMismatch,
    Match,
    for_connectors,
    is_adapter,
    match,
    spellings,
)
from pipelines.checkpoints import keys as checkpoint_keys

# Layers as diffusers names them, (outputs, inputs).
TRANSFORMER = {
    "proj_in": (48, 128),
    "audio_proj_in": (24, 128),
    "time_embed.linear": (288, 48),
    "audio_prompt_adaln.emb.timestep_embedder.linear_1": (24, 256),
    "av_cross_attn_video_a2v_gate.linear": (48, 48),
    "av_cross_attn_audio_scale_shift.linear": (96, 24),
    "transformer_blocks.0.attn1.to_q": (48, 48),
    "transformer_blocks.0.attn1.to_out.0": (48, 48),
    "transformer_blocks.1.ff.net.0.proj": (192, 48),
    "transformer_blocks.1.audio_to_video_attn.to_gate_logits": (2, 48),
}
CONNECTORS = {
    "text_proj_in": (20, 60),
    "video_connector.transformer_blocks.0.attn1.to_q": (20, 20),
    "audio_connector.transformer_blocks.1.ff.net.2": (20, 80),
}
# The same layers as Lightricks write them.
ORIGINAL = {
    "proj_in": "patchify_proj",
    "audio_proj_in": "audio_patchify_proj",
    "time_embed.linear": "adaln_single.linear",
    "audio_prompt_adaln.emb.timestep_embedder.linear_1": (
        "audio_prompt_adaln_single.emb.timestep_embedder.linear_1"
    ),
    "av_cross_attn_video_a2v_gate.linear": "av_ca_a2v_gate_adaln_single.linear",
    "av_cross_attn_audio_scale_shift.linear": "av_ca_audio_scale_shift_adaln_single.linear",
    "text_proj_in": "aggregate_embed",
    "video_connector.transformer_blocks.0.attn1.to_q": (
        "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q"
    ),
    "audio_connector.transformer_blocks.1.ff.net.2": (
        "audio_embeddings_connector.transformer_1d_blocks.1.ff.net.2"
    ),
}
RANK = 4


def theirs(path: str) -> str:
    return ORIGINAL.get(path, path)


def ours(path: str) -> str:
    return path


def flat(path: str) -> str:
    return path.replace(".", "_")


def file_of(layers, name=lambda path: f"diffusion_model.{theirs(path)}", down="lora_A.weight",
            up="lora_B.weight", rank=RANK):  # fmt: skip
    """Names and shapes of a file for these layers."""
    shapes = {}
    for path, (outputs, inputs) in layers.items():
        shapes[f"{name(path)}.{down}"] = (rank, inputs)
        shapes[f"{name(path)}.{up}"] = (outputs, rank)
    return shapes


def matched(shapes, connectors=False, metadata=None, elsewhere=(), dtype="F32") -> Match:
    layers = {"transformer": TRANSFORMER}
    if connectors:
        layers["connectors"] = CONNECTORS
    tensors = {name: Entry(dtype=dtype, shape=shape) for name, shape in shapes.items()}
    header = Header(tensors=tensors, metadata=metadata or {})
    return match(header, layers, file="x.safetensors", elsewhere=elsewhere)


def refusal(shapes, **options) -> str:
    with pytest.raises(LoraMismatch) as caught:
        matched(shapes, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "down", "up"),
    [
        (lambda p: f"diffusion_model.{theirs(p)}", "lora_A.weight", "lora_B.weight"),
        (lambda p: f"model.diffusion_model.{theirs(p)}", "lora_A.weight", "lora_B.weight"),
        (lambda p: f"transformer.{ours(p)}", "lora_A.weight", "lora_B.weight"),
        (lambda p: f"transformer.{ours(p)}", "lora.down.weight", "lora.up.weight"),
        (lambda p: f"base_model.model.{ours(p)}", "lora_A.weight", "lora_B.weight"),
        (lambda p: f"base_model.model.{ours(p)}", "lora_A.default.weight", "lora_B.default.weight"),
        (ours, "lora_A.weight", "lora_B.weight"),
        (theirs, "lora_A.weight", "lora_B.weight"),
        (lambda p: f"diffusion_model.{theirs(p)}", "lora_down.weight", "lora_up.weight"),
        (lambda p: f"lora_unet_{flat(theirs(p))}", "lora_down.weight", "lora_up.weight"),
        (lambda p: f"lora_unet_{flat(ours(p))}", "lora_down.weight", "lora_up.weight"),
    ],
    ids=["comfyui", "monolith", "diffusers", "diffusers-old", "peft", "peft-named", "bare",
         "bare-original", "down-up", "kohya", "kohya-diffusers"],
)  # fmt: skip
def test_every_spelling_finds_every_layer(name, down, up):
    shapes = file_of(TRANSFORMER, name, down, up)
    found = matched(shapes)
    assert {update.path for update in found.updates} == set(TRANSFORMER)
    for update in found.updates:
        path = name(update.path)
        assert update.tensors == {"A": f"{path}.{down}", "B": f"{path}.{up}"}
        assert (update.component, update.kind, update.rank) == ("transformer", "lora", RANK)
    assert found.elsewhere == ()
    assert (found.kind, found.rank, found.layers("transformer")) == ("lora", RANK, len(TRANSFORMER))


@pytest.mark.parametrize(
    "name",
    [
        lambda p: f"diffusion_model.{theirs(p)}",
        lambda p: f"connectors.{ours(p)}",
        lambda p: (
            ("text_embedding_projection." if "proj_in" in p else "model.diffusion_model.")
            + theirs(p)
        ),
        lambda p: f"lora_unet_{flat(theirs(p))}",
    ],
    ids=["comfyui", "diffusers", "monolith", "kohya"],
)
def test_connector_layers_go_to_the_connectors(name):
    shapes = file_of(CONNECTORS, name) | file_of(TRANSFORMER)
    found = matched(shapes, connectors=True)
    for component, layers in (("connectors", CONNECTORS), ("transformer", TRANSFORMER)):
        assert {u.path for u in found.updates if u.component == component} == set(layers)
        assert found.layers(component) == len(layers)
    assert set(for_connectors(shapes)) == set(file_of(CONNECTORS, name))


def test_what_is_for_another_component_is_left_to_its_time_and_only_then():
    words = file_of(CONNECTORS)
    found = matched(words | file_of(TRANSFORMER), elsewhere=("connectors",))
    assert found.layers("transformer") == len(found.updates) == len(TRANSFORMER)
    assert set(found.elsewhere) == set(words)
    alone = matched(words, elsewhere=("connectors",))
    assert (alone.updates, set(alone.elsewhere)) == ((), set(words))
    text = refusal(words | file_of(TRANSFORMER))
    assert f"6 tensors of it fit no layer of this model while {2 * len(TRANSFORMER)} do" in text


def test_a_file_for_the_connectors_alone_is_refused_without_them():
    text = refusal(file_of(CONNECTORS, lambda p: f"connectors.{p}"))
    assert "none of its 6 tensors fits" in text
    assert "connectors.text_proj_in" in text


def test_alpha_and_rank_are_read_per_layer():
    narrow = {"proj_in": TRANSFORMER["proj_in"]}
    wide = {"audio_proj_in": TRANSFORMER["audio_proj_in"]}
    shapes = file_of(narrow, rank=2) | file_of(wide, rank=8)
    shapes |= {"diffusion_model.patchify_proj.alpha": ()}
    found = {update.path: update for update in matched(shapes).updates}
    assert (found["proj_in"].rank, found["audio_proj_in"].rank) == (2, 8)
    assert found["proj_in"].tensors["alpha"] == "diffusion_model.patchify_proj.alpha"
    assert "alpha" not in found["audio_proj_in"].tensors
    assert (found["proj_in"].scale(6.0), found["audio_proj_in"].scale(None)) == (3.0, 1.0)


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ("lora_unet_proj_in.lokr_t2", "a Tucker-decomposed"),
        ("lora_unet_proj_in.hada_t1", "a Tucker-decomposed"),
        ("lora_unet_proj_in.oft_blocks", "an OFT"),
        ("lora_unet_proj_in.lora_mid.weight", "a LoCon"),
        ("diffusion_model.patchify_proj.diff_b", "a whole-weight difference"),
    ],
)
def test_other_kinds_of_adapters_are_refused_by_name(extra, kind):
    text = refusal(file_of(TRANSFORMER) | {extra: (48, 1)})
    assert f"x.safetensors: {kind} adapter; LoRA, DoRA, LoKr and LoHa of linear" in text
    assert extra in text


NAMES = [lambda p: f"diffusion_model.{theirs(p)}", lambda p: f"lora_unet_{flat(theirs(p))}", ours]


@pytest.mark.parametrize("name", NAMES, ids=["comfyui", "kohya", "bare"])
@pytest.mark.parametrize(
    ("roles", "kind", "rank"),
    [
        ({"lokr_w1": (6, 8), "lokr_w2": (8, 16)}, "lokr", None),
        ({"lokr_w1": (2, 2), "lokr_w2_a": (24, 4), "lokr_w2_b": (4, 64)}, "lokr", 4),
        ({"lokr_w1_a": (6, 3), "lokr_w1_b": (3, 8), "lokr_w2": (8, 16)}, "lokr", 3),
        ({"hada_w1_a": (48, 5), "hada_w1_b": (5, 128), "hada_w2_a": (48, 5),
          "hada_w2_b": (5, 128)}, "loha", 5),
        ({"lora_A.weight": (4, 128), "lora_B.weight": (48, 4), "dora_scale": (48, 1)}, "dora", 4),
        ({"lora_A.weight": (4, 128), "lora_B.weight": (48, 4), "dora_scale": (1, 128)}, "dora", 4),
        ({"lora_A.weight": (4, 128), "lora_B.weight": (48, 4),
          "lora_magnitude_vector.default.weight": (48,)}, "dora", 4),
        ({"lora_A.weight": (4, 128), "lora_B.weight": (48, 4),
          "lora_magnitude_vector": (48,)}, "dora", 4),
        ({"lokr_w1": (6, 8), "lokr_w2": (8, 16), "dora_scale": (48, 1)}, "lokr with magnitudes",
         None),
    ],
)  # fmt: skip
def test_a_kind_is_told_by_the_roles_of_its_tensors(name, roles, kind, rank):
    path = name("proj_in")
    shapes = {f"{path}.{role}": shape for role, shape in roles.items()}
    assert is_adapter(shapes)
    found = matched(shapes | {f"{path}.alpha": ()})
    assert (found.kind, found.rank, found.layers("transformer")) == (kind, rank, 1)
    assert set(found.updates[0].tensors.values()) == {*shapes, f"{path}.alpha"}


@pytest.mark.parametrize(
    ("roles", "problem"),
    [
        ({"lokr_w1": (6, 8), "lokr_w2": (8, 8)}, "other shapes"),
        ({"lokr_w1": (6, 8), "lokr_w2_a": (8, 2), "lokr_w2_b": (3, 16)}, "other shapes"),
        ({"lokr_w1_a": (6, 2), "lokr_w1_b": (2, 8), "lokr_w2_a": (8, 3), "lokr_w2_b": (3, 16)},
         "other shapes"),  # two ranks for one alpha
        ({"lokr_w1": (6, 8)}, "half an update"),
        ({"lokr_w1": (6, 8), "lokr_w2": (8, 16), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 16)},
         "half an update"),
        ({"lokr_w1": (6, 8), "lokr_w2": (8, 16, 1, 1)}, "other shapes"),
        ({"hada_w1_a": (48, 5), "hada_w1_b": (5, 128)}, "half an update"),
        ({"hada_w1_a": (48, 5), "hada_w1_b": (5, 128), "hada_w2_a": (48, 4),
          "hada_w2_b": (4, 128)}, "other shapes"),
        ({"lora_A.weight": (4, 128), "lora_B.weight": (48, 4), "dora_scale": (49, 1)},
         "magnitudes (49, 1)"),
        ({"dora_scale": (48, 1)}, "half an update"),
        ({"lora_A.weight": (4, 128), "lora_B.weight": (48, 4), "lokr_w1": (6, 8)},
         "half an update"),
        ({"lora_A.weight": (4, 128), "lora_B.weight": (48, 5)}, "other shapes"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_make_an_update_of_the_layer_are_refused(roles, problem):
    shapes = {f"proj_in.{role}": shape for role, shape in roles.items()}
    assert problem in refusal(file_of({"audio_proj_in": (24, 128)}) | shapes)


def test_whole_numbers_are_no_weights():
    text = refusal(file_of(TRANSFORMER), dtype="I8")
    assert f"{2 * len(TRANSFORMER)} tensors of I8, which are no weights" in text


def test_weights_of_a_model_are_no_adapter():
    assert not is_adapter(["transformer_blocks.0.attn1.to_q.weight", "proj_in.bias", "x.alpha"])


def test_a_file_that_fits_nothing_is_refused_with_up_to_five_examples():
    shapes = file_of({f"double_blocks.{n}.img_attn.qkv": (9, 9) for n in range(9)})
    text = refusal(shapes, metadata={"modelspec.architecture": "flux-1-dev/lora"})
    assert "none of its 18 tensors fits a layer of this model" in text
    assert text.count("img_attn") == 5
    assert "and 13 more" in text
    assert "made for modelspec.architecture 'flux-1-dev/lora', Flux or HunyuanVideo" in text


def test_a_file_that_fits_in_part_is_refused_with_both_counts():
    shapes = file_of(TRANSFORMER)
    extra = file_of({"transformer_blocks.9.attn1.to_q": (48, 48)})
    text = refusal(shapes | extra)
    assert f"2 tensors of it fit no layer of this model while {len(shapes)} do" in text
    assert "transformer_blocks.9.attn1.to_q.lora_A.weight" in text
    assert "made for LTX-2.3 or later, 10 blocks, width 48" in text


def test_a_file_of_other_shapes_is_refused_and_its_model_told():
    wide = {path: (outputs, 4096) for path, (outputs, _) in TRANSFORMER.items()}
    text = refusal(file_of(wide))
    assert f"other shapes than {len(TRANSFORMER)} layers of this model" in text
    assert "time_embed.linear (A (4, 4096) and B (288, 4), the layer is 48 -> 288)" in text
    assert "and 5 more; it seems to be made for LTX-2.3 or later, 2 blocks, width 4096" in text


@pytest.mark.parametrize(
    ("down", "up"),
    [((0, 128), (48, 0)), ((4, 128), (48, 8)), ((4,), (48, 4)), ((4, 128, 1), (48, 4))],
)
def test_factors_that_do_not_multiply_are_refused(down, up):
    shapes = {"proj_in.lora_A.weight": down, "proj_in.lora_B.weight": up}
    assert "other shapes than 1 layer of this model" in refusal(shapes)


def test_half_an_update_two_of_a_kind_and_a_wide_alpha_are_named_at_once():
    shapes = file_of(TRANSFORMER)
    del shapes["diffusion_model.audio_patchify_proj.lora_B.weight"]
    shapes["transformer.proj_in.lora_A.weight"] = (RANK, 128)
    shapes["diffusion_model.adaln_single.linear.alpha"] = (2,)
    text = refusal(shapes)
    assert "half an update for 1 layer: audio_proj_in" in text
    assert "more than one tensor for the same place: diffusion_model.patchify_proj" in text
    assert "alpha is not one number: diffusion_model.adaln_single.linear.alpha" in text


def test_an_empty_file_is_refused():
    assert "none of its 0 tensors fits" in refusal({})


@pytest.mark.parametrize(
    ("component", "renames", "layers"),
    [
        ("transformer", TRANSFORMER_RENAMES, TRANSFORMER),
        ("connectors", CONNECTOR_RENAMES, CONNECTORS),
    ],
)
def test_renames_agree_with_those_of_the_checkpoints(component, renames, layers):
    # One module per row, and what the row says of it must be what a checkpoint's tensor is called.
    for original, diffusers in renames:
        stored = checkpoint_keys.to_original(component, f"{diffusers}.weight")
        assert stored.split(".")[-2] == original
    for path in layers:
        stored = checkpoint_keys.to_original(component, path)
        known = {name for name, place in spellings({component: layers}) if place[1] == path}
        bare = stored.removeprefix(checkpoint_keys.TRANSFORMER_PREFIX)
        assert known >= {path, bare}


def written(path, header: bytes, data: bytes = b"", length: int | None = None):
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def header_of(**metadata: str) -> bytes:
    tensor = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}
    return json.dumps({"__metadata__": metadata, "a": tensor}).encode()


def test_a_header_tells_shapes_and_metadata(tmp_path):
    file = written(tmp_path / "x", header_of(reference_downscale_factor="2"), bytes(8))
    assert headers.read(file).shapes == {"a": (2, 1)}
    assert headers.metadata(file) == {"reference_downscale_factor": "2"}


@pytest.mark.parametrize(
    ("header", "data", "length", "problem"),
    [
        (header_of(), bytes(7), None, "its header promises"),
        (header_of(), bytes(9), None, "its header promises"),
        (b"\x80\x02}q\x00.", b"pickled weights", None, "broken safetensors header"),
        (b"{}", b"", int.from_bytes(b"PK\x03\x04\0\0\x08\x08", "little"), "is a pickle"),
        (b"{}", b"", int.from_bytes(b"\x80\x02\x8a\nl\xfc\x9cF", "little"), "is a pickle"),
        (
            b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
            bytes(4),
            None,
            "broken",
        ),
        (b"[" * 5000, b"", None, "broken safetensors header"),
        (b"{}", b"", 2**40, "not a safetensors file"),
        (b"", b"", None, "not a safetensors file"),
        (b'{"a": {"shape": [1]}}', b"", None, "broken safetensors header"),
        (b"[1, 2]", b"", None, "broken safetensors header"),
    ],
)
def test_what_is_no_whole_safetensors_file_is_refused(tmp_path, header, data, length, problem):
    with pytest.raises(ValueError, match=problem):
        headers.read(written(tmp_path / "x", header, data, length))


TWO = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
       "b": {"dtype": "F16", "shape": [4], "data_offsets": [8, 16]}}  # fmt: skip


@pytest.mark.parametrize(
    ("of_b", "problem"),
    [
        ({"data_offsets": [0, 8]}, "begins at 0, where 8 is due"),
        ({"data_offsets": [4, 12]}, "begins at 4, where 8 is due"),
        ({"data_offsets": [12, 20]}, "begins at 12, where 8 is due"),
        ({"data_offsets": [8, 12]}, r"b has 4 bytes for F16 \[4\]"),
        ({"shape": [5]}, r"b has 8 bytes for F16 \[5\]"),
        ({"dtype": "F32"}, r"b has 8 bytes for F32 \[4\]"),
        ({"dtype": "FOO"}, "b is of an unknown type, 'FOO'"),
        ({"dtype": ["F16"]}, "b is of an unknown type"),
        ({"data_offsets": [8, float("inf")]}, "b has a shape or offsets that are no whole numbers"),
        ({"data_offsets": [8, float("nan")]}, "no whole numbers"),
        ({"data_offsets": [8.0, 16.0]}, "no whole numbers"),
        ({"data_offsets": [8, "16"]}, "no whole numbers"),
        ({"data_offsets": 16}, "no whole numbers"),
        ({"data_offsets": [-8, 0]}, "no whole numbers"),
        ({"data_offsets": [16]}, "b has 1 offsets"),
        ({"shape": [float("inf")]}, "no whole numbers"),
        ({"shape": [True, 4]}, "no whole numbers"),
        ({"shape": None}, "no whole numbers"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused_by_the_tensors_name(tmp_path, of_b, problem):
    good = json.dumps(TWO).encode()
    assert headers.read(written(tmp_path / "x", good, bytes(16))).nbytes == 8 + len(good) + 16
    bad = json.dumps(TWO | {"b": TWO["b"] | of_b}).encode()
    with pytest.raises(ValueError, match=f"x has a broken safetensors header: .*{problem}"):
        headers.read(written(tmp_path / "x", bad, bytes(16)))


def test_metadata_that_are_no_texts_are_refused(tmp_path):
    bad = json.dumps(TWO | {"__metadata__": {"rank": 4}}).encode()
    with pytest.raises(ValueError, match="metadata 'rank' is no text"):
        headers.read(written(tmp_path / "x", bad, bytes(16)))


def test_an_empty_file_is_no_safetensors_file(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(ValueError, match="not a safetensors file"):
        headers.read(tmp_path / "x")
