"""A gateway's process that dies at a moment, by a signal that no process can catch."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway import transitions
from gateway.backends.runpod import RunPod
from gateway.core import build
from gateway.parts import Parts
from gateway.stores.folder import FolderStore
from ltx2.extent import Limits
from ltx2.gateway_settings import GatewaySettings
from tests.gateway.house import CREDITS, FORM, FakeClock

MOMENTS = (
    "between the hold and the submission",
    "between the submission's note and the submission",
    "between the submission and its note",
    "between the video and the capture",
    "inside the capture's transaction",
    "between the capture and the answer",
)


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(name: str, owner: Any) -> None:
    """Die as soon as a function is called."""
    setattr(owner, name, die)


def after(name: str, owner: Any) -> None:
    """Die as soon as a function has returned."""
    real: Callable[..., object] = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        die()

    setattr(owner, name, call)


def live_until(url: str, folder: str, runpod: str, key: str, moment: str) -> None:
    """The process: one generation, made up to the moment."""
    clock = FakeClock()
    parts = Parts(
        settings=GatewaySettings(folder=Path(folder), database=url, modes="all"),
        backend=lambda: RunPod(runpod, key),
        store=lambda: FolderStore(Path(folder) / "store"),
        clock=clock,
        limits=Limits(),
    )
    core = build(parts)
    account = core.accounts.create("Ada")
    core.accounts.grant(account.id, CREDITS, "welcome")
    match MOMENTS.index(moment):
        case 0:
            after("create", core.front)
        case 1:
            before("submit", core.backend)
        case 2:
            after("submit", core.backend)
        case 3:
            before("finished", transitions)
        case 4:
            after("finished", transitions)
        case 5:
            after("_finish", core.reconciler)
    core.front.create(account, FORM, "the key")
    for _ in range(5):
        core.submitter.turn()
        clock.move(90)
        core.reconciler.turn()
    raise AssertionError("still alive")
