"""What of a batch is done: a folder of clips, one file of results, and a lock on what is at work.

Any number of processes may use one folder. A clip appears in it whole, then its line in
`results.jsonl`; both together mean done. A lock belongs to its process: the system takes it back
when the process ends, however that is.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx2.errors import ConfigError, DeliveryFailed
from ltx2.files import cannot_write

if TYPE_CHECKING:
    from ltx2.media.encode import Encoded
    from pipelines.plan import Plan, RestorePlan

RESULTS = "results.jsonl"
WORK = ".work"

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToBatch:
    """Writes a clip in a folder that is not looked at, then puts it in its place."""

    work: Path
    target: Path

    def path(self, plan: "Plan | RestorePlan") -> Path:  # noqa: ARG002 - every delivery is asked so
        """Where it is written."""
        return self.work / self.target.name

    def hand_over(self, encoded: "Encoded") -> dict[str, str]:
        """Put it in its place, over an older one of the same name."""
        try:
            encoded.path.replace(self.target)
        except OSError as error:
            raise cannot_write(self.target, error) from error
        return {"video_url": self.target.as_uri()}


class Ledger:
    """The folder of a batch; use it in a `with`.

    Raises DeliveryFailed for a folder that cannot be written and ConfigError for one that has no
    locks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._work = self.folder / WORK
        self._in_use = -1

    def __enter__(self) -> "Ledger":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            while self._in_use < 0:
                self._in_use = self._entered()
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        """Whoever leaves last takes the folder of work away."""
        if _locked(self._in_use, fcntl.LOCK_EX):
            shutil.rmtree(self._work, ignore_errors=True)
        os.close(self._in_use)
        self._in_use = -1

    def _entered(self) -> int:
        """A file that everyone here holds, or -1 where somebody has just taken it away."""
        self._work.mkdir(exist_ok=True)
        path = self._work / "in-use"
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        _lock(handle, fcntl.LOCK_SH, self.folder)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)
        return -1

    def clip(self, key: str) -> Path:
        """The file of a job."""
        return self.folder / f"{key}.mp4"

    def records(self) -> dict[str, Record]:
        """The latest result or error of each job."""
        path = self.folder / RESULTS
        content = path.read_bytes() if path.exists() else b""
        latest: dict[str, Record] = {}
        for line in content[: content.rfind(b"\n") + 1].splitlines():
            record = json.loads(line)
            latest[record["job"]] = record
        return latest

    def is_done(self, record: Mapping[str, Any] | None) -> bool:
        """Whether a record is a result whose clip is still there."""
        if record is None or "error" in record:
            return False
        clip = self.clip(record["job"])
        return clip.is_file() and clip.stat().st_size == record["bytes"]

    def add(self, record: Record) -> Record:
        """Keep a result or an error, with the time; what is kept."""
        record = {**record, "finished_at": now()}
        path = self.folder / RESULTS
        try:
            with path.open("a+b") as file:
                _lock(file.fileno(), fcntl.LOCK_EX, self.folder)
                _cut_torn_line(file)
                file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(path, error) from error
        return record

    @contextlib.contextmanager
    def claimed(self, key: str) -> Iterator[ToBatch | None]:
        """The right to work on a job, and where its clip goes; None where another process has it.

        What a lost process left of this job is gone afterwards.
        """
        handle = os.open(self._work / f"{key}.lock", os.O_CREAT | os.O_RDWR, 0o666)
        try:
            if not _locked(handle, fcntl.LOCK_EX):
                yield None
                return
            work = self._work / key
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                yield ToBatch(work, self.clip(key))
            finally:
                shutil.rmtree(work, ignore_errors=True)
        finally:
            os.close(handle)


def now() -> str:
    """The time as records have it; later times sort behind earlier ones."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _lock(handle: int, kind: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, kind)
    except OSError as error:
        raise ConfigError(
            f"{folder} is on a file system without locks ({error.strerror}), which keep two "
            "processes from the same work; give another folder"
        ) from error


def _locked(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cut_torn_line(file: Any) -> None:  # noqa: ANN401 - a file opened with "a+b"
    """Cut off what a machine that went down has left of a line."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def writable(folder: Path) -> list[str]:
    """Why results could not be written there, found before anything is loaded."""
    try:
        with Ledger(folder):
            return []
    except (DeliveryFailed, ConfigError) as error:
        return [f"--out: {error}"]
