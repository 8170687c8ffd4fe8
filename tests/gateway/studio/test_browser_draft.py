"""What was typed outlives a reload and a look at another page, until a video is asked for."""

import pytest
from playwright.sync_api import expect

from tests.gateway.studio.sample_videos import Clip, jpeg
from tests.gateway.studio.test_browser_create import go, pick


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
