"""What operators see: how generations ended, how the platform answers, and whether loops run."""

import pytest

from gateway.loops import Loop
from tests.gateway.api.site import Site
from tests.gateway.eventually import eventually


@pytest.fixture
def site(tmp_path, database):
    made = Site(tmp_path, database=database, metrics_key="scrape-me")
    yield made
    made.close()


def numbers(site):
    text = site.browser().get("/metrics", headers={"authorization": "Bearer scrape-me"}).text
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def ended(status, error=""):
    return f'ltx2_gateway_generations_ended_total{{error="{error}",status="{status}"}}'


def test_generations_are_counted_by_how_they_ended(site):
    site.finished()
    name, job = site.started()
    site.runpod.fail(job, "no reason")
    site.turn(90)
    assert site.see(name)["status"] == "failed"
    kind = site.see(name)["error"]["type"]
    site.client.post(f"/api/generations/{site.create()['id']}/cancel")
    assert ended("canceled") not in numbers(site)  # not for sure before half a minute is over
    site.clock.move(30)
    for _ in range(2):  # a second look counts nothing twice
        found = numbers(site)
        assert found[ended("completed")] == 1
        assert found[ended("failed", kind)] == 1
        assert found[ended("canceled")] == 1
    site.finished()
    site.clock.move(30)
    assert numbers(site)[ended("completed")] == 2


def test_seconds_in_the_queue_and_at_work_are_summed_by_mode(site):
    site.finished(mode="pro")
    site.clock.move(30)
    found = numbers(site)
    for kind in ("queue", "execution"):
        assert found[f'ltx2_gateway_{kind}_seconds_count{{mode="pro"}}'] == 1
        assert found[f'ltx2_gateway_{kind}_seconds_sum{{mode="pro"}}'] > 0


def test_what_the_platform_answers_is_counted(site):
    site.started()
    platform = 'ltx2_gateway_platform_calls_total{call="submit",outcome="%s"}'
    assert numbers(site)[platform % "ok"] == 1
    site.runpod.key = "another"
    site.create()
    site.turn()
    found = numbers(site)
    assert sum(found.get(platform % each, 0) for each in ("not_submitted", "rejected")) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_that_has_ended_is_not_ready(site):
    def dies():
        raise KeyboardInterrupt

    assert site.browser().get("/readyz").status_code == 200
    assert numbers(site)["ltx2_gateway_loops_alive"] == 1
    site.core.works.add(Loop(name="dying", turn=dies, every=1.0))
    site.core.works.start()
    eventually(lambda: not site.core.works.alive)
    answer = site.browser().get("/readyz")
    assert (answer.status_code, "loop" in answer.json()["status"]) == (503, True)
    assert numbers(site)["ltx2_gateway_loops_alive"] == 0
