"""Pictures of a request: from a URL, a data URI, base64 or a path to upright sRGB pixels."""

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ltx2 import folders as allowed
from ltx2.errors import Ltx2Error, MediaRefused, TooLarge
from ltx2.forms import SCHEME, picture_form, shown
from ltx2.media.download import download, too_many_bytes
from ltx2.media.picture import Picture, decode
from ltx2.waiting import Stop, ask

__all__ = ["MediaLimits", "Picture", "fetch_all", "fetch_picture"]

_LINE_ENDS = str.maketrans("", "", "\r\n")
_URL_SAFE = str.maketrans("-_", "+/")
_DATA_URI = re.compile(r"data:[^,;]*(;[^,;]+)*,", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """What is taken of a picture. Pillow stops at 178,956,970 pixels, whatever is set here."""

    max_bytes: int = 32 * 2**20  # a 64-megapixel JPEG fits; far above what a job's JSON can carry
    max_pixels: int = 64_000_000  # 192 MB once decoded
    timeout_s: float = 20.0  # seconds for one URL, redirects included
    allow_private: bool = False  # private addresses and any port: development only


def fetch_picture(
    source: str,
    *,
    name: str,
    allow_paths: bool,
    limits: MediaLimits,
    folders: Sequence[Path] = (),
    stop: Stop | None = None,
) -> Picture:
    """The picture that `source` names or holds.

    Which it is, by these rules in this order: `http://` or `https://` begins a URL; `data:` a data
    URI; at least 16 characters of the base64 alphabet and nothing else are base64; the rest is a
    path, where `allow_paths`, or where it lies in one of `folders` and no link leads out of there.
    So a path without a dot in it may need one, as in `./name`.
    Raises MediaRefused or TooLarge with one sentence that begins with `name`, the field; and
    Cancelled or what else `stop` raises, which is asked all the time.
    """
    ask(stop)
    data = _read(source, name, allow_paths, limits, folders, stop)
    image = decode(data, name=name, max_pixels=limits.max_pixels)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(image=image, sha256=digest, width=image.width, height=image.height)


def fetch_all(
    sources: Mapping[str, str | None],
    *,
    allow_paths: bool,
    limits: MediaLimits,
    folders: Sequence[Path] = (),
    stop: Stop | None = None,
) -> dict[str, Picture]:
    """The pictures by field name, fields that are None left out.

    All of them are tried before anything is raised: one error speaks of every picture that failed,
    TooLarge where size is the only fault and MediaRefused otherwise.
    """
    pictures: dict[str, Picture] = {}
    failures: list[Ltx2Error] = []
    for name, source in sources.items():
        if source is None:
            continue
        try:
            pictures[name] = fetch_picture(
                source,
                name=name,
                allow_paths=allow_paths,
                limits=limits,
                folders=folders,
                stop=stop,
            )
        except (MediaRefused, TooLarge) as failure:
            failures.append(failure)
    if not failures:
        return pictures
    if len(failures) == 1:
        raise failures[0]
    problems = [str(failure) for failure in failures]
    if all(isinstance(failure, TooLarge) for failure in failures):
        raise TooLarge("; ".join(problems)) from failures[0]
    raise MediaRefused(problems) from failures[0]


def _read(
    source: str,
    name: str,
    allow_paths: bool,
    limits: MediaLimits,
    folders: Sequence[Path],
    stop: Stop | None,
) -> bytes:
    match picture_form(source):
        case "url":
            return download(
                source,
                name=name,
                max_bytes=limits.max_bytes,
                timeout_s=limits.timeout_s,
                allow_private=limits.allow_private,
                stop=stop,
            )
        case "data":
            return _from_data_uri(source, name, limits)
        case "base64":
            hint = "; a path needs a dot to be told from it, as in ./name" if allow_paths else ""
            return _from_base64(source, name, limits, hint)
        case None if allow_paths and not SCHEME.fullmatch(source):
            return _from_path(source, name, limits)
        case None if folders and not SCHEME.fullmatch(source):
            return _from_folder(source, name, limits, folders)
        case None:
            path = " or a path" if allow_paths else "; paths are not accepted here"
            raise MediaRefused(
                f"{name} must be an http(s) URL, a data URI or base64{path}; got {shown(source)}"
            )


def _from_data_uri(source: str, name: str, limits: MediaLimits) -> bytes:
    head = _DATA_URI.match(source[:1024])  # media types are short; the rest may be megabytes
    if head is None or not head[0].lower().endswith(";base64,"):
        raise MediaRefused(
            f"{name} must be a data URI with base64 in it, data:image/png;base64,...; "
            f"it begins with {shown(source[:32])}"
        )
    return _from_base64(source[head.end() :], name, limits, "")


def _from_base64(text: str, name: str, limits: MediaLimits, hint: str) -> bytes:
    """Strict: whole groups of four, padded; the URL-safe alphabet too, but not both mixed."""
    text = text.strip().translate(_LINE_ENDS)
    if len(text) // 4 * 3 > limits.max_bytes + 2:  # before it is decoded
        raise too_many_bytes(name, limits.max_bytes)
    if not ({"+", "/"} & set(text)):
        text = text.translate(_URL_SAFE)
    try:
        if text.count("=") > 2:  # the library takes "AAAA===="
            raise binascii.Error("excess padding")
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaRefused(
            f"{name} is not valid base64: whole groups of four letters, padded with =, no spaces "
            f"but line ends{hint}"
        ) from error
    if len(data) > limits.max_bytes:
        raise too_many_bytes(name, limits.max_bytes)
    return data


def _from_path(source: str, name: str, limits: MediaLimits) -> bytes:
    try:
        path = Path(source).expanduser()
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device may never end
            raise MediaRefused(f"{name} is not a file: {shown(source)}")
        if found.st_size > limits.max_bytes:
            raise too_many_bytes(name, limits.max_bytes)
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        raise MediaRefused(f"{name} names a file that does not exist: {shown(source)}") from error
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL; RuntimeError: ~nobody
        why = getattr(error, "strerror", None) or "no such path"
        raise MediaRefused(f"{name} cannot be read from {shown(source)}: {why.lower()}") from error
    if len(data) > limits.max_bytes:
        raise too_many_bytes(name, limits.max_bytes)
    return data


def _from_folder(source: str, name: str, limits: MediaLimits, folders: Sequence[Path]) -> bytes:
    """A file that a remote caller may name; it is looked for anew, whatever was found before."""
    try:
        with allowed.opened(Path(source), folders) as descriptor:
            if os.fstat(descriptor).st_size > limits.max_bytes:
                raise too_many_bytes(name, limits.max_bytes)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(limits.max_bytes + 1)
    except (allowed.NotThere, OSError, ValueError) as error:
        raise MediaRefused(
            f"{name} names no file that can be read here: {shown(source)}"
        ) from error
    if len(data) > limits.max_bytes:
        raise too_many_bytes(name, limits.max_bytes)
    return data
