"""The planner: sizes, lengths, recipes, LoRAs, warnings, and every refusal at once."""

import itertools

import pytest

from loras import catalog
from ltx2.errors import BadRequest, TooLarge, UnknownLora
from ltx2.extent import NAMED_SIZES, RATIOS, Limits, PictureFacts, decode_tiles, named_size
from ltx2.planner import plan
from ltx2.request import ASPECT_RATIOS, RESOLUTIONS, Request
from pipelines.geometry import Size, video_tokens
from pipelines.models import CHECKPOINTS
from pipelines.plan import GUIDANCE_OFF, Adapter, Guidance, Snap
from pipelines.prompts import DEFAULT_NEGATIVE, NEGATIVE_TAGS, NEGATIVE_WORDS
from pipelines.sigmas import DISTILLED, REFINE, REFINE_TINY, anchor

URL = "https://example.com/picture.png"


def planned(checkpoint="ltx-2.3", *, limits=None, pictures=None, **fields):
    request = Request(**{"prompt": "a red ball", "seed": 7, **fields})
    return plan(request, checkpoint=checkpoint, limits=limits or Limits(), pictures=pictures)


def facts(width, height):
    return {"image": PictureFacts(width=width, height=height, sha256="0" * 64)}


def refusal(kind, *args, **fields):
    with pytest.raises(kind) as caught:
        planned(*args, **fields)
    assert type(caught.value) is kind
    return caught.value


# Sizes


@pytest.mark.parametrize(
    ("name", "wide"), [("540p", (1024, 576)), ("720p", (1280, 704)), ("1080p", (1920, 1088))]
)
@pytest.mark.parametrize("two_passes", [True, False])
def test_a_named_resolution_is_one_exact_size_whatever_the_passes(name, wide, two_passes):
    made = planned(resolution=name, spatial_upscaler=two_passes)
    assert (made.width, made.height) == wide
    tall = planned(resolution=name, aspect_ratio="9:16", spatial_upscaler=two_passes)
    assert (tall.height, tall.width) == wide
    assert made.snaps == tall.snaps == ()


def test_the_default_size_and_length_are_the_checkpoints():
    for row in CHECKPOINTS.values():
        made = planned(row.name)
        assert (made.width, made.height) == (row.width, row.height)
        assert made.num_frames == 24 * row.seconds + 1


def test_names_of_sizes_and_shapes_agree_with_the_request():
    assert tuple(NAMED_SIZES) == RESOLUTIONS
    assert (*RATIOS, "auto") == ASPECT_RATIOS


@pytest.mark.parametrize("row", CHECKPOINTS.values(), ids=lambda row: row.name)
def test_every_shape_keeps_the_area_on_the_grid_of_64_and_passes_the_default_limits(row):
    for name, (shape, ratio) in itertools.product((None, *NAMED_SIZES), RATIOS.items()):
        size = named_size(row, name, ratio)
        wide = named_size(row, name, RATIOS["16:9"])
        assert size.width % 64 == size.height % 64 == 0
        # Each edge moves by at most half a cell of 64.
        assert abs(size.width * size.height - wide.width * wide.height) <= 32 * sum(size) + 1024
        assert abs(size.width - ratio * size.height) <= 32 * (1 + ratio), shape
        assert size.width * size.height <= Limits().max_pixels


def test_the_computed_16_9_frame_would_be_the_tables():
    for wide in (*NAMED_SIZES.values(), Size(320, 192)):
        request = {"image": URL, "pictures": facts(16_000, 9_001)}
        row = next((r for r in CHECKPOINTS.values() if (r.width, r.height) == wide), None)
        name = next((name for name, size in NAMED_SIZES.items() if size == wide), None)
        made = planned(row.name if row and not name else "ltx-2", resolution=name, **request)
        assert Size(made.width, made.height) == wide


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((900, 1600), (704, 1280)),
        ((1000, 1000), (960, 960)),
        ((1500, 1000), (1152, 768)),
        ((10_000, 100), (1472, 640)),  # held at 21:9
        ((100, 10_000), (640, 1472)),
    ],
)
def test_auto_takes_the_pictures_shape_up_to_21_9(picture, size):
    made = planned(image=URL, pictures=facts(*picture))
    assert (made.width, made.height) == size


