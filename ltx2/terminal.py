"""What the command line prints: lines for people on stderr, tables and JSON on stdout."""

import json
import sys


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        lines("  ".join(cells).rstrip())


def show(document: object) -> None:
    """Print a JSON document on stdout."""
    lines(json.dumps(document, indent=2, ensure_ascii=False))


def lines(*texts: str) -> None:
    """Print lines on stdout."""
    for text in texts:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say(*texts: str) -> None:
    """Print lines for people on stderr."""
    for text in texts:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()
