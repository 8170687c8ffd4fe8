"""What an endpoint is where nothing else is asked for. Imports next to nothing, for `--help`."""

from collections.abc import Mapping
from typing import Final

MODES: Final = ("fast", "pro", "all")
WEIGHTS: Final[Mapping[str, str]] = {
    "baked": "in the image, under /models",
    "volume": "on a network volume, under /runpod-volume/models",
    "cached": "RunPod's cached model, which is set in the console",
    "download": "fetched by each new worker, on billed time",
}
CUDA = "13.0"  # that the image's torch is built for; a test compares it with the lock
NAME = "ltx2"
CHECKPOINT = "ltx-2.3"
TIMEOUT = 1800  # seconds of a job; the platform's own default is 300
INIT_TIMEOUT = 800  # seconds of a cold start; without it a worker is unhealthy after 420
DISK = 60  # GB of a container that fetches no weights