def test_auto_takes_the_last_picture_where_there_is_no_first():
    pictures = {"last_image": PictureFacts(width=9, height=16, sha256="0" * 64)}
    made = planned(last_image=URL, pictures=pictures)
    assert (made.width, made.height) == (704, 1280)


def test_a_shape_asked_for_wins_over_the_pictures():
    assert planned(image=URL, pictures=facts(9, 16), aspect_ratio="16:9").width == 1280


def test_explicit_edges_snap_down_to_64_in_two_passes_and_to_32_in_one():
    two = planned(width=1000, height=630)
    assert (two.width, two.height) == (960, 576)
    assert two.snaps == (
        Snap(name="width", asked=1000, used=960),
        Snap(name="height", asked=630, used=576),
    )
    one = planned(width=1000, height=630, spatial_upscaler=False)
    assert (one.width, one.height) == (992, 608)
    assert planned(width=960, height=576).snaps == ()


def test_explicit_edges_over_a_named_size_are_said():
    made = planned(width=640, height=640, resolution="540p")
    assert (made.width, made.height) == (640, 640)
    assert made.warnings == ("width and height replace resolution and aspect_ratio",)


@pytest.mark.parametrize("limit", [64 * 64, 500_000, 1280 * 704, 2_000_000])
def test_a_frame_too_large_is_refused_with_one_that_fits(limit):
    error = refusal(TooLarge, width=3000, height=2000, limits=Limits(max_pixels=limit))
    width, height = (int(edge) for edge in str(error).rsplit(": ", 1)[1].split()[0].split("x"))
    assert planned(width=width, height=height, limits=Limits(max_pixels=limit)).snaps == ()


# Lengths


@pytest.mark.parametrize("fps", [24, 25, 30, 48, 50, 60])
def test_twenty_seconds_fit_at_every_rate_and_one_latent_frame_more_does_not(fps):
    made = planned(duration=20, fps=fps)
    assert (made.num_frames - 1) / fps <= 20
    assert planned(num_frames=made.num_frames, fps=fps).num_frames == made.num_frames
    if made.num_frames + 8 <= 1201:
        error = refusal(BadRequest, num_frames=made.num_frames + 8, fps=fps)
        assert "20 s" in str(error)
        assert str(made.num_frames) in str(error)


def test_num_frames_snaps_down_and_says_so():
    made = planned(num_frames=120)
    assert made.num_frames == 113
    assert made.snaps == (Snap(name="num_frames", asked=120, used=113),)
    assert planned(num_frames=121).snaps == ()


def test_a_duration_off_the_grid_says_what_the_clip_plays():
    made = planned(duration=3.1)
    assert made.num_frames == 73
    assert made.snaps == (Snap(name="duration", asked=3.1, used=made.duration),)
    assert planned(duration=3).snaps == ()
    assert planned(duration=5, fps=25).snaps == (Snap(name="duration", asked=5, used=121 / 25),)


def test_the_shortest_clip_is_one_frame():
    assert planned(duration=0.01).num_frames == planned(num_frames=1).num_frames == 1


def test_a_workers_own_limit_of_seconds_is_too_large_not_bad():
    limits = Limits(max_seconds=4)
    assert planned(duration=4, limits=limits).num_frames == 97
    error = refusal(TooLarge, duration=5, limits=limits)
    assert "97 fit" in str(error)


def test_too_many_tokens_are_refused_with_the_length_that_fits():
    limits = Limits(max_tokens=10_000)
    error = refusal(TooLarge, resolution="720p", duration=5, limits=limits)
    assert "14,080" in str(error)
    seconds = float(str(error).rsplit(": ", 1)[1].split()[0])
    shorter = planned(resolution="720p", duration=seconds - 0.1, limits=limits)
    assert video_tokens(shorter.width, shorter.height, shorter.num_frames) <= 10_000
    assert "smaller" in str(refusal(TooLarge, limits=Limits(max_tokens=100)))


