"""The audio-video cross-attention gate reads the other modality's noise level.

What differs: the reference takes scale and shift of the cross-modal attention from a stream's own
per-token timesteps and its gate from the other stream's sigma. diffusers takes both from the same
source: both own (`use_cross_timestep=False`) or both the other's (`True`). Equal while every token
has the same noise level; different as soon as a token is conditioned or a stream is frozen.
Cure: run the "own" branch and hand the gate modules the other stream's sigma.
End: when diffusers separates the two timesteps, `test_stock_gate_still_differs` fails and this file
goes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Hook = Callable[
    [nn.Module, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]
]


@contextmanager
def cross_modal_gate(transformer: nn.Module) -> Iterator[None]:
    """Correct the gates of `transformer` inside the block.

    Calls must pass `sigma` and `audio_sigma`, shape (batch,).
    """
    for name in ("av_cross_attn_video_a2v_gate", "av_cross_attn_audio_v2a_gate"):
        if not hasattr(transformer, name):
            raise RuntimeError(
                f"diffusers' LTX-2 transformer has no `{name}` any more; revisit {__name__}"
            )
    config = transformer.config
    ratio = config.cross_attn_timestep_scale_multiplier / config.timestep_scale_multiplier
    sigma: dict[str, Tensor] = {}

    def note(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        sigma["video"], sigma["audio"] = kwargs["sigma"].flatten(), kwargs["audio_sigma"].flatten()
        kwargs["use_cross_timestep"] = False
        return args, kwargs

    def gate_from(other: str) -> Hook:
        def replace_timestep(
            _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return (sigma[other] * ratio, *args[1:]), kwargs

        return replace_timestep

    hooks = [
        transformer.register_forward_pre_hook(note, with_kwargs=True),
        transformer.av_cross_attn_video_a2v_gate.register_forward_pre_hook(
            gate_from("audio"), with_kwargs=True
        ),
        transformer.av_cross_attn_audio_v2a_gate.register_forward_pre_hook(
            gate_from("video"), with_kwargs=True
        ),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
