"""The text encoder and its tokenizer load from a folder and from 2.5's file, or are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    Gemma4UnifiedForCausalLM,
    Gemma4UnifiedTextConfig,
    PreTrainedTokenizerFast,
)

from pipelines.checkpoints.files import find
from pipelines.checkpoints.headers import CheckpointError
from pipelines.checkpoints.load import load
from pipelines.models import CHECKPOINTS
from tests.stages import originals as made
from tests.stages.originals import NAMES, TEXT_WIDTH, write

WORDS = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "a": 4, "ball": 5}
SIZES = {
    "vocab_size": 8,
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
IDS = torch.tensor([[2, 4, 5]])


def tokenizer():
    model = Tokenizer(WordLevel(WORDS, unk_token="<unk>"))
    model.pre_tokenizer = Whitespace()
    return model


def save_tokenizer(folder):
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer(), **special).save_pretrained(folder)


def text_only(folder, **sizes):
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(Gemma3TextConfig(**{**SIZES, **sizes})).eval()
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model


def states(model):
    with torch.no_grad():
        return torch.stack(model.model(IDS, output_hidden_states=True).hidden_states)


@pytest.fixture
def root(tmp_path):
    """A 2.0 checkpoint without a text encoder."""
    tensors, config, _ = made.monolith("2.0")
    write(tmp_path / NAMES["2.0"], tensors, config, "2.0")
    return tmp_path


@pytest.mark.parametrize("name", ["text_encoder", "gemma-3-12b-it-qat-q4_0-unquantized"])
def test_a_transformers_folder_below_the_checkpoint_is_found(root, name):
    model = text_only(root / name)
    weights = find(root)
    assert weights.text_width == TEXT_WIDTH
    assert torch.equal(states(load(weights, "text_encoder")), states(model))
    loaded = load(weights, "tokenizer")
    assert loaded("a ball")["input_ids"] == [4, 5]
    assert loaded.padding_side == "left"
    assert loaded.model_max_length == 1024


def test_a_tokenizer_in_a_folder_of_its_own_is_found(root):
    text_only(root / "text_encoder")
    (root / "tokenizer").mkdir()
    for file in list((root / "text_encoder").glob("tokenizer*")):
        file.rename(root / "tokenizer" / file.name)
    assert find(root).path("tokenizer") == root / "tokenizer"


def test_a_text_encoder_elsewhere_can_be_named(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("gemma")
    text_only(elsewhere)
    weights = find(root, text_encoder=elsewhere)
    assert weights.path("text_encoder") == weights.path("tokenizer") == elsewhere
    assert weights.text_width == TEXT_WIDTH


def test_the_multimodal_model_loads_with_its_language_model(root):
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(text_config=SIZES, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).eval()
    model.save_pretrained(root / "text_encoder")
    save_tokenizer(root / "text_encoder")
    loaded = load(find(root), "text_encoder")
    assert isinstance(loaded, Gemma3ForConditionalGeneration)
    assert torch.equal(states(loaded), states(model))


def test_a_smaller_gemma_is_refused_with_both_numbers(root):
    text_only(root / "text_encoder", num_hidden_layers=3)
    weights = find(root)
    for component in ("text_encoder", "connectors"):
        with pytest.raises(CheckpointError, match=r"20 x 4 = 80 text features.*take 60"):
            load(weights, component, variant="dev")


def test_float16_is_refused(root):
    text_only(root / "text_encoder")
    with pytest.raises(ValueError, match="use bfloat16 or float32"):
        load(find(root), "text_encoder", dtype=torch.float16)


def changed(root, **extra):
    """A 2.0 checkpoint with a text-only Gemma whose file has further or other tensors."""
    text_only(root / "text_encoder")
    file = root / "text_encoder" / "model.safetensors"
    save_file({**load_file(file), **extra}, file, {"format": "pt"})
    return find(root)


def test_the_folder_goes_to_the_device_tensor_by_tensor(root):
    text_only(root / "text_encoder")
    seen = set()
    hook = register_module_parameter_registration_hook(
        lambda module, name, parameter: seen.add(parameter.device.type)
    )
    try:
        encoder = load(find(root), "text_encoder", device="meta")
    finally:
        hook.remove()
    assert seen == {"meta"}, "a parameter lay in host memory first"
    assert {part.device.type for part in [*encoder.parameters(), *encoder.buffers()]} == {"meta"}


def test_an_unknown_tensor_in_the_folder_is_named(root):
    weights = changed(root, **{"model.layers.0.surprise": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"1 unknown \(model\.layers\.0\.surprise\)"):
        load(weights, "text_encoder")


def test_towers_that_no_prompt_reaches_may_lie_in_the_folder(root):
    weights = changed(root, **{"model.vision_tower.patch.weight": torch.ones(1)})
    assert load(weights, "text_encoder").config.hidden_size == TEXT_WIDTH


def test_a_quantised_folder_is_refused(root):
    weights = changed(root, **{"model.layers.0.mlp.up_proj.weight_scale": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"quantised.*up_proj\.weight_scale.*bf16 file"):
        load(weights, "text_encoder")


def test_a_tensor_of_another_shape_in_the_folder_is_named(root):
    weights = changed(root, **{"model.norm.weight": torch.ones(7)})
    with pytest.raises(CheckpointError, match=r"another shape \(model\.norm\.weight \(7,\)"):
        load(weights, "text_encoder")


def test_another_kind_of_model_is_refused(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("bert")
    (elsewhere / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="model_type is 'bert', accepted are gemma3"):
        find(root, text_encoder=elsewhere)


def test_a_gemma_of_another_generation_is_refused(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("gemma4")
    config = {"model_type": "gemma4_unified_text", "hidden_size": 20, "num_hidden_layers": 2}
    (elsewhere / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"LTX-2\.0 was trained with gemma3"):
        find(root, text_encoder=elsewhere)


# 2.5's file: language model, projections, tokenizer and configuration in one


def as_bytes(content):
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def single_file(root, *, version="gemma4-12b-ltx-v1", flat=False, **extra):
    tensors, config, _ = made.monolith("2.5")
    row = CHECKPOINTS["ltx-2.5"].files
    names = [name for name in tensors if name.startswith("text_embedding_projection.")]
    text = {name: tensors.pop(name) for name in names}
    write(root / NAMES["2.5"], tensors, config, "2.5")
    torch.manual_seed(0)
    sizes = {**SIZES, "attention_k_eq_v": False}
    model = Gemma4UnifiedForCausalLM(Gemma4UnifiedTextConfig(**sizes)).eval()
    text |= {f"model.{name}": value for name, value in model.model.state_dict().items()}
    text["tokenizer_json"] = as_bytes(tokenizer().to_str().encode())
    options = {"bos_token": "<bos>", "pad_token": "<pad>", "tokenizer_class": "GemmaTokenizer"}
    text["hf_asset__tokenizer_config.json"] = as_bytes(json.dumps(options).encode())
    text["vision_model.patch_dense.weight"] = torch.ones(2)
    gemma = {
        "model_type": "gemma4_unified",
        "gemma_version": version,
        "text_config": model.config.to_dict(),
    }
    if flat:
        gemma = {**model.config.to_dict(), "gemma_version": version}
    path = root / row.text_projection
    path.parent.mkdir(parents=True)
    metadata = {"model_version": "2.5.0", "gemma_config": json.dumps(gemma)}
    save_file({**text, **extra}, path, metadata)
    return model, path


def test_the_single_file_of_2_5_holds_encoder_tokenizer_and_projections(tmp_path):
    model, path = single_file(tmp_path)
    weights = find(tmp_path)
    assert weights.path("text_encoder") == weights.path("tokenizer") == path
    assert weights.files("connectors", "dev") == (tmp_path / NAMES["2.5"], path)
    encoder = load(weights, "text_encoder")
    assert torch.equal(states(encoder), states(model))
    assert not any(tensor.is_meta for tensor in [*encoder.parameters(), *encoder.buffers()])
    built = dict(model.named_buffers())
    for name, buffer in encoder.named_buffers():
        assert torch.equal(buffer, built[name]), name
    assert load(weights, "tokenizer")("a ball")["input_ids"] == [4, 5]
    assert load(weights, "tokenizer").bos_token == "<bos>"
    assert load(weights, "connectors", variant="dev").config.caption_channels == TEXT_WIDTH


def test_an_unknown_tensor_in_that_file_is_named(tmp_path):
    single_file(tmp_path, **{"model.layers.0.surprise": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"1 unknown \(model\.layers\.0\.surprise\)"):
        load(find(tmp_path), "text_encoder")


def test_a_tensor_of_another_shape_in_that_file_is_named(tmp_path):
    single_file(tmp_path, **{"model.norm.weight": torch.ones(7)})
    with pytest.raises(CheckpointError, match=r"1 of another shape \(norm\.weight \(7,\)"):
        load(find(tmp_path), "text_encoder")


def test_a_configuration_of_the_language_model_alone_is_read_too(tmp_path):
    model, _ = single_file(tmp_path, flat=True)
    assert torch.equal(states(load(find(tmp_path), "text_encoder")), states(model))


def test_a_gemma_that_the_model_was_not_trained_with_is_refused(tmp_path):
    _, path = single_file(tmp_path, version="gemma4-12b-stock")
    tensors, config, _ = made.monolith("2.5")
    source = json.dumps({"gemma_version": "gemma4-12b-ltx-v1"})
    metadata = {"config": json.dumps(config), "model_version": "2.5.0"}
    own = {k: v.contiguous() for k, v in tensors.items() if "text_embedding" not in k}
    save_file(own, tmp_path / NAMES["2.5"], {**metadata, "gemma_source_checkpoint": source})
    with pytest.raises(
        CheckpointError, match=r"is gemma4-12b-stock.*trained with gemma4-12b-ltx-v1"
    ):
        load(find(tmp_path), "text_encoder")
    assert path.is_file()
