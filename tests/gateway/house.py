"""A whole gateway without its routes, over a scripted RunPod and a clock that a test moves."""

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway import ledger
from gateway.backends.runpod import RunPod
from gateway.core import Core, build
from gateway.desk import Account
from gateway.parts import Parts
from gateway.states import Generation
from gateway.stores import Store
from gateway.stores.folder import FolderStore
from gateway.tables import GenerationRow
from ltx2.extent import Limits
from ltx2.gateway_settings import GatewaySettings
from tests.gateway.fake_runpod import FakeRunPod, Job, clip, hint

CREDITS = 500
PUBLIC = "https://gateway.example"
FORM: Mapping[str, Any] = {"prompt": "a heron lifts off a misty lake", "seed": 42}
COST = 10  # credits of that form: 720p fast, 5 s


class FakeClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self._now = datetime(2026, 12, 2, 9, tzinfo=UTC)

    def now(self) -> datetime:
        return self._now

    def move(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class House:
    """One gateway, its RunPod and an account with credits. Every step ends with the doctor's look:
    at no point do credits and states disagree.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        store: Store | None = None,
        public: str | None = PUBLIC,
        runpod: FakeRunPod | None = None,
    ) -> None:
        self.runpod = runpod or FakeRunPod()
        self.clock = FakeClock()
        self.store = store or FolderStore(folder / "store")
        self.settings = GatewaySettings(
            folder=folder, database=url, modes="all", public_url=public, queue=5
        )
        self.core = self._build()
        known = self.core.accounts.all()
        self.account = known[0][0] if known else self.core.accounts.create("Ada")
        if not known:
            self.core.accounts.grant(self.account.id, CREDITS, "welcome")
        self.desk = self.core.front

    def _build(self) -> Core:
        parts = Parts(
            settings=self.settings,
            backend=lambda: RunPod(self.runpod.url, self.runpod.key, timeout=5.0),
            store=lambda: self.store,
            clock=self.clock,
            limits=Limits(),
        )
        return build(parts)

    def restart(self) -> None:
        """Another process on the same data: nothing of the old one's memory is left."""
        self.core.close()
        self.core = self._build()
        self.core.reconciler.check_all()
        self.desk = self.core.front

    def close(self) -> None:
        self.core.close()
        self.runpod.close()

    def create(self, *, key: str | None = None, **form: Any) -> Generation:
        self.clock.move(0.001)  # names of one millisecond have no order
        made = self.desk.create(self.account, {**FORM, **form}, key)
        self.check()
        return made

    def submit(self, **form: Any) -> tuple[str, Job]:
        """A generation that RunPod has taken."""
        made = self.create(**form)
        self.turn()
        return made.id, self.runpod.job(made.id)

    def turn(self, seconds: float = 0.0) -> None:
        """Move the clock and let both loops take a turn."""
        self.clock.move(seconds)
        self.core.submitter.turn()
        self.check()
        self.core.reconciler.turn()
        self.check()

    def later(self, seconds: float = 90.0) -> None:
        """Long enough for a look at everything, however long the pause had grown."""
        self.turn(seconds)

    def hint(self, job: Job, *, token: str | None = None, body: bytes | None = None) -> None:
        """RunPod's webhook for a job."""
        self.core.incoming.take(token or job.token, hint(job) if body is None else body)

    def keep(self, job: Job) -> None:
        """The worker's own upload of a job's video, whatever it then answers."""
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "video.mp4"
            video.write_bytes(clip())
            self.store.keep(job.generation_id, video, self.runpod.result(job))

    def see(self, generation_id: str, account: Account | None = None) -> Generation:
        return self.desk.generation(account or self.account, generation_id)

    def row(self, generation_id: str) -> GenerationRow:
        with self.core.database.read() as session:
            return session.get_one(GenerationRow, generation_id)

    def balance(self) -> tuple[int, int]:
        found = self.desk.credits(self.account)
        return found.available, found.held

    def kinds(self, generation_id: str) -> list[str]:
        """What the ledger says of a generation, in order."""
        entries = self.desk.credits(self.account, limit=100).entries
        return [each.kind for each in reversed(entries) if each.generation_id == generation_id]

    def check(self) -> None:
        """What `ltx2 gateway doctor` looks at."""
        with self.core.database.read() as session:
            assert ledger.faults(session) == []
