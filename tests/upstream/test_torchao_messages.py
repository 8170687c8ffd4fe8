"""torchao's import is silent for users of ltx2, and would not be by itself."""

import logging
import subprocess
import sys

from pipelines.upstream import torchao_messages

IMPORT = "import diffusers.quantizers.torchao, torchao"


def heard(code):
    """What a fresh process writes to its standard error."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr


def test_the_import_of_torchao_is_still_noisy():
    heard_now = heard(IMPORT)
    assert any(text in heard_now for text in torchao_messages._SAID.values())


def test_whoever_imports_ltx2_first_hears_nothing():
    assert heard(f"import ltx2; {IMPORT}") == ""


def test_other_messages_of_these_libraries_are_let_through(caplog):
    torchao_messages.hold_back()
    for name, text in torchao_messages._SAID.items():
        logging.getLogger(name).warning("%s, it says", text)
        logging.getLogger(name).warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"] * len(
        torchao_messages._SAID
    )


def test_the_filters_are_set_once():
    for _ in range(2):
        torchao_messages.hold_back()
    assert len(logging.getLogger("torchao").filters) == 1
