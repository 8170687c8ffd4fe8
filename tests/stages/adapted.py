"""A small transformer, small text connectors, and LoRA files that fit them."""

import copy

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

Q, OUT, FF, GATE = (
    "transformer_blocks.0.attn1.to_q",
    "transformer_blocks.1.audio_attn2.to_out.0",
    "transformer_blocks.1.ff.net.0.proj",
    "av_cross_attn_video_a2v_gate.linear",
)
THEIRS = {GATE: "av_ca_a2v_gate_adaln_single.linear"}
LAYERS = (Q, OUT, FF, GATE)
TOLERANCE = 1e-5


def build() -> LTX2VideoTransformer3DModel:
    torch.manual_seed(0)
    model = LTX2VideoTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=24,
        cross_attention_dim=48,
        audio_in_channels=12,
        audio_out_channels=12,
        audio_num_attention_heads=2,
        audio_attention_head_dim=12,
        audio_cross_attention_dim=24,
        caption_channels=20,
        rope_type="split",
    )
    return model.eval()


CONNECTOR = "video_connector.transformer_blocks.0.attn1.to_q"
THEIR_CONNECTOR = "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q"


@torch.no_grad()
def run(model, dtype=torch.float32):
    """Both velocities of one forward pass, end to end in one tensor."""
    generator = torch.Generator().manual_seed(1)

    def tokens(*shape):
        return torch.randn(shape, generator=generator).to(dtype)

    video, audio = model(
        hidden_states=tokens(1, 8, 16),
        audio_hidden_states=tokens(1, 5, 12),
        encoder_hidden_states=tokens(1, 6, 20),
        audio_encoder_hidden_states=tokens(1, 6, 20),
        timestep=torch.full((1, 8), 700.0),
        audio_timestep=torch.full((1, 5), 700.0),
        num_frames=2,
        height=2,
        width=2,
        audio_num_frames=5,
        return_dict=False,
    )
    return torch.cat((video.flatten(), audio.flatten()))


def size(model, path):
    linear = model.get_submodule(path)
    return linear.out_features, linear.in_features


def factors(model, layers=LAYERS, ranks=(4, 4, 4, 4), seed=2):
    """Random factors of some layers: path -> (A, B)."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for path, rank in zip(layers, ranks, strict=True):
        outputs, inputs = size(model, path)
        down = torch.randn(rank, inputs, generator=generator)
        found[path] = (down, torch.randn(outputs, rank, generator=generator) / 4)
    return found


def write(file, pairs, alphas=None, **notes):
    """A LoRA file in Lightricks' spelling."""
    tensors = {}
    for path, (down, up) in pairs.items():
        name = f"diffusion_model.{THEIRS.get(path, path)}"
        tensors[f"{name}.lora_A.weight"] = down.contiguous()
        tensors[f"{name}.lora_B.weight"] = up.contiguous()
        if alphas and path in alphas:
            tensors[f"{name}.alpha"] = torch.tensor(alphas[path])
    save_file(tensors, file, metadata=notes or None)
    return file


@torch.no_grad()
def fused(model, *weighted):
    """The output of a copy whose weights are W + strength * alpha / rank * B @ A."""
    model = copy.deepcopy(model)
    for pairs, strength, alphas in weighted:
        for path, (down, up) in pairs.items():
            scale = strength * alphas.get(path, down.shape[0]) / down.shape[0]
            model.get_submodule(path).weight += scale * up @ down
    return run(model)


def state(model):
    """Everything that adapters could have changed."""
    return {
        path: (tuple(layer.active_adapters), dict(layer.scaling), layer.disable_adapters)
        for path, layer in model.named_modules()
        if isinstance(layer, LoraLayer)
    }


def connectors():
    torch.manual_seed(0)
    return LTX2TextConnectors(
        caption_channels=20,
        text_proj_in_factor=3,
        video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=10,
        video_connector_num_layers=1,
        audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=10,
        audio_connector_num_layers=1,
        rope_type="split",
    ).eval()
