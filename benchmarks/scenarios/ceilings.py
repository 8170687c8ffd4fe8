"""What the device can do at best: matrix products, attention by backend, copies."""

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.bench import Bench
from benchmarks.results import Findings
from benchmarks.timing import Sample, timed, wait
from ltx2.engine import default_dtype

BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
HEADS, HEAD_DIM = 32, 128  # of the video stream
# Tokens of 640x352, 960x544, 1280x704 and 1920x1088 over 121 frames; on a CPU what it can do.
TOKENS = {"cuda": (3520, 8160, 14080, 32640), "cpu": (512, 1024)}
EDGES = {"cuda": (4096, 8192), "cpu": (512, 1024)}
COPIED = {"cuda": 2**32, "cpu": 2**28}  # bytes
MATH_AT_MOST = 8160  # tokens: beyond, all pairs of them do not fit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--tokens", help="of attention, by comma; default those of usual clips")
    parser.add_argument("--repeat", type=int, default=5, help="calls within a run")


def card(bench: Bench) -> dict[str, Any]:
    """The type that is multiplied."""
    dtype = default_dtype(bench.device, bench.settings)
    return {"dtype": str(dtype).removeprefix("torch.")}


def measure(bench: Bench) -> Findings:
    """Rates: operations and bytes a second, the median of the runs."""
    found = bench.found
    dtype = default_dtype(bench.device, bench.settings)
    for edge in EDGES[bench.device.type]:
        left, right = (_random(bench.device, dtype, edge, edge) for _ in range(2))
        runs = _runs(bench, lambda left=left, right=right: torch.mm(left, right))
        row = found.add(f"matmul {edge}", runs)
        row["tflops"] = 2 * edge**3 / row["seconds"]["median"] / 1e12
    for tokens in _tokens(bench):
        for name, backend in BACKENDS.items():
            _attention(bench, found, dtype, tokens, name, backend)
        bench.save()
    for name, source, target in _copies(bench):
        runs = _runs(bench, lambda source=source, target=target: target.copy_(source))
        row = found.add(name, runs)
        within = source.device == target.device
        moved = source.nbytes * (2 if within else 1)  # memory is read and written
        row["gb_per_second"] = moved / row["seconds"]["median"] / 1e9
    return found


def _tokens(bench: Bench) -> tuple[int, ...]:
    told = bench.arguments.tokens
    return tuple(map(int, told.split(","))) if told else TOKENS[bench.device.type]


def _attention(
    bench: Bench, found: Findings, dtype: torch.dtype, tokens: int, name: str, backend: SDPBackend
) -> None:
    if name == "math" and tokens > MATH_AT_MOST:
        found.notes.append(f"math attention is not run over {tokens} tokens: its scores do not fit")
        return
    q, k, v = (_random(bench.device, dtype, 1, HEADS, tokens, HEAD_DIM) for _ in range(3))

    def attend() -> None:
        torch.nn.functional.scaled_dot_product_attention(q, k, v)

    try:
        with sdpa_kernel([backend]):
            runs = _runs(bench, attend)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        found.notes.append(f"{name} attention does not run here over {tokens} tokens: {reason}")
        return
    row = found.add(f"attention {name} {tokens}", runs)
    operations = 4 * tokens * tokens * HEADS * HEAD_DIM
    row["tflops"] = operations / row["seconds"]["median"] / 1e12


def _copies(bench: Bench) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Copies within the device, and between it and page-locked memory, which cross the bus once."""
    size = COPIED[bench.device.type]
    on = torch.empty(size, dtype=torch.uint8, device=bench.device).random_()
    yield "copy on the device, read + written", on, torch.empty_like(on)
    if bench.device.type == "cuda":
        host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        yield "copy to the host", on, host
        yield "copy to the device", host, on


def _runs(bench: Bench, work: Any) -> list[Sample]:  # noqa: ANN401 - a call
    """Seconds of one call each, over a few calls at a time after one that is not counted."""
    repeat = bench.arguments.repeat

    def several() -> None:
        for _ in range(repeat):
            work()

    work()
    wait(bench.device)
    whole = [timed(bench.device, several) for _ in range(bench.arguments.runs)]
    return [Sample(seconds=each.seconds / repeat) for each in whole]


def _random(device: torch.device, dtype: torch.dtype, *shape: int) -> torch.Tensor:
    generator = torch.Generator(device).manual_seed(0)
    return torch.randn(shape, device=device, generator=generator).to(dtype)
