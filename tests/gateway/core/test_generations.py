"""Creating once, queues, lists, marks, deletion. Both databases."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from gateway.refusals import (
    Conflict,
    KeyReused,
    Limited,
    NotFound,
    Problems,
    Unaffordable,
    Unauthorised,
    Unavailable,
)
from gateway.states import Queued
from gateway.tables import EventRow, SessionRow
from gateway.webhooks.outgoing.outbox import Outbox
from gateway.webhooks.outgoing.post import Answered
from tests.gateway.house import COST, CREDITS, FORM


def test_the_same_key_and_form_give_the_same_generation_as_it_is_now(house):
    first = house.create(key="one")
    assert not first.replayed
    house.desk.cancel(house.account, first.id)
    again = house.create(key="one")
    assert (again.id, again.replayed, again.status) == (first.id, True, "canceled")
    assert house.balance() == (CREDITS, 0)


def test_the_same_key_with_another_form_is_refused(house):
    house.create(key="one")
    with pytest.raises(KeyReused):
        house.create(key="one", seed=43)


def test_the_key_of_what_was_deleted_makes_nothing_and_is_refused(house):
    first = house.create(key="one")
    house.desk.cancel(house.account, first.id)
    house.desk.delete(house.account, first.id)
    with pytest.raises(KeyReused, match="was deleted"):
        house.create(key="one")
    assert house.balance() == (CREDITS, 0)
    assert house.create(key="two").id != first.id


def test_a_key_is_its_accounts_own(house):
    other = house.core.accounts.create("Bob")
    house.core.accounts.grant(other.id, 50, "welcome")
    mine = house.create(key="one")
    theirs = house.desk.create(other, {**FORM, "seed": 1}, "one")
    assert theirs.id != mine.id


def test_a_form_that_is_refused_leaves_its_key_free(house):
    with pytest.raises(Problems):
        house.create(key="one", duration=7)
    assert house.create(key="one").state == Queued(position=1)


@pytest.mark.parametrize("key", ["", "x" * 256, "line\nbreak", "é"])
def test_a_key_that_is_none_is_refused(house, key):
    with pytest.raises(Problems, match="Idempotency-Key"):
        house.create(key=key)


def at_once(count, call):
    """What `count` calls gave that began together; errors as they were raised."""
    barrier = threading.Barrier(count)

    def begin(number):
        barrier.wait()
        try:
            return call(number)
        except (Unaffordable, Limited) as refusal:
            return refusal

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(begin, range(count)))


def test_a_double_click_is_one_generation_paid_once(house):
    made = at_once(6, lambda _: house.desk.create(house.account, FORM, "click"))
    assert len({each.id for each in made}) == 1
    assert sum(not each.replayed for each in made) == 1
    assert house.balance() == (CREDITS - COST, COST)
    house.check()


def test_a_double_click_is_one_generation_where_the_credits_are_for_one(house):
    poor = house.core.accounts.create("Poor")
    house.core.accounts.grant(poor.id, COST, "for one")
    made = at_once(6, lambda _: house.desk.create(poor, FORM, "click"))
    assert [each for each in made if isinstance(each, Unaffordable)] == []
    assert len({each.id for each in made}) == 1


def test_no_more_are_queued_than_may_be_however_many_ask_at_once(house):
    made = at_once(9, lambda number: house.desk.create(house.account, {**FORM, "seed": number}))
    assert sum(isinstance(each, Limited) for each in made) == 4
    assert house.balance() == (CREDITS - 5 * COST, 5 * COST)


def test_credits_are_never_spent_twice_however_many_ask_at_once(house):
    poor = house.core.accounts.create("Poor")
    house.core.accounts.grant(poor.id, 3 * COST + 5, "little")
    made = at_once(5, lambda number: house.desk.create(poor, {**FORM, "seed": number}))
    refused = [each for each in made if isinstance(each, Unaffordable)]
    assert len(refused) == 2
    assert (refused[0].required, refused[0].available) == (COST, 5)
    house.check()


def test_a_queue_has_an_end_and_says_when_to_ask_again(house):
    for _ in range(5):
        house.create()
    with pytest.raises(Limited) as limited:
        house.create()
    assert limited.value.type == "concurrency_limit_error"
    assert limited.value.retry_after > 0
    house.desk.cancel(house.account, house.desk.generations(house.account).items[0].id)
    assert house.create().state == Queued(position=5)


def test_pages_are_newest_first_and_meet_without_a_gap(house):
    names = [house.create().id for _ in range(5)]
    first = house.desk.generations(house.account, limit=2)
    second = house.desk.generations(house.account, limit=2, cursor=first.next_cursor)
    third = house.desk.generations(house.account, limit=2, cursor=second.next_cursor)
    seen = [each.id for page in (first, second, third) for each in page.items]
    assert sorted(seen) == sorted(names)
    assert seen == sorted(seen, reverse=True)
    assert third.next_cursor is None


def test_lists_are_filtered_by_status_and_mark(house):
    first, second, third = (house.create().id for _ in range(3))
    house.turn()
    house.runpod.complete(house.runpod.job(first))
    house.runpod.run(house.runpod.job(second))
    house.later()
    house.desk.favourite(house.account, third, on=True)

    def names(**filters):
        return [each.id for each in house.desk.generations(house.account, **filters).items]

    assert names(status="completed") == [first]
    assert names(status="in_progress") == [second]
    assert names(status="queued") == [third]
    assert names(status="failed") == []
    assert names(favourites=True) == [third]
    house.desk.favourite(house.account, third, on=False)
    assert names(favourites=True) == []


@pytest.mark.parametrize("given", [{"cursor": "gen_x"}, {"cursor": "'"}, {"limit": 0},
                                   {"limit": 101}])  # fmt: skip
def test_a_cursor_or_limit_that_is_none_is_refused(house, given):
    with pytest.raises(Problems):
        house.desk.generations(house.account, **given)


def test_what_is_anothers_is_not_found_and_cannot_be_told_from_nothing(house):
    made = house.create()
    stranger = house.core.accounts.create("Eve")
    for call in (
        lambda name: house.desk.generation(stranger, name),
        lambda name: house.desk.cancel(stranger, name),
        lambda name: house.desk.delete(stranger, name),
        lambda name: house.desk.favourite(stranger, name, on=True),
        lambda name: house.desk.content(stranger, name, "video"),
    ):
        for name in (made.id, "gen_nothing"):
            with pytest.raises(NotFound, match=f"there is no generation {name!r}"):
                call(name)
    assert house.desk.generations(stranger).items == ()
    assert house.see(made.id).state == Queued(position=1)


def test_a_deleted_video_is_gone_with_its_prompt_and_its_ledger_stays(house):
    name, job = house.submit()
    with pytest.raises(Conflict):
        house.desk.delete(house.account, name)
    house.runpod.complete(job)
    house.later()
    path = house.store.video(name, download_as="x.mp4")
    assert path.is_file()
    house.desk.delete(house.account, name)
    assert not path.exists()
    assert house.row(name).form["prompt"] == ""
    assert house.desk.generations(house.account).items == ()
    with pytest.raises(NotFound):
        house.see(name)
    assert house.kinds(name) == ["hold", "capture"]
    house.check()


def test_nothing_is_left_of_what_a_deleted_video_was_to_show(house):
    name, job = house.submit(mode="pro", prompt="the secret heron", negative_prompt="secret blur")
    house.runpod.complete(job)
    house.later()
    house.desk.delete(house.account, name)
    row = house.row(name)
    assert "secret" not in f"{row.form} {row.output}"
    assert (row.output["width"], row.form["mode"]) == (96, "pro")


def test_what_cannot_be_deleted_now_can_be_deleted_again(house):
    name, job = house.submit()
    house.runpod.complete(job)
    house.later()
    root = house.store.root / "videos"
    root.rename(root.with_name("away"))
    root.write_text("no folder")
    with pytest.raises(Unavailable, match="try again"):
        house.desk.delete(house.account, name)
    assert house.see(name).status == "completed"
    root.unlink()
    root.with_name("away").rename(root)
    house.desk.delete(house.account, name)
    assert house.store.find(name) is None
    with pytest.raises(NotFound):
        house.see(name)


@pytest.mark.parametrize("name", ["", "gen_x", "\x00", "gen_" + "\x00" * 26, "x" * 5000])
def test_what_is_no_name_is_not_there(house, name):
    for call in (
        lambda: house.see(name),
        lambda: house.desk.cancel(house.account, name),
        lambda: house.desk.picture(house.account, name),
    ):
        with pytest.raises(NotFound):
            call()
    with pytest.raises(Problems, match="there is no upload"):
        house.create(image=f"upload://{name}")


@pytest.mark.parametrize("cursor", ["-1", "x", "²", str(2**31), "9" * 18])
def test_a_cursor_of_the_ledger_that_is_none_is_refused(house, cursor):
    with pytest.raises(Problems, match="cursor"):
        house.desk.credits(house.account, cursor=cursor)


def test_the_time_to_the_end_is_the_workers_else_that_of_the_last_ones(house):
    name, job = house.submit()
    assert house.see(name).eta_seconds is None
    house.runpod.run(job)
    house.later()
    assert house.see(name).eta_seconds == 30.0
    house.clock.move(10)
    assert house.see(name).eta_seconds == 20.0
    house.runpod.complete(job)
    house.later()
    assert house.create(duration=10).eta_seconds == pytest.approx(2 * 52.3)


def test_a_video_is_read_as_it_was_made_and_its_still_too(house):
    name, job = house.submit()
    with pytest.raises(Conflict, match="not there yet"):
        house.desk.content(house.account, name, "video")
    house.runpod.complete(job)
    house.later()
    video = house.desk.content(house.account, name, "video")
    sent = house.runpod.result(job)
    assert (video.size, video.tag) == (sent["bytes"], sent["sha256"])
    content = b"".join(video.read(0, video.size))
    assert b"".join(video.read(10, 20)) == content[10:30]
    still = house.desk.content(house.account, name, "thumbnail")
    assert b"".join(still.read(0, still.size)).startswith(b"\xff\xd8")


def test_a_video_that_is_answered_in_base64_is_kept_as_well(house):
    house.runpod.delivery = "base64"
    name, job = house.submit()
    house.runpod.complete(job)
    house.later()
    assert house.see(name).output.sha256 == house.runpod.result(job)["sha256"]


def test_a_video_that_is_not_the_announced_one_is_not_taken(house):
    name, job = house.submit()
    house.runpod.complete(job)
    job.output = {**job.output, "sha256": "0" * 64}
    house.later()
    assert house.see(name).status == "queued"
    assert house.balance() == (CREDITS - COST, COST)


def test_the_ledger_is_read_in_pages(house):
    for _ in range(3):
        house.create()
    first = house.desk.credits(house.account, limit=3)
    rest = house.desk.credits(house.account, limit=3, cursor=first.next_cursor)
    assert [each.kind for each in first.entries + rest.entries] == ["hold"] * 3 + ["grant"]
    assert rest.next_cursor is None
    assert (first.available, first.held) == (CREDITS - 3 * COST, 3 * COST)


def test_logins_and_events_that_are_over_are_forgotten_and_waiting_ones_are_not(house):
    key = house.core.accounts.new_key(house.account.id, "laptop").key
    login = house.core.accounts.login(key)
    for url in ("https://a.example", "https://b.example", "https://c.example"):
        house.desk.cancel(house.account, house.create(webhook_url=url).id)
    with house.core.database.write() as session:
        gone, kept, _waiting = session.scalars(select(EventRow).order_by(EventRow.id))
        gone.state, kept.state = "given_up", "delivered"
        kept.delivered_at = house.clock.now() + timedelta(days=1)
    house.clock.move(30.5 * 86_400)
    house.core.sweep()
    with house.core.database.read() as session:
        assert session.scalar(select(func.count()).select_from(SessionRow)) == 0
        left = session.scalars(select(EventRow.state).order_by(EventRow.id)).all()
    assert left == ["delivered", "pending"]
    with pytest.raises(Unauthorised):
        house.desk.session(login.token)


def test_a_receiver_that_refused_is_known_for_a_month_from_its_refusal_on(house):
    url, sent = "https://a.example", []

    def send(to, *_):
        sent.append(to)
        return Answered(200)

    for _ in range(2):
        house.desk.cancel(house.account, house.create(webhook_url=url).id)
    with house.core.database.write() as session:
        early, late = session.scalars(select(EventRow).order_by(EventRow.id))
        name = late.id
        early.state = late.state = "refused"
        early.refused_at = house.clock.now()
        late.refused_at = house.clock.now() + timedelta(days=3)  # written as early as the other
    for days, left in ((31, [name]), (1, [name]), (2, [])):
        house.clock.move(days * 86_400)
        house.core.sweep()
        with house.core.database.read() as session:
            assert session.scalars(select(EventRow.id)).all() == left
    house.desk.cancel(house.account, house.create(webhook_url=url).id)
    Outbox(house.core.database, house.clock, send=send).deliver_due()
    assert sent == [url]  # what it once refused is forgotten: it is asked again


def test_what_has_had_its_time_is_forgotten(house):
    made = house.create(key="one")
    house.turn()
    (job,) = house.runpod.jobs
    house.runpod.complete(job)
    house.later()
    house.clock.move(8 * 86_400)
    house.core.sweep()
    with pytest.raises(NotFound):
        house.hint(job)
    assert house.create(key="one").id != made.id
