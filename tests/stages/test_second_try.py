"""Out of memory: one more try that takes less, then an error that says what would fit."""

import gc
import re
import weakref
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoDecoder3d
from torch import nn
from transformers import Gemma3ForConditionalGeneration

import ltx2
from ltx2.delivery.file import ToFile
from ltx2.engine import Engine
from ltx2.progress import Progress
from ltx2.second_try import tried_twice
from ltx2.session import generate
from ltx2.settings import Settings
from tests.stages.plans import small_plan

SMALL = {"prompt": "a red ball rolls left", "seed": 7, "width": 128, "height": 64, "num_frames": 9}


def request(**changes):
    return ltx2.Request(**{**SMALL, **changes})


def opened(tiny, **variables):
    return Engine.load(str(tiny), settings=Settings.from_env(variables))


@pytest.fixture(scope="module")
def roomy(tiny):
    """An engine with what stands for a GPU's memory, so that a residency makes a difference.

    Every run decides its residency anew, so tests can share it. What it writes is short.
    """
    engine = opened(tiny, LTX2_DEVICE_MEMORY_GIB="4")
    weights = engine.components.weights
    writer = replace(weights.generation.enhancer, new_tokens=24)
    brief = replace(weights.generation, enhancer=writer)
    engine.components.weights = replace(weights, generation=brief)
    return engine


@pytest.fixture(scope="module")
def plain(roomy, tmp_path_factory):
    """The receipt of the plain clip."""
    return made(roomy, tmp_path_factory.mktemp("plain"))


class Full:
    """Calls of a class of modules that run out of memory, counted from 0 over all its instances.

    Each failure leaves a tensor in its traceback, as the activations of a real one are.
    """

    def __init__(self, kind, failing):
        self.kind, self.failing = kind, failing
        self.calls = 0
        self.left: list[weakref.ref] = []
        self.alive: list[int] = []  # of those, at every later call

    def __call__(self, module: nn.Module, _inputs):
        if not isinstance(module, self.kind) or weightless(module):
            return
        self.alive.append(sum(reference() is not None for reference in self.left))
        number, self.calls = self.calls, self.calls + 1
        if self.failing(number):
            activations = torch.zeros(64)
            self.left.append(weakref.ref(activations))
            raise torch.OutOfMemoryError(f"CUDA out of memory in call {number}")


def weightless(module):
    """Whether this is a rehearsal of the run, by which memory is foretold."""
    return next(module.parameters()).device.type == "meta"


@contextmanager
def running_out(kind, failing):
    full = Full(kind, failing)
    hook = nn.modules.module.register_module_forward_pre_hook(full)
    try:
        yield full
    finally:
        hook.remove()


def made(engine, tmp_path, name="out.mp4", **changes: Any):
    return generate(request(**changes), engine=engine, deliver=ToFile(tmp_path / name))


def test_a_pass_that_runs_out_is_made_again_with_less_and_gives_the_same_clip(
    roomy, plain, tmp_path
):
    assert plain.as_dict()["warnings"] == []
    assert roomy.components.residency == "resident"
    with running_out(LTX2VideoTransformer3DModel, lambda call: call == 3) as full:
        receipt = made(roomy, tmp_path)
    assert receipt.encoded.sha256 == plain.encoded.sha256
    (told,) = receipt.as_dict()["warnings"]
    pattern = r"a pass ran out of memory \(residency resident\); made again with residency (\w+)"
    used = re.fullmatch(pattern, told)
    assert used, told
    assert used[1] == roomy.components.residency != "resident"
    # Nothing of the first try was alive when the second one ran.
    assert full.alive[4:] == [0] * (full.calls - 4)
    assert "make room" in receipt.timings


def test_an_engines_first_job_may_run_out_and_the_next_one_is_decided_anew(tiny, tmp_path):
    fresh = opened(tiny, LTX2_DEVICE_MEMORY_GIB="4")
    with running_out(LTX2VideoTransformer3DModel, lambda call: call == 0) as full:
        first = made(fresh, tmp_path)
    assert full.left
    assert fresh.components.residency != "resident"
    again = made(fresh, tmp_path)
    assert fresh.components.residency == "resident"
    assert again.encoded.sha256 == first.encoded.sha256
    assert again.as_dict()["warnings"] == []
    assert "make room" not in again.timings


def test_a_decoder_that_runs_out_in_its_own_smaller_tiles_too_is_tried_again(
    roomy, plain, tmp_path
):
    with running_out(LTX2VideoDecoder3d, lambda call: call < 2) as full:
        receipt = made(roomy, tmp_path)
    assert receipt.encoded.num_frames == plain.encoded.num_frames == 9
    assert receipt.encoded.sha256 == plain.encoded.sha256
    assert any("the decoder ran out of memory (residency" in w for w in receipt.warnings)
    assert full.alive[-1] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_where_the_residency_is_told_the_decoder_takes_smaller_tiles(tiny):
    told = opened(tiny, LTX2_RESIDENCY="resident", LTX2_DEVICE_MEMORY_GIB="4")
    plan = small_plan(width=640, height=384, num_frames=41, spatial_upscaler=False)
    tried = []

    def make(plan, decision):
        tried.append((plan, decision))
        if decision is None:
            raise ltx2.OutOfMemory("full", decoding=True)
        return told.placed(decision)

    ran, warnings = tried_twice(told, plan, Progress(), make)
    (first, _), (second, decision) = tried
    assert (first, second) == (plan, ran)
    assert decision.residency == told.components.residency == "resident"
    assert ran.decode.tile_frames < plan.decode.tile_frames
    assert replace(ran, decode=plan.decode, warnings=plan.warnings) == plan
    assert any("decoded in tiles of" in warning for warning in ran.warnings)
    assert warnings == (
        "the decoder ran out of memory (residency resident); made again with residency resident "
        "and smaller tiles",
    )


