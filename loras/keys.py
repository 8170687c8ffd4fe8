"""Names in LoRA files -> layers of the diffusers modules. No torch.

Read are the spellings of Lightricks, ComfyUI, diffusers, PEFT and kohya. Every spelling of the
modules' real layers is listed, and a file's names are looked up there: nothing is guessed.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loras.declared import Declared, declared
from loras.headers import Header
from loras.kinds import LOADABLE, Fault, Role, Update, assemble, other_kind, split
from loras.origin import made_for

Layers = Mapping[str, Mapping[str, tuple[int, int]]]  # component -> path -> (outputs, inputs)

# Whole path elements, Lightricks -> diffusers; one to one, so that they can be read backwards.
TRANSFORMER_RENAMES: tuple[tuple[str, str], ...] = (
    ("patchify_proj", "proj_in"),
    ("audio_patchify_proj", "audio_proj_in"),
    ("adaln_single", "time_embed"),
    ("audio_adaln_single", "audio_time_embed"),
    ("prompt_adaln_single", "prompt_adaln"),
    ("audio_prompt_adaln_single", "audio_prompt_adaln"),
    ("av_ca_video_scale_shift_adaln_single", "av_cross_attn_video_scale_shift"),
    ("av_ca_a2v_gate_adaln_single", "av_cross_attn_video_a2v_gate"),
    ("av_ca_audio_scale_shift_adaln_single", "av_cross_attn_audio_scale_shift"),
    ("av_ca_v2a_gate_adaln_single", "av_cross_attn_audio_v2a_gate"),
    ("scale_shift_table_a2v_ca_video", "video_a2v_cross_attn_scale_shift_table"),
    ("scale_shift_table_a2v_ca_audio", "audio_a2v_cross_attn_scale_shift_table"),
    ("q_norm", "norm_q"),
    ("k_norm", "norm_k"),
)
CONNECTOR_RENAMES: tuple[tuple[str, str], ...] = (
    ("video_embeddings_connector", "video_connector"),
    ("audio_embeddings_connector", "audio_connector"),
    ("transformer_1d_blocks", "transformer_blocks"),
    ("aggregate_embed", "text_proj_in"),  # 2.0: one projection for both streams
    ("video_aggregate_embed", "video_text_proj_in"),  # 2.3 and later: one each
    ("audio_aggregate_embed", "audio_text_proj_in"),
    ("q_norm", "norm_q"),
    ("k_norm", "norm_k"),
)
_PROJECTION = "text_embedding_projection."  # the text projections' own prefix in Lightricks' files

# In front of a module path; they can be stacked. Kohya's comes alone and joins the path with `_`.
_PREFIXES = (
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "connectors.",
)
_KOHYA = "lora_unet_"
_CONNECTORS = re.compile(
    r"(video|audio)_(embeddings_)?connector[._]|text_embedding_projection[._]|"
    r"(video_|audio_)?(text_proj_in|aggregate_embed)$"
)
_EXAMPLES = 5
# Types that weights are kept in; an alpha may be a whole number, too.
_WEIGHTS = frozenset(
    {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
)
_ALPHAS = _WEIGHTS | {"I64", "I32", "I16", "I8", "U8"}


class LoraMismatch(ValueError):
    """A file that cannot act as a LoRA of this model; the message says why and names examples.

    `file` is where it lies, where that is known.
    """

    def __init__(self, message: str, *, file: Path | None = None) -> None:
        super().__init__(message)
        self.file = file


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What of a file goes where."""

    updates: tuple[Update, ...]
    declared: Mapping[str, Declared]  # alphas of the file's metadata, by component
    elsewhere: tuple[str, ...]  # names for components that exist but are not asked about

    @property
    def kind(self) -> str:
        """The kind of its updates: "lora", "dora", "lokr", ...; several joined by +."""
        return "+".join(sorted({update.name for update in self.updates}))

    @property
    def rank(self) -> int | None:
        """The largest rank, None where no update has one."""
        return max((u.rank for u in self.updates if u.rank is not None), default=None)

    def layers(self, component: str) -> int:
        """How many layers of a component it acts on."""
        return sum(update.component == component for update in self.updates)


def match(header: Header, layers: Layers, *, file: str, elsewhere: Collection[str] = ()) -> Match:
    """Find the layer of every tensor of a LoRA file, from names and shapes alone.

    `layers` are the linear layers of the modules by component; `elsewhere` names components that
    take their part of the file some other time: what is for them is not looked at. `file` is the
    file's name in messages. Raises LoraMismatch with every reason at once: another kind of adapter,
    no or only some tensors that fit, half an update, two tensors for one place, other shapes.
    """
    sorting = _Sorting(layers, elsewhere)
    for name in sorted(header.tensors):
        sorting.add(name)
    problems = list(sorting.problems())
    notes: dict[str, Declared] = {}
    try:
        notes = {component: declared(header.metadata, component) for component in layers}
    except ValueError as error:
        problems.append(str(error))
    updates = () if sorting.others else tuple(_updates(sorting.found, header, layers, problems))
    if problems:
        raise LoraMismatch(f"{file}: {'; '.join(problems)}{made_for(header)}")
    return Match(updates=updates, declared=notes, elsewhere=tuple(sorting.elsewhere))


def for_connectors(names: Iterable[str]) -> list[str]:
    """Those of a file's tensors that are for the text connectors, whatever these look like."""
    return [name for name in names if _CONNECTORS.match(_bare(split(name)[0]))]


