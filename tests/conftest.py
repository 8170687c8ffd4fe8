"""The embedded checkpoint, built once a run, and an engine on it."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.once import made_once

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from pipelines.components import Components


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: none is left for the end, when other processes are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: the garbage collector need not look through them, which
    takes half a second each time that a part of a model is dropped.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of the embedded checkpoint. Tests must leave it as they found it."""
    from pipelines.tiny.build import build

    weights = made_once(
        tmp_path_factory, worker_id, "weights", lambda folder: build(folder / "tiny")
    )
    return weights / "tiny"


@pytest.fixture(scope="session")
def tiny_model(tiny: Path) -> "Components":
    """The embedded checkpoint's parts. Tests must leave it as they found it."""
    from pipelines.checkpoints.files import find
    from pipelines.components import Components
    from pipelines.models import CHECKPOINTS

    weights = find(tiny, CHECKPOINTS["tiny"])
    files = {"distilled": weights.path("distilled_lora")}
    return Components(
        weights,
        keep_variants=True,
        find_adapter=lambda adapter: files.get(adapter.source, tiny / adapter.source),
    )


@pytest.fixture(scope="session")
def engine(tiny: Path) -> "Engine":
    """An engine on the embedded checkpoint."""
    from ltx2.engine import Engine
    from ltx2.settings import Settings

    return Engine.load(str(tiny), settings=Settings.from_env({}))
