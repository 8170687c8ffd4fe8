"""Forms of the texts that name a picture or a LoRA, and how a value looks in an error."""

import json
import os
import re
from collections.abc import Mapping
from typing import Literal, cast

PictureForm = Literal["url", "data", "base64"]
LoraForm = Literal["catalogue", "repository", "url", "path"]

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://.*", re.DOTALL)
_URL = re.compile(r"https?://[^\s/]+.*", re.IGNORECASE | re.DOTALL)
# Blanks have one place each here: where two parts could take them the match would be quadratic.
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]{16,}(?:=\s*){0,2}")
_REPOSITORY = re.compile(r"[\w.\-]+/[\w.\-]+:.*", re.DOTALL)
_REPOSITORY_FILE = re.compile(r"[\w.\-]+/[\w.\-]+:(?!/)(?:(?!\.\.)[^:\\])+\.safetensors")
_CATALOGUE_ID = re.compile(r"[A-Za-z0-9][\w\-]*")
_SHOWN_BITS = 128
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")


def picture_form(text: str) -> PictureForm | None:
    """What kind of picture source a text is; None for a path or anything else."""
    if _URL.fullmatch(text):
        return "url"
    if text[:5].lower() == "data:":
        return "data"
    return "base64" if _BASE64.fullmatch(text) else None


def lora_form(source: str) -> LoraForm | None:
    """What kind of source a LoRA's text is; None for none of them."""
    if _URL.fullmatch(source):
        return "url"
    if _REPOSITORY.fullmatch(source):  # or nothing: a file outside the repository is no path here
        return "repository" if _REPOSITORY_FILE.fullmatch(source) else None
    if source.endswith(".safetensors") and not SCHEME.fullmatch(source):
        return "path"
    return "catalogue" if _CATALOGUE_ID.fullmatch(source) else None


def lora_refusal(source: str) -> str | None:
    """What is wrong with a text as a LoRA's source, to follow its field's name; None if nothing."""
    if lora_place(source).lower().endswith(_PICKLES):
        return (
            "names a pickle, which could run any code when it is read; give a .safetensors file; "
            f"got {shown(source)}"
        )
    if lora_form(source) is None:
        return (
            "must be a catalogue id, an http(s) URL, owner/name:path/file.safetensors on the hub "
            "or (from the command line and Python) a path that ends in .safetensors; "
            f"got {shown(source)}"
        )
    return None


def lora_place(source: str) -> str:
    """A source as plans, results and logs show it: a URL without its query, where keys are kept."""
    if not SCHEME.fullmatch(source):
        return source
    return re.split(r"[?#]", source, maxsplit=1)[0]


def lora_name(source: str) -> str:
    """The name of the file that a source speaks of; of a catalogue id the id itself."""
    return re.split(r"[/\\:]", lora_place(source))[-1]


def path_text(value: object) -> object:
    """A path object as its text, anything else as it is."""
    return os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else value


def shown(value: object) -> str:
    """A value for an error text: short, in ASCII, without a URL's query, which may hold a key."""
    if isinstance(value, str):
        plain = value.partition("?")[0] if "://" in value else value
        return ascii(plain[:40] + ("..." if len(plain) > 40 else ""))
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(cast('list[object]', value))}"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return "a number of many digits"  # which Python refuses to write where there are thousands
    return ascii(value)[:40]
