"""What the pages show of an account's generations: the stage, the queue, the newest."""

from dataclasses import dataclass

from gateway.desk import Account, Page
from gateway.refusals import Problems
from gateway.states import Generation
from gateway.studio.copies import Copy, copies
from gateway.studio.guide import Guide, guide
from gateway.studio.jobs import JobView, job_view
from gateway.studio.labels import spoken
from gateway.studio.visit import House

RECENT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One generation in full."""

    job: JobView
    copies: tuple[Copy, ...]
    vary: int | None  # what another one costs with a new seed; None: it cannot be had now
    why_not: str  # why it cannot be had


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What stands beside the form. `page` is what it was made of."""

    stage: Stage | None
    queue: tuple[JobView, ...]
    recent: tuple[JobView, ...]
    page: Page
    guide: Guide


def board(house: House, account: Account, origin: str, chosen: str | None = None) -> Board:
    """The newest generations, with the chosen one on the stage: else what is done next, else the
    newest.
    """
    page = house.desk.generations(account, limit=24)
    on_stage = next((each for each in page.items if each.id == chosen), None)
    if on_stage is None and chosen:
        on_stage = house.desk.generation(account, chosen)
    if on_stage is None:
        live = (each for each in reversed(page.items) if not each.ended)
        on_stage = next(live, page.items[0] if page.items else None)
    rest = [each for each in page.items if on_stage is None or each.id != on_stage.id]
    return Board(
        stage=stage(house, account, on_stage, origin) if on_stage else None,
        queue=views(house, [each for each in reversed(rest) if not each.ended]),
        recent=views(house, [each for each in rest if each.ended][:RECENT]),
        page=page,
        guide=guided(house),
    )


def stage(house: House, account: Account, job: Generation, origin: str) -> Stage:
    """A generation in full."""
    form = another(job)
    quote = house.desk.estimate(account, form) if job.ended else None
    problems = quote.problems if isinstance(quote, Problems) else ()
    return Stage(
        job=view(house, job),
        copies=copies(
            {name: v for name, v in job.form.items() if name != "webhook_url"},
            origin,
            own=account.id if house.local else None,
        ),
        vary=None if quote is None or isinstance(quote, Problems) else quote.credits,
        why_not=" ".join(spoken(each.message) for each in problems),
    )


def another(job: Generation) -> dict[str, object]:
    """The same request with a seed of its own."""
    return {
        name: value
        for name, value in job.form.items()
        if name not in ("seed", "webhook_url") and value is not None
    }


def view(house: House, job: Generation) -> JobView:
    """A generation in words."""
    return views(house, [job])[0]


def views(house: House, jobs: list[Generation]) -> tuple[JobView, ...]:
    """Some generations in words."""
    now, titles, waiting = house.now(), cameras(house), guided(house).waiting
    return tuple(job_view(job, now, titles, waiting, free=house.free) for job in jobs)


def guided(house: House) -> Guide:
    """What people are told of the model."""
    return guide(embedded=house.desk.offer().models[0].embedded)


def cameras(house: House) -> dict[str, str]:
    """The titles of the camera moves, by name."""
    return {move.name: move.title for move in house.desk.offer().cameras}
