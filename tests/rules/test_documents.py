"""Documents stay short, name only commands that exist, and link to files that are there."""

import re

import pytest

from tests.rules.tree import ROOT, short

LONGEST = {"README.md": 200, "CONTRIBUTING.md": 80}  # lines
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))


@pytest.mark.parametrize("name", LONGEST)
def test_a_page_that_everyone_reads_is_short(name):
    page = ROOT / name
    lines = page.read_text().count("\n") if page.exists() else 0
    assert lines <= LONGEST[name]


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_every_make_target_that_a_page_names_exists(page):
    named = set(re.findall(r"\bmake ([a-z-]+)", code(page.read_text())))
    assert named <= TARGETS, f"{short(page)} names {sorted(named - TARGETS)}"


def code(text):
    """The parts of a page that are set as code: prose may say `make` in any sense."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.S))


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{short(page)} links to {target}"


def test_every_target_of_the_makefile_is_phony_and_explained():
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)
    assert phony
    assert set(phony[1].split()) == TARGETS
    explained = set(re.findall(r"make ([a-z-]+)  +", MAKEFILE.partition("\n\n")[0]))
    assert explained == TARGETS


def test_the_contract_of_first_use_is_kept():
    assert {"setup", "video", "test", "check", "gpu", "golden", "sizes", "lock"} <= TARGETS
