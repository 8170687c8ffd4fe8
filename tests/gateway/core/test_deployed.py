"""gateway.deployed: what a worker of one's own says, or does not."""

import socket
import threading
import time

import pytest

from gateway import deployed
from gateway.backends import Unreachable
from ltx2.gateway_settings import GatewaySettings


@pytest.fixture
def silent():
    """The address of a worker that takes lines and never answers, as one may that still loads."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take():
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v2/local"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    for line in kept:
        line.close()


def test_a_worker_that_does_not_answer_is_waited_for_a_moment(silent, monkeypatch, capsys):
    monkeypatch.setattr(deployed, "ASK_SECONDS", 1.0)
    settings = GatewaySettings(worker=silent)
    began = time.monotonic()
    with pytest.raises(Unreachable):
        deployed.ask_worker(settings)
    deployed.refuse_another(settings)
    assert time.monotonic() - began < 20
    assert "the worker does not say now which checkpoint it runs" in capsys.readouterr().err


def test_runpods_workers_are_not_asked():
    assert deployed.ask_worker(GatewaySettings(worker="an-endpoint")) is None
