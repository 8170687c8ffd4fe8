"""pipelines.memory: what is foretold without weights is what a run of the real thing takes."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from ltx2.engine import adapter_file
from ltx2.settings import Settings
from pipelines.checkpoints.files import find
from pipelines.memory.forecast import RESIDENCIES, forecast, host_forecast, weights_there
from pipelines.memory.hollow import DEVICE, Hollow
from pipelines.memory.ledger import Ledger
from pipelines.memory.outline import Outlines, outlines_of, tensor_bytes
from pipelines.memory.recall import recalled
from pipelines.memory.rehearsal import Rehearsal, shortened
from pipelines.memory.released import released_outlines
from pipelines.models import CHECKPOINTS, GENERATIONS
from pipelines.speed.levers import USUAL
from tests.stages.measured import Counted, measured
from tests.stages.plans import small_plan

TOLERANCE = 0.15
GIB = 2**30
PICTURE = Image.new("RGB", (90, 70), (200, 30, 30))


@pytest.fixture(scope="module")
def weights(tiny):
    return find(tiny, CHECKPOINTS["tiny"])


@pytest.fixture(scope="module")
def outlines(weights) -> Outlines:
    return outlines_of(weights, dtype=torch.float32)


@pytest.fixture(scope="module")
def adapters(weights):
    settings = Settings.from_env({})
    return lambda adapter: adapter_file(adapter, weights, CHECKPOINTS["tiny"], settings)


@pytest.fixture(scope="module")
def rehearse(weights, outlines, adapters):
    return lambda plan: Rehearsal(weights, outlines, find_adapter=adapters).rehearse(plan)


SMALL, LARGE = {"width": 128, "height": 64}, {"width": 192, "height": 128}
SHORT, LONG = {"num_frames": 9}, {"num_frames": 25}
FAST, PRO = {"mode": "fast"}, {"mode": "pro", "num_inference_steps": 3}
ONE, TWO = {"spatial_upscaler": False}, {"spatial_upscaler": True}
TEXT, IMAGE = {}, {"image": "x.png", "last_image": "y.png"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "residency"),
    [  # every pair of two choices, and every residency
        (FAST | TEXT | ONE | SMALL | SHORT, "offload"),
        (FAST | TEXT | ONE | SMALL | LONG, "staged"),
        (FAST | IMAGE | TWO | LARGE | SHORT, "resident"),
        (PRO | TEXT | TWO | LARGE | SHORT, "stream"),
        (PRO | IMAGE | ONE | LARGE | LONG, "freed"),
        (PRO | IMAGE | TWO | SMALL | LONG, "offload"),
        (FAST | TEXT | TWO | SMALL | SHORT | {"detailer": True}, "resident"),
        (FAST | TEXT | TWO | SMALL | SHORT | {"temporal_upscaler": True}, "offload"),
    ],
)  # fmt: skip
def test_the_foretold_peak_is_within_15_percent_of_the_measured_one(
    weights, rehearse, adapters, changes, residency
):
    plan = small_plan(**changes)
    run = rehearse(plan)
    # On the CPU the device's tensors and the host's lie in one memory.
    foretold = max(weights_there(run, m.parts, residency) + m.both for m in run.moments)
    # A CPU's own convolutions hold copies of their weights, which no device has.
    levers = replace(USUAL, vae_layout="contiguous")
    model = Counted(
        weights, residency=residency, find_adapter=adapters, keep_variants=False, levers=levers
    )
    peak = measured(plan, model, PICTURE)
    assert foretold == pytest.approx(peak, rel=TOLERANCE)


def test_bfloat16_is_foretold_too(weights, adapters):
    plan = small_plan()
    half = outlines_of(weights, dtype=torch.bfloat16)
    run = Rehearsal(weights, half, find_adapter=adapters).rehearse(plan)
    foretold = max(weights_there(run, m.parts, "offload") + m.both for m in run.moments)
    model = Counted(weights, dtype=torch.bfloat16, residency="offload", find_adapter=adapters)
    assert foretold == pytest.approx(measured(plan, model, PICTURE), rel=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "none") for name in ("connectors:dev", "vae", "audio_vae", "vocoder")),
        *((f"{kind}_upscaler", "none") for kind in ("spatial", "temporal")),
        *(("transformer:dev", kind) for kind in ("none", "int8", "fp8")),
        *(("text_encoder", kind) for kind in ("none", "int8", "fp8")),
    ],
)
def test_an_outline_is_as_large_as_the_loaded_part(weights, name, kind):
    quantise = {"transformer": kind, "text_encoder": kind}
    component, _, variant = name.partition(":")
    outlines = outlines_of(weights, dtype=torch.bfloat16, quantisation=quantise)
    loaded = Counted(weights, dtype=torch.bfloat16, quantise=quantise).part(name)
    size = outlines.size(component, variant or "distilled")
    assert size.whole == pytest.approx(tensor_bytes(loaded), rel=1e-4)  # a scale may be a float
    assert size.outside + size.block <= size.whole


def test_each_residency_takes_no_more_of_the_device_than_the_one_before(rehearse):
    run = rehearse(small_plan(**LARGE, **LONG, mode="pro", num_inference_steps=3))
    device = {residency: forecast(run, residency).device for residency in RESIDENCIES}
    assert sorted(device.values(), reverse=True) == list(device.values())
    assert device["resident"] > device["staged"] > device["offload"]
    assert forecast(run, "freed").host < forecast(run, "staged").host
    assert host_forecast(run).host > forecast(run, "resident").device


@pytest.mark.parametrize("more", [{"width": 192}, {"num_frames": 25}])
def test_a_larger_clip_takes_more(rehearse, more):
    small, large = (
        forecast(rehearse(small_plan(**changes)), "offload").device for changes in ({}, more)
    )
    assert large > small


def test_two_prompts_take_more_than_one(rehearse):
    one, two = (
        max(m.device for m in rehearse(small_plan(mode=mode)).moments if "text_encoder" in m.parts)
        for mode in ("fast", "pro")
    )
    assert two > one


def test_a_rehearsal_says_the_same_again_and_leaves_its_plan_alone(rehearse):
    plan = small_plan(mode="pro", num_inference_steps=3)
    first = rehearse(plan)
    assert rehearse(plan) == first
    assert plan == small_plan(mode="pro", num_inference_steps=3)
    assert shortened(plan).base.steps == 2


def test_products_in_fp8_hold_a_byte_a_value_more_where_a_lora_acts(weights, adapters):
    """Pro's refine pass has the distilled LoRA; its base pass has none."""
    plan = small_plan(**LARGE, **LONG, mode="pro", num_inference_steps=3)

    def peaks(*, fp8_products):
        outlines = outlines_of(weights, dtype=torch.bfloat16, quantisation={"transformer": "fp8"})
        levers = replace(USUAL, fp8_products=fp8_products)
        run = Rehearsal(weights, outlines, find_adapter=adapters, levers=levers).rehearse(plan)
        return [m.device for m in run.moments if m.parts == ("transformer:dev",)]

    (base, refine), (usual_base, usual_refine) = peaks(fp8_products=True), peaks(fp8_products=False)
    assert base == usual_base
    config = Counted(weights).part("transformer:dev").config
    hidden = 4 * config.num_attention_heads * config.attention_head_dim
    tokens = (192 // 32) * (128 // 32) * (24 // 8 + 1)
    assert 0 < refine - usual_refine <= tokens * hidden


def test_adapters_are_counted_whole(rehearse, weights):
    run = rehearse(small_plan(mode="pro", num_inference_steps=3))
    file = weights.path("distilled_lora").stat().st_size
    assert run.adapters["transformer:dev"] == pytest.approx(2 * file, rel=0.1)  # float32, not bf16


@pytest.mark.parametrize(
    ("generation", "billions"), [("2.0", 18.876), ("2.3", 18.989), ("2.5", 18.988)]
)
def test_the_released_transformers_have_their_published_size(generation, billions):
    outlines = released_outlines(GENERATIONS[generation])
    size = outlines.size("transformer", "distilled")
    assert size.whole / 2 / 1e9 == pytest.approx(billions, abs=0.001)
    assert size.whole == pytest.approx(size.outside + 48 * size.block, rel=1e-6)
    connectors = outlines.size("connectors", "distilled").whole / 2 / 1e9
    assert connectors == pytest.approx(1.431 if generation == "2.0" else 3.172, abs=0.001)


def test_an_operation_that_gives_its_inputs_memory_is_counted_once_also_when_it_is_known():
    known = {}

    def peak():
        with torch.inference_mode(), Hollow(known) as ledger:
            whole = torch.empty(4, 6, device=DEVICE)
            torch.ops.aten._unsafe_view.default(whole + 1, [24])
        return ledger.peak(DEVICE)

    assert [peak(), peak()] == [2 * 96, 2 * 96]


def test_a_ledger_counts_memory_once_and_only_while_it_lives():
    weight = torch.ones(100)
    with torch.inference_mode(), Ledger() as ledger:
        total = weight + 1
        view = total.view(10, 10)
        weight.add_(1)
        turned = weight.view(10, 10).t()
        assert ledger.live["cpu"] == 400
        del total
        assert ledger.live["cpu"] == 400
        del view
        assert ledger.live["cpu"] == 0
        assert ledger.peak("cpu") == 400
        ledger.begin()
        assert ledger.peak("cpu") == 0
    assert turned.shape == (10, 10)


def test_attention_without_data_never_holds_all_pairs():
    shape = (1, 4, 1000, 16)
    query = torch.empty(shape, device="meta")
    with torch.inference_mode(), Hollow() as ledger:
        out = torch.nn.functional.scaled_dot_product_attention(query, query, query)
    assert out.shape == shape
    assert ledger.peak("meta") == out.nbytes + 4 * 1000 * 4
    assert ledger.live["meta"] == out.nbytes


def test_a_recalled_call_holds_what_the_first_one_did():
    calls = []

    def forward(x):
        calls.append(x.shape)
        large = x.repeat(4, 1)
        return (large * 2)[:1], x + 1

    call = recalled(forward)
    for rows in (3, 3, 5):
        x = torch.empty(rows, 10, device="meta")
        with torch.inference_mode(), Hollow() as ledger:
            first, second = call(x)
            assert (first.shape, second.shape) == ((1, 10), (rows, 10))
            # A view keeps all of the memory that it looks at.
            assert ledger.live["meta"] == 40 * 4 * rows + 40 * rows
            assert ledger.peak("meta") == 2 * 40 * 4 * rows + 40 * rows
    assert calls == [(3, 10), (5, 10)]


def test_what_shares_memory_with_its_input_is_not_recalled():
    call = recalled(lambda x: x.view(-1))
    x = torch.empty(2, 2, device="meta")
    with torch.inference_mode(), Hollow():
        for _ in range(2):
            assert call(x).untyped_storage()._cdata == x.untyped_storage()._cdata


def test_full_size_passes_take_what_counting_by_hand_gives(tmp_path):
    """LTX-2.3 at 1280x704 for 5 s: about 1.9 GiB for one row, by count of shapes.

    diffusers' own blocks hold a tensor of the stream more at their fullest, 2.0 GiB.
    """
    from ltx2.memory_table import released_fit
    from ltx2.planner import plan
    from ltx2.request import Request

    row = CHECKPOINTS["ltx-2.3"]
    request = Request(prompt="x", seed=0, resolution="720p", duration=5, generate_audio=False)
    run = released_fit(row).rehearsed(plan(request, checkpoint=row))
    passes = [m.device / GIB for m in run.moments if m.parts == ("transformer:distilled",)]
    assert passes[-1] == pytest.approx(1.9, rel=0.03)
    held = replace(run, moments=tuple(m for m in run.moments if "vae" not in m.parts))
    assert forecast(held, "offload").fullest == ("transformer:distilled",)
