"""Pictures that people bring, and how they reach the worker."""

import base64
import io
import json
import random
from contextlib import ExitStack

import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import select

from gateway.backends.runpod import MOST_BYTES as MOST_OF_A_JOB
from gateway.enhancing import ENHANCED_AT_ONCE
from gateway.forms import UPLOAD
from gateway.refusals import Limited, NotFound, Problems, TooLarge, Unavailable
from gateway.stores import PICTURES, StoreFailed
from gateway.tables import UploadRow
from gateway.uploads import MOST_BYTES, MOST_KEPT, READ_AT_ONCE


def picture(kind="PNG", size=(300, 500), **options):
    written = io.BytesIO()
    Image.new("RGB", size, (200, 40, 40)).save(written, kind, **options)
    return written.getvalue()


def noise(size, seed=0):
    """Pixels that no PNG makes smaller."""
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


def file_of(image, **options):
    written = io.BytesIO()
    image.save(written, "PNG", **options)
    return written.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_taken_by_its_bytes_whatever_its_name(house, kind):
    made = house.desk.upload(house.account, "holiday.exe", picture(kind))
    kept = "image/png" if kind == "PNG" else "image/jpeg"
    assert (made.width, made.height, made.content_type) == (300, 500, kept)
    content, media_type = house.desk.picture(house.account, made.id)
    assert Image.open(io.BytesIO(content)).size == (300, 500)
    assert media_type == kept
    assert made.bytes == len(content)


def test_a_png_reaches_the_worker_without_loss_and_without_what_it_tells(house):
    image, told = noise((120, 80)), PngInfo()
    told.add_text("Author", "Ada of SecretStreet")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    given = file_of(image, pnginfo=told, icc_profile=profile, dpi=(300, 300))
    made = house.desk.upload(house.account, "a.png", given)
    _, job = house.submit(image=made.uri)
    head, _, data = job.input["image"].partition(",")
    assert head == "data:image/png;base64"
    content = base64.b64decode(data)
    sent = Image.open(io.BytesIO(content))
    assert sent.tobytes() == image.tobytes()
    assert sent.info == {}
    assert b"SecretStreet" not in content


def test_two_pictures_fit_into_a_job_however_little_they_can_be_compressed(house):
    large = noise((1536, 1536))
    whole = noise((1240, 936), 1)  # just within what stays a PNG
    made = [house.desk.upload(house.account, "a.png", file_of(each)) for each in (large, whole)]
    assert [each.content_type for each in made] == ["image/jpeg", "image/png"]
    assert made[1].bytes > 0.99 * MOST_BYTES
    assert made[0].bytes <= MOST_BYTES
    last = house.desk.upload(house.account, "b.png", file_of(noise((936, 1240), 2)))
    assert last.content_type == "image/png"
    text = "\U0001f600" * 10_000
    form = {"prompt": text, "negative_prompt": text}
    for first in (made[0], made[1]):
        _, job = house.submit(image=first.uri, last_image=last.uri, **form)
        assert len(json.dumps(job.input)) < MOST_OF_A_JOB - 1000
        assert job.input["prompt"] == text


def test_place_and_camera_are_not_kept_and_the_picture_stands_upright(house):
    tags = Image.Exif()
    tags[0x0112] = 6  # lies on its side
    tags[0x010F] = "SecretCam"
    made = house.desk.upload(house.account, "a.jpg", picture("JPEG", exif=tags))
    content, _ = house.desk.picture(house.account, made.id)
    assert (made.width, made.height) == (500, 300)
    assert b"SecretCam" not in content


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<svg/>", b"\x89PNG\r\n\x1a\nbroken",
                                     b"\xff\xd8\xffbroken", picture("GIF")])  # fmt: skip
def test_what_is_no_picture_is_refused(house, content):
    with pytest.raises(Problems) as refused:
        house.desk.upload(house.account, "a.png", content)
    assert refused.value.problems[0].field == "image"


def test_the_same_picture_again_is_the_same_upload_and_kept_for_longer(house):
    first = house.desk.upload(house.account, "a.png", picture())
    house.clock.move(6 * 86_400)
    again = house.desk.upload(house.account, "b\x00.png", picture())
    assert again.uri == first.uri
    assert again.expires_at > first.expires_at
    house.clock.move(2 * 86_400)
    house.core.sweep()
    assert house.desk.picture(house.account, first.id)
    other = house.core.accounts.create("Bob")
    assert house.desk.upload(other, "a.png", picture()).id != first.id


