"""What a checkpoint on disk holds: which file or folder serves which component. No torch."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pipelines.checkpoints.folders import (
    Survey,
    read_json,
    survey_diffusers,
    text_encoder_facts,
)
from pipelines.checkpoints.gguf import is_gguf
from pipelines.checkpoints.headers import CheckpointError
from pipelines.checkpoints.survey import expected_names, survey_originals
from pipelines.models import CHECKPOINTS, Checkpoint, Generation
from pipelines.plan import Mode, Variant

Layout = Literal["diffusers", "original"]
OTHER: dict[str, Variant] = {"dev": "distilled", "distilled": "dev"}
# Parts every run needs besides its transformer.
_ALWAYS = ("connectors", "vae", "audio_vae", "vocoder", "text_encoder", "tokenizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A checkpoint on disk. `parts` maps a component to its files, or to one folder in diffusers'
    or transformers' format.

    A name may end in `:dev` or `:distilled`; a whole-model file serves all its components for its
    own variant.
    """

    root: Path
    generation: Generation
    layout: Layout
    parts: Mapping[str, tuple[Path, ...]]
    expected: Mapping[str, str] = field(default_factory=dict)  # usual file names, for messages
    text_width: int | None = None  # hidden size of the text encoder, where one was found
    unusable: tuple[str, ...] = ()  # files that serve no part, each with its reason

    def files(self, component: str, variant: Variant = "distilled") -> tuple[Path, ...]:
        """The files or the folder of a component.

        Everything but the transformer is the same model in both variants, so the other variant's
        whole-model file serves where it is the only one. Raises CheckpointError for a component
        that is not there.
        """
        names = [f"{component}:{variant}", component]
        if component != "transformer":
            names.append(f"{component}:{OTHER[variant]}")
        for name in names:
            if name in self.parts:
                return self.parts[name]
        described = self._described(names[0], component)
        raise CheckpointError(f"{self.root} has no {described}{not_usable(self.unusable)}")

    def path(self, name: str) -> Path:
        """The one file of a part such as `distilled_lora`."""
        found = self.files(name)
        if len(found) != 1:
            raise CheckpointError(
                f"{name} is spread over {len(found)} files: {', '.join(map(str, found))}"
            )
        return found[0]

    def has(self, component: str, variant: Variant = "distilled") -> bool:
        """Whether a component can be loaded."""
        names = {f"{component}:{variant}", component}
        if component != "transformer":
            names.add(f"{component}:{OTHER[variant]}")
        return not names.isdisjoint(self.parts)

    def missing(
        self, mode: Mode, parts: Collection[str] = ("spatial_upscaler", "distilled_lora")
    ) -> list[str]:
        """Everything a mode needs and this checkpoint lacks, each with its usual file name; the
        last names the files that could not be used. Empty where it can run.

        `parts` are upscalers and LoRAs that are needed, too; the distilled LoRA counts in pro only.
        """
        variant: Variant = "distilled" if mode == "fast" else "dev"
        extra = [part for part in sorted(parts) if mode == "pro" or part != "distilled_lora"]
        wanted = ["transformer", *_ALWAYS, *extra]
        lacking = [name for name in wanted if not self.has(name, variant)]
        described = [self._described(f"{name}:{variant}", name) for name in lacking]
        return described[:-1] + [f"{last}{not_usable(self.unusable)}" for last in described[-1:]]

    def with_file(self, name: str, *files: Path) -> "Weights":
        """The same checkpoint with other files for one part, e.g. `transformer:distilled` or
        `spatial_upscaler`.
        """
        return replace(self, parts={**self.parts, name: files})

    @property
    def nbytes(self) -> int:
        """Bytes of all weight files, each once; without the enhancer's, which never stays."""
        files: set[Path] = set()
        for paths in (paths for name, paths in self.parts.items() if name != "enhancer"):
            for path in paths:
                files.update(path.glob("*.safetensors") if path.is_dir() else [path])
        return sum(file.stat().st_size for file in files)

    def _described(self, name: str, component: str) -> str:
        shown = name if component == "transformer" else component
        usual = self.expected.get(name) or self.expected.get(component)
        return f"{shown} ({usual})" if usual else shown


