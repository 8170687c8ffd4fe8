"""A studio on one's own machine: nobody pays, so nothing has a price."""

import html
import re
import shlex

import pytest
from playwright.sync_api import expect
from starlette.testclient import TestClient

from ltx2.cli import build_parser
from tests.gateway.studio.sample_app import create_app
from tests.gateway.studio.sample_timeline import WAIT, WORK
from tests.gateway.studio.test_without_script import fields, submit

MONEY = re.compile(r"credit|price|paid|\$\d|\+50%|/s\b", re.IGNORECASE)


@pytest.fixture
def home(desk):
    """A browser without script."""
    with TestClient(create_app(desk, local=True), follow_redirects=False) as client:
        yield client


def words(page):
    """What people read of a page."""
    told = re.sub(r"<noscript>.*?</noscript>|<[^>]*>", " ", page.text, flags=re.S)
    told += " ".join(re.findall(r'title="([^"]*)"', page.text))
    return html.unescape(told)


def test_no_page_speaks_of_money(home, desk, clock):
    assert "Free on this machine" in words(home.get("/"))
    address = submit(home, prompt="A kite.", duration="8").headers["location"]
    submit(home, prompt="A gigantic stadium.")
    pages = ["/", address, "/library", "/?from=" + desk.jobs[0].id]
    for seconds in (0, 0.6 + WAIT + 3, WORK, WORK):
        clock.advance(seconds)
        for each in (*pages, f"/g/{desk.jobs[1].id}", f"{address}/delete"):
            assert not MONEY.search(words(home.get(each))), each
    assert "Too big for the worker" in words(home.get(f"/g/{desk.jobs[1].id}"))
    third = submit(home, prompt="Another.").headers["location"]
    clock.advance(0.6 + WAIT + 1)
    home.post(f"{third}/cancel", data=fields(home.get(third), f"{third}/cancel"))
    assert "The video may still finish first." in words(home.get(third))
    clock.advance(3)
    assert "Cancelled" in words(home.get(third))
    assert not MONEY.search(words(home.get(third)))


def test_there_is_no_page_of_credits(home):
    page = home.get("/credits")
    assert page.status_code == 404
    assert "There is no such page." in words(page)
    assert "deleted" not in words(page)
    assert 'href="/credits"' not in home.get("/").text


def test_what_costs_nothing_is_made_at_once_whatever_the_form_was_priced_at(home, desk, clock):
    address = submit(home, prompt="A kite.", duration="10").headers["location"]
    clock.advance(60)
    form = fields(home.get(address), f"{address}/vary") | {"quoted": "3"}
    assert home.post(f"{address}/vary", data=form).headers["location"].startswith("/g/")
    assert [job.form["duration"] for job in desk.jobs] == [10, 10]


def test_a_key_is_made_as_the_page_says(home, desk):
    page = home.get(submit(home, prompt="A kite.").headers["location"])
    text = html.unescape(re.search(r'id="code-key"[^>]*>(.*?)</pre>', page.text, re.S)[1])
    folder, *command = shlex.split(re.fullmatch(r"export GATEWAY_KEY=\$\((.*)\)", text)[1])
    assert folder == "LTX2_GATEWAY_FOLDER=ltx2-studio"
    options = build_parser().parse_args(command[1:])
    assert (options.account, options.name) == (desk.account.id, "scripts")


def test_the_button_has_no_price_and_still_says_what_is_made(at_home, desk):
    page = at_home()
    expect(page.locator("#makes")).to_have_text("1280 × 704 · 5.0 s · 24 fps")
    page.get_by_label("Prompt", exact=True).fill("A kite.")
    page.locator('label:has(input[name="duration"][value="8"])').click()
    page.get_by_role("switch", name="Detailer").check()
    page.locator("#go").click()  # before anybody knows a price
    expect(page.get_by_role("heading", name="A kite.")).to_be_visible()
    expect(page.locator("#go-label")).to_have_text("Generate")
    expect(page.locator("#makes")).to_have_text("1280 × 704 · 8.0 s · 24 fps")
    expect(page.locator("#after")).to_have_text("Free on this machine")
    expect(page.locator(".balance")).to_have_count(0)
    assert desk.jobs[0].form["duration"] == 8
    assert not MONEY.search(page.locator("body").inner_text())
