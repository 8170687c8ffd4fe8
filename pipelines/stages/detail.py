"""The detailer over finished latents: an IC-LoRA redraws a clip and follows it as it was."""

from torch import Tensor

from pipelines.components import Components
from pipelines.geometry import pixel_frames
from pipelines.plan import DecodePlan, WindowPlan
from pipelines.stages.decode import decode_video
from pipelines.stages.encode import encode_video
from pipelines.stages.windows import in_windows
from pipelines.values import Latents, Progress, Prompts


def detail(
    model: Components,
    plan: WindowPlan,
    latents: Latents,
    tiles: DecodePlan,
    prompts: Prompts,
    *,
    progress: Progress,
) -> Latents:
    """The same clip with more detail; `tiles` are the decoder's, as in `followed`."""
    reference = followed(model, plan, latents.video, tiles)
    return in_windows(
        model, plan, latents, prompts, stage="detail", reference=reference, progress=progress
    )


def followed(model: Components, plan: WindowPlan, video: Tensor, tiles: DecodePlan) -> Tensor:
    """What a LoRA follows of a clip (1, 128, F, h, w): its latents, or those of a smaller clip.

    For these the frames are decoded in `tiles`, scaled down and encoded in the plan's own, since
    latents do not scale. Raises ValueError for a plan without them.
    """
    shrink = plan.denoise.reference_downscale or 1
    if shrink == 1:
        return video
    if plan.encode is None:
        raise ValueError("the plan follows a smaller clip and has no tiles to encode it in")
    return encode_video(
        model,
        decode_video(model, video, tiles),
        frames=pixel_frames(video.shape[2]),
        width=plan.denoise.width // shrink,
        height=plan.denoise.height // shrink,
        tiles=plan.encode,
    )
