"""Original files in a folder: what each is and which one serves which component. No torch."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.checkpoints.folders import (
    REFINE_SCALE,
    Survey,
    subfolders,
    text_encoder_folder,
    wrong_scale,
)
from pipelines.checkpoints.gguf import SUFFIX, is_gguf
from pipelines.checkpoints.headers import CheckpointError, Header, read_header
from pipelines.checkpoints.keys import (
    PROJECTION_PREFIX,
    TRANSFORMER_PREFIX,
    component_of,
    is_diffusion_decoder,
)
from pipelines.models import CHECKPOINTS, TINY, Checkpoint, Generation, generation_of
from pipelines.plan import Variant

_DEPTH = 2  # folders below the one named; the 2.5 repository has one level
_VERSION_IN_NAME = re.compile(r"ltx-?(\d+(?:\.\d+)?)[-_]")
SMALLER_SCALE = 1.5  # of the upscaler that serves existing videos alone
TOKENIZER_TENSOR = "tokenizer_json"  # 2.5's text encoder file carries its tokenizer as bytes


@dataclass(frozen=True, slots=True)
class _Found:
    """One original file and the parts it can serve."""

    header: Header
    parts: frozenset[str]
    generation: Generation | None

    @property
    def path(self) -> Path:
        return self.header.path


def expected_names(row: Checkpoint | None) -> dict[str, str]:
    """Part -> usual file name or repository, for messages and for choosing between candidates."""
    if row is None:
        return {}
    files = row.files
    names = {
        "transformer:dev": files.dev,
        "transformer:distilled": files.distilled,
        "distilled_lora": files.distilled_lora,
        "spatial_upscaler": files.spatial_upscaler,
        "spatial_upscaler_x1.5": files.spatial_upscaler_x1_5,
        "temporal_upscaler": files.temporal_upscaler,
        "vae": files.vae,
        "audio_vae": files.audio_vae,
        "vocoder": files.audio_vae,
        "text_projection": files.text_projection,
        "text_encoder": files.text_encoder_repository or files.text_projection,
        "tokenizer": files.text_encoder_repository or files.text_projection,
        "duration_head": files.duration_head,
    }
    return {name: file for name, file in names.items() if file}


def survey_originals(
    path: Path,
    row: Checkpoint | None,
    generation: Generation | None,
    *,
    companions_only: bool,
    transformer: Path | None = None,
) -> Survey:
    """Lightricks' own files in `path`, or `path` itself with what lies beside it.

    `generation` is known already where a diffusers folder is being completed (`companions_only`:
    its root only, and only files of that generation). `transformer` is a GGUF file that serves
    alone as the transformer, wherever it lies.
    """
    single = path.is_file()
    root = path.parent if single else path
    found, unusable = _companions(
        file
        for file in _files(root, 0 if companions_only else _DEPTH)
        if file != path and not (transformer and is_gguf(file))
    )
    if transformer is not None:
        own = _only_transformer(transformer, row, generation)
        generation = own.generation
        found = [own, *found]
    if single:
        own = _classify(read_header(path))
        if scale := _other_scale(own):
            raise CheckpointError(wrong_scale(path, scale))
        if not own.parts:
            raise CheckpointError(f"{path} is no LTX-2 checkpoint: it has none of its tensors")
        _refuse_quantised(own, row)
        generation = own.generation or generation
        # The user named one file: others only add what it does not hold, and never a second model.
        found = [own, *(one for one in found if not _overlaps(one, own))]
    wanted = row.generation if row and not row.embedded else generation
    if row and row.embedded:
        found = [_Found(one.header, one.parts, None) for one in found]
    elif wanted is None:
        wanted = _only_generation(path, found)
    else:
        found = _of_generation(path, found, wanted)
    scaled = [(one, scale) for one in found if (scale := _other_scale(one))]
    found = [one for one in found if "spatial_upscaler" not in one.parts or not _other_scale(one)]
    survey = _Chooser(row or _row_of(wanted), transformer).choose(found)
    if not companions_only:
        survey.parts |= text_encoder_folder(root, row or _row_of(wanted), wanted)
    survey.unusable = unusable
    if "spatial_upscaler" not in survey.parts:
        survey.unusable += [wrong_scale(one.path, scale) for one, scale in scaled]
    return survey


def _only_transformer(file: Path, row: Checkpoint | None, generation: Generation | None) -> _Found:
    """A GGUF file, which must be of the generation that is asked for or lies around it."""
    own = _classify(read_header(file))
    if not own.parts:
        raise CheckpointError(f"{file} holds no LTX-2 transformer")
    wanted = row.generation if row else generation
    if own.generation and wanted not in (None, own.generation):
        raise CheckpointError(
            f"{file} is a transformer of LTX-{own.generation.name}, the checkpoint is LTX-"
            f"{wanted.name}; generations cannot be mixed"
        )
    return own


def _companions(files: Iterable[Path]) -> tuple[list[_Found], list[str]]:
    """The files that serve some part, and why others cannot be read: whether that matters depends
    on what is missing in the end.
    """
    found: list[_Found] = []
    unusable: list[str] = []
    for file in files:
        try:
            one = _classify(read_header(file))
        except (CheckpointError, OSError) as error:
            unusable.append(str(error))
        else:
            if one.parts:
                found.append(one)
    return found, unusable


def _other_scale(one: _Found) -> float | None:
    """The factor of a spatial upscaler that does not double; None for everything else."""
    spatial = any(part.startswith("spatial_upscaler") for part in one.parts)
    return _scale_of(one.header) if spatial else None


def _scale_of(header: Header) -> float | None:
    config = header.config
    scale = config.get("spatial_scale", REFINE_SCALE)
    return scale if config.get("rational_resampler") and scale != REFINE_SCALE else None


def _overlaps(one: _Found, own: _Found) -> bool:
    return any(part.startswith("transformer") for part in one.parts) or not one.parts.isdisjoint(
        own.parts
    )


def _only_generation(path: Path, found: list[_Found]) -> Generation | None:
    told = {one.generation.name: one for one in found if one.generation}
    if len(told) > 1:
        listed = ", ".join(f"{one.path.name} is LTX-{name}" for name, one in sorted(told.items()))
        raise CheckpointError(
            f"{path} mixes generations ({listed}): one checkpoint is one generation, so keep "
            "them in separate folders"
        )
    return next((one.generation for one in told.values()), None)


def _of_generation(path: Path, found: list[_Found], wanted: Generation) -> list[_Found]:
    """The wanted generation's files in a folder that may hold several; refused where only another's
    model is there.
    """
    own = [one for one in found if one.generation in (None, wanted)]
    others = [one for one in found if one not in own and "transformer" in one.parts]
    if others and not any("transformer" in one.parts for one in own):
        listed = ", ".join(
            f"{one.path.name} is LTX-{one.generation.name}" for one in others if one.generation
        )
        raise CheckpointError(
            f"{path} holds no LTX-{wanted.name} model: {listed}; generations cannot be mixed"
        )
    return own


class _Chooser:
    """Picks one file for each part."""

    def __init__(self, row: Checkpoint | None, transformer: Path | None = None) -> None:
        self.row = row
        self.transformer = transformer  # the only file that may be one
        self.names = {part: Path(name).name for part, name in expected_names(row).items()}

    def choose(self, found: list[_Found]) -> Survey:
        """Parts with their files; those of whole-model files carry the variant in their name."""
        survey = Survey()
        slots = sorted({slot for one in found for slot in self._slots(one)})
        chosen = {
            slot: self._pick(slot, [one for one in found if slot in self._slots(one)])
            for slot in slots
        }
        self._join_projection(chosen, survey)
        for slot, one in chosen.items():
            if slot.startswith(("text_projection", "connectors")):
                continue
            survey.parts[slot] = (one.path,)
            if self._is_named(one, slot):
                survey.named[slot] = (one.path,)
        versions = {
            one.generation.name: one.generation for one in chosen.values() if one.generation
        }
        survey.generation = next(iter(versions.values()), None)
        return survey

    def _slots(self, one: _Found) -> set[str]:
        if "transformer" not in one.parts:
            return set(one.parts)
        variant = self._variant(one)
        parts = one.parts
        if self.transformer not in (None, one.path):
            parts = parts - {"transformer"}
        return {f"{part}:{variant}" for part in parts}

    def _variant(self, one: _Found) -> Variant:
        name = one.path.name
        for variant in ("dev", "distilled"):
            if name == self.names.get(f"transformer:{variant}"):
                return variant
        says = {
            variant
            for variant in ("dev", "distilled")
            if re.search(rf"(?<![a-z]){variant}(?![a-z])", name.lower())
        }
        if says == {"dev"}:
            return "dev"
        if says == {"distilled"}:
            return "distilled"
        raise CheckpointError(
            f"{one.path}: nothing says whether this is the dev or the distilled model; "
            "its name must contain one of the two words, as Lightricks' does"
        )

    def _is_named(self, one: _Found, slot: str) -> bool:
        name = one.path.name
        variant = slot.rpartition(":")[2]
        return name in (self.names.get(slot), self.names.get(f"transformer:{variant}"))

    def _pick(self, slot: str, candidates: list[_Found]) -> _Found:
        plain = [one for one in candidates if one.header.quantised is None]
        if not plain:
            _refuse_quantised(candidates[0], self.row)
        named = [one for one in plain if self._is_named(one, slot)]
        # What is rounded is taken where nothing else is there, or where it is asked for by name.
        exact = [one for one in plain if not is_gguf(one.path)]
        best = named or exact or plain
        if len(best) > 1:
            raise CheckpointError(
                f"several files could be the {slot}: "
                f"{', '.join(sorted(str(one.path) for one in best))}; keep one of them"
                + (f", usually {self.names[slot]}" if slot in self.names else "")
                + (", or name the one to use as the checkpoint" if is_gguf(best[0].path) else "")
            )
        return best[0]

    def _join_projection(self, chosen: Mapping[str, _Found], survey: Survey) -> None:
        """Connectors need their blocks and their projections, which 2.5 keeps in two files."""
        for suffix in (":dev", ":distilled", ""):
            blocks = chosen.get(f"connectors{suffix}")
            projection = chosen.get(f"text_projection{suffix}") or chosen.get("text_projection")
            if blocks is None or projection is None:
                continue
            files = (
                (blocks.path,) if blocks.path == projection.path else (blocks.path, projection.path)
            )
            survey.parts[f"connectors{suffix}"] = files
            if self._is_named(blocks, f"connectors{suffix}"):
                survey.named[f"connectors{suffix}"] = files


def _refuse_quantised(one: _Found, row: Checkpoint | None) -> None:
    scale = one.header.quantised
    if scale is None:
        return
    instead = (
        f"the bf16 file, {row.files.dev} or {row.files.distilled}"
        if row
        else "the bf16 file of the same model"
    )
    raise CheckpointError(
        f"{one.path} holds quantised weights with separate scales ({scale}), which a plain load "
        "turns into noise; "
        f"use {instead}"
    )


def _classify(header: Header) -> _Found:
    return _Found(header, frozenset(_parts(header)), _generation(header))


def _parts(header: Header) -> set[str]:
    names = header.tensors
    if is_gguf(header.path):  # what else such a file may hold is taken from others
        held = f"{TRANSFORMER_PREFIX}patchify_proj.weight" in names
        return {"transformer"} if held else set()
    if any(".lora_A." in name or ".lora_down." in name for name in names):
        return {"distilled_lora"} if "distilled" in header.path.name.lower() else set()
    if "initial_conv.weight" in names and "final_conv.weight" in names:
        kind = "temporal" if header.config.get("temporal_upsample") else "spatial"
        smaller = kind == "spatial" and _scale_of(header) == SMALLER_SCALE
        return {f"{kind}_upscaler_x1.5" if smaller else f"{kind}_upscaler"}
    parts = {component for name in names if (component := component_of(name))}
    if "vae" in parts and is_diffusion_decoder(names):
        parts = parts - {"vae"} | {"diffusion_decoder"}
    if "transformer" in parts and f"{TRANSFORMER_PREFIX}patchify_proj.weight" not in names:
        parts.discard("transformer")
    if any(name.startswith(PROJECTION_PREFIX) for name in names):
        parts.add("text_projection")
        if not any("_embeddings_connector." in name for name in names):
            parts.discard("connectors")
    if TOKENIZER_TENSOR in names:
        parts |= {"text_encoder", "tokenizer"}
    return parts


def _generation(header: Header) -> Generation | None:
    """By the metadata; by the file's name only for upscalers and LoRAs, which often have none."""
    if header.model_version:
        try:
            return generation_of(header.model_version)
        except ValueError as error:
            raise CheckpointError(f"{header.path}: {error}") from error
    name = header.path.name.lower()
    if "ltx-2-tiny" in name:
        return TINY
    match = _VERSION_IN_NAME.search(name)
    return generation_of(match[1]) if match else None


def _row_of(generation: Generation | None) -> Checkpoint | None:
    return next((row for row in CHECKPOINTS.values() if row.generation == generation), None)


def _files(root: Path, depth: int) -> Iterator[Path]:
    """Safetensors and GGUF files, not those of folders with a config.json (diffusers and
    transformers components).
    """
    kinds = ("*.safetensors", f"*{SUFFIX}")
    yield from sorted(file for kind in kinds for file in root.glob(kind) if file.is_file())
    if depth:
        for folder in subfolders(root):
            if not (folder / "config.json").is_file():
                yield from _files(folder, depth - 1)
