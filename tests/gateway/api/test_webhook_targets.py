"""Where a webhook may go: nowhere but to public hosts by https, whatever a name leads to."""

import socket
import threading

import pytest

from gateway.webhooks.outgoing.post import Answered, Unanswered, post, target_refusal
from tests.gateway.api.receiver import Receiver


def sent(url, *, timeout_s=5, allow_private=True):
    return post(
        url, b"{}", {"webhook-id": "evt_1"}, timeout_s=timeout_s, allow_private=allow_private
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "ftp://example.com/hook",
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://8.8.8.8/hook",
        "https://2130706433/hook",
        "https://0x7f.1/hook",
        "https://127.1/hook",
        "https://example.com:8443/hook",
        "https://user:word@example.com/hook",
        "https://exa mple.com/hook",
        "https://example.com\\@127.0.0.1/hook",
        "https:///hook",
        "not a url",
        "https://example.com/" + "a" * 2048,
    ],
)
def test_an_address_that_no_webhook_is_sent_to(url):
    assert target_refusal(url, allow_private=False)


@pytest.mark.parametrize("url", ["https://example.com/hook?a=1", "https://hooks.example.com"])
def test_an_address_that_webhooks_are_sent_to(url):
    assert target_refusal(url, allow_private=False) is None


@pytest.mark.parametrize(
    "number", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "::1", "fd00::1",
               "::ffff:10.0.0.1", "100.64.0.1", "0.0.0.0"]
)  # fmt: skip
def test_a_name_that_leads_to_a_private_number_is_not_called(monkeypatch, number):
    monkeypatch.setattr(socket, "getaddrinfo", answering(["93.184.216.34", number]))
    said = sent("https://rebound.example/hook", allow_private=False)
    assert said == Unanswered(
        "the address must come from a public address; "
        "the host of https://rebound.example/hook is not one"
    )


def answering(numbers):
    """A name server's answer, in the form of getaddrinfo."""

    def getaddrinfo(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in numbers]

    return getaddrinfo


def test_the_receiver_gets_the_body_and_the_headers():
    receiver = Receiver(204)
    with receiver.serving() as url:
        assert sent(url + "?key=1") == Answered(204)
    (got,) = receiver.got
    assert got.path == "/hook?key=1"
    assert got.body == b"{}"
    assert got.headers["webhook-id"] == "evt_1"
    assert got.headers["content-type"] == "application/json"


def test_a_redirect_is_not_followed():
    elsewhere = Receiver(200)
    with elsewhere.serving() as there:
        receiver = Receiver(307, headers={"location": there})
        with receiver.serving() as url:
            assert sent(url) == Answered(307)
    assert elsewhere.got == []


def test_a_receiver_that_does_not_answer_is_left_after_its_time():
    receiver = Receiver(200, hold=threading.Event())
    with receiver.serving() as url:
        assert sent(url, timeout_s=0.3) == Unanswered("no answer within 0.3 s")


def test_nobody_there_is_said_without_the_query():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        said = sent(f"http://127.0.0.1:{port}/hook?secret=1")
    assert said == Unanswered("the connection was refused")
