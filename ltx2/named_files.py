"""Files that a request names: for a remote caller those of the worker's folders, by real place."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from ltx2 import folders as allowed
from ltx2.forms import SCHEME, lora_form, path_text, picture_form, shown

MOST_ITEMS = 20  # of a list that are looked at


class NamedFiles:
    """What a caller may name of this machine who may not name everything."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = allowed.there(folders)
        self._places = " or ".join(str(folder) for folder in self._folders)

    def place(self, data: dict[str, Any], pictures: Iterable[str]) -> list[str]:
        """Put the real place of every file into `data`; a sentence for each that may not be named.

        `pictures` are the names of the fields that hold one, without their other spellings.
        Where it lies outside, the sentence is that of a file that does not exist.
        """
        problems: list[str] = []
        for name in pictures:
            for spelling in (name, f"{name}_path"):
                value = path_text(data.get(spelling))
                if not isinstance(value, str) or not value:
                    continue  # the field's own type refuses it
                if spelling == name:
                    found, problem = self._picture(name, value)
                else:
                    found, problem = self._by_path(name, value)
                data[spelling] = found
                problems += [problem] if problem else []
        for name, key, placed in (
            ("loras", "source", self._lora),
            ("keyframes", "image", self._picture),
        ):
            listed: object = data.get(name)
            if isinstance(listed, list | tuple):
                items = list(cast("Sequence[object]", listed))
                # A longer list than any that is taken is refused as a whole.
                for index, item in enumerate(items[:MOST_ITEMS]):
                    items[index], problem = _placed(item, key, f"{name}[{index}].{key}", placed)
                    problems += [problem] if problem else []
                data[name] = items
        return problems

    def _picture(self, place: str, text: str) -> tuple[str, str | None]:
        if picture_form(text) is not None:
            return text, None
        if file := self._find(text):
            return anchored(file), None
        more = f" or a file in {self._places}" if self._folders else ""
        return text, (
            f"{place} is none of the forms accepted here: give an http(s) URL, a data URI, "
            f"base64{more}; got {shown(text)}"
        )

    def _by_path(self, name: str, text: str) -> tuple[str, str | None]:
        if file := self._find(text):
            return anchored(file), None
        accepted = f"give {name} as an http(s) URL, a data URI or base64"
        if not self._folders:
            return text, f"{name}_path is not accepted here: {accepted}"
        return text, (
            f"{name}_path must name a file in {self._places}, or {accepted}; got {shown(text)}"
        )

    def _lora(self, place: str, text: str) -> tuple[str, str | None]:
        if lora_form(text) != "path":
            return text, None
        if (file := self._find(text)) and lora_form(file) == "path":
            return file, None
        wanted = "must not be a path here:"
        if self._folders:
            wanted = f"must name a .safetensors file in {self._places}, or"
        return text, (
            f"{place} {wanted} give a catalogue id, an http(s) URL or "
            f"owner/name:file.safetensors; got {shown(text)}"
        )

    def _find(self, text: str) -> str | None:
        if SCHEME.fullmatch(text):
            return None
        try:
            return str(allowed.find(text, self._folders))
        except allowed.NotThere:
            return None


def _placed(
    item: object, key: str, place: str, find: Callable[[str, str], tuple[str, str | None]]
) -> tuple[object, str | None]:
    """One item of a list with the file that it names, and what is wrong with that."""
    if isinstance(item, BaseModel):
        item = item.model_dump()
    if not isinstance(item, Mapping):
        return item, None
    fields = cast("Mapping[str, object]", item)
    value = path_text(fields.get(key))
    if not isinstance(value, str) or not value:
        return fields, None
    found, problem = find(place, value)
    return {**fields, key: found}, problem


def anchored(path: str) -> str:
    """A path that cannot be taken for base64, which one without a dot could be."""
    if picture_form(path) is None:
        return path
    return f"/.{path}" if path.startswith("/") else f"./{path}"