# Recipes


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_fast_is_the_distilled_model_in_two_passes_without_guidance(name):
    made = planned(name, duration=5)
    generation = CHECKPOINTS[name].generation
    assert made.base.variant == made.refine.variant == "distilled"
    assert made.base.sigmas == DISTILLED
    assert made.refine.sigmas == (REFINE_TINY if name == "tiny" else REFINE)
    assert (made.base.sampler, made.base.eta) == (
        ("ancestral_euler", 1.0) if name == "ltx-2.5" else ("euler", 0.0)
    )
    assert made.base.sampler == generation.distilled_sampler
    assert (made.refine.sampler, made.refine.eta) == ("euler", 0.0)
    for part in (made.base, made.refine):
        assert part.video_guidance == part.audio_guidance == GUIDANCE_OFF
        assert part.stg_blocks == ()
        assert part.adapters == ()
        assert part.noise_scale == part.sigmas[0]
        assert part.frames == made.num_frames
    assert made.audio_from == "refine"
    assert made.negative_prompt is None
    assert made.warnings == ()


@pytest.mark.parametrize(
    ("name", "steps", "block"),
    [("ltx-2", 40, 29), ("ltx-2.3", 30, 28), ("ltx-2.5", 30, 28), ("tiny", 10, 1)],
)
def test_pro_is_the_guided_dev_model_then_the_distilled_lora(name, steps, block):
    made = planned(name, mode="pro")
    base, refine = made.base, made.refine
    assert base.variant == refine.variant == "dev"
    assert base.sigmas == anchor(steps)
    assert base.steps == steps
    assert (base.sampler, base.eta, base.stg_blocks) == ("euler", 0.0, (block,))
    assert base.video_guidance == Guidance(cfg=3, stg=1, modality=3, rescale=0.7)
    assert base.audio_guidance == Guidance(cfg=7, stg=1, modality=3, rescale=0.7)
    assert base.adapters == ()
    assert refine.sigmas == (REFINE_TINY if name == "tiny" else REFINE)
    assert refine.video_guidance == refine.audio_guidance == GUIDANCE_OFF
    assert refine.stg_blocks == ()
    assert refine.adapters == (Adapter(source="distilled", strength=1.0),)
    assert made.audio_from == "base"
    assert made.negative_prompt == DEFAULT_NEGATIVE


@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_the_first_pass_has_half_the_edges_and_one_pass_the_full_ones(mode):
    two = planned(mode=mode)
    assert (two.base.width, two.base.height) == (640, 352)
    assert (two.refine.width, two.refine.height) == (1280, 704)
    one = planned(mode=mode, spatial_upscaler=False)
    assert one.refine is None
    assert one.audio_from == "base"
    assert (one.base.width, one.base.height) == (1280, 704)
    assert one.base.sigmas == two.base.sigmas
    assert one.base.video_guidance == two.base.video_guidance


@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_no_sound_is_no_pass_that_delivers_it(mode):
    assert planned(mode=mode, generate_audio=False).audio_from is None


def test_guidance_is_replaced_value_by_value_and_never_leaks_to_the_other_stream():
    made = planned(mode="pro", guidance_scale=5, stg_scale=2, guidance_rescale=0, audio_stg_scale=0)
    assert made.base.video_guidance == Guidance(cfg=5, stg=2, modality=3, rescale=0)
    assert made.base.audio_guidance == Guidance(cfg=7, stg=0, modality=3, rescale=0.7)
    assert made.base.stg_blocks == (28,)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("guidance_scale", "cfg"),
        ("stg_scale", "stg"),
        ("modality_scale", "modality"),
        ("guidance_rescale", "rescale"),
    ],
)
def test_an_explicit_zero_for_the_sound_is_zero_in_the_plan(name, field):
    made = planned(mode="pro", **{f"audio_{name}": 0})
    assert getattr(made.base.audio_guidance, field) == 0
    assert getattr(made.base.video_guidance, field) != 0


def test_stg_off_in_both_streams_needs_no_blocks():
    assert planned(mode="pro", stg_scale=0, audio_stg_scale=0).base.stg_blocks == ()


def test_the_step_count_chooses_the_schedule_and_size_does_not():
    assert planned(mode="pro", num_inference_steps=12).base.sigmas == anchor(12)
    tables = {planned(mode="pro", resolution=name).base.sigmas for name in RESOLUTIONS}
    assert len(tables) == 1


