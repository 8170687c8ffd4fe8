"""The studio by keyboard alone, on a phone's, a tablet's and a desk's width: every control is
reached with the tab key, seen while it has the focus, and used.
"""

import re

import pytest
from playwright.sync_api import expect

from tests.gateway.studio.keyboard import Keyboard
from tests.gateway.studio.sample_desk import KEY
from tests.gateway.studio.sample_timeline import WAIT, WORK
from tests.gateway.studio.sample_videos import Clip, jpeg
from tests.gateway.studio.until import until

SIZES = {"phone": (320, 640), "tablet": (768, 1024), "desk": (1280, 800)}
ON_STAGE = "document.querySelector('#stage video')"


@pytest.fixture(params=SIZES)
def come(request, visit):
    """Opens a page on a window of one size, and gives it with its keyboard."""
    width, height = SIZES[request.param]

    def opened(path="/"):
        page = visit(path, width=width, height=height, reduced_motion="reduce")
        return page, Keyboard(page)

    return opened


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "wide.jpg"
    path.write_bytes(jpeg(Clip(13, 160, 90, 1, 24)))
    return path


@pytest.fixture
def running(past, clock):
    """A video of which 40 % is done, after some others and before another."""
    made = past.create(past.account, {"prompt": "A kite over dunes.", "duration": 2})
    past.create(past.account, {"prompt": "Another kite, queued."})
    clock.advance(0.6 + WAIT + WORK * 0.4)
    return made


def test_every_setting_is_made_and_a_video_asked_for_and_cancelled(come, desk, clock, picture):
    page, keys = come()
    page.on("filechooser", lambda _: None)  # from now on no dialog opens, but a test is told of it
    keys.tab()
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    keys.press("Enter")
    keys.tab()
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    keys.type("A kite over dunes.")
    with_a_richer_prompt(page, keys)
    with_pictures(page, keys, picture)
    keys.choose("mode", "pro")
    keys.choose("resolution", "540p")
    keys.choose("aspect_ratio", "1:1")
    keys.choose("duration", "3")
    keys.choose("camera_motion", "jib_up")
    for name in ("generate_audio", "spatial_upscaler", "temporal_upscaler", "detailer"):
        keys.use(f'input[name="{name}"]', "Space")
    with_a_seed(page, keys)
    keys.use("#advanced > summary")
    keys.choose("fps", "25")
    for name, words in (("negative_prompt", "blur"), ("num_inference_steps", "20"),
                        ("guidance_scale", "3.5")):  # fmt: skip
        keys.to(f"#f-{name}")
        keys.type(words)
    keys.to("#go")
    expect(page.locator("#go-label")).to_have_text("Generate · 19 credits")
    keys.press("Enter")
    expect(page.locator("#stage-title")).to_be_focused()
    asked = {name: value for name, value in desk.jobs[0].form.items() if value is not None}
    assert asked.pop("image").startswith("upload://")
    assert asked == {
        "prompt": "A kite over dunes.", "negative_prompt": "blur", "model": "ltx-2.3",
        "mode": "pro", "resolution": "540p", "aspect_ratio": "1:1", "duration": 3, "fps": 25,
        "seed": 7, "camera_motion": "jib_up", "generate_audio": False, "spatial_upscaler": False,
        "temporal_upscaler": True, "detailer": True, "enhance_prompt": False,
        "num_inference_steps": 20, "guidance_scale": 3.5,
    }  # fmt: skip
    clock.advance(1)
    keys.back("[data-cancel-button]")
    keys.press("Enter")
    expect(page.locator("[data-headline]")).to_have_text("Stopping…")
    clock.advance(2)
    expect(page.locator("#stage")).to_contain_text("credits were returned")
    expect(page.locator("#stage-title")).to_be_focused()


def with_a_richer_prompt(page, keys):
    """Refuse one, take one, and undo it."""
    prompt = page.get_by_label("Prompt", exact=True)
    for key, way in (("Enter", "#leave-enhanced"), ("Space", "#take-enhanced")):
        keys.to("#enhance")
        keys.press(key)
        expect(page.get_by_label("A richer prompt")).to_be_focused()
        keys.use(way, key)
        expect(prompt).to_be_focused()
    expect(prompt).to_have_value(re.compile("^A kite over dunes. The camera"))
    keys.use("#undo", "Space")
    expect(prompt).to_be_focused()
    expect(prompt).to_have_value("A kite over dunes.")


def with_pictures(page, keys, picture):
    """One at each end; the last one is taken away again."""
    for name, title, key in (("image", "First", "Enter"), ("last_image", "Last", "Space")):
        keys.to(f"#f-{name}")
        with page.expect_file_chooser() as chooser:
            keys.press(key)
        chooser.value.set_files(picture)
        expect(page.get_by_role("img", name=f"{title} frame")).to_be_visible()
        expect(page.locator(f'[name="remove"][value="{name}"]')).to_be_focused()
        expect(page.locator(f'[data-frame="{name}"]')).not_to_have_class(re.compile("busy"))
    keys.press("Enter")
    expect(page.locator("#f-last_image")).to_be_focused()
    expect(page.get_by_role("img", name="Last frame")).to_be_hidden()


def with_a_seed(page, keys):
    """Draw one, let it go, and say one."""
    seed = page.locator("#f-seed")
    keys.use("#dice")
    expect(seed).to_have_value(re.compile(r"^\d+$"))
    keys.use("#lock", "Space")
    expect(seed).to_have_value("")
    keys.back("#f-seed")
    keys.type("7")
    expect(page.locator("#lock")).to_have_attribute("aria-pressed", "true")


