"""What keeps a visitor's session, money and pages to themselves."""

import asyncio
import re

import pytest
from starlette.testclient import TestClient

from gateway.cookies import LOGIN
from gateway.studio.copies import copies
from gateway.studio.visit import inside
from tests.gateway.studio.sample_app import create_app
from tests.gateway.studio.sample_desk import KEY
from tests.gateway.studio.test_without_script import fields, multipart, submit

PAGES = ("/", "/library", "/credits", "/g/{id}", "/g/{id}/delete", "/g/none")


def test_pages_run_no_script_and_no_style_of_their_own(client, past):
    answers = [client.get(page.format(id=past.jobs[0].id)) for page in PAGES]
    client.cookies.clear()
    for answer in [*answers, client.get("/sign-in")]:
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "style-src 'self';" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<style|<script(?![^>]* src=)|\sstyle=|\son\w+=", answer.text), (
            answer.url
        )


@pytest.mark.parametrize(
    "action",
    [
        *("/", "/g/{id}/cancel", "/g/{id}/vary", "/g/{id}/favourite", "/g/{id}/delete"),
        *("/studio/quote", "/studio/uploads", "/studio/enhance", "/studio/remove", "/sign-out"),
    ],
)
def test_a_form_without_our_token_does_nothing(client, past, action):
    before = [(job.id, job.favourite, job.time) for job in past.jobs]
    for token in ({}, {"csrf": "guessed"}):
        answer = client.post(action.format(id=past.jobs[0].id), data={"prompt": "x", **token})
        assert answer.status_code == 403
    assert [(job.id, job.favourite, job.time) for job in past.jobs] == before
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_another_site_cannot_sign_anyone_in(client, origin):
    answer = client.post("/sign-in", data={"key": KEY}, headers={"origin": origin})
    assert answer.status_code == 403


def test_the_cookie_is_out_of_reach(desk):
    with TestClient(create_app(desk), follow_redirects=False) as client:
        said = client.post("/sign-in", data={"key": KEY, "next": "/"}).headers["set-cookie"]
    assert said.startswith(f"{LOGIN}=")
    assert "HttpOnly" in said
    assert "SameSite=lax" in said


@pytest.mark.parametrize(
    ("address", "leads"),
    [
        ("/library?show=all", "/library?show=all"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/\tx", "/"),
        ("", "/"),
    ],
)
def test_nobody_is_led_elsewhere(address, leads):
    assert inside(address) == leads


def test_what_people_write_is_text_and_nothing_else(client, desk, clock):
    prompt = '<img src=x onerror=alert(1)> & "quotes" \'</textarea><script>alert(2)</script>'
    address = submit(client, prompt=prompt).headers["location"]
    clock.advance(60)
    for page in (address, "/", "/library", f"/?from={desk.jobs[0].id}"):
        text = client.get(page).text
        assert "<img src=x" not in text
        assert "<script>alert" not in text


def test_a_form_that_is_too_large_is_refused_before_it_is_read(client):
    answer = client.post("/", content=b"x", headers={"content-length": "99000000"})
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/", "/studio/uploads", "/sign-out"])
def test_what_a_stranger_sends_is_not_even_read(desk, path):
    sent = []

    async def receive():
        pytest.fail("the body was asked for")

    async def send(message):
        sent.append(message)

    head = {"content-type": "application/x-www-form-urlencoded", "content-length": "30000000"}
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": path,
        "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "headers": [(name.encode(), text.encode()) for name, text in head.items()],
        "server": ("testserver", 80), "client": ("testclient", 5000),
    }  # fmt: skip
    asyncio.run(create_app(desk)(scope, receive, send))
    assert sent[0]["status"] == 303
    assert (b"location", b"/sign-in?next=%2F") in sent[0]["headers"]


@pytest.mark.parametrize("path", ["/sign-in", "/studio/theme"])
def test_a_form_that_anyone_may_send_is_short(desk, path):
    with TestClient(create_app(desk), follow_redirects=False) as client:
        assert client.post(path, data={"key": "x" * 20_000}).status_code == 413
        files = {"key": ("key", b"x")}
        assert client.post(path, data={"next": "/"}, files=files).status_code == 400


def test_a_form_of_unknown_length_is_refused(client):
    answer = client.post("/", content=iter([b"csrf=x"]))
    assert answer.status_code == 403


def test_assets_are_kept_for_good_and_only_assets_are_served(client):
    address = re.search(r"/studio/static/\w+/studio\.css", client.get("/").text)[0]
    style = client.get(address)
    assert style.headers["content-type"].startswith("text/css")
    assert "immutable" in style.headers["cache-control"]
    root = address.rpartition("/")[0]
    for name in ("..%2froutes.py", "fonts/..%2f..%2froutes.py", "nothing.css", ""):
        assert client.get(f"{root}/{name}").status_code == 404
    stale = client.get("/studio/static/000000000000/studio.css")
    assert stale.headers["cache-control"] == "no-cache"


def test_every_asset_and_icon_that_a_page_names_is_there(client, past):
    icons = client.get(re.search(r"/studio/static/\w+/icons\.svg", client.get("/").text)[0]).text
    for page in PAGES:
        text = client.get(page.format(id=past.jobs[2].id)).text
        for address in set(re.findall(r"/studio/static/[^\"#]+", text)):
            assert client.get(address).status_code == 200, address
        for name in set(re.findall(r"icons\.svg#([\w-]+)", text)):
            assert f'<symbol id="{name}"' in icons, name


def test_copies_say_the_whole_request_and_never_a_key():
    form = {"prompt": 'it\'s "late"\n$HOME', "mode": "pro", "seed": 7, "generate_audio": False}
    curl, python, command = copies(form, "https://studio.example")
    assert "$GATEWAY_KEY" in curl.text
    assert "https://studio.example/api/generations" in curl.text
    compile(python.text, "copied.py", "exec")
    assert "--no-generate-audio" in command.text
    assert "--seed 7" in command.text


def test_the_copied_command_is_one_that_the_command_line_takes(tmp_path):
    import shlex

    from ltx2.cli import build_parser

    form = {
        "prompt": "it's late", "mode": "pro", "seed": 7, "generate_audio": False,
        "duration": 5, "aspect_ratio": "16:9", "resolution": "540p", "image": "upload://upl_1",
        "camera_motion": "dolly_in", "detailer": True, "guidance_scale": 3.5, "model": "ltx-2.3",
    }  # fmt: skip
    command = copies(form, "https://studio.example")[2].text.replace("\\\n", "")
    options = build_parser().parse_args(shlex.split(command)[1:])
    assert options.prompt == "it's late"
    assert (options.checkpoint, options.resolution) == ("ltx-2.3", "540p")


def test_the_copied_command_of_a_toy_has_no_size_that_the_command_line_does_not_know():
    form = {"prompt": "a ball", "model": "tiny", "resolution": "192p"}
    command = copies(form, "https://studio.example")[2].text
    assert "--checkpoint tiny" in command
    assert "192p" not in command


def test_a_quote_tells_the_script_price_and_problems(client):
    page = client.get("/")
    script = {"accept": "application/json"}
    client.headers.update(script)
    sent = fields(page)
    told = multipart(client, "/studio/quote", sent | {"temporal_upscaler": "on"}).json()
    assert (told["credits"], told["label"]) == (15, "Generate · 15 credits")
    assert told["makes"] == "1280 × 704 · 5.0 s · 48 fps · $0.15"
    assert told["problems"] == {}
    told = multipart(client, "/studio/quote", sent | {"resolution": "1080p", "duration": "20"})
    assert told.json()["credits"] is None
    assert "duration" in told.json()["problems"]
