"""A request to a plan and its pictures: everything that may be refused is refused here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loras.keys import Match
from ltx2.adapters import choose_adapters
from ltx2.errors import BadRequest, ConfigError, Ltx2Error, MediaRefused, TooLarge
from ltx2.extent import Limits, PictureFacts, Pictures, combined
from ltx2.forms import lora_form
from ltx2.lora_files import (
    Layers,
    LoraFiles,
    LoraKey,
    Matches,
    OwnFiles,
    fetch_loras,
    read_loras,
)
from ltx2.lora_sources import LoraSources
from ltx2.media.fetch import MediaLimits, Picture, fetch_all
from ltx2.planner import DEFAULT_LIMITS, find_checkpoint
from ltx2.planner import plan as decide
from ltx2.request import Request, asked_pictures
from ltx2.waiting import Stop
from pipelines.models import Checkpoint
from pipelines.plan import Plan, Variant
from pipelines.values import Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request that can no longer be refused: its plan and its fetched pictures."""

    request: Request
    plan: Plan
    inputs: Inputs
    pictures: Pictures  # facts of the same pictures
    digests: Mapping[str, str]  # sha256 of the request's own LoRA files, by source
    matches: Matches | None = None  # what of each LoRA goes where; None where no engine was asked
    told: tuple[str, ...] = ()  # what was found out on the way, before the plan's own warnings


def prepare(
    request: Request,
    *,
    checkpoint: Checkpoint,
    limits: Limits,
    media: MediaLimits,
    paths: bool = True,
    folders: Sequence[Path] = (),
    files: LoraFiles | None = None,
    sources: LoraSources | None = None,
    fetch: bool = True,
    stop: Stop | None = None,
) -> Prepared:
    """Fetch the pictures, read the LoRAs' headers and decide every number.

    Touches no weights; raises one error with every refusal there is. `files` says where the
    engine's LoRAs lie and what they must fit; without it that is found when the plan is executed.
    `sources` gets the LoRAs that lie elsewhere, once nothing else is to be refused.
    Without `fetch` they are left for `with_loras`, when the weights are known that they must fit.
    Without `paths` the caller is a remote one: of this machine's files it gets those in `folders`,
    by their real place, and of the hub what anybody gets. `stop` is asked at least once a second
    while something is fetched; what it raises, or Cancelled, comes out of here.
    """
    refusals: list[Ltx2Error] = []
    pictures: dict[str, Picture] = {}
    try:
        pictures = fetch_all(
            asked_pictures(request), allow_paths=paths, limits=media, folders=folders, stop=stop
        )
    except (MediaRefused, TooLarge) as refusal:
        refusals.append(refusal)
    facts = {
        name: PictureFacts(width=p.image.width, height=p.image.height, sha256=p.sha256)
        for name, p in pictures.items()
    }
    images = {name: picture.image for name, picture in pictures.items()}
    return _judged(
        request,
        Inputs(images=images),
        facts,
        refusals,
        checkpoint=checkpoint,
        limits=limits,
        paths=paths,
        folders=folders,
        files=files,
        sources=sources,
        fetch=fetch,
        stop=stop,
    )


def with_loras(
    prepared: Prepared,
    *,
    checkpoint: Checkpoint,
    limits: Limits,
    files: LoraFiles,
    sources: LoraSources,
    paths: bool = True,
) -> Prepared:
    """A request that was prepared without weights, once these are found; the same pictures.

    Its LoRAs are judged by the weights and then fetched. Raises as `prepare`.
    """
    return _judged(
        prepared.request,
        prepared.inputs,
        prepared.pictures,
        [],
        checkpoint=checkpoint,
        limits=limits,
        paths=paths,
        files=files,
        sources=sources,
        fetch=True,
    )


