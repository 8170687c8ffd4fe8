"""A hub on loopback that has the embedded checkpoint's files under the names of LTX-2.0.

So a download for a released model can be carried out to its end, and what came can be run.
"""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loras import catalog
from pipelines.models import CHECKPOINTS
from pipelines.tiny import WEIGHTS
from tests.unit.hub_server import FakeHub, serving

RELEASED, TOY = CHECKPOINTS["ltx-2"].files, CHECKPOINTS["tiny"].files
PARTS = ("dev", "distilled", "distilled_lora", "spatial_upscaler", "temporal_upscaler")


def of_version(content: bytes, version: str) -> bytes:
    """A safetensors file that says it is of this version."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header.setdefault("__metadata__", {})["model_version"] = version
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def repositories(tiny: Path) -> dict[str, dict[str, bytes]]:
    """Model, text encoder and LoRAs of LTX-2.0, as the hub names them, with toy content."""
    model = {
        str(getattr(RELEASED, part)): of_version((tiny / getattr(TOY, part)).read_bytes(), "2.0.0")
        for part in PARTS
    }
    encoder = {
        path.name: path.read_bytes() for path in (tiny / "gemma-3-tiny").iterdir() if path.is_file()
    }
    found = {RELEASED.repository: model, str(RELEASED.text_encoder_repository): encoder}
    toys = {use(entry.file): entry.file for entry in catalog.entries() if not entry.repository}
    for entry in catalog.entries():
        if "2.0" in entry.generations and entry.kind != "distilled":
            toy = (tiny / toys[use(entry.file)]).read_bytes()
            found[entry.repository] = {entry.file: of_version(toy, "2.0.0")}
    return found


def use(file: str) -> str:
    """What a LoRA is for, by the end of its file's name."""
    return file.rpartition("-lora-")[2]


@contextmanager
def serving_toys(*, token: str) -> Iterator[str]:
    """The address of the hub; its text encoder is gated and wants the token."""
    hub = FakeHub(repositories(WEIGHTS), token=token)
    hub.gated.add(str(RELEASED.text_encoder_repository))
    with serving(hub) as address:
        yield address
