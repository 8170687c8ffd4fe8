"""Forms that people, scripts and strangers send: none of them is a fault of ours."""

import io
import re

import pytest
from hypothesis import strategies as st
from PIL import Image

from gateway.studio import draft
from tests.gateway.api.drawn import draw
from tests.gateway.api.site import COST, FORM
from tests.rules.tree import ROOT

USUALLY = 7  # drawn for each form
REFUSALS = {400, 413, 422, 429}
# What each form may be answered with, when its sender is known. JSON is for our script.
POSTS = {
    "/": {202, 303, 402, 409},
    "/g/{id}/cancel": {200, 303, 404},
    "/g/{id}/vary": {202, 303, 402, 404, 409},
    "/g/{id}/favourite": {200, 303, 404},
    "/g/{id}/delete": {303, 404, 409},
    "/studio/quote": {200},
    "/studio/uploads": {201},
    "/studio/enhance": {200, 402, 503},
    "/studio/enhanced": {200},
    "/studio/remove": {200},
    "/studio/undo": {200},
    "/studio/theme": {204, 303},
    "/sign-in": {303, 401},
}
NAMES = (
    *draft.FIELDS, "quoted", "key", "back", "next", "theme", "on", "remove", "undo", "enhanced",
    "file", "image_file", "last_image_file", "vary", "from",
)  # fmt: skip
VALUES = (
    "", "on", "true", "auto", "none", "fast", "pro", "720p", "1080p", "16:9", "ltx-2.3", "5", "24",
    "-1", "1e9", "0x10", "٣", "9" * 400, "nan", "a heron", "image", "prompt", "dark", "/library",
    "//evil.example", "//[", "http://[x", "https://evil.example/a", "upload://upl_0", "upload://",
    "data:,x", "\x00", "a\r\nb: c", "\U0001f600",
)  # fmt: skip


def picture(kind):
    written = io.BytesIO()
    Image.new("RGB", (48, 32), (30, 90, 160)).save(written, kind)
    return written.getvalue()


PNG = picture("PNG")
texts = st.sampled_from(VALUES) | st.text(max_size=60)
fields = st.dictionaries(
    st.sampled_from(NAMES) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=12),
    texts,
    max_size=12,
)
pictures = st.sampled_from([PNG, picture("JPEG"), picture("GIF"), PNG[:60], b""]) | st.binary(
    max_size=60
)
file_names = st.sampled_from(["a.png", "", "a" * 300, "../x.jpg", "é.webp"]) | st.text(
    st.characters(codec="ascii", exclude_categories=["C"]), max_size=20
)
media_types = st.sampled_from(["image/png", "text/html", "application/octet-stream", "x"])
files = st.tuples(file_names, pictures, media_types)


PLAIN = {
    "given": {}, "sent": {}, "target": "gen_0", "as_json": False, "left_out": set(),
    "in_parts": False,
}  # fmt: skip
DONE, UNDER_WAY = "a new one that is done", "a new one that is under way"
targets = st.sampled_from([DONE, UNDER_WAY, "gen_0", "%00", "é"])
# What each form takes, beside what is usual: drawn values might all be refused.
TAKEN = {
    "/": {"given": {"spatial_upscaler": "on", "quoted": str(COST)}},
    "/g/{id}/cancel": {"target": UNDER_WAY},
    "/g/{id}/vary": {"target": DONE, "given": {"quoted": str(COST)}, "as_json": True},
    "/g/{id}/favourite": {"target": DONE},
    "/g/{id}/delete": {"target": DONE},
    "/studio/uploads": {"sent": {"file": ("a.png", PNG, "image/png")}},
}


def addressed(path, target, site):
    """The path of a form; a generation that it may end is made for it."""
    if "{id}" not in path:
        return path
    make = {DONE: site.finished, UNDER_WAY: lambda: site.create()["id"]}
    return path.replace("{id}", make[target]() if target in make else target)


def test_every_form_of_the_studio_is_drawn():
    sources = (ROOT / "gateway" / "studio").glob("*.py")
    found = [re.findall(r'@routes\.post\("([^"]+)"', each.read_text()) for each in sources]
    posts = {path.replace("{generation_id}", "{id}") for paths in found for path in paths}
    assert posts == {*POSTS, "/sign-out"}  # which ends the session that the others need


