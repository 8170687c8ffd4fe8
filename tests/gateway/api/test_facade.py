"""`/v1/videos` with the real `openai` package over a real socket."""

import io
import threading

import openai
import pytest

from tests.gateway.api.serving import serving
from tests.gateway.api.site import COST, Site, refused
from tests.gateway.fake_runpod import clip

# The package says that OpenAI's own service ended; its protocol lives on.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


@pytest.fixture(scope="module")
def site(module_database, tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("site"), database=module_database, queue=100)
    made.core.accounts.grant(made.account.id, 10_000, "for many videos")
    yield made
    made.close()


@pytest.fixture(scope="module")
def sdk(site):
    with (
        serving(site) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key=site.key, max_retries=0) as client,
    ):
        yield client


def test_a_video_is_made_polled_and_downloaded(site, sdk):
    began = site.balance()[0]
    made = sdk.videos.create(
        prompt="a heron lifts off", model="ltx-2-fast", seconds="5", size="1280x720"
    )
    assert (made.object, made.status, made.progress) == ("video", "queued", 0)
    assert (made.model, made.seconds, made.size) == ("ltx-2.3-fast", "5", "1280x704")
    assert site.see(made.id)["request"]["prompt"] == "a heron lifts off"
    assert site.balance()[0] == began - COST
    site.turn()
    job = site.runpod.job(made.id)
    site.runpod.run(job, percent=42)
    site.turn(5)
    running = sdk.videos.retrieve(made.id)
    assert (running.status, running.progress) == ("in_progress", 42)
    site.runpod.complete(job)
    site.turn(90)
    done = sdk.videos.poll(made.id)
    assert (done.status, done.progress, done.error) == ("completed", 100, None)
    assert done.completed_at >= done.created_at
    assert done.model_extra["seed"] == job.input["seed"]
    assert sdk.videos.download_content(made.id).read() == clip()
    still = sdk.videos.download_content(made.id, variant="thumbnail").read()
    assert still[:2] == b"\xff\xd8"


def test_the_package_s_own_polling_ends_with_the_video(site, sdk):
    made = sdk.videos.create(prompt="rain", seconds="5")
    site.turn()
    site.runpod.complete(site.runpod.job(made.id))
    ending = threading.Timer(0.1, site.turn, args=(90,))
    ending.start()
    assert sdk.videos.poll(made.id).status == "completed"
    ending.join()


def test_how_often_to_ask_is_said(site, sdk):
    made = sdk.videos.with_raw_response.create(prompt="rain")
    assert made.headers["openai-poll-after-ms"] == "2000"
    again = sdk.videos.with_raw_response.retrieve(made.parse().id)
    assert again.headers["openai-poll-after-ms"] == "2000"


def test_a_file_becomes_the_first_frame(site, sdk, picture):
    made = sdk.videos.create(prompt="rain", input_reference=("a.png", picture, "image/png"))
    assert site.see(made.id)["request"]["image"].startswith("upload://")
    from_stream = sdk.videos.create(prompt="rain", input_reference=io.BytesIO(picture))
    assert site.see(from_stream.id)["request"]["image"].startswith("upload://")


def test_an_address_or_an_upload_becomes_the_first_frame(site, sdk, picture):
    there = "https://pictures.example/a.png"
    # As a parameter of its own, the package takes files only.
    made = sdk.videos.create(prompt="rain", extra_body={"input_reference": {"image_url": there}})
    assert site.see(made.id)["request"]["image"] == there
    sent = site.client.post("/api/uploads", files={"file": ("a.png", picture, "image/png")}).json()
    body = {"prompt": "rain", "input_reference": {"file_id": sent["id"]}}
    named = site.client.post("/v1/videos", json=body).json()
    assert site.see(named["id"])["request"]["image"] == sent["uri"]


def test_fields_of_our_own_come_beside_theirs(site, sdk):
    made = sdk.videos.create(
        prompt="rain",
        model="ltx-2-pro",
        extra_body={"seed": 7, "generate_audio": False, "guidance_scale": 2.5},
    )
    asked = site.see(made.id)["request"]
    assert (asked["mode"], asked["seed"]) == ("pro", 7)
    assert (asked["generate_audio"], asked["guidance_scale"]) == (False, 2.5)


