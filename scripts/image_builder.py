"""Builds the Dockerfile's stages in layers of a clean root, step by step, as Docker would."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts import clean_root
from scripts.dockerfile import Dockerfile, DockerfileError, Step, assignments, substituted

TOKEN = "a-token-that-must-be-in-no-layer"
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
CUDA_LOCK = "requirements-cuda.lock"
NOTHING: Mapping[str, str] = {}


class ProofError(RuntimeError):
    """A step that failed, with what it printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A stage after its last step."""

    layers: tuple[Path, ...]  # newest first
    env: Mapping[str, str]
    folder: str = "/"
    entry: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Builder:
    """Builds stages, each once."""

    dockerfile: Dockerfile
    bottom: clean_root.Bottom
    context: Path
    place: Path
    arguments: Mapping[str, str]
    outside: Mapping[str, str]  # in the environment of each RUN: how pip and the hub are reached
    torch: str  # in place of the CUDA build
    python: str  # that makes the base image's
    here: bool  # packages are those of the running Python
    stages: dict[str, Built] = field(default_factory=dict)

    def built(self, name: str) -> Built:
        """The stage of this name; its bases are built first."""
        if name not in self.stages:
            stage = self.dockerfile.stages.get(name)
            self.stages[name] = self._base() if stage is None else self._steps(name)
        return self.stages[name]

    def _base(self) -> Built:
        """What the base image has beside an operating system: Python and pip in /usr/local."""
        layer = self._layer("base")
        built = Built(layers=(layer,), env={"PATH": PATH})
        with self.mounted(built) as root:
            # pip cannot be installed without a network in a venv that is to see other packages.
            made = [self.python, "-m", "venv", *(["--without-pip"] if self.here else [])]
            self._run(root, built, [*made, "/usr/local"])
            if self.here:
                site = next((root / "usr/local/lib").glob("python3*/site-packages"))
                found = [path for path in sys.path if path.endswith("site-packages")]
                (site / "machine.pth").write_text("\n".join(found) + "\n")
                pip = root / "usr/local/bin/pip"
                pip.write_text('#!/bin/sh\nexec /usr/local/bin/python -m pip "$@"\n')
                pip.chmod(0o755)
        return built

    def _steps(self, name: str) -> Built:
        stage = self.dockerfile.stages[name]
        base = self.built(stage.base)
        built = replace(base, layers=(self._layer(name), *base.layers))
        arguments: dict[str, str] = {}
        for step in stage.steps:
            if step.kind == "COPY" and (source := step.flag("from")):
                self.built(source)
        began = time.monotonic()
        with self.mounted(built) as root:
            for step in stage.steps:
                built = self._step(root, built, step, arguments)
        print(f"{name}: {len(stage.steps)} steps, {time.monotonic() - began:.1f} s", flush=True)
        return built

    def _step(self, root: Path, built: Built, step: Step, arguments: dict[str, str]) -> Built:
        values = {**arguments, **built.env}
        match step.kind:
            case "ARG":
                name, given, default = step.text.partition("=")
                known = {**self.dockerfile.arguments, **self.arguments}
                arguments[name] = self.arguments.get(name, default) if given else known[name]
            case "ENV":
                return replace(built, env={**built.env, **assignments(step.text, values)})
            case "WORKDIR":
                folder = substituted(step.text, values)
                (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
                return replace(built, folder=folder)
            case "ENTRYPOINT":
                return replace(built, entry=tuple(json.loads(step.text)))
            case "COPY":
                self._copy(root, built, step, values)
            case _:  # RUN
                with secrets(root, step):
                    self._run(root, built, ["sh", "-c", self._command(step)], arguments)
        return built

    def _command(self, step: Step) -> str:
        """A RUN's command; the CUDA build of torch is replaced, and packages of the system are left
        out, since the root has this machine's. Both are printed.
        """
        if step.text.startswith("apt-get "):
            print(f"left out: `{step.text}`", flush=True)
            return "true"
        if f"-r {CUDA_LOCK}" not in step.text:
            return step.text
        command = f"pip install --no-cache-dir --no-deps {self.torch}"
        print(f"in place of `{step.text}`: `{command}`", flush=True)
        return command

    def _run(
        self, root: Path, built: Built, command: Sequence[str], more: Mapping[str, str] = NOTHING
    ) -> str:
        env = {**self.outside, **more, **built.env}
        done = clean_root.run_in(root, command, folder=built.folder, env=env)
        if done.returncode:
            raise ProofError(f"{' '.join(command)}\nexit {done.returncode}\n{done.stdout}")
        return done.stdout

    def _copy(self, root: Path, built: Built, step: Step, values: Mapping[str, str]) -> None:
        *sources, to = substituted(step.text, values).split()
        into = root / str(Path(built.folder, to)).lstrip("/")
        origin = step.flag("from")
        scope = contextlib.nullcontext(self.context)
        if origin is not None:
            scope = self.mounted(self.stages[origin], "copied")
        with scope as start:
            for source in sources:
                path = start / source.lstrip("/")
                if path.is_dir():
                    shutil.copytree(path, into, symlinks=True, dirs_exist_ok=True)
                elif path.is_file():
                    folder = to.endswith("/") or len(sources) > 1
                    target = into / path.name if folder else into
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target)
                    if mode := step.flag("chmod"):
                        target.chmod(int(mode, 8))
                else:
                    raise DockerfileError(f"line {step.line}: {source} is not sent to the builder")

    def _layer(self, name: str) -> Path:
        layer = self.place / "layers" / name
        layer.mkdir(parents=True)
        return layer

    @contextlib.contextmanager
    def mounted(self, built: Built, where: str = "stage") -> Iterator[Path]:
        """A stage's root folder."""
        place = self.place / where
        with clean_root.mounted(self.bottom, built.layers, place) as root:
            yield root

    @contextlib.contextmanager
    def container(self, name: str) -> Iterator[Path]:
        """A root folder as a container of this stage has it: its own layer over the image's."""
        built = self.built(name)
        layer = self.place / "containers" / f"{name}-{len(list(self.place.glob('containers/*')))}"
        layer.mkdir(parents=True)
        with clean_root.mounted(self.bottom, (layer, *built.layers), self.place / "run") as root:
            yield root

    def entry(
        self, name: str, root: Path, arguments: Sequence[str] = (), env: Mapping[str, str] = NOTHING
    ) -> subprocess.CompletedProcess[str]:
        """Run a container's entry point with these arguments and variables."""
        built = self.built(name)
        return clean_root.run_in(
            root, [*built.entry, *arguments], folder=built.folder, env={**built.env, **env}
        )


@contextlib.contextmanager
def secrets(root: Path, step: Step) -> Iterator[None]:
    """The secrets that a step mounts, there while it runs."""
    mounts = [dict(part.split("=", 1) for part in value.split(",")) for key, value in step.flags
              if key == "mount"]  # fmt: skip
    unknown = [each for each in mounts if each.get("type") != "secret"]
    if unknown:
        raise DockerfileError(f"line {step.line}: only secrets are mounted here, not {unknown}")
    folder = root / "run/secrets"
    for each in mounts:
        folder.mkdir(parents=True)
        (folder / each["id"]).write_text(TOKEN)
    yield
    if mounts:
        shutil.rmtree(folder)
