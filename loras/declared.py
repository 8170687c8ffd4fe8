"""Alphas that a file declares in its metadata, as diffusers writes them. No torch."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

KEY = "lora_adapter_metadata"
# A pattern is a regular expression; only those that name a path, anchored or not, are read.
_PATH = re.compile(r"\^?[\w.]+\$?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What is declared for one component."""

    alpha: float | None = None  # of every layer that has no other; None: alpha = rank
    by_path: Mapping[str, float] = field(default_factory=dict)  # a path or, without ^, its end
    rank_stabilised: bool = False  # alpha / sqrt(rank)

    def alpha_of(self, path: str) -> float | None:
        """The alpha of a layer that has none of its own in the file."""
        for pattern, alpha in self.by_path.items():
            end = pattern.removeprefix("^").removesuffix("$")
            if path == end or (not pattern.startswith("^") and path.endswith(f".{end}")):
                return alpha
        return self.alpha


def declared(metadata: Mapping[str, str], component: str) -> Declared:
    """What a file's metadata declares for a component; nothing where it has no such entry.

    Raises ValueError for an entry that cannot be read: guessing would be a wrong strength.
    """
    if not metadata.get(KEY):
        return Declared()
    try:
        given = cast("dict[str, Any]", json.loads(metadata[KEY]))
        own = {name.removeprefix(f"{component}."): value for name, value in given.items()
               if name.startswith(f"{component}.")}  # fmt: skip
        alpha = own.get("lora_alpha")
        patterns = {str(name): float(value) for name, value in
                    (own.get("alpha_pattern") or {}).items()}  # fmt: skip
        result = Declared(
            alpha=None if alpha is None else float(alpha),
            by_path=patterns,
            rank_stabilised=bool(own.get("use_rslora", False)),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"its metadata {KEY!r} cannot be read") from error
    if unread := [pattern for pattern in patterns if not _PATH.fullmatch(pattern)]:
        raise ValueError(f"its metadata {KEY!r} has patterns that are no paths: {unread[0]!r}")
    return result
