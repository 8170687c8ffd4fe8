"""What was typed outlives a reload and a look at another page, until a video is asked for."""

import re

import pytest
from playwright.sync_api import expect

from gateway.desk import Account
from tests.gateway.studio.sample_desk import KEY
from tests.gateway.studio.sample_videos import Clip, jpeg
from tests.gateway.studio.test_browser_create import go, pick

FORM = re.compile(r"//[^/]+/$")  # the address that a video is asked for at


def prompt(page):
    return page.get_by_label("Prompt", exact=True)


def written(page):
    """Fill in a field of each kind."""
    prompt(page).fill("A kite\nover dunes.")
    pick(page, "mode", "pro")
    pick(page, "duration", "8")
    page.get_by_role("switch", name="Detailer").check()
    page.get_by_role("switch", name="Sound").uncheck()
    page.locator("#f-seed").fill("7")
    page.get_by_text("More settings").click()
    page.get_by_label("Avoid").fill("blur")
    expect(go(page)).to_have_text("Generate · 48 credits")


def shown(page):
    expect(prompt(page)).to_have_value("A kite\nover dunes.")
    expect(page.locator('input[name="mode"][value="pro"]')).to_be_checked()
    expect(page.locator('input[name="duration"][value="8"]')).to_be_checked()
    expect(page.get_by_role("switch", name="Detailer")).to_be_checked()
    expect(page.get_by_role("switch", name="Sound")).not_to_be_checked()
    expect(page.locator("#f-seed")).to_have_value("7")
    expect(page.get_by_role("button", name="Keep this seed")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.get_by_label("Avoid")).to_have_value("blur")
    expect(go(page)).to_have_text("Generate · 48 credits")


def test_a_reload_and_a_look_at_the_library_leave_the_form_as_it_was(visit):
    page = visit()
    written(page)
    page.reload()
    shown(page)
    page.get_by_role("link", name="Library").click()
    expect(page.get_by_role("heading", name="Library")).to_be_visible()
    page.get_by_role("link", name="ltx2 studio, create").click()
    shown(page)


def test_a_picture_that_was_sent_is_there_again(visit, desk, tmp_path):
    path = tmp_path / "tall.jpg"
    path.write_bytes(jpeg(Clip(13, 90, 160, 1, 24)))
    page = visit()
    page.locator("#f-image").set_input_files(path)
    expect(page.locator("#makes")).to_contain_text("704 × 1280")
    page.reload()
    picture = page.get_by_role("img", name="First frame")
    expect(picture).to_be_visible()
    expect(picture).to_have_js_property("naturalWidth", 90)
    expect(page.locator("#makes")).to_contain_text("704 × 1280")
    page.get_by_role("button", name="Remove the first frame").click()
    page.reload()
    expect(page.locator("#makes")).to_contain_text("1280 × 704")
    expect(picture).to_be_hidden()


def test_what_was_asked_for_is_no_draft_any_more(visit, desk):
    page = visit()
    written(page)
    go(page).click()
    expect(page.locator("#stage-title")).to_have_text("A kite over dunes.")
    page.reload()
    expect(prompt(page)).to_have_value("")
    expect(go(page)).to_have_text("Generate · 10 credits")
    assert len(desk.jobs) == 1


def test_what_was_refused_stays(visit, desk):
    page = visit()
    written(page)
    desk.enter("adjustment", -499, 0, None)
    go(page).click()
    expect(page.locator("#summary")).to_be_focused()
    page.reload()
    expect(prompt(page)).to_have_value("A kite\nover dunes.")


@pytest.mark.parametrize("how", ["", "&vary=true"])
def test_settings_that_are_used_again_come_before_a_draft(visit, past, how):
    page = visit()
    written(page)
    page.goto(f"/?from={past.jobs[3].id}{how}")
    expect(prompt(page)).to_have_value("Moonlight on a calm sea, a far ship's horn, slow swell.")
    prompt(page).fill("Moonlight on a storm.")
    page.reload()  # and what is changed of them outlives that as well
    expect(prompt(page)).to_have_value("Moonlight on a storm.")
    expect(page.locator('input[name="aspect_ratio"][value="9:16"]')).to_be_checked()


