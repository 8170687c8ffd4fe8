"""Requests on existing videos and their plans: sizes, passes, windows, refusals. No torch."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from ltx2.errors import BadRequest, Ltx2Error, TooLarge
from ltx2.extent import Limits, encode_tiles
from ltx2.media.video import AudioTrack, VideoFacts
from ltx2.video_planner import plan_video
from ltx2.video_request import VideoRequest
from pipelines.geometry import Size, tile_spans
from pipelines.models import CHECKPOINTS
from pipelines.plan import RestorePlan
from pipelines.sigmas import REFINE, REFINE_TINY

FILM = Fraction(24000, 1001)


def facts(**changes):
    """A second and a bit of 320x192 with sound."""
    values = {
        "path": Path("in.mp4"),
        "sha256": "0" * 64,
        "width": 320,
        "height": 192,
        "rate": Fraction(24),
        "frames": 33,
        "codec": "h264",
        "variable": False,
        "interlaced": False,
        "audio": (AudioTrack(codec="aac", sample_rate=48000),),
        "delay": Fraction(0),
        "stream": 0,
        "matrix": "bt709",
    }
    return VideoFacts(**{**values, **changes})


def request(task="detail", **changes):
    return VideoRequest(task=task, video=Path("in.mp4"), seed=7, **changes)


def planned(task="detail", source=None, checkpoint="tiny", limits=None, downscale=None, **changes):
    return plan_video(
        request(task, **changes),
        source or facts(),
        CHECKPOINTS[checkpoint],
        limits=limits or Limits(),
        reference_downscale=downscale,
    )


def refusal(kind, *args, **options):
    with pytest.raises(kind) as found:
        planned(*args, **options)
    return str(found.value)


def test_the_detailer_runs_as_lightricks_graph_has_it():
    plan = planned(checkpoint="ltx-2", source=facts(frames=97), downscale=1)
    window = plan.detail
    assert (plan.mode, plan.refine, plan.upscalers, window.prompt) == ("pro", None, (), "")
    assert (window.latents, window.overlap, window.hold) == (7, 3, 0.5)
    part = window.denoise
    assert (part.variant, part.sigmas, part.sampler, part.sound) == (
        "dev",
        REFINE,
        "euler",
        "absent",
    )
    assert [(each.source, each.strength) for each in part.adapters] == [("detailer", 1.0)]
    assert (part.reference_downscale, part.fps) == (1, 24.0)
    assert plan.wanted_parts == frozenset()
    assert plan.texts == {"detail": ("", None)}


def test_detail_keeps_size_rate_and_length():
    plan = planned(source=facts(width=200, height=120, frames=100, rate=FILM))
    assert (plan.width, plan.height, plan.num_frames, plan.rate) == (200, 120, 100, "24000/1001")
    assert plan.duration == pytest.approx(100 * 1001 / 24000)
    assert plan.keep_audio
    assert plan.snaps == ()


@pytest.mark.parametrize("width", [64, 65, 200, 319, 320])
@pytest.mark.parametrize("frames", [1, 9, 10, 100])
@pytest.mark.parametrize(("spatial", "downscale"), [(1, 1), (1, 2), (2, 2), (1.5, 1), (1.5, 2)])
def test_every_latent_of_a_padded_source_is_whole(width, frames, spatial, downscale):
    task = "detail" if spatial == 1 else "upscale"
    changes = {} if task == "detail" else {"spatial": spatial, "detailer": True}
    plan = planned(task, facts(width=width, frames=frames), downscale=downscale, **changes)
    source, part = plan.source, plan.detail.denoise
    assert source.padded_width >= width
    assert source.padded_width % 32 == 0
    assert (source.padded_frames - 1) % 8 == 0
    assert 0 <= source.padded_frames - frames < 8
    assert part.width == source.padded_width * spatial
    assert part.width % (32 * downscale) == part.height % (32 * downscale) == 0
    assert plan.width == int(width * spatial) // 2 * 2
    assert plan.width <= part.width


def test_odd_edges_lose_a_pixel_and_say_so():
    plan = planned(source=facts(width=201, height=121))
    assert [(s.name, s.asked, s.used) for s in plan.snaps] == [
        ("width", 201, 200),
        ("height", 121, 120),
    ]
    doubled = planned("upscale", facts(width=201, height=121))
    assert (doubled.width, doubled.height, doubled.snaps) == (402, 242, ())


def test_twice_the_frames_are_twice_the_rate_at_the_same_length():
    plan = planned("upscale", facts(rate=FILM, frames=100), spatial=1, temporal=True)
    assert (plan.num_frames, plan.rate) == (200, "48000/1001")
    assert plan.duration == pytest.approx(100 / float(FILM))
    assert plan.upscalers == ("temporal_upscaler",)
    assert plan.refine.denoise.fps == 60.0  # of 47.95, which no model was trained on
    assert plan.refine.denoise.frames == 2 * 104 + 1


@pytest.mark.parametrize(
    ("mode", "variant", "adapters", "parts"),
    [
        ("fast", "distilled", [], {"spatial_upscaler"}),
        ("pro", "dev", [("distilled", 1.0)], {"spatial_upscaler", "distilled_lora"}),
    ],
)
def test_refining_runs_the_distilled_model_or_the_dev_one_made_so(mode, variant, adapters, parts):
    plan = planned("upscale", mode=mode, prompt=" a cat ")
    part = plan.refine.denoise
    assert (part.variant, part.sigmas, part.sound) == (variant, REFINE_TINY, "absent")
    assert [(each.source, each.strength) for each in part.adapters] == adapters
    assert (part.width, part.height) == (640, 384)
    assert plan.wanted_parts == parts == request("upscale", mode=mode).parts
    assert plan.texts == {"refine": ("a cat", None)}


def test_upscaling_alone_needs_no_transformer_pass():
    plan = planned("upscale", refine=False)
    assert plan.passes == {}
    assert plan.wanted_parts == {"spatial_upscaler"}


def test_a_clip_the_model_can_hold_is_refined_in_one_window():
    plan = planned("upscale", facts(frames=480))
    assert (plan.refine.latents, plan.refine.overlap) == (61, 0)


def test_a_longer_one_is_refined_in_windows_of_even_length():
    plan = planned("upscale", facts(frames=1000))
    window = plan.refine
    spans = window.spans(126)
    assert window.overlap == 4
    assert window.hold == 1.0
    assert len(spans) == 3
    assert max(end - start for start, end in spans) <= 61
    lengths = [end - start for start, end in spans]
    assert max(lengths) - min(lengths) <= 2


def test_the_workers_limits_make_windows_shorter():
    cells = 20 * 12
    seconds = planned("upscale", facts(frames=121), limits=Limits(max_seconds=2)).refine
    assert seconds.latents <= 7
    tokens = planned("upscale", facts(frames=121), limits=Limits(max_tokens=10 * cells)).refine
    assert (tokens.latents, tokens.overlap) == (10, 4)  # what is held adds no token
    whole = planned("upscale", facts(frames=121), limits=Limits(max_tokens=16 * cells)).refine
    assert (whole.latents, whole.overlap) == (16, 0)
    text = refusal(TooLarge, "upscale", facts(frames=121), limits=Limits(max_tokens=4 * cells))
    assert "640x384 is too large for the refine pass: 4 of the 5 latent frames" in text
    assert f"within the {4 * cells} video tokens" in text
    assert "--no-refine" in text
    assert planned("upscale", facts(frames=25), limits=Limits(max_tokens=4 * cells)).refine


def test_a_limit_of_seconds_is_not_told_as_one_of_size():
    text = refusal(TooLarge, "upscale", facts(frames=121), limits=Limits(max_seconds=1))
    assert text == (
        "the refine pass needs windows of at least 1.4 s, this worker takes 1 s: "
        "set refine to false (--no-refine)"
    )
    both = refusal(
        TooLarge, "upscale", facts(frames=121), limits=Limits(max_seconds=1, max_tokens=240)
    )
    assert "takes 1 s" in both
    assert "within the 240 video tokens" in both


@pytest.mark.parametrize(("downscale", "tokens"), [(1, 14 * 60), (2, (7 + 3) * 60 + 4 * 15)])
def test_the_limit_of_tokens_holds_for_the_detail_pass_with_what_it_follows(downscale, tokens):
    source = facts(frames=121)
    options = {"source": source, "downscale": downscale}
    shown = facts(width=320, height=192)
    assert (shown.width // 32) * (shown.height // 32) == 60
    padded = planned(**options).detail.denoise
    cells = (padded.width // 32) * (padded.height // 32)
    tokens = tokens * cells // 60
    assert planned(**options, limits=Limits(max_tokens=tokens)).detail
    text = refusal(TooLarge, **options, limits=Limits(max_tokens=tokens - 1))
    assert f"detail pass is {tokens:,} video tokens at {padded.width}x{padded.height}" in text
    # A clip of one window holds nothing of a window before it.
    one = {**options, "source": facts(frames=49)}
    first = 7 * (cells + cells // downscale**2)
    assert planned(**one, limits=Limits(max_tokens=first)).detail
    assert refusal(TooLarge, **one, limits=Limits(max_tokens=first - 1))


def test_a_reference_is_encoded_in_the_encoders_own_tiles():
    plan = planned(downscale=2)
    assert plan.detail.encode == encode_tiles(Size(160, 96))
    assert plan.detail.encode.overlap_frames == plan.encode.overlap_frames
    assert planned(downscale=1).detail.encode is None


@pytest.mark.parametrize(
    "size", [Size(96, 64), Size(3840, 2176), Size(3840, 1632), Size(1632, 3840), Size(4096, 128)],
    ids=str,
)  # fmt: skip
def test_tiles_of_the_encoder_are_no_smaller_than_their_seams(size):
    tiles = encode_tiles(size)
    assert tiles.overlap >= 64
    assert tiles.overlap_frames >= 24
    for edge, tile in zip(size, (tiles.tile_width, tiles.tile_height), strict=True):
        assert tile % 32 == 0
        assert tile >= 2 * tiles.overlap
        spans = tile_spans(edge // 32, tile // 32, tiles.overlap // 32)
        assert spans[-1][1] == edge // 32


def test_the_seed_is_kept_and_drawn_where_there_is_none():
    assert planned().seed == 7
    drawn = {
        plan_video(
            replace(request(), seed=None), facts(), CHECKPOINTS["tiny"], limits=Limits()
        ).seed
        for _ in range(3)
    }
    assert len(drawn) == 3


def test_equal_work_has_an_equal_id_and_other_content_another():
    one = planned()
    assert planned().id == one.id == replace(one, warnings=("a",), metadata=False).id
    others = [
        planned(source=facts(sha256="1" * 64)),
        planned(mode="fast"),
        planned(strength=0.5),
        planned(audio=False),
        planned("upscale"),
    ]
    assert len({one.id, *(other.id for other in others)}) == 6


@pytest.mark.parametrize("task", ["detail", "upscale"])
def test_a_plan_survives_json(task):
    extra = {"temporal": True, "detailer": True} if task == "upscale" else {}
    plan = planned(task, facts(width=201, frames=700), **extra)
    data = json.loads(json.dumps(plan.as_dict()))
    assert data["id"] == plan.id
    assert RestorePlan.from_dict(data) == plan


def test_a_generation_without_a_detailer_lists_those_that_have_one():
    text = refusal(BadRequest, checkpoint="ltx-2.3")
    assert text == "there is no detailer for ltx-2.3; there is one for ltx-2, tiny"
    assert "no detailer for ltx-2.5" in refusal(
        BadRequest, "upscale", checkpoint="ltx-2.5", detailer=True
    )


def test_a_generation_without_the_smaller_upscaler_says_what_it_has():
    text = refusal(BadRequest, "upscale", checkpoint="ltx-2", spatial=1.5)
    assert "ltx-2 has no spatial upscaler of 1.5" in text
    assert "ltx-2.3" in text
    assert planned("upscale", checkpoint="ltx-2.3", spatial=1.5).upscalers == (
        "spatial_upscaler_x1.5",
    )


def test_everything_that_is_wrong_with_a_file_is_said_at_once():
    bad = facts(
        width=16,
        rate=Fraction(2),
        frames=4000,
        audio=(AudioTrack(codec="pcm_s16le", sample_rate=48000),),
    )
    text = refusal(Ltx2Error, source=bad, checkpoint="ltx-2.3")
    for part in (
        "no detailer",
        "16x192",
        "2 frames a second",
        "2000.0 s",
        "pcm_s16le",
        "--no-audio",
    ):
        assert part in text


def test_sound_that_is_left_away_may_be_anything():
    source = facts(audio=(AudioTrack(codec="pcm_s16le", sample_rate=48000),))
    assert not planned(source=source, audio=False).keep_audio
    assert not planned(source=facts(audio=())).keep_audio


def test_a_result_that_is_too_large_says_what_fits():
    text = refusal(TooLarge, "upscale", facts(width=1280, height=720))
    assert "2560x1440 has 3,686,400 pixels a frame, this worker takes 2,359,296" in text
    assert "a source of 1024x576 fits" in text
    assert "or spatial 1.5 does" in text
    assert planned(source=facts(width=1280, height=720)).width == 1280


def test_a_video_longer_than_the_worker_takes_is_refused():
    text = refusal(TooLarge, source=facts(frames=24 * 601))
    assert "601.0 s, this worker takes 600 s" in text
    assert planned(source=facts(frames=24 * 601), limits=Limits(max_video_seconds=700))


def test_what_works_but_may_not_be_meant_is_warned_of():
    source = facts(variable=True, interlaced=True, rate=Fraction(10))
    text = " ".join(planned(source=source).warnings)
    assert "evened out to 10" in text
    assert "interlaced" in text
    assert "not 10" in text


@pytest.mark.parametrize("rate", ["31", "35", "48", "50", "120"])
def test_a_rate_that_the_model_is_told_otherwise_is_warned_of(rate):
    (text,) = planned(source=facts(rate=Fraction(rate))).warnings
    assert f"not {rate}, and is told 60" in text
    alone = planned("upscale", facts(rate=Fraction(rate)), refine=False)
    assert alone.warnings == ()  # no model is told anything


@pytest.mark.parametrize("rate", ["24000/1001", "25", "30000/1001", "30", "60000/1001", "60"])
def test_rates_that_the_model_knows_are_nothing_to_warn_of(rate):
    assert planned(source=facts(rate=Fraction(rate))).warnings == ()


def test_a_clip_too_short_for_the_detailer_is_warned_of():
    (text,) = planned(source=facts(frames=17)).warnings
    assert "17 frames are few for the detailer" in text
    assert planned(source=facts(frames=25)).warnings == ()
    assert planned("upscale", facts(frames=17)).warnings == ()
    # What counts is what the model sees, twice as many here.
    doubled = planned("upscale", facts(frames=17, rate=30), temporal=True, detailer=True)
    assert doubled.warnings == ()


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        ("detail", {"temporal": True}, "temporal is for upscale"),
        ("detail", {"prompt": "a cat"}, "prompt is for upscale"),
        ("detail", {"strength": 0}, "above 0"),
        ("detail", {"strength": True}, "above 0"),
        ("detail", {"mode": "slow"}, "fast or pro"),
        ("detail", {"seed": -1}, "seed must be"),
        ("upscale", {"spatial": 3}, "one of 2, 1.5, 1"),
        ("upscale", {"spatial": "two"}, "one of 2, 1.5, 1"),
        ("upscale", {"spatial": 1}, "nothing to upscale"),
        ("upscale", {"refine": False, "prompt": "a cat"}, "read by the refine pass alone"),
        ("upscale", {"strength": 0.5}, "that of the detailer"),
        ("restore", {}, "detail or upscale"),
        (["detail"], {}, "task must be detail or upscale"),
        (None, {}, "task must be detail or upscale"),
        ("upscale", {"prompt": None}, "prompt must be a text; got null"),
        ("upscale", {"prompt": 5}, "prompt must be a text; got 5"),
        ("upscale", {"temporal": "no"}, "temporal must be true or false"),
        ("upscale", {"refine": 0}, "refine must be true or false"),
        ("detail", {"audio": "no"}, "audio must be true or false"),
        ("detail", {"metadata": None}, "metadata must be true or false"),
        ("detail", {"mode": ["fast"]}, "fast or pro"),
        ("detail", {"generation_id": 5}, "generation_id must be a text"),
        ("upscale", {"spatial": [2]}, "one of 2, 1.5, 1"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(task, changes, said):
    with pytest.raises(BadRequest, match=said):
        VideoRequest(task=task, video=Path("in.mp4"), **changes)


def test_a_request_tells_all_its_faults_at_once():
    with pytest.raises(BadRequest) as found:
        VideoRequest(
            task="x", video=5, mode="x", seed=1.5, spatial=4, strength=9, prompt=5, audio="no"
        )
    assert len(found.value.problems) == 8


def test_a_path_may_be_a_text():
    made = VideoRequest(task="detail", video="clips/in.mp4")
    assert made.video == Path("clips/in.mp4")
    with pytest.raises(BadRequest, match="video must be the path of a file"):
        VideoRequest(task="detail", video="")
