"""Running videos in a real browser: progress, reload, cancel, and a file that plays."""

import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from tests.gateway.studio.sample_timeline import WAIT, WORK
from tests.gateway.studio.until import until

SHORT = {"resolution": "540p", "duration": 2}


@pytest.fixture
def job(desk, clock):
    """A video of which 40 % is done."""
    made = desk.create(desk.account, {"prompt": "A kite over dunes.", **SHORT})
    clock.advance(0.6 + WAIT + WORK * 0.4)
    return made


def test_progress_is_shown_and_survives_a_reload_and_a_second_tab(visit, clock, job):
    page = visit()
    bar = page.get_by_role("progressbar", name="Progress")
    expect(bar).to_have_attribute("value", "40")
    expect(page.locator("[data-headline]")).to_have_text(re.compile(r"Generating \d/8"))
    clock.advance(WORK * 0.25)
    expect(bar).to_have_attribute("value", "65")
    expect(page.locator("[data-headline]")).to_have_text(re.compile(r"Refining \d/3"))
    expect(page).to_have_title(re.compile("^65% · Refining"))
    page.reload()
    expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("value", "65")
    other = visit(f"/g/{job.id}")
    expect(other.get_by_role("progressbar", name="Progress")).to_have_attribute("value", "65")
    clock.advance(WORK)
    for each in (page, other):
        expect(each.locator("#stage video")).to_be_visible()
        expect(each).to_have_title("Done · ltx2 studio")
        expect(each.get_by_role("progressbar")).to_have_count(0)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_where_the_form_is_first_a_line_above_it_says_what_runs(visit, clock, job, width):
    page = visit(width=width, height=700)
    page.reload()
    line, stage = page.locator("#now"), page.locator("#stage .monitor")
    expect(line).to_be_in_viewport(ratio=1)
    expect(line).to_have_text(re.compile(r"Generating \d/8 · 40%\s*A kite over dunes\."))
    clock.advance(WORK * 0.25)
    expect(line).to_contain_text("Refining 1/3 · 65%")
    expect(stage).not_to_be_in_viewport()
    line.click()
    expect(stage).to_be_in_viewport(ratio=0.9)
    page.evaluate("scrollTo(0, 0)")
    clock.advance(WORK)
    expect(line).to_have_text(re.compile(r"Done\s*A kite over dunes\."))
    line.click()
    expect(page.locator("#stage video")).to_be_in_viewport(ratio=0.9)
    page.reload()
    expect(page.locator("#stage video")).to_be_attached()
    expect(line).to_have_count(0)


def test_beside_the_stage_there_is_no_such_line(visit, job):
    page = visit()
    expect(page.locator("#stage .monitor")).to_be_in_viewport(ratio=0.9)
    expect(page.locator("#now")).to_be_hidden()


def test_milestones_are_announced_and_percents_are_not(visit, clock, job):
    page = visit(f"/g/{job.id}")
    announcer = page.locator("#announcer")
    expect(announcer).to_have_text("Generating")
    page.evaluate(
        """() => {
            window.heard = [];
            new MutationObserver(() => {
                const said = document.getElementById("announcer").textContent;
                if (said) window.heard.push(said);
            }).observe(document.getElementById("announcer"), {childList: true});
        }"""
    )
    clock.advance(WORK * 0.1)
    expect(page.locator("[data-progress]")).to_have_attribute("value", "50")
    assert page.evaluate("window.heard") == []
    clock.advance(WORK * 0.15)
    expect(announcer).to_have_text("Refining")
    clock.advance(WORK)
    expect(announcer).to_have_text("Done")
    assert page.evaluate("window.heard") == ["Refining", "Done"]


def test_the_file_plays(visit, clock, job):
    clock.advance(WORK)
    page = visit(f"/g/{job.id}")
    video = page.locator("#stage video")
    assert until(page, "document.querySelector('#stage video').readyState >= 1")
    facts = video.evaluate("v => [v.videoWidth, v.videoHeight, Math.round(v.duration)]")
    assert facts == [1024, 576, 2]
    assert video.evaluate("v => [v.controls, v.loop, v.playsInline, v.autoplay]") == [
        True,
        True,
        True,
        False,
    ]
    video.evaluate("v => { v.muted = true; return v.play(); }")
    assert until(page, "document.querySelector('#stage video').currentTime > 0.3")
    for fact in ("1024 × 576", "49 at 24 fps", "2.042 s"):
        expect(page.locator(".facts")).to_contain_text(fact)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"ltx2-{job.id}.mp4"


