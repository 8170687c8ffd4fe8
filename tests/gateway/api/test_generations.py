"""Generations through the API: made, followed, ended, and what is refused on the way."""

import pytest

from tests.gateway.api.site import COST, FORM, refused
from tests.gateway.fake_runpod import FPS, FRAMES, HEIGHT, WIDTH, clip
from tests.gateway.house import CREDITS


def test_an_estimate_says_what_a_create_then_holds(site, client):
    quote = client.post("/api/generations/estimate", json=FORM).json()
    assert quote["credits"] == COST
    assert quote["usd"] == "0.10"
    assert quote["breakdown"]["lines"][0]["credits"] == COST
    assert quote["actual"] == {
        "width": 1280, "height": 704, "fps": 24, "num_frames": 121, "seconds": 5.042,
    }  # fmt: skip
    assert (quote["available"], quote["available_after"]) == (CREDITS, CREDITS - COST)
    assert quote["sufficient"] is True
    assert site.balance() == (CREDITS, 0)
    assert site.create()["cost"]["credits"] == COST
    assert site.balance() == (CREDITS - COST, COST)


def test_an_estimate_needs_no_prompt_and_a_create_does(client):
    form = {"duration": 5}
    assert client.post("/api/generations/estimate", json=form).status_code == 200
    error = refused(client.post("/api/generations", json=form), 400, "invalid_request_error")
    assert error["param"] == "prompt"


def test_a_new_generation_is_queued_with_its_place(site, client):
    answer = client.post("/api/generations", json=FORM)
    body = answer.json()
    assert answer.headers["location"] == body["urls"]["self"] == f"/api/generations/{body['id']}"
    assert body["object"] == "generation"
    assert body["status"] == "queued"
    assert body["progress"]["queue_position"] == 1
    assert body["cost"] == {"credits": COST, "state": "held", "price_version": "2026-12-03"}
    assert body["request"]["mode"] == "fast"
    assert body["request"]["seed"] == 42
    assert body["output"] is body["error"] is body["timing"] is None
    assert body["created_at"] == "2026-12-02T09:00:00Z"
    site.clock.move(1)  # names of one millisecond have no order
    assert site.create()["progress"]["queue_position"] == 2


def test_it_runs_and_ends_with_a_video_that_is_paid_for(site, client):
    name, job = site.started()
    waiting = site.see(name)["progress"]
    assert (waiting["phase"], waiting["queue_position"]) == ("waiting", 1)
    site.runpod.run(job, seq=3, percent=42)
    site.turn(5)
    running = site.see(name)
    assert running["status"] == "in_progress"
    assert running["progress"]["phase"] == "generate"
    assert running["progress"]["percent"] == 42
    assert (running["progress"]["step"], running["progress"]["steps"]) == (4, 8)
    site.runpod.complete(job)
    site.turn(90)
    done = site.see(name)
    assert done["status"] == "completed"
    assert done["progress"]["percent"] == 100
    assert done["output"]["url"] == done["urls"]["content"] == f"/api/generations/{name}/content"
    assert (done["output"]["width"], done["output"]["height"]) == (WIDTH, HEIGHT)
    assert (done["output"]["fps"], done["output"]["num_frames"]) == (FPS, FRAMES)
    assert done["output"]["seed"] == 42
    assert done["output"]["bytes"] == len(clip())
    assert done["cost"]["state"] == "captured"
    assert done["timing"] == {"queue_ms": 4100, "execution_ms": 52300}
    assert site.balance() == (CREDITS - COST, 0)


def test_a_failure_says_what_became_of_the_credits_and_nothing_of_the_worker(site):
    name, job = site.started()
    site.runpod.fail(job, "OUT_OF_MEMORY: cuda:0 at host gpu-17")
    site.turn(90)
    failed = site.see(name)
    assert failed["status"] == "failed"
    assert failed["error"]["type"] == "out_of_memory"
    assert "10 credits were returned" in failed["error"]["message"]
    assert "gpu-17" not in str(failed)
    assert failed["progress"] is failed["output"] is failed["urls"]["content"] is None
    assert failed["cost"]["state"] == "released"
    assert site.balance() == (CREDITS, 0)


def test_every_problem_is_told_with_its_field_and_what_is_allowed(client):
    form = {"mode": "pro", "resolution": "1080p", "duration": 12, "camera_motion": "spin", "x": 1}
    error = refused(client.post("/api/generations", json=form), 400, "invalid_request_error")
    told = {each["param"]: each for each in error["problems"]}
    assert set(told) == {"duration", "camera_motion", "x", "prompt"}
    assert told["duration"]["allowed"] == [2, 3, 4, 5, 6, 8, 10]
    assert error["param"] == error["problems"][0]["param"]


