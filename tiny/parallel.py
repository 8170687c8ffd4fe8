"""A part's training in several processes of one thread each, which share every step.

On a few CPU cores this is faster than as many threads in one process: small operations do not wait
for each other.
"""

import socket
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def run(train: Callable[..., object], folder: Path, processes: int, **options: object) -> None:
    """`train(folder, **options)` in each of `processes` processes, joined by gloo."""
    if processes == 1:
        train(folder, **options)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(
        _begin, args=(train, folder, processes, port, options), nprocs=processes, join=True
    )


def _begin(
    rank: int,
    train: Callable[..., object],
    folder: Path,
    processes: int,
    port: int,
    options: dict[str, object],
) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=processes)
    try:
        train(folder, **options)
    finally:
        dist.destroy_process_group()
