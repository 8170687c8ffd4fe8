"""The studio as plain pages and forms: all of it works without script."""

import re
from html.parser import HTMLParser

import pytest

from gateway.refusals import Limited
from tests.gateway.studio.sample_desk import KEY
from tests.gateway.studio.sample_timeline import WAIT, WORK
from tests.gateway.studio.sample_videos import Clip, jpeg


class Fields(HTMLParser):
    """What the form of a page would send."""

    def __init__(self, page, wanted):
        super().__init__()
        self.wanted, self.inside, self.values, self.area = wanted, False, {}, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        if tag == "form":
            self.inside = said.get("action") == self.wanted
        if not self.inside or not said.get("name"):
            return
        kind = said.get("type", "text")
        if tag == "textarea":
            self.area = said["name"]
            self.values[self.area] = ""
        elif tag == "input" and kind not in ("file", "radio", "checkbox"):
            self.values[said["name"]] = said.get("value", "")
        elif tag == "input" and kind in ("radio", "checkbox") and "checked" in said:
            self.values[said["name"]] = said["value"]

    def handle_data(self, data):
        if self.area:
            self.values[self.area] += data

    def handle_endtag(self, tag):
        if tag == "textarea":
            self.area = None
        if tag == "form":
            self.inside = False


def fields(page, action="/"):
    found = Fields(page.text, action).values
    assert found, f"no form that sends to {action}"
    return found


def multipart(client, address, values, files=None):
    """Send as a form with enctype multipart/form-data does."""
    none = {"image_file": ("", b"", "application/octet-stream")}
    return client.post(address, data=values, files={**none, **(files or {})})


def submit(client, page=None, files=None, **values):
    sent = fields(page or client.get("/")) | values
    return multipart(client, "/", sent, files)


def test_a_prompt_becomes_a_video_at_the_price_of_the_button(client, desk, clock):
    page = client.get("/")
    assert "Generate · 10 credits" in page.text
    answer = submit(client, page, prompt="A heron lifts off.")
    assert answer.status_code == 303
    job = client.get(answer.headers["location"])
    assert "10 credits set aside" in job.text
    assert '<noscript><meta http-equiv="refresh"' in job.text
    assert desk.available == 490
    clock.advance(0.6 + WAIT + WORK)
    done = client.get(answer.headers["location"])
    assert "<video" in done.text
    assert "10 credits paid" in done.text
    assert "http-equiv" not in done.text


def test_sending_a_form_twice_makes_one_video(client, desk):
    page = client.get("/")
    first = submit(client, page, prompt="One kite.")
    second = submit(client, page, prompt="One kite.")
    assert first.headers["location"] == second.headers["location"]
    assert len(desk.jobs) == 1


def test_another_form_with_a_spent_key_asks_first_and_then_makes_another(client, desk):
    page = client.get("/")
    submit(client, page, prompt="One kite.")
    answer = submit(client, page, prompt="Two kites.")
    assert answer.status_code == 409
    assert "sent once already" in answer.text
    assert submit(client, answer).status_code == 303
    assert [job.form["prompt"] for job in desk.jobs] == ["One kite.", "Two kites."]


def test_a_price_that_nobody_saw_is_not_charged(client, desk):
    answer = submit(client, prompt="A kite.", duration="10")
    assert answer.status_code == 409
    assert "it costs 20 credits" in answer.text
    assert "Generate · 20 credits" in answer.text
    assert desk.jobs == []
    assert submit(client, answer).status_code == 303
    assert desk.jobs[0].quote.credits == 20


def test_every_problem_stands_at_its_field_and_in_the_summary(client, desk):
    answer = submit(client, prompt="", seed="lucky", resolution="1080p", duration="20")
    assert answer.status_code == 422
    for field in ("prompt", "seed", "duration"):
        assert f'href="#f-{field}"' in answer.text
        assert re.search(rf'id="problem-{field}" data-problem="{field}">[^<]', answer.text)
    assert 'value="lucky"' in answer.text
    assert desk.jobs == []


