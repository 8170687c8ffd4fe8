"""A still picture of a video, for lists: the frame at a third of it, by the encoder's ffmpeg."""

import contextlib
import logging
import os
import subprocess
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)
WIDTH = 480  # pixels
SECONDS = 60.0  # that it may take
NICE = 10  # how far it stands back: nobody waits for a picture as for an answer


def make_thumbnail(video: Path | str, *, seconds: float) -> bytes | None:
    """A JPEG of a file or a link; None, with a line in the log, where none can be made of it."""
    from imageio_ffmpeg import get_ffmpeg_exe

    with tempfile.TemporaryDirectory(prefix="ltx2-") as folder:
        picture = Path(folder) / "thumbnail.jpg"
        # fmt: off
        command = [
            get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-ss", f"{seconds / 3:.3f}",
            "-i", str(video), "-frames:v", "1", "-vf", f"scale='min({WIDTH},iw)':-2",
            "-q:v", "4", str(picture),
        ]
        # fmt: on
        try:
            _run(command)
            return picture.read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("no thumbnail was made: %s", type(error).__name__)
            return None


def _run(command: list[str]) -> None:
    """Raises SubprocessError where it fails or takes too long."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        with contextlib.suppress(ProcessLookupError):  # done already
            os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        try:
            status = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    if status != 0:
        raise subprocess.CalledProcessError(status, command)
