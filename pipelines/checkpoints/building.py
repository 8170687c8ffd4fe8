"""One module is built at a time: to build one without memory for its weights, the libraries change
torch for the whole process.

accelerate puts another `register_parameter` on every module, and transformers and diffusers set the
default type of new tensors. A second thread that builds meanwhile would get weights without values,
or tables in half precision. Reading tensors into modules that are built needs no turn.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import init_empty_weights
from torch import Tensor, nn

BUILDING = threading.RLock()


@contextmanager
def weightless() -> Iterator[None]:
    """Modules built in the block have parameters without memory, and buffers with values."""
    with BUILDING, init_empty_weights(include_buffers=False):
        yield


def assign(owner: nn.Module, leaf: str, tensor: Tensor) -> None:
    """Give a module its own parameter or buffer of that name, whatever other threads build."""
    if leaf in owner._parameters:  # `register_parameter` may be another thread's at this moment
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    elif leaf in owner._buffers:
        owner._buffers[leaf] = tensor
    else:
        raise KeyError(f"{type(owner).__name__} has neither a parameter nor a buffer {leaf}")
