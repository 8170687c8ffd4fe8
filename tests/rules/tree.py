"""The project's own files and their imports, for the tests that hold for every one of them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The layers of the product, then what stands around it.
LAYERS = ("handler", "gateway", "benchmarks", "ltx2", "pipelines", "loras")
FOLDERS = (*LAYERS, "tiny", "scripts", "tests")


def layer_files(layer: str) -> list[Path]:
    """The Python files of one layer: a package, or a module at the root."""
    return sorted([*ROOT.glob(f"{layer}.py"), *ROOT.glob(f"{layer}/**/*.py")])


def product_files() -> list[Path]:
    """The Python files that users run."""
    return [file for layer in LAYERS for file in layer_files(layer)]


def python_files() -> list[Path]:
    """Every Python file, those of the tests and scripts included."""
    return [file for folder in FOLDERS for file in layer_files(folder)]


def text_files() -> list[Path]:
    """Every file that a person may read: code, documents and configuration."""
    named = ("*.md", "*.toml", "*.lock", "Makefile", "Dockerfile", ".dockerignore", ".ci/run",
             "*.sh", "*.hcl", ".runpod/*.json",
             ".github/**/*.yml", ".pre-commit-config.yaml", "docs/**/*.md", "docs/**/*.json",
             "benchmarks/*.md", "loras/**/*.toml", "gateway/**/*.html")  # fmt: skip
    return sorted({*python_files(), *(file for name in named for file in ROOT.glob(name))})


@cache
def tree(file: Path) -> ast.Module:
    """A file, parsed once for all tests."""
    return ast.parse(file.read_text(), filename=str(file))


def short(file: Path) -> str:
    """A path as an error message should say it."""
    return str(file.relative_to(ROOT))


def module_name(file: Path) -> str:
    """`ltx2/media/__init__.py` to `ltx2.media`."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Every module a file imports, absolute, with whether that happens when the file is imported.

    Names of `from a import b` are given as `a.b`. Imports inside functions, and those for a type
    checker alone, are not run on import.
    """
    package = module_name(file).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    for node, runs in _nodes(tree(file), True):
        if isinstance(node, ast.Import):
            yield from ((alias.name, runs) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", runs) for alias in node.names)


def _nodes(node: ast.AST, runs: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = runs and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, runs
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part, live in ((child.body, False), (child.orelse, inside)):
                for statement in part:
                    yield statement, live
                    yield from _nodes(statement, live)
        else:
            yield from _nodes(child, inside)


def dotted(node: ast.AST) -> str:
    """`os.environ` for the attribute node of that name; empty for anything else."""
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