@pytest.mark.parametrize(
    ("size", "resolution", "shape"),
    [("1280x720", "720p", "16:9"), ("720x1280", "720p", "9:16"), ("1792x1024", "1080p", "16:9"),
     ("1024x1792", "1080p", "9:16"), ("1024x576", "540p", "16:9")],
)  # fmt: skip
def test_a_size_is_the_nearest_that_is_offered(site, sdk, size, resolution, shape):
    made = sdk.videos.create(prompt="rain", size=size)
    asked = site.see(made.id)["request"]
    assert (asked["resolution"], asked["aspect_ratio"]) == (resolution, shape)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"size": "100x100"}, "size"),
        ({"size": "large"}, "size"),
        ({"model": "sora-2"}, "model"),
        ({"seconds": "7"}, "duration"),
        ({"seconds": "soon"}, "duration"),
        ({"extra_body": {"input_reference": {"other": "x"}}}, "input_reference"),
        ({"extra_body": {"wings": 2}}, "wings"),
    ],
)
def test_what_cannot_be_made_is_a_bad_request_that_names_the_field(sdk, given, param):
    with pytest.raises(openai.BadRequestError) as refusal:
        sdk.videos.create(prompt="rain", **given)
    assert refusal.value.param == param
    assert refusal.value.type == "invalid_request_error"


def test_a_canceled_one_is_failed_with_its_code(site, sdk):
    made = sdk.videos.create(prompt="rain")
    site.client.post(f"/api/generations/{made.id}/cancel")
    seen = sdk.videos.retrieve(made.id)
    assert (seen.status, seen.error.code) == ("failed", "canceled")
    assert sdk.videos.poll(made.id).status == "failed"


def test_a_failed_one_says_why(site, sdk):
    made = sdk.videos.create(prompt="rain")
    site.turn()
    site.runpod.fail(site.runpod.job(made.id), "OUT_OF_MEMORY: no")
    site.turn(90)
    seen = sdk.videos.retrieve(made.id)
    assert (seen.status, seen.error.code) == ("failed", "out_of_memory")


def test_the_list_is_walked_through_to_its_end(site, sdk):
    for _ in range(3):
        site.clock.move(1)
        sdk.videos.create(prompt="rain")
    page = sdk.videos.list(limit=2)
    assert page.has_more
    assert page.last_id == page.data[-1].id
    walked = [each.id for each in sdk.videos.list(limit=2)]
    listed = site.client.get("/api/generations", params={"limit": 100}).json()["data"]
    assert walked == [each["id"] for each in listed]
    assert [each.id for each in sdk.videos.list(limit=2, order="asc")] == walked[::-1]


def test_a_deleted_one_is_not_there(site, sdk):
    made = sdk.videos.create(prompt="rain")
    with pytest.raises(openai.ConflictError):
        sdk.videos.delete(made.id)
    site.client.post(f"/api/generations/{made.id}/cancel")
    gone = sdk.videos.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "video.deleted", True)
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(made.id)


def test_a_wrong_key_and_an_empty_purse_are_told_apart(site, sdk):
    with pytest.raises(openai.AuthenticationError):
        sdk.with_options(api_key="wrong").videos.list()
    _, key = site.newcomer("Bob", credits=0)
    with pytest.raises(openai.APIStatusError) as refusal:
        sdk.with_options(api_key=key).videos.create(prompt="rain")
    assert refusal.value.status_code == 402
    assert refusal.value.type == "insufficient_funds_error"


def test_json_is_taken_too_and_the_same_key_makes_one(site):
    before = site.balance()
    headers = {"idempotency-key": "video-1"}
    body = {"prompt": "rain", "seconds": "5"}
    first = site.client.post("/v1/videos", json=body, headers=headers)
    again = site.client.post("/v1/videos", json=body, headers=headers)
    assert first.status_code == again.status_code == 200
    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert site.balance() == (before[0] - COST, before[1] + COST)
    refused(site.client.post("/v1/videos", json={}), 400, "invalid_request_error")


def test_the_same_key_and_file_give_the_same_video(site, sdk, picture):
    file, headers = ("a.png", picture, "image/png"), {"idempotency-key": "with-a-file"}
    first, second = (
        sdk.videos.create(prompt="rain", input_reference=file, extra_headers=headers)
        for _ in range(2)
    )
    assert first.id == second.id