def test_what_is_too_large_is_refused(house):
    with pytest.raises(TooLarge) as refused:
        house.desk.upload(house.account, "a.png", b"x" * 15_000_001)
    assert refused.value.most == 15_000_000
    with pytest.raises(Problems):
        house.desk.upload(house.account, "a.png", picture(size=(20_000, 20)))


def test_pictures_that_are_read_at_once_leave_memory_for_other_calls(house):
    everyone, one = house.core.uploads._read, house.core.uploads._read_by_one
    mine = one.seat(house.account.id), one.seat(house.account.id)
    with mine[0], mine[1], pytest.raises(Limited, match="2 of your pictures"):
        house.desk.upload(house.account, "a.png", picture())
    with ExitStack() as stack:
        for _ in range(READ_AT_ONCE):
            stack.enter_context(everyone.seat("all"))
        with pytest.raises(Limited, match="Many pictures"):
            house.desk.upload(house.account, "a.png", picture())
    assert house.desk.upload(house.account, "a.png", picture())


def test_an_account_keeps_no_more_pictures_than_it_may(house):
    first = house.desk.upload(house.account, "a.png", picture())
    with house.core.database.write() as session:
        row = session.get_one(UploadRow, first.id)
        kept = {each.name: getattr(row, each.name) for each in UploadRow.__table__.columns}
        session.add_all(
            UploadRow(**{**kept, "id": f"upl_{number}", "sha256": str(number)})
            for number in range(MOST_KEPT - 1)
        )
    with pytest.raises(Limited, match="500 pictures") as limited:
        house.desk.upload(house.account, "b.png", picture(size=(30, 50)))
    assert limited.value.type == "concurrency_limit_error"
    assert house.desk.upload(house.account, "a.png", picture()).id == first.id
    other = house.core.accounts.create("Bob")
    assert house.desk.upload(other, "b.png", picture(size=(30, 50)))
    house.clock.move(8 * 86_400)
    assert house.desk.upload(house.account, "b.png", picture(size=(30, 50)))


