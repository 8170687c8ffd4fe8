"""The Hugging Face Hub as the download sees it: what a repository holds, and one file fetched,
resumed and verified.

`huggingface_hub` throws a partly fetched file away when the process ends, which for a 46 GB file
means starting over. So bytes go to a `.partial` file named after their content, which a later run
continues.
"""

import errno
import hashlib
import http
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx2.errors import ConfigError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

HASH_BLOCK = 8 * 2**20  # bytes read at a time while hashing
HUB = "https://huggingface.co"
QUIET_SECONDS = 10.0  # that a line may stand still, as in the hub's own library


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file as the hub describes it."""

    path: str  # in the repository
    bytes: int
    sha256: str | None  # of large (LFS) files
    git_oid: str | None  # of small files: sha1 of "blob <bytes>\\0" and the content

    @property
    def content_id(self) -> str:
        """Names the content; equals the file's name among the blobs of the hub's cache."""
        return self.sha256 or self.git_oid or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """What a repository holds at one commit."""

    name: str
    commit: str
    gated: bool
    files: tuple[RemoteFile, ...]


class Hub:
    """Reads repositories and their files. `endpoint` None is the library's default, which
    HF_ENDPOINT sets. `token` False asks as nobody, also where the library knows a token.
    """

    def __init__(self, *, endpoint: str | None = None, token: str | bool | None = None) -> None:
        from huggingface_hub import HfApi

        self.endpoint = endpoint
        self.token = token
        self._api = HfApi(endpoint=endpoint, token=token, library_name="ltx2")

    def repository(self, name: str) -> Repository:
        """The files of a repository with sizes and checksums, and whether this token may read them.

        Raises ConfigError in one sentence when it cannot be reached, is gated for this token, or
        does not exist.
        """
        with explained(name, self.token):
            info = self._api.model_info(name, files_metadata=True)
            if info.gated:
                # The listing of a gated repository is public, its files are not: ask before
                # anything is fetched.
                self._api.auth_check(name)
        if info.sha is None:
            raise ConfigError(f"{name}: the hub named no commit")
        files = tuple(_remote_file(name, sibling) for sibling in info.siblings or [])
        return Repository(name=name, commit=info.sha, gated=bool(info.gated), files=files)

    def fetch(
        self,
        repository: Repository,
        file: RemoteFile,
        target: Path,
        *,
        partial: Path,
        bar: type[Any] | None = None,
    ) -> None:
        """Fetch one file to `target`: continued from `partial`, verified, and moved into place
        whole.

        After a failure `partial` keeps what has come, but for a checksum that does not fit: those
        bytes are deleted.
        """
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        partial.parent.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        have = partial.stat().st_size if partial.exists() else 0
        if have > file.bytes:
            partial.unlink()
            have = 0
        # The address is asked anew each time: what it redirects to is signed and expires.
        url = hf_hub_url(
            repository.name, file.path, revision=repository.commit, endpoint=self.endpoint
        )
        headers = build_hf_headers(token=self.token, library_name="ltx2")
        headers["Accept-Encoding"] = "identity"  # a compressed answer could not be continued
        with explained(f"{repository.name}/{file.path}", self.token), partial.open("ab") as out:
            http_get(
                url,
                out,
                resume_size=have,
                headers=headers,
                expected_size=file.bytes,
                displayed_filename=file.path,
                tqdm_class=bar,
            )
        problem = mismatch(partial, file)
        if problem:
            partial.unlink()
            raise ConfigError(
                f"{repository.name}/{file.path}: {problem}; the bytes were deleted, run the "
                f"download again"
            )
        partial.replace(target)

    def start(self, repository: Repository, file: RemoteFile, count: int) -> bytes:
        """The first `count` bytes of a file; fewer where it has no more."""
        found = bytearray()
        with closing(self.pieces(repository, file, 0, count)) as pieces:
            for piece in pieces:
                found += piece
                if len(found) >= count:
                    break  # the range is a wish that a server may not know
        return bytes(found[:count])

    def pieces(
        self, repository: Repository, file: RemoteFile, first: int, end: int | None = None
    ) -> Generator[bytes]:
        """The bytes of a file from `first` on, as they come, and to `end` where a server knows how.

        Raises ConfigError where the line breaks or stands still.
        """
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        what = f"{repository.name}/{file.path}"
        url = hf_hub_url(
            repository.name, file.path, revision=repository.commit, endpoint=self.endpoint
        )
        headers = build_hf_headers(token=self.token, library_name="ltx2")
        headers["Accept-Encoding"] = "identity"
        if first or end is not None:
            headers["Range"] = f"bytes={first}-{'' if end is None else end - 1}"
        with (
            explained(what, self.token),
            get_session().stream("GET", url, headers=headers, timeout=QUIET_SECONDS) as response,
        ):
            hf_raise_for_status(response)
            if first and response.status_code != http.HTTPStatus.PARTIAL_CONTENT:
                raise ConfigError(f"{what}: the hub does not continue a file")
            yield from response.iter_bytes()

    def link(self, repository: Repository, file: RemoteFile, cache: Path) -> Path:
        """Let the hub's library enter a blob that is in its cache folder into the snapshot. Fetches
        nothing.
        """
        from huggingface_hub import hf_hub_download

        with explained(f"{repository.name}/{file.path}", self.token):
            return Path(
                hf_hub_download(
                    repository.name,
                    file.path,
                    revision=repository.commit,
                    cache_dir=cache,
                    endpoint=self.endpoint,
                    token=self.token,
                )
            )


def _remote_file(repository: str, sibling: "RepoSibling") -> RemoteFile:
    if sibling.size is None:
        raise ConfigError(f"{repository}/{sibling.rfilename}: the hub named no size")
    return RemoteFile(
        path=sibling.rfilename,
        bytes=sibling.size,
        sha256=sibling.lfs.sha256 if sibling.lfs else None,
        git_oid=None if sibling.lfs else sibling.blob_id,
    )


def mismatch(path: Path, file: RemoteFile) -> str | None:
    """What is wrong with the local copy, read to its last byte; None when it is the file the hub
    describes.
    """
    size = path.stat().st_size
    if size != file.bytes:
        return f"has {size:,} bytes, the hub says {file.bytes:,}"
    if file.sha256 is not None:
        digest, expected, kind = hashlib.sha256(), file.sha256, "sha256"
    elif file.git_oid is not None:
        # Git names content by SHA-1 over a small header; it guards against damage here, not against
        # malice.
        digest, expected, kind = hashlib.sha1(usedforsecurity=False), file.git_oid, "git id"
        digest.update(f"blob {size}\0".encode())
    else:
        return "has no checksum on the hub"
    with path.open("rb") as content:
        while block := content.read(HASH_BLOCK):
            digest.update(block)
    actual = digest.hexdigest()
    return None if actual == expected else f"has {kind} {actual}, the hub says {expected}"


class Gated(ConfigError):
    """A repository that this machine may not read until its licence is accepted."""


@contextmanager
def explained(what: str, token: str | bool | None) -> Iterator[None]:
    """Turn the library's network errors into one sentence that says what to do."""
    import httpx2
    from huggingface_hub import errors

    repository = "/".join(what.split("/")[:2])
    try:
        yield
    except errors.GatedRepoError as error:
        raise Gated(_gated(repository, token)) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        known = "with the token given" if token else "without a token (HF_TOKEN is not set)"
        raise ConfigError(
            f"{repository}: no such repository is visible {known}; "
            f"see {HUB}/{repository}, and {HUB}/settings/tokens for a token with read access"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ConfigError(f"{what}: the repository does not hold this file any more") from error
    except errors.OfflineModeIsEnabled as error:
        raise ConfigError(f"{what}: HF_HUB_OFFLINE is set; unset it to download") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise Gated(_gated(repository, token)) from error
        raise ConfigError(f"{what}: the hub answered {status}; try again later") from error
    except (httpx2.HTTPError, TimeoutError, ConnectionError) as error:
        raise ConfigError(
            f"{what}: the connection failed ({type(error).__name__}); run the same command again, "
            "it continues where it stopped"
        ) from error
    except OSError as error:
        # After the network errors, many of which are OSErrors too: what is left is the disk or a
        # short answer.
        what_to_do = "make room and run" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "run"
        raise ConfigError(f"{what}: {error}; {what_to_do} the same command again") from error


def _gated(repository: str, token: str | bool | None) -> str:
    fault = (
        "the token in HF_TOKEN has no access to it"
        if token
        else "no token is set (HF_TOKEN is empty)"
    )
    return (
        f"{repository} is gated and {fault}: accept its licence at {HUB}/{repository}, then set "
        f"HF_TOKEN to a token "
        f"from {HUB}/settings/tokens that may read gated repositories"
    )
