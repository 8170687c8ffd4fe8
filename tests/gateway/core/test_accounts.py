"""Keys and logins: who is known, for how long, and what is stored of a secret. Both databases."""

import pytest
from sqlalchemy import text

from gateway.refusals import NotFound, Unauthorised
from gateway.tables import KeyRow, SessionRow
from tests.gateway.house import CREDITS


def test_a_key_says_whose_it_is_until_it_is_revoked(house):
    made = house.core.accounts.new_key(house.account.id, "laptop")
    assert house.desk.account(made.key) == house.account
    session = house.desk.login(made.key)
    house.core.accounts.revoke(made.id)
    for call in (house.desk.account, house.desk.login):
        with pytest.raises(Unauthorised):
            call(made.key)
    with pytest.raises(Unauthorised):
        house.desk.session(session.token)


def test_of_keys_and_cookies_only_digests_are_stored(house):
    made = house.core.accounts.new_key(house.account.id, "laptop")
    session = house.desk.login(made.key)
    with house.core.database.read() as stored:
        (key,) = stored.query(KeyRow).all()
        (row,) = stored.query(SessionRow).all()
        everything = str([vars(key), vars(row)])
    assert made.key not in everything
    assert session.token not in everything
    assert made.key.startswith(key.shown)


@pytest.mark.parametrize("key", ["", "ltx2_", "x" * 5000, "\ud800", "ltx2_' OR 1=1 --"])
def test_what_is_no_key_is_not_let_in(house, key):
    with pytest.raises(Unauthorised):
        house.desk.account(key)
    with pytest.raises(Unauthorised):
        house.desk.session(key)


def test_a_login_ends_by_itself_and_by_logging_out(house):
    made = house.core.accounts.new_key(house.account.id, "laptop")
    first, second = house.desk.login(made.key), house.desk.login(made.key)
    assert first.csrf != second.csrf
    assert house.desk.session(first.token) == first
    house.desk.logout(first.token)
    house.desk.logout(first.token)
    with pytest.raises(Unauthorised):
        house.desk.session(first.token)
    house.clock.move(30 * 86_400)
    with pytest.raises(Unauthorised):
        house.desk.session(second.token)
    house.desk.login(made.key)
    with house.core.database.read() as stored:
        assert stored.query(SessionRow).count() == 1  # those that are over are not kept


def test_keys_belong_to_accounts_that_are_there(house):
    with pytest.raises(NotFound):
        house.core.accounts.new_key("acc_x", "laptop")
    with pytest.raises(NotFound):
        house.core.accounts.revoke("key_x")
    assert [(each.name, n, held) for each, n, held in house.core.accounts.all()] == [
        ("Ada", CREDITS, 0)
    ]


def test_the_last_use_of_a_key_is_noted_now_and_then(house):
    made = house.core.accounts.new_key(house.account.id, "laptop")
    house.desk.account(made.key)
    used = house.core.accounts.keys(house.account.id)[0].used_at
    house.clock.move(60)
    house.desk.account(made.key)
    assert house.core.accounts.keys(house.account.id)[0].used_at == used
    house.clock.move(600)
    house.desk.account(made.key)
    assert house.core.accounts.keys(house.account.id)[0].used_at > used


def test_secrets_of_receivers_are_of_the_standard_form(house):
    with house.core.database.read() as stored:
        secret = stored.execute(text("SELECT webhook_secret FROM accounts")).scalar_one()
    assert secret.startswith("whsec_")
