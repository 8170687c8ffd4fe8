"""A real `ltx2 studio` in a real browser: the embedded checkpoint makes what is typed."""

import re

import pytest
from playwright.sync_api import expect

from tests.gateway.local.running import Studio, environment
from tests.gateway.studio.conftest import visitor_of
from tests.gateway.studio.until import until

MINUTES = 5 * 60_000  # milliseconds; a busy machine takes its time
VIDEO = "document.querySelector('#stage video')"


@pytest.fixture(scope="module")
def studio(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("studio")
    made = Studio(folder, environment(folder, tiny), "--checkpoint", "tiny")
    assert made.url, made.said()
    yield made
    made.close()


@pytest.fixture
def visit(chromium, studio):
    yield from visitor_of(chromium, studio.url)


@pytest.mark.slow
def test_words_become_a_clip_that_plays_by_keyboard_alone(visit):
    page = visit()
    expect(page.get_by_text("This model is a toy")).to_be_visible()
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.type("a large red square moving left on a gray checked ground")
    pick_with_keys(page, "duration", "ArrowLeft")
    expect(page.locator("#go-label")).to_have_text("Generate")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#stage-title")).to_be_focused()
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.reload()  # in the middle of it
    expect(page.locator("#stage video")).to_be_visible(timeout=MINUTES)
    assert until(page, f"{VIDEO}.readyState >= 2")
    facts = page.evaluate(f"(({{videoWidth, videoHeight}}) => [videoWidth, videoHeight])({VIDEO})")
    assert facts == [320, 192]
    page.evaluate(f"{VIDEO}.muted = true; {VIDEO}.play()")
    assert until(page, f"{VIDEO}.currentTime > 0.3")
    assert page.evaluate(RED) > 0.04
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").press("Enter")
    assert download.value.suggested_filename.endswith(".mp4")


@pytest.mark.slow
def test_without_script_words_become_a_clip_too(visit):
    page = visit(java_script_enabled=False)
    page.get_by_label("Prompt", exact=True).fill("a small yellow ring bouncing")
    page.locator('label:has(input[name="duration"][value="1"])').click()
    page.get_by_role("button", name="Generate", exact=True).last.click()
    # The page looks again by itself.
    expect(page.locator("video")).to_be_visible(timeout=MINUTES)
    source = page.locator("video source").get_attribute("src")
    answer = page.request.get(source, headers={"range": "bytes=4-7"})
    assert (answer.status, answer.body()) == (206, b"ftyp")
    assert re.fullmatch(r"/g/gen_\w+", page.url.removeprefix(page.url.split("/g/")[0]))


def pick_with_keys(page, name, key):
    page.locator(f'input[name="{name}"]:checked').focus()
    page.keyboard.press(key)


# The share of the picture that is clearly red.
RED = f"""() => {{
    const video = {VIDEO};
    const canvas = Object.assign(document.createElement("canvas"), {{width: 80, height: 48}});
    const brush = canvas.getContext("2d");
    brush.drawImage(video, 0, 0, 80, 48);
    const {{data}} = brush.getImageData(0, 0, 80, 48);
    let red = 0;
    for (let at = 0; at < data.length; at += 4)
        if (data[at] > 120 && data[at + 1] < 80 && data[at + 2] < 80) red += 1;
    return red / (80 * 48);
}}"""
