"""What torchao says through logging while it is imported stays off the terminal.

What differs: diffusers, peft and transformers import torchao wherever it is installed, whether or
not anything is quantised. Its import then warns of compiled kernels that do not load on this Python
or without CUDA, and of two classes registered in a way that torch calls deprecated; diffusers warns
of classes that torchao no longer has. None of it concerns weight-only rounding, which is plain
torch, and five such lines would precede every clip. Nothing else of these loggers is held back.
End: when the three import without a word, `test_the_import_of_torchao_is_still_noisy` fails.
"""

import logging

_SAID = {
    "torchao": "Failed to load",
    "torchao.kernel.intmm": "Detected no triton",
    "torch.utils._pytree": "Calling register_constant() on Enum subclasses",
    "diffusers.quantizers.torchao.torchao_quantizer": "Unable to import `torchao` Tensor objects",
}


class _Without(logging.Filter):
    """Holds back the messages of one logger that contain a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def filter(self, record: logging.LogRecord) -> bool:
        return self.text not in record.getMessage()


def hold_back() -> None:
    """Set the filters; to be called before any of these libraries is imported."""
    for name, text in _SAID.items():
        logger = logging.getLogger(name)
        if not any(isinstance(one, _Without) for one in logger.filters):
            logger.addFilter(_Without(text))
