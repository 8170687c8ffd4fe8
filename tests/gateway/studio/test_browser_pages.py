"""Every page at three widths and in both themes: it fits, can be hit, and axe finds nothing."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.gateway.studio.sample_timeline import WAIT, WORK
from tests.gateway.studio.sample_videos import Clip, jpeg
from tests.gateway.studio.until import until

WIDTHS = (320, 768, 1280)
RULES = {
    "runOnly": [
        *("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"),
    ]
}
TARGET = 44  # pixels, of everything that is pressed


@pytest.fixture
def addresses(past, clock):
    """A page of each kind: an address, or one with the state that its name says."""
    past.create(past.account, {"prompt": "A kite over dunes.", "duration": 2})
    past.create(past.account, {"prompt": "Another kite, queued."})
    clock.advance(0.6 + WAIT + WORK * 0.4)
    done, failed, running = past.jobs[-3].id, past.jobs[2].id, past.jobs[-2].id
    return {
        "create": "/",
        "again": f"/?from={past.jobs[1].id}",
        "library": "/library",
        "empty library": "/library?show=cancelled",
        "credits": "/credits",
        "running": f"/g/{running}",
        "done": f"/g/{done}",
        "failed": f"/g/{failed}",
        "delete": f"/g/{done}/delete",
        "missing": "/g/gen_none",
    }


def unfold(page):
    """Open everything that can be opened, but the menu, which would lie over the rest."""
    page.evaluate(
        "document.querySelectorAll('details:not(.menu)').forEach(each => { each.open = true; })"
    )


@pytest.mark.parametrize(
    ("width", "theme", "names"),
    [
        (1280, "light", None),  # every page; else those that differ most
        (768, "dark", ("again", "library", "running", "done")),
        (320, "light", ("create", "credits", "running", "failed")),
        (320, "dark", None),
    ],
)
def test_axe_finds_nothing(visit, addresses, width, theme, names):
    page = visit(width=width, color_scheme=theme, reduced_motion="reduce")
    for name in names or addresses:
        page.goto(addresses[name])
        unfold(page)
        assert violations(page) == [], name


def violations(page):
    """What axe finds, with the first places of each."""
    # From the top: a button that is half scrolled away is too small in axe's eyes.
    page.evaluate("scrollTo(0, 0)")
    found = Axe().run(page, options=RULES).response["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found]


@pytest.mark.parametrize(("width", "theme"), [(320, "dark"), (1280, "light")])
def test_axe_finds_nothing_in_what_opens_and_what_is_refused(visit, width, theme):
    page = visit(width=width, color_scheme=theme, reduced_motion="reduce")
    page.locator("details.menu > summary").first.click()
    expect(page.locator("details.menu[open]")).to_have_count(1)
    assert violations(page) == [], "the menu"
    page.keyboard.press("Escape")
    page.locator("#go").click()
    expect(page.locator("#summary")).to_be_focused()
    unfold(page)
    assert violations(page) == [], "a form with errors"


@pytest.mark.parametrize(("width", "theme"), [(320, "dark"), (768, "light"), (1280, "dark")])
def test_axe_finds_nothing_while_one_works(visit, desk, clock, tmp_path, width, theme):
    page = visit(width=width, color_scheme=theme, reduced_motion="reduce")
    picture = tmp_path / "tall.jpg"
    picture.write_bytes(jpeg(Clip(13, 90, 160, 1, 24)))
    page.locator("#f-image").set_input_files(picture)
    expect(page.get_by_role("img", name="First frame")).to_be_visible()
    page.get_by_label("Prompt", exact=True).fill("A kite.")
    page.get_by_role("button", name="Enhance").click()
    expect(page.get_by_label("A richer prompt")).to_be_focused()
    assert violations(page) == [], "a richer prompt is shown"
    page.get_by_role("button", name="Use this").click()
    page.locator('label:has(input[value="20"])').click()
    page.locator('label:has(input[value="1080p"])').click()
    expect(page.locator("#snap")).to_be_visible()
    assert violations(page) == [], "it was taken, and the length was moved"
    page.locator("#go").click()
    expect(page.locator("#stage-title")).to_be_focused()
    clock.advance(2)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("[data-headline]")).to_have_text("Stopping…")
    assert violations(page) == [], "it is being cancelled"
    clock.advance(3)
    expect(page.locator("#stage")).to_contain_text("credits were returned")
    desk.enter("adjustment", -499, 0, None)
    page.locator("#go").click()
    expect(page.locator("#summary")).to_be_focused()
    assert violations(page) == [], "the credits do not suffice"


@pytest.mark.parametrize(("width", "theme"), [(320, "dark"), (768, "light")])
def test_axe_finds_nothing_on_the_way_in(strangers, width, theme):
    page = strangers("/sign-in", width=width, color_scheme=theme, reduced_motion="reduce")
    assert violations(page) == [], "signing in"
    page.get_by_label(re.compile("key", re.IGNORECASE)).fill("ltx2_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("That key is not known")).to_be_visible()
    assert violations(page) == [], "a wrong key"


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window_and_all_can_be_hit(visit, addresses, width):
    page = visit(width=width)
    for name, address in addresses.items():
        page.goto(address)
        unfold(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate(TOO_SMALL, TARGET) == [], name


def test_a_large_balance_fits_on_a_phone(visit, past):
    past.enter("grant", 10**9, 0, None)
    page = visit(width=320)
    expect(page.locator("#available")).to_have_text("1B")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_star_of_a_card_is_there_for_who_comes_with_the_keyboard(visit, past):
    page = visit("/library")
    star = page.locator(".card .star").first
    expect(star).to_have_css("opacity", "0")
    star.focus()
    expect(star).to_have_css("opacity", "1")
    page.keyboard.press("Enter")
    expect(star).to_have_attribute("aria-pressed", "true")


# What is pressed and is smaller than a finger, but links inside of sentences.
TOO_SMALL = """(least) => {
    const small = [];
    const pressed = "a, button, summary, label:not(.legend), input, textarea";
    for (const each of document.querySelectorAll(pressed)) {
        if (each.closest("p, td, h2, .alert, .skip, .unseen")) continue;
        if (each.matches("[type=hidden], [type=radio], [type=checkbox]")) continue;
        if (!each.checkVisibility()) continue;
        const {width, height} = each.getBoundingClientRect();
        if (Math.round(width) >= least && Math.round(height) >= least) continue;
        small.push(`${each.outerHTML.slice(0, 90)} ${width} × ${height}`);
    }
    return small;
}"""


@pytest.mark.parametrize("width", WIDTHS)
def test_what_has_the_focus_is_in_sight(visit, width):
    """The button that stays at the bottom must not cover what the tab key reaches."""
    page = visit(width=width, height=700)
    page.get_by_label("Prompt", exact=True).focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        hidden = page.evaluate(
            """() => {
                const it = document.activeElement;
                if (it.closest(".order, .top, .skip") || it === document.body) return null;
                const face = it.closest("label") ?? it;
                const box = face.getBoundingClientRect();
                const order = document.getElementById("order").getBoundingClientRect();
                const covered = box.left < order.right && box.top >= order.top;
                const out = box.top >= innerHeight || box.bottom <= 60;
                const hidden = out || (covered && box.bottom <= order.bottom);
                return hidden ? it.outerHTML.slice(0, 120) : null;
            }"""
        )
        assert hidden is None


def test_who_wants_little_motion_gets_none(visit):
    page = visit(reduced_motion="reduce")
    page.locator('label:has(input[value="dolly_in"])').hover()
    assert page.evaluate("document.getAnimations().length") == 0


def test_a_camera_move_is_shown_while_one_looks_at_it(visit):
    page = visit(reduced_motion="no-preference")
    page.locator('label:has(input[value="dolly_in"])').hover()
    assert until(page, "document.getAnimations().some(each => each.animationName === 'near-in')")


def test_without_script_a_prompt_becomes_a_video(visit, desk, clock):
    page = visit(java_script_enabled=False)
    expect(page.get_by_role("button", name="Update the price")).to_be_visible()
    expect(page.get_by_role("button", name="Draw a seed")).to_be_hidden()
    page.get_by_label("Prompt", exact=True).fill("A kite.")
    page.locator('label:has(input[name="duration"][value="2"])').click()
    page.get_by_role("button", name="Update the price").click()
    button = page.get_by_role("button", name="Generate · 4 credits")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("A kite.")
    button.click()
    expect(page.get_by_role("heading", name="A kite.").first).to_be_visible()
    clock.advance(0.6 + WAIT + WORK)
    page.reload()
    expect(page.locator("video")).to_be_visible()
    assert len(desk.jobs) == 1


def test_without_script_the_focus_goes_to_what_is_wrong(visit):
    page = visit(java_script_enabled=False)
    page.get_by_role("button", name="Generate · 10 credits").click()
    expect(page.locator("#summary")).to_be_focused()


def test_the_first_visit_has_a_stage_of_its_own(visit):
    page = visit()
    expect(page.get_by_role("heading", name="Your first video plays here")).to_be_visible()
    found = Axe().run(page, options=RULES).response["violations"]
    assert [each["id"] for each in found] == []
