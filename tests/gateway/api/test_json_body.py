"""What is read as a body, and what is refused before anything else looks at it."""

import asyncio
import json
import threading

import pytest
from starlette.requests import Request

from gateway.api import json_body
from gateway.api.json_body import FORM_BYTES, parse_object, read_object
from gateway.refusals import Problems


def test_an_object_is_read():
    assert parse_object('{"prompt": "Regen über Köln ☔", "seed": 7}'.encode()) == {
        "prompt": "Regen über Köln ☔",
        "seed": 7,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "must be JSON"),
        (b"[1]", "a JSON object"),
        (b'"a"', "a JSON object"),
        (b"{", "must be JSON"),
        (b'{"a": 1, "a": 2}', "given twice"),
        (b'{"a": NaN}', "no number"),
        (b'{"a": -Infinity}', "no number"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b'{"\\udfff": 1}', "surrogates"),
        (b'{"a": ' * 20 + b"1" + b"}" * 20, "nested"),
        (b'{"a": ' * 100_000, "nested"),
        (b'{"a": [[' * 3 + b"]" * 6, "must be JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "must be JSON"),
    ],
)
def test_what_is_no_object_is_refused(text, said):
    with pytest.raises(Problems, match=said):
        parse_object(text)


def test_a_form_with_the_longest_texts_in_their_longest_spelling_fits():
    texts = {"prompt": "\U0001f600" * 10_000, "negative_prompt": "\U0001f600" * 10_000}
    assert len(json.dumps({**texts, "mode": "pro", "loras": ["a" * 100] * 8})) < FORM_BYTES


def test_a_body_is_parsed_on_a_thread_so_that_other_calls_go_on(monkeypatch):
    threads = []

    def parse(text):
        threads.append(threading.get_ident())
        return parse_object(text)

    monkeypatch.setattr(json_body, "parse_object", parse)
    assert asyncio.run(read_object(asked(b'{"prompt": "a"}'))) == {"prompt": "a"}
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


def asked(body):
    """A request with a body of JSON."""

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"application/json")]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)
