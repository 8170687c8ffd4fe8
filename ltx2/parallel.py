"""One clip over several processes that a launcher started: each loads the model, each step is
shared, and the first process decodes and writes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from torch import distributed

from ltx2.delivery import Delivery
from ltx2.errors import BadRequest, ConfigError
from ltx2.prepare import Prepared
from ltx2.progress import Progress, expected_work
from ltx2.results import Receipt
from ltx2.second_try import tried_once
from ltx2.session import complete, made
from ltx2.settings import NO_FP8_TOGETHER, Launch
from pipelines.upstream.context_parallel import NotShareable, SharedTokens

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from pipelines.plan import Plan

# A process that waits longer for the others gives up: reading weights from a slow volume takes
# minutes, and one process may be much later than another.
PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of one clip, seen from one of them."""

    launch: Launch

    @property
    def leads(self) -> bool:
        """Whether this process decodes, writes and reports."""
        return self.launch.rank == 0

    def agreed(self, plan: "Plan") -> "Plan":
        """The leader's plan: a seed that was drawn, a prompt and a length that a model chose are
        its own.
        """
        box: list[Any] = [plan]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def execute(
        self, prepared: Prepared, *, engine: "Engine", deliver: Delivery, progress: Progress
    ) -> Receipt | None:
        """As `ltx2.session.execute`, together; None for all but the leader.

        Where memory runs out nothing is tried again: one process cannot begin anew alone. Raises
        BadRequest where so many processes cannot share this model.
        """
        prepared = complete(prepared, engine=engine, progress=progress)
        prepared = replace(prepared, plan=self.agreed(prepared.plan))
        with self.sharing(engine):
            if self.leads:
                return made(
                    prepared,
                    engine=engine,
                    deliver=deliver,
                    progress=progress,
                    attempts=tried_once,
                )
            progress.expect(expected_work(prepared.plan))
            engine.run(prepared.plan, prepared.inputs, progress).frames.close()
        return None

    @contextmanager
    def sharing(self, engine: "Engine") -> Iterator[None]:
        """Every pass of the engine's transformers is shared inside the block."""
        components = engine.components
        if components.levers.fp8_products:
            raise BadRequest(NO_FP8_TOGETHER)
        before = components.shared, components.levers
        tokens = SharedTokens(self.launch.processes, components.device)
        components.shared = tokens.over
        # Only diffusers' own blocks exchange tokens.
        components.levers = replace(components.levers, blocks="stock")
        try:
            yield
        except NotShareable as error:
            raise BadRequest(f"--parallel: {error}") from error
        finally:
            components.shared, components.levers = before


@contextmanager
def team(launch: Launch, device: str | None) -> Iterator[Team]:
    """The processes of this launch, connected. `device` is this process's own.

    Raises ConfigError where they cannot be connected.
    """
    on_gpu = device is not None and device.startswith("cuda")
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    try:
        distributed.init_process_group(backend, timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"the {launch.processes} processes cannot be connected: {error}"
        ) from error
    yield Team(launch)
    # Not on an error: the others may hang in a step, and the launcher ends them.
    distributed.destroy_process_group()
