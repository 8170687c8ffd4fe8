"""`ltx2 deploy` through the command line, against a double of RunPod's REST API on loopback."""

import datetime
import json
import logging
import re
from pathlib import Path

import pytest

from ltx2.cli import main
from ltx2.deploy.cost import cost, lines
from ltx2.deploy.defaults import CUDA, MODES
from ltx2.deploy.environment import OWN, PUBLIC, is_secret, secrets_of
from ltx2.deploy.pools import PriceList, checkpoints, need_of
from ltx2.settings import known_variables
from pipelines.models import CHECKPOINTS
from tests.worker.loopback import Reply
from tests.worker.rest_v2 import CATALOGUE, POOLS, RestV2

ROOT = Path(__file__).parents[2]
IMAGE = "docker.io/acme/ltx2:1.4.0"
CREATE = ("create", "--image", IMAGE, "--weights", "baked")
BUCKET_KEY, HUB_TOKEN = "BUCKETSECRET0123", "hf_HUBTOKEN0123"
TODAY = datetime.date(2026, 9, 1)


@pytest.fixture
def rest(monkeypatch):
    rest = RestV2()
    monkeypatch.setenv("RUNPOD_API_KEY", rest.key)
    yield rest
    rest.close()


@pytest.fixture
def deploy(rest, capsys):
    """Run a command: its exit code, stdout and stderr, in neither of which a secret may be."""

    def run(*arguments):
        code = main(["deploy", *arguments, "--api-url", f"{rest.address}/v2"])
        out, err = capsys.readouterr()
        for secret in (rest.key, BUCKET_KEY, HUB_TOKEN):
            assert secret not in out + err
        return code, out, err

    return run


@pytest.fixture
def keyless(monkeypatch, capsys):
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)

    def run(*arguments):
        code = main(["deploy", *arguments])
        return code, *capsys.readouterr()

    return run


def test_a_dry_run_prints_the_body_and_needs_no_key(keyless):
    code, out, err = keyless(*CREATE, "--dry-run")
    assert code == 0
    assert json.loads(out) == {
        "name": "ltx2",
        "type": "QUEUE",
        "image": IMAGE,
        "gpu": {
            "pools": ["BLACKWELL_96", "ADA_80_PRO", "HOPPER_141"],
            "count": 1,
            "minCudaVersion": "13.0",
        },
        "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
        "workers": {"min": 0, "max": 2},
        "disk": 60,
        "env": {
            "LTX2_CHECKPOINT": "ltx-2.3",
            "LTX2_MODES": "fast",
            "LTX2_DOWNLOAD": "0",
            "LTX2_EXECUTION_SECONDS": "1800",
            "RUNPOD_INIT_TIMEOUT": "800",
        },
        "flashboot": "FLASHBOOT",
        "timeout": 1_800_000,
    }
    assert "BLACKWELL_96 (RTX PRO 6000): $4.00/h" in err
    assert "2026-08-20" in err


def test_what_needs_a_key_says_where_it_comes_from(keyless):
    for arguments in (CREATE, ("show", "ep1"), ("update", "ep1", "--disk", "70")):
        code, _, err = keyless(*arguments)
        assert code == 1
        assert "RUNPOD_API_KEY is not set" in err


def test_what_a_dry_run_prints_is_what_is_sent(rest, deploy):
    options = ("--volume", "vol1", "--data-center", "EU-RO-1", "--registry", "cred1", "--name", "x",
               "--timeout", "600", "--min-workers", "1", "--max-workers", "3", "--modes", "pro",
               "--no-flashboot", "--cuda", "13.0", "--cuda", "13.1")  # fmt: skip
    _, printed, _ = deploy("create", "--image", IMAGE, *options, "--dry-run")
    assert rest.sent("POST") == []
    code, out, _ = deploy("create", "--image", IMAGE, *options)
    assert code == 0
    sent = rest.sent("POST")[0].body
    assert sent == json.loads(printed)
    assert sent["networkVolumes"] == ["vol1"]
    assert sent["dataCenterIds"] == ["EU-RO-1"]
    assert sent["gpu"]["allowedCudaVersions"] == ["13.0", "13.1"]
    assert "minCudaVersion" not in sent["gpu"]
    assert (sent["timeout"], sent["env"]["LTX2_EXECUTION_SECONDS"]) == (600_000, "600")
    assert sent["flashboot"] == "OFF"
    assert json.loads(out)["id"] == "ep1"
    assert json.loads(out)["requestUrls"]["run"].endswith("/ep1/run")


