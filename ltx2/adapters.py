"""Which LoRAs act in which pass, and the words a camera move adds to the prompt. No torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from loras import catalog
from ltx2.errors import BadRequest, UnknownLora
from ltx2.forms import lora_form, lora_name, lora_place
from ltx2.request import Lora, Request
from pipelines.models import Checkpoint
from pipelines.plan import Adapter

# The end of a sentence that begins with a LoRA's name.
NEEDS_A_PASS = (
    "is an IC-LoRA: it needs a pass of its own that follows a video; leave it out, and set "
    "detailer to true for such a pass over the new clip, or use `ltx2 detail` for an existing one"
)


@dataclass(slots=True, kw_only=True)
class PassAdapters:
    """Adapters of each pass, the prompt really used, and what is wrong or worth saying."""

    prompt: str
    base: tuple[Adapter, ...] = ()
    refine: tuple[Adapter, ...] = ()
    refusals: list[BadRequest] = field(default_factory=list[BadRequest])
    warnings: list[str] = field(default_factory=list[str])


def choose_adapters(
    request: Request, row: Checkpoint, digests: Mapping[str, str] | None = None
) -> PassAdapters:
    """The camera move's LoRA, then the request's own as they are.

    The move's strengths are the catalogue's, pass by pass, times `camera_strength`. A generation
    without camera LoRAs gets the move in words, at the end of the prompt. `digests` holds the
    sha256 of the files that were read, by source; of a URL the plan keeps neither query nor
    fragment, where keys may be.
    """
    digests = digests or {}
    found = PassAdapters(prompt=request.prompt)
    _camera(request, row, found)
    for index, lora in enumerate(request.loras):
        problem = lora_problem(lora, request, row)
        if problem is not None:
            found.refusals.append(type(problem)(f"loras[{index}]: {problem}"))
        elif lora.strength != 0:
            digest = digests.get(lora.source)
            if digest is None and lora_form(lora.source) != "catalogue":
                found.warnings.append(
                    f"loras[{index}] was not read: the plan's id does not name what is in it"
                )
            place = lora_place(lora.source)
            adapter = Adapter(source=place, strength=lora.strength, sha256=digest)
            found.base += (adapter,) if lora.stages in ("both", "base") else ()
            found.refine += (adapter,) if lora.stages in ("both", "refine") else ()
    given = [_entries(lora.source) for lora in request.loras]
    moves = sorted({entry.id for found in given for entry in found if entry.kind == "camera"})
    if request.camera_motion != "none":
        moves.insert(0, request.camera_motion)
    if len(moves) > 1:
        found.refusals.append(
            BadRequest(
                f"camera moves do not combine: {' and '.join(moves)} are asked for; give one"
            )
        )
    return found


def fitting(row: Checkpoint, kinds: Iterable[str]) -> list[str]:
    """Catalogue ids made for this checkpoint's generation."""
    wanted, name = set(kinds), row.generation.name
    return sorted(
        {
            entry.id
            for entry in catalog.entries()
            if entry.kind in wanted and name in entry.generations
        }
    )


def _camera(request: Request, row: Checkpoint, found: PassAdapters) -> None:
    if request.camera_motion == "none":
        if request.camera_strength != 1:
            found.warnings.append("camera_strength does nothing without camera_motion")
        return
    if not row.generation.camera_loras:
        found.prompt += _suffix(request.camera_motion)
        if request.camera_strength != 1:
            found.warnings.append(
                f"camera_strength does nothing on {row.name}: it has no camera LoRAs, "
                "the prompt asks for the move"
            )
        return
    entry = catalog.get(request.camera_motion, row.generation.name)
    found.base += _adapters(entry.id, entry.strengths["base"] * request.camera_strength)
    found.refine += _adapters(entry.id, entry.strengths["refine"] * request.camera_strength)


def _adapters(source: str, strength: float) -> tuple[Adapter, ...]:
    return (Adapter(source=source, strength=strength),) if strength else ()


def _suffix(camera: str) -> str:
    """The words of a move, from any generation's entry: the text is the same for all."""
    return next(
        entry.prompt_suffix
        for entry in catalog.entries()
        if entry.kind == "camera" and entry.id == camera and entry.prompt_suffix
    )


def _entries(source: str) -> list[catalog.Entry]:
    """The catalogue's entries of a source: by its id, or by the name of a file."""
    if lora_form(source) == "catalogue":
        return [entry for entry in catalog.entries() if entry.id == source]
    name = lora_name(source)
    return [entry for entry in catalog.entries() if lora_name(entry.file) == name]


def lora_problem(lora: Lora, request: Request, row: Checkpoint) -> BadRequest | None:
    """Why a LoRA of the request cannot act, as far as its name tells, and what could."""
    if lora.stages == "refine" and not request.spatial_upscaler:
        return BadRequest(
            "there is no refine pass with spatial_upscaler false; set stages to base or both"
        )
    entries, catalogued = _entries(lora.source), lora_form(lora.source) == "catalogue"
    usable = fitting(row, ("camera",))
    listed = (
        f"those for {row.name} are {', '.join(usable)}"
        if usable
        else f"it holds none for {row.name}"
    )
    if not entries:
        missing = f"{lora.source!r} is not in the catalogue; {listed}"
        return UnknownLora(missing) if catalogued else None
    name, kind = lora_name(lora.source), entries[0].kind
    if kind == "distilled" and catalogued:
        return BadRequest(
            f"{name} belongs to the recipes: fast runs a distilled model, "
            "and pro's refine pass has it already"
        )
    if kind == "detailer":
        return BadRequest(f"{name} {NEEDS_A_PASS}")
    made_for = sorted({each for entry in entries for each in entry.generations})
    if row.generation.name not in made_for:
        if catalogued:
            return UnknownLora(f"{name!r} was not made for {row.name}; {listed}")
        return UnknownLora(
            f"{name} was made for {', '.join(made_for)}, not for {row.name}; of the catalogue, "
            f"{listed}"
        )
    if kind == "distilled" and request.mode == "fast":
        return BadRequest(
            f"{name} would distil a distilled model a second time: fast runs one already; "
            "leave it out or set mode to pro"
        )
    return None
