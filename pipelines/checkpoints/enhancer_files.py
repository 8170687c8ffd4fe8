"""Where the model that rewrites prompts lies, and what it can see. No torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.checkpoints.files import Weights
from pipelines.checkpoints.folders import is_complete, read_json
from pipelines.checkpoints.headers import CheckpointError

# model_type of the models that can write, by the part they are.
WRITERS = {
    "text_encoder": ("gemma3", "gemma3_text"),
    "enhancer": ("gemma4",),
}
_SIGHTLESS = ("gemma3_text",)
PICTURE_TOKENS = 256  # that Gemma 3 makes of a picture, where its configuration is silent
# A diffusers folder keeps what prepares a model's inputs apart from the model.
_BESIDE = ("processor", "tokenizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhancerFiles:
    """The folders of a language model in transformers' format."""

    model: Path
    model_type: str
    tokenizer: Path
    template: str | None  # of a conversation, where it lies apart from the tokenizer's files
    pictures: Path | None  # folder that says how a picture is prepared; None: it sees none
    picture_tokens: int  # of a picture, where its size does not decide that


def enhancer_files(weights: Weights) -> EnhancerFiles:
    """The model that writes for a checkpoint: its text encoder, or the enhancer beside it.

    Raises CheckpointError where it is not there or cannot hold a conversation.
    """
    part = weights.generation.enhancer.part
    model = weights.path(part)
    accepted = WRITERS[part]
    if not model.is_dir() or not is_complete(model):
        raise CheckpointError(f"{model} is not a whole transformers folder, so it cannot write")
    config = read_json(model / "config.json")
    kind = str(config.get("model_type", ""))
    if kind not in accepted:
        raise CheckpointError(
            f"{model} cannot write prompts for LTX-{weights.generation.name}: its model_type is "
            f"{kind!r}, accepted is {' or '.join(accepted)}"
        )
    places = [model, *(weights.root / name for name in _BESIDE)]
    if part == "text_encoder":
        places.insert(1, weights.path("tokenizer"))
    else:
        places.remove(weights.root / "tokenizer")  # that of the text encoder, another model
    tokenizer = _first(places, ("tokenizer.json", "tokenizer.model"))
    if tokenizer is None:
        raise CheckpointError(f"{model} has no tokenizer (tokenizer.json); fetch the folder again")
    pictures = None if kind in _SIGHTLESS else _pictures(places)
    return EnhancerFiles(
        model=model,
        model_type=kind,
        tokenizer=tokenizer,
        template=_template(places),
        pictures=pictures,
        picture_tokens=config.get("mm_tokens_per_image", PICTURE_TOKENS),
    )


def _first(places: Iterable[Path], names: Iterable[str]) -> Path | None:
    return next((place for place in places if any((place / one).is_file() for one in names)), None)


def _pictures(places: Iterable[Path]) -> Path | None:
    """The folder with the numbers of the preparation, which newer folders keep inside others."""
    for place in places:
        if (place / "preprocessor_config.json").is_file():
            return place
        whole = place / "processor_config.json"
        if whole.is_file() and "image_processor" in read_json(whole):
            return place
    return None


def _template(places: Iterable[Path]) -> str | None:
    """The form of a conversation from a file that a tokenizer does not read itself."""
    place = _first(places, ("chat_template.json",))
    return None if place is None else read_json(place / "chat_template.json").get("chat_template")