def test_another_tab_has_a_form_of_its_own(visit):
    page = visit()
    written(page)
    page.reload()
    other = page.context.new_page()
    other.goto("/")
    expect(prompt(other)).to_have_value("")


def sign_in(page, key):
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#composer")).to_be_visible()


def login_ends(page, desk):
    """By itself, and the page is opened again; from a page that asks for no prices meanwhile."""
    page.goto("/library")
    desk.sessions.clear()
    page.goto("/")


def login_ends_at(page, desk, address, sent=""):
    """With the first form that goes there and says what is `sent`; what is added to then."""
    ends = []

    def meanwhile(route):
        if not ends and sent in (route.request.post_data or "") and route.request.method == "POST":
            ends.append(address)
            desk.sessions.clear()
        route.fallback()

    page.route(address, meanwhile)
    return ends


def test_who_signs_out_leaves_no_draft(visit):
    page = visit()
    written(page)
    page.reload()  # which keeps it
    page.get_by_label("Account and theme").click()
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, KEY)
    expect(prompt(page)).to_have_value("")
    expect(go(page)).to_have_text("Generate · 10 credits")


def test_who_signs_in_next_gets_no_draft_of_another(visit, desk):
    desk.accounts["another-key"] = Account(id="acc_another", name="Another")
    page = visit()
    written(page)
    for key, words in (("another-key", ""), (KEY, "A kite\nover dunes.")):
        login_ends(page, desk)
        sign_in(page, key)
        expect(prompt(page)).to_have_value(words)


def test_what_is_written_while_a_video_is_asked_for_is_kept(visit, desk):
    page = visit()
    written(page)

    def meanwhile(route):
        if route.request.method == "POST":
            prompt(page).fill("A kite over the sea.")
        route.fallback()

    page.route(FORM, meanwhile)
    go(page).click()
    expect(page.locator("#stage-title")).to_have_text("A kite over dunes.")
    page.reload()
    expect(prompt(page)).to_have_value("A kite over the sea.")
    assert len(desk.jobs) == 1


@pytest.mark.parametrize("path", ["/", "/?example=0"])
def test_a_studio_that_was_started_again_says_that_nothing_was_sent(at_home, desk, path):
    page = at_home(path)
    prompt(page).fill("A kite over dunes.")
    login_ends_at(page, desk, FORM)
    page.locator("#go").click()
    told = page.locator("#summary")
    expect(told).to_contain_text(
        "The studio was started again; nothing was sent. Press Generate again."
    )
    expect(told).to_be_focused()
    expect(prompt(page)).to_have_value("A kite over dunes.")
    assert desk.jobs == []
    page.reload()
    expect(prompt(page)).to_have_value("A kite over dunes.")
    expect(told).to_be_hidden()  # said once
    page.locator("#go").click()
    expect(page.locator("#stage-title")).to_have_text("A kite over dunes.")
    assert len(desk.jobs) == 1


def test_a_login_that_ended_says_that_nothing_was_sent_to_its_own_account(visit, desk):
    desk.accounts["another-key"] = Account(id="acc_another", name="Another")
    page = visit()
    written(page)
    login_ends_at(page, desk, FORM)
    go(page).click()
    sign_in(page, "another-key")
    told = page.locator("#summary")
    expect(told).to_be_hidden()
    login_ends(page, desk)
    sign_in(page, KEY)
    expect(told).to_contain_text("Your sign-in had ended; nothing was sent. Press Generate again.")
    shown(page)
    assert desk.jobs == []


def test_a_price_that_leads_to_another_login_says_nothing(at_home, desk):
    page = at_home()
    prompt(page).fill("A kite over dunes.")
    ends = login_ends_at(page, desk, "**/studio/quote", 'name="duration"\r\n\r\n8\r\n')
    with page.expect_navigation():
        page.locator('label:has(input[name="duration"][value="8"])').click()
    expect(page.locator("#makes")).to_have_text("1280 × 704 · 8.0 s · 24 fps")
    expect(page.locator("#summary")).to_be_hidden()
    assert ends
