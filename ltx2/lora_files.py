"""LoRA files by their headers: what cannot act is refused before any weights are read. No torch."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from os.path import samestat
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from loras import catalog, headers
from loras.headers import Header
from loras.keys import LoraMismatch, Match, is_adapter, match, some
from loras.kinds import LOADABLE
from ltx2.adapters import NEEDS_A_PASS, lora_problem
from ltx2.errors import BadRequest, ConfigError, Ltx2Error, TooLarge
from ltx2.extent import combined
from ltx2.folders import NotThere, opened
from ltx2.forms import lora_form, lora_name, lora_place, shown
from ltx2.lora_sources import LoraSources, sha256_of, too_many
from ltx2.request import Request
from ltx2.waiting import Stop
from ltx2.weights import Resolved, catalogue_file
from pipelines.checkpoints import keys
from pipelines.checkpoints.files import Weights, find
from pipelines.checkpoints.headers import CheckpointError, read_header
from pipelines.models import Checkpoint
from pipelines.plan import Adapter, Variant

if TYPE_CHECKING:
    from ltx2.settings import Settings

# Metadata of Lightricks' IC-LoRAs: how much smaller their reference video is than the clip.
_REFERENCE = "reference_downscale_factor"
# Parts of a model that LoRAs act on.
COMPONENTS = ("transformer", "connectors")

Layers = Mapping[str, Mapping[str, tuple[int, int]]]  # component -> path -> (outputs, inputs)
LoraKey = tuple[str, str | None]  # an adapter's source and sha256
Matches = Mapping[LoraKey, Match]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFiles:
    """What was found of a request's own LoRAs: paths, URLs and repositories."""

    digests: dict[str, str] = field(default_factory=dict[str, str])  # sha256 by source
    matches: dict[LoraKey, Match] = field(default_factory=dict[LoraKey, Match])
    refusals: list[Ltx2Error] = field(default_factory=list[Ltx2Error])

    def note(self, source: str, sha256: str, judge: "_Judge") -> None:
        """Keep what is known of a file that can act."""
        self.digests[source] = sha256
        if judge.match is not None:
            self.matches[lora_place(source), sha256] = judge.match


def read_loras(
    request: Request,
    row: Checkpoint,
    *,
    layers: Layers = MappingProxyType({}),
    max_bytes: int | None = None,
    paths: bool = True,
    folders: Sequence[Path] = (),
) -> OwnFiles:
    """Judge the request's local LoRAs by their headers; what lies elsewhere is `fetch_loras`'.

    `layers` are those the files must fit, none where they are not known yet. Without `paths` only
    files that really lie in one of `folders` are looked at.
    """
    found = OwnFiles()
    for index, lora in enumerate(request.loras):
        if lora_form(lora.source) == "path" and lora_problem(lora, request, row) is None:
            judge = _Judge(layers)
            name, file = f"loras[{index}]", Path(lora.source)
            try:
                with nullcontext() if paths else _allowed(file, folders, name):
                    digest = _read(file, name, judge, max_bytes)
            except Ltx2Error as refusal:
                found.refusals.append(refusal)
            else:
                found.note(lora.source, digest, judge)
    return found


def fetch_loras(
    request: Request,
    found: OwnFiles,
    *,
    sources: LoraSources,
    layers: Layers = MappingProxyType({}),
    trusted: bool,
    stop: Stop | None = None,
) -> bool:
    """Add to `found` the request's LoRAs by URL and repository; whether there were any.

    Each is judged before more than its header is fetched. Only a `trusted` caller's are asked for
    with this machine's token. What `stop` raises, or Cancelled, ends the fetching.
    """
    kept: set[Path] = set()
    for index, lora in enumerate(request.loras):
        if lora_form(lora.source) not in ("url", "repository"):
            continue
        judge, name = _Judge(layers), f"loras[{index}]"
        try:
            fetched = sources.fetch(lora.source, name=name, check=judge, trusted=trusted, stop=stop)
        except (BadRequest, TooLarge, ConfigError) as refusal:
            found.refusals.append(refusal)
            continue
        kept.add(fetched.file)
        found.note(lora.source, fetched.sha256, judge)
    if kept:
        sources.prune(kept)
    return bool(kept)


