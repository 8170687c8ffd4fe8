"""A whole gateway as an app, over a scripted RunPod and a clock that a test moves.

Its loops do not run: a test takes their turns, so that it knows what has happened.
"""

from starlette.testclient import TestClient

from gateway import cookies, ledger
from gateway.app import create_app
from gateway.backends.runpod import RunPod
from gateway.parts import Parts
from gateway.stores.folder import FolderStore
from gateway.webhooks.outgoing.kept_secrets import KeptSecrets
from ltx2.extent import Limits
from ltx2.gateway_settings import GatewaySettings
from tests.gateway.fake_runpod import FakeRunPod
from tests.gateway.house import CREDITS, PUBLIC, FakeClock

FORM = {"prompt": "a heron lifts off a misty lake", "seed": 42}
COST = 10  # credits of that form: 720p fast, 5 s


class Site:
    """The app, one account with credits, and a client that has its key."""

    def __init__(self, folder, *, clock=None, automatic=None, **settings):
        self.runpod = FakeRunPod(automatic=automatic)
        self.clock = clock or FakeClock()
        try:
            self._open(folder, settings)
        except BaseException:
            self.runpod.close()
            raise

    def _open(self, folder, settings):
        given = {"modes": "all", "public_url": PUBLIC, "queue": 5, "private_webhooks": True}
        local_account, hook_url, keeper = (
            settings.pop(name, None) for name in ("local_account", "hook_url", "keeper")
        )
        parts = Parts(
            settings=GatewaySettings(folder=folder, **{**given, **settings}),
            backend=lambda: RunPod(self.runpod.url, self.runpod.key, timeout=5.0),
            store=lambda: keeper or FolderStore(folder / "store"),
            clock=self.clock,
            limits=Limits(),
            hook_url=hook_url,
            fake=True,
        )
        self.app = create_app(parts, local_account=local_account)
        self.core = self.app.state.core
        self.account, self.key = self.newcomer("Ada")
        self.client = self.browser(authorization=f"Bearer {self.key}")

    def newcomer(self, name, credits=CREDITS):
        """Another account, and its key."""
        account = self.core.accounts.create(name)
        if credits:
            self.core.accounts.grant(account.id, credits, "welcome")
        return account, self.core.accounts.new_key(account.id, "test").key

    def browser(self, **headers):
        """A client without a past; what goes wrong inside is an answer, as it is outside."""
        return TestClient(
            self.app,
            base_url="https://gateway.example",
            headers=headers,
            raise_server_exceptions=False,
            follow_redirects=False,
        )

    def close(self):
        self.core.close()
        self.runpod.close()

    def create(self, **form):
        """A generation, as the API answers it."""
        answer = self.client.post("/api/generations", json={**FORM, **form})
        assert answer.status_code == 202, answer.text
        return answer.json()

    def turn(self, seconds=0.0):
        """Move the clock and let both loops take a turn."""
        self.clock.move(seconds)
        self.core.submitter.turn()
        self.core.reconciler.turn()
        with self.core.database.read() as session:
            assert ledger.faults(session) == []

    def started(self, **form):
        """A generation that RunPod has taken, and its job."""
        made = self.create(**form)
        self.turn()
        return made["id"], self.runpod.job(made["id"])

    def finished(self, **form):
        """A generation that is done."""
        name, job = self.started(**form)
        self.runpod.complete(job)
        self.turn(90)
        assert self.see(name)["status"] == "completed"
        return name

    def see(self, name):
        """A generation, as the API answers it."""
        return self.client.get(f"/api/generations/{name}").json()

    def secret(self):
        """What the account's webhooks are signed with."""
        return KeptSecrets(self.core.database).of(self.account)[0]

    def balance(self):
        """Available and held credits, as the API answers them."""
        found = self.client.get("/api/credits").json()
        return found["available"], found["held"]


class Visitor:
    """A browser that is signed in at a site, and its session's token against forged forms."""

    def __init__(self, site):
        session = site.core.accounts.login(site.key)
        self.csrf = session.csrf
        self.browser = site.browser()
        self.browser.cookies.set(cookies.login_name(secure=True), session.token)


def refused(answer, status, kind):
    """The error of an envelope, whose form is the same for all."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["request_id"] == answer.headers["x-request-id"]
    return body["error"]
