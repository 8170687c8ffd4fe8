"""A root folder with nothing of this project in it, in layers, for running an image's steps.

Needs Linux, root and a mount namespace of its own (`unshare --mount`), so that no mount is left
behind. Layers are overlays as a container's are: a step sees all below and writes into its own.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# What of this machine's /etc a program needs to find users, names and certificates.
ETC = ("login.defs", "nsswitch.conf", "ld.so.cache",
       "ld.so.conf", "ld.so.conf.d", "ssl", "ca-certificates.conf", "hosts", "resolv.conf",
       "default", "skel", "xdg", "os-release", "alternatives")  # fmt: skip
EMPTY = ("dev", "proc", "tmp", "var/lib", "var/tmp", "run", "home", "root", "opt", "usr", "etc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottom:
    """The lowest layer, and what of the machine is seen through it, read-only."""

    folder: Path
    shown: tuple[Path, ...]

    @property
    def borrows_usr(self) -> bool:
        """Whether the operating system is this machine's."""
        return Path("/usr") in self.shown


def of_this_machine(folder: Path, shown: Sequence[Path]) -> Bottom:
    """A root whose operating system is this machine's, with an own /etc and an empty /usr/local."""
    for name in EMPTY:
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        link = Path("/") / name
        if link.is_symlink():
            (folder / name).symlink_to(link.readlink())
    for name in ETC:
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, folder / "etc" / name, symlinks=True)
        elif source.exists():
            shutil.copy2(source, folder / "etc" / name)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    return Bottom(folder=folder, shown=(Path("/usr"), *shown))


def of_folder(folder: Path, shown: Sequence[Path]) -> Bottom:
    """A root that was made elsewhere, such as a minimal Debian."""
    return Bottom(folder=folder, shown=tuple(shown))


def mount(*arguments: str | Path) -> None:
    """The command of this name."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


@contextmanager
def mounted(bottom: Bottom, layers: Sequence[Path], place: Path) -> Iterator[Path]:
    """The root that these layers make, newest first; writes go into the newest."""
    root, work, local = (place / name for name in ("root", "work", "local"))
    for folder in (root, work, local):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    lower = ":".join(str(each) for each in (*layers[1:], bottom.folder))
    options = f"lowerdir={lower},upperdir={layers[0]},workdir={work}"
    mount("-t", "overlay", "overlay", "-o", options, root)
    try:
        (root / "usr/local").mkdir(parents=True, exist_ok=True)
        mount("--bind", root / "usr/local", local)
        for path in bottom.shown:
            _show(path, root / path.relative_to("/"))
        if bottom.borrows_usr:
            mount("--bind", local, root / "usr/local")
        mount("--bind", "/dev", root / "dev")
        mount("-t", "proc", "proc", root / "proc")
        yield root
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", str(root)], check=True)
        subprocess.run(["umount", "--lazy", str(local)], check=False)


def _show(path: Path, at: Path) -> None:
    if path.is_dir():
        at.mkdir(parents=True, exist_ok=True)
    else:
        at.parent.mkdir(parents=True, exist_ok=True)
        at.touch()
    mount("--bind", path, at)
    mount("-o", "remount,bind,ro", at)


def run_in(
    root: Path, command: Sequence[str], *, folder: str, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command with this root and no other environment; what it prints is kept."""
    words = ["env", "-i", *(f"{name}={value}" for name, value in env.items())]
    inner = ["sh", "-c", 'cd "$0" && exec "$@"', folder, *command]
    return subprocess.run(
        ["chroot", str(root), *words, *inner],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def impossible() -> str | None:
    """Why no such root can be made on this machine; None where it can."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return "it needs Linux with unshare, setpriv and chroot"
    with tempfile.TemporaryDirectory() as folder:
        for name in ("lower", "upper", "work", "root"):
            (Path(folder) / name).mkdir()
        layers = "lowerdir=lower,upperdir=upper,workdir=work"
        alone = ["unshare", "--mount", "--propagation", "private"]
        tried = subprocess.run(
            [*alone, "mount", "-t", "overlay", "overlay", "-o", layers, "root"],
            check=False,
            cwd=folder,
            capture_output=True,
            text=True,
        )
    return f"it needs root, for mounts: {tried.stderr.strip()}" if tried.returncode else None


def python_of_this_machine() -> tuple[Path, ...]:
    """The folders of the running Python, for a root that must have the same."""
    return tuple(dict.fromkeys(Path(each).resolve() for each in (sys.base_prefix, sys.prefix)))
