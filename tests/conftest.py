"""The embedded checkpoint, and an engine on it."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.tiny import WEIGHTS
from tests.once import made_once

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from pipelines.components import Components


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: none is left for the end, when other processes are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """What comes in now stays: the garbage collector rests meanwhile."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: the garbage collector need not look through them, which
    takes half a second each time that a part of a model is dropped.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The folder of the embedded checkpoint. Tests must leave it as they found it."""
    return WEIGHTS


@pytest.fixture(scope="session")
def untrained_family(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The same files with weights as before training: for measures that must fail, and for bounds
    that are to hold whatever was trained. Made once a run; tests leave it as it is.
    """
    from tiny.export import export_untrained

    family = made_once(
        tmp_path_factory, worker_id, "family", lambda folder: export_untrained(folder / "untrained")
    )
    return family / "untrained"


@pytest.fixture(scope="session")
def tiny_model(tiny: Path) -> "Components":
    """The embedded checkpoint's parts. Tests must leave it as they found it."""
    return components_of(tiny)


@pytest.fixture(scope="session")
def untrained_model(untrained_family: Path) -> "Components":
    """The same parts untrained. Tests must leave it as they found it."""
    return components_of(untrained_family)


def components_of(folder: Path) -> "Components":
    """The parts of a checkpoint of tiny's files."""
    from pipelines.checkpoints.files import find
    from pipelines.components import Components
    from pipelines.models import CHECKPOINTS

    weights = find(folder, CHECKPOINTS["tiny"])
    files = {"distilled": weights.path("distilled_lora")}
    return Components(
        weights,
        keep_variants=True,
        find_adapter=lambda adapter: files.get(adapter.source, folder / adapter.source),
    )


@pytest.fixture(scope="session")
def engine(tiny: Path) -> "Engine":
    """An engine on the embedded checkpoint."""
    from ltx2.engine import Engine
    from ltx2.settings import Settings

    return Engine.load(str(tiny), settings=Settings.from_env({}))
