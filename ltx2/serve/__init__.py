"""RunPod's job API on this machine, over the worker that runs in the cloud. Loads when used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltx2.serve.app import create_app
    from ltx2.serve.rules import Rules

__all__ = ["Rules", "create_app"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as Python's own
    """The command line describes `serve` without importing a web server."""
    if name == "create_app":
        from ltx2.serve.app import create_app

        return create_app
    if name == "Rules":
        from ltx2.serve.rules import Rules

        return Rules
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
