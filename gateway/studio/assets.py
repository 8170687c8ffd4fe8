"""Stylesheet, scripts, icons and fonts: served under an address that changes with their bytes."""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
ROOT = "/studio/static"
_TYPES = {".js": "text/javascript", ".woff2": "font/woff2", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Assets:
    """The files by their name under `static/`, and the digest of all of them."""

    files: Mapping[str, bytes]
    digest: str

    def address(self, name: str) -> str:
        """Where a page finds a file. Raises KeyError for one that is not there."""
        if name not in self.files:
            raise KeyError(f"no such asset: {name}")
        return f"{ROOT}/{self.digest}/{name}"

    def answer(self, digest: str, name: str) -> Response:
        """The file. Kept for good by browsers where the digest is the present one."""
        content = self.files.get(name)
        if content is None:
            return Response(status_code=404)
        suffix = Path(name).suffix
        kept = "public, max-age=31536000, immutable" if digest == self.digest else "no-cache"
        return Response(
            content,
            media_type=_TYPES.get(suffix) or mimetypes.guess_type(name)[0],
            headers={"cache-control": kept},
        )


def load(folder: Path = FOLDER) -> Assets:
    """All files of the folder, read once."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    total = hashlib.sha256()
    for name, content in files.items():
        total.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return Assets(files, total.hexdigest()[:12])
