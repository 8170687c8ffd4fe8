"""Carry out the Dockerfile's steps in a clean root folder, where there is no Docker to build it.

    python -m scripts.prove_image slim baked-fast

runs every RUN, COPY and ENV of these targets and of the stages that they are made of, in order, as
a builder does: chrooted into layers, with the files that .dockerignore lets through, the secret
mounted for its step alone. Two things differ, and are printed: the base image is this machine's
operating system, or a root folder given with --base; and torch is the CPU build, as the other one
is several GB of CUDA. Without --fresh the other packages are those of the running Python, which pip
then finds at the locked versions; with it, pip fetches them all.

The baked targets download from a hub on loopback that has the embedded checkpoint's small files
under a released model's names. At the end each image is run by its entry point: as which user, with
which volume, for a clip, and as a worker. Needs Linux and root, because it mounts and chroots.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts import clean_root
from scripts.dockerfile import DockerfileError, parse, sent_to_builder
from scripts.image_builder import TOKEN, Builder, ProofError

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = "ltx-2"  # of the models, the one that has LoRAs, too
USER = 1000
ON_CPU = {"LTX2_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
CLIP = (
    "generate", "A lighthouse at dusk", "--width", "128", "--height", "64", "--num-frames", "9",
    "--seed", "7", "--camera-motion", "dolly_in", "-o", "clip.mp4", "--json",
)  # fmt: skip
# The embedded checkpoint has too few layers for the guidance of a released one.
PRO = ("--mode", "pro", "--num-inference-steps", "2", "--stg-scale", "0", "--audio-stg-scale", "0")


def check_no_layer_has(text: str, layers: Sequence[Path]) -> None:
    """Raises ProofError where a file of these layers holds the text."""
    found = subprocess.run(
        ["grep", "-rlF", text, *map(str, layers)], check=False, capture_output=True, text=True
    )
    if found.stdout:
        raise ProofError(f"the token is in {found.stdout}")


def check_user(builder: Builder, name: str) -> str:
    """Root makes the worker's folders on a volume and goes; it stays only where it must."""
    with builder.container(name) as root:
        cache = root / "runpod-volume/huggingface-cache/hub"
        cache.mkdir(parents=True)
        done = builder.entry(name, root, ["models", "--json"])
        made = {each: root / "runpod-volume" / each for each in ("models", "ltx2")}
        owners = {each: path.stat().st_uid for each, path in made.items() if path.is_dir()}
        if done.returncode or owners != {"models": USER, "ltx2": USER} or "as root" in done.stdout:
            raise ProofError(f"{name}: folders of {owners}\n{done.stdout}")
        closed = cache / "weights"
        closed.touch(mode=0o600)
        done = builder.entry(name, root, ["models", "--json"])
        if done.returncode or "runs as root: /runpod-volume/huggingface-cache" not in done.stdout:
            raise ProofError(f"{name}: who reads {closed.name}?\n{done.stdout}")
    return f"{name}: user {USER} with an open volume, root with a closed one"


def check_no_gpu(builder: Builder, name: str) -> str:
    """A worker without a GPU says so and does not start."""
    with builder.container(name) as root:
        done = builder.entry(name, root)
    if done.returncode != 1 or "this worker cannot start:" not in done.stdout:
        raise ProofError(f"{name}: exit {done.returncode}\n{done.stdout}")
    return f"{name}: {done.stdout.splitlines()[-1]}"


def check_clip(builder: Builder, name: str) -> str:
    """A clip by the `ltx2` command in the image, as the user that it becomes."""
    baked = builder.built(name).env
    checkpoint = baked.get("LTX2_CHECKPOINT", "tiny")
    more = PRO if baked.get("LTX2_MODES") == "pro" else ()
    with builder.container(name) as root:
        env = {**ON_CPU, "LTX2_CHECKPOINT": checkpoint}
        done = builder.entry(name, root, (*CLIP, *more), env)
        clip = root / "out/clip.mp4"
        if done.returncode or not clip.is_file() or clip.stat().st_uid != USER:
            raise ProofError(f"{name}: no clip, or not of user {USER}\n{done.stdout}")
        digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    return f"{name}: a clip of {checkpoint}, sha256 {digest[:16]}"