@contextmanager
def _allowed(file: Path, folders: Sequence[Path], name: str) -> Iterator[None]:
    """While a remote caller's file is read: it lies in a folder, and is the same file at the end.

    Raises BadRequest.
    """
    refusal = BadRequest(f"{name} names no file that can be read here: {shown(str(file))}")
    try:
        with opened(file, folders) as descriptor:
            yield
            same = samestat(os.fstat(descriptor), file.lstat())
    except (NotThere, OSError) as error:
        raise refusal from error
    if not same:
        raise refusal


class _Judge:
    """Why a header is none of a LoRA that can act, and what of it goes where."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self.match: Match | None = None

    def __call__(self, header: Header, file_name: str) -> str | None:
        """A reason to refuse it, or None."""
        if _REFERENCE in header.metadata:
            return f"{file_name} {NEEDS_A_PASS}"
        if not is_adapter(header.tensors):
            has = some(sorted(header.tensors)) or "no tensors"
            return f"{file_name} is no LoRA: it has {has}; {LOADABLE}"
        if self._layers:
            try:
                self.match = match(header, self._layers, file=file_name)
            except LoraMismatch as error:
                return str(error)
        return None


def _read(file: Path, name: str, judge: _Judge, max_bytes: int | None) -> str:
    """The sha256 of a local file. Raises BadRequest for what is no LoRA that can act."""
    if not file.is_file():
        raise BadRequest(f"{name}: there is no file {file}")
    try:
        size = file.stat().st_size
        if max_bytes is not None and size > max_bytes:
            raise TooLarge(too_many(name, size, max_bytes))
        problem = judge(headers.read(file), file.name)
    except (ValueError, OSError) as error:
        raise BadRequest(f"{name}: {file} cannot be read: {error}") from error
    if problem is not None:
        raise BadRequest(f"{name}: {problem}")
    return sha256_of(file)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFiles:
    """Where an engine's LoRAs lie, and the weights that they must fit."""

    find: Callable[[Adapter], Path]  # an adapter's file; raises ConfigError
    weights: Weights

    @classmethod
    def of(cls, weights: Weights, row: Checkpoint, settings: "Settings") -> Self:
        """Those of weights that were found."""
        return cls(
            find=lambda adapter: adapter_file(adapter, weights, row, settings), weights=weights
        )

    @classmethod
    def at(cls, resolved: Resolved, settings: "Settings") -> Self:
        """Those of a checkpoint that no engine has opened yet. Raises ConfigError."""
        try:
            weights = find(
                resolved.path,
                resolved.row,
                text_encoder=resolved.text_encoder,
                enhancer=resolved.enhancer,
                transformer=resolved.transformer,
            )
        except (CheckpointError, OSError) as error:
            raise ConfigError(str(error)) from error
        return cls.of(weights, resolved.row, settings)

    def layers(self, variant: Variant) -> Layers:
        """What a LoRA can act on. Empty where the transformer is missing: the engine says so.

        Raises ConfigError for weights that cannot be read.
        """
        if not all(self.weights.has(component, variant) for component in COMPONENTS):
            return {}
        try:
            return {name: module_layers(self.weights, name, variant) for name in COMPONENTS}
        except CheckpointError as error:
            raise ConfigError(str(error)) from error

    def examine(
        self, adapters: Iterable[Adapter], variant: Variant, *, known: Collection[str] = ()
    ) -> tuple[dict[LoraKey, Match], list[Ltx2Error]]:
        """What of each adapter goes where, and why others cannot act, by headers alone.

        `known` are sources that have been judged already.
        """
        matches: dict[LoraKey, Match] = {}
        absent = () if self.weights.has("distilled_lora") else ("distilled",)  # as the transformer
        wanted = {
            (adapter.source, adapter.sha256): adapter
            for adapter in adapters
            if adapter.source not in (*known, *absent)
        }
        if not wanted:
            return matches, []
        try:
            layers = self.layers(variant)
        except ConfigError as error:
            return matches, [error]
        refusals: list[Ltx2Error] = []
        for key, adapter in wanted.items() if layers else ():
            try:
                file = self.find(adapter)
                # What was fetched is kept under its hash, which nobody has asked for.
                mine = lora_form(adapter.source) != "catalogue"
                name = lora_name(adapter.source) if mine else file.name
                matches[key] = match(headers.read(file, name=name), layers, file=name)
            except ConfigError as error:
                refusals.append(error)
            except (ValueError, OSError) as error:
                refusals.append(_blaming(adapter, str(error)))
        return matches, refusals

    def require(self, adapters: Iterable[Adapter], variant: Variant) -> Matches:
        """As `examine`; raises one error with every refusal."""
        matches, refusals = self.examine(adapters, variant)
        if refusals:
            raise combined(refusals)
        return matches


