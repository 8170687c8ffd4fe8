"""The passes of a plan: upscalers, doubled frames and detail, in every combination."""

from itertools import product

import pytest

from ltx2.errors import BadRequest
from ltx2.planner import plan
from ltx2.request import Request
from pipelines.geometry import conditioning_fps
from pipelines.plan import Plan
from pipelines.sigmas import REFINE, REFINE_TINY, TEMPORAL_ROUND

MODELS = ("tiny", "ltx-2", "ltx-2.3", "ltx-2.5")


def planned(checkpoint="tiny", **fields) -> Plan:
    return plan(Request(prompt="a red ball", seed=7, **fields), checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("checkpoint", "mode", "spatial", "temporal"),
    list(product(MODELS, ("fast", "pro"), (True, False), (True, False))),
)
def test_the_upscalers_combine(checkpoint, mode, spatial, temporal):
    made = planned(checkpoint, mode=mode, spatial_upscaler=spatial, temporal_upscaler=temporal)
    plain = planned(checkpoint, mode=mode)
    rounds = checkpoint == "ltx-2.5"
    assert (made.width, made.height) == (plain.width, plain.height)
    assert (made.base.width * (2 if spatial else 1)) == made.width
    assert made.fps == (48 if temporal else 24)
    assert made.num_frames == (2 * plain.num_frames - 1 if temporal else plain.num_frames)
    assert made.upscalers == (
        *(("spatial_upscaler",) if spatial else ()),
        *(("temporal_upscaler",) if temporal and not rounds else ()),
    )
    assert (made.refine is not None) == bool(made.upscalers)
    assert (made.temporal_round is not None) == (temporal and rounds)
    joint = mode == "fast" and spatial and not temporal
    assert made.audio_from == ("refine" if joint else "base")
    assert Plan.from_dict(made.as_dict()) == made
    if mode == "pro":
        after = [part for name, part in made.passes.items() if name != "base"]
        assert all(part.adapters[0].source == "distilled" for part in after)
        assert ("distilled_lora" in made.wanted_parts) == bool(after)


@pytest.mark.parametrize("fps", [24, 25, 30, 48, 50, 60])
def test_doubled_frames_are_told_a_rate_the_model_knows_beside_the_whole_sound(fps):
    made = planned(fps=fps, temporal_upscaler=True, duration=2)
    part = made.refine
    assert made.fps == 2 * fps
    assert part.fps == conditioning_fps(2 * fps) == 60
    assert part.sound == "held"
    assert part.sigmas == REFINE_TINY
    # As long in the model's time as the frames are, whatever it is told.
    assert part.audio_latents == round(part.frames / part.fps * 25)
    assert made.base.audio_latents == planned(fps=fps, duration=2).base.audio_latents


def test_a_temporal_round_follows_the_reference():
    made = planned("ltx-2.5", mode="pro", temporal_upscaler=True, num_frames=97)
    assert made.base.slots == made.refine.slots == (32, 64, 96)
    assert (made.base.sampler, made.refine.reference_downscale) == ("euler", 2)
    after = made.temporal_round
    assert after.known == (64, 128, 192)
    assert [(t.start, t.end, t.drop) for t in after.tiles] == [(0, 17, 0), (8, 25, 9)]
    assert after.denoise.sigmas == TEMPORAL_ROUND
    assert (after.denoise.sampler, after.denoise.eta) == ("ancestral_euler", 0.5)
    assert (after.denoise.sound, after.anchor_strength) == ("absent", 0.95)
    assert after.seed == 1007
    assert after.steps == 8


def test_a_clip_is_lengthened_to_whole_segments_only_for_a_round():
    made = planned("ltx-2.5", temporal_upscaler=True, num_frames=113)
    assert (made.base.frames, made.num_frames) == (121, 225)
    assert planned("ltx-2.5", num_frames=113).base.frames == 113


def test_the_detailer_follows_lightricks_graph():
    made = planned("ltx-2", mode="pro", detailer=True, duration=5)
    detail = made.detail
    assert (detail.latents, detail.overlap, detail.hold) == (7, 3, 0.5)
    assert detail.prompt == ""
    part = detail.denoise
    assert (part.variant, part.sigmas, part.sound) == ("dev", REFINE, "absent")
    assert [(a.source, a.strength) for a in part.adapters] == [("detailer", 1.0)]
    assert (part.width, part.height, part.reference_downscale) == (1280, 704, 1)
    assert detail.spans(16) == [(0, 7), (4, 11), (8, 15), (12, 16)]
    assert planned("ltx-2", mode="fast", detailer=True).detail.denoise.variant == "distilled"


def test_a_short_clip_is_detailed_in_one_window():
    detail = planned(detailer=True, num_frames=17).detail
    assert (detail.latents, detail.overlap) == (3, 0)
    assert detail.spans(3) == [(0, 3)]
    assert detail.steps(3) == 3


def test_the_frame_fits_what_the_detailer_follows():
    asked = {"width": 224, "height": 160, "spatial_upscaler": False}
    assert planned(**asked).width == 224
    made = planned(**asked, detailer=True)
    assert (made.width, made.height) == (192, 128)
    assert {snap.name for snap in made.snaps} == {"width", "height"}


def test_a_model_without_a_detailer_names_those_that_have_one():
    with pytest.raises(BadRequest, match=r"no detailer for ltx-2\.3.*ltx-2, tiny"):
        planned("ltx-2.3", detailer=True)


def test_a_single_frame_cannot_be_doubled():
    with pytest.raises(BadRequest, match="at least 9 frames"):
        planned(num_frames=1, temporal_upscaler=True)
