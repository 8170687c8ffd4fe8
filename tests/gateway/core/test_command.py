"""`ltx2 gateway`: what an operator does, by the command and its environment."""

import json
import sys
from contextlib import closing

import pytest

from ltx2 import gateway_entry
from ltx2.cli import main
from ltx2.gateway_settings import GatewaySettings
from tests.gateway.fake_runpod import FakeRunPod
from tests.gateway.house import FORM, House


@pytest.fixture
def operator(database_url, tmp_path, monkeypatch, capsys):
    """Runs a command on a database of its own: exit code, stdout, stderr."""
    for name in ("LTX2_GATEWAY_WORKER", "RUNPOD_API_KEY", "LTX2_SERVE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LTX2_GATEWAY_DATABASE", database_url)
    monkeypatch.setenv("LTX2_GATEWAY_FOLDER", str(tmp_path / "data"))

    def run(*arguments):
        capsys.readouterr()
        code = main(["gateway", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_an_account_a_key_and_credits_are_made_and_listed(operator):
    code, out, _ = operator("account", "Ada", "--credits", "50")
    account = out.strip()
    assert code == 0
    assert operator("grant", account, "25", "--note", "sorry")[0] == 0
    _, out, _ = operator("account", "--json")
    assert json.loads(out) == [{"id": account, "name": "Ada", "available": 75, "held": 0}]
    code, out, _ = operator("adjust", account, "-20", "--note", "counted twice", "--json")
    assert json.loads(out) == {"id": account, "adjusted": -20, "available": 55}
    code, _, told = operator("adjust", account, "-56", "--note", "too much")
    assert (code, "55" in told) == (2, True)
    assert "60 credits" in operator("adjust", account, "5", "--note", "a little more")[2]
    code, key, told = operator("key", account, "--name", "laptop")
    assert (code, key.startswith("ltx2_"), "shown this once" in told) == (0, True, True)
    ((listed),) = json.loads(operator("key", account, "--json")[1])
    assert key.strip().startswith(listed["begins"].rstrip("…"))
    assert operator("key", account, "--revoke", listed["id"])[0] == 0
    assert json.loads(operator("key", account, "--json")[1])[0]["state"] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("grant", "acc_x", "5", "--note", "n"), "there is no account 'acc_x'"),
        (("grant", "acc_x", "0", "--note", "n"), "N must be a whole number from 1"),
        (("grant", "acc_x", "5"), "--note"),
        (("adjust", "acc_x", "-5", "--note", "n"), "there is no account 'acc_x'"),
        (("adjust", "acc_x", "0", "--note", "n"), "N without its sign must be a whole number from"),
        (("account", "Ada", "--credits", "-1"), "--credits must be a whole number from 0"),
        (("key", "acc_x"), "there is no account"),
        (("key", "acc_x", "--name", "a", "--revoke", "b"), "give one of them"),
        (("redeliver", "evt_x"), "there is no event 'evt_x'"),
        (("serve", "--port", "x"), "--port must be a whole number"),
        (("account", "--jsn"), "did you mean --json"),
    ],
)
def test_what_an_operator_can_get_wrong_is_a_sentence_and_exit_2(operator, arguments, says):
    code, out, told = operator(*arguments)
    assert (code, out) == (2, "")
    assert says in told


def test_serving_without_a_worker_or_its_key_is_refused_with_what_is_missing(operator, monkeypatch):
    code, _, told = operator("serve", "--port", "0")
    assert (code, "LTX2_GATEWAY_WORKER is missing" in told) == (1, True)
    monkeypatch.setenv("LTX2_GATEWAY_WORKER", "endpoint1")
    code, _, told = operator("serve", "--port", "0")
    assert (code, "RUNPOD_API_KEY is missing" in told) == (1, True)
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_x")
    monkeypatch.setenv("LTX2_GATEWAY_STORE", "s3")
    code, _, told = operator("serve", "--port", "0")
    assert (code, "BUCKET_ENDPOINT_URL" in told) == (1, True)


def test_the_doctor_looks_at_credits_worker_and_store(
    operator, database_url, tmp_path, monkeypatch
):
    runpod = FakeRunPod()
    house = House(database_url, tmp_path, runpod=runpod)
    try:
        monkeypatch.setenv("LTX2_GATEWAY_WORKER", runpod.url)
        monkeypatch.setenv("LTX2_SERVE_KEY", runpod.key)
        house.desk.create(house.account, FORM)
        code, out, _ = operator("doctor", "--json")
        assert (code, json.loads(out)["ok"]) == (0, True)
        monkeypatch.setenv("LTX2_SERVE_KEY", "another")
        code, _, told = operator("doctor")
        assert code == 1
        assert "ledger: ok" in told
        assert "worker: the worker's endpoint answered 401" in told
    finally:
        house.close()


@pytest.mark.parametrize(
    ("checkpoint", "modes", "says"),
    [
        ("ltx-2", "all", "the worker runs the checkpoint ltx-2, and LTX2_GATEWAY_CHECKPOINT says"),
        ("ltx-2.3", "fast", "has loaded the modes fast, and LTX2_GATEWAY_MODES says all"),
    ],
)
def test_a_worker_of_ones_own_that_runs_something_else_is_refused(
    operator, monkeypatch, checkpoint, modes, says
):
    with closing(FakeRunPod()) as runpod:
        runpod.checkpoint, runpod.modes = checkpoint, modes
        monkeypatch.setenv("LTX2_GATEWAY_WORKER", runpod.url)
        monkeypatch.setenv("LTX2_GATEWAY_MODES", "all")
        monkeypatch.setenv("LTX2_SERVE_KEY", runpod.key)
        code, _, told = operator("serve", "--port", "0")
        assert (code, says in told) == (1, True)
        code, _, told = operator("doctor")
        assert code == 1
        (line,) = [line for line in told.splitlines() if "worker: " in line]
        assert says in line


def test_a_database_that_is_away_is_a_sentence(operator, monkeypatch):
    monkeypatch.setenv("LTX2_GATEWAY_DATABASE", "postgresql://x:hunter2@127.0.0.1:9/x")
    code, _, told = operator("migrate")
    assert code == 1
    assert "the database cannot be used" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("LTX2_GATEWAY_PUBLIC_URL", "http://x", "https address"),
        ("LTX2_GATEWAY_WORKER", "no such thing!", "id of a RunPod endpoint"),
        ("LTX2_GATEWAY_TTL_SECONDS", "20", "at least the 1800 s"),
        ("LTX2_GATEWAY_STORE", "tape", "one of folder, s3"),
        ("LTX2_GATEWAY_FODLER", "x", "did you mean LTX2_GATEWAY_FOLDER"),
    ],
)
def test_settings_that_cannot_be_are_refused(operator, monkeypatch, variable, value, says):
    monkeypatch.setenv(variable, value)
    code, _, told = operator("migrate")
    assert (code, says in told) == (1, True)


def test_secrets_of_the_settings_are_never_shown():
    settings = GatewaySettings(database="postgresql://a:hunter2@h/n", metrics_key="hunter2")
    assert "hunter2" not in repr(settings) + str(settings.as_dict())


def test_where_the_gateway_is_not_installed_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(gateway_entry, "COMMAND", "gateway_that_is_not_there.command")
    assert main(["gateway"]) == 1
    assert "pip install 'ltx2[gateway]'" in capsys.readouterr().err


def test_the_command_line_loads_no_database_before_it_is_asked_to():
    heavy = {"sqlalchemy", "fastapi", "torch"}
    import subprocess

    code = (
        "import sys; from ltx2.cli import build_parser; build_parser();"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
