"""What the page of the gateway and the help of its commands show is right."""

import re
import shlex

import pytest

from ltx2.cli import build_parser
from ltx2.examples import EXAMPLES
from tests.rules.tree import ROOT

PAGE = (ROOT / "docs" / "gateway.md").read_text()
SHOWN = re.findall(r"^    (?:[A-Z0-9_]+=\S+ )*(ltx2 (?:gateway|studio).*)$", PAGE, re.M)
HELP = [re.sub(r"^[A-Z0-9_]+=\S+ ", "", line) for name in ("gateway", "studio")
        for line in EXAMPLES[name]]  # fmt: skip


@pytest.mark.parametrize("line", sorted({*SHOWN, *HELP}))
def test_a_line_that_is_shown_is_taken(line):
    arguments = build_parser().parse_args(shlex.split(line)[1:])
    assert arguments.run.__module__ == "gateway.command"


def test_page_and_help_show_both_commands():
    for lines in (SHOWN, HELP):
        assert {line.split()[1] for line in lines} == {"gateway", "studio"}


def test_the_page_knows_every_command_of_an_operator():
    known = {"serve", "migrate", "account", "key", "grant", "adjust", "doctor", "redeliver"}
    assert set(re.findall(r"^\| `ltx2 gateway (\w+)", PAGE, re.M)) == known


def test_the_receivers_half_that_the_page_shows_believes_our_webhooks_and_no_others():
    from gateway.webhooks.outgoing import signing

    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names: dict = {}
    exec(code, names)
    secret, body = signing.new_secret(), b'{"type":"generation.completed"}'
    now = int(names["time"].time())
    sent = signing.headers([signing.new_secret(), secret], "evt_1", now, body)
    assert names["verified"](secret, sent, body)
    assert not names["verified"](secret, sent, body + b" ")
    assert not names["verified"](signing.new_secret(), sent, body)
    old = signing.headers([secret], "evt_1", now - 301, body)
    assert not names["verified"](secret, old, body)
