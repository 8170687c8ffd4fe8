"""pipelines.stages.prompt and the prompt cache: once per prompt, the same as the whole encoder."""

import torch

from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.models import CHECKPOINTS
from pipelines.prompt_cache import PromptCache
from pipelines.stages.prompt import encode_texts, hidden_states
from pipelines.upstream.prompt_tokens import prompt_tokens
from pipelines.values import Text


def test_hidden_states_are_those_of_the_whole_model_without_its_logits(tiny_model):
    tokens = prompt_tokens(tiny_model.part("tokenizer"), "a red ball")
    encoder = tiny_model.part("text_encoder")
    ours = hidden_states(encoder, tokens.ids, tokens.mask, tiny_model.device)
    with torch.inference_mode():
        whole = tiny_model.part("text_encoder")(
            input_ids=tokens.ids, attention_mask=tokens.mask, output_hidden_states=True
        )
    assert torch.equal(ours, torch.stack(whole.hidden_states, dim=-1))
    config = tiny_model.part("text_encoder").config.text_config
    assert ours.shape == (1, tokens.ids.shape[1], config.hidden_size, config.num_hidden_layers + 1)


def test_a_prompt_is_encoded_once(tiny_model):
    calls = []
    hook = tiny_model.part("text_encoder").model.register_forward_hook(lambda *_: calls.append(1))
    try:
        first = encode_texts(tiny_model, ["only once, please"], "dev")[0]
        assert encode_texts(tiny_model, ["only once, please"], "dev")[0] is first
    finally:
        hook.remove()
    assert len(calls) == 1


def test_different_prompts_have_different_contexts(tiny_model):
    red, blue = (
        encode_texts(tiny_model, ["a red ball"], "dev")[0],
        encode_texts(tiny_model, ["a blue cube"], "dev")[0],
    )
    assert float((red.video - blue.video).abs().max()) > 1e-3
    assert float((red.audio - blue.audio).abs().max()) > 1e-3


def test_several_prompts_are_encoded_together_and_each_once(tiny):
    model = Components(find(tiny, CHECKPOINTS["tiny"]), residency="staged")
    first, second, again = encode_texts(model, ["one", "two", "one"], "dev")
    assert first is again
    assert not torch.equal(first.video, second.video)
    assert encode_texts(model, ["two"], "dev")[0] is second


def text(count: int) -> Text:
    return Text(
        video=torch.zeros(1, count, 4), audio=torch.zeros(1, count, 4), tokens=1, truncated=False
    )


def test_the_cache_is_bounded_and_forgets_the_least_recently_used():
    cache = PromptCache(max_bytes=3 * text(10).video.nbytes * 2)
    for prompt in "abc":
        cache.put("dev", prompt, text(10))
    assert cache.get("dev", "a") is not None
    cache.put("dev", "d", text(10))
    assert cache.get("dev", "b") is None
    assert cache.get("dev", "a") is not None
    assert len(cache) == 3
    assert cache.nbytes == 3 * 2 * 10 * 4 * 4


def test_one_prompt_larger_than_the_bound_is_still_kept():
    cache = PromptCache(max_bytes=1)
    cache.put("dev", "a", text(10))
    cache.put("dev", "b", text(10))
    assert cache.get("dev", "a") is None
    assert cache.get("dev", "b") is not None


def test_variants_do_not_share_their_contexts():
    cache = PromptCache()
    cache.put("dev", "a", text(1))
    assert cache.get("distilled", "a") is None