def adapter_file(adapter: Adapter, weights: Weights, row: Checkpoint, settings: "Settings") -> Path:
    """The local file of a plan's adapter: the distilled LoRA, a catalogue entry, a path, or what
    was fetched from elsewhere.
    """
    source = adapter.source
    if source == "distilled":
        return weights.path("distilled_lora")
    if lora_form(source) in ("url", "repository"):
        found = adapter.sha256 and settings.lora_sources().find(source, adapter.sha256)
        if not found:
            raise ConfigError(f"the LoRA {source} is not on this machine any more; ask for it anew")
        return found
    try:
        entry = catalog.get(source, row.generation.name)
    except LookupError:
        return _as_planned(Path(source), adapter.sha256)
    if file := catalogue_file(entry, weights.root, settings):
        return file
    raise ConfigError(
        f"the LoRA {source} needs {entry.file}, which is neither in {weights.root} nor in the hub's"
        f" cache; fetch it with: ltx2 download --checkpoint {row.name} --loras"
    )


def _as_planned(file: Path, sha256: str | None) -> Path:
    """The same file. Raises ConfigError where its content is not what the plan names."""
    if sha256 is not None and file.is_file() and sha256_of(file) != sha256:
        raise ConfigError(f"the LoRA {file} has changed since it was planned; ask for it anew")
    return file


def refusal_of(error: LoraMismatch, adapters: Iterable[Adapter]) -> Ltx2Error:
    """An error of loading one of a plan's adapters, as one of the request or of the machine.

    A request's own file is known by its content, as files that are fetched lie under other names.
    """
    file, own = error.file, [a for a in adapters if lora_form(a.source) != "catalogue"]
    if own and file is not None and file.is_file():
        digest = sha256_of(file)
        for adapter in own:
            if digest == adapter.sha256 or file == Path(adapter.source):
                asked = lora_name(adapter.source)
                return _blaming(adapter, str(error).replace(file.name, asked, 1))
    return ConfigError(f"a LoRA of this checkpoint: {error}")


def _blaming(adapter: Adapter, problem: str) -> Ltx2Error:
    """What is wrong with a request's own file is the request's fault, else the machine's."""
    if lora_form(adapter.source) == "catalogue":
        return ConfigError(f"the LoRA {adapter.source}: {problem}")
    return BadRequest(f"loras, {adapter.source}: {problem}")


def module_layers(weights: Weights, component: str, variant: Variant) -> dict[str, tuple[int, int]]:
    """Path in the diffusers module -> (outputs, inputs) of every linear layer, from headers."""
    files = weights.files(component, variant)
    converted = files[0].is_dir()
    if converted:
        files = tuple(sorted(files[0].glob("*.safetensors")))
    layers: dict[str, tuple[int, int]] = {}
    for file in files:
        for name, tensor in read_header(file).tensors.items():
            if len(tensor.shape) != 2 or not name.endswith(".weight"):
                continue
            if not converted:
                if keys.component_of(name) != component:
                    continue
                (name,) = keys.targets(component, name)
            layers[name.removesuffix(".weight")] = (tensor.shape[0], tensor.shape[1])
    return layers