def check_worker(builder: Builder, name: str) -> str:
    """The worker takes a `smoke` job by the SDK's local run, which answers one job from a file."""
    with builder.container(name) as root:
        job = root / "out/test_input.json"
        job.write_text(json.dumps({"input": {"action": "smoke"}}))
        env = {**ON_CPU, "LTX2_CHECKPOINT": builder.built(name).env.get("LTX2_CHECKPOINT", "tiny")}
        done = builder.entry(name, root, env=env)
    if done.returncode or "Job result:" not in done.stdout or "'error'" in done.stdout:
        raise ProofError(f"{name}: exit {done.returncode}\n{done.stdout}")
    return f"{name}: the worker answered a smoke job"


QUICK = (check_user, check_no_gpu)
THOROUGH = (check_clip, check_worker)


def prove(arguments: argparse.Namespace, place: Path) -> None:
    """Build the targets in `place` and run each. Prints what it does."""
    from tests.image.toy_hub import serving_toys

    context = place / "context"
    context.mkdir()
    sent_to_builder(ROOT, context)
    shown = [Path(each) for each in arguments.show]
    if arguments.base:
        bottom = clean_root.of_folder(Path(arguments.base), shown)
    else:
        shown += clean_root.python_of_this_machine()
        bottom = clean_root.of_this_machine(place / "bottom", shown)
    print(f"base: {arguments.base or 'this machine, with an own /etc and an empty /usr/local'}")
    pip = {} if arguments.fresh else {"PIP_NO_INDEX": "1"}
    given = dict(each.split("=", 1) for each in arguments.env)
    own = Path(sys.base_prefix) / "bin/python3"
    with serving_toys(token=TOKEN) as hub:
        builder = Builder(
            dockerfile=parse((ROOT / "Dockerfile").read_text()),
            bottom=bottom,
            context=context,
            place=place,
            arguments={"CHECKPOINT": CHECKPOINT, "LORAS": "1"},
            outside={**pip, **given, "HF_ENDPOINT": hub},
            torch=arguments.torch,
            python="python3" if arguments.base else str(own),
            here=not arguments.fresh,
        )
        for name in arguments.targets:
            check_no_layer_has(TOKEN, builder.built(name).layers)
    for name in arguments.targets:
        for check in QUICK if arguments.quick else (*QUICK, *THOROUGH):
            print(check(builder, name), flush=True)


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("targets", nargs="+", help="stages of the Dockerfile, such as slim")
    options.add_argument("--base", metavar="FOLDER", help="a root folder that has python3-venv")
    options.add_argument("--fresh", action="store_true", help="let pip fetch every package")
    options.add_argument("--quick", action="store_true", help="make no clips")
    options.add_argument("--torch", default="torch", help="what pip installs for the CUDA build")
    options.add_argument(
        "--show", metavar="PATH", action="append", default=[], help="what pip must see, read-only"
    )
    options.add_argument(
        "--env", metavar="NAME=VALUE", action="append", default=[], help="for each RUN: PIP_…"
    )
    options.add_argument("--in-own-namespace", action="store_true", help=argparse.SUPPRESS)
    return options


def main() -> int:
    """Exit status 0 where every step of every target worked."""
    arguments = parser().parse_args()
    if not arguments.in_own_namespace:
        if why := clean_root.impossible():
            print(f"FAILED: {why}")
            return 1
        command = [sys.executable, "-m", "scripts.prove_image", *sys.argv[1:]]
        alone = ["unshare", "--mount", "--propagation", "private", *command, "--in-own-namespace"]
        return subprocess.run(alone, check=False, cwd=ROOT).returncode
    place = Path(tempfile.mkdtemp(prefix="ltx2-image-"))
    try:
        prove(arguments, place)
    except (ProofError, DockerfileError) as error:
        print(f"FAILED: {error}")
        return 1
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
