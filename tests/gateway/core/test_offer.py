"""What is offered, what it costs and how a form is judged: one source for all."""

import pytest

from gateway.desk import Quote
from gateway.forms import FIELDS, NOT_OFFERED, read_order, worker_input
from gateway.offer import Worker, make_offer
from gateway.prices import read_prices
from gateway.refusals import Problems
from gateway.tables import GenerationRow
from ltx2.describe import describe
from ltx2.extent import Limits, PictureFacts
from ltx2.planner import plan
from ltx2.request import Request

PRICES = read_prices()
UPLOAD = "upload://upl_1"


def offer(checkpoint="ltx-2.3", modes=("fast", "pro"), limits=None):
    worker = Worker(checkpoint=checkpoint, modes=modes, limits=limits or Limits())
    return make_offer(worker, PRICES)


def order(checkpoint="ltx-2.3", *, estimate=False, facts=None, **form):
    return read_order(
        form, offer(checkpoint), limits=Limits(), pictures=facts or {}, seed=7, estimate=estimate
    )


def problems(checkpoint="ltx-2.3", **form):
    with pytest.raises(Problems) as refused:
        order(checkpoint, **form)
    return {problem.field: problem for problem in refused.value.problems}


def test_every_combination_that_is_offered_can_be_ordered_and_planned():
    for checkpoint in ("ltx-2.3", "tiny"):
        made = offer(checkpoint)
        for mode in made.models[0].modes:
            for row in mode.resolutions:
                for fps, lengths in row.fps_durations.items():
                    for shape, size in row.sizes.items():
                        asked = order(
                            checkpoint, prompt="a", mode=mode.mode, resolution=row.id, fps=fps,
                            duration=lengths[-1], aspect_ratio=shape,
                        )  # fmt: skip
                        assert (asked.actual.width, asked.actual.height) == size
                        assert asked.actual.fps == fps


def test_the_default_of_the_offer_is_a_combination_of_it():
    for checkpoint in ("ltx-2.3", "tiny"):
        default = offer(checkpoint).default
        row = offer(checkpoint).model(default.model).mode(default.mode)
        assert default.duration in row.resolution(default.resolution).fps_durations[default.fps]


def test_a_worker_with_limits_or_without_a_mode_offers_less():
    assert [each.mode for each in offer(modes=("fast",)).models[0].modes] == ["fast"]
    small = offer(limits=Limits(max_pixels=1280 * 704 + 200_000, max_seconds=6))
    rows = small.models[0].modes[0].resolutions
    assert [each.id for each in rows] == ["540p", "720p"]
    assert max(rows[0].fps_durations[24]) == 6


def test_modes_cameras_and_flags_are_those_of_the_model_table():
    facts, made = describe("ltx-2.3"), offer()
    assert [each.name for each in made.cameras] == [each["name"] for each in facts["cameras"]]
    fast, pro = made.models[0].modes
    assert (fast.steps, pro.steps) == tuple(each["steps"] for each in facts["modes"])
    assert not fast.capabilities.guidance
    assert pro.capabilities.guidance
    assert not fast.capabilities.detailer  # this generation has no such LoRA


def test_everything_that_is_offered_has_a_price_and_the_price_is_whole():
    for mode in offer().models[0].modes:
        for row in mode.resolutions:
            price = PRICES.price(mode=mode.mode, resolution=row.id, seconds=6, options=())
            assert price.credits == 6 * row.credits_per_second
    price = PRICES.price(mode="fast", resolution="540p", seconds=3, options=["detailer"])
    assert price.credits == 5  # 3 and the half of it, rounded up
    assert sum(line.credits for line in price.lines) == price.credits
    assert [PRICES.usd(each) for each in (5, 24, 100, 1234)] == ["0.05", "0.24", "1.00", "12.34"]


def test_the_rates_are_those_of_the_published_table():
    rates = {mode: dict(row) for mode, row in PRICES.credits_per_second.items()}
    assert rates["fast"] == {"192p": 1, "540p": 1, "720p": 2, "1080p": 4}
    assert rates["pro"] == {"192p": 2, "540p": 3, "720p": 4, "1080p": 9}


