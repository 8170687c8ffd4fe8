"""The studio in the whole gateway: real accounts and credits, a scripted worker."""

import html
import json
import re
import shlex

import pytest
from sqlalchemy import func, select

from gateway.tables import SessionRow
from ltx2.cli import build_parser
from tests.gateway.api.site import Site
from tests.gateway.house import PUBLIC
from tests.gateway.studio.test_without_script import fields, multipart, submit


@pytest.fixture
def opened(database_url, tmp_path):
    """Opens a test's site, on each kind of database."""
    sites = []

    def site(**settings):
        assert not sites, "a database is one site's"
        sites.append(Site(tmp_path, database=database_url, **settings))
        return sites[0]

    yield site
    for each in sites:
        each.close()


@pytest.fixture
def site(opened):
    return opened()


@pytest.fixture
def visitor(site):
    """A browser without script, signed in."""
    return signed_in(site, site.key)


def signed_in(site, key):
    browser = site.browser()
    assert browser.post("/sign-in", data={"key": key, "next": "/"}).status_code == 303
    return browser


def test_from_the_form_to_the_video(site, visitor):
    page = visitor.get("/")
    shown = int(re.search(r"Generate · ([\d,]+) credits", page.text)[1])
    address = submit(visitor, page, prompt="A heron lifts off a misty lake.").headers["location"]
    assert site.balance() == (500 - shown, shown)
    assert "Next in the queue" in visitor.get(address).text
    site.turn()
    assert "Waiting for a GPU" in visitor.get(address).text
    site.runpod.complete(site.runpod.job(address.rpartition("/")[2]))
    site.turn(90)
    done = visitor.get(address).text
    assert f"{shown} credits paid" in done
    assert site.balance() == (500 - shown, 0)
    source = re.search(r'<source src="([^"]+)"', done)[1]
    part = visitor.get(source, headers={"range": "bytes=0-99"})
    assert (part.status_code, part.headers["content-type"]) == (206, "video/mp4")
    saved = visitor.get(re.search(r'href="([^"]+)" download=', done)[1])
    assert saved.headers["content-disposition"].startswith("attachment; ")


def test_over_https_the_cookie_is_of_this_host_alone(site):
    browser = site.browser()
    said = browser.post("/sign-in", data={"key": site.key, "next": "/"}).headers["set-cookie"]
    name, *traits = said.split("; ")
    assert name.startswith("__Host-ltx2_session=")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(traits)
    assert "Domain" not in said
    assert browser.get("/library").status_code == 200
    form = {"csrf": fields(browser.get("/library"), "/sign-out")["csrf"]}
    assert browser.post("/sign-out", data=form).status_code == 303
    assert browser.get("/library").headers["location"].startswith("/sign-in")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (PUBLIC, 303),
        (PUBLIC.replace("https:", "http:"), 403),
        ("https://evil.example", 403),
        ("https://10.0.0.7", 403),
        ("null", 403),
    ],
)
def test_behind_a_proxy_of_another_name_one_can_sign_in(site, origin, status):
    headers = {"origin": origin, "host": "10.0.0.7:8080"}  # the name that the proxy knows us by
    answer = site.browser().post("/sign-in", data={"key": site.key}, headers=headers)
    assert answer.status_code == status
    theme = site.browser().post("/studio/theme", data={"theme": "dark"}, headers=headers)
    assert theme.status_code == status


def sessions(site):
    with site.core.database.read() as session:
        return session.scalar(select(func.count()).select_from(SessionRow))


def test_a_studio_of_ones_own_has_one_session(opened):
    site = opened(local_account="me", public_url=None)
    tabs = [site.browser(host="127.0.0.1") for _ in range(3)]
    forms = [fields(tab.get("/")) for tab in tabs]
    assert len({form["csrf"] for form in forms}) == 1
    assert sessions(site) == 1
    assert tabs[0].post("/sign-out", data={"csrf": forms[0]["csrf"]}).status_code == 303
    assert fields(tabs[0].get("/"))["csrf"] != forms[0]["csrf"]
    assert sessions(site) == 1


def test_pages_of_other_sites_do_not_log_in(opened):
    site = opened(local_account="me", public_url=None)
    strange = site.browser(host="127.0.0.1", **{"sec-fetch-site": "cross-site"})
    for answer in (
        strange.get("/", headers={"sec-fetch-dest": "iframe"}),
        strange.get("/studio/jobs"),
        strange.post("/", data={"prompt": "x"}),
        site.browser(host="127.0.0.1").post("/studio/quote", data={"prompt": "x"}),
    ):
        assert answer.headers["location"].startswith("/sign-in")
        assert "set-cookie" not in answer.headers
    assert sessions(site) == 0
    followed = strange.get("/", headers={"sec-fetch-dest": "document"})  # a link to the studio
    assert followed.status_code == 200
    assert sessions(site) == 1


def test_only_a_form_that_nobody_can_mend_says_by_which_request(site, visitor):
    page = submit(visitor, prompt="")
    assert page.status_code == 422
    assert "data-request hidden" in page.text
    site.runpod.enhanced = None  # the worker has no language model
    sent = fields(visitor.get("/")) | {"prompt": "A kite."}
    page = multipart(visitor, "/studio/enhance", sent)
    assert page.status_code == 503
    assert f"Request {page.headers['x-request-id']}" in page.text


