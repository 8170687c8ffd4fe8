"""Fetch or bake weights: exactly the files a mode needs, sized before, continued after a stop,
verified at the end.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from loras import catalog
from ltx2.errors import BadRequest, ConfigError
from ltx2.hub import Gated, Hub, RemoteFile, Repository, mismatch
from ltx2.sources import Modes, Source, diffusers_sources, original_sources
from ltx2.weights import REPOSITORY_ID, cached_repository, snapshot
from pipelines.models import CHECKPOINTS, Checkpoint

State = Literal["present", "damaged", "partial", "absent"]
MARGIN = 256 * 2**20  # bytes left free for what else the machine writes meanwhile
PARTIALS = ".partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wanted. `checkpoint` None means the catalogue's LoRAs and no model, `to` None the
    hub's own cache folder.
    """

    checkpoint: str | None
    mode: Modes = "all"
    loras: bool = False
    diffusers: bool = False
    to: Path | None = None
    verify: bool = False  # read files that are there to their last byte, not just their size


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file of the order and where it stands on this machine."""

    repository: Repository
    file: RemoteFile
    path: Path  # where it can be read from when it is there
    blob: Path  # where its bytes are written; equal to `path` in a plain folder
    partial: Path
    have: int  # bytes that need not come again
    state: State
    cache: Path | None  # the hub cache folder it belongs to; None in a plain folder

    @property
    def to_fetch(self) -> int:
        """Bytes that are still to come."""
        return self.file.bytes - self.have


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """An order against this machine: every file, what is there, what must come, and the room for
    it.
    """

    order: Order
    target: Path
    items: tuple[Item, ...]
    free: int  # bytes
    licences: tuple[str, ...]
    # Why gated repositories of the catalogue are left out, whose licence nobody accepted here.
    left_out: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(item.file.bytes for item in self.items)

    @property
    def to_fetch(self) -> int:
        """Bytes that are still to come."""
        return sum(item.to_fetch for item in self.items)

    def as_dict(self) -> dict[str, Any]:
        """The survey as plain JSON types."""
        return {
            "checkpoint": self.order.checkpoint,
            "mode": self.order.mode,
            "target": str(self.target),
            "bytes": self.total,
            "bytes_to_fetch": self.to_fetch,
            "bytes_free": self.free,
            "licences": list(self.licences),
            "left_out": list(self.left_out),
            "files": [
                {
                    "repository": item.repository.name,
                    "commit": item.repository.commit,
                    "file": item.file.path,
                    "bytes": item.file.bytes,
                    "sha256": item.file.sha256,
                    "state": item.state,
                    "path": str(item.path),
                }
                for item in self.items
            ],
        }


def free_bytes(folder: Path) -> int:
    """Free space of the disk that `folder` is or will be on."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def sources_of(order: Order) -> list[Source]:
    """The repositories and files of an order. Raises BadRequest for what cannot be downloaded."""
    if order.checkpoint is None:
        return _catalogue(order)
    if REPOSITORY_ID.fullmatch(order.checkpoint):
        return [whole_repository(order, order.checkpoint)]
    row = CHECKPOINTS.get(order.checkpoint)
    if row is None or row.embedded:
        named = ", ".join(name for name, other in CHECKPOINTS.items() if not other.embedded)
        why = "comes with the package" if row else "is no checkpoint name"
        raise BadRequest(
            f"--checkpoint: {order.checkpoint!r} {why}; accepted are {named} or a repository such "
            f"as owner/name"
        )
    found = (diffusers_sources if order.diffusers else original_sources)(row, order.mode)
    return [*found, *_lora_sources(row)] if order.loras else found


def _catalogue(order: Order) -> list[Source]:
    """Every LoRA of the catalogue that has a repository. In a plain folder a distilled one lies
    where its model would, the others in `loras`.
    """
    if not order.loras or order.mode != "all" or order.diffusers:
        raise BadRequest("--mode and --diffusers are for a model; name it with --checkpoint")
    models = {row.files.repository: name for name, row in CHECKPOINTS.items()}
    return [
        _lora_source(entry, models[entry.repository] if entry.kind == "distilled" else "loras")
        for entry in catalog.entries()
        if entry.repository
    ]


