"""A part's training in several processes of one thread each, which share every step.

On a few CPU cores this is faster than as many threads in one process: small operations do not wait
for each other.
"""

import argparse
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--device` and `--processes`, as every command that trains has them."""
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="to train on (%(default)s here)",
    )
    parser.add_argument(
        "--processes", type=int, help="of one thread each; on a CPU one for each core, on a GPU one"
    )


def refusal(given: argparse.Namespace) -> str | None:
    """Why these options cannot be followed, and what is accepted; None if they can."""
    count = given.processes
    if count is not None and count < 1:
        return f"--processes {count}: 1 or more are accepted"
    # Processes beside this one have the CPU as their device.
    if count is not None and count > 1 and torch.device(given.device).type != "cpu":
        return f"--processes {count}: on {given.device} only 1 is accepted"
    return None


def processes_of(given: argparse.Namespace) -> int:
    """How many processes these options ask for."""
    if given.processes is not None:
        return given.processes
    return os.cpu_count() or 1 if given.device == "cpu" else 1


def summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor's sum over all processes of the group, in one exchange."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    pieces = flat.split([tensor.numel() for tensor in tensors])
    return [piece.view_as(tensor) for piece, tensor in zip(pieces, tensors, strict=True)]


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
