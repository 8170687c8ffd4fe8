"""A request as a command to paste: cURL, Python, the command line."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from ltx2.request import PICTURES, Resolution

_KEY = "GATEWAY_KEY"  # no LTX2_ variable: those are settings, and this one is none

_OWN = "LTX2_GATEWAY_FOLDER=ltx2-studio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One way to ask for the same again."""

    id: str
    label: str
    text: str
    note: str | None = None


def copies(form: Mapping[str, object], origin: str, *, own: str | None = None) -> tuple[Copy, ...]:
    """The request in three languages. The API key is never in them: they name a variable.

    `own` is the account of a studio of one's own, whose visitor makes the key, too.
    """
    asked = {name: value for name, value in form.items() if value not in (None, (), [], {}, "")}
    asks = "ask who runs this site for one" if own is None else "make one as below"
    key = f"{_KEY} holds an API key: {asks}."
    made = () if own is None else (_own_key(own),)
    return (
        Copy(
            id="curl",
            label="cURL",
            text=_curl(asked, origin),
            note=f"{key} The answer says where the video will be.",
        ),
        Copy(id="python", label="Python", text=_python(asked, origin), note=key),
        *made,
        Copy(
            id="cli",
            label="Command line",
            text=_command(asked),
            note="Runs on your own machine; the same video needs the same model and hardware."
            + (" Put your own picture in the place of the file." if _pictures(asked) else ""),
        ),
    )


def _own_key(account_id: str) -> Copy:
    """How to make a key for a studio of one's own, whose data lie where it was started."""
    return Copy(
        id="key",
        label="API key",
        text=f"export {_KEY}=$({_OWN} ltx2 gateway key {account_id} --name scripts)",
        note="In the folder in which the studio was started. A key stays good until it is revoked.",
    )


def _pictures(form: Mapping[str, object]) -> list[str]:
    return [name for name in PICTURES if name in form]


def _curl(form: Mapping[str, object], origin: str) -> str:
    body = json.dumps(form, indent=2, ensure_ascii=False)
    return " \\\n  ".join(
        (
            f"curl {shlex.quote(f'{origin}/api/generations')}",
            f'-H "Authorization: Bearer ${_KEY}"',
            "-H 'Content-Type: application/json'",
            f"--data-raw {shlex.quote(body)}",
        )
    )


def _python(form: Mapping[str, object], origin: str) -> str:
    fields = "".join(f"    {name!r}: {value!r},\n" for name, value in form.items())
    return f"""\
import os
import time

import httpx

request = {{
{fields}}}
key = os.environ["{_KEY}"]
headers = {{"Authorization": f"Bearer {{key}}"}}
with httpx.Client(base_url={origin!r}, headers=headers, timeout=60) as api:
    job = api.post("/api/generations", json=request).raise_for_status().json()
    while job["status"] in ("queued", "in_progress"):
        time.sleep(2)
        job = api.get(job["urls"]["self"]).raise_for_status().json()
    if job["status"] != "completed":
        raise SystemExit(job["error"] or job["status"])
    video = api.get(job["output"]["url"], follow_redirects=True).raise_for_status()
    with open("video.mp4", "wb") as file:
        file.write(video.content)
"""


def _command(form: Mapping[str, object]) -> str:
    parts = [f"ltx2 generate {shlex.quote(str(form.get('prompt', '')))}"]
    for name, value in form.items():
        option = "--" + name.replace("_", "-")
        if name == "prompt" or (name == "resolution" and value not in get_args(Resolution)):
            continue  # a size that a toy's own model has by itself
        if name == "model":
            option = "--checkpoint"
        if name in PICTURES:
            parts.append(f"{option}-path {name.replace('image', 'frame').replace('_', '-')}.png")
        elif isinstance(value, bool):
            parts.append(option if value else option.replace("--", "--no-", 1))
        else:
            parts.append(f"{option} {shlex.quote(str(value))}")
    return " \\\n  ".join([*parts, "-o video.mp4"])
