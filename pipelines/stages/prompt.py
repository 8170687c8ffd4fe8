"""A prompt to what the transformer reads.

Gemma's hidden states through the connectors, once per prompt and set of adapters on these.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipelines.components import Components
from pipelines.plan import Adapter, Plan, RestorePlan, Variant
from pipelines.upstream.prompt_tokens import prompt_tokens
from pipelines.values import Prompts, Text

Place = tuple[str, str]  # the connectors with their adapters, and the prompt: as in the cache


def encode_prompts(model: Components, plan: Plan | RestorePlan) -> dict[str, Prompts]:
    """The prompts of every pass, by its name; the negative one only where a pass is guided.

    A LoRA that acts on the connectors acts on the text of its own passes, at their strengths.
    """
    variant, passes = plan.variant, plan.passes
    asked = [(text, passes[name].adapters) for name, pair in plan.texts.items() for text in pair
             if text is not None]  # fmt: skip
    found = _encode(model, asked, variant)

    def text_of(name: str, prompt: str) -> Text:
        return found[model.text_key(variant, passes[name].adapters), prompt]

    return {
        name: Prompts(
            positive=text_of(name, positive),
            negative=None if negative is None else text_of(name, negative),
        )
        for name, (positive, negative) in plan.texts.items()
    }


def encode_texts(
    model: Components,
    prompts: Sequence[str],
    variant: Variant,
    adapters: tuple[Adapter, ...] = (),
) -> list[Text]:
    """Prompts through the connectors of a variant, each from the cache where it was seen before.

    `adapters` act where they have something for the connectors.
    """
    found = _encode(model, [(prompt, adapters) for prompt in prompts], variant)
    key = model.text_key(variant, adapters)
    return [found[key, prompt] for prompt in prompts]


def _encode(
    model: Components, asked: Sequence[tuple[str, tuple[Adapter, ...]]], variant: Variant
) -> dict[Place, Text]:
    """Every prompt with the adapters it is asked for, from the cache or new.

    The text encoder runs once for each new prompt, whatever adapters come after it.
    """
    places = {(model.text_key(variant, adapters), text): adapters for text, adapters in asked}
    found = {place: text for place in places if (text := model.prompts.get(*place))}
    new = [place for place in places if place not in found]
    if not new:
        return found
    prompts = list(dict.fromkeys(prompt for _, prompt in new))
    with model.using("tokenizer") as tokenizer:
        tokens = {prompt: prompt_tokens(tokenizer, prompt) for prompt in prompts}
    with model.using("text_encoder") as encoder:
        hidden = {
            prompt: hidden_states(encoder, token.ids, token.mask, model.device)
            for prompt, token in tokens.items()
        }
    for key in dict.fromkeys(key for key, _ in new):
        mine = [place for place in new if place[0] == key]
        with model.using_connectors(variant, places[mine[0]]) as connectors:
            for place in mine:
                token = tokens[place[1]]
                video, audio = connect(connectors, hidden[place[1]], token.mask)
                found[place] = Text(
                    video=video, audio=audio, tokens=token.length, truncated=token.truncated
                )
                model.prompts.put(*place, found[place])
    return found


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
