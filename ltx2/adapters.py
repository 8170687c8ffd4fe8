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
    moves = [request.camera_motion] if _moves(request) else []
    given: dict[str, dict[str, int]] = {"base": {}, "refine": {}}  # pass -> sha256 -> index
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
            moves += sorted({e.id for e in _entries(lora.source) if e.kind == "camera"})
            place = lora_place(lora.source)
            adapter = Adapter(source=place, strength=lora.strength, sha256=digest)
            passes = ("base", "refine") if lora.stages == "both" else (lora.stages,)
            found.base += (adapter,) if "base" in passes else ()
            found.refine += (adapter,) if "refine" in passes else ()
            if digest is None:
                continue
            earlier = {given[name].setdefault(digest, index) for name in passes} - {index}
            found.refusals += [
                BadRequest(
                    f"loras[{index}]: it is the same file as loras[{first}], by its content; give "
                    "it once for a pass, at the strength that is meant"
                )
                for first in sorted(earlier)
            ]
    if problem := _moves_problem(moves):
        found.refusals.append(BadRequest(problem))
    return found


def _moves(request: Request) -> bool:
    """Whether a camera move of its own acts on the request."""
    return request.camera_motion != "none" and request.camera_strength != 0


def _moves_problem(moves: list[str]) -> str | None:
    """Why camera moves, one for each time that one is given, cannot act together."""
    if len(moves) < 2:
        return None
    if len(set(moves)) == 1:
        return f"the camera move {moves[0]} is given {_times(len(moves))}; give it once"
    listed = " and ".join(dict.fromkeys(moves))
    return f"camera moves do not combine: {listed} are asked for; give one"


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"


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
        if not request.camera_strength:  # as a LoRA of strength 0: the move is left out
            return
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
    upscaled = request.spatial_upscaler or request.temporal_upscaler
    if lora.stages == "refine" and not upscaled:
        return BadRequest(
            "there is no refine pass with spatial_upscaler and temporal_upscaler false; set stages "
            "to base or both"
        )
    entries, catalogued = _entries(lora.source), lora_form(lora.source) == "catalogue"
    usable = fitting(row, ("camera",))
    listed = (
        f"those for {row.name} are {', '.join(usable)}"
        if usable
        else f"the catalogue has none for {row.name}, where camera_motion asks for a move in words"
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
            f"{name} was made for {', '.join(made_for)}, not for {row.name}; {listed}"
        )
    if kind == "distilled" and request.mode == "fast":
        return BadRequest(
            f"{name} would distil a distilled model a second time: fast runs one already; "
            "leave it out or set mode to pro and stages to base"
        )
    if kind == "distilled" and lora.stages != "base":
        return BadRequest(
            f"{name} belongs to pro's refine pass, which has it already and would get it twice; "
            "leave it out, or set stages to base"
        )
    return None
