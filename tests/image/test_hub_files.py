"""The files of RunPod's Hub: complete, of the Hub's form, and true to the settings they offer."""

import json
import re
from dataclasses import fields
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ltx2.deploy.endpoint import CHECKPOINT, CUDA, INIT_TIMEOUT
from ltx2.deploy.pools import PriceList, need_of
from ltx2.settings import Settings
from ltx2.worker.job import find_action
from ltx2.worker.settings import WorkerSettings
from pipelines.models import CHECKPOINTS
from tests.rules.tree import ROOT

HUB = json.loads((ROOT / ".runpod/hub.json").read_text())
TESTS = json.loads((ROOT / ".runpod/tests.json").read_text())
ENV = {entry["key"]: entry for entry in HUB["config"]["env"]}
PRESETS = {preset["name"]: preset["defaults"] for preset in HUB["config"]["presets"]}
ROWS = {part.metadata["variable"]: part for each in (Settings, WorkerSettings)
        for part in fields(each)}  # fmt: skip
# Settings that an endpoint's form does not offer, and why.
LEFT_OUT = {
    **dict.fromkeys(
        ("LTX2_WEIGHTS", "LTX2_RUNPOD_CACHE", "LTX2_BAKED_WEIGHTS", "LTX2_VOLUME_WEIGHTS",
         "LTX2_CACHE", "LTX2_KEEP_FOLDER", "LTX2_SCRATCH", "HF_HOME", "HF_HUB_CACHE"),
        "folders, which the image and the platform decide",
    ),
    **dict.fromkeys(
        ("RUNPOD_WEBHOOK_POST_OUTPUT", "RUNPOD_POD_ID", "RUNPOD_ENDPOINT_ID"),
        "the platform sets them",
    ),
    **dict.fromkeys(("LTX2_DEVICE", "LTX2_DTYPE"), "the endpoint has a GPU"),
    **dict.fromkeys(
        ("HF_ENDPOINT", "HF_HUB_OFFLINE", "LTX2_ALLOW_PRIVATE_URLS", "LTX2_DEBUG",
         "LTX2_SERVE_KEY", "RUNPOD_API_KEY", "LTX2_MAX_VIDEO_SECONDS"),
        "for development, the command and the local job API",
    ),
    **dict.fromkeys(
        ("LTX2_ATTENTION", "LTX2_BLOCKS", "LTX2_BATCHED_TOKENS", "LTX2_VAE_LAYOUT",
         "LTX2_FREED_MEMORY", "LTX2_FP8_PRODUCTS"),
        "how passes are computed: by itself right for every GPU, and otherwise for who measures",
    ),
}  # fmt: skip

