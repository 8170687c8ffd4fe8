"""Rest for the garbage collector while modules come in."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_rest() -> Iterator[None]:
    """No garbage is looked for meanwhile, and what came is counted among what is old.

    Modules stay, and there is more of them to look through each time: by default that is a fifth
    of the time in which torch, transformers and diffusers are imported.
    """
    looks = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looks:
            if not gc.get_freeze_count():  # someone's own frozen objects would be let go
                gc.freeze()
                gc.unfreeze()  # into the oldest generation, without a look
            gc.enable()