def test_who_cannot_pay_is_told_what_is_missing(client, desk):
    page = submit(client, prompt="A kite.", mode="pro", resolution="1080p", duration="10")
    for _ in range(5):
        assert submit(client, page, key=str(len(desk.jobs))).status_code == 303
    page = client.get(f"/?from={desk.jobs[0].id}")
    assert "40 credits short: you have 50" in page.text
    answer = submit(client, page)
    assert answer.status_code == 402
    assert "costs 90 credits, and you have 50" in answer.text
    assert len(desk.jobs) == 5


def test_what_is_refused_for_now_keeps_the_form(client, desk, monkeypatch):
    def full(*_, **__):
        raise Limited("20 videos are queued already.", kind="concurrency", retry_after=30)

    monkeypatch.setattr(desk, "create", full)
    answer = submit(client, prompt="A kite.")
    assert answer.status_code == 429
    assert "20 videos are queued already." in answer.text
    assert fields(answer)["prompt"] == "A kite."


def test_a_picture_goes_with_the_form(client, desk):
    picture = ("tall.jpg", jpeg(Clip(13, 90, 160, 1, 24)), "image/jpeg")
    answer = submit(client, prompt="It moves.", files={"image_file": picture})
    assert answer.status_code == 303
    assert desk.jobs[0].quote.aspect_ratio == "9:16"
    upload = desk.jobs[0].form["image"].removeprefix("upload://")
    shown = client.get(f"/studio/uploads/{upload}")
    assert (shown.content, shown.headers["content-type"]) == (picture[1], "image/jpeg")
    again = client.get(f"/?from={desk.jobs[0].id}")
    assert f'src="/studio/uploads/{upload}"' in again.text
    removed = multipart(client, "/studio/remove", fields(again) | {"remove": "image"})
    kept = fields(removed)
    assert (kept["image"], kept["prompt"]) == ("", "It moves.")


def test_what_is_no_picture_is_refused_at_its_field(client, desk):
    answer = submit(
        client, prompt="It moves.", files={"image_file": ("a.png", b"GIF", "image/png")}
    )
    assert answer.status_code == 422
    assert "no picture that can be read" in answer.text
    assert desk.jobs == []


def test_cancel_says_what_becomes_of_the_credits(client, desk, clock):
    address = submit(client, prompt="A kite.").headers["location"]
    page = client.get(address)
    assert "Your 10 credits come back if you cancel." in page.text
    clock.advance(0.6 + WAIT + 3)
    client.post(f"{address}/cancel", data=fields(page, f"{address}/cancel"))
    stopping = client.get(address)
    assert "Stopping…" in stopping.text
    assert "come back unless the video finishes first" in stopping.text
    clock.advance(2)
    assert "Your 10 credits were returned." in client.get(address).text
    assert desk.available == 500


def test_a_failure_is_told_in_words_with_its_credits_and_a_way_on(client, desk, clock):
    address = submit(client, prompt="A gigantic stadium.").headers["location"]
    clock.advance(60)
    page = client.get(address)
    assert "Too big for the worker" in page.text
    assert "10 credits were returned" in page.text
    assert "Try again · 10 credits" in page.text
    assert desk.jobs[0].id in page.text


def test_vary_makes_the_same_with_another_seed(client, desk, clock):
    address = submit(client, prompt="A kite.", seed="7").headers["location"]
    clock.advance(60)
    form = fields(client.get(address), f"{address}/vary")
    first = client.post(f"{address}/vary", data=form)
    assert client.post(f"{address}/vary", data=form).headers == first.headers
    assert [job.form["seed"] for job in desk.jobs] == [7, None]


def test_vary_at_another_price_asks_first(client, desk, clock):
    address = submit(client, prompt="A kite.").headers["location"]
    clock.advance(60)
    form = fields(client.get(address), f"{address}/vary") | {"quoted": "3"}
    answer = client.post(f"{address}/vary", data=form)
    assert answer.headers["location"] == f"/?from={desk.jobs[0].id}&vary=true"
    assert len(desk.jobs) == 1