def test_every_field_of_a_request_is_offered_or_refused_with_advice():
    assert set(Request.model_fields) == (set(FIELDS) | set(NOT_OFFERED)) - {"model", "webhook_url"}


def test_all_problems_are_found_at_once_each_at_its_field():
    found = problems(
        prompt="", duration=7, seed=-1, image="file:///etc/passwd", width=64, foo=1, fps=24,
        webhook_url="http://x", camera_motion="spin", generation_id="x",
    )  # fmt: skip
    assert set(found) == {
        "prompt", "duration", "seed", "image", "width", "foo", "webhook_url", "camera_motion",
        "generation_id",
    }  # fmt: skip
    assert found["duration"].allowed == (2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20)
    assert "choose a resolution" in found["width"].message


def test_each_problem_is_told_with_what_the_chosen_model_takes_however_many_there_are():
    found = problems(
        "tiny", prompt="", mode="turbo", resolution="720p", fps=240, duration=400,
        aspect_ratio="2:1", seed=-1, detailer=1, guidance_scale=3.0,
        loras=[{"source": "nope"}],
    )  # fmt: skip
    assert {name: problem.allowed for name, problem in found.items()} == {
        "mode": ("fast", "pro"),
        "resolution": ("192p",),
        "fps": (24, 25),
        "duration": (1, 2, 3, 4, 5),
        "aspect_ratio": ("auto", "16:9", "9:16", "1:1", "4:3", "3:4", "21:9"),
        "prompt": None,
        "seed": None,
        "detailer": None,
        "loras": None,  # `guidance_scale` is no fault where the mode may be meant to be pro
    }
    assert "not available at 192p; choose one of 1, 2, 3" in found["duration"].message
    assert "those for tiny are dolly_in" in found["loras"].message


def test_what_a_field_may_be_is_told_by_the_others_that_are_right():
    at_1080p = problems(prompt="a", mode="turbo", resolution="1080p", duration=20)
    assert max(at_1080p["duration"].allowed) == 10
    unknown = problems(prompt="a", mode="fast", resolution="8k", fps=30, duration=21)
    assert max(unknown["duration"].allowed) == 20
    assert unknown["fps"].allowed == (24, 25)
    assert set(problems(prompt="a", fps=60, duration=20)) == {"fps"}


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"mode": "turbo"}, "mode"),
        ({"model": "ltx-9"}, "model"),
        ({"model": ["x"]}, "model"),
        ({"resolution": "8k"}, "resolution"),
        ({"fps": 60}, "fps"),
        ({"fps": True}, "fps"),
        ({"duration": 5.5}, "duration"),
        ({"duration": "5"}, "duration"),
        ({"aspect_ratio": "2:1"}, "aspect_ratio"),
        ({"aspect_ratio": ["16:9"]}, "aspect_ratio"),
        ({"guidance_scale": 3.0}, "guidance_scale"),
        ({"detailer": True}, "detailer"),
        ({"image": "https://user:pass@x/y.png"}, "image"),
        ({"image": [1]}, "image"),
        ({"image": "upload://upl_2"}, "image"),
        ({"image": "https://x/y", "image_url": "https://x/z"}, "image"),
        ({"last_image": "data:image/png;base64,AAAA"}, "last_image"),
        ({"loras": [{"source": "https://x/y.safetensors"}]}, "loras"),
        ({"webhook_url": 5}, "webhook_url"),
        ({"prompt": "x" * 10_001}, "prompt"),
        ({"prompt": "a\x00b"}, "prompt"),
    ],
)
def test_a_form_that_cannot_be_carried_out_is_refused_at_its_field(form, field):
    found = problems(**{"prompt": "a", **form})
    assert set(found) == {field}