@pytest.mark.parametrize("path", POSTS)
def test_a_form_with_whatever_in_its_fields_is_answered_as_it_should(
    request, busy_site, visitor, path
):
    usual = {"prompt": FORM["prompt"], "mode": "fast", "duration": "5"}
    signs_in = path == "/sign-in"
    # One that signs in is a stranger, or the others would lose their session.
    browser = busy_site.browser() if signs_in else visitor.browser
    taken = {"given": {"key": busy_site.key}} if signs_in else TAKEN.get(path, {})
    seen = set()

    def is_answered(given, sent, target, as_json, left_out, in_parts):
        data = {k: v for k, v in {**usual, **given}.items() if k not in left_out}
        data["csrf"] = visitor.csrf
        answer = browser.post(
            addressed(path, target, busy_site),
            data=data,
            files=sent if sent or in_parts else None,
            headers={"accept": "application/json" if as_json else "text/html"},
        )
        assert answer.status_code in POSTS[path] | REFUSALS, answer.text[:500]
        seen.add(answer.status_code)
        kind = answer.headers.get("content-type", "")
        if answer.status_code >= 400 and not as_json and path != "/studio/uploads":
            assert kind.startswith("text/html")
        if answer.status_code == 303:  # never to another site
            place = answer.headers["location"]
            assert place.startswith("/")
            assert not place.startswith(("//", "/\\"))

    draw(
        request,
        is_answered,
        usually=USUALLY,
        first={**PLAIN, **taken},
        given=fields,
        sent=st.dictionaries(st.sampled_from(["file", "image_file", "other"]), files, max_size=2),
        target=targets,
        as_json=st.booleans(),
        left_out=st.sets(st.sampled_from(sorted(usual)), max_size=2),
        in_parts=st.booleans(),
    )
    # What else a form of a variation leads to is the page that asks again.
    assert any(status < 400 and (status == 202 or "vary" not in path) for status in seen), seen


@pytest.mark.parametrize("path", POSTS)
def test_a_body_that_is_no_form_is_answered_too(request, busy_site, visitor, path):
    kinds = [
        "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "multipart/form-data", "application/json", "text/plain; charset=\xff", "",
    ]  # fmt: skip

    def is_answered(body, kind, target):
        answer = visitor.browser.post(
            addressed(path, target, busy_site),
            content=body,
            headers={"content-type": kind.encode("latin-1"), "x-csrf-token": visitor.csrf},
        )
        assert answer.status_code in POSTS[path] | REFUSALS, answer.text[:500]

    draw(
        request,
        is_answered,
        usually=USUALLY,
        body=st.binary(max_size=80)
        | st.sampled_from([b"prompt=%ED%A0%80&on=%FF", b"--x\r\n\r\n", b"&=&;==%", b"--x--"]),
        kind=st.sampled_from(kinds),
        target=targets,
    )


UPLOADED = {201, 400, 413, 415}


def test_a_picture_in_parts_is_taken_or_refused_as_the_document_says(request, busy_site, visitor):
    document = busy_site.client.get("/api/openapi.json").json()
    answers = document["paths"]["/api/uploads"]["post"]["responses"]
    assert {str(each) for each in UPLOADED} <= set(answers)
    seen = set()

    def is_answered(field, sent, more, by_cookie):
        client = visitor.browser if by_cookie else busy_site.client
        token = {"x-csrf-token": visitor.csrf} if by_cookie else {}
        answer = client.post("/api/uploads", files={field: sent}, data=more, headers=token)
        assert answer.status_code in UPLOADED, answer.text
        if answer.status_code == 201:
            seen.add(answer.json()["id"])
            assert (answer.json()["width"], answer.json()["height"]) == (48, 32)

    draw(
        request,
        is_answered,
        usually=60,
        field=st.sampled_from(["file", "file", "file", "picture", ""]),
        sent=files,
        more=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), texts, max_size=2),
        by_cookie=st.booleans(),
    )
    assert seen  # some were pictures


def test_a_video_of_the_façade_with_a_picture_in_parts_is_made_or_refused(
    request, busy_site, visitor
):
    document = busy_site.client.get("/api/openapi.json").json()
    answers = set(document["paths"]["/v1/videos"]["post"]["responses"])

    def is_answered(given, sent, by_cookie):
        client = visitor.browser if by_cookie else busy_site.client
        token = {"x-csrf-token": visitor.csrf} if by_cookie else {}
        answer = client.post("/v1/videos", files=sent, data=given, headers=token)
        assert str(answer.status_code) in answers - {"401", "403", "500"}, answer.text

    draw(
        request,
        is_answered,
        usually=40,
        given=st.fixed_dictionaries(
            {"prompt": texts},
            optional={
                "seconds": st.sampled_from(["4", "5", "8", "x", ""]),
                "size": st.sampled_from(["1280x720", "720x1280", "1x1", "x"]),
                "seed": texts,
                "input_reference[image_url]": texts,
                "model": texts,
            },
        ),
        sent=st.dictionaries(st.sampled_from(["input_reference", "other"]), files, max_size=2),
        by_cookie=st.booleans(),
    )


def test_an_address_that_nobody_can_read_is_no_fault_of_ours(visitor, busy_site):
    for address in ("//[", "http://[x", "https://[::1/a"):
        answer = visitor.browser.post("/studio/theme", data={"theme": "dark", "back": address})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        page = busy_site.browser().get("/sign-in", params={"next": address})
        assert page.status_code == 200
        origin = {"origin": address}
        assert visitor.browser.post("/studio/theme", headers=origin).status_code == 403