def test_what_costs_more_than_there_is_is_not_begun(site):
    _, key = site.newcomer("Bob", credits=COST - 1)
    poor = site.browser(authorization=f"Bearer {key}")
    error = refused(poor.post("/api/generations", json=FORM), 402, "insufficient_funds_error")
    assert (error["required"], error["available"]) == (COST, COST - 1)
    assert poor.get("/api/generations").json()["data"] == []


def test_more_at_once_than_an_account_may_queue_is_told_apart_from_too_many_calls(site, client):
    for _ in range(5):
        site.create()
    answer = client.post("/api/generations", json=FORM)
    refused(answer, 429, "concurrency_limit_error")
    assert int(answer.headers["retry-after"]) > 0


def test_the_same_key_makes_one_generation(site, client):
    headers = {"idempotency-key": "form-1"}
    first = client.post("/api/generations", json=FORM, headers=headers)
    second = client.post("/api/generations", json=FORM, headers=headers)
    assert first.json()["id"] == second.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.status_code == 202
    assert site.balance() == (CREDITS - COST, COST)
    other = client.post("/api/generations", json={**FORM, "seed": 43}, headers=headers)
    refused(other, 422, "idempotency_error")


def test_a_refused_form_does_not_use_its_key_up(client):
    headers = {"idempotency-key": "form-1"}
    refused(client.post("/api/generations", json={}, headers=headers), 400, "invalid_request_error")
    assert client.post("/api/generations", json=FORM, headers=headers).status_code == 202


def test_another_account_s_generation_is_not_there(site):
    made = site.create()
    _, key = site.newcomer("Eve")
    eve = site.browser(authorization=f"Bearer {key}")
    own = f"/api/generations/{made['id']}"
    for method, path in (
        ("GET", own), ("DELETE", own), ("POST", f"{own}/cancel"), ("GET", f"{own}/events"),
        ("GET", f"{own}/content"), ("HEAD", f"{own}/content"), ("GET", f"/v1/videos/{made['id']}"),
    ):  # fmt: skip
        assert eve.request(method, path).status_code == 404, (method, path)
    marked = eve.put(f"{own}/favourite", json={"favourite": True})
    refused(marked, 404, "not_found_error")
    assert site.see(made["id"])["status"] == "queued"


def test_a_list_is_newest_first_in_pages(site, client):
    made = []
    for seed in range(5):
        made.append(site.create(seed=seed)["id"])
        site.clock.move(1)
    first = client.get("/api/generations", params={"limit": 2}).json()
    assert [each["id"] for each in first["data"]] == made[:2:-1]
    assert first["has_more"] is True
    rest = client.get("/api/generations", params={"cursor": first["next_cursor"]}).json()
    assert [each["id"] for each in rest["data"]] == made[2::-1]
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)


def test_a_list_can_be_of_a_status_or_of_favourites(site, client):
    done, waiting = site.finished(), site.create()["id"]
    marked = client.put(f"/api/generations/{done}/favourite", json={"favourite": True})
    assert marked.json()["favourite"] is True

    def listed(**query):
        found = client.get("/api/generations", params=query).json()["data"]
        return [each["id"] for each in found]

    assert listed(status="completed") == [done]
    assert listed(status="queued") == [waiting]
    assert listed(favourites=True) == [done]
    client.put(f"/api/generations/{done}/favourite", json={"favourite": False})
    assert listed(favourites=True) == []


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"status": "running"}, {"cursor": "x"}]
)
def test_a_list_s_query_is_judged(client, query):
    error = refused(client.get("/api/generations", params=query), 400, "invalid_request_error")
    assert error["param"] == next(iter(query))


def test_cancelling_what_waits_here_ends_it_at_once(site, client):
    made = site.create()
    answer = client.post(made["urls"]["cancel"])
    assert answer.status_code == 200
    assert answer.json()["status"] == "canceled"
    assert answer.json()["message"] == "Stopped. Your 10 credits were returned."
    assert site.balance() == (CREDITS, 0)


def test_cancelling_what_runs_asks_the_worker_and_then_returns_the_credits(site, client):
    name, job = site.started()
    site.runpod.run(job)
    site.turn(5)
    answer = client.post(f"/api/generations/{name}/cancel")
    assert answer.status_code == 202
    body = answer.json()
    assert (body["status"], body["cancel_requested"]) == ("in_progress", True)
    assert body["cost"]["state"] == "held"
    assert body["message"].startswith("Stopping. Your 10 credits come back unless")
    site.turn(90)
    assert job.cancels >= 1
    assert site.see(name)["status"] == "canceled"
    assert site.balance() == (CREDITS, 0)