def test_an_order_has_every_default_and_makes_the_same_request_again():
    asked = order(prompt="a", duration=6.0)
    assert asked.form == {
        "model": "ltx-2.3", "prompt": "a", "mode": "fast", "resolution": "720p",
        "aspect_ratio": "auto", "duration": 6, "fps": 24, "seed": 7,
    }  # fmt: skip
    again = order(**asked.form)
    assert again.form == asked.form
    assert "model" not in worker_input(asked.form, asked.resolution)


def test_what_the_worker_is_sent_is_a_request_that_gives_the_quoted_frames():
    for checkpoint in ("ltx-2.3", "tiny"):
        asked = order(checkpoint, prompt="a", aspect_ratio="9:16", temporal_upscaler=True)
        sent = Request.parse(worker_input(asked.form, asked.resolution))
        decided = plan(sent, checkpoint=checkpoint)
        told = asked.actual
        assert (decided.width, decided.height) == (told.width, told.height)
        assert (decided.num_frames, decided.fps) == (told.num_frames, told.fps)
        assert told.fps == 48


def test_a_picture_decides_the_shape_of_a_size_that_the_worker_has_no_name_for():
    facts = {UPLOAD: PictureFacts(width=300, height=500, sha256="0" * 64)}
    asked = order("tiny", prompt="a", image=UPLOAD, facts=facts)
    assert asked.form["aspect_ratio"] == "9:16"
    assert order(prompt="a", image=UPLOAD, facts=facts).form["aspect_ratio"] == "auto"


@pytest.mark.parametrize("checkpoint", ["tiny", "ltx-2.3"])
def test_a_shape_that_is_left_to_the_model_stays_what_was_asked_for(checkpoint):
    asked = order(checkpoint, prompt="a", aspect_ratio="auto")
    assert asked.form["aspect_ratio"] == "auto"
    again = order(checkpoint, **asked.form)
    assert (again.form, again.actual) == (asked.form, asked.actual)


@pytest.mark.parametrize("checkpoint", ["ltx-2.3", "tiny"])
def test_a_picture_that_would_be_cut_is_told_of_in_the_estimate(checkpoint):
    sizes = {UPLOAD: (1600, 900), "upload://upl_2": (900, 1600)}
    facts = {
        name: PictureFacts(width=wide, height=high, sha256="0" * 64)
        for name, (wide, high) in sizes.items()
    }
    both = {"prompt": "a", "image": UPLOAD, "last_image": "upload://upl_2", "facts": facts}
    (note,) = order(checkpoint, **both).actual.notes
    assert note.startswith("last_image is 900x1600 and the frame")
    tall = order(checkpoint, aspect_ratio="9:16", **both).actual.notes
    assert [each.split()[0] for each in tall] == ["image"]
    assert order(checkpoint, **both | {"last_image": UPLOAD}).actual.notes == ()


def test_pictures_go_by_all_their_names():
    asked = order(prompt="a", image_uri="https://x/y.png", last_frame_uri="https://x/z.png")
    assert asked.form["image"] == "https://x/y.png"
    assert asked.form["last_image"] == "https://x/z.png"


def test_an_estimate_needs_no_prompt_holds_nothing_and_says_what_is_left(house):
    quote = house.desk.estimate(house.account, {"resolution": "1080p", "duration": 6})
    assert isinstance(quote, Quote)
    assert (quote.credits, quote.usd, quote.available_after) == (24, "0.24", 476)
    assert (quote.width, quote.height, quote.num_frames, quote.seconds) == (1920, 1088, 145, 6.042)
    assert quote.aspect_ratio == "16:9"
    assert quote.sufficient
    refused = house.desk.estimate(house.account, {"duration": 7})
    assert isinstance(refused, Problems)
    with house.core.database.read() as session:
        assert session.query(GenerationRow).count() == 0


def test_the_price_on_the_button_is_the_price_in_the_ledger(house):
    form = {"prompt": "a", "mode": "pro", "resolution": "540p", "temporal_upscaler": True}
    quote = house.desk.estimate(house.account, form)
    made = house.desk.create(house.account, form)
    assert made.credits == quote.credits == 19
    assert house.balance() == (500 - 19, 19)
    assert made.price_version == quote.price_version
