"""Which weights are on this machine: from a checkpoint's name to a folder, with the reason in
words. No network, no torch.

A real model is looked for in this order: the configured weights folder, a worker's cached-model
folder, weights baked into the image, a network volume, the hub's cache. The first place that holds
all files of the mode wins. The embedded checkpoint is in the package and nowhere else.
"""

import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ltx2.errors import BadRequest, ConfigError
from ltx2.sources import (
    DIFFUSERS_REPOSITORIES,
    Modes,
    download_command,
    original_files,
    text_encoder_folder,
)
from pipelines.models import CHECKPOINTS, Checkpoint
from pipelines.plan import Mode
from pipelines.tiny import WEIGHTS as EMBEDDED

if TYPE_CHECKING:
    from loras.catalog import Entry
    from ltx2.settings import Settings
    from pipelines.checkpoints.files import Weights

Layout = Literal["original", "diffusers", "file"]
REPOSITORY_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REAL = tuple(name for name, row in CHECKPOINTS.items() if not row.embedded)
# What `auto` prefers: the newest model that everyone may fetch, then older, then the gated one.
AUTO_ORDER = ("ltx-2.3", "ltx-2", "ltx-2.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A checkpoint on this machine."""

    name: str  # the row's name, or the folder, file or repository as it was asked for
    path: Path  # folder or file with the weights
    layout: Layout
    reason: str  # why these, in words
    row: Checkpoint  # sizes and recipes of its generation
    text_encoder: Path | None = (
        None  # a transformers folder apart from `path`; None: it is in `path`
    )
    enhancer: Path | None = None  # the same for the model that rewrites prompts, where there is one
    transformer: Path | None = None  # a GGUF file in place of the transformers in `path`

    @property
    def embedded(self) -> bool:
        """True for the checkpoint that comes with the package."""
        return self.row.embedded


# Parts that only some runs need; the distilled LoRA is one of mode pro alone.
OPTIONAL_PARTS = ("spatial_upscaler", "temporal_upscaler", "distilled_lora")
SMALLER_UPSCALER = "spatial_upscaler_x1.5"  # for existing videos only; not every model has one
TWO_PASSES = frozenset({"spatial_upscaler", "distilled_lora"})


def parts_for(*, spatial_upscaler: bool = True, temporal_upscaler: bool = False) -> frozenset[str]:
    """The optional parts of a run: the upscalers it uses, and what a pass after them needs."""
    parts = {"spatial_upscaler"} if spatial_upscaler else set[str]()
    parts |= {"temporal_upscaler"} if temporal_upscaler else set()
    return frozenset(parts | {"distilled_lora"}) if parts else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What is to be run: it decides which files must be there."""

    mode: Modes
    parts: frozenset[str] = TWO_PASSES  # of OPTIONAL_PARTS, and SMALLER_UPSCALER

    def optional(self, row: Checkpoint) -> tuple[str | None, ...]:
        """The model's files that these runs can do without."""
        return tuple(getattr(row.files, part) for part in OPTIONAL_PARTS if part not in self.parts)

    def missing(self, weights: "Weights") -> list[str]:
        """What a checkpoint on disk lacks for it."""
        modes: tuple[Mode, ...] = ("fast", "pro") if self.mode == "all" else (self.mode,)
        lacking = [name for mode in modes for name in weights.missing(mode, self.parts)]
        return list(dict.fromkeys(lacking))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder that may hold weights."""

    folder: Path
    words: str
    hub_cache: bool  # laid out as models--OWNER--NAME/snapshots/COMMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuda:
    """Whether a CUDA GPU can be used, and how that is known."""

    usable: bool
    reason: str


def note(row: Checkpoint) -> str | None:
    """What users should know of the model whose clip they get; None for a real one."""
    if not row.embedded:
        return None
    return (
        f"{row.name} is a toy that was trained on coloured shapes which move over patterned "
        "grounds: it makes these, whatever else is asked for"
    )


def places(settings: "Settings") -> list[Place]:
    """Where weights are looked for, in order."""
    named = [
        (settings.weights, "the configured weights folder", False),
        (settings.runpod_cache, "the worker's cached-model folder", True),
        (settings.baked_weights, "the folder baked into the image", False),
        (settings.volume_weights, "the network volume", False),
        (settings.hub_cache, "the Hugging Face cache", True),
    ]
    return [
        Place(folder=folder, words=words, hub_cache=hub_cache)
        for folder, words, hub_cache in named
        if folder is not None
    ]


def _places_of(row: Checkpoint, settings: "Settings") -> list[Place]:
    """Where a model of the table is looked for."""
    if row.embedded:
        return [Place(folder=EMBEDDED, words="the package", hub_cache=False)]
    return places(settings)


def cached_repository(cache: Path, repository: str) -> Path:
    """Folder of a repository in a hub cache."""
    return cache / f"models--{repository.replace('/', '--')}"


def snapshot(cache: Path, repository: str) -> Path | None:
    """The snapshot of a repository that `main` names, else the newest one; None where there is
    none.
    """
    folder = cached_repository(cache, repository)
    ref = folder / "refs" / "main"
    if ref.is_file():
        named = folder / "snapshots" / ref.read_text().strip()
        if named.is_dir():
            return named
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return None
    found = [entry for entry in snapshots.iterdir() if entry.is_dir()]
    return max(found, key=lambda entry: (entry.stat().st_mtime, entry.name), default=None)


def cuda(*, confirm: bool, devices: Path = Path("/dev")) -> Cuda:
    """Whether a CUDA GPU is there. Looks for the driver and at torch's build without importing
    torch.

    `confirm` then asks torch itself, which takes seconds and is for runs that need torch anyway.
    """
    if not any(True for pattern in ("nvidia[0-9]*", "dxg") for _ in devices.glob(pattern)):
        return Cuda(usable=False, reason="this machine has no CUDA GPU")
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return Cuda(usable=False, reason="torch is not installed")
    build = Path(spec.origin).with_name("version.py")
    if build.is_file() and re.search(r"^cuda\b[^=]*=\s*None", build.read_text(), re.MULTILINE):
        return Cuda(usable=False, reason="a GPU is there but this torch is built without CUDA")
    if confirm:
        import torch

        if not torch.cuda.is_available():
            return Cuda(usable=False, reason="a GPU is there but torch cannot use it")
    return Cuda(usable=True, reason="a CUDA GPU is there")


def resolve(
    checkpoint: str,
    settings: "Settings",
    *,
    mode: Modes = "fast",
    parts: frozenset[str] = TWO_PASSES,
    prepare: bool = True,
) -> Resolved:
    """Where the weights of a checkpoint are.

    `checkpoint` is a name, `auto`, a folder, a file or a repository. Raises BadRequest for what is
    none of these and ConfigError, naming the missing files and the command that fetches them, when
    the weights are not here. `parts` are the optional parts that must be there, too, as in `Need`.
    `prepare` lets `auto` ask torch about the GPU; False does not, so that a plan needs no torch.
    """
    need = Need(mode=mode, parts=parts)
    if checkpoint == "auto":
        return _auto(settings, need, prepare=prepare)
    if checkpoint in CHECKPOINTS:
        return _named(CHECKPOINTS[checkpoint], settings, need)
    path = Path(checkpoint).expanduser()
    if path.exists():
        return _explicit(checkpoint, path, settings, need, "it was asked for by its path")
    if REPOSITORY_ID.fullmatch(checkpoint):
        return _repository(checkpoint, settings, need)
    raise BadRequest(
        f"checkpoint: {checkpoint!r} is no checkpoint; accepted are auto, "
        f"{', '.join(CHECKPOINTS)}, "
        "a folder, .safetensors or .gguf file that exists, or a repository such as owner/name"
    )


def row_of(
    checkpoint: str,
    settings: "Settings",
    *,
    mode: Modes = "fast",
    parts: frozenset[str] = TWO_PASSES,
) -> tuple[Checkpoint, str]:
    """The row a plan for this checkpoint is made with, and why. A named model need not be on this
    machine.
    """
    if checkpoint in CHECKPOINTS:
        return CHECKPOINTS[checkpoint], "it was asked for by name"
    found = resolve(checkpoint, settings, mode=mode, parts=parts, prepare=False)
    return found.row, found.reason


def lora_file(repository: str, file: str, settings: "Settings") -> Path | None:
    """A LoRA that a download brought to any of the places, or None."""
    for place in places(settings):
        if place.hub_cache:
            folder = snapshot(place.folder, repository)
            candidates = [folder / file] if folder else []
        else:
            below = [place.folder / name for name in ("", *REAL)]
            candidates = [folder / "loras" / file for folder in below]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
    return None


def distilled_file(repository: str, file: str, settings: "Settings") -> Path | None:
    """A distilled LoRA, which comes with its model and lies beside it, in any of the places."""
    for place in places(settings):
        if place.hub_cache:
            folder = snapshot(place.folder, repository)
            folders = [folder] if folder else []
        else:
            folders = [place.folder / name for name in ("", *REAL)]
        for folder in folders:
            if (folder / file).is_file():
                return folder / file
    return None


def catalogue_file(entry: "Entry", root: Path, settings: "Settings") -> Path | None:
    """The file of a catalogue entry: in a checkpoint's folder, else where downloads are."""
    for candidate in (root / entry.file, root / "loras" / entry.file):
        if candidate.is_file():
            return candidate
    return lora_file(entry.repository, entry.file, settings)


def missing_files(row: Checkpoint, settings: "Settings", mode: Modes) -> list[str]:
    """What a mode of a real model lacks in the place that lacks least; empty where it can run."""
    need = Need(mode=mode)
    attempts = [lacking for _, lacking in _attempts(row, settings, need)]
    return min(attempts, key=len, default=_everything(row, need))


def missing_extras(row: Checkpoint, settings: "Settings") -> dict[str, str]:
    """What a model can do without and has not here, in the place that lacks least for its modes:
    what it is for -> its usual file or repository.
    """
    from pipelines.checkpoints.files import CheckpointError, find

    wanted = {
        "enhancer": ("enhance_prompt", row.files.enhancer_repository),
        "duration_head": ("automatic duration", row.files.duration_head),
        SMALLER_UPSCALER: ("upscaling by 1.5", row.files.spatial_upscaler_x1_5),
    }
    extras = {part: (what, name) for part, (what, name) in wanted.items() if name is not None}
    attempts = _attempts(row, settings, Need(mode="all")) if extras else iter(())
    best = min(attempts, key=lambda attempt: len(attempt[1]), default=None)
    there: set[str] = set()
    if best is not None:
        found = best[0]
        try:
            weights = find(
                found.path, row, text_encoder=found.text_encoder, enhancer=found.enhancer
            )
        except (CheckpointError, OSError) as error:
            raise ConfigError(str(error)) from error
        there = {part for part in extras if weights.has(part)}
    return {what: name for part, (what, name) in extras.items() if part not in there}


def _auto(settings: "Settings", need: Need, *, prepare: bool) -> Resolved:
    device = cuda(confirm=prepare)
    if not device.usable:
        return _embedded(settings, need, device.reason)
    for name in AUTO_ORDER:
        try:
            found = _named(CHECKPOINTS[name], settings, need)
        except ConfigError:
            continue
        return replace(found, reason=f"{device.reason}, and {found.reason}")
    reason = (
        f"{device.reason}, but no real model is complete for mode {need.mode}; "
        f"fetch one with: {download_command(AUTO_ORDER[0], need.mode)}"
    )
    return _embedded(settings, need, reason)


def _embedded(settings: "Settings", need: Need, reason: str) -> Resolved:
    row = next(row for row in CHECKPOINTS.values() if row.embedded)
    return replace(_named(row, settings, need), reason=reason)


def _named(row: Checkpoint, settings: "Settings", need: Need) -> Resolved:
    fewest: list[str] | None = None
    for found, lacking in _attempts(row, settings, need):
        if not lacking:
            return found
        if fewest is None or len(lacking) < len(fewest):
            fewest = lacking
    files = fewest if fewest is not None else _everything(row, need)
    looked = ", ".join(f"{place.folder}" for place in _places_of(row, settings))
    fetch = f"fetch with: {download_command(row.name, need.mode)}"
    raise ConfigError(
        f"{row.name}: mode {need.mode} misses {', '.join(files)} (looked in {looked}); "
        f"{'install ltx2 again' if row.embedded else fetch}"
    )


def verdicts(
    row: Checkpoint, settings: "Settings", need: Need
) -> Iterator[tuple[str, Resolved | None]]:
    """A sentence for each place in order, with the weights where it holds all that is needed."""
    for place in _places_of(row, settings):
        attempts = list(_attempts_in(place, row, settings, need))
        if not attempts:
            yield f"{place.words} ({place.folder}) has nothing of {row.name}", None
        for found, lacking in attempts:
            where = f"{row.name} in {place.words} ({found.path})"
            if lacking:
                yield f"{where} misses {', '.join(lacking)}", None
            else:
                yield f"{where} is complete for mode {need.mode}", found


def _attempts(
    row: Checkpoint, settings: "Settings", need: Need, transformer: Path | None = None
) -> Iterator[tuple[Resolved, list[str]]]:
    """Every folder that may hold this model, or all but its transformer, with what it lacks."""
    for place in _places_of(row, settings):
        yield from _attempts_in(place, row, settings, need, transformer)


def _attempts_in(
    place: Place,
    row: Checkpoint,
    settings: "Settings",
    need: Need,
    transformer: Path | None = None,
) -> Iterator[tuple[Resolved, list[str]]]:
    """The same for one place."""
    for folder in _candidates(row, place):
        names = _everything(row, need)
        diffusers = (folder / "model_index.json").is_file()
        if not diffusers and not any((folder / name).is_file() for name in names):
            continue
        encoder = _text_encoder_apart(folder, row, settings)
        enhancer = _apart(row.files.enhancer_repository, folder, settings)
        found = Resolved(
            name=row.name,
            path=folder,
            layout="diffusers" if diffusers else "original",
            reason=f"its weights are in {place.words} ({folder})",
            row=row,
            text_encoder=encoder,
            enhancer=enhancer,
            transformer=transformer,
        )
        try:
            weights, lacking = _lacking(folder, row, encoder, need, transformer)
        except ConfigError as error:
            yield found, [str(error)]  # a damaged folder is no reason not to look further
        else:
            yield replace(found, layout=weights.layout), lacking


def _candidates(row: Checkpoint, place: Place) -> list[Path]:
    """Folders of a place that may hold this model: by its name, by its repository's, or the place
    itself.
    """
    if row.embedded:
        return [place.folder]
    repositories = [row.files.repository, *DIFFUSERS_REPOSITORIES.get(row.name, ())]
    if place.hub_cache:
        found = [snapshot(place.folder, repository) for repository in repositories]
        return [folder for folder in found if folder is not None]
    below = [row.name, *(text_encoder_folder(repository) for repository in repositories)]
    return [*(place.folder / name for name in below), place.folder]


def _everything(row: Checkpoint, need: Need) -> list[str]:
    encoder = row.files.text_encoder_repository
    spared = need.optional(row)
    files = [name for name in original_files(row, need.mode) if name not in spared]
    smaller = row.files.spatial_upscaler_x1_5
    if smaller is not None and SMALLER_UPSCALER in need.parts:
        files.append(smaller)
    return [*files, *([encoder] if encoder else [])]


def _lacking(
    path: Path,
    row: Checkpoint | None,
    encoder: Path | None,
    need: Need,
    transformer: Path | None = None,
) -> "tuple[Weights, list[str]]":
    """What a folder or file holds and lacks, by the loader's own reading of its headers."""
    from pipelines.checkpoints.files import CheckpointError, find

    try:
        weights = find(path, row, text_encoder=encoder, transformer=transformer)
        return weights, need.missing(weights)
    except (CheckpointError, OSError) as error:
        raise ConfigError(str(error)) from error


def _text_encoder_apart(folder: Path, row: Checkpoint, settings: "Settings") -> Path | None:
    """A whole text encoder outside `folder`, where it holds none itself; None where there is none
    either way.
    """
    repository = row.files.text_encoder_repository
    if repository is None:
        return None
    name = text_encoder_folder(repository)
    if any(is_transformers_folder(folder / inside) for inside in (name, "text_encoder")):
        return None
    return _apart(repository, folder, settings)


def _apart(repository: str | None, folder: Path, settings: "Settings") -> Path | None:
    """A whole transformers model of a repository: in a weights folder, beside it or in any other
    place.
    """
    if repository is None:
        return None
    name = text_encoder_folder(repository)
    caches = [
        snapshot(place.folder, repository) if place.hub_cache else place.folder / name
        for place in places(settings)
    ]
    for candidate in [folder / name, folder.parent / name, *caches]:
        if candidate is not None and is_transformers_folder(candidate):
            return candidate
    return None


def is_transformers_folder(folder: Path) -> bool:
    """Whether a folder holds a whole transformers model with its tokenizer: every shard its index
    names.
    """
    if not (folder / "config.json").is_file():
        return False
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return False
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return (folder / "model.safetensors").is_file()
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise ConfigError(f"{index} is not a safetensors index; fetch the folder again") from error
    return all((folder / shard).is_file() for shard in shards)


def _explicit(
    checkpoint: str, path: Path, settings: "Settings", need: Need, reason: str
) -> Resolved:
    """A folder or file that was named: it is this one or an error, never another.

    Its plans carry the name of the generation's row: a local path is nobody's business who gets the
    clip, and equal work in two folders has one id.
    """
    from pipelines.checkpoints.gguf import is_gguf

    weights, lacking = _lacking(path, None, None, need)
    row = next(row for row in CHECKPOINTS.values() if row.generation == weights.generation)
    folder = path if path.is_dir() else path.parent
    encoder = None
    if not weights.has("text_encoder"):
        encoder = _text_encoder_apart(folder, row, settings)
        weights, lacking = _lacking(path, None, encoder, need)
    if lacking and is_gguf(path):
        # A transformer alone: what goes with it may be where the whole model would be.
        for found, others in _attempts(row, settings, need, transformer=path):
            if not others:
                where = f"{reason}; its other parts are in {found.path}"
                return replace(found, name=checkpoint, reason=where)
            if len(others) < len(lacking):
                lacking, folder = others, found.path
    if lacking:
        fetch = f", or fetch the whole model with: {download_command(row.name, need.mode)}"
        raise ConfigError(
            f"{path}: mode {need.mode} misses {', '.join(lacking)}; put them into {folder} or "
            f"name a folder that holds them{'' if row.embedded else fetch}"
        )
    return Resolved(
        name=checkpoint,
        path=path,
        layout="file" if path.is_file() else weights.layout,
        reason=reason,
        row=row,
        text_encoder=encoder,
        enhancer=_apart(row.files.enhancer_repository, folder, settings),
    )


def _repository(checkpoint: str, settings: "Settings", need: Need) -> Resolved:
    for place in places(settings):
        folder = snapshot(place.folder, checkpoint) if place.hub_cache else None
        if folder is not None:
            reason = f"it is in {place.words} ({folder})"
            found = _explicit(checkpoint, folder, settings, need, reason)
            return replace(found, row=replace(found.row, name=checkpoint))
    raise ConfigError(
        f"{checkpoint}: no snapshot of this repository is on this machine; "
        f"fetch it with: ltx2 download --checkpoint {checkpoint}"
    )
