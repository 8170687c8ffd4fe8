"""What the C library does with memory that was freed, where passes are computed by the CPU."""

import ctypes
import sys

import torch

from pipelines.speed.levers import Freed

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
MOST_IN_HEAP = 2**30  # bytes of a piece
MOST_KEPT = 2**30  # bytes at the heap's end


_kept = False  # whether this process was told to


def settled(choice: Freed, device: torch.device) -> Freed:
    """The choice, or for "auto" what is best in a process of our own on the device."""
    if choice != "auto":
        return choice
    return "kept" if device.type == "cpu" else "returned"


def now() -> Freed:
    """What becomes of freed memory in this process."""
    return "kept" if _kept else "returned"


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed for what is wanted next, for the whole process to its end;
    whether it does so. Older ones and other C libraries do not.

    By itself it gives pieces of more than 32 MiB back to the system at once, and every clip then
    has its memory zeroed and mapped anew, page by page.
    """
    global _kept
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    taken = mallopt(M_MMAP_THRESHOLD, MOST_IN_HEAP) and mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
    _kept = _kept or bool(taken)
    return _kept