def test_reuse_brings_back_everything_with_the_seed(client, desk, clock):
    asked = {
        "prompt": "A kite.",
        "seed": "7",
        "mode": "pro",
        "resolution": "540p",
        "duration": "8",
        "camera_motion": "focus_shift",
        "guidance_scale": "3.5",
        "negative_prompt": "blur",
        "detailer": "on",
    }
    priced = submit(client, **asked)
    submit(client, priced)
    again = fields(client.get(f"/?from={desk.jobs[0].id}"))
    assert {name: again[name] for name in asked} == asked
    assert (
        "seed" not in again
        or fields(client.get(f"/?from={desk.jobs[0].id}&vary=true"))["seed"] == ""
    )


def test_a_richer_prompt_is_shown_first_taken_and_undone(client):
    page = client.get("/")
    shown = multipart(client, "/studio/enhance", fields(page) | {"prompt": "A kite"})
    sent = fields(shown)
    assert sent["prompt"] == "A kite"
    assert sent["enhanced"].startswith("A kite. The camera")
    taken = multipart(client, "/studio/enhanced", sent)
    assert fields(taken)["prompt"] == sent["enhanced"]
    undone = multipart(client, "/studio/undo", fields(taken) | {"undo": "A kite"})
    assert fields(undone)["prompt"] == "A kite"


def test_without_a_prompt_writer_the_prompt_stays(client, desk):
    desk.enhancer_up = False
    answer = multipart(client, "/studio/enhance", fields(client.get("/")) | {"prompt": "A kite"})
    assert answer.status_code == 503
    assert "cannot be reached now" in answer.text
    assert fields(answer)["prompt"] == "A kite"


def test_the_library_filters_and_pages(client, past):
    everything = client.get("/library").text
    assert everything.count("<article") == 7
    assert client.get("/library?show=favourites").text.count("<article") == 2
    assert client.get("/library?show=failed").text.count("<article") == 1
    assert "Nothing is running now." in client.get("/library?show=running").text
    for number in range(30):
        past.add({"prompt": f"clip {number}", "resolution": "540p", "duration": 2}, past.now())
    first = client.get("/library")
    older = re.search(r'href="(/library\?show=all&amp;cursor=\d+)"', first.text)
    assert older
    rest = client.get(older[1].replace("&amp;", "&"))
    assert (first.text.count("<article"), rest.text.count("<article")) == (24, 13)


def test_favourites_are_marked_and_unmarked(client, past):
    job = past.jobs[1]
    address = f"/g/{job.id}/favourite"
    for expected in (True, False):
        form = fields(client.get(f"/g/{job.id}"), address)
        assert client.post(address, data=form).headers["location"] == f"/g/{job.id}"
        assert job.favourite is expected


def test_delete_asks_first(client, past):
    job = past.jobs[0]
    asked = client.get(f"/g/{job.id}/delete")
    assert "removed for good" in asked.text
    answer = client.post(f"/g/{job.id}/delete", data=fields(asked, f"/g/{job.id}/delete"))
    assert answer.headers["location"] == "/library?deleted=true"
    assert client.get(f"/g/{job.id}").status_code == 404


def test_the_ledger_is_shown(client, past):
    page = client.get("/credits").text
    assert "Welcome credits" in page
    assert "+500" in page
    assert "Returned" in page


def test_the_theme_is_remembered(client):
    answer = client.post("/studio/theme", data={"theme": "dark", "back": "/library"})
    assert answer.headers["location"] == "/library"
    assert '<html lang="en" data-theme="dark">' in client.get("/library").text


@pytest.mark.parametrize("theme", ["blue", "", '"><script>'])
def test_a_theme_that_is_none_is_not_taken(client, theme):
    client.post("/studio/theme", data={"theme": theme, "back": "/"})
    assert 'data-theme="system"' in client.get("/").text


def test_who_is_not_signed_in_is_asked_to_and_comes_back(client):
    client.post("/sign-out", data={"csrf": fields(client.get("/"), "/sign-out")["csrf"]})
    asked = client.get("/library?show=failed")
    assert asked.headers["location"] == "/sign-in?next=%2Flibrary%3Fshow%3Dfailed"
    form = fields(client.get(asked.headers["location"]), "/sign-in")
    wrong = client.post("/sign-in", data=form | {"key": "wrong"})
    assert wrong.status_code == 401
    assert "That key is not known" in wrong.text
    right = client.post("/sign-in", data=form | {"key": KEY})
    assert right.headers["location"] == "/library?show=failed"
