"""The 16 kHz stage of the bandwidth-extending vocoder is clamped to -1..1.

What differs: the reference clamps the first stage's waveform before its mel is computed again and
before it is resampled; diffusers' converted configurations say `final_act_fn: null`, so loud
passages pass the limit and the extension hears another signal (relative difference 0.3 to 0.9 when
loud). The extension's own output has no such step. End: when diffusers' `LTX2VocoderWithBWE` clamps
the first stage, `test_stock_first_stage_is_still_unclamped` fails.
"""

from torch import nn


def clamp_first_stage(vocoder: nn.Module) -> None:
    """Set the clamp on a loaded vocoder; one without bandwidth extension (2.0) is left as it is.

    Raises RuntimeError where diffusers has moved what this sets, or where the first stage ends in
    something else.
    """
    if not hasattr(vocoder, "bwe_generator"):
        return
    first = getattr(vocoder, "vocoder", None)
    # Not hasattr: for a missing attribute diffusers answers with the configuration's entry.
    if first is None or "final_act_fn" not in vars(first):
        raise RuntimeError(
            f"diffusers' vocoder has no `vocoder.final_act_fn` any more; revisit {__name__}"
        )
    if first.final_act_fn not in (None, "clamp"):
        raise RuntimeError(
            f"the 16 kHz stage ends in {first.final_act_fn!r}, where a clamp belongs"
        )
    first.final_act_fn = "clamp"