def test_what_is_copied_names_the_public_address(site, visitor):
    address = submit(visitor, prompt="A kite.").headers["location"]
    page = html.unescape(visitor.get(address, headers={"host": "10.0.0.7:8080"}).text)
    assert f"{PUBLIC}/api/generations" in page
    assert "10.0.0.7" not in page
    assert "ask who runs this site for one" in page
    assert "ltx2 gateway key" not in page


def test_a_cancelled_video_costs_nothing(site, visitor):
    address = submit(visitor, prompt="A kite.").headers["location"]
    form = fields(visitor.get(address), f"{address}/cancel")
    visitor.post(f"{address}/cancel", data=form)
    assert "were returned" in visitor.get(address).text
    assert site.balance() == (500, 0)


def test_what_was_asked_can_be_asked_again_in_every_way(site, visitor):
    priced = submit(
        visitor,
        prompt="It's late.\nA kite.",
        mode="pro",
        duration="4",
        resolution="540p",
        seed="7",
        guidance_scale="3.5",
        negative_prompt="blur",
        camera_motion="dolly_in",
    )
    address = submit(visitor, priced).headers["location"]
    made = site.core.front.generation(site.account, address.rpartition("/")[2])
    again = fields(visitor.get(f"/?from={made.id}"))
    assert (again["seed"], again["guidance_scale"], again["mode"]) == ("7", "3.5", "pro")

    page = visitor.get(address).text
    curl, _, command = (
        html.unescape(each) for each in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.S)
    )
    words = shlex.split(curl.replace("\\\n", ""))
    body = json.loads(words[words.index("--data-raw") + 1])
    priced = site.client.post("/api/generations/estimate", json=body)
    assert (priced.status_code, priced.json()["credits"]) == (200, made.credits)
    options = build_parser().parse_args(shlex.split(command.replace("\\\n", ""))[1:])
    assert options.prompt == "It's late.\nA kite."


def test_calls_of_pages_count_as_those_of_the_api(opened):
    site = opened(calls_per_minute=1)
    visitor = signed_in(site, site.key)
    assert visitor.get("/library").status_code == 200
    over = visitor.get("/library")
    assert over.status_code == 429
    assert 0 < int(over.headers["retry-after"]) <= 60
    assert "One moment" in over.text
    assert site.client.get("/api/credits").status_code == 429


def test_who_tries_many_keys_at_the_sign_in_is_told_to_wait(site):
    browser = site.browser()
    said = [browser.post("/sign-in", data={"key": f"ltx2_{n}"}).status_code for n in range(40)]
    assert said[:20] == [401] * 20
    assert 429 in said[20:]
    assert signed_in(site, site.key).get("/").status_code == 200


def test_the_studio_of_one_machine_signs_in_who_comes(opened):
    site = opened(local_account="me", public_url=None)
    browser = site.browser()
    browser.base_url = "http://127.0.0.1:8123"
    page = browser.get("/")
    assert page.status_code == 200
    assert "Sign out" not in page.text
    elsewhere = browser.get("/", headers={"host": "evil.example"})
    assert elsewhere.status_code >= 400


@pytest.mark.parametrize(
    ("address", "status"),
    [("/nope", 404), ("/g/a/b/c", 404), ("/sign-out", 404), ("/?example=x", 400)],
)
def test_a_browser_that_errs_gets_a_page(site, visitor, address, status):
    for browser in (visitor, site.browser()):
        answer = browser.get(address, headers={"accept": "text/html,*/*;q=0.8"})
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["x-request-id"].startswith("req_")
        assert "To the studio" in answer.text
        assert answer.headers["x-request-id"] in answer.text
    machine = visitor.get(address)
    assert machine.json()["type"] == "error"
    assert visitor.get("/api/nope", headers={"accept": "text/html"}).json()["type"] == "error"


def test_another_account_sees_nothing_of_it(site, visitor):
    address = submit(visitor, prompt="A kite.").headers["location"]
    _, key = site.newcomer("Bob")
    other = signed_in(site, key)
    assert other.get(address).status_code == 404
    assert other.get(f"/?from={address.rpartition('/')[2]}").status_code == 404
    form = {"csrf": fields(other.get("/"))["csrf"]}
    assert other.post(f"{address}/cancel", data=form).status_code == 404
    assert "Next in the queue" in visitor.get(address).text


def test_what_the_form_refuses_the_core_refuses_with_words_at_the_field(site, visitor):
    page = visitor.get("/")
    answer = submit(visitor, page, prompt="A kite.", guidance_scale="3.5", duration="7")
    assert answer.status_code == 422
    for field in ("guidance_scale", "duration"):
        assert f'href="#f-{field}"' in answer.text
    told = multipart(visitor, "/studio/quote", fields(page) | {"seed": "-1"})
    assert 'data-problem="seed">' in told.text
    assert not re.search(r'data-problem="seed" hidden', told.text)
    for name in ("guidance_scale ", "duration "):
        assert name not in re.sub(r"<[^>]*>", "", answer.text)
    assert "Length 7 is not available for fast at 720p" in answer.text