def whole_repository(order: Order, repository: str) -> Source:
    """Everything loadable of a repository that no model row names."""
    refused = [
        flag
        for flag, given in (("--loras", order.loras), ("--diffusers", order.diffusers))
        if given
    ]
    if refused:
        raise BadRequest(
            f"{' and '.join(refused)} go with a checkpoint name ({', '.join(CHECKPOINTS)}), not "
            f"with a repository"
        )
    kinds = ("*.safetensors", "*.json", "*.model", "*.jinja")
    return Source(
        repository=repository,
        patterns=(),
        optional=tuple(folder + kind for folder in ("", "*/") for kind in kinds),
    )


def _lora_sources(row: Checkpoint) -> list[Source]:
    entries = [
        entry
        for entry in catalog.entries()
        if row.generation.name in entry.generations and entry.kind != "distilled"
    ]
    if not entries:
        others = sorted(
            name
            for name, other in CHECKPOINTS.items()
            if not other.embedded
            and any(
                other.generation.name in entry.generations and entry.kind != "distilled"
                for entry in catalog.entries()
            )
        )
        raise BadRequest(
            f"--loras: the catalogue has none for {row.name}; it has some for {', '.join(others)}"
        )
    return [_lora_source(entry, "loras") for entry in entries]


def _lora_source(entry: catalog.Entry, folder: str) -> Source:
    return Source(
        repository=entry.repository,
        patterns=(entry.file,),
        folder=folder,
        licence=entry.licence,
    )


def survey(
    order: Order,
    hub: Hub,
    *,
    cache: Path,
    other_caches: Iterable[Path] = (),
    free: Callable[[Path], int] = free_bytes,
) -> Survey:
    """Ask the hub what the order's files are and look for them here. Fetches nothing.

    `other_caches` are read-only hub caches, such as a worker's cached-model folder: a repository
    that lies there whole is not fetched a second time. A gated repository that this machine may not
    read is left out of an order for the catalogue, which says so, and refused in any other. Raises
    BadRequest and ConfigError as `sources_of` and `Hub.repository` do.
    """
    target = order.to or cache
    items: list[Item] = []
    problems: list[str] = []
    licences: list[str] = []
    left_out: list[str] = []
    repositories: dict[str, Repository] = {}
    for source in sources_of(order):
        try:
            if source.repository not in repositories:
                repositories[source.repository] = hub.repository(source.repository)
            repository = repositories[source.repository]
            files = _picked(source, repository)
        except ConfigError as error:
            spared = order.checkpoint is None and isinstance(error, Gated)
            (left_out if spared else problems).append(str(error))
            continue
        if source.licence and source.licence not in licences:
            licences.append(source.licence)
        if order.to is None:
            there = _whole_in(other_caches, repository, files, verify=order.verify)
            items += [
                _plain(there, there, repository, file, verify=False)
                if there
                else _cached(cache, repository, file, verify=order.verify)
                for file in files
            ]
        else:
            folder = order.to / source.folder
            items += [
                _plain(order.to, folder, repository, file, verify=order.verify) for file in files
            ]
    if problems:
        raise ConfigError("; ".join(problems))
    return Survey(
        order=order,
        target=target,
        items=tuple(items),
        free=free(target),
        licences=tuple(licences),
        left_out=tuple(left_out),
    )


def _picked(source: Source, repository: Repository) -> list[RemoteFile]:
    files = [file for file in repository.files if source.picks(file.path)]
    unsafe = [file.path for file in files if ".." in Path(file.path).parts or file.path[:1] == "/"]
    if unsafe:
        raise ConfigError(f"{repository.name}: refused file names {unsafe}")
    absent = [
        pattern
        for pattern in source.patterns
        if not any(Source(repository="", patterns=(pattern,)).picks(f.path) for f in files)
    ]
    if absent or not files:
        raise ConfigError(
            f"{repository.name} at {repository.commit[:12]} does not hold "
            f"{', '.join(absent) or 'any weights'}; "
            "it may have been renamed there"
        )
    return files


