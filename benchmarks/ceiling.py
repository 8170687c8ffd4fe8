"""The rate that arithmetic is held against: one large matrix product on random data."""

import time

import torch

from benchmarks.timing import wait

# Edge of the square matrices: large enough that a GPU reaches its rate, small enough for a CPU.
EDGE = {"cuda": 8192, "cpu": 1024}
TRIES = 5


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second: the best of a few tries after one that is not counted.

    The best, because a share of a lower rate would flatter what is held against it. Never of zeros,
    which a GPU multiplies faster than numbers.
    """
    edge = EDGE[device.type]
    generator = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.randn(edge, edge, device=device, dtype=torch.float32, generator=generator).to(dtype)
        for _ in range(2)
    )
    times = max(1, 20 if device.type == "cuda" else 2)
    rates: list[float] = []
    for _ in range(TRIES + 1):
        wait(device)
        began = time.perf_counter()
        for _ in range(times):
            torch.mm(left, right)
        wait(device)
        rates.append(2 * edge**3 * times / (time.perf_counter() - began))
    return max(rates[1:])
