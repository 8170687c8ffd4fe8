"""The whole gateway in a real browser: its own loops, ledger and store, over a scripted RunPod."""

import re

import pytest
from playwright.sync_api import expect

from gateway import ledger
from gateway.clock import SystemClock
from tests.gateway.api.site import Site
from tests.gateway.fake_runpod import Film
from tests.gateway.studio.conftest import visitor_of
from tests.gateway.studio.sample_videos import Clip, mp4
from tests.gateway.studio.until import until
from tests.worker.loopback import Reply

PLAYER = "document.querySelector('#stage video, #single video')"
PAINTED = Clip(13, 320, 192, 49, 24)


class Gateway(Site):
    """A site whose loops run by the time of day, and what its one visitor has to do with it."""

    def __init__(self, folder, database):
        super().__init__(
            folder,
            clock=SystemClock(),
            database=database,
            public_url=None,
            hook_url="https://gateway.example",  # where nobody hears RunPod
            poll_seconds=0.1,
            calls_per_minute=100_000,
        )
        film = (PAINTED.width, PAINTED.height, PAINTED.frames, PAINTED.fps)
        self.runpod.film = Film(mp4(PAINTED), *film)
        self.core.works.start()

    def made(self):
        """The generations there are."""
        return self.core.front.generations(self.account).items

    def kinds(self):
        """All that the ledger says after the welcome, in order."""
        with self.core.database.read() as session:
            assert ledger.faults(session) == []
        entries = self.core.front.credits(self.account, limit=100).entries
        return [each.kind for each in reversed(entries)][1:]

    def asked_to_run(self):
        """How often RunPod was."""
        return sum(call.path.endswith("/run") for call in self.runpod.calls)


@pytest.fixture
def gateway(served, database_url, tmp_path):
    made = Gateway(tmp_path, database_url)
    served[1].app = made.app
    yield made
    made.close()


@pytest.fixture
def opened(chromium, served, gateway):
    yield from visitor_of(chromium, served[0].url)


@pytest.fixture
def visit(opened, gateway):
    """Opens the studio as the account of the gateway."""

    def signed_in(**settings):
        page = opened("/sign-in", **settings)
        page.get_by_label("API key").fill(gateway.key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#composer")).to_be_visible()
        return page

    return signed_in


def ask(page, words="A heron lifts off a misty lake."):
    """Fill the form in; its button."""
    page.get_by_label("Prompt", exact=True).fill(words)
    button = page.get_by_role("button", name="Generate · 10 credits")
    expect(button).to_be_enabled()
    return button


def started(page, gateway):
    """The job of the video that was asked for, once RunPod has it."""
    expect(page.locator("[data-headline]")).to_have_text("Waiting for a GPU")
    (job,) = gateway.runpod.jobs
    return job


def plays(page):
    expect(page.locator("video")).to_be_visible()
    assert until(page, f"{PLAYER}.readyState >= 2")
    page.evaluate(f"{PLAYER}.muted = true; {PLAYER}.play()")
    assert until(page, f"{PLAYER}.currentTime > 0.3")
    return page.evaluate(f"[{PLAYER}.videoWidth, {PLAYER}.videoHeight]")


def test_a_reload_and_a_tab_that_was_closed_change_nothing_of_a_running_job(visit, gateway):
    page = visit()
    ask(page).click()
    job = started(page, gateway)
    bar = page.get_by_role("progressbar", name="Progress")
    gateway.runpod.run(job, percent=40)
    expect(bar).to_have_attribute("value", "40")
    page.reload()
    expect(bar).to_have_attribute("value", "40")
    gateway.runpod.run(job, seq=1, percent=65)
    expect(bar).to_have_attribute("value", "65")
    context = page.context
    page.close()
    gateway.runpod.run(job, seq=2, percent=80)
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("value", "80")
    gateway.runpod.complete(job)
    assert plays(page) == [PAINTED.width, PAINTED.height]
    expect(page.locator("#stage")).to_contain_text("10 credits paid")
    expect(page.locator("#available")).to_have_text("490")
    assert gateway.asked_to_run() == len(gateway.made()) == 1
    assert gateway.kinds() == ["hold", "capture"]
    assert gateway.balance() == (490, 0)


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_double_click_is_one_generation_one_hold_and_one_job(visit, gateway, script):
    page = visit(java_script_enabled=script)
    ask(page).dblclick()
    expect(page.get_by_role("heading", name="A heron lifts off").first).to_be_visible()
    if script:
        job = started(page, gateway)
    else:
        expect(page.get_by_text("Waiting for a GPU").first).to_be_visible()
        (job,) = gateway.runpod.jobs
    assert gateway.kinds() == ["hold"]
    gateway.runpod.complete(job)
    expect(page.locator("video")).to_be_visible()  # all loops have had their turns
    assert gateway.asked_to_run() == len(gateway.made()) == 1
    assert gateway.kinds() == ["hold", "capture"]


def test_a_cancel_in_time_says_that_the_credits_are_back_and_they_are(visit, gateway):
    page = visit()
    ask(page).click()
    job = started(page, gateway)
    expect(page.locator("#available")).to_have_text("490")
    gateway.runpod.run(job, percent=40)
    expect(page.locator("[data-progress]")).to_have_attribute("value", "40")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("#stage")).to_contain_text("Your 10 credits were returned.")
    expect(page.locator("#available")).to_have_text("500")
    assert (job.status, job.cancels) == ("CANCELLED", 1)
    assert gateway.kinds() == ["hold", "release"]
    assert gateway.balance() == (500, 0)


