"""Kinds of adapters, told by the names and shapes of a layer's tensors. No torch.

Scales follow LyCORIS and ComfyUI: alpha / rank, with the inner dimension as the rank; a LoKr of two
whole factors has none, and its alpha is not used. A file without alphas means alpha = rank.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["lora", "lokr", "loha"]
# "A", "B", "alpha", "magnitude", or the name a LoKr or LoHa tensor ends in, e.g. "lokr_w1_a".
Role = str
Shape = tuple[int, ...]

LOADABLE = "LoRA, DoRA, LoKr and LoHa of linear layers can be loaded"
_ROLES: tuple[tuple[re.Pattern[str], Role | None], ...] = (
    (re.compile(r"\.lora_A(\.(?!weight$)[^.]+)?\.weight$"), "A"),
    (re.compile(r"\.lora[_.]down\.weight$"), "A"),
    (re.compile(r"\.lora_B(\.(?!weight$)[^.]+)?\.weight$"), "B"),
    (re.compile(r"\.lora[_.]up\.weight$"), "B"),
    (re.compile(r"\.alpha$"), "alpha"),
    (re.compile(r"\.dora_scale$"), "magnitude"),
    (re.compile(r"\.lora_magnitude_vector(\.(?!weight$)[^.]+)?(\.weight)?$"), "magnitude"),
    (re.compile(r"\.(?P<role>(lokr_w[12](_[ab])?)|(hada_w[12]_[ab]))$"), None),  # named after it
)
# Other kinds by a telling part of their names: read as one of ours they would do something else.
_OTHER_KINDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.(lokr_t[12]?|hada_t[12])$"), "Tucker-decomposed"),
    (re.compile(r"\.oft_|\.boft_"), "OFT"),
    (re.compile(r"\.lora_mid\."), "LoCon"),
    (re.compile(r"\.diff(_b)?$"), "whole-weight difference"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one layer gets: its tensors as names in the file, and how they act."""

    component: str  # "transformer" or "connectors"
    path: str  # of the layer in the diffusers module
    kind: Kind
    tensors: Mapping[Role, str]
    rank: int | None  # None for a LoKr of two whole factors
    magnitude: Literal["outputs", "inputs"] | None  # DoRA: which vectors of the weight are rescaled
    elements: int  # numbers that stay in memory in the layer's type
    magnitudes: int  # and those that stay in float32

    @property
    def name(self) -> str:
        """The kind as people call it: "lora", "dora", "lokr", "lokr with magnitudes", ..."""
        if self.magnitude is None:
            return self.kind
        return "dora" if self.kind == "lora" else f"{self.kind} with magnitudes"

    def scale(self, alpha: float | None, *, rank_stabilised: bool = False) -> float:
        """What the product of the factors is multiplied by, before the request's strength."""
        if alpha is None or self.rank is None:
            return 1.0
        return alpha / (math.sqrt(self.rank) if rank_stabilised else self.rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why the tensors of a layer are no update of it."""

    sort: Literal["half", "alpha", "size"]
    text: str


def split(name: str) -> tuple[str, Role | None]:
    """A tensor's name as the layer's path and its role; None for a name of no known form."""
    for pattern, role in _ROLES:
        if found := pattern.search(name):
            return name[: found.start()], role or found["role"]
    return name, None


def other_kind(name: str) -> str | None:
    """The kind of adapter a name speaks of, where it cannot be loaded."""
    return next((kind for part, kind in _OTHER_KINDS if part.search(name)), None)


def assemble(
    place: tuple[str, str],
    roles: Mapping[Role, str],
    shapes: Mapping[str, Shape],
    size: tuple[int, int],
) -> Update | Fault:
    """The update that a layer's tensors are.

    `place` is (component, path) of the layer, `size` its (outputs, inputs).
    A fault's text begins with the path and holds names or shapes.
    """
    component, path = place
    named = ", ".join(roles.values())
    parts = {role: shapes[name] for role, name in roles.items()}
    alpha, magnitude = parts.pop("alpha", ()), parts.pop("magnitude", None)
    kind = _kind(parts.keys())
    if kind is None:
        return Fault(sort="half", text=f"{path} ({named})")
    if alpha not in ((), (1,)):
        return Fault(sort="alpha", text=roles["alpha"])
    rank = _MEASURES[kind](parts, *size)
    axis = _axis(magnitude, *size)
    if rank == 0 or (magnitude is not None and axis is None):
        shown = " and ".join(f"{role} {parts[role]}" for role in parts)
        shown += f" and magnitudes {magnitude}" if magnitude is not None else ""
        return Fault(sort="size", text=f"{path} ({shown}, the layer is {size[1]} -> {size[0]})")
    return Update(
        component=component,
        path=path,
        kind=kind,
        tensors=dict(roles),
        rank=rank,
        magnitude=axis,
        elements=_kept(kind, parts),
        magnitudes=0 if magnitude is None else math.prod(magnitude),
    )


def _kind(roles: Iterable[Role]) -> Kind | None:
    """The kind that a set of roles is whole for; None for a part of one or a mixture."""
    given = set(roles)
    if given == {"A", "B"}:
        return "lora"
    if given == {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}:
        return "loha"
    firsts, seconds = (
        ({f"lokr_{factor}"}, {f"lokr_{factor}_a", f"lokr_{factor}_b"}) for factor in ("w1", "w2")
    )
    whole = any(given == first | second for first in firsts for second in seconds)
    return "lokr" if whole else None


def _lora_rank(parts: Mapping[Role, Shape], outputs: int, inputs: int) -> int:
    """The rank of fitting factors, 0 for others."""
    down, up = parts["A"], parts["B"]
    rank = down[0] if down else 0
    return rank if down == (rank, inputs) and up == (outputs, rank) else 0


def _loha_rank(parts: Mapping[Role, Shape], outputs: int, inputs: int) -> int:
    """As `_lora_rank`, of two pairs of one rank."""
    pairs = [{"A": parts[f"hada_{w}_b"], "B": parts[f"hada_{w}_a"]} for w in ("w1", "w2")]
    ranks = {_lora_rank(pair, outputs, inputs) for pair in pairs}
    return ranks.pop() if len(ranks) == 1 else 0


def _lokr_rank(parts: Mapping[Role, Shape], outputs: int, inputs: int) -> int | None:
    """The inner dimension, which both factors share where both have one; None where neither has.

    0 where the Kronecker product of the factors is not of the layer's size.
    """
    product, ranks = (1, 1), set[int]()
    for factor in ("lokr_w1", "lokr_w2"):
        if factor in parts:
            shape = parts[factor]
        else:
            left, right = parts[f"{factor}_a"], parts[f"{factor}_b"]
            if len(left) != 2 or len(right) != 2 or left[1] != right[0]:
                return 0
            shape = (left[0], right[1])
            ranks.add(left[1])
        if len(shape) != 2:
            return 0
        product = (product[0] * shape[0], product[1] * shape[1])
    if product != (outputs, inputs) or len(ranks) > 1 or 0 in ranks:
        return 0
    return ranks.pop() if ranks else None


_MEASURES = {"lora": _lora_rank, "loha": _loha_rank, "lokr": _lokr_rank}


def _axis(
    magnitude: Shape | None, outputs: int, inputs: int
) -> Literal["outputs", "inputs"] | None:
    """Which vectors have a length of their own: the weight's rows, or in some files its columns."""
    if magnitude in ((outputs,), (outputs, 1)):
        return "outputs"
    return "inputs" if magnitude == (1, inputs) else None


def _kept(kind: Kind, parts: Mapping[Role, Shape]) -> int:
    """Numbers in memory: the factors as they are, but LoKr's small first one multiplied out."""
    kept = dict(parts)
    if kind == "lokr" and "lokr_w1_a" in kept:
        left, right = kept.pop("lokr_w1_a"), kept.pop("lokr_w1_b")
        kept["lokr_w1"] = (left[0], right[1])
    return sum(math.prod(shape) for shape in kept.values())
