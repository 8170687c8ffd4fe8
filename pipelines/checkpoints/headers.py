"""Headers of weight files: names, shapes and metadata of a file, not its tensors. No torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from loras import headers
from loras.headers import Entry

# Endings of the tensors that hold the scales of quantised weights.
_SCALES = (".weight_scale", ".weight_scale_2", ".scale_weight", ".input_scale", ".comfy_quant")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with what would be accepted instead."""


@dataclass(frozen=True)
class Header:
    """The header of one file."""

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, Entry]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model configuration that Lightricks' files carry as JSON; empty where there is
        none.
        """
        return self.json("config")

    @property
    def model_version(self) -> str | None:
        """The generation as the file states it, e.g. "2.3.0"."""
        return self.metadata.get("model_version")

    def json(self, name: str) -> dict[str, Any]:
        """A metadata entry as an object; empty where it is absent. Raises CheckpointError for
        broken JSON.
        """
        text = self.metadata.get(name)
        if not text:
            return {}
        try:
            value = json.loads(text)
        except ValueError as error:
            raise CheckpointError(
                f"{self.path}: the metadata {name!r} is not JSON: {error}"
            ) from error
        if not isinstance(value, dict):
            raise CheckpointError(f"{self.path}: the metadata {name!r} is not a JSON object")
        return cast("dict[str, Any]", value)

    @property
    def quantised(self) -> str | None:
        """A tensor that shows that the weights are stored with separate scales; None for plain
        weights.
        """
        return next((name for name in self.tensors if name.endswith(_SCALES)), None)


def read_header(path: Path) -> Header:
    """Read the header of a safetensors or GGUF file and check that the file is whole.

    Raises CheckpointError for another format and for a file that is shorter or longer than its
    header says.
    """
    if path.suffix.lower() == ".gguf":
        from pipelines.checkpoints import gguf

        return gguf.read_header(path)
    try:
        header = headers.read(path)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}; download it again") from error
    return Header(path=path, metadata=header.metadata, tensors=header.tensors)


def refuse_quantised(header: Header) -> None:
    """Raise CheckpointError for weights that a plain load would turn into noise."""
    if header.quantised:
        raise CheckpointError(
            f"{header.path} holds quantised weights with separate scales ({header.quantised}); "
            "use the bf16 file"
        )
