"""A prompt becomes the same tokens in every generation.

What differs: the reference forces a leading BOS and adds no EOS; diffusers relies on the tokenizer,
and Gemma 4's adds no BOS. Prompts beyond the encoder's length are cut by both without a word; here
the cut is reported.
End: when diffusers prepends the missing BOS itself, the test on a tokenizer without one fails and
this can go.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

MAX_TOKENS = 1024  # what the connectors were trained on


class Tokens(NamedTuple):
    """A left-padded prompt."""

    ids: Tensor  # (1, length)
    mask: Tensor  # (1, length), 1 = token, 0 = padding
    length: int  # tokens of the prompt, BOS included
    truncated: bool


def prompt_tokens(tokenizer: Any, prompt: str) -> Tokens:  # noqa: ANN401 - any transformers tokenizer
    """Strip, tokenise, lead with BOS, cut at the encoder's length, pad on the left."""
    length = min(tokenizer.model_max_length, MAX_TOKENS)
    # `verbose` off: the tokenizer's own warning about long prompts is ours to give.
    ids = list(tokenizer(prompt.strip(), add_special_tokens=True, verbose=False)["input_ids"])
    if ids[:1] != [tokenizer.bos_token_id]:
        ids = [tokenizer.bos_token_id, *ids]
    if ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    kept = ids[:length]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    padding = length - len(kept)
    return Tokens(
        ids=torch.tensor([[pad] * padding + kept]),
        mask=torch.tensor([[0] * padding + [1] * len(kept)]),
        length=len(kept),
        truncated=len(ids) > length,
    )
