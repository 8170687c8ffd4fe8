"""Webhooks of accounts: written with the change, signed, repeated, given up, sent again."""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from gateway.database import Database
from gateway.refusals import NotFound
from gateway.tables import EventRow
from gateway.webhooks.outgoing import signing
from gateway.webhooks.outgoing.outbox import Outbox, sender
from gateway.webhooks.outgoing.post import Answered
from gateway.webhooks.outgoing.schedule import PAUSES
from tests.gateway.api.receiver import Receiver
from tests.gateway.api.site import FORM, Site, refused
from tests.gateway.eventually import eventually


class Scripted:
    """Answers with these statuses, the last one for all that follow, and keeps what was sent."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.sent = []

    def __call__(self, url, body, headers):
        self.sent.append((url, body, headers))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return Answered(status)


def outbox(site, *statuses):
    send = Scripted(*statuses)
    return Outbox(site.core.database, site.clock, send=send), send


def event(site, number=0):
    with site.core.database.read() as session:
        return session.scalars(select(EventRow).order_by(EventRow.id)).all()[number]


def canceled(site, url="https://hooks.example/a"):
    """A generation that has ended, whose event waits."""
    site.clock.move(1)
    made = site.create(webhook_url=url)
    site.client.post(made["urls"]["cancel"])
    return made["id"]


def test_the_end_of_a_generation_is_told_to_a_real_receiver(site, caplog):
    receiver = Receiver(200)
    with receiver.serving() as url, caplog.at_level(logging.INFO, "gateway"):
        name, job = site.started(webhook_url=url + "?key=secret")
        site.runpod.complete(job)
        site.turn(90)
        assert site.core.outbox.deliver_due() == 1
        assert site.core.outbox.deliver_due() == 0
    (got,) = receiver.got
    body = json.loads(got.body)
    assert body["type"] == "generation.completed"
    assert body["timestamp"].startswith("2026-12-02T09:")
    assert body["data"] == site.see(name)
    assert got.headers["webhook-id"] == event(site).id
    signing.verify(site.secret(), got.headers, got.body, now=site.clock.now().timestamp())
    assert event(site).state == "delivered"
    assert b'ltx2_gateway_webhooks_total{outcome="taken"} 1.0' in (
        site.app.state.guards.metrics.text()
    )
    assert "key=secret" not in caplog.text


def test_a_secret_is_replaced_without_losing_a_webhook(site):
    (old,) = site.client.get("/api/webhook-secrets").json()["secrets"]
    new, before = site.client.post("/api/webhook-secrets").json()["secrets"]
    assert (before, new != old) == (old, True)
    canceled(site)
    box, send = outbox(site, 200)
    box.deliver_due()
    (_, body, headers), now = send.sent[0], site.clock.now().timestamp()
    for secret in (old, new):
        signing.verify(secret, headers, body, now=now)
    newest, kept = site.client.post("/api/webhook-secrets").json()["secrets"]
    assert kept == new
    with pytest.raises(signing.SignatureRefused):
        signing.verify(newest, headers, body, now=now)


def test_a_webhook_to_a_private_host_is_refused_when_it_is_named(tmp_path, database):
    site = Site(tmp_path, database=database, private_webhooks=False)
    try:
        for url in ("http://hooks.example/a", "https://127.0.0.1/a", "https://[::1]/a", 7, "x"):
            answer = site.client.post("/api/generations", json={**FORM, "webhook_url": url})
            assert refused(answer, 400, "invalid_request_error")["param"] == "webhook_url"
        canceled(site, "https://localhost/a")  # a name, which is looked up when it is called
        send = sender(allow_private=False)
        Outbox(site.core.database, site.clock, send=send).deliver_due()
        assert "public address" in event(site).last_result
    finally:
        site.close()


def test_a_failed_try_is_repeated_with_the_same_id_and_body(site):
    canceled(site)
    box, send = outbox(site, 500, 503, 200)
    assert box.deliver_due() == 1
    assert box.deliver_due() == 0
    assert (event(site).state, event(site).last_result) == ("pending", "status 500")
    site.clock.move(5)
    assert box.deliver_due() == 1
    site.clock.move(299)
    assert box.deliver_due() == 0
    site.clock.move(1)
    assert box.deliver_due() == 1
    assert (event(site).state, event(site).attempts) == ("delivered", 3)
    assert len({body for _, body, _ in send.sent}) == 1
    assert len({headers["webhook-id"] for _, _, headers in send.sent}) == 1
    assert len({headers["webhook-timestamp"] for _, _, headers in send.sent}) == 3


def test_after_the_last_try_it_is_given_up_and_can_be_sent_again_by_hand(site):
    canceled(site)
    box, send = outbox(site, 500)
    for pause in PAUSES:
        site.clock.move(pause)
        box.deliver_due()
    site.clock.move(10**6)
    assert box.deliver_due() == 0
    assert (event(site).state, len(send.sent)) == ("given_up", len(PAUSES))
    send.statuses = [200]
    box.redeliver(event(site).id)
    assert box.deliver_due() == 1
    assert event(site).state == "delivered"
    with pytest.raises(NotFound):
        box.redeliver("evt_0")


def test_a_receiver_that_is_gone_gets_nothing_more_until_it_is_taken_back(site):
    canceled(site)
    box, send = outbox(site, 410)
    box.deliver_due()
    assert event(site).state == "refused"
    canceled(site)
    other = canceled(site, "https://hooks.example/b")
    box.deliver_due()
    assert [url for url, _, _ in send.sent] == [
        "https://hooks.example/a", "https://hooks.example/b",
    ]  # fmt: skip
    assert event(site, 1).state == "refused"
    assert "not sent" in event(site, 1).last_result
    assert event(site, 2).generation_id == other
    send.statuses = [200]
    box.redeliver(event(site, 1).id)
    box.deliver_due()
    assert event(site, 1).state == "delivered"
    canceled(site)
    box.deliver_due()
    assert event(site, 3).state == "delivered"


def test_a_receiver_that_is_gone_is_so_from_its_refusal_on_not_from_the_events_moment(site):
    canceled(site)
    box, send = outbox(site, 500, 200, 410)
    box.deliver_due()
    canceled(site)  # taken, between the first event's two tries
    box.deliver_due()
    site.clock.move(5)
    box.deliver_due()
    assert [event(site, number).state for number in (0, 1)] == ["refused", "delivered"]
    canceled(site)
    box.deliver_due()
    assert (event(site, 2).state, len(send.sent)) == ("refused", 3)


def test_a_receiver_that_takes_again_what_it_refused_is_taken_back(site):
    canceled(site)
    box, send = outbox(site, 410)
    box.deliver_due()
    send.statuses = [200]
    box.redeliver(event(site).id)
    box.deliver_due()
    canceled(site)
    box.deliver_due()
    assert [event(site, number).state for number in (0, 1)] == ["delivered"] * 2
    assert event(site).refused_at is None


def test_every_try_sends_the_same_bytes_whatever_becomes_of_the_generation(site):
    name = canceled(site)
    box, send = outbox(site, 500, 200)
    box.deliver_due()
    site.client.put(f"/api/generations/{name}/favourite")
    assert site.client.delete(f"/api/generations/{name}").is_success
    site.clock.move(5)
    box.deliver_due()
    assert event(site).state == "delivered"
    (_, first, _), (_, second, _) = send.sent
    assert first == second
    assert b"heron" in first
    assert event(site).body is None  # and nothing more is told of what was deleted
    with pytest.raises(NotFound, match="deleted"):
        box.redeliver(event(site).id)


def test_five_days_of_failure_disable_a_receiver(site):
    box, send = outbox(site, 500)
    for _ in range(5):
        canceled(site)
        for pause in PAUSES:
            site.clock.move(pause)
            box.deliver_due()
    assert [event(site, number).state for number in range(4)] == ["given_up"] * 4
    assert event(site, 4).state == "refused"
    count = len(send.sent)
    canceled(site)
    box.deliver_due()
    assert len(send.sent) == count


def test_an_event_whose_sender_died_is_sent_again(site):
    canceled(site)

    def dies(url, body, headers):
        raise SystemExit

    box = Outbox(site.core.database, site.clock, send=dies)
    with pytest.raises(SystemExit):
        box.deliver_due()
    box, send = outbox(site, 200)
    assert box.deliver_due() == 0
    site.clock.move(61)
    assert box.deliver_due() == 1
    assert (event(site).state, len(send.sent)) == ("delivered", 1)


def test_receivers_that_never_answer_hold_up_no_other_account(site):
    gate, calls, lock = threading.Event(), [], threading.Lock()

    def send(url, body, headers):
        with lock:
            calls.append(url)
        if "tar" in url:
            gate.wait(30)
        return Answered(200)

    for number in range(4):
        canceled(site, f"https://tar.example/{number}")
    site.clock.move(1)
    _, key = site.newcomer("Bob")
    other = site.browser(authorization=f"Bearer {key}")
    made = other.post("/api/generations", json={**FORM, "webhook_url": "https://b.example/"})
    other.post(made.json()["urls"]["cancel"])
    box = Outbox(site.core.database, site.clock, send=send)
    turn = threading.Thread(target=box.deliver_due)
    turn.start()
    try:
        eventually(lambda: event(site, 4).state == "delivered")
        assert sorted(calls) == [
            "https://b.example/",
            *(f"https://tar.example/{n}" for n in (0, 1)),
        ]
    finally:
        gate.set()
        turn.join(30)
    assert [event(site, number).state for number in range(5)] == ["delivered"] * 5


ROUNDS, EVENTS = 12, 6  # races, and what is raced for in each


def test_two_senders_do_not_send_one_event_twice(site, database):
    _, sent = outbox(site, 200)
    begin, theirs = threading.Barrier(2), Database(database)  # as another process has it

    def deliver(mine):
        box = Outbox(mine, site.clock, send=sent)
        begin.wait(30)
        return box.deliver_due()

    try:
        with ThreadPoolExecutor(2) as pool:
            for _ in range(ROUNDS):
                before = len(sent.sent)
                for _ in range(EVENTS):
                    canceled(site)
                assert sum(pool.map(deliver, (site.core.database, theirs))) == EVENTS
                ids = [headers["webhook-id"] for _, _, headers in sent.sent[before:]]
                assert len(ids) == len(set(ids)) == EVENTS
    finally:
        theirs.close()
    with site.core.database.read() as session:
        rows = session.scalars(select(EventRow)).all()
    assert {(each.state, each.attempts) for each in rows} == {("delivered", 1)}


def test_who_names_no_receiver_gets_no_event(site):
    made = site.create()
    site.client.post(made["urls"]["cancel"])
    with site.core.database.read() as session:
        assert session.scalars(select(EventRow)).all() == []
