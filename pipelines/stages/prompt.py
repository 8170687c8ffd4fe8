"""A prompt to what the transformer reads.

Gemma's hidden states through the connectors, once per prompt.
"""

import torch
from torch import Tensor

from pipelines.components import Components
from pipelines.plan import Plan, Variant
from pipelines.upstream.prompt_tokens import prompt_tokens
from pipelines.values import Prompts, Text


def encode_prompts(model: Components, plan: Plan) -> Prompts:
    """Both prompts of a plan; the negative one only where a pass is guided."""
    variant = plan.base.variant
    negative = plan.negative_prompt
    return Prompts(
        positive=encode_prompt(model, plan.prompt, variant),
        negative=None if negative is None else encode_prompt(model, negative, variant),
    )


def encode_prompt(model: Components, prompt: str, variant: Variant) -> Text:
    """One prompt through the connectors of a variant, from the cache where it was seen before."""
    if (known := model.prompts.get(variant, prompt)) is not None:
        return known
    with model.using("tokenizer") as tokenizer:
        tokens = prompt_tokens(tokenizer, prompt)
    hidden = hidden_states(model, tokens.ids, tokens.mask)
    video, audio = connect(model, hidden, tokens.mask, variant)
    text = Text(video=video, audio=audio, tokens=tokens.length, truncated=tokens.truncated)
    model.prompts.put(variant, prompt, text)
    return text


@torch.inference_mode()
def hidden_states(model: Components, ids: Tensor, mask: Tensor) -> Tensor:
    """Every hidden state of the text encoder, (1, tokens, width, layers + 1).

    Calls the decoder under the language head: the head would compute logits over the whole
    vocabulary for nothing.
    """
    with model.using("text_encoder") as encoder:
        output = encoder.model(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            output_hidden_states=True,
            use_cache=False,
        )
        return torch.stack(output.hidden_states, dim=-1)


@torch.inference_mode()
def connect(
    model: Components, hidden: Tensor, mask: Tensor, variant: Variant
) -> tuple[Tensor, Tensor]:
    """Hidden states to the contexts of video and audio.

    From (1, tokens, width, layers + 1), left padded, to (1, tokens, width) each. Registers fill the
    padding, so the contexts need no mask.
    """
    with model.using(f"connectors:{variant}") as connectors:
        video, audio, _ = connectors(
            hidden.to(model.device, connectors.dtype), mask.to(model.device), padding_side="left"
        )
    return video, audio
