"""The gateway under load: many clients of one server on PostgreSQL, see `gateway_load`."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.bench import Bench
from benchmarks.gateway_load import Load, carry_out
from benchmarks.postgres import serving_postgres
from benchmarks.results import Findings
from ltx2.cli import terminated_as_interrupted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=20, help="seconds between a client's calls")
    parser.add_argument("--most-ms", type=float, default=100, help="for creating, one call in 20")
    parser.add_argument("--database", help="an empty one; default a PostgreSQL of its own")


def card(bench: Bench) -> dict[str, Any]:
    """How much is asked; no weights take part."""
    given = bench.arguments
    return {name: getattr(given, name) for name in ("clients", "seconds", "think")}


def measure(bench: Bench) -> Findings:
    """Load and judge."""
    given = bench.arguments
    load = Load(
        clients=given.clients, seconds=given.seconds, think=given.think, most_ms=given.most_ms
    )
    with (
        terminated_as_interrupted(),  # or processes would be left behind
        _database(given.database) as url,
    ):
        facts = carry_out(load, url, bench.scratch)
    problems = facts.pop("problems")
    return Findings(rows=[{"name": "all clients", **facts}], problems=problems)


@contextmanager
def _database(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with serving_postgres(options=()) as server:
        yield server.url(server.create())
