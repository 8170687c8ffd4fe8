"""pyproject.toml, the lock, .python-version, the image and CI name the same versions."""

import itertools
import re
import tomllib

import pytest

from tests.rules.tree import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXACT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[\w,]+\])?==(\d[\w.]*)")
PYTHON = (ROOT / ".python-version").read_text().strip()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def pins():
    project = PROJECT["project"]
    extras = (pin for extra in project["optional-dependencies"].values() for pin in extra)
    return [*project["dependencies"], *extras]


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


LOCKS = (
    "requirements.lock", "requirements-runtime.lock", "requirements-cuda.lock",
    "requirements-gateway.lock",
)  # fmt: skip


def locked(name="requirements.lock"):
    lines = (ROOT / name).read_text().splitlines()
    entries = [line.partition(";")[0].strip() for line in lines if not line.startswith("#")]
    return [EXACT.fullmatch(entry) or entry for entry in entries]


@pytest.mark.parametrize("pin", pins())
def test_every_direct_dependency_is_exact_and_locked(pin):
    exact = EXACT.fullmatch(pin)
    assert exact, f"{pin} is not name==version"
    versions = {normalised(entry[1]): entry[2] for entry in locked()}
    assert versions.get(normalised(exact[1])) == exact[2], "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_exact_sorted_and_without_doubles(lock):
    entries = locked(lock)
    assert [entry for entry in entries if isinstance(entry, str)] == []
    names = [entry[1] for entry in entries]
    assert names == [normalised(name) for name in names]
    assert len(set(names)) == len(names)


def pinned(name):
    lines = (ROOT / name).read_text().splitlines()
    return {line for line in lines if not line.startswith("#")}


def test_the_runtime_lock_is_the_part_of_the_lock_without_what_developers_use():
    assert pinned("requirements-runtime.lock") < pinned("requirements.lock"), "run `make lock`"
    names = {entry[1] for entry in locked("requirements-runtime.lock")}
    project = PROJECT["project"]
    wanted = {normalised(EXACT.fullmatch(pin)[1]) for pin in project["dependencies"]}
    assert wanted <= names, "run `make lock`"
    tools = {normalised(EXACT.fullmatch(pin)[1]) for pin in project["optional-dependencies"]["dev"]}
    # A tool may be part of the runtime, too, where a dependency asks for it.
    # runpod brings the first two, huggingface_hub the third.
    assert tools & names <= {"cryptography", "psutil", "httpx2"}
    assert "!requirements-runtime.lock" in (ROOT / ".dockerignore").read_text()


def test_the_gateways_lock_is_the_part_of_the_lock_without_torch():
    assert pinned("requirements-gateway.lock") < pinned("requirements.lock"), "run `make lock`"
    names = {entry[1] for entry in locked("requirements-gateway.lock")}
    extra = PROJECT["project"]["optional-dependencies"]["gateway"]
    assert {normalised(EXACT.fullmatch(pin)[1]) for pin in extra} <= names, "run `make lock`"
    assert not names & {"torch", "diffusers", "transformers", "peft", "runpod"}
    assert "!requirements-gateway.lock" in (ROOT / "gateway/Dockerfile.dockerignore").read_text()


def test_the_lock_fits_a_machine_with_a_gpu_and_one_without():
    entries = {entry[1]: entry[2] for entry in locked()}
    cuda = [name for name in entries if name.startswith(("nvidia-", "cuda-")) or name == "triton"]
    assert cuda == [], "these come with a CUDA build of torch, and only with it"
    assert [version for version in entries.values() if "+" in version] == []


def test_the_lock_of_the_cuda_build_is_of_the_same_torch_and_adds_what_only_it_needs():
    cuda = {entry[1]: entry[2] for entry in locked("requirements-cuda.lock")}
    shared = cuda.keys() & {entry[1] for entry in locked("requirements-runtime.lock")}
    assert shared == {"torch"}, "run `make lock`"
    assert cuda["torch"] == {entry[1]: entry[2] for entry in locked()}["torch"], "run `make lock`"
    alone = cuda.keys() - shared
    assert {"triton", "nvidia-cuda-runtime"} <= alone
    assert all(name.startswith(("nvidia-", "cuda-")) for name in alone - {"triton"})


def test_the_kernels_are_tested_with_the_triton_of_the_cuda_build():
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^\$\(VENV\)/triton: requirements-cuda\.lock ", makefile, re.M)
    assert re.search(r"^test: .*\$\(TRITON\)$", makefile, re.M)


def test_python_is_the_same_everywhere():
    assert re.fullmatch(r"3\.\d+", PYTHON)
    # The locked version is the oldest that pyproject.toml allows, so that nothing newer slips in.
    assert PROJECT["project"]["requires-python"] == f">={PYTHON}"
    assert PROJECT["tool"]["pyright"]["pythonVersion"] == PYTHON
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + PYTHON.replace(".", "")
    assert f"ARG PYTHON_IMAGE=python:{PYTHON}-" in DOCKERFILE
    assert f'python: ["{PYTHON}"' in WORKFLOW


def test_the_image_and_make_install_from_their_locks():
    makefile = (ROOT / "Makefile").read_text()
    locks = (
        (DOCKERFILE, "requirements-cuda.lock"),
        (DOCKERFILE, "requirements-runtime.lock"),
        (makefile, "requirements.lock"),
    )
    for text, lock in locks:
        assert re.search(rf"pip install .*-r {re.escape(lock)}", text)
        assert re.search(r"pip install .*--no-deps", text)


def test_the_image_is_built_on_a_digest():
    bases = re.findall(r"^ARG \w+_IMAGE=(\S+)", DOCKERFILE, re.M)
    froms = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)
    assert bases
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", base) for base in bases)
    stages = {name for _, name in froms}
    outside = [base for base, _ in froms if base not in stages]
    assert outside == ["${PYTHON_IMAGE}"]
    assert len(froms) == len(re.findall(r"^FROM ", DOCKERFILE, re.M))


def test_ci_runs_what_a_developer_runs_and_may_do_nothing_else():
    assert ".ci/run" in WORKFLOW
    assert re.search(r"^permissions: \{\}$", WORKFLOW, re.M)
    actions = re.findall(r"uses: (\S+)", WORKFLOW)
    assert actions
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in actions), actions
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script
    assert "make check" in script


def test_a_banned_name_of_ruff_is_one_the_rules_ban_too():
    banned = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) == {"os.environ", "os.environb", "os.getenv", "unittest.mock"}


def test_no_warning_is_ignored_without_a_reason():
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"filterwarnings = \[\n(.*?)\n\]", text, re.S)
    assert block
    lines = [line.strip() for line in block[1].splitlines()]
    assert lines[0] == '"error",'
    for before, line in itertools.pairwise(lines):
        assert line.startswith("#") or before.startswith("#"), f"{line} has no reason above it"
