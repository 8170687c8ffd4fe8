"""A real S3 server on loopback: rclone's, which checks signatures, also those of links."""

import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ltx2.delivery.s3 import S3Config

ACCESS_KEY, SECRET_KEY = "ACCESS-KEY-OF-TESTS", "SECRET-KEY-OF-TESTS"
BUCKET = "clips"
# How long rclone believes what it knows of a folder. Never 0s: then it reads folders again and
# again without a pause, which takes every core from the tests.
BELIEVES = "20ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running server; `folder` holds its buckets as folders."""

    url: str
    folder: Path

    @property
    def objects(self):
        """What lies in the bucket, by key."""
        bucket = self.folder / BUCKET
        return {
            str(file.relative_to(bucket)): file.read_bytes()
            for file in sorted(bucket.rglob("*"))
            if file.is_file()
        }


def program():
    """The rclone that came with the tests' packages."""
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.is_file() else shutil.which("rclone")
    assert found, "rclone is missing: it comes with the development packages"
    return found


@contextmanager
def serving_s3(folder):
    """A server with one bucket over `folder`."""
    (folder / BUCKET).mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        program(), "serve", "s3", "--addr", f"127.0.0.1:{port}",
        "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", "/dev/null",
        "--dir-cache-time", BELIEVES, str(folder),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield S3Server(url=f"http://127.0.0.1:{port}", folder=folder)
    finally:
        process.terminate()
        process.wait(timeout=120)


def _wait_for(port, process, seconds=120.0):
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "rclone ended by itself"
            assert time.monotonic() < end, "rclone does not answer"
            time.sleep(0.02)
        else:
            return


def config(url, **changes):
    """A store at an address of loopback."""
    values = {
        "endpoint": url,
        "host": "127.0.0.1",
        "bucket": BUCKET,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "region": "us-east-1",
        **changes,
    }
    return S3Config(**values)
