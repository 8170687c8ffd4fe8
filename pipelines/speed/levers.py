"""Which levers of speed are on. No torch: settings and plans may read this."""

from dataclasses import dataclass
from typing import Literal

Attention = Literal["auto", "default", "cudnn", "flash", "efficient", "math"]
Blocks = Literal["auto", "stock", "plain", "triton", "compiled"]
Layout = Literal["auto", "contiguous", "channels_last"]
Freed = Literal["auto", "kept", "returned"]

# Where two rows fit beside each other without the pass taking more memory than the refine pass that
# follows it, which has four times the tokens; above it one row alone keeps a GPU busy.
BATCHED_TOKENS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Levers:
    """How a pass is computed; what it computes is the plan's.

    `attention` is the kernel that is tried first, `blocks` who computes a transformer block,
    `batched_tokens` the most video tokens, of all rows, with which guidance passes go as one batch
    (0 sends each alone), `vae_layout` how the video decoder's tensors lie in memory, and
    `freed_memory` whether what the host frees is kept for what comes next or returned to the
    system. "auto" is settled by the device. `fp8_products`, alone of all, changes the clip: layers
    that are rounded to fp8 are multiplied in fp8.
    """

    attention: Attention = "auto"
    blocks: Blocks = "auto"
    batched_tokens: int = BATCHED_TOKENS
    vae_layout: Layout = "auto"
    freed_memory: Freed = "auto"
    fp8_products: bool = False


USUAL = Levers()
STOCK = Levers(
    attention="default",
    blocks="stock",
    batched_tokens=0,
    vae_layout="contiguous",
    freed_memory="returned",
)