@pytest.mark.parametrize(("fps", "told"), [(24, 24.0), (30, 30.0), (48, 60.0), (60, 60.0)])
def test_both_passes_are_told_a_rate_that_the_model_knows(fps, told):
    made = planned(fps=fps)
    assert made.fps == fps
    assert made.base.fps == made.refine.fps == told
    assert any("falls behind the sound" in text for text in made.warnings) == (fps != told)


def test_a_guidance_below_its_neutral_value_is_said():
    assert planned(mode="pro", guidance_scale=0).warnings == (
        "guidance_scale 0 steers away from what is asked; 1 switches it off",
    )


# Negative prompt


def test_the_negative_prompt_is_the_references_five_tags_and_diffusers_text():
    utils = pytest.importorskip(
        "diffusers.pipelines.ltx2.utils", reason="the text is compared with diffusers' own"
    )
    assert utils.DEFAULT_NEGATIVE_PROMPT == NEGATIVE_WORDS
    assert f"{', '.join(NEGATIVE_TAGS)}, {NEGATIVE_WORDS}" == DEFAULT_NEGATIVE
    assert DEFAULT_NEGATIVE.startswith(
        "has_subtitles, has_blurbox, transition from black, transition to black, "
        "speech_ending_short, blurry, "
    )


def test_a_negative_prompt_in_fast_is_dropped_with_a_warning():
    made = planned(negative_prompt="blurry")
    assert made.negative_prompt is None
    assert made.warnings == ("negative_prompt is not used: mode fast runs without guidance",)


def test_pro_takes_the_negative_prompt_given_an_empty_one_too():
    assert planned(mode="pro", negative_prompt="blurry").negative_prompt == "blurry"
    assert planned(mode="pro", negative_prompt="").negative_prompt == ""


def test_pro_without_prompt_guidance_reads_no_negative_prompt():
    off = {"mode": "pro", "guidance_scale": 1, "audio_guidance_scale": 1}
    assert planned(**off).negative_prompt is None
    assert "both guidance scales are 1" in planned(**off, negative_prompt="x").warnings[0]
    half = planned(mode="pro", guidance_scale=1)
    assert half.negative_prompt == DEFAULT_NEGATIVE


# Pictures


@pytest.mark.parametrize(
    ("name", "crf"), [("ltx-2", 33), ("ltx-2.3", 33), ("ltx-2.5", 18), ("tiny", 33)]
)
def test_a_picture_is_held_in_both_passes_at_its_strength_and_the_rows_crf(name, crf):
    made = planned(name, image=URL, image_strength=0.8, pictures=facts(16, 9))
    assert made.task == "image_to_video"
    assert made.base.conditions == made.refine.conditions
    (held,) = made.base.conditions
    assert (held.image, held.frame, held.strength, held.crf) == ("image", 0, 0.8, crf)
    assert made.images == (("image", "0" * 64),)


def test_the_last_picture_goes_to_the_last_frame_at_the_same_strength():
    made = planned(image=URL, last_image=URL, image_strength=0.5, num_frames=41)
    assert [(c.image, c.frame, c.strength) for c in made.base.conditions] == [
        ("image", 0, 0.5),
        ("last_image", 40, 0.5),
    ]
    assert planned(last_image=URL).task == "image_to_video"


def test_strength_zero_is_text_to_video_and_says_so():
    made = planned(image=URL, image_strength=0, pictures=facts(16, 9))
    assert made.task == "text_to_video"
    assert made.base.conditions == made.images == ()
    assert made.warnings == ("image at strength 0 is ignored",)
    assert made.id == planned().id


def test_a_last_picture_needs_more_than_one_frame():
    assert "at least 9 frames" in str(refusal(BadRequest, last_image=URL, num_frames=1))


def test_a_picture_that_was_not_read_is_said_and_another_picture_is_another_plan():
    assert any("not read" in text for text in planned(image=URL).warnings)
    first = planned(image=URL, pictures=facts(16, 9))
    other = {"image": PictureFacts(width=16, height=9, sha256="1" * 64)}
    assert first.warnings == ()
    assert first.id != planned(image=URL, pictures=other).id


