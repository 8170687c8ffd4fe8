"""How long the shot is that a prompt describes, by the model that was trained for it."""

import math

import torch

from pipelines.components import Components
from pipelines.plan import Adapter, Variant
from pipelines.stages.prompt import encode_texts
from pipelines.values import NonFinite


@torch.inference_mode()
def predict_seconds(
    model: Components, prompt: str, variant: Variant, adapters: tuple[Adapter, ...] = ()
) -> float:
    """Seconds that a prompt asks for, as they are predicted: not clamped, not on the grid.

    Reads the prompt as the transformer does in a pass with these adapters, so that its encoding is
    there for the clip. Raises NonFinite for a prediction that is no length.
    """
    text = encode_texts(model, [prompt], variant, adapters)[0]
    with model.using("duration_head") as head:
        seconds = float(head(text.video.to(model.device), text.audio.to(model.device)))
    if not math.isfinite(seconds):
        raise NonFinite(f"the duration head predicted {seconds} seconds")
    return seconds
