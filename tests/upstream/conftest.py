"""Small real LTX-2 transformers with random weights, one per generation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

SIZES: dict[str, Any] = {
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "cross_attention_dim": 48,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 12,
    "audio_cross_attention_dim": 24,
    "caption_channels": 20,
    "perturbed_attn": True,
    "rope_type": "split",
}
GENERATIONS: dict[str, dict[str, Any]] = {
    "2.0": {"use_prompt_embeddings": True},
    "2.3": {
        "use_prompt_embeddings": False,
        "gated_attn": True,
        "audio_gated_attn": True,
        "cross_attn_mod": True,
        "audio_cross_attn_mod": True,
    },
}
GENERATIONS["2.5"] = {
    **GENERATIONS["2.3"],
    "use_keyframes_abs_pos_embedding": True,
    "ff_bias": False,
}

GRID = (3, 2, 3)  # latent frames, rows, columns
AUDIO = 5
Build = Callable[..., LTX2VideoTransformer3DModel]


@pytest.fixture
def build() -> Build:
    """A transformer of a generation, every parameter random so that no branch is a no-op."""

    def make(generation: str, **overrides: object) -> LTX2VideoTransformer3DModel:
        torch.manual_seed(0)
        model = LTX2VideoTransformer3DModel(
            **{**SIZES, **GENERATIONS[generation], **overrides}
        ).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return model

    return make


@pytest.fixture
def call() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """One forward pass.

    `held` is how far the first latent frame is held, keywords go to the transformer.
    """

    @torch.inference_mode()
    def forward(
        model: LTX2VideoTransformer3DModel, *, held: float = 0.0, **options: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        frames, height, width = GRID
        noise = torch.Generator().manual_seed(1)
        count = frames * height * width
        mask = torch.ones(1, count)
        mask[:, : height * width] = 1 - held
        text = {"2.0": (20, 20)}.get("2.0" if model.config.use_prompt_embeddings else "", (48, 24))
        level = torch.full((1,), 700.0)
        return model(
            hidden_states=torch.randn(1, count, 128, generator=noise),
            audio_hidden_states=torch.randn(1, AUDIO, 128, generator=noise),
            encoder_hidden_states=torch.randn(1, 8, text[0], generator=noise),
            audio_encoder_hidden_states=torch.randn(1, 8, text[1], generator=noise),
            timestep=level[:, None] * mask,
            audio_timestep=level[:, None],
            sigma=level,
            audio_sigma=level,
            num_frames=frames,
            height=height,
            width=width,
            audio_num_frames=AUDIO,
            return_dict=False,
            **options,
        )

    return forward
