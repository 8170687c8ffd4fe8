"""What a client may offer for a checkpoint: fields, sizes, modes, cameras, models. JSON types."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel

from loras import catalog
from ltx2.adapters import fitting
from ltx2.extent import NAMED_SIZES, RATIOS, Limits, named_size
from ltx2.planner import DEFAULT_LIMITS, find_checkpoint
from ltx2.request import CAMERA_MOTIONS, NESTED, PICTURES, PRO_ONLY, Request, accepts, properties
from pipelines.models import CHECKPOINTS, PRO_AUDIO, PRO_VIDEO, Checkpoint
from pipelines.sigmas import DISTILLED

# Keys of a JSON schema that a form can use as they are.
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "maxItems")


def describe(
    checkpoint: Checkpoint | str = "tiny", *, limits: Limits = DEFAULT_LIMITS
) -> dict[str, Any]:
    """Everything a form or a document needs, made from the tables that validate a request.

    Raises BadRequest for a name that is not in the model table.
    """
    row = find_checkpoint(checkpoint)
    return {
        "checkpoint": _model(row),
        "models": [_model(each) for each in CHECKPOINTS.values()],
        "modes": _modes(row),
        "fields": [_field(Request, name, row) for name in Request.model_fields],
        "item_fields": {
            listed: [_field(item, name, row, listed) for name in item.model_fields]
            for listed, item in NESTED.items()
        },
        "sizes": _sizes(row),
        "cameras": _cameras(row),
        "loras": [
            lora_row(entry)
            for entry in catalog.entries()
            if row.generation.name in entry.generations
        ],
        "limits": asdict(limits),
    }


def _model(row: Checkpoint) -> dict[str, Any]:
    return {
        "name": row.name,
        "generation": row.generation.name,
        "width": row.width,
        "height": row.height,
        "duration": row.seconds,
        "embedded": row.embedded,
        "licence": row.files.licence,
        "gated": row.files.gated,
        "repository": row.files.repository,
    }


def _modes(row: Checkpoint) -> list[dict[str, Any]]:
    generation = row.generation
    shared = {"refine_steps": len(generation.refine_sigmas) - 1}
    return [
        {
            "name": "fast",
            "steps": len(DISTILLED) - 1,
            "sampler": generation.distilled_sampler,
            "guided": False,
            **shared,
        },
        {
            "name": "pro",
            "steps": generation.dev_steps,
            "sampler": "euler",
            "guided": True,
            "video_guidance": asdict(PRO_VIDEO),
            "audio_guidance": asdict(PRO_AUDIO),
            **shared,
        },
    ]


def lora_row(entry: catalog.Entry) -> dict[str, Any]:
    """A LoRA of the catalogue as plain JSON types."""
    return {
        "id": entry.id,
        "title": entry.title,
        "kind": entry.kind,
        "generations": list(entry.generations),
        "repository": entry.repository or None,
        "file": entry.file,
        "strengths": dict(entry.strengths),
        "prompt_suffix": entry.prompt_suffix or None,
        "licence": entry.licence,
        "source": entry.source or None,
        "built_in": not entry.repository,
    }


def _field(
    model: type[BaseModel], name: str, row: Checkpoint, listed: str | None = None
) -> dict[str, Any]:
    """One field: its kind, bounds and sentences, and what null stands for on this checkpoint.

    `listed` is the field whose list the model is an item of.
    """
    prop = properties(model)[name]
    options: list[Mapping[str, Any]] = prop.get("anyOf", [prop])
    kind = options[0]
    mine = model is Request
    described: dict[str, Any] = {
        "name": name,
        "type": kind["type"],
        "required": model.model_fields[name].is_required(),
        "nullable": {"type": "null"} in options,
        "default": prop.get("default"),
        "description": prop["description"],
        "accepts": accepts([name] if listed is None else [listed, name]),
        "available": not (mine and name == "detailer") or bool(fitting(row, ("detailer",))),
        "modes": ["pro"] if mine and name in (*PRO_ONLY, "negative_prompt") else ["fast", "pro"],
        **{key: kind[key] for key in _BOUNDS if key in kind},
    }
    if "enum" in kind:
        described["choices"] = kind["enum"]
    if mine and (name == "image" or name == "last_image"):
        described["aliases"] = list(PICTURES[name])
    if mine and name == "duration":
        # None where the model predicts the length from the prompt.
        described["null_means"] = None if row.generation.duration_head else row.seconds
    if mine and name == "num_inference_steps":
        described["null_means"] = row.generation.dev_steps
    return described


def _sizes(row: Checkpoint) -> dict[str, dict[str, list[int]]]:
    """Width and height per resolution and shape; "default" is the checkpoint's own size."""
    return {
        label: {shape: list(named_size(row, name, ratio)) for shape, ratio in RATIOS.items()}
        for label, name in (("default", None), *((name, name) for name in NAMED_SIZES))
    }


def _cameras(row: Checkpoint) -> list[dict[str, Any]]:
    titles = {entry.id: entry.title for entry in catalog.entries() if entry.kind == "camera"}
    by = "lora" if row.generation.camera_loras else "prompt"
    return [
        {"name": name, "title": titles.get(name, "None"), "by": None if name == "none" else by}
        for name in CAMERA_MOTIONS
    ]