def test_cancel_from_the_queue_and_on_the_stage(visit, desk, clock, job):
    desk.create(desk.account, {"prompt": "Another kite.", **SHORT})
    page = visit()
    expect(page.locator("#available")).to_have_text("496")
    page.get_by_role("button", name="Cancel: Another kite.").click()
    expect(page.get_by_role("heading", name="Next up")).to_have_count(0)
    expect(page.locator("#available")).to_have_text("498")
    expect(page.locator("#after")).to_have_text("488 credits left afterwards")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("[data-headline]")).to_have_text("Stopping…")
    expect(page.locator("[data-cancel-note]")).to_have_text("")
    expect(page.locator("[data-detail]")).to_have_text(
        "Your 2 credits come back unless the video finishes first."
    )
    clock.advance(2)
    expect(page.locator("#stage")).to_contain_text("Your 2 credits were returned.")
    expect(page.locator("#available")).to_have_text("500")


def test_a_new_video_takes_the_stage_and_the_old_one_goes_on_in_the_queue(visit, clock, job):
    page = visit()
    page.get_by_label("Prompt", exact=True).fill("A red boat.")
    page.get_by_role("button", name=re.compile("Generate · ")).click()
    expect(page.locator("#stage-title")).to_have_text("A red boat.")
    queue = page.locator(".queue li")
    expect(queue).to_contain_text("A kite over dunes.")
    clock.advance(WORK)
    expect(page.locator(".queue")).to_have_count(0)
    expect(page.locator(".recent")).to_contain_text("A kite over dunes.")
    expect(page.locator("#stage-title")).to_have_text("A red boat.")


def test_a_studio_that_is_away_for_a_while_is_waited_for(visit, clock, job):
    page = visit()
    page.route("**/studio/jobs?*", lambda route: route.abort())
    expect(page.locator("[data-timing]")).to_have_text("Reconnecting…")
    page.unroute("**/studio/jobs?*")
    clock.advance(WORK)
    expect(page.locator("#stage video")).to_be_visible()


def test_a_studio_that_has_ended_is_told_of_and_the_page_goes_on_when_it_is_back(visit, clock, job):
    page = visit()
    told = page.locator("#away")
    expect(page.locator("[data-headline]")).to_have_text(re.compile("Generating"))
    expect(told).to_be_hidden()
    page.route("**/studio/*", lambda route: route.abort())
    expect(page.locator("[data-timing]")).to_have_text("Reconnecting…")
    expect(told).to_be_hidden()  # a slip of the line is nothing to tell
    expect(told).to_be_in_viewport()
    expect(page.locator("#announcer")).to_contain_text("The studio does not answer.")
    page.unroute("**/studio/*")
    clock.advance(WORK)
    expect(page.locator("#stage video")).to_be_visible()
    expect(told).to_be_hidden()


def test_where_nothing_runs_a_call_that_fails_is_told_of_and_made_again(visit):
    page = visit()
    expect(page.locator("#go-label")).to_have_text("Generate · 10 credits")
    page.route("**/studio/*", lambda route: route.abort())
    page.locator('label:has(input[name="duration"][value="8"])').click()
    expect(page.locator("#away")).to_be_visible()
    page.unroute("**/studio/*")
    expect(page.locator("#go-label")).to_have_text("Generate · 16 credits")
    expect(page.locator("#away")).to_be_hidden()


def started_again(desk):
    """As if the studio had been: its visitor has another login."""
    for token, session in desk.sessions.items():
        desk.sessions[token] = replace(session, csrf="another")


def test_a_studio_that_was_started_again_takes_what_its_pages_send(at_home, desk, clock, job):
    page = at_home()
    expect(page.locator("[data-headline]")).to_have_text(re.compile("Generating"))
    started_again(desk)
    clock.advance(WORK)
    expect(page.locator("#stage video")).to_be_visible()
    page.locator("#stage").get_by_role("button", name="Favourite").click()
    expect(page.locator("#stage .star")).to_have_attribute("aria-pressed", "true")


