"""One transformer over several processes: each computes a part of the video tokens.

What differs: (1) the plan that diffusers' LTX-2 transformer brings for context parallelism leaves
whole what must be split with the tokens: the rotary tables of the cross-modal attention, tables of
the "split" kind, per-token timesteps and the first frame's marker. It splits the text, whose keys
every process can hold, and lets every attention exchange tokens, also those of the sound, which is
whole everywhere. (2) `enable_parallelism` divides by the number of accelerators, 0 on a CPU.
Cure: a plan of our own on diffusers' hooks and attention. Two attentions exchange tokens: the
video's own, and the sound's look at the video. Ulysses, not ring: the native kernels, which need no
package and run on CPU and GPU alike, give no log-sum-exp, and a ring needs it. Both kinds of
exchange are all-to-all, which gloo and NCCL have; counts that do not divide go through diffusers'
"anything" variant, so nothing is padded. (3) That variant gathers unequal parts, which gloo cannot;
the last gathering is ours.
End: when the model's own plan gives what one process gives,
`test_the_stock_plan_still_cannot_run_a_forward` fails and the plan may come from there.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import ContextParallelConfig
from diffusers.hooks.context_parallel import (
    PartitionAnythingSharder,
    apply_context_parallel,
    remove_context_parallel,
)
from diffusers.models._modeling_parallel import (
    ContextParallelInput,
    ParallelConfig,
)
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn import functional

# The attentions of a block that read video tokens of other processes.
EXCHANGING = ("attn1", "video_to_audio_attn")


class NotShareable(ValueError):
    """So many processes cannot share this model or this clip."""


class SharedTokens:
    """Several processes that compute every forward pass together.

    torch.distributed must be running. `device` is that of this process.
    """

    def __init__(self, processes: int, device: torch.device) -> None:
        self.processes = processes
        self._config = ContextParallelConfig(
            ulysses_degree=processes, mesh=_mesh(processes, device)
        )
        self._parallel = ParallelConfig(context_parallel_config=self._config)
        rank = torch.distributed.get_rank()
        self._parallel.setup(rank, processes, device, mesh=self._config.mesh)

    @contextmanager
    def over(self, transformer: nn.Module) -> Iterator[None]:
        """Split every forward pass of `transformer` inside the block.

        All processes must make the same calls. What goes in and comes out is whole in each. Raises
        NotShareable where the processes are too many or cannot share the attention's heads.
        """
        heads = _heads(transformer)
        if refused := [count for count in heads if not divides(count, self.processes)]:
            allowed = [n for n in range(2, max(heads) + 1) if all(divides(h, n) for h in heads)]
            raise NotShareable(
                f"{self.processes} processes cannot share {refused[0]} attention heads; "
                f"numbers that can: {', '.join(map(str, allowed))}"
            )
        plan = _plan(transformer)
        count = 0  # tokens of this call, of all processes

        def put_together(_module: nn.Module, _args: tuple[Any, ...], part: Tensor) -> Tensor:
            return self._whole(part, count)

        def split(
            _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            nonlocal count
            count = tokens = kwargs["hidden_states"].shape[1]
            level = kwargs["timestep"]
            if tokens < self.processes:
                raise NotShareable(f"{self.processes} processes cannot share {tokens} video tokens")
            uneven = any(count % self.processes for count in (tokens, *heads))
            self._config.ulysses_anything = uneven
            kwargs.setdefault("video_keyframes_mask", None)  # diffusers' hooks look for it
            if level.ndim == 2 and level.shape[1] == tokens:
                mesh = self._config._flattened_mesh
                kwargs["timestep"] = PartitionAnythingSharder.shard_anything(level, 1, mesh)
            return args, kwargs

        blocks: Any = transformer.transformer_blocks
        processors = [getattr(block, name).processor for block in blocks for name in EXCHANGING]
        hooks = [
            transformer.register_forward_pre_hook(split, with_kwargs=True),
            transformer.proj_out.register_forward_hook(put_together),
        ]
        apply_context_parallel(transformer, self._config, plan)
        try:
            for processor in processors:
                processor._parallel_config = self._parallel
            with warnings.catch_warnings():
                # torch renames its collectives, which diffusers calls by their old names.
                warnings.filterwarnings("ignore", ".*_functional_collectives", FutureWarning)
                yield
        finally:
            for processor in processors:
                processor._parallel_config = None
            remove_context_parallel(transformer, plan)
            for hook in hooks:
                hook.remove()

    def _whole(self, part: Tensor, count: int) -> Tensor:
        """All tokens, (batch, count, channels), in every process.

        gloo gathers equal sizes alone, so shorter parts are filled up on the way.
        """
        sizes = [len(each) for each in torch.arange(count).tensor_split(self.processes)]
        filled = functional.pad(part, (0, 0, 0, sizes[0] - part.shape[1])).contiguous()
        parts = [torch.empty_like(filled) for _ in sizes]
        torch.distributed.all_gather(parts, filled, group=self._config._flattened_mesh.get_group())
        return torch.cat([each[:, :size] for each, size in zip(parts, sizes, strict=True)], dim=1)


def divides(heads: int, processes: int) -> bool:
    """Whether so many processes can share so many heads: a last one may get a few less."""
    share = -(-heads // processes)
    return share * processes - heads < share


def _heads(transformer: nn.Module) -> tuple[int, int]:
    config: Any = transformer.config
    return config.num_attention_heads, config.audio_num_attention_heads


def _mesh(processes: int, device: torch.device) -> DeviceMesh:
    return init_device_mesh(device.type, (1, processes), mesh_dim_names=("ring", "ulysses"))


def _plan(transformer: nn.Module) -> dict[str, Any]:
    """What is split where.

    Rotary tables are (1, tokens, width), those of the split kind (1, heads, tokens, width).
    """
    kinds = {"interleaved": (1, 3), "split": (2, 4)}
    dim, dims = kinds[transformer.config.rope_type]
    table = ContextParallelInput(split_dim=dim, expected_dims=dims, split_output=True)
    tokens = ContextParallelInput(split_dim=1, expected_dims=3)
    return {
        "": {"hidden_states": tokens, "video_keyframes_mask": tokens},
        "rope": {0: table, 1: table},
        "cross_attn_rope": {0: table, 1: table},
    }
