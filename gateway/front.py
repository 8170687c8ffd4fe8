"""The front desk: every call of pages and routes, carried out by the parts behind it."""

from datetime import timedelta

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from gateway import ledger
from gateway.accounts import Accounts
from gateway.api.reception import Content, Health, Variant
from gateway.backends import Backend
from gateway.choice import nearest_shape
from gateway.clock import Clock
from gateway.contents import found_content, without_video
from gateway.database import Database
from gateway.desk import Account, Credits, Form, LedgerEntry, Page, Quote, Session, Upload
from gateway.enhancing import Enhancing
from gateway.forms import Order, read_order
from gateway.generations import Generations, draw_seed
from gateway.metrics import Levels
from gateway.offer_view import Offer
from gateway.prices import Price, Prices
from gateway.refusals import Conflict, Problem, Problems, Unaffordable, Unavailable
from gateway.sold import last_told
from gateway.states import Generation, Status
from gateway.stores import Store, StoreFailed
from gateway.tables import LIVE, EventRow, GenerationRow, LedgerRow
from gateway.tally import Tally
from gateway.uploads import Uploads
from ltx2.extent import Limits


class Front:
    """The `Reception` of the gateway. Calls may come from any thread. `fake` is told to those who
    ask for the gateway's health: what makes the videos is no real worker.
    """

    def __init__(
        self,
        database: Database,
        backend: Backend,
        store: Store,
        clock: Clock,
        *,
        accounts: Accounts,
        generations: Generations,
        uploads: Uploads,
        offer: Offer,
        prices: Prices,
        limits: Limits,
        private_webhooks: bool = False,
        fake: bool = False,
    ) -> None:
        self._database = database
        self._backend = backend
        self._store = store
        self._clock = clock
        self._accounts = accounts
        self._generations = generations
        self._uploads = uploads
        self._offer = offer
        self._prices = prices
        self._limits = limits
        self._private_webhooks = private_webhooks
        self._fake = fake
        self._tally = Tally(database, clock)
        self._enhancing = Enhancing(backend, uploads, clock)

    @property
    def fake(self) -> bool:
        """Whether what makes the videos is no real worker."""
        return self._fake

    def offer(self) -> Offer:
        """What can be asked for."""
        return self._offer

    def estimate(self, account: Account, form: Form) -> Quote | Problems:
        """The price of a form. `prompt` may be missing; every problem is found at once."""
        try:
            order = self._order(account, form, estimate=True)
        except Problems as problems:
            return problems
        price = self._price(order)
        with self._database.read() as session:
            available = ledger.balance(session, account.id)[0]
        actual, shape = order.actual, str(order.form["aspect_ratio"])
        if shape == "auto":
            shape = nearest_shape(order.resolution, actual.width, actual.height)
        return Quote(
            credits=price.credits,
            usd=self._prices.usd(price.credits),
            price_version=self._prices.version,
            credits_per_second=price.credits_per_second,
            breakdown=price.lines,
            model=order.form["model"],
            mode=order.mode.mode,
            resolution=order.resolution.id,
            aspect_ratio=shape,
            duration=order.form["duration"],
            width=actual.width,
            height=actual.height,
            fps=actual.fps,
            num_frames=actual.num_frames,
            seconds=round(actual.seconds, 3),
            available=available,
            available_after=available - price.credits,
            notes=actual.notes,
        )

    def create(
        self, account: Account, form: Form, idempotency_key: str | None = None
    ) -> Generation:
        """Hold the credits and queue the generation; the same key and form give the same one."""
        again = self._generations.replayed(account, form, idempotency_key)
        if again is not None:
            return again
        order = self._order(account, form, estimate=False)
        return self._generations.create(
            account, form, idempotency_key, order, self._price(order), self._prices.version
        )

    def generation(self, account: Account, generation_id: str) -> Generation:
        """One of the account's own. Raises NotFound, for those of others too."""
        return self._generations.get(account, generation_id)

    def generations(
        self,
        account: Account,
        *,
        cursor: str | None = None,
        limit: int = 24,
        status: Status | None = None,
        favourites: bool = False,
        oldest_first: bool = False,
    ) -> Page:
        """Newest first unless it is said, 1 to 100. Raises Problems for a cursor that is none."""
        return self._generations.page(
            account,
            cursor=cursor,
            limit=limit,
            status=status,
            favourites=favourites,
            oldest_first=oldest_first,
        )

    def cancel(self, account: Account, generation_id: str) -> Generation:
        """Ask for the end. Never refused for what is one's own: what has ended stays as it is."""
        return self._generations.cancel(account, generation_id)

    def delete(self, account: Account, generation_id: str) -> None:
        """Take it out of the list with its files; the ledger stays. Raises Conflict until ended."""
        if not self._generations.get(account, generation_id).ended:
            raise Conflict("this generation has not ended; cancel it first")
        try:  # the files first: as long as they are there, it can be deleted again
            self._store.delete(generation_id)
        except StoreFailed as error:
            raise Unavailable("its files cannot be deleted now; try again in a moment") from error
        self._generations.delete(account, generation_id)

    def favourite(self, account: Account, generation_id: str, *, on: bool) -> Generation:
        """Mark it, or unmark it."""
        return self._generations.favourite(account, generation_id, on=on)

    def credits(self, account: Account, *, cursor: str | None = None, limit: int = 20) -> Credits:
        """Balance and entries, newest first."""
        if cursor is not None and not _is_row(cursor):
            told = "cursor must be one that a list gave"
            raise Problems([Problem(field="cursor", message=told)])
        if not 1 <= limit <= 100:
            told = "limit must be a whole number from 1 to 100"
            raise Problems([Problem(field="limit", message=told)])
        with self._database.read() as session:
            available, held = ledger.balance(session, account.id)
            below = None if cursor is None else int(cursor)
            rows = ledger.entries(session, account.id, below=below, limit=limit + 1)
        return Credits(
            available=available,
            held=held,
            credit_usd=self._prices.credit_usd,
            entries=tuple(_entry(row) for row in rows[:limit]),
            next_cursor=str(rows[limit - 1].id) if len(rows) > limit else None,
        )

    def upload(self, account: Account, name: str, content: bytes) -> Upload:
        """Take a picture (PNG, JPEG, WEBP; judged by its bytes). Raises Problems, TooLarge,
        Limited, Unavailable.
        """
        return self._uploads.add(account, name, content)

    def picture(self, account: Account, upload_id: str) -> tuple[bytes, str]:
        """An upload's bytes and media type, for previews. Raises NotFound."""
        return self._uploads.picture(account, upload_id)

    def enhance(self, account: Account, prompt: str, *, image: str | None = None) -> str:
        """A richer prompt, by the worker's language model; free, for an account with credits.

        Raises Problems, Unaffordable, Limited, Unavailable.
        """
        self._order(account, {"prompt": prompt, "image": image}, estimate=False)
        with self._database.read() as session:
            available = ledger.balance(session, account.id)[0]
        if available < 1:
            raise Unaffordable(required=1, available=available)
        return self._enhancing.enhance(account, prompt, image)

    def login(self, key: str) -> Session:
        """A session for an API key. Raises Unauthorised."""
        return self._accounts.login(key)

    def session(self, token: str) -> Session:
        """The session of a cookie. Raises Unauthorised where it is over or never was."""
        return self._accounts.session(token)

    def logout(self, token: str) -> None:
        """End a session; nothing happens where there is none."""
        self._accounts.logout(token)

    def account(self, key: str) -> Account:
        """Whose API key this is. Raises Unauthorised."""
        return self._accounts.of_key(key)

    def content(
        self, account: Account, generation_id: str, variant: Variant, *, download: bool = False
    ) -> Content:
        """A finished video, or its thumbnail; a link to a store is one that browsers show, or save
        for a `download`. Raises NotFound, and Conflict until there is one.
        """
        generation = self._generations.get(account, generation_id)
        if generation.output is None:
            raise Conflict(without_video(generation))
        return found_content(self._store, generation, generation.output, variant, download)

    def levels(self) -> Levels:
        """What stands in the database now."""
        live = GenerationRow.state.in_(LIVE)
        with self._database.read() as session:
            counts = session.execute(
                select(GenerationRow.state, func.count()).where(live).group_by(GenerationRow.state)
            ).all()
            oldest = session.scalar(select(func.min(GenerationRow.created_at)).where(live))
            waiting = session.scalar(select(func.count()).where(EventRow.state == "pending"))
        age = timedelta() if oldest is None else self._clock.now() - oldest
        found = {"queued": 0, "in_progress": 0}
        for state, count in counts:
            found["queued" if state in ("queued", "submitted") else "in_progress"] += count
        return Levels(
            generations=found,
            oldest_seconds=age.total_seconds(),
            webhooks_waiting=waiting or 0,
            ended=self._tally.ended(),
        )

    def ready(self) -> bool:
        """Whether the database can be used."""
        return self._database_check() == "ok"

    def health(self) -> Health:
        """Looks at the database, the worker and the store."""
        return Health(
            checks={
                "database": self._database_check(),
                "worker": self._worker_check(),
                "store": self._store_check(),
            },
            fake=self._fake,
        )

    def _database_check(self) -> str:
        try:
            with self._database.read() as session:
                session.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            return f"not usable ({type(error).__name__})"
        return "ok"

    def _worker_check(self) -> str:
        found = self._backend.health()
        if not found.ok:
            return found.detail
        try:
            with self._database.read() as session:
                return last_told(session, self._offer.default.model) or "ok"
        except SQLAlchemyError:
            return "ok"  # the check of the database says what is wrong with that

    def _store_check(self) -> str:
        try:
            self._store.check()
        except StoreFailed as error:
            return str(error)
        return "ok"

    def _order(self, account: Account, form: Form, *, estimate: bool) -> Order:
        return read_order(
            form,
            self._offer,
            limits=self._limits,
            pictures=self._uploads.facts(account, form.values()),
            seed=draw_seed(),
            estimate=estimate,
            private_webhooks=self._private_webhooks,
        )

    def _price(self, order: Order) -> Price:
        return self._prices.price(
            mode=order.mode.mode,
            resolution=order.resolution.id,
            seconds=order.form["duration"],
            options=(*order.options, *_unsaid_options(order.form)),
            steps=order.form.get("num_inference_steps"),
            usual_steps=order.mode.steps,
        )


def _unsaid_options(form: Form) -> tuple[str, ...]:
    """What costs more because a form turns it off."""
    return ("single_pass",) if form.get("spatial_upscaler") is False else ()


def _is_row(text: str) -> bool:
    """Whether a text could be the number of a row."""
    return text.isascii() and text.isdigit() and len(text) < 11 and int(text) < 2**31


def _entry(row: LedgerRow) -> LedgerEntry:
    return LedgerEntry(
        id=row.id,
        kind=row.kind,  # pyright: ignore[reportArgumentType]
        amount=row.amount,
        held_delta=row.held_delta,
        generation_id=row.generation_id,
        price_version=row.price_version,
        note=row.note,
        created_at=row.created_at,
    )