def _judged(
    request: Request,
    inputs: Inputs,
    facts: Pictures,
    refusals: list[Ltx2Error],
    *,
    checkpoint: Checkpoint,
    limits: Limits,
    paths: bool,
    files: LoraFiles | None,
    sources: LoraSources | None,
    fetch: bool,
    folders: Sequence[Path] = (),
    stop: Stop | None = None,
) -> Prepared:
    """A request whose pictures are here, with what was wrong with these, as `prepare` has it."""
    layers: Layers = {}
    try:
        layers = {} if files is None else files.layers(_variant(request))
    except ConfigError as refusal:
        refusals.append(refusal)
    most = None if sources is None else sources.max_bytes
    own = read_loras(
        request, checkpoint, layers=layers, max_bytes=most, paths=paths, folders=folders
    )
    matches, faults = _examined(request, checkpoint, files, own)
    try:
        decided = decide(
            request, checkpoint=checkpoint, limits=limits, pictures=facts, loras=own.digests
        )
    except (BadRequest, TooLarge) as refusal:
        raise combined([*refusals, refusal, *faults]) from refusal
    if refusals or faults:
        raise combined([*refusals, *faults])
    if fetch and sources is not None:
        more = fetch_loras(request, own, sources=sources, layers=layers, trusted=paths, stop=stop)
        if own.refusals:
            raise combined(own.refusals)
        if more:
            decided = decide(
                request, checkpoint=checkpoint, limits=limits, pictures=facts, loras=own.digests
            )
    if files is not None:
        known = {source for source, _ in (*matches, *own.matches)}
        adapters = [adapter for part in decided.passes.values() for adapter in part.adapters]
        others, faults = files.examine(adapters, _variant(request), known=known)
        if faults:
            raise combined(faults)
        matches = {**matches, **own.matches, **others}
    return Prepared(
        request=request,
        plan=decided,
        inputs=inputs,
        pictures=facts,
        digests=own.digests,
        matches=None if files is None else matches,
    )


def planned_again(
    prepared: Prepared,
    request: Request,
    *,
    checkpoint: Checkpoint,
    limits: Limits,
    reference_downscale: int | None,
    told: tuple[str, ...] = (),
) -> Prepared:
    """The same pictures and LoRAs under a request that has been settled. Raises as `prepare`."""
    decided = decide(
        request,
        checkpoint=checkpoint,
        limits=limits,
        pictures=prepared.pictures,
        loras=prepared.digests,
        reference_downscale=reference_downscale,
    )
    return replace(prepared, request=request, plan=decided, told=(*prepared.told, *told))


def plan(
    request: Request,
    *,
    checkpoint: Checkpoint | str = "tiny",
    limits: Limits = DEFAULT_LIMITS,
    media: MediaLimits | None = None,
    pictures: Pictures | None = None,
) -> Plan:
    """Decide every number of a generation; `ltx2.plan`. No torch, no weights.

    Reads the request's pictures, as the frame's shape and the plan's id depend on them, unless
    their facts are given in `pictures`. Raises as `prepare`.
    """
    if pictures is not None:
        return decide(request, checkpoint=checkpoint, limits=limits, pictures=pictures)
    row = find_checkpoint(checkpoint)
    return prepare(request, checkpoint=row, limits=limits, media=media or MediaLimits()).plan


def _variant(request: Request) -> Variant:
    return "distilled" if request.mode == "fast" else "dev"


def _examined(
    request: Request, row: Checkpoint, files: LoraFiles | None, own: OwnFiles
) -> tuple[dict[LoraKey, Match], list[Ltx2Error]]:
    """The catalogue's LoRAs that the request asks for, and all that is wrong with any so far."""
    if files is None:
        return {}, own.refusals
    chosen = choose_adapters(request, row, own.digests)
    asked = [adapter for adapter in (*chosen.base, *chosen.refine)
             if lora_form(adapter.source) == "catalogue"]  # fmt: skip
    matches, faults = files.examine(asked, _variant(request))
    return matches, [*own.refusals, *faults]
