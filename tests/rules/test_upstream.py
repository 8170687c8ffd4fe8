"""Each workaround for a library names its end, and a test that notices when it has come."""

import ast
import re

import pytest

from tests.rules.tree import ROOT, imports, module_name, short, tree

WORKAROUNDS = sorted(
    file for file in ROOT.glob("pipelines/upstream/*.py") if file.name != "__init__.py"
)
TESTS = sorted(ROOT.glob("tests/**/test_*.py"))
NAMED_TEST = re.compile(r"`(test_\w+)`")


def test_there_are_workarounds_to_hold_this_to():
    assert WORKAROUNDS


@pytest.mark.parametrize("file", WORKAROUNDS, ids=short)
def test_a_workaround_says_what_differs_and_when_it_ends(file):
    lines = (ast.get_docstring(tree(file)) or "").splitlines()
    assert any(line.startswith("What differs:") for line in lines), f"{short(file)}: what differs?"
    ends = any(re.search(r"(^|\s)End: \w", line) for line in lines)
    assert ends, f"{short(file)}: when may it go?"


def test_every_workaround_has_a_test():
    used = {name for test in TESTS for name, _ in imports(test)}
    for file in WORKAROUNDS:
        module = module_name(file)
        assert any(name.startswith(module) for name in used), f"no test imports {module}"


def test_the_tests_that_workarounds_name_exist():
    defined = {
        node.name
        for test in TESTS
        for node in ast.walk(tree(test))
        if isinstance(node, ast.FunctionDef)
    }
    for file in WORKAROUNDS:
        named = set(NAMED_TEST.findall(ast.get_docstring(tree(file)) or ""))
        assert named <= defined, f"{short(file)} names {sorted(named - defined)}"