def test_live_prices_choose_the_pools_and_slices_are_left_out(rest, deploy):
    code, out, err = deploy(*CREATE, "--dry-run", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["body"]["gpu"]["pools"] == ["BLACKWELL_96", "ADA_80_PRO"]  # no other has a price
    assert found["body"]["gpu"]["excludedTypes"] == ["NVIDIA RTX PRO 6000 MIG 24GB"]
    assert found["cost"]["live"]
    row = found["cost"]["pools"][1]
    assert (row["pool"], row["hour"]) == ("ADA_80_PRO", 3.99)
    assert row["execution_minute"] == row["idle_minute"] == round(3.99 / 60, 4)
    assert f"prices asked of RunPod on {found['cost']['date']}" in err
    assert deploy(*CREATE)[0] == 0
    assert rest.endpoints["ep1"]["gpu"]["excludedTypes"] == ["NVIDIA RTX PRO 6000 MIG 24GB"]


@pytest.mark.parametrize("catalogue", [{"gpus": []}, {"odd": 1}, "text"])
def test_without_live_prices_the_table_is_used_and_that_is_told(rest, deploy, catalogue):
    rest.catalogue = catalogue
    code, out, err = deploy(*CREATE, "--dry-run")
    assert code == 0
    assert "no live prices, those of the table are used" in err
    assert json.loads(out)["gpu"]["pools"] == ["BLACKWELL_96", "ADA_80_PRO", "HOPPER_141"]


def test_a_refused_key_ends_it_at_once(rest, deploy, monkeypatch):
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_WRONG")
    code, _, err = deploy(*CREATE)
    assert code == 1
    assert "Unauthorized; the key is not known; check the API key" in err
    assert len(rest.calls) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--image", "acme/ltx2"], "no tag"),
        (["--image", "acme/ltx2:latest"], "got latest"),
        (["--image", "ltx2"], "OWNER/NAME:TAG"),
        ([], "--image is needed"),
        (["--image", IMAGE, "--weights", "volume"], "means a --volume"),
        (["--image", IMAGE], "--weights is needed"),
        (["--image", IMAGE, "--gpu", "H100"], "--gpu must be one of AMPERE_16"),
        (["--image", IMAGE, "--min-cuda", "13.0", "--cuda", "13.0"], "exclude each other"),
        (["--image", IMAGE, "--min-cuda", "thirteen"], "two numbers"),
        (["--image", IMAGE, "--timeout", "2"], "from 5 to 604800; got 2"),
        (["--image", IMAGE, "--min-workers", "3", "--max-workers", "2"], "not be more"),
        (["--image", IMAGE, "--checkpoint", "owner/other"], "--gpu is needed"),
        (["--image", IMAGE, "--env", "LTX2_MODES=pro"], "LTX2_MODES is set by --modes"),
        (["--image", IMAGE, "--env", "LTX2_MAX_SECOND=3"], "did you mean LTX2_MAX_SECONDS"),
        (["--image", IMAGE, "--env", "LTX2_MAX_SECONDS=long"], "must be seconds from"),
        (["--image", IMAGE, "--env", HUB_TOKEN], "--env must be NAME=VALUE"),
        (["--image", IMAGE, "--secret", "HF_TOKEN=two words"], "the name of a secret"),
        (["--image", IMAGE, "--env", "A=1", "--secret", "A=b"], "A is given twice"),
        (["--image", IMAGE, "--weight", "baked"], "did you mean --weights?"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent(rest, deploy, arguments, words):
    code, out, err = deploy("create", *arguments)
    assert code == 2
    assert words in err
    assert out == ""
    assert rest.sent("POST") == []


def test_every_problem_is_told_at_once(deploy):
    _, _, err = deploy("create", "--image", "a/b", "--gpu", "X", "--timeout", "1", "--env", "B")
    assert err.count("error: ") == 5


def test_secrets_are_references_or_masked_and_never_shown(rest, deploy, caplog):
    caplog.set_level(logging.DEBUG)
    options = ("--secret", "HF_TOKEN=hub", "--env", f"BUCKET_SECRET_ACCESS_KEY={BUCKET_KEY}",
               "--env", f"MY_OWN={HUB_TOKEN}", "--env", "BUCKET_NAME=clips")  # fmt: skip
    _, out, err = deploy(*CREATE, *options, "--dry-run")
    env = json.loads(out)["env"]
    assert env["HF_TOKEN"] == "{{ RUNPOD_SECRET_hub }}"
    assert (env["BUCKET_SECRET_ACCESS_KEY"], env["MY_OWN"]) == ("***", "***")
    assert env["BUCKET_NAME"] == "clips"
    assert "give --secret BUCKET_SECRET_ACCESS_KEY=NAME" in err
    assert deploy(*CREATE, *options, "--json")[0] == 0
    sent = rest.endpoints["ep1"]["env"]
    assert (sent["BUCKET_SECRET_ACCESS_KEY"], sent["MY_OWN"]) == (BUCKET_KEY, HUB_TOKEN)
    for arguments in (("show", "ep1"), ("show", "ep1", "--json"),
                      ("update", "ep1", "--env", "MY_OWN=other-secret"),
                      ("update", "ep1", "--unset", "MY_OWN", "--dry-run", "--json")):  # fmt: skip
        code, out, err = deploy(*arguments)
        assert code == 0
        assert "other-secret" not in out + err
    assert not any(secret in caplog.text for secret in (rest.key, BUCKET_KEY, HUB_TOKEN))


def test_an_error_that_repeats_what_was_sent_is_masked(rest, deploy):
    rest.echoes = True
    code, _, err = deploy(*CREATE, "--env", f"HF_TOKEN={HUB_TOKEN}", "--exclude", "NVIDIA L4",
                          "--gpu", "ADA_80_PRO", "--json")  # fmt: skip
    assert code == 2
    rest.catalogue = []  # so that only the API knows that the type is elsewhere
    code, out, err = deploy(*CREATE, "--env", f"HF_TOKEN={HUB_TOKEN}", "--exclude", "NVIDIA L4",
                            "--json")  # fmt: skip
    assert code == 2
    assert "not accepted" in err
    assert "***" in err
    assert json.loads(out)["error"].startswith("BAD_REQUEST: ")


def test_the_errors_of_the_api_are_shown_whole(rest, deploy):
    rest.catalogue = []
    code, _, err = deploy(*CREATE, "--exclude", "A", "--exclude", "B")
    assert code == 2
    for words in ("Unprocessable", "the body is not accepted", "A is outside", "B is outside"):
        assert words in err
    rest.catalogue = CATALOGUE
    rest.faults = [
        Reply(body=CATALOGUE),
        Reply(status=422, body={"errors": [{"path": "disk", "message": "too small"}, {"odd": 1}]}),
    ]
    code, _, err = deploy(*CREATE)
    assert code == 2
    assert "RunPod: disk: too small" in err
    assert '{"odd": 1}' in err


def test_an_endpoint_that_cannot_be_read_back_is_named(rest, deploy):
    rest.faults = []
    posted = rest.answer

    def answer(call):
        if call.method == "GET" and call.path.endswith("/ep1"):
            return Reply(status=403, body={"title": "Forbidden"})
        return posted(call)

    rest.answer = answer
    code, _, err = deploy(*CREATE)
    assert code == 1
    assert "endpoint ep1 was created, and it could not be read back" in err
    assert "ltx2 deploy delete ep1 --yes" in err


def test_what_runpod_made_of_it_otherwise_is_told(rest, deploy):
    posted = rest.answer

    def answer(call):
        reply = posted(call)
        if call.method == "POST":
            rest.endpoints["ep1"]["timeout"] = 300_000
        return reply

    rest.answer = answer
    code, _, err = deploy(*CREATE)
    assert code == 0
    assert "warning: RunPod has another timeout" in err


def test_a_creation_whose_answer_was_lost_is_not_repeated(rest, deploy):
    rest.faults = [Reply(body=CATALOGUE), Reply(drop=True)]
    code, _, err = deploy(*CREATE)
    assert code == 1
    assert "look at https://console.runpod.io/serverless" in err
    assert len(rest.sent("POST")) == 1


def test_a_busy_api_is_waited_for(rest, deploy):
    rest.faults = [Reply(status=429, headers={"Retry-After": "1"})]
    assert deploy(*CREATE)[0] == 0
    assert rest.calls[1].at - rest.calls[0].at >= 1.0


def made(deploy, *more):
    assert deploy(*CREATE, "--env", "LTX2_LOG_LEVEL=debug", *more)[0] == 0


def test_an_update_sends_what_differs_and_keeps_the_rest_of_the_environment(rest, deploy):
    made(deploy)
    before = rest.endpoints["ep1"]
    code, _, err = deploy("update", "ep1", "--image", "docker.io/acme/ltx2:1.5.0",
                          "--env", "LTX2_WARM_UP=1", "--unset", "LTX2_LOG_LEVEL",
                          "--max-workers", "5")  # fmt: skip
    assert code == 0
    patch = rest.sent("PATCH")[0].body
    assert set(patch) == {"image", "env", "workers"}
    assert patch["workers"] == {"min": 0, "max": 5}
    expected = {**before["env"], "LTX2_WARM_UP": "1"}
    del expected["LTX2_LOG_LEVEL"]
    assert rest.endpoints["ep1"]["env"] == expected
    assert "image: docker.io/acme/ltx2:1.4.0 becomes docker.io/acme/ltx2:1.5.0" in err
    assert "env.LTX2_WARM_UP: 1 (new)" in err
    assert "env.LTX2_LOG_LEVEL: debug goes" in err


def test_an_update_that_changes_nothing_sends_nothing(rest, deploy):
    made(deploy)
    code, _, err = deploy("update", "ep1", "--image", IMAGE, "--env", "LTX2_LOG_LEVEL=debug",
                          "--min-cuda", "13.0", "--timeout", "1800")  # fmt: skip
    assert code == 0
    assert "nothing differs" in err
    assert rest.sent("PATCH") == []


def test_a_time_limit_reaches_the_workers_too(rest, deploy):
    made(deploy)
    assert deploy("update", "ep1", "--timeout", "900")[0] == 0
    found = rest.endpoints["ep1"]
    assert (found["timeout"], found["env"]["LTX2_EXECUTION_SECONDS"]) == (900_000, "900")
    found["timeout"] = 300_000
    _, _, err = deploy("show", "ep1")
    assert "ends a job after 300 s, and LTX2_EXECUTION_SECONDS tells its workers 900" in err


def test_the_pools_of_an_update_keep_or_lose_their_excluded_types_as_asked(rest, deploy):
    made(deploy, "--gpu", "BLACKWELL_96", "--gpu", "ADA_80_PRO")
    slice_ = "NVIDIA RTX PRO 6000 MIG 24GB"
    assert rest.endpoints["ep1"]["gpu"]["excludedTypes"] == [slice_]
    assert deploy("update", "ep1", "--exclude", "NVIDIA H100 80GB HBM3")[0] == 0
    gpu = rest.endpoints["ep1"]["gpu"]
    assert gpu["pools"] == ["BLACKWELL_96", "ADA_80_PRO"]
    assert gpu["excludedTypes"] == ["NVIDIA H100 80GB HBM3"]
    assert deploy("update", "ep1", "--gpu", "ADA_80_PRO")[0] == 0
    assert rest.endpoints["ep1"]["gpu"]["excludedTypes"] == []


def test_one_way_of_naming_cuda_takes_the_place_of_the_other(rest, deploy):
    made(deploy)
    assert deploy("update", "ep1", "--cuda", "13.0", "--cuda", "13.2")[0] == 0
    gpu = rest.endpoints["ep1"]["gpu"]
    assert gpu["allowedCudaVersions"] == ["13.0", "13.2"]
    assert "minCudaVersion" not in gpu
    assert deploy("update", "ep1", "--min-cuda", "13.1")[0] == 0
    gpu = rest.endpoints["ep1"]["gpu"]
    assert (gpu["minCudaVersion"], gpu["allowedCudaVersions"]) == ("13.1", [])


def test_an_environment_is_replaced_only_when_that_is_asked(rest, deploy):
    made(deploy)
    assert deploy("update", "ep1", "--replace-env", "--env", "LTX2_WARM_UP=1")[0] == 0
    env = rest.endpoints["ep1"]["env"]
    assert set(env) == {*OWN, "LTX2_WARM_UP"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--unset", "LTX2_EXECUTION_SECONDS"], "set by --timeout"),
        (["--unset", "ABSENT"], "no such variable; it has LTX2_CHECKPOINT"),
        (["--unset", "LTX2_LOG_LEVEL", "--env", "LTX2_LOG_LEVEL=info"], "both set and unset"),
        (["--min-workers", "9"], "at least 9 and at most 2"),
        (["--image", "acme/ltx2:latest"], "got latest"),
    ],
)
def test_an_update_that_cannot_be_is_refused_before_it_is_sent(rest, deploy, arguments, words):
    made(deploy)
    code, _, err = deploy("update", "ep1", *arguments)
    assert code == 2
    assert words in err
    assert rest.sent("PATCH") == []


def test_an_environment_that_is_not_told_is_not_overwritten(rest, deploy):
    made(deploy)
    del rest.endpoints["ep1"]["env"]
    code, _, err = deploy("update", "ep1", "--env", "LTX2_WARM_UP=1")
    assert code == 2
    assert "--replace-env" in err
    assert deploy("update", "ep1", "--env", "LTX2_WARM_UP=1", "--replace-env")[0] == 0


def test_show_has_endpoint_workers_and_releases(rest, deploy):
    made(deploy)
    code, out, _ = deploy("show", "ep1")
    assert code == 0
    assert f"image: {IMAGE}" in out
    assert re.search(r"WORKERS: 1\nID +STATUS +GPUTYPEID\nw1 +IDLE", out)
    assert "RELEASES: 1" in out
    code, out, _ = deploy("show", "ep1", "--json")
    found = json.loads(out)
    assert found["endpoint"]["env"]["LTX2_CHECKPOINT"] == "ltx-2.3"
    assert found["releases"][0]["workerCount"] == 1


def test_delete_asks_for_yes_on_the_command_line_and_then_deletes(rest, deploy):
    made(deploy)
    code, _, err = deploy("delete", "ep1")
    assert code == 2
    assert "ep1 (ltx2) would be deleted" in err
    assert "ep1" in rest.endpoints
    code, out, _ = deploy("delete", "ep1", "--yes", "--json")
    assert (code, json.loads(out)) == (0, {"id": "ep1", "deleted": True})
    assert rest.endpoints == {}
    code, _, err = deploy("delete", "ep1", "--yes")
    assert code == 1
    assert "404" in err


def test_a_deletion_whose_answer_was_lost_is_a_deletion(rest, deploy):
    made(deploy)
    rest.after = [Reply(body=rest.endpoints["ep1"]), Reply(drop=True)]
    assert deploy("delete", "ep1", "--yes")[0] == 0
    assert len(rest.sent("DELETE")) == 2


def test_an_id_that_is_a_path_is_refused(rest, deploy):
    code, _, err = deploy("show", "../templates")
    assert code == 2
    assert "letters and digits" in err
    assert rest.calls == []


def test_the_key_is_not_sent_where_it_could_be_read(rest, capsys):
    for url in ("http://api.runpod.io/v2", "https://user:pass@api.runpod.io/v2"):
        assert main(["deploy", "show", "ep1", "--api-url", url]) == 2
        assert rest.key not in "".join(capsys.readouterr())


def test_what_is_left_to_a_person_is_told(deploy):
    _, _, err = deploy("create", "--image", IMAGE, "--weights", "cached")
    assert "left to do: set the cached model" in err
    _, _, err = deploy("create", "--image", IMAGE, "--volume", "v1", "--checkpoint", "ltx-2.5")
    filled = "ltx2 download --checkpoint ltx-2.5 --mode fast --to /workspace/models/ltx-2.5"
    assert filled in err
    # An update says it of the endpoint's own model.
    _, _, err = deploy("update", "ep2", "--weights", "volume", "--volume", "v2")
    assert filled in err


def test_cards_with_too_little_memory_are_told(deploy):
    _, _, err = deploy(*CREATE, "--gpu", "ADA_24", "--dry-run")
    assert "parts move between host and GPU" in err
    _, _, err = deploy(*CREATE, "--modes", "pro", "--gpu", "ADA_80_PRO", "--dry-run")
    assert "text encoder is not on the GPU" in err
    _, _, err = deploy(*CREATE, "--gpu", "ADA_80_PRO", "--dry-run")
    assert "warning" not in err


def test_workers_that_are_always_there_have_their_price_a_day(deploy):
    _, _, err = deploy(*CREATE, "--min-workers", "2", "--dry-run")
    assert "2 worker(s) always there: $168.00 to $191.52 a day" in err


def test_an_old_price_says_how_old_it_is():
    table = PriceList.of_table()
    young = "\n".join(lines(cost(["ADA_24"], table, min_workers=0, today=TODAY)))
    assert "prices of RunPod's documentation of 2026-08-20:" in young
    later = datetime.date(2026, 12, 1)
    old = "\n".join(lines(cost(["ADA_32_PRO"], table, min_workers=0, today=later)))
    assert "103 days old: ask RunPod" in old
    assert "ADA_32_PRO: no price is known" in old


def test_the_table_of_pools_is_whole():
    table = PriceList.of_table()
    assert {pool.id for pool in table.pools} == set(POOLS)
    assert set(checkpoints()) == set(CHECKPOINTS)
    assert [pool.id for pool in table.pools if pool.hour is None] == ["ADA_32_PRO"]
    live = table.updated(CATALOGUE, today=TODAY)
    assert live.pool("HOPPER_141").hour is None  # not offered today


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_the_chosen_pools_hold_the_model(checkpoint, modes):
    table, need = PriceList.of_table(), need_of(checkpoint, modes)
    chosen = table.chosen(need)
    assert chosen
    assert all(table.pool(name).holds(need.resident) for name in chosen)
    prices = [table.pool(name).hour for name in chosen]
    assert prices == sorted(prices)


@pytest.mark.parametrize(
    ("checkpoint", "table"),
    [("ltx-2", "2.0"), ("ltx-2.3", "2.3 and 2.5"), ("ltx-2.5", "2.3 and 2.5")],
)
def test_what_a_model_needs_is_what_the_memory_page_says(checkpoint, table):
    page = (ROOT / "docs" / "memory.md").read_text()
    head, _, *lines = page[page.index(f"| {table} |") :].partition("\n\n")[0].splitlines()
    column = head.split(" | ").index("720p 5 s")
    cells = {line.split(" | ")[0].strip("| `"): line.split(" | ")[column] for line in lines}
    need = need_of(checkpoint, "fast")
    assert cells["resident"].startswith(f"{need.resident} +")
    assert cells["freed"].startswith(f"{need.least} +")
    assert need_of(checkpoint, "pro").resident == need.resident + 7


def test_the_least_cuda_is_the_one_torch_is_built_for():
    lock = (ROOT / "requirements-cuda.lock").read_text()
    toolkit = re.search(r"^cuda-toolkit==(\d+\.\d+)\.", lock, re.M)
    assert toolkit
    assert toolkit[1] == CUDA


def test_variables_are_secret_unless_they_are_known_not_to_be():
    assert set(OWN) - set(PUBLIC) <= set(known_variables())
    assert is_secret("UNKNOWN", "value")
    assert is_secret("HF_TOKEN", "value")
    assert is_secret("BUCKET_ENDPOINT_URL", "https://key:secret@store.example")
    assert not is_secret("BUCKET_ENDPOINT_URL", "https://store.example")
    assert not is_secret("HF_TOKEN", "{{ RUNPOD_SECRET_hub }}")
    assert secrets_of({"A": "1", "LTX2_MODES": "fast"}) == ["1"]


def test_the_double_refuses_what_the_api_refuses(rest):
    from ltx2.deploy.account import Account
    from ltx2.errors import BadRequest

    good = {"name": "x", "type": "QUEUE", "image": IMAGE, "gpu": {"pools": ["ADA_24"], "count": 1},
            "scaling": {"type": "REQUEST_COUNT", "requestCount": 1}}  # fmt: skip
    both = {"pools": ["ADA_24"], "minCudaVersion": "13.0", "allowedCudaVersions": ["13.0"]}
    wrong = [
        {**good, "idle": 1}, {**good, "gpu": both}, {**good, "workers": {"idleTimeout": 5}},
        {**good, "env": {"A": 1}}, {**good, "cpu": {}}, {k: good[k] for k in good if k != "image"},
        {**good, "gpu": {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA H100 80GB HBM3"]}},
    ]  # fmt: skip
    with Account(rest.key, url=f"{rest.address}/v2") as account:
        for body in wrong:
            with pytest.raises(BadRequest):
                account.create(body)
        assert account.create(good)["timeout"] == 300_000
        with pytest.raises(BadRequest, match="needs pools"):
            account.update("ep1", {"gpu": {"excludedTypes": []}})
