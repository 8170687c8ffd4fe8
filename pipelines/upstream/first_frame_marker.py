"""LTX-2.5 marks the tokens of the first latent frame.

What differs: the reference adds a learned embedding to the tokens that are to be made and whose
latent holds a single pixel frame, in every pass, also in plain text-to-video: the first latent and
the pictures that it invents beside the clip. diffusers' transformer can do it, but its text, image
and condition pipelines never pass the mask. Appended pictures are not marked.
End: when `LTX2ConditionPipeline` passes `video_keyframes_mask`,
`test_stock_pipeline_still_passes_no_marker` fails and the mask may come from there.
"""

from torch import Tensor, nn


def first_frame_marker(
    transformer: nn.Module, tokens: Tensor, first_frame_tokens: int, slots: slice = slice(0)
) -> Tensor | None:
    """Mask (1, tokens, 1) with ones on the first latent frame and on invented pictures, `slots`.

    None for generations without the embedding.
    """
    if not transformer.config.use_keyframes_abs_pos_embedding:
        return None
    mask = tokens.new_zeros(1, tokens.shape[1], 1)
    mask[:, :first_frame_tokens] = 1
    mask[:, slots] = 1
    return mask
