"""Names in LoRA files -> layers of the diffusers modules. No torch.

Read are the spellings of Lightricks, ComfyUI, diffusers, PEFT and kohya. Every spelling of the
modules' real layers is listed, and a file's names are looked up there: nothing is guessed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["A", "B", "alpha"]
Shape = tuple[int, ...]
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
_ROLES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"\.lora_A(\.(?!weight$)[^.]+)?\.weight$"), "A"),
    (re.compile(r"\.lora[_.]down\.weight$"), "A"),
    (re.compile(r"\.lora_B(\.(?!weight$)[^.]+)?\.weight$"), "B"),
    (re.compile(r"\.lora[_.]up\.weight$"), "B"),
    (re.compile(r"\.alpha$"), "alpha"),
)
# Other adapter kinds by a telling part of their names: read as LoRA they would do something else.
_OTHER_KINDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"dora_scale|lora_magnitude_vector"), "DoRA"),
    (re.compile(r"\.lokr_"), "LoKr"),
    (re.compile(r"\.hada_"), "LoHa"),
    (re.compile(r"\.oft_|\.boft_"), "OFT"),
    (re.compile(r"\.lora_mid\."), "LoCon"),
    (re.compile(r"\.diff(_b)?$"), "whole-weight difference"),
)
_CONNECTORS = re.compile(
    r"(video|audio)_(embeddings_)?connector[._]|text_embedding_projection[._]|"
    r"(video_|audio_)?(text_proj_in|aggregate_embed)$"
)
_EXAMPLES = 5


class LoraMismatch(ValueError):
    """A file that cannot act as a LoRA of this model; the message says why and names examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two factors of one layer's update, as names in the file."""

    component: str  # "transformer" or "connectors"
    path: str  # of the layer in the diffusers module
    down: str  # A, (rank, inputs)
    up: str  # B, (outputs, rank)
    alpha: str | None  # scalar: the update is alpha / rank * B @ A; None: B @ A
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What of a file goes where."""

    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]  # names for the text connectors where these are not among the modules


def match(
    shapes: Mapping[str, Shape], layers: Layers, *, file: str, metadata: Mapping[str, str]
) -> Match:
    """Find the layer of every tensor of a LoRA file, from names and shapes alone.

    `shapes` and `metadata` are the file's, `layers` the linear layers of the modules by component;
    `file` is its name in messages. Raises LoraMismatch with every reason at once: another kind of
    adapter, no or only some tensors that fit, half a pair, two tensors for one place, other shapes.
    """
    sorting = _Sorting(layers)
    for name in sorted(shapes):
        sorting.add(name)
    problems = list(sorting.problems())
    pairs = () if sorting.others else tuple(_pairs(sorting.found, shapes, layers, problems))
    if problems:
        raise LoraMismatch(f"{file}: {'; '.join(problems)}{_made_for(shapes, metadata)}")
    return Match(pairs=pairs, left_out=tuple(sorting.left_out))


class _Sorting:
    """Names of one file, sorted by the layer they belong to."""

    def __init__(self, layers: Layers) -> None:
        self._spellings = dict(spellings(layers))
        self._flat = {path.replace(".", "_"): place for path, place in self._spellings.items()}
        self._has_connectors = "connectors" in layers
        self.found: dict[tuple[str, str], dict[Role, str]] = {}
        self.left_out: list[str] = []
        self._strangers: list[str] = []
        self._twice: list[str] = []
        self.others: dict[str, list[str]] = {}

    def add(self, name: str) -> None:
        if kind := next((kind for part, kind in _OTHER_KINDS if part.search(name)), None):
            self.others.setdefault(kind, []).append(name)
            return
        path, role = _split(name)
        flat = path.startswith(_KOHYA)
        bare = path.removeprefix(_KOHYA) if flat else _without_prefixes(path)
        place = (self._flat if flat else self._spellings).get(bare)
        if role is not None and place is not None:
            roles = self.found.setdefault(place, {})
            if role in roles:
                self._twice.append(f"{roles[role]} and {name}")
            roles[role] = name
        elif role is not None and not self._has_connectors and _CONNECTORS.match(bare):
            self.left_out.append(name)
        else:
            self._strangers.append(name)

    def problems(self) -> Iterator[str]:
        """What is wrong with the names."""
        for kind, names in self.others.items():
            yield f"a {kind} adapter, only plain LoRA can be loaded ({some(names)})"
        if self.others:
            return
        if not self.found:
            tensors = _count(self._strangers + self.left_out, "tensor")
            yield f"none of its {tensors} fits a layer of this model"
            if self._strangers:
                yield f"it has {some(self._strangers)}"
            if self.left_out:
                yield f"it has {some(self.left_out)}, but the text connectors take no LoRA here"
        elif self._strangers:
            fits = sum(len(roles) for roles in self.found.values())
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


def _split(name: str) -> tuple[str, Role | None]:
    for pattern, role in _ROLES:
        if found := pattern.search(name):
            return name[: found.start()], role
    return name, None


def _without_prefixes(path: str) -> str:
    while prefix := next((p for p in _PREFIXES if path.startswith(p)), None):
        path = path.removeprefix(prefix)
    return path


def _pairs(
    found: Mapping[tuple[str, str], Mapping[Role, str]],
    shapes: Mapping[str, Shape],
    layers: Layers,
    problems: list[str],
) -> Iterator[Pair]:
    """Whole pairs of fitting shapes; what is not goes to `problems`."""
    halves, alphas, sizes = [], [], []
    for (component, path), roles in found.items():
        if "A" not in roles or "B" not in roles:
            halves.append(f"{path} ({', '.join(roles.values())})")
            continue
        if "alpha" in roles and shapes[roles["alpha"]] not in ((), (1,)):
            alphas.append(roles["alpha"])
        outputs, inputs = layers[component][path]
        down, up = shapes[roles["A"]], shapes[roles["B"]]
        rank = down[0] if down else 0
        if rank < 1 or down != (rank, inputs) or up != (outputs, rank):
            sizes.append(f"{path} (A {down} and B {up}, the layer is {inputs} -> {outputs})")
            continue
        yield Pair(
            component=component,
            path=path,
            down=roles["A"],
            up=roles["B"],
            alpha=roles.get("alpha"),
            rank=rank,
        )
    if halves:
        problems.append(f"half a pair for {_count(halves, 'layer')}: {some(halves)}")
    if alphas:
        problems.append(f"alpha is not one number: {some(alphas)}")
    if sizes:
        problems.append(f"other shapes than {_count(sizes, 'layer')} of this model: {some(sizes)}")


# Names that only one family of models has.
_SIGNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"double_blocks|single_blocks"), "Flux or HunyuanVideo"),
    (re.compile(r"single_transformer_blocks"), "Flux"),
    (re.compile(r"joint_blocks"), "Stable Diffusion 3"),
    (re.compile(r"(^|[._])blocks[._]\d+[._](self_attn|cross_attn)"), "Wan"),
    (re.compile(r"(down|up|input|output)_blocks"), "a UNet such as Stable Diffusion's"),
    (re.compile(r"lora_te|text_encoder"), "a text encoder"),
    (re.compile(r"to_gate_logits|prompt_adaln"), "LTX-2.3 or later"),
    (re.compile(r"audio_attn1|audio_to_video_attn|caption_projection"), "LTX-2"),
)
_STATED = ("modelspec.architecture", "ss_base_model_version", "base_model", "model_version")
_BLOCK = re.compile(r"transformer_blocks[._](\d+)[._]")
_WIDTH = re.compile(r"transformer_blocks[._]\d+[._]attn1[._]to_q\.")


def _made_for(shapes: Mapping[str, Shape], metadata: Mapping[str, str]) -> str:
    """What a file seems to be for, as the end of a message; empty if it does not tell."""
    told = [f"{key} {metadata[key][:60]!r}" for key in _STATED if metadata.get(key)]
    told += [sign for part, sign in _SIGNS if any(part.search(name) for name in shapes)][:1]
    if blocks := [int(found[1]) for name in shapes if (found := _BLOCK.search(name))]:
        told.append(f"{max(blocks) + 1} blocks")
    widths = [
        shape[1]
        for name, shape in shapes.items()
        if _WIDTH.search(name) and _split(name)[1] == "A" and len(shape) == 2
    ]
    if widths:
        told.append(f"width {widths[0]}")
    return f"; it seems to be made for {', '.join(told)}" if told else ""


def _count(items: list[str], noun: str) -> str:
    return f"{len(items)} {noun}" + ("" if len(items) == 1 else "s")
