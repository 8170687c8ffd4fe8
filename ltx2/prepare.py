"""A request to a plan and its pictures: everything that may be refused is refused here."""

from collections.abc import Mapping
from dataclasses import dataclass

from ltx2.adapters import choose_adapters
from ltx2.errors import BadRequest, Ltx2Error, MediaRefused, TooLarge
from ltx2.extent import Limits, PictureFacts, Pictures, combined
from ltx2.forms import lora_form
from ltx2.lora_files import LoraFiles, read_loras
from ltx2.media.fetch import MediaLimits, Picture, fetch_all
from ltx2.planner import DEFAULT_LIMITS, find_checkpoint
from ltx2.planner import plan as decide
from ltx2.request import Request
from pipelines.models import Checkpoint
from pipelines.plan import Plan
from pipelines.values import Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request that can no longer be refused: its plan and its fetched pictures."""

    plan: Plan
    inputs: Inputs
    generation_id: str | None = None


def prepare(
    request: Request,
    *,
    checkpoint: Checkpoint,
    limits: Limits,
    media: MediaLimits,
    paths: bool = True,
    files: LoraFiles | None = None,
) -> Prepared:
    """Fetch the pictures, read the LoRAs' headers and decide every number.

    Touches no weights; raises one error with every refusal there is. `files` says where the
    engine's LoRAs lie and what they must fit; without it that is found when the plan is executed.
    """
    refusals: list[Ltx2Error] = []
    pictures: dict[str, Picture] = {}
    try:
        pictures = fetch_all(
            {"image": request.image, "last_image": request.last_image},
            allow_paths=paths,
            limits=media,
        )
    except (MediaRefused, TooLarge) as refusal:
        refusals.append(refusal)
    facts = {
        name: PictureFacts(width=p.image.width, height=p.image.height, sha256=p.sha256)
        for name, p in pictures.items()
    }
    digests, faults = read_loras(request, paths=paths)
    if files is not None:
        faults += _misfits(request, checkpoint, files, digests)
    try:
        decided = decide(
            request, checkpoint=checkpoint, limits=limits, pictures=facts, loras=digests
        )
    except (BadRequest, TooLarge) as refusal:
        raise combined([*refusals, refusal, *faults]) from refusal
    if refusals or faults:
        raise combined([*refusals, *faults])
    images = {name: picture.image for name, picture in pictures.items()}
    return Prepared(plan=decided, inputs=Inputs(images=images), generation_id=request.generation_id)


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


def _misfits(
    request: Request, row: Checkpoint, files: LoraFiles, digests: Mapping[str, str]
) -> list[Ltx2Error]:
    """LoRAs of the request that the engine lacks or that do not fit it.

    Those that could not be read have been refused already.
    """
    chosen = choose_adapters(request, row, digests)
    own = {lora.source for lora in request.loras if lora_form(lora.source) != "catalogue"}
    return files.refusals(
        (*chosen.base, *chosen.refine),
        "distilled" if request.mode == "fast" else "dev",
        known=own - digests.keys(),
    )
