"""The form in a real browser: price, legal combinations, pictures, one video a click."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.gateway.studio.sample_videos import Clip, jpeg

GO = re.compile("Generate · ")


def go(page):
    return page.get_by_role("button", name=GO)


def pick(page, name, value):
    """Choose as a finger does: the input itself is under its face."""
    page.locator(f'label:has(input[name="{name}"][value="{value}"])').click()


def first_frame(page):
    return page.locator("#f-image")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "tall.jpg"
    path.write_bytes(jpeg(Clip(13, 90, 160, 1, 24)))
    return path


def test_the_price_on_the_button_is_the_one_that_is_held(visit, desk):
    page = visit()
    expect(go(page)).to_have_text("Generate · 10 credits")
    expect(page.locator("#after")).to_have_text("490 credits left afterwards")
    pick(page, "duration", "8")
    expect(go(page)).to_have_text("Generate · 16 credits")
    page.get_by_role("switch", name="Detailer").check()
    expect(go(page)).to_have_text("Generate · 24 credits")
    expect(page.locator("#after")).to_have_text("476 credits left afterwards")
    page.get_by_label("Prompt", exact=True).fill("A kite.")
    go(page).click()
    expect(page.locator("#available")).to_have_text("476")
    assert desk.held == 24


def test_a_double_click_makes_one_video(visit, desk):
    page = visit()
    page.get_by_label("Prompt", exact=True).fill("A kite.")
    go(page).dblclick()
    expect(page.get_by_role("heading", name="A kite.")).to_be_visible()
    expect(go(page)).to_be_enabled()
    assert len(desk.jobs) == 1
    go(page).click()
    expect(page.get_by_role("heading", name="Next up")).to_be_visible()
    assert len(desk.jobs) == 2


def test_what_cannot_be_combined_is_ruled_out_and_moved_in_sight(visit):
    page = visit()
    pick(page, "duration", "20")
    pick(page, "resolution", "1080p")
    expect(page.locator("#snap")).to_have_text("20 s is not in Fast at 1080p: it is 10 s now.")
    expect(page.locator('input[name="duration"][value="10"]')).to_be_checked()
    expect(page.locator('input[name="duration"][value="12"]')).to_be_disabled()
    expect(go(page)).to_have_text("Generate · 40 credits")
    pick(page, "resolution", "720p")
    expect(page.locator('input[name="duration"][value="12"]')).to_be_enabled()
    expect(page.locator("#snap")).to_be_hidden()
    expect(page.locator('input[value="focus_shift"]')).to_be_disabled()
    pick(page, "mode", "pro")
    pick(page, "camera_motion", "focus_shift")
    pick(page, "mode", "fast")
    expect(page.locator("#snap")).to_contain_text("Focus shift is not in Fast")
    expect(page.locator('input[name="camera_motion"][value="none"]')).to_be_checked()


def test_guidance_is_for_pro_alone(visit, desk):
    page = visit()
    page.get_by_text("More settings").click()
    expect(page.get_by_label("Steps", exact=True)).to_be_disabled()
    pick(page, "mode", "pro")
    page.get_by_label("Steps", exact=True).fill("20")
    page.get_by_label("Avoid").fill("blur")
    page.get_by_label("Prompt", exact=True).fill("A kite.")
    expect(go(page)).to_have_text("Generate · 20 credits")
    go(page).click()
    expect(page.get_by_role("heading", name="A kite.")).to_be_visible()
    assert desk.jobs[0].form["num_inference_steps"] == 20
    assert desk.jobs[0].form["negative_prompt"] == "blur"


def test_a_picture_is_chosen_shown_and_taken_away(visit, desk, picture):
    page = visit()
    frame = page.locator('[data-frame="image"]')
    first_frame(page).set_input_files(picture)
    expect(frame.get_by_role("img", name="First frame")).to_be_visible()
    expect(page.locator("#makes")).to_contain_text("704 × 1280")
    frame.get_by_role("button", name="Remove the first frame").click()
    expect(frame.get_by_role("img", name="First frame")).to_be_hidden()
    expect(page.locator("#makes")).to_contain_text("1280 × 704")
    expect(first_frame(page)).to_be_focused()


def test_a_picture_that_is_taken_away_while_it_is_sent_stays_away(visit, picture):
    page = visit()
    held = []
    page.route("**/studio/uploads", lambda route: held.append(route))
    with page.expect_request("**/studio/uploads"):
        first_frame(page).set_input_files(picture)
    page.get_by_role("button", name="Remove the first frame").click()
    with page.expect_response("**/studio/uploads") as answered:
        held[0].continue_()
    answered.value.finished()
    pick(page, "duration", "8")
    expect(go(page)).to_have_text("Generate · 16 credits")
    expect(page.locator("#makes")).to_contain_text("1280 × 704")
    expect(page.locator('[type="hidden"][name="image"]')).to_have_value("")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(visit, desk, picture, way):
    page = visit()
    page.get_by_label("Prompt", exact=True).fill("It moves.")
    script = """([way, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "a.jpg", {type: "image/jpeg"}));
        const target = document.querySelector('[data-frame="image"]');
        const dropped = new DragEvent("drop", {dataTransfer: data, bubbles: true});
        const pasted = new ClipboardEvent("paste", {clipboardData: data});
        if (way === "drop") target.dispatchEvent(dropped);
        else document.dispatchEvent(pasted);
    }"""
    page.evaluate(script, [way, list(picture.read_bytes())])
    expect(page.locator("#makes")).to_contain_text("704 × 1280")
    go(page).click()
    expect(page.get_by_role("heading", name="It moves.")).to_be_visible()
    assert desk.jobs[0].form["image"].startswith("upload://")


def test_a_file_that_is_no_picture_is_refused_at_its_frame(visit, tmp_path, desk):
    page = visit()
    wrong = tmp_path / "notes.txt"
    wrong.write_text("no picture")
    first_frame(page).set_input_files(wrong)
    expect(page.locator("#problem-image")).to_have_text("This is no PNG, JPEG or WEBP picture.")
    liar = tmp_path / "liar.png"
    liar.write_text("no picture either")
    first_frame(page).set_input_files(liar)
    expect(page.locator("#problem-image")).to_contain_text("no picture that can be read")
    pick(page, "duration", "8")
    expect(go(page)).to_have_text("Generate · 16 credits")
    expect(page.locator("#problem-image")).to_contain_text("no picture that can be read")
    assert desk.pictures == {}


def test_problems_are_summed_up_where_the_focus_goes(visit):
    page = visit()
    go(page).click()
    expect(page.locator("#summary")).to_be_focused()
    page.get_by_role("link", name="Say what happens in the video.").click()
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    expect(page.get_by_label("Prompt", exact=True)).to_have_attribute("aria-invalid", "true")
    page.keyboard.type("A kite.")
    expect(page.locator("#problem-prompt")).to_be_hidden()


def test_an_example_fills_the_prompt(visit):
    page = visit()
    page.get_by_role("link", name="Paper boat").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(re.compile("small paper boat"))


def test_a_richer_prompt_is_looked_at_taken_and_undone(visit):
    page = visit()
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("A kite.")
    page.get_by_role("button", name="Enhance").click()
    expect(page.get_by_label("A richer prompt")).to_be_focused()
    page.get_by_role("button", name="Keep mine").click()
    expect(prompt).to_have_value("A kite.")
    page.get_by_role("button", name="Enhance").click()
    page.get_by_role("button", name="Use this").click()
    expect(prompt).to_have_value(re.compile(r"^A kite\. The camera"))
    page.get_by_role("button", name="Undo").click()
    expect(prompt).to_have_value("A kite.")


def test_while_a_richer_prompt_is_written_the_button_says_so(visit):
    page = visit()
    page.get_by_label("Prompt", exact=True).fill("A kite.")
    busy = []

    def answered(route):
        busy.append(page.locator("#enhance").inner_text())
        route.continue_()

    page.route("**/studio/enhance", answered)
    page.get_by_role("button", name="Enhance").click()
    expect(page.get_by_label("A richer prompt")).to_be_visible()
    assert busy == ["Writing…"]
    expect(page.get_by_role("button", name="Enhance")).to_be_visible()


def test_a_seed_is_drawn_kept_and_let_go(visit, desk):
    page = visit()
    seed = page.get_by_role("textbox", name=re.compile("^Seed"))
    lock = page.get_by_role("button", name="Keep this seed")
    expect(lock).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Draw a seed").click()
    expect(seed).to_have_value(re.compile(r"^\d+$"))
    expect(lock).to_have_attribute("aria-pressed", "true")
    drawn = seed.input_value()
    page.get_by_label("Prompt", exact=True).fill("A kite.")
    go(page).click()
    expect(page.get_by_role("heading", name="A kite.")).to_be_visible()
    assert desk.jobs[0].form["seed"] == int(drawn)
    expect(seed).to_have_value(drawn)
    lock.click()
    expect(seed).to_have_value("")


def test_the_theme_changes_at_once_and_stays(visit):
    page = visit()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Account and theme").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate(ground) != light
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_systems_theme_is_followed(visit):
    dark = visit(color_scheme="dark").evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark == "rgb(15, 17, 14)"


@pytest.mark.parametrize(
    ("status", "body", "ticket"),
    [
        (429, {"message": "Too many videos."}, False),
        (400, {"problems": {"prompt": "Say more."}}, False),
        (503, {"message": "It broke."}, True),
        (503, {"problems": {"": "It is away."}}, True),
    ],
)
def test_what_nobody_who_asks_can_mend_says_by_which_request(visit, status, body, ticket):
    page = visit()

    def answered(route):
        if route.request.method != "POST":
            route.fallback()
            return
        headers = {"x-request-id": "req_0123456789abcdef"}
        route.fulfill(status=status, json=body, headers=headers)

    page.route(lambda address: urlsplit(address).path == "/", answered)
    page.get_by_label("Prompt", exact=True).fill("A kite.")
    page.locator("#go").click()
    expect(page.locator("#summary")).to_be_visible()
    told = expect(page.locator("#summary"))
    number = "Request req_0123456789abcdef"
    if ticket:
        told.to_contain_text(number)
    else:
        told.not_to_contain_text(number)


def test_a_price_that_is_on_its_way_is_waited_for_and_no_error(visit, desk):
    page = visit()
    expect(go(page)).to_have_text("Generate · 10 credits")
    page.get_by_label("Prompt", exact=True).fill("A kite.")
    held = []
    page.route("**/studio/quote", lambda route: held.append(route))
    with page.expect_request("**/studio/quote"):
        pick(page, "duration", "8")
    page.locator("#go").click()
    expect(page.locator("#go-label")).to_have_text("Sending…")
    held.pop().continue_()
    expect(page.locator("#snap")).to_contain_text("press it again")
    expect(page.locator("#summary")).to_be_hidden()
    expect(go(page)).to_have_text("Generate · 16 credits")
    assert desk.jobs == []
    page.unroute("**/studio/quote")
    go(page).click()
    expect(page.get_by_role("heading", name="A kite.")).to_be_visible()
    assert desk.jobs[0].quote.credits == 16
