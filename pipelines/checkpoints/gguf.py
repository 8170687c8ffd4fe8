"""GGUF files of the transformer: what a header tells, under the names of the original files. No
torch.

Such files hold one transformer, nothing else that is used here. Their tensors have Lightricks' own
names, mostly without the prefix of whole-model files. Some carry Lightricks' configuration as a
text named `config`; for those that do not, it is known where the sizes are a released model's.
"""

import json
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from loras.headers import Entry
from pipelines.checkpoints.headers import CheckpointError, Header
from pipelines.checkpoints.keys import TRANSFORMER_PREFIX

SUFFIX = ".gguf"
_SHORT_PREFIX = "diffusion_model."
PLAIN = ("F32", "F16", "BF16")  # types that are not quantised
# Quantised types that diffusers widens; others would need its kernels or do not exist there.
PACKED = (
    *("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"),
    *("Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "IQ4_NL", "IQ4_XS"),
)
# What no tensor of the released models tells; the same in all three generations. The sizes are for
# recognising them: (outputs, inputs) of the projections into the two streams, and the blocks.
_RELEASED: dict[str, Any] = {
    "num_attention_heads": 32,
    "attention_head_dim": 128,
    "audio_num_attention_heads": 32,
    "audio_attention_head_dim": 64,
    "positional_embedding_max_pos": [20, 2048, 2048],
    "audio_positional_embedding_max_pos": [20],
    "timestep_scale_multiplier": 1000,
    "av_ca_timestep_scale_multiplier": 1000,
    "rope_type": "split",
    "frequencies_precision": "float64",
}
_VIDEO, _AUDIO = "patchify_proj.weight", "audio_patchify_proj.weight"
_RELEASED_SIZES = {_VIDEO: (4096, 128), _AUDIO: (2048, 128)}
_RELEASED_BLOCKS = 48
_BROKEN = (ValueError, KeyError, IndexError, TypeError, OverflowError, AttributeError, MemoryError)


def is_gguf(path: Path) -> bool:
    """Whether a path names a GGUF file."""
    return path.suffix.lower() == SUFFIX


def read_header(path: Path) -> Header:
    """The header of a GGUF file, with the names, the version and the configuration that Lightricks'
    own file would have.

    Raises CheckpointError for what is no whole GGUF file, for types that cannot be read, and for a
    transformer of an unknown shape that brings no configuration.
    """
    found = path.stat()
    return _read_header(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)  # the package takes a second or two for the thousands of tensors of a model
def _read_header(path: Path, _size: int, _time: int) -> Header:
    reader = open_reader(path)
    tensors: dict[str, Entry] = {}
    for stored, name in names(reader):
        shape = tuple(int(size) for size in reversed(stored.shape))
        tensors[name] = Entry(dtype=stored.tensor_type.name, shape=shape)
    kinds = {entry.dtype for entry in tensors.values()}
    if unreadable := sorted(kinds - {*PLAIN, *PACKED}):
        raise CheckpointError(
            f"{path} holds tensors of the types {', '.join(unreadable)}; readable are "
            f"{', '.join((*PLAIN, *PACKED))}"
        )
    bare = {name.removeprefix(TRANSFORMER_PREFIX): entry.shape for name, entry in tensors.items()}
    metadata = told(path, _texts(reader), bare) if _VIDEO in bare else {}
    return Header(path=path, metadata=metadata, tensors=tensors)


def open_reader(path: Path) -> Any:  # noqa: ANN401 - the package's reader is untyped
    """The file mapped into memory. Raises CheckpointError for what is no whole GGUF file."""
    from gguf import GGUFReader  # brings numpy and a tokenizer library: only for such files

    try:
        return GGUFReader(path)
    except _BROKEN as error:
        raise CheckpointError(
            f"{path} is no whole GGUF file ({error}); download it again"
        ) from error


def names(reader: Any) -> list[tuple[Any, str]]:  # noqa: ANN401 - as open_reader
    """Each tensor as it is stored, with the name it has in Lightricks' whole-model file."""
    prefixed = any(stored.name.startswith(TRANSFORMER_PREFIX) for stored in reader.tensors)
    if prefixed:
        return [(stored, stored.name) for stored in reader.tensors]
    return [
        (stored, TRANSFORMER_PREFIX + stored.name.removeprefix(_SHORT_PREFIX))
        for stored in reader.tensors
    ]


def quantised_kinds(header: Header) -> str:
    """How a file's transformer is quantised, the commonest type first; empty where it is not."""
    count = Counter(entry.dtype for entry in header.tensors.values() if entry.dtype not in PLAIN)
    return ", ".join(kind for kind, _ in count.most_common())


def _texts(reader: Any) -> dict[str, str]:  # noqa: ANN401 - as open_reader
    """The file's own entries that are texts."""
    values = {name: field.contents() for name, field in reader.fields.items() if field.data}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def told(
    path: Path, texts: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """A transformer's metadata: the file's own texts, and its version and configuration by its
    tensors where they do not say it. `shapes` are by Lightricks' names without a prefix.
    """
    if _AUDIO not in shapes:
        raise CheckpointError(
            f"{path} is a model without sound ({_AUDIO} is missing), of the line before LTX-2"
        )
    metadata = dict(texts)
    if "model_version" not in metadata:
        metadata["model_version"] = _version(shapes)
    if "config" not in metadata:
        metadata["config"] = json.dumps({"transformer": _configuration(path, shapes)})
    return metadata


def _version(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """By what only a generation has: the first-frame marker (2.5), modulated prompts (2.3)."""
    if "keyframes_abs_pos_embedding" in shapes:
        return "2.5"
    modulated = any(name.startswith("prompt_adaln_single.") for name in shapes)
    return "2.3" if modulated else "2.0"


def _configuration(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    blocks = {name.split(".")[1] for name in shapes if name.startswith("transformer_blocks.")}
    sizes = {name: shapes[name] for name in _RELEASED_SIZES}
    if sizes != _RELEASED_SIZES or len(blocks) != _RELEASED_BLOCKS:
        raise CheckpointError(
            f"{path} brings no configuration (a text named 'config'), and its {len(blocks)} blocks "
            f"of width {sizes[_VIDEO][0]} are not those of a released LTX-2 model; use a file that "
            "was converted with its metadata"
        )
    return _RELEASED
