"""LoRAs from a URL or a hub repository, fetched once and kept by their content. No torch.

A file is judged by its header before the rest of it is fetched, and appears in the folder whole or
not at all. It is named by its SHA-256, so that a plan finds it again by what its adapter names.
"""

import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from loras import headers
from loras.headers import Header
from ltx2.errors import BadRequest, ConfigError, MediaRefused, TooLarge
from ltx2.files import digest_of
from ltx2.forms import lora_form, lora_name
from ltx2.hub import Hub, RemoteFile, Repository
from ltx2.media.download import Answer, fetching
from ltx2.waiting import Stop, aside
from ltx2.weights import cached_repository, snapshot

# Why a header is none of a file that can act, or None; it is asked before the rest is fetched.
Check = Callable[[Header, str], str | None]

CHUNK = 2**20  # bytes
# Of a file that anybody may name: a LoRA of every layer needs one or two million.
HEADER_BYTES = 16_000_000
STALE_SECONDS = 86_400.0  # after this a half file belongs to nobody who still runs
TRIES = 5  # for a file whose line breaks, as many as the hub's own library makes
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PARTIALS, _NOTES = ".partial", ".urls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A LoRA on this machine."""

    file: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSources:
    """Where LoRAs come from and where they are kept: `folder`, and before it the hub's caches."""

    folder: Path
    hub_caches: tuple[Path, ...]
    max_bytes: int  # of one file
    kept_bytes: int  # of all files in `folder`
    timeout_s: float  # for one file
    allow_private: bool
    endpoint: str | None
    token: str | None
    offline: bool

    def fetch(
        self, source: str, *, name: str, check: Check, trusted: bool, stop: Stop | None = None
    ) -> Fetched:
        """The file behind a URL or `owner/name:file`. `name` is the field that errors speak of.

        Only for a `trusted` caller is the hub asked with this machine's token. Raises BadRequest
        for what cannot be had or is refused by `check`, TooLarge for what is too heavy, and
        ConfigError where it cannot be kept. `stop` is asked all the time; what it raises, or
        Cancelled, ends the fetching.
        """
        if lora_form(source) == "repository":
            found = self._from_hub(source, name, check, trusted, stop)
        else:
            found = self._from_url(source, name, check, stop)
        if found.file.parent == self.folder:
            _mark_used(found.file)
        return found

    def find(self, source: str, sha256: str) -> Path | None:
        """A file that was fetched before, by its source and content; None where it is gone."""
        if not _SHA256.fullmatch(sha256):  # a plan may come from anywhere
            return None
        kept = self.folder / f"{sha256}.safetensors"
        if kept.is_file():
            return kept
        if lora_form(source) != "repository":
            return None
        repository, _, path = source.partition(":")
        for cache in self.hub_caches:
            blob = cached_repository(cache, repository) / "blobs" / sha256
            if blob.is_file():
                return blob
            folder = snapshot(cache, repository)
            if folder and (folder / path).is_file() and sha256_of(folder / path) == sha256:
                return folder / path
        return None

    def prune(self, keep: set[Path]) -> None:
        """Delete what was used longest ago beyond `kept_bytes`, but nothing of `keep`."""
        if not self.folder.is_dir():
            return
        for partial in self.folder.glob(f"{_PARTIALS}/*"):
            with suppress(FileNotFoundError):
                if time.time() - partial.stat().st_mtime > STALE_SECONDS:
                    partial.unlink()
        files: list[tuple[float, int, Path]] = []
        for file in self.folder.glob("*.safetensors"):
            with suppress(FileNotFoundError):  # another process may prune, too
                found = file.stat()
                files.append((found.st_atime, found.st_size, file))
        total = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if total <= self.kept_bytes:
                return
            if file not in keep:
                file.unlink(missing_ok=True)
                total -= size

    def _from_url(self, url: str, name: str, check: Check, stop: Stop | None) -> Fetched:
        note = self.folder / _NOTES / f"{hashlib.sha256(url.encode()).hexdigest()}.json"
        known = self._known(note)
        wanted = {"Accept": "application/octet-stream, */*"}
        if known:
            conditions = {"If-None-Match": known.get("etag"),
                          "If-Modified-Since": known.get("modified")}  # fmt: skip
            wanted |= {header: value for header, value in conditions.items() if value}
        try:
            with fetching(
                url,
                name=name,
                timeout_s=self.timeout_s,
                allow_private=self.allow_private,
                headers=wanted,
                stop=stop,
            ) as answer:
                if known and answer.status == 304:
                    file = self.folder / f"{known['sha256']}.safetensors"
                    _refuse_by(check, headers.read(file), lora_name(url), name)
                    return Fetched(file=file, sha256=known["sha256"])
                answer.refuse_unless_whole()
                found = self._keep(answer, lora_name(url), name, check)
                tags = {"etag": answer.header("ETag"), "modified": answer.header("Last-Modified")}
        except MediaRefused as error:  # it speaks of a picture's place, which this is not
            raise BadRequest(error.problems) from error
        if any(tags.values()):
            with self._keeping():
                _write(note, json.dumps({"sha256": found.sha256, **tags}))
        return found

    def _known(self, note: Path) -> dict[str, str]:
        """What was kept of an address, where the file is still there."""
        try:
            known: dict[str, str] = json.loads(note.read_text(encoding="utf-8"))
            there = (self.folder / f"{known['sha256']}.safetensors").is_file()
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return known if there else {}

    def _keep(self, answer: Answer, file_name: str, name: str, check: Check) -> Fetched:
        """The body of an answer as a file named by its content."""
        start = answer.read(headers.LENGTH_BYTES)
        try:
            length = headers.length_of(start, name=file_name, most=HEADER_BYTES)
            text = answer.read(length)
            header = headers.parse(text, name=file_name)
        except ValueError as error:
            raise BadRequest(f"{name}: {error}") from error
        self._refuse_by_size(header.nbytes, name)
        if answer.length not in (None, header.nbytes):
            raise BadRequest(
                f"{name}: {file_name} has {answer.length} bytes, its header promises "
                f"{header.nbytes}"
            )
        _refuse_by(check, header, file_name, name)
        with self._partial() as (path, out):
            digest = hashlib.sha256(start + text)
            out.write(start + text)
            left = header.nbytes - len(start) - length
            while chunk := answer.read(min(CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    break
                digest.update(chunk)
                out.write(chunk)
            if left:
                raise BadRequest(f"{name}: {file_name} does not end where its header promises")
            out.close()
            kept = self.folder / f"{digest.hexdigest()}.safetensors"
            path.replace(kept)
        return Fetched(file=kept, sha256=digest.hexdigest())

    @contextmanager
    def _partial(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """A file for what is still coming; gone afterwards unless it was moved."""
        folder = self.folder / _PARTIALS
        with self._keeping():
            folder.mkdir(parents=True, exist_ok=True)
            handle, path = tempfile.mkstemp(dir=folder)
            try:
                with os.fdopen(handle, "wb") as out:
                    yield Path(path), out
            finally:
                Path(path).unlink(missing_ok=True)

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Errors of the disk as one sentence."""
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"LoRAs cannot be kept in {self.folder}: {error.strerror or error}; make room or "
                "set LTX2_CACHE to a folder that can be written to"
            ) from error

    def _refuse_by_size(self, nbytes: int, name: str) -> None:
        if nbytes > self.max_bytes:
            raise TooLarge(too_many(name, nbytes, self.max_bytes))

    def _from_hub(
        self, source: str, name: str, check: Check, trusted: bool, stop: Stop | None
    ) -> Fetched:
        repository_name, _, path = source.partition(":")
        if self.offline:
            return self._from_cache(repository_name, path, name, check)
        hub = Hub(endpoint=self.endpoint, token=self.token if trusted else False)
        deadline = time.monotonic() + self.timeout_s

        def late_or_stopped() -> bool:
            if time.monotonic() >= deadline:
                raise BadRequest(f"{name}: it was not fetched within {self.timeout_s:g} s")
            return stop is not None and stop()

        def judged(_left_behind: threading.Event) -> tuple[_OnHub, Path | None]:
            try:
                repository = hub.repository(repository_name)
                file, sha256 = _file_of(repository, path, name)
                self._refuse_by_size(file.bytes, name)
                there = self.find(source, sha256)
                header = headers.read(there) if there else _header_of(hub, repository, file)
                _refuse_by(check, header, lora_name(source), name)
            except (ConfigError, ValueError) as error:  # of the hub, about what the request names
                raise BadRequest(f"{name}: {error}") from error
            return _OnHub(repository=repository, file=file, sha256=sha256), there

        found, there = aside(judged, stop=late_or_stopped, name="hub")
        if there:
            return Fetched(file=there, sha256=found.sha256)
        kept = self.folder / f"{found.sha256}.safetensors"

        def fetched(left_behind: threading.Event) -> None:
            self._keep_from_hub(hub, found, kept, name, left_behind)

        aside(fetched, stop=late_or_stopped, name="hub")
        return Fetched(file=kept, sha256=found.sha256)

    def _keep_from_hub(
        self, hub: Hub, found: "_OnHub", kept: Path, name: str, left_behind: threading.Event
    ) -> None:
        """A file of a repository in the folder. A line that breaks is continued, a few times."""
        with self._partial() as (path, out):
            digest, have = hashlib.sha256(), 0
            for left in reversed(range(TRIES)):
                try:
                    with closing(hub.pieces(found.repository, found.file, have)) as pieces:
                        for piece in pieces:
                            if left_behind.is_set():
                                return
                            have += len(piece)
                            if have > found.file.bytes:
                                raise BadRequest(f"{name}: the hub sent more than it promised")
                            digest.update(piece)
                            out.write(piece)
                except ConfigError as error:  # its advice is for a download that is continued
                    if not left or left_behind.is_set():
                        raise BadRequest(f"{name}: {str(error).partition(';')[0]}") from error
                if have == found.file.bytes:
                    break
            if digest.hexdigest() != found.sha256:
                raise BadRequest(
                    f"{name}: {found.repository.name}/{found.file.path} has sha256 "
                    f"{digest.hexdigest()}, the hub says {found.sha256}"
                )
            out.close()
            path.replace(kept)

    def _from_cache(self, repository: str, path: str, name: str, check: Check) -> Fetched:
        """A file that a download brought, where the hub is not to be asked."""
        for cache in self.hub_caches:
            folder = snapshot(cache, repository)
            file = folder / path if folder else None
            if file is None or not file.is_file():
                continue
            try:
                _refuse_by(check, headers.read(file), file.name, name)
            except ValueError as error:
                raise BadRequest(f"{name}: {error}") from error
            return Fetched(file=file, sha256=sha256_of(file))
        raise BadRequest(
            f"{name}: {repository}:{path} is not in the hub's cache, and HF_HUB_OFFLINE is set"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnHub:
    """A file of a repository."""

    repository: Repository
    file: RemoteFile
    sha256: str


def too_many(name: str, nbytes: int, most: int) -> str:
    """What is said of a file that is too heavy."""
    return f"{name} has {nbytes:,} bytes; a LoRA may have {most:,} here (LTX2_MAX_LORA_BYTES)"


def sha256_of(file: Path) -> str:
    """The sha256 of a file, computed again only where its size or time has changed."""
    found = file.stat()
    return _sha256(file.absolute(), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(file: Path, _size: int, _time: int) -> str:
    return digest_of(file)


def _file_of(repository: Repository, path: str, name: str) -> tuple[RemoteFile, str]:
    """A file of a repository by its path, and its sha256.

    Raises BadRequest that lists the files which are there.
    """
    files = {file.path: file for file in repository.files if file.path.endswith(".safetensors")}
    if path not in files:
        listed = ", ".join(sorted(files)[:8]) or "no .safetensors file"
        raise BadRequest(f"{name}: {repository.name} holds {listed}; {path} is not among them")
    if (sha256 := files[path].sha256) is None:
        raise BadRequest(f"{name}: the hub names no SHA-256 for {repository.name}:{path}")
    return files[path], sha256


def _header_of(hub: Hub, repository: Repository, file: RemoteFile) -> Header:
    """A file's header from its first bytes. Raises ValueError as `loras.headers` does."""
    shown = Path(file.path).name
    start = hub.start(repository, file, headers.LENGTH_BYTES)
    length = headers.length_of(start, name=shown, most=HEADER_BYTES)
    text = hub.start(repository, file, headers.LENGTH_BYTES + length)[headers.LENGTH_BYTES :]
    header = headers.parse(text, name=shown)
    if header.nbytes != file.bytes:
        raise ValueError(f"{shown} has {file.bytes} bytes, its header promises {header.nbytes}")
    return header


def _refuse_by(check: Check, header: Header, file_name: str, name: str) -> None:
    if problem := check(header, file_name):
        raise BadRequest(f"{name}: {problem}")


def _mark_used(file: Path) -> None:
    """The time of use alone: the time of change names the content for those who keep it loaded."""
    with suppress(OSError):  # a folder that is mounted read-only has no such times
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))


def _write(file: Path, text: str) -> None:
    """A small file, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, path = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        Path(path).replace(file)
    finally:
        Path(path).unlink(missing_ok=True)