def test_pictures_of_another_shape_than_the_frame_are_said_with_what_is_cut_off():
    tall = PictureFacts(width=900, height=1600, sha256="1" * 64)
    both = facts(1600, 900) | {"last_image": tall}
    made = planned(image=URL, last_image=URL, pictures=both)
    assert made.warnings == (
        "last_image is 900x1600 and the frame 1280x704: 69% of the picture is cut off, top and "
        "bottom; a picture of the frame's shape is kept whole",
    )
    square = planned(image=URL, last_image=URL, aspect_ratio="1:1", pictures=both)
    assert [text.split()[0] for text in square.warnings] == ["image", "last_image"]
    assert "left and right" in square.warnings[0]
    ignored = planned(image=URL, last_image=URL, image_strength=0, pictures=both)
    assert not [text for text in ignored.warnings if "cut off" in text]


@pytest.mark.parametrize("resolution", ["540p", "720p", "1080p"])
@pytest.mark.parametrize("width", [700, 900, 1100, 1300, 1500, 1700, 1900, 2100])
def test_what_the_grid_alone_cuts_off_is_not_worth_a_word(width, resolution):
    made = planned(image=URL, resolution=resolution, pictures=facts(width, 1000))
    assert made.warnings == ()


# Camera and LoRAs


@pytest.mark.parametrize("name", ["ltx-2", "tiny"])
def test_a_camera_move_is_a_lora_in_the_base_pass_where_the_model_has_them(name):
    made = planned(name, camera_motion="jib_up", camera_strength=0.5)
    assert made.base.adapters == (Adapter(source="jib_up", strength=0.5),)
    assert made.refine.adapters == ()
    assert made.prompt == "a red ball"


@pytest.mark.parametrize("name", ["ltx-2.3", "ltx-2.5"])
@pytest.mark.parametrize("move", catalog.cameras())
def test_a_camera_move_is_asked_for_in_words_where_the_model_has_no_loras(name, move):
    made = planned(name, camera_motion=move)
    assert made.base.adapters == ()
    assert made.prompt.startswith("a red ball, ")
    assert move.split("_")[0] in made.prompt
    assert planned(name, camera_motion=move, camera_strength=0.5).warnings


def test_camera_strength_zero_leaves_the_lora_out():
    assert planned("ltx-2", camera_motion="static", camera_strength=0).base.adapters == ()


@pytest.mark.parametrize("name", ["ltx-2.3", "ltx-2.5"])
def test_camera_strength_zero_leaves_the_words_out_and_is_no_reason_to_warn(name):
    made = planned(name, camera_motion="static", camera_strength=0)
    assert made.prompt == "a red ball"
    assert made.warnings == planned(name).warnings


def test_camera_strength_without_a_move_is_said():
    assert planned(camera_strength=0.5).warnings


@pytest.mark.parametrize(
    ("stages", "base", "refine"), [("both", 1, 1), ("base", 1, 0), ("refine", 0, 1)]
)
def test_a_lora_acts_in_the_passes_it_is_asked_for(stages, base, refine):
    source = "https://example.com/style.safetensors"
    made = planned(loras=[{"source": source, "strength": 0.7, "stages": stages}])
    expected = Adapter(source=source, strength=0.7)
    assert made.base.adapters == (expected,) * base
    assert made.refine.adapters == (expected,) * refine


def test_in_pro_the_distilled_lora_stays_beside_the_requests_own():
    made = planned(mode="pro", loras=[{"source": "style.safetensors"}])
    assert [a.source for a in made.base.adapters] == ["style.safetensors"]
    assert [a.source for a in made.refine.adapters] == ["distilled", "style.safetensors"]


def test_num_frames_replaces_duration_and_the_plan_says_so():
    made = planned(duration=5, num_frames=49)
    assert made.num_frames == 49
    assert made.snaps == ()
    assert made.warnings == ("num_frames replaces duration",)
    assert made.id == planned(num_frames=49).id


def test_the_id_names_what_is_in_a_lora_file_that_was_read():
    request = Request(prompt="a", seed=7, loras=[{"source": "style.safetensors"}])
    one, other = (plan(request, loras={"style.safetensors": digit * 64}) for digit in "12")
    assert one.base.adapters[0].sha256 == one.refine.adapters[0].sha256 == "1" * 64
    assert one.warnings == ()
    assert one.id != other.id
    assert type(one).from_dict(one.as_dict()) == one
    unread = plan(request)
    assert "loras[0] was not read" in unread.warnings[0]
    assert unread.id not in (one.id, other.id)


