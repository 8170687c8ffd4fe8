"""Names in LoRA files -> (module, role). Reads Lightricks', ComfyUI's, diffusers', PEFT's and kohya's spelling. No torch."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["A", "B", "alpha"]

# Prefixes in front of a module path, longest first.
_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.")
_KOHYA = "lora_unet_"
_ROLES: tuple[tuple[str, Role], ...] = (
    (r"\.lora_A(?:\.\w+)?\.weight$", "A"),
    (r"\.lora_down\.weight$", "A"),
    (r"\.lora\.down\.weight$", "A"),
    (r"\.lora_B(?:\.\w+)?\.weight$", "B"),
    (r"\.lora_up\.weight$", "B"),
    (r"\.lora\.up\.weight$", "B"),
    (r"\.alpha$", "alpha"),
)
# Other adapter kinds by a telling part of their names. Loading them as LoRA would apply something else.
_OTHER_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lokr_": "LoKr",
    "hada_": "LoHa",
    "oft_": "OFT",
}


class LoraMismatch(ValueError):
    """A file that is no LoRA, or not one for this model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a file holds: for each module of the model its tensors, and the names that fit nowhere."""

    modules: dict[str, dict[Role, str]] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()


def layout(names: Iterable[str], modules: Iterable[str], original: Callable[[str], str]) -> Layout:
    """Sort a file's tensor names by the modules they belong to.

    `modules` are the linear layers of the model; `original` gives a module's path in Lightricks' spelling. Raises
    LoraMismatch for adapters of another kind.
    """
    paths: dict[str, str] = {}
    for module in modules:
        paths[original(module)] = module
        paths[module] = module
    flat = {path.replace(".", "_"): module for path, module in paths.items()}
    found: dict[str, dict[Role, str]] = {}
    unmatched = []
    for name in sorted(names):
        if kind := next((kind for part, kind in _OTHER_KINDS.items() if part in name), None):
            raise LoraMismatch(f"the file is a {kind} adapter ({name}); only plain LoRA can be loaded")
        path, role = _split(name)
        module = flat.get(path.removeprefix(_KOHYA)) if path.startswith(_KOHYA) else paths.get(_bare(path))
        if role is None or module is None:
            unmatched.append(name)
        else:
            found.setdefault(module, {})[role] = name
    return Layout(modules=found, unmatched=tuple(unmatched))


def _split(name: str) -> tuple[str, Role | None]:
    for pattern, role in _ROLES:
        if match := re.search(pattern, name):
            return name[: match.start()], role
    return name, None


def _bare(path: str) -> str:
    while prefix := next((p for p in _PREFIXES if path.startswith(p)), None):
        path = path.removeprefix(prefix)
    return path
