"""pipelines.upstream.prompt_tokens: BOS first, no EOS, cut visibly, padded on the left."""

import inspect

import pytest
from diffusers import LTX2ConditionPipeline

from pipelines.upstream.prompt_tokens import prompt_tokens


class Letters:
    """A tokenizer of letters: every character is a token."""

    bos_token_id, eos_token_id, pad_token_id = 1, 2, 0
    model_max_length = 8

    def __init__(self, *, bos: bool = False, eos: bool = False) -> None:
        self.bos, self.eos = bos, eos

    def __call__(self, prompt, *, add_special_tokens, verbose):
        ids = [ord(letter) for letter in prompt]
        return {"input_ids": [1] * self.bos + ids + [2] * self.eos}


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("eos", [True, False])
def test_every_tokenizer_gives_the_same_tokens(bos, eos):
    tokens = prompt_tokens(Letters(bos=bos, eos=eos), "  abc ")
    assert tokens.ids.tolist() == [[0, 0, 0, 0, 1, 97, 98, 99]]
    assert tokens.mask.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert (tokens.length, tokens.truncated) == (4, False)


def test_a_long_prompt_is_cut_at_its_end_and_says_so():
    tokens = prompt_tokens(Letters(), "abcdefgh")
    assert tokens.ids.tolist() == [[1, *(ord(letter) for letter in "abcdefg")]]
    assert (tokens.length, tokens.truncated) == (8, True)


def test_stock_pipeline_still_adds_no_bos():
    # Reads the source: running it would take a whole pipeline. Any rewrite of the line fails here.
    assert "bos_token" not in inspect.getsource(LTX2ConditionPipeline._get_gemma_prompt_embeds)
