"""Which files of which repository a mode needs: one answer for the download, the search and the
error texts. No torch.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from ltx2.errors import BadRequest
from pipelines.models import Checkpoint

Modes = Literal["fast", "pro", "all"]

# What a transformers folder needs to be loaded: configuration, tokenizer and safetensors, nothing
# else.
TRANSFORMERS_FILES = ("*.json", "*.safetensors", "*.model", "*.jinja")

# Official repositories in diffusers' layout. 2.5: `transformer/` is the distilled model,
# `transformer_full/` the dev one.
# Lightricks/LTX-2 holds the dev model beside the original files, so it needs no row here.
DIFFUSERS_REPOSITORIES = {"ltx-2.5": ("Lightricks/LTX-2.5-Diffusers",)}

# Everything of a diffusers folder that both modes read.
_DIFFUSERS_SHARED = (
    "model_index.json",
    "scheduler/*",
    "text_encoder/*",
    "tokenizer/*",
    "connectors/*",
    "vae/*",
    "audio_vae/*",
    "vocoder/*",
    "latent_upsampler/*",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files of one repository. `patterns` match whole paths in it; each must match at least one
    file.
    """

    repository: str
    patterns: tuple[str, ...]
    folder: str = ""  # where they go below a plain folder, "" = its root
    optional: tuple[str, ...] = ()  # patterns that may match nothing
    licence: str = ""

    def picks(self, file: str) -> bool:
        """Whether this file is one of them. `*` stays inside its own folder."""
        return any(matches(file, pattern) for pattern in (*self.patterns, *self.optional))


def matches(file: str, pattern: str) -> bool:
    """Whether a repository path matches a pattern; unlike fnmatch's, this `*` does not cross a
    slash.
    """
    return file.count("/") == pattern.count("/") and fnmatchcase(file, pattern)


def original_files(row: Checkpoint, mode: Modes) -> tuple[str, ...]:
    """Lightricks' own files of a mode, paths in the row's repository. The text encoder of 2.0 and
    2.3 is apart.
    """
    files = row.files
    wanted: list[str | None] = []
    if mode in ("fast", "all"):
        wanted.append(files.distilled)
    if mode in ("pro", "all"):
        wanted += [files.dev, files.distilled_lora]
    wanted += [files.spatial_upscaler, files.temporal_upscaler]
    wanted += [files.vae, files.audio_vae, files.text_projection]
    return tuple(name for name in wanted if name is not None)


def text_encoder_folder(repository: str) -> str:
    """Name of a transformers model's folder below a plain weights folder: the repository without
    its owner.
    """
    return repository.rpartition("/")[2]


def original_sources(row: Checkpoint, mode: Modes) -> list[Source]:
    """Lightricks' files with the duration head where there is one, and what lies apart: the text
    encoder where the checkpoint does not hold it, and the model that rewrites prompts.
    """
    head, smaller = row.files.duration_head, row.files.spatial_upscaler_x1_5
    found = [
        Source(
            repository=row.files.repository,
            patterns=(*original_files(row, mode), *([head] if head else [])),
            optional=(smaller,) if smaller else (),
            licence=row.files.licence,
        )
    ]
    encoder = row.files.text_encoder_repository
    if encoder is not None:
        found.append(_transformers_source(encoder, "Gemma Terms of Use"))
    return [*found, *_enhancer_sources(row)]


def _enhancer_sources(row: Checkpoint) -> list[Source]:
    repository = row.files.enhancer_repository
    return [_transformers_source(repository, "Apache-2.0")] if repository else []


def _transformers_source(repository: str, licence: str) -> Source:
    """A whole transformers model, with its tokenizer and the form of its conversations."""
    return Source(
        repository=repository,
        patterns=("config.json", "*.safetensors", "tokenizer*.json"),
        optional=TRANSFORMERS_FILES,
        folder=text_encoder_folder(repository),
        licence=licence,
    )


def diffusers_sources(row: Checkpoint, mode: Modes) -> list[Source]:
    """The same model in diffusers' layout, where one official repository holds what the mode needs.

    Raises BadRequest for 2.3 and for `fast` of 2.0: their distilled models exist in this layout
    only as third-party or older conversions, and mixing those with the row's files would give
    another model than the one asked for.
    """
    if row.name == "ltx-2.5":
        passes = {
            "fast": ("duration_head/*", "transformer/*"),
            "pro": ("duration_head/*", "transformer_full/*"),
        }
        chosen = passes[mode] if mode != "all" else (*passes["fast"], "transformer_full/*")
        lora = ("*distilled-lora*.safetensors",) if mode != "fast" else ()
        repository = DIFFUSERS_REPOSITORIES[row.name][0]
    elif row.name == "ltx-2" and mode == "pro":
        chosen, lora = ("transformer/*",), (row.files.distilled_lora,)
        repository = row.files.repository
    else:
        raise BadRequest(
            f"--diffusers: no official repository holds {row.name} in diffusers' layout for mode "
            f"{mode}; "
            "it is there for ltx-2.5 (fast, pro, all) and ltx-2 (pro). Without --diffusers the "
            "original files "
            "are fetched, which run as well"
        )
    return [
        Source(
            repository=repository,
            patterns=(*_DIFFUSERS_SHARED, *chosen, *lora),
            licence=row.files.licence,
        ),
        *_enhancer_sources(row),
    ]


def download_command(name: str, mode: Modes) -> str:
    """The command that fetches what a mode of this checkpoint needs."""
    return f"ltx2 download --checkpoint {name} --mode {mode}"
