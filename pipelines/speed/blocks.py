"""A transformer whose blocks are computed by our own arithmetic, for the length of a pass.

The modules stay diffusers': each block gets another `forward`, which is taken off again.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from shutil import which
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.speed.block import Call, block_forward
from pipelines.speed.compiling import compiled
from pipelines.speed.elementwise import Elementwise, Plain
from pipelines.speed.levers import Blocks
from pipelines.speed.rotary import replaced_forward, tables_kept
from pipelines.speed.runs import Levels
from pipelines.upstream.perturbed_attention import check_blocks

FUSED_FROM = (8, 0)  # compute capability: from there on GPUs have bfloat16
MASKS = (
    "encoder_attention_mask",
    "audio_encoder_attention_mask",
    "self_attention_mask",
    "audio_self_attention_mask",
    "a2v_cross_attention_mask",
    "v2a_cross_attention_mask",
)
Compute = Callable[..., tuple[Tensor, Tensor]]


class FastBlocks:
    """Our arithmetic on the blocks of one transformer, and what they need to know of the pass.

    `levels` are those of the video tokens, None where all have one; `perturbed` the streams,
    video and audio, whose self-attention a perturbed block skips.
    """

    def __init__(
        self,
        ops: Elementwise,
        compute: Compute = block_forward,
        device: torch.device | None = None,
    ) -> None:
        self.levels: Levels | None = None
        self.perturbed = (True, True)
        self._ops = ops
        self._compute = compute
        self._device = device  # which Triton's kernels are launched on

    @contextmanager
    def installed(self, transformer: nn.Module) -> Iterator[None]:
        """The transformer computed so, with its rotary tables kept, inside the block."""
        with ExitStack() as stack:
            if self._device is not None:
                stack.enter_context(torch.cuda.device(self._device))
            stack.enter_context(tables_kept(transformer))
            hook = transformer.time_embed.register_forward_hook(self._spread)
            stack.callback(hook.remove)
            for block in transformer.transformer_blocks:
                stack.enter_context(replaced_forward(block, self._forward_of(block)))
            yield

    @contextmanager
    def perturbing(
        self, transformer: nn.Module, blocks: tuple[int, ...], *, video: bool, audio: bool
    ) -> Iterator[list[int]]:
        """As `perturbed_streams`: these blocks skip the self-attention of these streams."""
        check_blocks(transformer, blocks)
        before = self.perturbed
        self.perturbed = (video, audio)
        try:
            yield list(blocks)
        finally:
            self.perturbed = before

    def _forward_of(self, block: nn.Module) -> Compute:
        def forward(
            hidden_states: Tensor,
            audio_hidden_states: Tensor,
            encoder_hidden_states: Tensor,
            audio_encoder_hidden_states: Tensor,
            *,
            use_a2v_cross_attention: bool,
            use_v2a_cross_attention: bool,
            perturbation_mask: Tensor | None,
            all_perturbed: bool | Tensor,
            **given: Any,  # noqa: ANN401 - diffusers' own arguments
        ) -> tuple[Tensor, Tensor]:
            masks = [name for name in MASKS if given.pop(name) is not None]
            if masks or use_a2v_cross_attention != use_v2a_cross_attention:
                raise ValueError(f"these blocks take no {', '.join(masks) or 'one-way sight'}")
            perturbed = perturbation_mask is not None
            if perturbed and not all_perturbed:
                raise ValueError("these blocks perturb every row of a batch or none")
            call = Call(
                levels=self.levels,
                skip_video=perturbed and self.perturbed[0],
                skip_audio=perturbed and self.perturbed[1],
                cross=use_a2v_cross_attention,
            )
            return self._compute(
                block,
                self._ops,
                call,
                hidden_states,
                audio_hidden_states,
                encoder_hidden_states,
                audio_encoder_hidden_states,
                given,
            )

        return forward

    def _spread(
        self, _module: nn.Module, _args: tuple[Any, ...], output: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor] | None:
        """The last layer is diffusers' and modulates each token: it gets a row for each."""
        levels = self.levels
        if levels is None:
            return None
        rows, embedded = output
        by_level = embedded.unflatten(0, (-1, len(levels.shares)))  # (batch, levels, width)
        spread = [
            by_level[:, run.level : run.level + 1].expand(-1, run.end - run.start, -1)
            for run in levels.runs
        ]
        return rows, torch.cat(spread, dim=1).flatten(0, 1)


def fast_blocks(choice: Blocks, device: torch.device) -> FastBlocks | None:
    """Our arithmetic as chosen for a device; None for diffusers' own blocks."""
    match settled(choice, device):
        case "stock":
            return None
        case "triton":
            from pipelines.speed.triton_elementwise import Triton

            return FastBlocks(Triton(), device=device)
        case "compiled":
            if settled("auto", device) == "plain":
                return FastBlocks(Plain(), compiled())
            from pipelines.speed.triton_elementwise import Triton

            return FastBlocks(Plain(), partial(compiled(), beyond=Triton()), device=device)
        case _:
            return FastBlocks(Plain())


def settled(choice: Blocks, device: torch.device) -> Blocks:
    """The choice, or for "auto" what is best on the device: "triton", or "plain" where no kernels
    can be built.

    Raises ValueError for kernels that this device or this build of torch cannot have.
    """
    fused = (
        device.type == "cuda"
        and torch.cuda.get_device_capability(device) >= FUSED_FROM
        and find_spec("triton") is not None
    )
    if choice == "triton" and not fused:
        raise ValueError(
            f"Triton's kernels need torch's CUDA build and a GPU of compute capability "
            f"{FUSED_FROM[0]}.{FUSED_FROM[1]}; this is {device}"
        )
    if choice != "auto":
        return choice
    return "triton" if fused and compiler() else "plain"


def compiler() -> str | None:
    """The C compiler that Triton builds the callers of its kernels with, at their first use."""
    return which("gcc") or which("clang")
