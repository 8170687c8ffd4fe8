"""The error tree. Each class has a stable `code` and an HTTP `status`.

Ltx2Error                INTERNAL           500
├── BadRequest           BAD_REQUEST        400   the request; `problems` holds every fault found
│   ├── UnknownLora      BAD_REQUEST        404   no such LoRA, or not for this model
│   └── MediaRefused     MEDIA_REFUSED      415   a picture that cannot be fetched or read
├── TooLarge             TOO_LARGE          413   media or a clip larger than this worker takes
├── OutOfMemory          OUT_OF_MEMORY      507   the device ran out of memory
├── Cancelled            CANCELLED          499   stopped by the caller between two steps
├── DeadlineExceeded     DEADLINE           504   cannot be done, or was not, in the time there is
├── DeliveryFailed       DELIVERY_FAILED    502   the finished clip could not be handed over
├── ConfigError          CONFIG             500   missing weights, settings or tools
├── ServiceError         SERVICE            502   RunPod or a worker did not do it; in ltx2/rest.py
├── DeviceLost           INTERNAL           500   the GPU fails until the process is started anew
└── GenerationFailed     INTERNAL           500   a stage produced values that are not finite
"""

from collections.abc import Iterable


class Ltx2Error(Exception):
    """Anything this project refuses or fails at with a message for the user."""

    code = "INTERNAL"
    status = 500


class BadRequest(Ltx2Error):
    """The request cannot be carried out.

    `problems` lists every fault, each with what would be accepted.
    """

    code = "BAD_REQUEST"
    status = 400

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))


class UnknownLora(BadRequest):
    """No such LoRA, or one that was made for another model."""

    status = 404


class MediaRefused(BadRequest):
    """A picture that cannot be fetched, is not a picture, or breaks a limit."""

    code = "MEDIA_REFUSED"
    status = 415


class TooLarge(Ltx2Error):
    """The media or the clip is larger than this worker takes."""

    code = "TOO_LARGE"
    status = 413


class OutOfMemory(Ltx2Error):
    """The device ran out of memory. `decoding`: while frames were decoded, so that smaller tiles of
    the decoder need less.
    """

    code = "OUT_OF_MEMORY"
    status = 507

    def __init__(self, message: str, *, decoding: bool = False) -> None:
        self.decoding = decoding
        super().__init__(message)


class Cancelled(Ltx2Error):
    """The caller stopped the run."""

    code = "CANCELLED"
    status = 499


class DeadlineExceeded(Ltx2Error):
    """The run cannot end, or did not, in the time it was given."""

    code = "DEADLINE"
    status = 504


class DeliveryFailed(Ltx2Error):
    """The finished clip could not be handed over."""

    code = "DELIVERY_FAILED"
    status = 502


class ConfigError(Ltx2Error):
    """Weights, settings or a tool are missing on this machine."""

    code = "CONFIG"


class DeviceLost(Ltx2Error):
    """The GPU's context is broken: nothing works on it until the process is started anew."""


class GenerationFailed(Ltx2Error):
    """A stage produced values that are not finite."""
