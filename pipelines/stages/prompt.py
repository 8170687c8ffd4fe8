"""A prompt to what the transformer reads.

Gemma's hidden states through the connectors, once per prompt.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipelines.components import Components
from pipelines.plan import Plan, Variant
from pipelines.upstream.prompt_tokens import prompt_tokens
from pipelines.values import Prompts, Text


def encode_prompts(model: Components, plan: Plan) -> Prompts:
    """Both prompts of a plan; the negative one only where a pass is guided."""
    wanted = [plan.prompt, *([] if plan.negative_prompt is None else [plan.negative_prompt])]
    texts = encode_texts(model, wanted, plan.base.variant)
    return Prompts(positive=texts[0], negative=texts[1] if len(texts) > 1 else None)


def encode_texts(model: Components, prompts: Sequence[str], variant: Variant) -> list[Text]:
    """Prompts through the connectors of a variant, each from the cache where it was seen before.

    The text encoder visits the device once for all that are new.
    """
    found = {prompt: text for prompt in prompts if (text := model.known_text(variant, prompt))}
    new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in found]
    if new:
        with model.using("tokenizer") as tokenizer:
            tokens = [prompt_tokens(tokenizer, prompt) for prompt in new]
        with model.using("text_encoder") as encoder:
            hidden = [hidden_states(encoder, t.ids, t.mask, model.device) for t in tokens]
        with model.using(f"connectors:{variant}") as connectors:
            for prompt, token, states in zip(new, tokens, hidden, strict=True):
                video, audio = connect(connectors, states, token.mask)
                found[prompt] = Text(
                    video=video, audio=audio, tokens=token.length, truncated=token.truncated
                )
                model.prompts.put(model.key(f"connectors:{variant}"), prompt, found[prompt])
    return [found[prompt] for prompt in prompts]


@torch.inference_mode()
def hidden_states(encoder: nn.Module, ids: Tensor, mask: Tensor, device: torch.device) -> Tensor:
    """Every hidden state of the text encoder, (1, tokens, width, layers + 1).

    Calls the decoder under the language head: the head would compute logits over the whole
    vocabulary for nothing.
    """
    output = encoder.model(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        output_hidden_states=True,
        use_cache=False,
    )
    return torch.stack(output.hidden_states, dim=-1)


@torch.inference_mode()
def connect(connectors: nn.Module, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Left-padded hidden states (1, tokens, width, layers + 1) to contexts of video and audio.

    Contexts are (1, tokens, width) and need no mask: registers fill the padding.
    """
    weight = next(connectors.parameters())
    video, audio, _ = connectors(
        hidden.to(weight.device, weight.dtype), mask.to(weight.device), padding_side="left"
    )
    return video, audio