def test_settings_that_changed_while_the_studio_was_started_again_are_priced(at_home, desk, job):
    page = at_home()
    expect(page.locator("#makes")).to_have_text("1280 × 704 · 5.0 s · 24 fps")
    page.route("**/studio/*", lambda route: route.abort())
    page.locator('label:has(input[name="duration"][value="8"])').click()
    expect(page.locator("[data-timing]")).to_have_text("Reconnecting…")
    started_again(desk)
    page.unroute("**/studio/*")
    expect(page.locator("#makes")).to_have_text("1280 × 704 · 8.0 s · 24 fps")


def test_a_page_from_before_a_sign_in_sends_nothing_however_long_it_looks(visit, desk, clock, job):
    page = visit()
    expect(page.locator("[data-headline]")).to_have_text(re.compile("Generating"))
    started_again(desk)
    clock.advance(WORK)
    expect(page.locator("#stage video")).to_be_visible()
    page.locator("#stage").get_by_role("button", name="Favourite").click()
    expect(page.locator("#announcer")).to_contain_text("This page is from before your last sign-in")
    assert not desk.jobs[0].favourite


def test_a_look_that_breaks_the_page_is_not_the_last_one(visit, clock, job):
    page = visit()
    broken = [{"jobs": None}, {"jobs": [{"id": job.id, "live": True}]}]

    def answered(route):
        route.fulfill(json=broken.pop(0)) if broken else route.fallback()

    page.evaluate("addEventListener('unhandledrejection', (event) => event.preventDefault())")
    page.route("**/studio/jobs?*", answered)
    expect(page.locator("[data-progress]")).to_have_attribute("value", "40")
    clock.advance(WORK)
    expect(page.locator("#stage video")).to_be_visible()
    assert broken == []


def test_favourites_and_vary_in_place(visit, desk, clock, job):
    clock.advance(WORK)
    page = visit()
    star = page.locator("#stage").get_by_role("button", name="Favourite")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    assert desk.jobs[0].favourite
    page.get_by_role("button", name="Vary · 2 credits").click()
    expect(page.locator("#stage").get_by_role("progressbar")).to_be_visible()
    assert len(desk.jobs) == 2


def test_vary_at_another_price_leads_to_the_form(visit, desk, clock, job):
    clock.advance(WORK)
    page = visit(f"/g/{job.id}")
    page.locator("[data-vary] [name=quoted]").evaluate("each => { each.value = '1'; }")
    page.get_by_role("button", name="Vary · 2 credits").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("A kite over dunes.")
    assert len(desk.jobs) == 1


def test_what_cannot_be_done_is_said_to_everyone(visit, desk, clock, job):
    clock.advance(WORK)
    page = visit(f"/g/{job.id}")
    desk.enter("adjustment", -497, 0, None)
    page.get_by_role("button", name="Vary · 2 credits").click()
    announcer = page.locator("#announcer")
    expect(announcer).to_contain_text("Insufficient funds")
    expect(announcer).to_be_in_viewport()
    assert announcer.bounding_box()["height"] > 30


def test_a_running_video_of_the_library_is_renewed_when_it_ends(visit, clock, job):
    page = visit("/library")
    card = page.get_by_role("article")
    expect(card).to_contain_text("40%")
    clock.advance(WORK)
    expect(card.locator("img")).to_have_attribute("src", re.compile("variant=thumbnail"))


def test_code_is_copied(visit, clock, job):
    clock.advance(WORK)
    page = visit(f"/g/{job.id}", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_text("Copy as code").click()
    page.get_by_role("button", name="Copy cURL").click()
    expect(page.locator("#announcer")).to_have_text("Copied.")
    assert "curl" in page.evaluate("navigator.clipboard.readText()")


def test_who_asked_to_be_told_is_told(visit, clock, job):
    page = visit(f"/g/{job.id}", permissions=["notifications"])
    page.evaluate(
        """() => {
            window.told = [];
            window.Notification = class {
                static permission = "granted";
                constructor(title, options) { window.told.push([title, options.tag]); }
            };
            Object.defineProperty(document, "hidden", {value: true, configurable: true});
        }"""
    )
    clock.advance(WORK)
    assert until(page, "window.told.length === 1")
    assert page.evaluate("window.told[0]") == ["ltx2 studio: Done", job.id]
