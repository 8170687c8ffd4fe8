"""What a file's configuration states, held against what its tensors show. No torch."""

from collections.abc import Mapping
from typing import Any

from pipelines.checkpoints.headers import CheckpointError

Config = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]  # by diffusers name


class Facts:
    """Collects what contradicts itself, so that all of it is reported at once."""

    def __init__(self, component: str) -> None:
        self.component = component
        self.problems: list[str] = []

    def settle(self) -> None:
        """Raise CheckpointError where anything was collected."""
        if self.problems:
            raise CheckpointError(f"{self.component}: {'; '.join(self.problems)}")

    def agree(
        self,
        config: Config,
        field: str,
        seen: Any,  # noqa: ANN401 - whatever JSON holds
        default: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """The field's value, confirmed by what the shapes show: `seen`, None for nothing."""
        stated = config.get(field)
        if stated is None:
            if seen is None and default is None:
                self.problems.append(f"the config lacks {field!r} and no tensor tells it")
            return default if seen is None else seen
        if seen is not None and stated != seen:
            self.problems.append(f"the config says {field} = {stated!r}, the tensors {seen!r}")
        return stated

    def expect(self, config: Config, field: str, *accepted: Any) -> None:  # noqa: ANN401
        """Refuse a field that is there and has a value diffusers does not build."""
        if field in config and config[field] not in accepted:
            options = " or ".join(repr(value) for value in accepted)
            self.problems.append(f"{field} = {config[field]!r} is not supported, only {options}")

    def shape(self, shapes: Shapes, name: str) -> tuple[int, ...]:
        """The shape of a tensor that every file has."""
        if name not in shapes:
            raise CheckpointError(f"{self.component}: the tensor {name} is missing")
        return shapes[name]


def part(facts: Facts, original: Config, name: str) -> Config:
    """One component's section of a file's configuration."""
    if name not in original:
        raise CheckpointError(
            f"{facts.component}: the file's metadata has no {name!r} configuration; use "
            "Lightricks' own file, "
            "repackaged ones often drop it"
        )
    return original[name]


def head_split(
    facts: Facts, config: Config, prefix: str, inner: int, seen: int | None, usual: int
) -> tuple[int, int]:
    """Heads and their size, heads x size being the width `inner`.

    `seen` are the heads that gates tell, `usual` is the size where nothing tells anything.
    """
    size: int | None = config.get(f"{prefix}attention_head_dim")
    heads: int | None = config.get(f"{prefix}num_attention_heads")
    if heads is None:
        heads = seen if seen is not None else max(1, inner // (size or usual))
    size = size if size is not None else inner // heads
    if heads * size != inner or (seen is not None and heads != seen):
        gates = "" if seen is None else f" with {seen} gates"
        facts.problems.append(
            f"{prefix}attention: {heads} heads of {size} do not give the width {inner}{gates}"
        )
    return heads, size


def gate_heads(shapes: Shapes, attention: str) -> int | None:
    """Heads of a gated attention, which has one gate for each; None for one without gates."""
    gate = shapes.get(f"{attention}.to_gate_logits.weight")
    return gate[0] if gate else None


def children(shapes: Shapes, prefix: str) -> int:
    """How many numbered children a module list has."""
    return len({name[len(prefix) :].split(".", 1)[0] for name in shapes if name.startswith(prefix)})