def is_adapter(names: Iterable[str]) -> bool:
    """Whether any tensor's name has the form of an adapter's, of whatever kind."""
    return any(
        other_kind(name) is not None or split(name)[1] not in (None, "alpha") for name in names
    )


class _Sorting:
    """Names of one file, sorted by the layer they belong to."""

    def __init__(self, layers: Layers, elsewhere: Collection[str]) -> None:
        self._spellings = dict(spellings(layers))
        self._flat = {path.replace(".", "_"): place for path, place in self._spellings.items()}
        self._not_here = set(elsewhere) - layers.keys()
        self.found: dict[tuple[str, str], dict[Role, str]] = {}
        self.elsewhere: list[str] = []
        self._strangers: list[str] = []
        self._twice: list[str] = []
        self.others: dict[str, list[str]] = {}

    def add(self, name: str) -> None:
        if kind := other_kind(name):
            self.others.setdefault(kind, []).append(name)
            return
        path, role = split(name)
        bare = _bare(path)
        place = (self._flat if path.startswith(_KOHYA) else self._spellings).get(bare)
        component = "connectors" if _CONNECTORS.match(bare) else "transformer"
        if role is not None and place is not None:
            roles = self.found.setdefault(place, {})
            if role in roles:
                self._twice.append(f"{roles[role]} and {name}")
            roles[role] = name
        elif role is not None and component in self._not_here:
            self.elsewhere.append(name)
        else:
            self._strangers.append(name)

    def problems(self) -> Iterator[str]:
        """What is wrong with the names."""
        for kind, names in self.others.items():
            article = "an" if kind[0] in "AEIO" else "a"
            yield f"{article} {kind} adapter; {LOADABLE} ({some(names)})"
        if self.others:
            return
        if not self.found and not self.elsewhere:
            tensors = _count(self._strangers, "tensor")
            yield f"none of its {tensors} fits a layer of this model"
            if self._strangers:
                yield f"it has {some(self._strangers)}"
        elif self._strangers:
            fits = sum(len(roles) for roles in self.found.values()) + len(self.elsewhere)
            yield (
                f"{_count(self._strangers, 'tensor')} of it fit no layer of this model while "
                f"{fits} do: {some(self._strangers)}"
            )
        if self._twice:
            yield f"more than one tensor for the same place: {some(self._twice)}"


def spellings(layers: Layers) -> Iterator[tuple[str, tuple[str, str]]]:
    """Every way to write a layer's path without a prefix, and the (component, path) it means.

    A path that two layers answer to goes to the first: components are tried in their order.
    """
    taken: set[str] = set()
    for component, paths in layers.items():
        for path in paths:
            for spelling in dict.fromkeys((path, *_original(component, path))):
                if spelling not in taken:
                    taken.add(spelling)
                    yield spelling, (component, path)


def some(names: list[str]) -> str:
    """Up to five of the names, and how many more there are."""
    more = len(names) - _EXAMPLES
    return ", ".join(names[:_EXAMPLES]) + (f" and {more} more" if more > 0 else "")


def _original(component: str, path: str) -> tuple[str, ...]:
    """A layer's path as Lightricks write it, without and with the projections' prefix."""
    renames = TRANSFORMER_RENAMES if component == "transformer" else CONNECTOR_RENAMES
    backwards = {ours: theirs for theirs, ours in renames}
    original = ".".join(backwards.get(part, part) for part in path.split("."))
    if component == "connectors" and "text_proj_in" in path:
        return (_PROJECTION + original, original)
    return (original,)


def _bare(path: str) -> str:
    """A layer's path without what files put in front of it."""
    return path.removeprefix(_KOHYA) if path.startswith(_KOHYA) else _without_prefixes(path)


def _without_prefixes(path: str) -> str:
    while prefix := next((p for p in _PREFIXES if path.startswith(p)), None):
        path = path.removeprefix(prefix)
    return path


def _updates(
    found: Mapping[tuple[str, str], Mapping[Role, str]],
    header: Header,
    layers: Layers,
    problems: list[str],
) -> Iterator[Update]:
    """Whole updates of fitting shapes; what is not goes to `problems`."""
    shapes, faults = header.shapes, list[Fault]()
    for place, roles in found.items():
        component, path = place
        update = assemble(place, roles, shapes, layers[component][path])
        if isinstance(update, Update):
            yield update
        else:
            faults.append(update)
    halves, alphas, sizes = (
        [fault.text for fault in faults if fault.sort == sort] for sort in ("half", "alpha", "size")
    )
    if halves:
        problems.append(f"half an update for {_count(halves, 'layer')}: {some(halves)}")
    if alphas:
        problems.append(f"alpha is not one number: {some(alphas)}")
    if sizes:
        problems.append(f"other shapes than {_count(sizes, 'layer')} of this model: {some(sizes)}")
    whole = [
        name
        for roles in found.values()
        for role, name in roles.items()
        if header.tensors[name].dtype not in (_ALPHAS if role == "alpha" else _WEIGHTS)
    ]
    if whole:
        kinds = sorted({header.tensors[name].dtype for name in whole})
        problems.append(f"{_count(whole, 'tensor')} of {', '.join(kinds)}, which are no weights")


def _count(items: list[str], noun: str) -> str:
    return f"{len(items)} {noun}" + ("" if len(items) == 1 else "s")
