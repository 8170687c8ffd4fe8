"""What is read as a body, and what is refused before anything else looks at it."""

import pytest

from gateway.api.json_body import parse_object
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