def test_a_pass_gains_nothing_from_smaller_tiles(tiny, tmp_path):
    told = opened(tiny, LTX2_RESIDENCY="resident", LTX2_DEVICE_MEMORY_GIB="4")
    with (
        running_out(LTX2VideoTransformer3DModel, lambda call: call == 0) as full,
        pytest.raises(ltx2.OutOfMemory, match=r"a pass ran out .* no other way takes less"),
    ):
        made(told, tmp_path)
    assert full.calls == 1


@pytest.mark.slow
def test_a_second_shortage_is_an_error_that_says_what_would_fit(roomy, tmp_path):
    longer: dict[str, Any] = {"width": 640, "height": 384, "num_frames": 481}
    with (
        running_out(LTX2VideoTransformer3DModel, lambda _call: True) as full,
        pytest.raises(ltx2.OutOfMemory) as raised,
    ):
        made(roomy, tmp_path, **longer)
    assert full.calls == 2
    text = str(raised.value)
    assert text.startswith("640x384 for 20.0 s: a pass ran out of memory (residency resident), and")
    fitting = re.search(r"(\d+)x(\d+) for ([\d.]+) s would fit$", text)
    assert fitting, text
    width, height, seconds = int(fitting[1]), int(fitting[2]), float(fitting[3])
    assert (width * height, seconds) < (640 * 384, 20.0)
    assert (raised.value.code, raised.value.__cause__) == ("OUT_OF_MEMORY", None)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_a_failed_run_stays_in_memory(roomy, tmp_path):
    made(roomy, tmp_path)
    with (
        running_out(LTX2VideoTransformer3DModel, lambda call: call in (2, 5)) as full,
        pytest.raises(ltx2.OutOfMemory) as raised,
    ):
        made(roomy, tmp_path)
    assert len(full.left) == 2
    del raised
    gc.collect()
    assert [reference() for reference in full.left] == [None, None]
    assert made(roomy, tmp_path).as_dict()["warnings"] == []


def test_loras_are_taken_off_again(roomy, plain, tmp_path):
    moved = made(roomy, tmp_path, "moved.mp4", camera_motion="dolly_left")
    with running_out(LTX2VideoTransformer3DModel, lambda call: call == 5):
        again = made(roomy, tmp_path, "again.mp4", camera_motion="dolly_left")
    assert again.encoded.sha256 == moved.encoded.sha256 != plain.encoded.sha256
    assert made(roomy, tmp_path).encoded.sha256 == plain.encoded.sha256


def test_a_clip_in_memory_is_tried_twice_as_well(roomy, plain, tmp_path):
    with running_out(LTX2VideoTransformer3DModel, lambda call: call == 1):
        result = roomy.generate(request())
    assert result.save(tmp_path / "out.mp4").sha256 == plain.encoded.sha256
    assert any("made again with residency" in told for told in result.warnings)


def test_a_run_can_be_cancelled_between_the_tries(roomy, tmp_path):
    stages = []
    with (
        running_out(LTX2VideoTransformer3DModel, lambda call: call == 0) as full,
        pytest.raises(ltx2.Cancelled),
    ):
        generate(
            request(), engine=roomy, deliver=ToFile(tmp_path / "out.mp4"),
            progress=Progress(
                lambda event: stages.append(event.stage), cancelled=lambda: "make room" in stages
            ),
        )  # fmt: skip
    assert full.calls == 1


def test_a_language_model_that_runs_out_runs_once_more_alone(roomy, tmp_path):
    words: dict[str, Any] = {"enhance_prompt": True}
    plain = made(roomy, tmp_path, "plain.mp4", **words)
    with running_out(Gemma3ForConditionalGeneration, lambda call: call == 0):
        receipt = made(roomy, tmp_path, **words)
    assert receipt.plan.prompt == plain.plan.prompt
    assert receipt.encoded.sha256 == plain.encoded.sha256
    assert any("run again with no other part loaded" in told for told in receipt.warnings)
    with (
        running_out(Gemma3ForConditionalGeneration, lambda _call: True),
        pytest.raises(ltx2.OutOfMemory, match="leave enhance_prompt out"),
    ):
        made(roomy, tmp_path, **words)


def test_a_broken_context_is_told_and_not_tried_again(roomy, tmp_path):
    calls = []

    def broken(module, _inputs):
        if isinstance(module, LTX2VideoTransformer3DModel):
            calls.append(module)
            raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with")

    hook = nn.modules.module.register_module_forward_pre_hook(broken)
    try:
        with pytest.raises(ltx2.Ltx2Error, match=r"device-side assert triggered$") as raised:
            made(roomy, tmp_path)
    finally:
        hook.remove()
    assert type(raised.value).__name__ == "DeviceLost"
    assert len(calls) == 1