Version = Annotated[str, Field(pattern=r"^\d+\.\d+$")]
Name = Annotated[str, Field(min_length=1)]
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class Form(BaseModel):
    """A part of the files: what it has no field for is refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Option(Form):
    label: Name
    value: str


class Input(Form):
    name: Name
    type: Literal["string", "number", "boolean", "huggingface"]
    description: Name
    default: str | float | bool | None = None
    required: bool = False
    advanced: bool = False
    options: list[Option] | None = Field(None, min_length=1)
    min: float | None = None
    max: float | None = None
    trueValue: str | None = None  # noqa: N815 - the Hub's names
    falseValue: str | None = None  # noqa: N815

    @model_validator(mode="after")
    def fits_its_type(self) -> "Input":
        kinds: dict[str, tuple[type, ...]] = {"number": (int, float), "boolean": (bool,)}
        kind = kinds.get(self.type, (str,))
        if self.default is not None and type(self.default) not in kind:
            raise ValueError(f"{self.default!r} is no {self.type}")
        if self.options is not None:
            values = [option.value for option in self.options]
            if self.type != "string" or self.default not in values:
                raise ValueError("the default is one of a string's options")
        if self.type != "number" and (self.min, self.max) != (None, None):
            raise ValueError("only a number has bounds")
        if (self.type == "boolean") != (None not in (self.trueValue, self.falseValue)):
            raise ValueError("a boolean, and nothing else, has two values")
        return self


class Entry(Form):
    key: Variable
    value: str | None = None
    input: Input | None = None

    @model_validator(mode="after")
    def is_static_or_asked(self) -> "Entry":
        if (self.value is None) == (self.input is None):
            raise ValueError("an entry has a value or an input")
        return self


class Preset(Form):
    name: Name
    defaults: dict[Variable, str | float | bool] = Field(min_length=1)


class GpuConfig(Form):
    runsOn: Literal["GPU"]  # noqa: N815
    containerDiskInGb: int = Field(gt=0)  # noqa: N815
    gpuCount: int = Field(gt=0)  # noqa: N815
    gpuIds: str = Field(pattern=r"^[A-Z]+_\d+(_PRO)?(,(-NVIDIA [\w ]+|[A-Z]+_\d+(_PRO)?))*$")  # noqa: N815
    allowedCudaVersions: list[Version] = Field(min_length=1)  # noqa: N815
    env: list[Entry]
    presets: list[Preset]


class HubFile(Form):
    title: Name
    description: Name
    type: Literal["serverless"]
    category: Literal["audio", "embedding", "language", "video", "image"]
    iconUrl: str | None = Field(None, pattern="^https://")  # noqa: N815
    config: GpuConfig


class Pair(Form):
    key: Variable
    value: str


class Case(Form):
    name: Annotated[str, Field(pattern=r"^\w+$")]
    input: dict[str, Any] = Field(min_length=1)
    timeout: int | None = Field(None, gt=0)  # milliseconds


class Machine(Form):
    gpuTypeId: str = Field(pattern="^NVIDIA ")  # noqa: N815
    gpuCount: int = Field(gt=0)  # noqa: N815
    env: list[Pair] = []
    allowedCudaVersions: list[Version] = Field(min_length=1)  # noqa: N815


class TestsFile(Form):
    __test__ = False
    tests: list[Case] = Field(min_length=1)
    config: Machine


@pytest.mark.parametrize(("form", "content"), [(HubFile, HUB), (TestsFile, TESTS)])
def test_a_file_has_the_form_that_the_hub_reads(form, content):
    assert form.model_validate(content)


@pytest.mark.parametrize(
    "change",
    [
        {"category": "movies"},
        {"title": ""},
        {"extra": 1},
        {"config": {**HUB["config"], "gpuIds": "NVIDIA H100"}},
        {"config": {**HUB["config"], "containerDiskInGb": "150"}},
        {"config": {**HUB["config"], "env": [{"key": "LTX2_MODES"}]}},
        {"config": {**HUB["config"], "env": [
            {"key": "A", "input": {"name": "a", "type": "number", "description": "a",
                                   "default": "1"}}]}},
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_refused(change):
    with pytest.raises(ValidationError):
        HubFile.model_validate({**HUB, **change})


def test_the_hub_finds_what_it_needs_beside_its_files():
    for name in ("handler.py", "Dockerfile", "README.md"):
        assert (ROOT / name).is_file()


def test_each_setting_is_offered_or_left_out_for_a_reason():
    assert len(ENV) == len(HUB["config"]["env"])
    assert set(LEFT_OUT) & set(ENV) == set()
    assert (set(ENV) | set(LEFT_OUT)) - {"RUNPOD_INIT_TIMEOUT"} == set(ROWS)


@pytest.mark.parametrize("variable", [name for name in ENV if "input" in ENV[name]])
def test_an_input_offers_what_the_setting_takes_with_the_settings_own_default(variable):
    asked, part = ENV[variable]["input"], ROWS[variable]
    read = part.metadata["read"]
    texts = [option["value"] for option in asked.get("options", [])]
    texts += [str(asked[end]) for end in ("min", "max") if end in asked]
    texts += [asked[word] for word in ("trueValue", "falseValue") if word in asked]
    for text in filter(None, texts):
        read(text)
    if asked["type"] == "boolean":
        assert (read(asked["trueValue"]), read(asked["falseValue"])) == (True, False)
    for end, further in (("min", -1), ("max", 1)):
        if end in asked:
            with pytest.raises(ValueError, match=r"from"):
                read(str(asked[end] + further))
    default = asked.get("default", "")
    if variable == "LTX2_CHECKPOINT":
        assert default == CHECKPOINT  # an endpoint must not choose a toy by itself
    elif default == "":
        assert part.default in (None, "")
    elif asked["type"] == "boolean":
        on_platform = (part.metadata["shown"] or "").startswith("1 on RunPod")
        assert default == (on_platform if part.default is None else part.default)
    else:
        assert read(str(default)) == part.default


def test_a_choice_offers_every_value():
    for variable, entry in ENV.items():
        options = entry.get("input", {}).get("options")
        if options and variable != "LTX2_CHECKPOINT":
            offered = {option["value"] for option in options} - {""}
            assert offered == choices(ROWS[variable].metadata["read"])


def choices(read):
    """What a setting of several words takes, by the sentence with which it refuses another."""
    with pytest.raises(ValueError, match="one of") as caught:
        read("no such word")
    return set(str(caught.value).removeprefix("one of ").split(", "))


def test_the_models_on_offer_are_those_there_are():
    offered = {option["value"] for option in ENV["LTX2_CHECKPOINT"]["input"]["options"]}
    assert offered == set(CHECKPOINTS)


def test_what_is_secret_has_no_default_and_names_the_platforms_secrets():
    for variable, entry in ENV.items():
        if variable in ROWS and ROWS[variable].metadata["secret"]:
            assert "default" not in entry["input"]
            if variable != "HF_TOKEN":
                assert "RUNPOD_SECRET_" in entry["input"]["description"]


def test_the_presets_are_settings_that_can_be_read():
    assert PRESETS
    for defaults in PRESETS.values():
        assert set(defaults) == {"LTX2_CHECKPOINT", "LTX2_MODES"}
        assert Settings.from_env({"LTX2_CHECKPOINT": defaults["LTX2_CHECKPOINT"]})
        assert WorkerSettings.from_env({"LTX2_MODES": defaults["LTX2_MODES"]})
    modes = {defaults["LTX2_MODES"] for defaults in PRESETS.values()}
    assert modes == {"fast", "pro", "all"}


def test_the_endpoint_has_the_gpus_and_the_disk_that_the_presets_need():
    need = need_of(CHECKPOINT, "fast")
    assert need
    assert HUB["config"]["gpuIds"].split(",") == PriceList.of_table().chosen(need)
    for defaults in PRESETS.values():
        need = need_of(defaults["LTX2_CHECKPOINT"], defaults["LTX2_MODES"])
        assert need
        assert HUB["config"]["containerDiskInGb"] >= need.disk


def locked_cuda():
    """Major and minor version of the CUDA that the image's torch is built for."""
    lock = (ROOT / "requirements-cuda.lock").read_text()
    found = re.search(r"^nvidia-cuda-runtime==(\d+\.\d+)\.", lock, re.M)
    assert found
    return found[1]