def find(
    path: Path,
    row: Checkpoint | None = None,
    *,
    text_encoder: Path | None = None,
    enhancer: Path | None = None,
    transformer: Path | None = None,
) -> Weights:
    """What `path` holds: a diffusers folder, a folder of Lightricks' original files, or one of
    these files.

    `transformer` is a GGUF file that takes the place of every transformer in `path`; naming such a
    file as `path` is the same with its folder.

    `row` says which named checkpoint is wanted: its file names decide between several candidates
    and its generation must fit. Without it the files decide. `text_encoder` and `enhancer` are
    transformers folders that lie elsewhere. Raises FileNotFoundError where there is nothing,
    CheckpointError for what cannot be used: mixed generations, weights with separate scales, a text
    encoder the model was not trained with.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if is_gguf(path) and path.is_file():
        path, transformer = path.parent, path
    root = path if path.is_dir() else path.parent
    diffusers = path.is_dir() and (path / "model_index.json").is_file()
    survey = survey_diffusers(path, row) if diffusers else Survey()
    if transformer is not None:
        survey.parts = {n: p for n, p in survey.parts.items() if not n.startswith("transformer")}
    originals = survey_originals(
        path, row, survey.generation, companions_only=diffusers, transformer=transformer
    )
    # Files that the row names come before a folder of the same component, any other file after it.
    parts = {**originals.parts, **survey.parts, **originals.named}
    unusable = (*survey.unusable, *originals.unusable)
    if not parts:
        raise CheckpointError(
            f"{path} holds nothing that can be loaded; accepted are a folder in diffusers' "
            "format (model_index.json), a folder with Lightricks' .safetensors files or a .gguf of "
            "the transformer, or one of those files. "
            f".ckpt files are not read{not_usable(unusable)}"
        )
    generation = _generation(path, row, survey, originals)
    if text_encoder is not None:
        parts |= {"text_encoder": (text_encoder,), "tokenizer": (text_encoder,)}
    if enhancer is not None:
        parts |= {"enhancer": (enhancer,)}
    usual = row or _usual_row(generation)
    weights = Weights(
        root=root,
        generation=generation,
        layout="diffusers" if survey.parts else "original",
        parts=parts,
        expected=expected_names(usual),
        unusable=unusable,
    )
    return _with_text_encoder(weights)


def not_usable(reasons: Sequence[str]) -> str:
    """The end of a message about something missing."""
    return f"; not usable: {', '.join(reasons)}" if reasons else ""


def _generation(path: Path, row: Checkpoint | None, *surveys: Survey) -> Generation:
    told = {survey.generation.name: survey.generation for survey in surveys if survey.generation}
    if row is not None and row.embedded:
        return row.generation
    if len(told) > 1:
        raise CheckpointError(
            f"{path} mixes {' and '.join(f'LTX-{name}' for name in sorted(told))}: one "
            "checkpoint is one generation, "
            "so keep them in separate folders"
        )
    if row is None:
        if not told:
            raise CheckpointError(
                f"{path}: no file says which generation it is (metadata model_version); use "
                "Lightricks' own files"
            )
        return next(iter(told.values()))
    if told and row.generation.name not in told:
        raise CheckpointError(f"{path} holds LTX-{next(iter(told))}, but {row.name} was asked for")
    return row.generation


def _usual_row(generation: Generation) -> Checkpoint | None:
    return next((row for row in CHECKPOINTS.values() if row.generation == generation), None)


def _with_text_encoder(weights: Weights) -> Weights:
    """The same weights with the text encoder's width, after checking that the connectors were
    trained on it.
    """
    if "text_encoder" not in weights.parts:
        return weights
    facts = text_encoder_facts(weights.parts["text_encoder"][0])
    wanted = weights.generation.text_encoder
    if facts.family != wanted:
        raise CheckpointError(
            f"{facts.path} is a {facts.model_type} model; LTX-{weights.generation.name} was "
            f"trained with {wanted}"
        )
    return replace(weights, text_width=facts.width)


def check_text_features(weights: Weights, features: int, source: Iterable[Path]) -> None:
    """Refuse a text encoder whose hidden size x (layers + 1) is not what the connectors take.

    `features` is the input width of the connectors' projection, from the files `source`.
    """
    if "text_encoder" not in weights.parts:
        return
    facts = text_encoder_facts(weights.parts["text_encoder"][0])
    if facts.width * (facts.layers + 1) == features:
        return
    from pipelines.checkpoints.configs import GEMMA_12B

    width, states = GEMMA_12B
    hint = f", that is Gemma 12B ({width} x {states})" if features == width * states else ""
    raise CheckpointError(
        f"{facts.path} gives {facts.width} x {facts.layers + 1} = "
        f"{facts.width * (facts.layers + 1):,} text features, "
        f"the connectors in {', '.join(path.name for path in source)} take {features:,}{hint}"
    )


def check_text_version(weights: Weights, trained_with: str, source: Path) -> None:
    """Refuse a Gemma that names itself otherwise than the one the model in `source` was trained
    with.
    """
    if "text_encoder" not in weights.parts:
        return
    facts = text_encoder_facts(weights.parts["text_encoder"][0])
    if facts.version is not None and facts.version != trained_with:
        raise CheckpointError(
            f"{facts.path} is {facts.version}; {source.name} was trained with {trained_with}"
        )


def folder_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a component's folder."""
    return read_json(folder / "config.json")
