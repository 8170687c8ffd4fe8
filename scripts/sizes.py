"""Print the ten longest files and the ten longest functions, for a reviewer to ask why.

About 400 lines a file and 60 a function are guidance: nothing fails here.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ltx2", "pipelines", "loras", "gateway", "benchmarks", "scripts", "tests")
SHOWN = 10


class Size(NamedTuple):
    """Lines of a file or a function, and where it is."""

    lines: int
    where: str


def python_files() -> list[Path]:
    """Every Python file of the project, those at the root included."""
    return [*ROOT.glob("*.py"), *(f for folder in FOLDERS for f in ROOT.glob(f"{folder}/**/*.py"))]


def functions(file: Path, source: str) -> Iterator[Size]:
    """Every function and method, from its first decorator to its last line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            lines = node.end_lineno - first + 1
            yield Size(lines, f"{file.relative_to(ROOT)}:{first} {node.name}")


def table(title: str, sizes: list[Size]) -> str:
    """The largest first, under a title."""
    largest = sorted(sizes, reverse=True)[:SHOWN]
    return "\n".join([title, *(f"{size.lines:6}  {size.where}" for size in largest)])


def main() -> None:
    """Read every file once and print both tables."""
    files: list[Size] = []
    methods: list[Size] = []
    for file in python_files():
        source = file.read_text()
        files.append(Size(source.count("\n"), str(file.relative_to(ROOT))))
        methods.extend(functions(file, source))
    print(table("lines  file", files))
    print(table("\nlines  function", methods))


if __name__ == "__main__":
    main()
