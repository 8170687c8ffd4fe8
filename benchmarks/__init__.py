"""Benchmarks: measurements that anyone can repeat, each a module with a command line."""

import ltx2  # noqa: F401 - first of all: it quiets what torchao says while others import it
