"""Write requirements.lock: every package of pyproject.toml and what it pulls in, at one version.

pip's own resolver decides (`pip install --dry-run --report`); nothing is installed. Two things
are left out on purpose, so that one file serves a laptop and the CUDA image: the local part of a
version (`torch 2.13.0+cpu` becomes `torch==2.13.0`, which either build satisfies) and the packages
that only a CUDA build of torch needs (it names them itself, at exact versions).
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
CUDA_ONLY = re.compile(r"(nvidia|cuda)-.*|triton")
HEADER = """\
# Every package at one version, for the Makefile, CI and the image alike. Written by `make lock`
# from pyproject.toml; not edited by hand. A CUDA build of torch adds its own nvidia packages.
"""


def requirements() -> list[str]:
    """The direct pins of pyproject.toml, those of the dev extra included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["dev"]]


def resolve(wanted: list[str]) -> list[dict[str, Any]]:
    """The metadata of `wanted` and of all that it needs, as pip would install it here."""
    # fmt: off
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet",
        "--report", "-", *wanted,
    ]
    # fmt: on
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [item["metadata"] for item in json.loads(report)["install"]]


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def line(metadata: dict[str, Any]) -> str:
    """`name==version`, with a marker where the package ends before some Python (a backport)."""
    pin = f"{normalised(metadata['name'])}=={metadata['version'].partition('+')[0]}"
    below = re.search(r"<\s*(3\.\d+)", metadata.get("requires_python", ""))
    return f'{pin}; python_version < "{below[1]}"' if below else pin


def rendered(packages: list[dict[str, Any]]) -> str:
    """The text of the lock: one sorted pin a line."""
    kept = (item for item in packages if not CUDA_ONLY.fullmatch(normalised(item["name"])))
    return HEADER + "".join(f"{pin}\n" for pin in sorted(line(item) for item in kept))


def main() -> None:
    """Resolve, then replace the lock in one step."""
    text = rendered(resolve(requirements()))
    draft = LOCK.with_suffix(".lock.new")
    draft.write_text(text)
    draft.replace(LOCK)
    print(f"{LOCK.name}: {text.count('==')} packages")


if __name__ == "__main__":
    main()
