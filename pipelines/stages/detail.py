"""The detailer over finished latents: an IC-LoRA redraws a clip and follows it as it was."""

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
    """The same clip with more detail.

    A LoRA that follows a smaller clip gets one: the frames are decoded, scaled down and encoded, in
    `tiles`, since latents do not scale.
    """
    shrink = plan.denoise.reference_downscale or 1
    reference = latents.video
    if shrink > 1:
        frames = pixel_frames(latents.video.shape[2])
        reference = encode_video(
            model,
            decode_video(model, latents.video, tiles),
            frames=frames,
            width=plan.denoise.width // shrink,
            height=plan.denoise.height // shrink,
            tiles=tiles,
        )
    return in_windows(
        model, plan, latents, prompts, stage="detail", reference=reference, progress=progress
    )
