"""Small real transformers of every generation, and one call of each."""

from tests.upstream.conftest import build, call

__all__ = ["build", "call"]