def test_a_picture_goes_to_the_worker_inside_its_job(house):
    made = house.desk.upload(house.account, "a.png", picture())
    _, job = house.submit(image=made.uri, last_image="https://example.com/last.png")
    head, _, data = job.input["image"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == house.desk.picture(house.account, made.id)[0]
    assert job.input["last_image"] == "https://example.com/last.png"


def test_a_picture_is_its_accounts_own_and_lives_for_days(house):
    made = house.desk.upload(house.account, "a.png", picture())
    stranger = house.core.accounts.create("Eve")
    house.core.accounts.grant(stranger.id, 50, "welcome")
    with pytest.raises(NotFound):
        house.desk.picture(stranger, made.id)
    with pytest.raises(Problems, match="there is no upload"):
        house.desk.create(stranger, {"prompt": "a", "image": made.uri})
    house.clock.move(8 * 86_400)
    with pytest.raises(Problems, match="there is no upload"):
        house.create(image=made.uri)
    house.core.sweep()
    with pytest.raises(NotFound):
        house.desk.picture(house.account, made.id)


@pytest.mark.parametrize("field", ["image", "last_image"])
def test_a_picture_is_there_as_long_as_a_video_names_it_and_no_longer(house, field):
    made = house.desk.upload(house.account, "a.png", picture())
    other = house.desk.upload(house.account, "b.png", picture(size=(30, 50)))
    _, job = house.submit(**{field: made.uri})
    house.runpod.complete(job)
    house.later()
    for _ in range(30):
        house.clock.move(86_400)
        house.core.sweep()
    assert house.desk.picture(house.account, made.id)
    assert house.create(**{field: made.uri}).form[field] == made.uri  # it can be made again
    with pytest.raises(NotFound):
        house.desk.picture(house.account, other.id)
    house.turn()
    house.runpod.complete(house.runpod.jobs[-1])
    house.later()
    for each in house.desk.generations(house.account).items:
        house.desk.delete(house.account, each.id)
    for _ in range(9):
        house.clock.move(86_400)
        house.core.sweep()
    with pytest.raises(NotFound):
        house.desk.picture(house.account, made.id)


def test_what_is_kept_for_videos_takes_no_room_from_new_pictures(house):
    made = house.desk.upload(house.account, "a.png", picture())
    house.create(image=made.uri)
    house.clock.move(6.5 * 86_400)
    house.core.sweep()  # keeps it on
    with house.core.database.write() as session:
        row = session.get_one(UploadRow, made.id)
        kept = {each.name: getattr(row, each.name) for each in UploadRow.__table__.columns}
        kept["created_at"] = house.clock.now()
        session.add_all(
            UploadRow(**{**kept, "id": f"upl_{number}", "sha256": str(number)})
            for number in range(MOST_KEPT - 1)
        )
    house.clock.move(86_400)
    assert house.desk.upload(house.account, "b.png", picture(size=(30, 50)))
    with pytest.raises(Limited):
        house.desk.upload(house.account, "c.png", picture(size=(50, 30)))


def test_a_picture_of_a_video_outlives_days_in_which_nothing_was_tidied_up(house):
    made = house.desk.upload(house.account, "a.png", picture())
    house.create(image=made.uri)
    house.clock.move(30 * 86_400)
    house.core.sweep()
    assert house.create(image=made.uri)


def test_what_a_crash_leaves_of_a_picture_is_seen_by_nobody_and_swept(house, monkeypatch):
    class Killed(BaseException):
        """The process ends between the store and the row."""

    def put_and_die(*arguments):
        put(*arguments)
        raise Killed

    put = house.store.put
    with monkeypatch.context() as patch:
        patch.setattr(house.store, "put", put_and_die)
        with pytest.raises(Killed):
            house.desk.upload(house.account, "a.png", picture())
    with house.core.database.read() as session:
        (name,) = session.scalars(select(UploadRow.id))
    assert house.store.get(name, PICTURES["image/png"]) is not None
    with pytest.raises(Problems, match="there is no upload"):
        house.create(image=UPLOAD + name)
    house.core.sweep()
    assert house.store.get(name, PICTURES["image/png"]) is not None  # it may be on its way still
    house.clock.move(3601)
    house.core.sweep()
    assert house.store.get(name, PICTURES["image/png"]) is None


def test_a_picture_that_is_gone_when_its_turn_comes_gives_the_credits_back(house):
    made = house.desk.upload(house.account, "a.png", picture())
    name = house.create(image=made.uri).id
    house.store.delete(made.id)
    house.turn()
    assert house.see(name).state.error == "api_error"
    assert house.runpod.jobs == []


def test_a_store_that_is_away_is_no_broken_form(house, monkeypatch):
    def away(*_):
        raise StoreFailed("the disk is full")

    monkeypatch.setattr(house.store, "put", away)
    with pytest.raises(Unavailable):
        house.desk.upload(house.account, "a.png", picture())
    assert "disk is full" in "".join(house.desk.health().checks.values())


def test_prompts_that_wait_for_a_worker_leave_room_for_other_calls(house):
    house.runpod.enhanced = "{prompt}, at dawn"
    enhancing = house.desk._enhancing
    everyone, one = enhancing.everyone, enhancing.each
    mine = one.seat(house.account.id), one.seat(house.account.id)
    with mine[0], mine[1], pytest.raises(Limited, match="2 prompts are being enriched"):
        house.desk.enhance(house.account, "a heron")
    with ExitStack() as stack:
        for _ in range(ENHANCED_AT_ONCE):
            stack.enter_context(everyone.seat("all"))
        with pytest.raises(Limited, match="Many prompts"):
            house.desk.enhance(house.account, "a heron")
    assert house.desk.enhance(house.account, "a heron") == "a heron, at dawn"


def test_a_prompt_is_enhanced_by_a_worker_that_can(house):
    house.runpod.enhanced = "{prompt}, seen from a boat at dawn"
    assert house.desk.enhance(house.account, "a heron") == "a heron, seen from a boat at dawn"
    house.runpod.enhanced = None
    with pytest.raises(Unavailable):
        house.desk.enhance(house.account, "a heron")
    with pytest.raises(Problems):
        house.desk.enhance(house.account, "")
