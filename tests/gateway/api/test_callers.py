"""Who may call: keys, cookies with their token, and how often."""

import pytest

from gateway.cookies import LOGIN, login_name
from tests.gateway.api.site import FORM, Site, refused


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer nonsense", "Bearer \xe9"]
)
def test_without_a_key_nothing_is_answered(site, header):
    stranger = site.browser(
        **({} if header is None else {"authorization": header.encode("latin-1")})
    )
    answer = stranger.get("/api/credits")
    refused(answer, 401, "authentication_error")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key_is_a_stranger_s(site):
    made = site.core.accounts.new_key(site.account.id, "other")
    caller = site.browser(authorization=f"Bearer {made.key}")
    assert caller.get("/api/credits").status_code == 200
    site.core.accounts.revoke(made.id)
    refused(caller.get("/api/credits"), 401, "authentication_error")


@pytest.fixture
def login(site):
    return site.core.accounts.login(site.key)


@pytest.fixture
def browser(site, login):
    caller = site.browser()
    caller.cookies.set(login_name(secure=True), login.token)
    return caller


def test_the_studio_s_cookie_reads(browser):
    assert browser.get("/api/credits").json()["available"] == 500


def test_a_cookie_that_another_host_could_have_set_logs_nobody_in(site, login):
    caller = site.browser()
    caller.cookies.set(LOGIN, login.token)
    refused(caller.get("/api/credits"), 401, "authentication_error")
    assert caller.get("/library").headers["location"].startswith("/sign-in")


def test_the_cookie_changes_things_only_with_the_page_s_token(browser, login):
    for headers in ({}, {"x-csrf-token": "guessed"}, {"x-csrf-token": ""}):
        answer = browser.post("/api/generations", json=FORM, headers=headers)
        refused(answer, 403, "permission_error")
    made = browser.post("/api/generations", json=FORM, headers={"x-csrf-token": login.csrf})
    assert made.status_code == 202


@pytest.mark.parametrize("site_name", ["cross-site", "same-site"])
def test_another_site_s_page_gets_nowhere_even_with_the_token(browser, login, site_name):
    headers = {"x-csrf-token": login.csrf, "sec-fetch-site": site_name}
    refused(browser.post("/api/generations", json=FORM, headers=headers), 403, "permission_error")


def test_a_key_needs_no_token(client):
    answer = client.post("/api/generations", json=FORM, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 202


def test_a_login_that_is_over_is_a_stranger_s(site, browser):
    site.clock.move(31 * 86_400)
    refused(browser.get("/api/credits"), 401, "authentication_error")


def test_an_account_that_calls_too_often_is_told_when_to_come_again(tmp_path, database):
    site = Site(tmp_path, database=database, calls_per_minute=6)
    try:
        answers = [site.client.get("/api/credits") for _ in range(3)]
        assert [each.status_code for each in answers] == [200, 200, 429]
        refused(answers[-1], 429, "rate_limit_error")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
        _, key = site.newcomer("Bob")
        assert site.browser(authorization=f"Bearer {key}").get("/api/credits").status_code == 200
        assert site.client.get("/api/models").status_code == 200
        numbers = site.app.state.guards.metrics.text()
        assert b'ltx2_gateway_limited_total{kind="rate_limit_error"} 1.0' in numbers
    finally:
        site.close()


def test_an_address_that_guesses_keys_is_told_to_wait_but_a_good_key_is_let_in(site):
    guesser = site.browser()
    statuses = [
        guesser.get("/api/credits", headers={"authorization": f"Bearer ltx2_{n}"}).status_code
        for n in range(25)
    ]
    assert statuses == [401] * 20 + [429] * 5
    assert site.client.get("/api/credits").status_code == 200
