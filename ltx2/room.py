"""How much memory of the device and of the host a run may take on this machine."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

GIB = 2**30
LIBRARIES = GIB  # workspaces of cuBLAS and cuDNN
PROC = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
# A cgroup without a limit of its own shows a number near the largest there is.
_UNLIMITED = 2**60


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes that a run may take, what this process holds already included."""

    device: int | None  # None where the device is the host
    host: int
    libraries: int = 0  # bytes of the device that libraries take beside the tensors, at least

    def described(self) -> str:
        """For people."""
        host = f"{self.host / GIB:.1f} GiB of host memory"
        return host if self.device is None else f"{self.device / GIB:.1f} GiB of GPU memory, {host}"


def room_on(
    device: torch.device, *, limit: float | None = None, held_device: int = 0, held_host: int = 0
) -> Room:
    """The room on a device and its host.

    `limit` in GiB is all of the device that may be used; on a CPU it stands for a device's memory.
    `held_device` and `held_host` are bytes of this process that make room for a run.
    """
    most = None if limit is None else int(limit * GIB)
    host = free_host_memory() + held_host
    if device.type != "cuda":
        return Room(device=most, host=host)
    free, _ = torch.cuda.mem_get_info(device)
    own = max(torch.cuda.memory_reserved(device), held_device)
    return Room(
        device=free + own if most is None else min(free + own, most),
        host=host,
        libraries=LIBRARIES,
    )


def free_host_memory(meminfo: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Bytes of host memory that can still be taken: of the machine, or of its container if less.

    Memory that caches files counts as free.
    """
    free = _machine(meminfo)
    return min(free, limit) if (limit := _container(cgroup)) is not None else free


def _machine(meminfo: Path) -> int:
    """What the kernel says is available; without its table, all memory of the machine."""
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container(cgroup: Path) -> int | None:
    """What is left of a container's limit; None without one. Both layouts of the kernel."""
    for most, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit = (cgroup / most).read_text(encoding="ascii").strip()
            taken = int((cgroup / used).read_text(encoding="ascii"))
            table = (cgroup / most).with_name("memory.stat").read_text(encoding="ascii")
        except (OSError, ValueError):
            continue
        if limit == "max" or int(limit) > _UNLIMITED:
            return None
        files = dict(line.split() for line in table.splitlines()).get(cached, "0")
        return max(0, int(limit) - taken + int(files))
    return None