def _whole_in(
    caches: Iterable[Path], repository: Repository, files: list[RemoteFile], *, verify: bool
) -> Path | None:
    """The snapshot of a read-only cache that holds all of these files, at whatever commit it was
    filled from.
    """
    for cache in caches:
        folder = snapshot(cache, repository.name)
        if folder and all(_good(folder / file.path, file, verify=verify) for file in files):
            return folder
    return None


def _good(path: Path, file: RemoteFile, *, verify: bool) -> bool:
    return _size(path) == file.bytes and not (verify and mismatch(path, file))


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _cached(cache: Path, repository: Repository, file: RemoteFile, *, verify: bool) -> Item:
    """A file of the hub's cache. Content that another commit brought is there under the same blob
    name.
    """
    folder = cached_repository(cache, repository.name)
    path = folder / "snapshots" / repository.commit / file.path
    blob = folder / "blobs" / file.content_id
    partial = blob.with_name(f"{file.content_id}.partial")
    state, have = _state(path if path.exists() else blob, partial, file, verify=verify)
    return Item(
        repository=repository,
        file=file,
        path=path,
        blob=blob,
        partial=partial,
        have=have,
        state=state,
        cache=cache,
    )


def _plain(
    root: Path, folder: Path, repository: Repository, file: RemoteFile, *, verify: bool
) -> Item:
    """A file of a plain folder. What is half there lies in one place, so that it is easy to throw
    away.
    """
    path = folder / file.path
    partial = root / PARTIALS / file.content_id
    state, have = _state(path, partial, file, verify=verify)
    return Item(
        repository=repository,
        file=file,
        path=path,
        blob=path,
        partial=partial,
        have=have,
        state=state,
        cache=None,
    )


def _state(present: Path, partial: Path, file: RemoteFile, *, verify: bool) -> tuple[State, int]:
    if _size(present) == file.bytes:
        return ("damaged", 0) if verify and mismatch(present, file) else ("present", file.bytes)
    have = min(_size(partial) or 0, file.bytes)
    return ("partial" if have else "absent"), have


def check_room(found: Survey) -> None:
    """Raises ConfigError when what is still to come does not fit on the disk."""
    needed = found.to_fetch + MARGIN if found.to_fetch else 0
    if needed > found.free:
        raise ConfigError(
            f"{found.target}: {gigabytes(found.to_fetch)} are still to come and "
            f"{gigabytes(found.free)} are free "
            f"({gigabytes(MARGIN)} must stay free); make room or give another folder with --to"
        )


def carry_out(
    found: Survey,
    hub: Hub,
    *,
    bar: type[Any] | None = None,
    tell: Callable[[str], object] = lambda _line: None,
) -> None:
    """Fetch what is missing. Can be stopped at any time and run again; a file appears only whole
    and verified.
    """
    check_room(found)
    for number, item in enumerate(found.items, start=1):
        name = f"[{number}/{len(found.items)}] {item.repository.name}/{item.file.path}"
        if item.state != "present":
            left = gigabytes(item.to_fetch)
            tell(f"{name}: {left}" + (" left" if item.state == "partial" else ""))
            hub.fetch(item.repository, item.file, item.blob, partial=item.partial, bar=bar)
            if item.cache is not None:
                item.path.unlink(
                    missing_ok=True
                )  # a copy of the damaged bytes where links are unsupported
        if item.cache is not None and not item.path.exists():
            hub.link(item.repository, item.file, item.cache)
    for item in found.items:
        if item.cache is not None:
            _mark_main(item.cache, item.repository)
    if found.order.to is not None:
        with contextlib.suppress(OSError):  # it stays where another order has left something in it
            (found.order.to / PARTIALS).rmdir()


def _mark_main(cache: Path, repository: Repository) -> None:
    """Let `main` name this snapshot, as the library does, once everything asked of it is there."""
    ref = cached_repository(cache, repository.name) / "refs" / "main"
    if ref.is_file() and ref.read_text() == repository.commit:
        return  # nothing to write, which matters on a cache that is mounted read-only
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(repository.commit)


def gigabytes(count: int) -> str:
    """Bytes for people: decimal gigabytes, megabytes below one."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
