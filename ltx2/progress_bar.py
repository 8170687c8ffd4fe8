"""Progress in a terminal: one line redrawn while a person watches, one line a stage in a log."""

import shutil
import time
from typing import TextIO

from ltx2.progress import Event

BAR = 20  # characters
REDRAW = 0.1  # seconds between two redraws of one stage


class ProgressBar:
    """A listener for `Progress`. Writes to `stream`, redraws only where that is a terminal; use it
    in a `with`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._stage: str | None = None
        self._began = 0.0  # Event.seconds when the stage began
        self._latest: Event | None = None
        self._drawn = float("-inf")

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the last line, so that whatever is printed next starts on its own."""
        if kind is None:
            self._finish_stage(time_of=self._latest)
        elif self._live and self._stage is not None:
            self._stream.write("\n")
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        """Show where the run stands."""
        if event.stage != self._stage:
            self._finish_stage(time_of=event)
            self._stage, self._began, self._drawn = event.stage, event.seconds, float("-inf")
        self._latest = event
        now = time.monotonic()
        if self._live and (now - self._drawn >= REDRAW or event.step == event.steps):
            self._drawn = now
            self._draw(line(event))

    def say(self, text: str) -> None:
        """Write a line for people between two stages."""
        self._finish_stage(time_of=self._latest)
        self._stream.write(text + "\n")
        self._stream.flush()

    def _draw(self, text: str) -> None:
        width = (
            shutil.get_terminal_size().columns - 1
        )  # a full last column would wrap and break the redraw
        self._stream.write(f"\r{text[:width]:<{width}}")
        self._stream.flush()

    def _finish_stage(self, *, time_of: Event | None) -> None:
        if self._stage is None or self._latest is None or time_of is None:
            return
        seconds = time_of.seconds - self._began
        steps = f"  {self._latest.step} steps" if self._latest.steps > 1 else ""
        done = f"{self._stage:<14} {duration(seconds):>7}{steps}"
        if self._live:
            self._draw(done)
        else:
            self._stream.write(done)
        self._stream.write("\n")
        self._stream.flush()
        self._stage = None


def line(event: Event) -> str:
    """One event as a line: stage, bar, steps, share of the whole run, time left."""
    filled = BAR * min(event.step, event.steps) // event.steps
    bar = "#" * filled + "-" * (BAR - filled)
    left = "" if event.eta is None else f"  {duration(event.eta)} left"
    return f"{event.stage:<14} [{bar}] {event.step}/{event.steps}  {event.percent:3.0f}%{left}"


def duration(seconds: float) -> str:
    """Seconds for people: 4.2 s, 1:05 min, 1:00:05 h."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"