@pytest.mark.parametrize("row", CHECKPOINTS.values(), ids=lambda row: row.name)
def test_a_distilled_lora_by_its_path_is_refused_in_fast_and_taken_in_pro(row):
    entry = catalog.get("distilled", row.generation.name)
    lora = {"source": f"/somewhere/{entry.file}"}
    assert "distilled model a second time" in str(refusal(BadRequest, row.name, loras=[lora]))
    for stages in ("both", "refine"):
        text = str(refusal(BadRequest, row.name, mode="pro", loras=[{**lora, "stages": stages}]))
        assert "would get it twice; leave it out, or set stages to base" in text
    made = planned(row.name, mode="pro", loras=[{**lora, "stages": "base"}])
    assert [adapter.source for adapter in made.base.adapters] == [lora["source"]]
    assert [adapter.source for adapter in made.refine.adapters] == ["distilled"]


def test_a_detailer_by_its_path_is_refused_as_by_its_name():
    file = catalog.get("detailer", "2.0").file
    for source in ("detailer", f"./{file}"):
        text = str(refusal(BadRequest, "ltx-2", loras=[{"source": source}]))
        assert "needs a pass of its own" in text


def test_a_lora_of_strength_zero_is_left_out():
    assert planned(loras=[{"source": "x.safetensors", "strength": 0}]).base.adapters == ()


def test_an_unknown_lora_is_refused_with_those_that_fit():
    error = refusal(UnknownLora, "ltx-2", loras=[{"source": "dolly_inn"}])
    assert error.status == 404
    assert all(move in str(error) for move in catalog.cameras())


def test_a_lora_of_another_generation_is_refused():
    error = refusal(UnknownLora, "ltx-2.3", loras=[{"source": "dolly_in"}])
    assert "was not made for ltx-2.3" in str(error)


@pytest.mark.parametrize("mode", ["fast", "pro"])
@pytest.mark.parametrize("source", ["distilled", "detailer"])
def test_loras_of_the_recipes_cannot_be_asked_for_by_hand(mode, source):
    assert source in str(refusal(BadRequest, "ltx-2", mode=mode, loras=[{"source": source}]))


def test_no_plan_lays_the_distilled_lora_on_the_distilled_model():
    for name in CHECKPOINTS:
        made = planned(name, camera_motion="dolly_in")
        for part in (made.base, made.refine):
            assert part.variant == "distilled"
            assert "distilled" not in [adapter.source for adapter in part.adapters]


def test_a_lora_for_a_refine_pass_that_does_not_run_is_refused():
    lora = {"source": "style.safetensors", "stages": "refine"}
    assert "no refine pass" in str(refusal(BadRequest, loras=[lora], spatial_upscaler=False))


@pytest.mark.parametrize("name", ["ltx-2", "ltx-2.5"])
@pytest.mark.parametrize(("spatial", "temporal"), [(True, True), (True, False), (False, True)])
def test_a_lora_for_the_refine_pass_acts_wherever_an_upscaler_is_on(name, spatial, temporal):
    lora = {"source": "style.safetensors", "stages": "refine"}
    made = planned(name, loras=[lora], spatial_upscaler=spatial, temporal_upscaler=temporal)
    (first, *later) = (part.adapters for part in made.passes.values())
    assert first == ()
    assert later
    assert all([a.source for a in found] == ["style.safetensors"] for found in later)


def test_one_file_by_two_names_is_refused_where_both_would_act_in_a_pass():
    def asked(*stages):
        names = (
            "style.safetensors",
            "./style.safetensors",
            "https://example.com/style.safetensors",
        )
        return Request(
            prompt="a",
            loras=[{"source": n, "stages": s} for n, s in zip(names, stages, strict=False)],
        )

    def digests(request):
        return {lora.source: "1" * 64 for lora in request.loras}

    for stages in (("both", "both"), ("both", "refine"), ("base", "both")):
        with pytest.raises(BadRequest, match=r"loras\[1\]: it is the same file as loras\[0\]"):
            plan(asked(*stages), loras=digests(asked(*stages)))
    with pytest.raises(BadRequest, match=r"loras\[2\]: .* loras\[0\].*loras\[2\]: .* loras\[1\]"):
        plan(asked("base", "refine", "both"), loras=digests(asked("base", "refine", "both")))
    apart = asked("base", "refine")
    made = plan(apart, loras=digests(apart))
    assert (len(made.base.adapters), len(made.refine.adapters)) == (1, 1)
    other = asked("both", "both")
    assert plan(other, loras={lora.source: str(n) * 64 for n, lora in enumerate(other.loras)})