def test_a_cancel_that_comes_too_late_says_what_it_may_cost_and_it_costs_that(visit, gateway):
    gateway.runpod.obeys = False
    page = visit()
    ask(page).click()
    job = started(page, gateway)
    gateway.runpod.run(job, percent=95)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("[data-detail]")).to_have_text(
        "Your 10 credits come back unless the video finishes first."
    )
    gateway.runpod.complete(job)
    assert plays(page) == [PAINTED.width, PAINTED.height]
    expect(page.locator("#stage")).to_contain_text("10 credits paid")
    expect(page.locator("#available")).to_have_text("490")
    assert gateway.kinds() == ["hold", "capture"]


def test_a_webhook_that_nobody_heard_keeps_no_page_waiting(visit, gateway):
    page = visit()
    ask(page).click()
    job = started(page, gateway)
    assert job.webhook.startswith("https://gateway.example/webhooks/runpod/")
    gateway.runpod.fail(job, "CUDA out of memory")  # and no hint of it reaches the gateway
    expect(page.locator("#stage")).to_contain_text("Your 10 credits were returned.")
    expect(page.locator("#available")).to_have_text("500")
    assert gateway.kinds() == ["hold", "release"]
    page.get_by_role("button", name="Try again · 10 credits").click()
    expect(page.locator("[data-headline]")).to_have_text("Waiting for a GPU")
    gateway.runpod.complete(gateway.runpod.jobs[-1])
    assert plays(page) == [PAINTED.width, PAINTED.height]
    assert gateway.kinds() == ["hold", "release", "hold", "capture"]


def test_a_worker_that_does_not_answer_is_no_few_seconds_from_the_end(visit, gateway):
    page = visit()
    ask(page).click()
    job = started(page, gateway)
    gateway.runpod.run(job, percent=40)
    bar = page.get_by_role("progressbar", name="Progress")
    expect(bar).to_have_attribute("value", "40")
    gateway.runpod.faults += [Reply(drop=True)] * 500
    expect(page.locator("[data-headline]")).to_have_text("The worker does not answer")
    expect(page.locator("[data-detail]")).to_contain_text("Nothing is lost.")
    expect(page.locator("[data-timing]")).to_have_text(re.compile(r"^\d+:\d\d$"))
    gateway.runpod.faults.clear()
    gateway.runpod.run(job, seq=1, percent=65)
    expect(bar).to_have_attribute("value", "65")
    expect(page.locator("[data-headline]")).to_have_text(re.compile("^Generating"))
    gateway.runpod.complete(job)
    assert plays(page) == [PAINTED.width, PAINTED.height]


def test_without_script_forms_make_a_video_and_take_one_back(visit, gateway):
    page = visit(java_script_enabled=False)
    ask(page).click()
    expect(page).to_have_url(re.compile("/g/gen_"))
    expect(page.get_by_text("Waiting for a GPU").first).to_be_visible()  # it looks by itself
    gateway.runpod.complete(gateway.runpod.jobs[-1])
    expect(page.locator("video")).to_be_visible()
    source = page.locator("video source").get_attribute("src")
    assert page.request.get(source).body() == mp4(PAINTED)
    page.goto("/")
    ask(page, "Rain on a roof.").click()
    expect(page.get_by_text("Waiting for a GPU").first).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Your 10 credits were returned.")).to_be_visible()
    assert gateway.kinds() == ["hold", "capture", "hold", "release"]
    assert gateway.balance() == (490, 0)
