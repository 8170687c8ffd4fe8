"""GGUF files written from safetensors ones, as the converters do it."""

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from safetensors import safe_open

from pipelines.checkpoints.headers import read_header
from pipelines.checkpoints.keys import TRANSFORMER_PREFIX, is_connector

SHARP = ("scale_shift_table", "patchify_proj")  # kept exact by the converters


def write(
    path: Path,
    source: Path,
    kind: str,
    *,
    prefix: str = "",
    config: bool = True,
    version: bool = True,
    leave_out: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
) -> Path:
    """The transformer of a whole-model file: matrices as `kind` where their rows permit it, the
    rest in F32, F16 and BF16 in turn.
    """
    header = read_header(source)
    writer = gguf.GGUFWriter(path, "ltxv")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if config:
        writer.add_string("config", header.metadata["config"])
    if version:
        writer.add_string("model_version", header.metadata["model_version"])
    with safe_open(source, framework="pt") as content:
        for name in sorted(header.tensors):
            bare = name.removeprefix(TRANSFORMER_PREFIX)
            if not name.startswith(TRANSFORMER_PREFIX) or is_connector(name) or bare in leave_out:
                continue
            _add(writer, prefix + bare, content.get_tensor(name).float().numpy(), kind)
    for name in extra:
        _add(writer, prefix + name, np.ones((2, 2), np.float32), "F32")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, values: np.ndarray, kind: str) -> None:
    block, _ = gguf.GGML_QUANT_SIZES[Kind[kind]]
    if values.ndim < 2 or values.shape[-1] % block or any(word in name for word in SHARP):
        kind = ("F32", "F16", "BF16")[len(name) % 3] if values.ndim == 2 else "F32"
    packed = gguf.quants.quantize(values, Kind[kind])
    writer.add_tensor(name, packed, raw_dtype=Kind[kind])