def test_two_camera_moves_are_refused():
    lora = {"source": "dolly_in"}
    error = refusal(BadRequest, "ltx-2", camera_motion="static", loras=[lora])
    assert "do not combine: static and dolly_in are asked for" in str(error)
    error = refusal(BadRequest, "ltx-2", camera_motion="dolly_in", loras=[lora])
    assert "the camera move dolly_in is given twice; give it once" in str(error)
    assert planned("ltx-2", loras=[lora]).base.adapters


def test_camera_moves_that_do_not_act_are_not_counted():
    lora = {"source": "dolly_in"}
    for changes in (
        {"camera_motion": "static", "camera_strength": 0, "loras": [lora]},
        {"camera_motion": "static", "loras": [{**lora, "strength": 0}]},
    ):
        assert len(planned("ltx-2", **changes).base.adapters) == 1
    (problem,) = refusal(UnknownLora, "ltx-2.3", camera_motion="static", loras=[lora]).problems
    assert "was not made for ltx-2.3" in problem


# Refusals and identity


def test_every_refusal_of_a_request_comes_at_once():
    error = refusal(
        BadRequest,
        detailer=True,
        width=4096,
        height=4096,
        num_frames=1201,
        loras=[{"source": "nothing"}, {"source": "distilled"}],
    )
    assert len(error.problems) == 5


def test_an_unknown_checkpoint_is_refused_with_the_names():
    error = refusal(BadRequest, "ltx-9")
    assert all(name in str(error) for name in CHECKPOINTS)


def test_a_missing_seed_is_drawn_and_a_seed_is_kept():
    drawn = {planned(seed=None).seed for _ in range(8)}
    assert len(drawn) > 1
    assert all(0 <= seed < 2**63 for seed in drawn)
    assert planned(seed=0).seed == 0


@pytest.mark.parametrize(("seed", "ancestral"), [(0, 10_000), (7, 10_007), (2**63 - 1, 9_999)])
def test_the_ancestral_noise_has_a_seed_of_its_own_in_range(seed, ancestral):
    assert planned(seed=seed).ancestral_seed == ancestral


def test_equal_work_has_an_equal_id_whatever_was_snapped():
    assert planned(num_frames=120).id == planned(num_frames=113).id
    assert planned(metadata=False).id == planned().id
    assert planned(negative_prompt="x").id == planned().id
    assert planned(seed=8).id != planned().id


@pytest.mark.parametrize(
    ("size", "tile"),
    [
        ((1280, 704), (768, 416)),
        ((704, 1280), (416, 768)),
        ((1920, 1088), (768, 448)),
        ((1024, 1024), (768, 768)),
        ((4096, 64), (768, 128)),
    ],
)
def test_decoder_tiles_have_768_pixels_along_the_longer_side(size, tile):
    tiles = decode_tiles(Size(*size))
    assert (tiles.tile_width, tiles.tile_height) == tile
    assert tiles.tile_width % 32 == tiles.tile_height % 32 == tiles.overlap % 32 == 0
    assert min(tile) > tiles.overlap
    assert (tiles.overlap, tiles.tile_frames, tiles.overlap_frames) == (64, 80, 24)


def test_image_strength_without_a_picture_is_warned_about():
    plan_ = plan(Request(prompt="a", seed=1, image_strength=0.5), checkpoint="tiny")
    assert "image_strength does nothing without a picture" in plan_.warnings
    assert plan(Request(prompt="a", seed=1), checkpoint="tiny").warnings == ()


def test_a_silent_clip_is_not_warned_about_its_sound():
    silent = plan(Request(prompt="a", seed=1, fps=48, generate_audio=False), checkpoint="tiny")
    assert "sound" not in " ".join(silent.warnings)
    assert "falls behind the sound" in " ".join(
        plan(Request(prompt="a", seed=1, fps=48), checkpoint="tiny").warnings
    )