def test_a_video_that_wins_the_race_against_its_cancel_is_paid_for(site, client):
    site.runpod.obeys = False
    name, job = site.started()
    site.runpod.run(job)
    site.turn(5)
    client.post(f"/api/generations/{name}/cancel")
    site.runpod.complete(job)
    site.turn(90)
    assert site.see(name)["status"] == "completed"
    assert site.balance() == (CREDITS - COST, 0)


def test_cancelling_what_has_ended_changes_nothing(site, client):
    name = site.finished()
    answer = client.post(f"/api/generations/{name}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"


def test_only_what_has_ended_can_be_deleted(site, client):
    made = site.create()
    refused(client.delete(made["urls"]["self"]), 409, "conflict_error")
    client.post(made["urls"]["cancel"])
    answer = client.delete(made["urls"]["self"])
    assert answer.json() == {"id": made["id"], "object": "generation.deleted", "deleted": True}
    refused(client.get(made["urls"]["self"]), 404, "not_found_error")
    kinds = [each["kind"] for each in client.get("/api/credits").json()["entries"]]
    assert kinds == ["release", "hold", "grant"]


def test_a_picture_is_sent_and_named_in_a_form(site, client, picture):
    sent = client.post("/api/uploads", files={"file": ("a.png", picture, "image/png")})
    assert sent.status_code == 201, sent.text
    body = sent.json()
    assert body["uri"] == f"upload://{body['id']}"
    assert (body["width"], body["height"]) == (96, 64)
    raw = client.post("/api/uploads", content=picture, headers={"content-type": "image/png"})
    assert raw.status_code == 201
    _, job = site.started(image=body["uri"])
    assert job.input["image"].startswith("data:image/png;base64,")
    seen = client.get(f"/api/uploads/{body['id']}/content")
    assert seen.headers["content-type"] == "image/png"
    assert seen.content.startswith(b"\x89PNG")


def test_the_names_that_the_contract_has_for_pictures_are_taken(client, picture):
    uri = client.post(
        "/api/uploads", content=picture, headers={"content-type": "image/png"}
    ).json()["uri"]
    for name in ("image", "image_uri", "last_image", "last_image_uri", "last_frame_uri"):
        answer = client.post("/api/generations/estimate", json={name: uri})
        assert answer.status_code == 200, (name, answer.text)


@pytest.mark.parametrize(
    ("sent", "status", "kind"),
    [
        ({"files": {"file": ("a.png", b"no picture", "image/png")}}, 400, "invalid_request_error"),
        ({"files": {"other": ("a.png", b"", "image/png")}}, 400, "invalid_request_error"),
        ({"content": b"GIF89a", "headers": {"content-type": "image/gif"}}, 415,
         "invalid_request_error"),
        ({"content": b"\0" * 15_000_001, "headers": {"content-type": "image/png"}}, 413,
         "request_too_large"),
        ({"files": {"file": ("a.png", b"\0" * 15_000_001, "image/png")}}, 413,
         "request_too_large"),
        ({"content": b"--", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400,
         "invalid_request_error"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(client, sent, status, kind):
    refused(client.post("/api/uploads", **sent), status, kind)


def test_a_prompt_is_enriched_by_the_worker(site, client):
    refused(client.post("/api/enhance-prompt", json={"prompt": "rain"}), 503, "service_unavailable")
    site.runpod.enhanced = "{prompt}, at night"
    answer = client.post("/api/enhance-prompt", json={"prompt": "rain"})
    assert answer.json() == {"prompt": "rain, at night"}
    for wrong in ({}, {"prompt": 1}, {"prompt": "a", "image": 1}, {"prompt": "a", "x": 1}):
        refused(client.post("/api/enhance-prompt", json=wrong), 400, "invalid_request_error")


def test_the_ledger_is_read_in_pages(site, client):
    for seed in range(3):
        site.create(seed=seed)
    first = client.get("/api/credits/ledger", params={"limit": 2}).json()
    assert [each["kind"] for each in first["data"]] == ["hold", "hold"]
    rest = client.get("/api/credits/ledger", params={"cursor": first["next_cursor"]}).json()
    assert [each["kind"] for each in rest["data"]] == ["hold", "grant"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    wrong = client.get("/api/credits/ledger", params={"cursor": "x"})
    assert refused(wrong, 400, "invalid_request_error")["param"] == "cursor"


def test_what_can_be_asked_for_needs_no_key(site):
    body = site.browser().get("/api/models").json()
    assert body["credit_usd"] == "0.01"
    (model,) = body["models"]
    assert [mode["mode"] for mode in model["modes"]] == ["fast", "pro"]
    row = next(each for each in model["modes"][0]["resolutions"] if each["id"] == "720p")
    assert row["sizes"]["16:9"] == [1280, 704]
    assert row["credits_per_second"] * 5 == COST
    assert body["default"]["duration"] in row["fps_durations"]["24"]