def test_the_cuda_versions_are_those_of_the_images_torch_and_newer():
    listed = HUB["config"]["allowedCudaVersions"]
    assert TESTS["config"]["allowedCudaVersions"] == listed
    assert listed[0] == CUDA == locked_cuda()
    major, minor = (int(part) for part in CUDA.split("."))
    assert listed == [f"{major}.{minor + step}" for step in range(len(listed))]
    assert len(listed) > 1
    assert f"RUNPOD_MIN_CUDA_VERSION:-{CUDA}}}" in (ROOT / "start.sh").read_text()


def test_a_cold_start_has_the_time_that_the_deploy_command_gives_it():
    assert ENV["RUNPOD_INIT_TIMEOUT"]["value"] == str(INIT_TIMEOUT)


def test_the_hub_tests_what_needs_no_weights():
    named = {case["name"]: case["input"] for case in TESTS["tests"]}
    assert named == {"health": {"action": "health"}, "smoke": {"action": "smoke"}}
    for case in TESTS["tests"]:
        assert find_action({"input": case["input"]}) == case["name"]
    # A worker loads its model before it takes a job, and there are no weights in that test.
    env = {pair["key"]: pair["value"] for pair in TESTS["config"]["env"]}
    assert Settings.from_env(env).checkpoint == "tiny"
