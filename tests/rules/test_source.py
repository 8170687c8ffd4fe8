"""What holds for every file: its first line, the environment, mocks, marks, paths and names."""

import ast
import re

from tests.rules.tree import (
    ROOT,
    dotted,
    imports,
    product_files,
    python_files,
    short,
    text_files,
    tree,
)

SETTINGS = ROOT / "ltx2" / "settings.py"
THIS = {ROOT / "tests" / "rules" / name for name in ("test_source.py", "tree.py")}
# Words that promise work instead of doing it, at a place where only a promise would put them.
UNFINISHED = re.compile(
    r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError|not implemented yet", re.IGNORECASE
)
# A home directory, a temporary folder, a checkout or a virtual environment of somebody's machine.
MACHINE = re.compile(r"(?<![\w.:/])/(home|Users|work|tmp|root|mnt|media)/\w")
NOUNLESS = {"util", "utils", "helper", "helpers", "common", "base", "misc"}


def test_the_first_line_says_what_the_file_is_for():
    for file in python_files():
        source = file.read_text()
        if not source.strip():
            empty_marker = file.name == "__init__.py" and "tests" in file.parts
            assert empty_marker, f"{short(file)} is empty"
            continue
        doc = ast.get_docstring(tree(file))
        assert doc, f"{short(file)} has no docstring"
        assert source.startswith('"""'), f"{short(file)} does not start with its docstring"
        first = doc.splitlines()[0]
        assert len(first.split()) > 2, f"{short(file)}: {first!r} says too little"


def test_only_the_settings_read_the_environment():
    for file in product_files():
        if file == SETTINGS:
            continue
        names = {dotted(node) for node in ast.walk(tree(file))}
        taken = {name for name, _ in imports(file)}
        wrong = (names | taken) & {"os.environ", "os.environb", "os.getenv", "os.putenv"}
        assert not wrong, f"{short(file)} uses {sorted(wrong)}; take it from ltx2.settings"


def test_no_file_uses_mocks():
    for file in python_files():
        mocks = [name for name, _ in imports(file) if name.startswith("unittest.mock")]
        arguments = {
            argument.arg
            for node in ast.walk(tree(file))
            if isinstance(node, ast.FunctionDef)
            for argument in node.args.args
        }
        assert not mocks, f"{short(file)} imports {mocks}"
        assert "mocker" not in arguments, f"{short(file)} takes pytest-mock's fixture"


def test_nothing_is_left_unfinished():
    for file in sorted(set(text_files()) - THIS):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            assert not UNFINISHED.search(line), f"{short(file)}:{number}: {line.strip()}"


def test_no_file_names_a_path_of_one_machine():
    for file in sorted(set(text_files()) - THIS):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            assert not MACHINE.search(line), f"{short(file)}:{number}: {line.strip()}"


def test_no_function_is_an_empty_shell():
    for file in product_files():
        for node in ast.walk(tree(file)):
            if not isinstance(node, ast.ClassDef) or "Protocol" in ast.unparse(node):
                continue
            for part in node.body:
                assert not empty(part), (
                    f"{short(file)}:{part.lineno} {node.name} has an empty method"
                )
        for part in tree(file).body:
            assert not empty(part), f"{short(file)}:{part.lineno} is an empty function"


def empty(node):
    """A function without a statement of its own, other than overloads and abstract methods."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
    if decorators & {"overload", "abstractmethod"}:
        return False
    return all(
        isinstance(part, ast.Pass)
        or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        for part in node.body
    )


def test_every_file_is_named_after_its_noun():
    for file in product_files():
        assert file.stem not in NOUNLESS, f"{short(file)}: find the noun"
        assert not NOUNLESS & set(file.relative_to(ROOT).parts), f"{short(file)}: find the noun"


def test_broad_excepts_stand_at_the_doors_only():
    for file in product_files():
        if file.relative_to(ROOT).parts[0] in {"handler.py", "gateway", "benchmarks"}:
            continue
        # A log fails no work.
        doors = ("cli.py", "worker/gate.py", "worker/json_lines.py", "batch/run.py")
        if file in {ROOT / "ltx2" / door for door in doors}:
            continue
        for node in ast.walk(tree(file)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = ast.unparse(node.type) if node.type else "everything"
            ends_in_raise = any(isinstance(part, ast.Raise) for part in ast.walk(node))
            broad = caught in {"everything", "Exception", "BaseException"}
            assert not broad or ends_in_raise, f"{short(file)}:{node.lineno} catches {caught}"


def test_every_test_can_fail_and_its_name_is_a_sentence():
    for file in sorted(ROOT.glob("tests/**/test_*.py")):
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                where = f"{short(file)}:{node.lineno} {node.name}"
                assert len(node.name.split("_")) > 2, f"{where}: say what it proves"
                assert checks(node), f"{where} asserts nothing"


def checks(node):
    """Whether a test asserts, expects an error, or calls something of ours that asserts."""
    for part in ast.walk(node):
        if isinstance(part, ast.Assert):
            return True
        if isinstance(part, ast.Call):
            name = ast.unparse(part.func)
            if name in {"pytest.raises", "pytest.warns", "pytest.fail"} or "assert" in name:
                return True
            if name.split(".")[-1].split("_")[0] in {"check", "expect", "refused"}:
                return True
    return False


def test_a_skip_says_why():
    for file in sorted(ROOT.glob("tests/**/*.py")):
        if not re.search("skip|xfail", file.read_text()):
            continue
        for node in ast.walk(tree(file)):
            if not isinstance(node, ast.Call | ast.Attribute):
                continue
            name = ast.unparse(node.func if isinstance(node, ast.Call) else node)
            if name in {"pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"}:
                called = [
                    call
                    for call in ast.walk(tree(file))
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == name
                ]
                assert called, f"{short(file)}:{node.lineno} skips without a reason"
                for call in called:
                    reasons = {keyword.arg for keyword in call.keywords}
                    assert "reason" in reasons, (
                        f"{short(file)}:{call.lineno} skips without a reason"
                    )
