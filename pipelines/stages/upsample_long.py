"""The upscalers over a clip of any length, a stretch of time after the other."""

import torch

from pipelines.components import Components
from pipelines.plan import Upscaler
from pipelines.stages.upsample import upsample
from pipelines.values import Latents

STRETCH = 48  # latent frames that are kept of one run, 16 s at 24 frames a second
MARGIN = 12  # latent frames on either side that a run sees and does not keep


def upsample_long(
    model: Components,
    latents: Latents,
    upscaler: Upscaler,
    *,
    stretch: int = STRETCH,
    margin: int = MARGIN,
) -> Latents:
    """As `upsample`, in memory that does not grow with the length.

    A clip of up to `stretch` + 2 `margin` latent frames goes through as a whole. Of a longer one
    each run keeps its middle: the upscalers look a few latents into both directions. Their norms
    measure a run and not the whole clip, which is the difference that remains.
    """
    length = latents.video.shape[2]
    if length <= stretch + 2 * margin:
        return upsample(model, latents, upscaler)
    share = 2 if upscaler == "temporal_upscaler" else 1
    pieces: list[torch.Tensor] = []
    for start in range(0, length, stretch):
        end = min(start + stretch, length)
        first, last = max(0, start - margin), min(length, end + margin)
        part = Latents(video=latents.video[:, :, first:last], audio=latents.audio)
        large = upsample(model, part, upscaler).video
        # Latent i becomes latent 2 i, and there is one more between two of them.
        stop = share * (end - first) if end < length else large.shape[2]
        pieces.append(large[:, :, share * (start - first) : stop])
    return Latents(video=torch.cat(pieces, dim=2), audio=latents.audio)
