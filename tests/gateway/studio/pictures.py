"""The pictures of the studio in the documentation: `python -m tests.gateway.studio.pictures`.

Starts `ltx2 studio` in a folder of its own, or goes to one that runs (`--url`), makes clips with
the embedded checkpoint, and photographs its pages with the Chromium of this machine.
"""

import argparse
import io
import os
import re
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from ltx2.terminal import say
from tests.gateway.local.running import ROOT, Studio, environment
from tests.gateway.studio.conftest import BROWSERS
from tests.gateway.studio.until import until

FOLDER = ROOT / "docs" / "images" / "studio"
PATIENCE = 900  # seconds for a clip
QUALITY = 84
# Newest last: that is the one on the stage.
CLIPS = (
    {"prompt": "a small yellow ring bouncing on a navy striped ground", "seed": 3, "mode": "pro"},
    {"prompt": "a large white circle moving left on a brown striped ground", "seed": 6},
    {"prompt": "a large purple triangle growing on a gray dotted ground", "seed": 14},
    {"prompt": "a large green circle moving up on a navy dotted ground", "seed": 2,
     "aspect_ratio": "9:16"},
    {"prompt": "a purple circle growing on a teal checked ground", "seed": 11},
    {"prompt": "a large yellow triangle moving down on a teal striped ground", "seed": 4},
    {"prompt": "a large blue triangle rising on a brown dotted ground", "seed": 5,
     "camera_motion": "dolly_in"},
    {"prompt": "a large red square moving left on a gray checked ground", "seed": 7},
)  # fmt: skip
NEXT = {"prompt": "a large green ring moving right on a black plain ground", "mode": "pro"}
STAGE = "#stage video"


def visitor(url):
    """Who uses the API of a studio."""
    client = httpx.Client(base_url=url, timeout=60, follow_redirects=True)
    page = client.get("/").raise_for_status().text
    client.headers["x-csrf-token"] = re.search(r'data-csrf="([^"]+)"', page)[1]
    return client


def make(client, request):
    """The clip of a request; one that is there already is taken."""
    asked = {"duration": 3, **request}
    for each in client.get("/api/generations", params={"limit": 100}).json()["data"]:
        form = each["request"]
        if each["status"] == "completed" and asked == {name: form.get(name) for name in asked}:
            return each["id"]
    answer = client.post("/api/generations", json=asked).raise_for_status().json()
    end = time.monotonic() + PATIENCE
    while answer["status"] in ("queued", "in_progress"):
        assert time.monotonic() < end, answer
        time.sleep(0.5)
        answer = client.get(answer["urls"]["self"]).raise_for_status().json()
    assert answer["status"] == "completed", answer
    return answer["id"]


def tidy(client):
    """Leave nothing that was cancelled: the newest clip is to be on the stage."""
    gone = {"status": "canceled", "limit": 100}
    for each in client.get("/api/generations", params=gone).raise_for_status().json()["data"]:
        client.delete(each["urls"]["self"]).raise_for_status()


def shoot(page, name):
    """A picture of what the window shows."""
    raw = Image.open(io.BytesIO(page.screenshot()))
    target = FOLDER / f"{name}.webp"
    raw.convert("RGB").save(target, quality=QUALITY, method=6)
    say(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB")


def at_rest(page, seconds):
    """Show the video at this second, without its controls' spinner."""
    video = page.locator(STAGE)
    expect(video).to_be_visible()
    video.evaluate("each => { each.muted = true; each.preload = 'auto'; }")
    video.evaluate("(each, at) => { each.currentTime = at; }", seconds)
    settled = f"(v => v.readyState === 4 && !v.seeking)(document.querySelector('{STAGE}'))"
    assert until(page, settled, 60)
    page.mouse.move(5, 500)


def pictures(browser, url):
    """All of them."""
    client = visitor(url)
    tidy(client)
    ids = [make(client, clip) for clip in CLIPS]

    def open_page(path, *, width=1280, height=900, theme="light", scale=1):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            base_url=url,
            reduced_motion="reduce",
            device_scale_factor=scale,
        )
        page = context.new_page()
        page.goto(path, wait_until="networkidle")
        return page

    page = open_page(f"/g/{ids[3]}")
    at_rest(page, 1.2)
    shoot(page, "job")

    page = open_page(f"/?from={ids[-2]}&vary=true", height=1120)
    at_rest(page, 1.0)
    shoot(page, "light")

    page = open_page(f"/g/{ids[-2]}", width=390, height=780, scale=2)
    at_rest(page, 1.0)
    shoot(page, "phone")

    page = open_page("/library", theme="dark")
    shoot(page, "library")

    # While one is being made.
    page = open_page("/", theme="dark", height=1120)
    page.get_by_label("Prompt", exact=True).fill(NEXT["prompt"])
    page.locator('label:has(input[name="mode"][value="pro"])').click()
    page.locator('label:has(input[name="duration"][value="3"])').click()
    expect(page.locator("#makes")).to_contain_text("3.0 s")
    page.locator("#go").click()
    working = re.compile(r"Generating [3-9]/\d|Refining")
    expect(page.locator("[data-headline]")).to_have_text(working, timeout=PATIENCE * 1000)
    page.mouse.move(5, 500)
    shoot(page, "dark")
    page.locator("[data-cancel-button]").click()
    expect(page.locator("#stage .headline")).to_have_text("Cancelled")
    tidy(client)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a studio that runs")
    options = parser.parse_args()
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        parser.error(f"needs a browser: none of {', '.join(BROWSERS)} is on the path")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = options.url
        if url is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            weights = ROOT / "pipelines" / "tiny" / "weights"
            studio = Studio(folder, environment(folder, weights), "--checkpoint", "tiny")
            stack.callback(studio.close)
            url = studio.url
            assert url, studio.said()
        playwright = stack.enter_context(sync_playwright())
        no_sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=no_sandbox)
        expect.set_options(timeout=60_000)
        pictures(browser, url)
        browser.close()


if __name__ == "__main__":
    main()
