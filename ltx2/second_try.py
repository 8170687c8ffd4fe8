"""Where memory runs out: once more in a way that takes less, and then what would fit instead.

A forecast can be too low: another process takes memory, or a library does. The clip that was asked
for is then still the clip that is made, by slower means.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from ltx2.errors import OutOfMemory
from ltx2.progress import Progress
from pipelines.plan import Plan

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from ltx2.fit import Decision

logger = logging.getLogger(__name__)
Made = TypeVar("Made")


class Attempts(Protocol[Made]):
    """How a clip is tried to be made: what `make` makes of a plan, and warnings of what it took."""

    def __call__(
        self,
        engine: "Engine",
        plan: Plan,
        progress: Progress,
        make: "Callable[[Plan, Decision | None], Made]",
        /,
    ) -> tuple[Made, tuple[str, ...]]:
        """Raises OutOfMemory where no try was of use."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A run that was out of memory. No exception: its traceback would hold the tensors."""

    decoding: bool
    residency: str
    told: str  # by torch

    @classmethod
    def of(cls, error: OutOfMemory, engine: "Engine") -> "Shortage":
        """What is to be known of an error."""
        told = str(error.__cause__ or error).strip().partition("\n")[0]
        return cls(
            decoding=error.decoding, residency=engine.components.residency, told=told or "no reason"
        )

    def __str__(self) -> str:
        part = "the decoder" if self.decoding else "a pass"
        return f"{part} ran out of memory (residency {self.residency})"


def tried_twice(
    engine: "Engine",
    plan: Plan,
    progress: Progress,
    make: "Callable[[Plan, Decision | None], Made]",
) -> tuple[Made, tuple[str, ...]]:
    """What `make` makes of a plan, and warnings of what it took.

    Where memory runs out it is called once more, with a decision that takes less. Raises
    OutOfMemory with what would fit where that fails too, or where there is no such decision. The
    engine decides anew for the next plan.
    """
    try:
        return make(plan, None), ()
    except OutOfMemory as error:
        first = Shortage.of(error, engine)
    # Outside of the handlers: what an error's traceback holds is free here.
    logger.warning("%s: %s", first, first.told)
    with progress.stage("make room"):
        engine.let_go()
        decision = engine.fit.after_failure(
            plan, engine.components.residency, engine.room(), decoding=first.decoding
        )
    if decision is None:
        raise _refusal(engine, plan, f"{first} and no other way takes less", first)
    told = f"{first}; made again with residency {decision.residency}"
    if decision.plan.decode != plan.decode:
        told += " and smaller tiles"
    logger.warning("%s", told)
    try:
        return make(decision.plan, decision), (told,)
    except OutOfMemory as error:
        second = Shortage.of(error, engine)
    logger.warning("%s: %s", second, second.told)
    engine.let_go()
    raise _refusal(engine, decision.plan, f"{first}, and again {second}", second)


def tried_once(
    _engine: "Engine",
    plan: Plan,
    _progress: Progress,
    make: "Callable[[Plan, Decision | None], Made]",
) -> tuple[Made, tuple[str, ...]]:
    """The same without another try: of several processes, one cannot begin anew alone."""
    return make(plan, None), ()


def _refusal(engine: "Engine", plan: Plan, what: str, shortage: Shortage) -> OutOfMemory:
    would_fit = engine.fit.after_failures(
        plan, engine.components.residency, engine.room(), decoding=shortage.decoding
    )
    size = f"{plan.width}x{plan.height} for {plan.duration:.1f} s"
    return OutOfMemory(f"{size}: {what}; {would_fit}", decoding=shortage.decoding)


def once_more_with_room(engine: "Engine", do: Callable[[], Made]) -> tuple[Made, tuple[str, ...]]:
    """The same for what runs before the plan is known: once more without any other part loaded."""
    try:
        return do(), ()
    except OutOfMemory as error:
        first = Shortage.of(error, engine)
    logger.warning("the language model ran out of memory: %s", first.told)
    engine.let_go(parts=True)
    return do(), ("the language model ran out of memory; run again with no other part loaded",)
