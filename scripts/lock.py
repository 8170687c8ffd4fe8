"""Write the locks: every package of pyproject.toml and what it pulls in, at one version.

requirements.lock has the gateway and the tools of developers too; requirements-runtime.lock is the
part of it that a worker needs to run, and requirements-cuda.lock torch with the packages of its
CUDA build, both for the image; requirements-gateway.lock is the part for the gateway's image, which
has no torch. pip's own resolver decides (`pip install --dry-run --report`);
nothing is installed.
Two things are left out of the first two on purpose, so that one file serves a laptop and a machine
with CUDA: the local part of a version (`torch 2.13.0+cpu` becomes `torch==2.13.0`, which either
build satisfies) and the packages that only a CUDA build of torch needs.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
RUNTIME_LOCK = ROOT / "requirements-runtime.lock"
GATEWAY_LOCK = ROOT / "requirements-gateway.lock"
# What a gateway uses of the project's own requirements: it plans, but makes no videos itself.
GATEWAY_USES = (
    "boto3", "httpx", "imageio-ffmpeg", "numpy", "pillow", "pydantic", "starlette", "uvicorn",
)  # fmt: skip
CUDA_LOCK = ROOT / "requirements-cuda.lock"
CUDA_ONLY = re.compile(r"(nvidia|cuda)-.*|triton")
WRITTEN = """\
# Written by `make lock` from pyproject.toml; not edited by hand. A CUDA build of torch adds its own
# nvidia packages.
"""
HEADER = f"# Every package at one version, for the Makefile and CI.\n{WRITTEN}"
RUNTIME_HEADER = f"# The part of requirements.lock that the product needs to run.\n{WRITTEN}"
GATEWAY_HEADER = """\
# The part of requirements.lock that a gateway needs which makes no videos itself, for its image.
# Written by `make lock` from pyproject.toml; not edited by hand.
"""
CUDA_HEADER = """\
# torch for an NVIDIA GPU under Linux, with the packages that only this build has, for the image.
# Written by `make lock` on Linux; not edited by hand.
"""


def requirements(*extras: str) -> list[str]:
    """The direct pins of pyproject.toml, with those of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = (project["optional-dependencies"][extra] for extra in extras)
    return [*project["dependencies"], *(pin for pins in optional for pin in pins)]


def gateway_requirements() -> list[str]:
    """The pins of what the gateway's image needs."""
    own = len(requirements())
    used = [pin for pin in requirements() if pin.partition("==")[0] in GATEWAY_USES]
    assert len(used) == len(GATEWAY_USES), "pyproject.toml has another name for one of these"
    return [*used, *requirements("gateway")[own:]]


def resolve(
    wanted: list[str], constraints: Path | None = None, *, configured: bool = True
) -> list[dict[str, Any]]:
    """The metadata of `wanted` and of all that it needs, as pip would install it here; at the
    versions of `constraints` where that is given. Without what this machine's pip is `configured`
    with, which may prefer a CPU build of torch, it is what the package index gives everyone.
    """
    plain = ["env", "-u", "PIP_FIND_LINKS", "-u", "PIP_CONSTRAINT", f"PIP_CONFIG_FILE={os.devnull}"]
    # fmt: off
    command = [
        *([] if configured else plain), sys.executable, "-m", "pip", "install", "--dry-run",
        "--ignore-installed", "--quiet", "--report", "-", *wanted,
        *(["--constraint", str(constraints)] if constraints else []),
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


def rendered(header: str, packages: list[dict[str, Any]]) -> str:
    """The text of a lock: one sorted pin a line."""
    kept = (item for item in packages if not CUDA_ONLY.fullmatch(normalised(item["name"])))
    return header + "".join(f"{pin}\n" for pin in sorted(line(item) for item in kept))


def rendered_cuda(packages: list[dict[str, Any]]) -> str:
    """The text of the CUDA build's lock: torch, and what requirements.lock leaves out."""
    names = {normalised(item["name"]): item for item in packages}
    kept = [item for name, item in names.items() if name == "torch" or CUDA_ONLY.fullmatch(name)]
    return CUDA_HEADER + "".join(f"{pin}\n" for pin in sorted(line(item) for item in kept))


def write(lock: Path, text: str) -> None:
    """Replace a lock in one step."""
    draft = lock.with_suffix(".lock.new")
    draft.write_text(text)
    draft.replace(lock)
    print(f"{lock.name}: {text.count('==')} packages")


def main() -> None:
    """Resolve everything, then the parts of each image at the same versions."""
    write(LOCK, rendered(HEADER, resolve(requirements("gateway", "dev"))))
    write(RUNTIME_LOCK, rendered(RUNTIME_HEADER, resolve(requirements(), LOCK)))
    write(GATEWAY_LOCK, rendered(GATEWAY_HEADER, resolve(gateway_requirements(), LOCK)))
    if sys.platform == "linux":
        torch = [pin for pin in requirements() if pin.startswith("torch==")]
        write(CUDA_LOCK, rendered_cuda(resolve(torch, LOCK, configured=False)))
    else:  # elsewhere torch has no CUDA build that pip could resolve
        print(f"{CUDA_LOCK.name}: left as it is; run this on Linux")


if __name__ == "__main__":
    main()
