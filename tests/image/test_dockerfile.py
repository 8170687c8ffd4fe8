"""The image's files: linted, true to one another, and their steps carried out in a clean root."""

import os
import re
import subprocess
import sys
from pathlib import Path

import hcl2
import pytest

from scripts.clean_root import impossible
from scripts.dockerfile import DockerfileError, parse, sent_to_builder, substituted
from tests.rules.tree import ROOT, imports, product_files, short

DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = parse(DOCKERFILE).stages
BAKED = ("baked-fast", "baked-pro", "baked-all")


def tool(name):
    """A linter that its package put beside the running Python."""
    return str(Path(sys.executable).with_name(name))


@pytest.mark.parametrize(
    "command", [["hadolint", "Dockerfile"], ["shellcheck", "--severity=style", "start.sh"]]
)
def test_the_linters_find_nothing(command):
    done = subprocess.run(
        [tool(command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_start_sh_can_be_executed():
    assert os.access(ROOT / "start.sh", os.X_OK)


def test_the_last_stage_is_the_one_without_weights():
    # RunPod's builder takes the last.
    assert list(STAGES)[-1] == "slim"


def test_weights_are_baked_where_no_volume_hides_them_and_code_lies_above_them():
    for name in BAKED:
        env, *copies = (step for step in STAGES[name].steps if step.kind != "ARG")
        assert f"LTX2_MODES={name.removeprefix('baked-')} " in env.text
        weights = name.replace("baked", "weights")
        assert [step.flag("from") for step in copies] == [weights, "code"]
        assert copies[0].text.split()[-1] == "/models/${CHECKPOINT}"
        assert "/runpod-volume" not in STAGES[weights].steps[-1].text


def test_the_token_is_a_secret_of_the_one_step_that_needs_it():
    for name in ("weights-fast", "weights-pro", "weights-all"):
        step = STAGES[name].steps[-1]
        assert step.flag("mount") == "type=secret,id=hf_token,required=true"
        assert f"--mode {name.removeprefix('weights-')} " in step.text
    assert not re.search(r"^(ARG|ENV).*TOKEN", DOCKERFILE, re.M)


def test_what_is_compiled_at_run_time_finds_its_compiler_in_the_image():
    compiling = [
        short(file)
        for file in product_files()
        if any(name.partition(".")[0] == "triton" for name, _ in imports(file))
    ]
    assert compiling
    steps = " ".join(step.text for step in STAGES["packages"].steps if step.kind == "RUN")
    assert re.search(
        r"apt-get install .*\bgcc libc6-dev\b", steps
    )  # Python's headers are the base's


def plain(value):
    """What the parser of HCL gives, without its quotes and notes."""
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items() if not k.startswith("__")}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.strip('"') if isinstance(value, str) else value


@pytest.fixture(scope="module")
def bake():
    with (ROOT / "docker-bake.hcl").open() as file:
        parsed = plain(hcl2.load(file))
    return {
        kind: {name: body for block in parsed[kind] for name, body in block.items()}
        for kind in ("variable", "group", "target")
    }


def inherited(bake, name, key):
    """A target's value of a key, its own or the nearest inherited one."""
    target = bake["target"][name]
    if key in target:
        return target[key]
    above = (inherited(bake, each, key) for each in target.get("inherits", []))
    return next((value for value in above if value is not None), None)


def test_bake_builds_the_stages_for_the_machines_of_the_platform(bake):
    built = {name for name, target in bake["target"].items() if "target" in target}
    assert built == {"slim", *BAKED}
    assert bake["group"]["default"]["targets"] == ["slim"]
    assert set(bake["group"]["baked"]["targets"]) == set(BAKED)
    for name in built:
        assert bake["target"][name]["target"] == name
        assert name in STAGES
        assert inherited(bake, name, "dockerfile") == "Dockerfile"
        assert inherited(bake, name, "platforms") == ["linux/amd64"]


def test_bake_gives_each_image_a_tag_of_its_own_and_a_version(bake):
    tags = [tag for target in bake["target"].values() for tag in target.get("tags", [])]
    assert len(tags) == len(set(tags)) == 4
    assert all(tag.startswith("${IMAGE}:${TAG}") for tag in tags)
    assert "latest" not in str(bake)


def test_bake_gives_the_token_as_a_secret_and_never_as_an_argument(bake):
    for name in BAKED:
        assert inherited(bake, name, "secret") == ["id=hf_token,env=HF_TOKEN"]
        assert set(inherited(bake, name, "args")) == {"CHECKPOINT", "LORAS"}
    arguments = set(parse(DOCKERFILE).arguments)
    assert arguments == {"PYTHON_IMAGE", "CHECKPOINT", "LORAS"} <= set(bake["variable"])
    assert bake["variable"]["CHECKPOINT"]["default"] == parse(DOCKERFILE).arguments["CHECKPOINT"]


def test_the_builder_is_sent_what_is_copied_and_nothing_else(tmp_path):
    sent_to_builder(ROOT, tmp_path)
    sources = {
        word.removeprefix("./")
        for stage in STAGES.values()
        for step in stage.steps
        if step.kind == "COPY" and not step.flag("from")
        for word in step.text.split()[:-1]
    }
    assert {path.name for path in tmp_path.iterdir()} == sources
    assert not list(tmp_path.rglob("__pycache__"))
    assert (tmp_path / "ltx2/deploy/gpus.toml").is_file()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("FROM a AS b\nVOLUME /x\n", "line 2: VOLUME"),
        ("FROM a AS b\nFROM c AS b\n", "line 2: each stage needs a name"),
        ("FROM a\n", "line 1: each stage needs a name"),
        ("FROM a AS b\nRUN c \\\n", "line 2: the last line"),
    ],
)
def test_a_dockerfile_that_is_not_understood_is_refused(text, says):
    with pytest.raises(DockerfileError, match=says):
        parse(text)


def test_a_variable_that_is_not_set_is_refused():
    with pytest.raises(DockerfileError, match="MISSING is not set"):
        substituted("/models/${MISSING}", {"OTHER": "x"})


@pytest.mark.slow
def test_every_step_of_a_baked_image_works_in_a_clean_root():
    if why := impossible():
        pytest.skip(f"a root folder of its own cannot be mounted here: {why}")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.prove_image", "baked-fast", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for stage in ("packages", "code", "command", "weights-fast", "baked-fast"):
        assert any(line.startswith(f"{stage}: {len(STAGES[stage].steps)} steps") for line in lines)
    assert "baked-fast: user 1000 with an open volume, root with a closed one" in lines
    assert any("this worker cannot start" in line for line in lines)