def test_an_example_the_theme_and_the_pages_are_one_key_away(come, past):
    page, keys = come()
    keys.use(".example")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(re.compile(r"\w"))
    keys.back("details.menu > summary")
    keys.press("Enter")
    keys.use('button[value="dark"]', "Space")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    keys.press("Escape")
    expect(page.locator("details.menu > summary")).to_be_focused()
    expect(page.locator("details.menu[open]")).to_have_count(0)
    keys.press("Enter")
    keys.to("#f-prompt")  # the menu closes behind who leaves it
    expect(page.locator("details.menu[open]")).to_have_count(0)
    keys.back(".balance")
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Credits", exact=True)).to_be_visible()
    keys.use('.nav a[href="/library"]')
    expect(page.get_by_role("heading", name="Library")).to_be_visible()
    keys.use(".brand")
    expect(page.locator("#composer")).to_be_visible()


def test_problems_are_reached_where_they_are(come):
    page, keys = come()
    keys.use("#go")
    expect(page.locator("#summary")).to_be_focused()
    keys.use("#summary a")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    keys.type("A kite.")
    expect(page.locator("#problem-prompt")).to_be_hidden()


def test_much_that_is_said_at_the_button_covers_nothing(come, desk):
    desk.enter("adjustment", -495, 0, None)
    page, keys = come()
    keys.choose("duration", "20")
    keys.choose("resolution", "1080p")
    expect(page.locator("#snap")).to_have_text("20 s is not in Fast at 1080p: it is 10 s now.")
    while keys.tab():  # to the end of the page
        pass
    assert keys.walk() == []


def test_the_library_is_filtered_marked_and_opened(come, past):
    page, keys = come("/library")
    keys.use('.filters a[href="/library?show=favourites"]')
    expect(page.get_by_role("link", name="Favourites")).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("article")).to_have_count(2)
    keys.use('.filters a[href="/library?show=finished"]')
    expect(page.get_by_role("link", name="Finished")).to_have_attribute("aria-current", "page")
    keys.use('.star[aria-pressed="false"]', "Space")
    expect(page.locator(".star:focus")).to_have_attribute("aria-pressed", "true")
    assert sum(job.favourite for job in past.jobs) == 3
    keys.use(".card-link")
    expect(page.locator("#stage")).to_be_visible()


def test_a_video_is_played_saved_copied_varied_reused_and_deleted(come, desk, clock):
    made = desk.create(desk.account, {"prompt": "A kite.", "resolution": "540p", "duration": 2})
    clock.advance(0.6 + WAIT + WORK + 1)
    page, keys = come(f"/g/{made.id}")
    assert until(page, f"{ON_STAGE}.readyState >= 2")
    keys.use("video", "Space")
    assert until(page, f"{ON_STAGE}.currentTime > 0.1")
    keys.press("Space")
    assert until(page, f"{ON_STAGE}.paused")
    keys.to("a[download]")
    with page.expect_download() as download:
        keys.press("Enter")
    assert download.value.suggested_filename == f"ltx2-{made.id}.mp4"
    keys.use(".actions .star")
    expect(page.locator(".actions .star")).to_have_attribute("aria-pressed", "true")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    keys.use(".fold:has([data-copy]) > summary")
    keys.use("[data-copy]")
    expect(page.locator("#announcer")).to_have_text("Copied.")
    keys.use('.actions a[href^="/?from="]')
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("A kite.")
    keys.to("[data-vary] button")
    keys.press("Enter")
    expect(page.locator("#stage-title")).to_be_focused()
    assert [job.form["prompt"] for job in desk.jobs] == ["A kite."] * 2
    keys.use(".recent .card-link")
    expect(page.locator("#single")).to_contain_text(made.id)
    keys.use('.actions a[href$="/delete"]')
    expect(page.get_by_role("heading", name="Delete this video?")).to_be_visible()
    keys.use("a.quiet")  # no, keep it
    expect(page.locator("#stage")).to_be_visible()
    keys.use('.actions a[href$="/delete"]')
    expect(page.get_by_role("heading", name="Delete this video?")).to_be_visible()
    keys.use("button.bad", "Space")
    expect(page.get_by_text("Deleted.")).to_be_visible()
    assert made.id not in [job.id for job in desk.jobs]


def test_one_signs_in_and_out(come):
    page, keys = come()
    page.context.clear_cookies()
    page.goto("/sign-in")
    expect(page.get_by_label("API key")).to_be_focused()
    keys.type("ltx2_wrong")
    keys.press("Enter")
    expect(page.get_by_text("That key is not known")).to_be_visible()
    expect(page.get_by_label("API key")).to_be_focused()
    keys.type(KEY)
    keys.use(".door-form button", "Space")
    expect(page.locator("#composer")).to_be_visible()
    keys.use("details.menu > summary")
    keys.use(".menu-body .wide")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_there_is_no_control_that_the_tab_key_misses_and_none_that_keeps_it(come, past, running):
    done = past.jobs[0].id
    page, keys = come()
    addresses = ("/", f"/?from={past.jobs[1].id}", "/library", "/credits", "/g/gen_none")
    for address in (*addresses, f"/g/{done}", f"/g/{running.id}", f"/g/{done}/delete"):
        page.goto(address)
        assert keys.walk() == [], address


def test_a_form_that_was_refused_is_walked_as_well(come):
    page, keys = come("/?example=0")
    keys.use("#enhance")
    expect(page.get_by_label("A richer prompt")).to_be_focused()
    keys.back("#f-prompt")
    keys.press("Control+a")
    keys.press("Delete")
    keys.press("Control+Enter")
    expect(page.locator("#summary")).to_be_focused()
    while keys.tab():  # to the end of the page
        pass
    assert keys.walk() == []
