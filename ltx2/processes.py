"""Several processes that a launcher started together: which device each one has."""

import torch

from ltx2.errors import ConfigError
from ltx2.settings import Launch


def own_device(asked: str | None, launch: Launch) -> str | None:
    """The device of this process: of several on one machine each has a GPU of its own.

    `asked` is as in the settings; what names one device, `cpu` or `cuda:1`, is left as it is.
    Raises ConfigError where there are more processes than GPUs.
    """
    if launch.processes == 1 or asked not in (None, "cuda"):
        return asked
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked is None and not count:
        return None
    if launch.local_rank >= count:
        raise ConfigError(
            f"process {launch.local_rank} of this machine has no GPU of its own: there are {count};"
            f" start at most {count} a machine, or give --device cpu"
        )
    torch.cuda.set_device(launch.local_rank)
    return f"cuda:{launch.local_rank}"
