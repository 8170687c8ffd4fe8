"""A line of a log is written whatever its record holds, the same for worker and gateway."""

import enum
import json
import logging

import pytest

from ltx2.worker.json_lines import LARGEST, MOST_NAME, Lines
from ltx2.worker.scrub import Scrub

LINES = Lines(about=lambda: {"id": "job-1"}, hide=Scrub(["the-secret"]))


class Silent:
    """Has no text."""

    def __str__(self):
        raise RuntimeError("no text")


class Kind(enum.IntEnum):
    """A number by name."""

    ONE = 1


def line(message="told", *values, lines=LINES, **extra):
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, message, values, None)
    record.__dict__.update(extra)
    return json.loads(lines.format(record))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (1.5, 1.5),
        (Kind.ONE, 1),
        (float("nan"), "nan"),
        (LARGEST, str(LARGEST)),
        (10**5000, "[int without a text: ValueError]"),
        (Silent(), "[Silent without a text: RuntimeError]"),
        ([1, Silent], str([1, Silent])),
        (b"\xff", "b'\\xff'"),
        ("with the-secret", "with [secret]"),
        ("\ud800", "\ud800"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_field_of_any_kind_is_written(value, written):
    assert line(fields={"value": value})["value"] == written


def test_a_field_that_holds_itself_is_written():
    own = []
    own.append(own)
    assert line(fields={"own": own})["own"] == "[[...]]"


@pytest.mark.parametrize("fields", [None, 3, [("a", 1)], "text"])
def test_fields_that_are_none_are_passed_over(fields):
    assert set(line(fields=fields)) == {"id", "level", "message", "time", "logger"}


def test_names_of_fields_are_texts_and_take_nothing_elses_place():
    found = line(fields={3: "three", "id": "job-2", "level": "x", Silent(): "s"})
    assert (found["3"], found["id"], found["level"]) == ("three", "job-1", "INFO")
    assert found["[Silent without a text: RuntimeError]"] == "s"


@pytest.mark.parametrize(
    ("message", "values"),
    [("%d", ("three",)), ("%s", (Silent(),)), ("%s %s", (1,)), (Silent(), ())],
    ids=["another kind", "without a text", "too few", "the message itself"],
)
def test_a_message_whose_values_do_not_fit_is_a_line(message, values):
    assert "do not fit" in line(message, *values)["message"]


def test_an_error_without_a_text_has_a_traceback():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    try:
        raise Mute
    except Mute as error:
        found = line(exc_info=(Mute, error, error.__traceback__))
    assert "Mute" in found["traceback"]


def test_a_long_name_of_what_the_line_is_about_is_cut_after_its_secrets_are_gone():
    lines = Lines(about=lambda: {"id": "the-secret" + " x" * 1000, "n": None}, hide=LINES._hide)
    found = line(lines=lines)
    assert found["id"].startswith("[secret] x")
    assert len(found["id"]) < MOST_NAME + 30
    assert found["n"] is None
