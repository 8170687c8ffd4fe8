"""What the studio says: states, phases, errors, sizes and times in words people use."""

from datetime import datetime, timedelta

from gateway.credit_words import credit_words
from gateway.desk import EntryKind
from gateway.states import CostState, ErrorType, Phase, Progress

PHASES: dict[Phase, str] = {
    "loading": "Loading model",
    "prompt": "Reading prompt",
    "generate": "Generating",
    "refine": "Refining",
    "decode": "Decoding video and audio",
    "saving": "Saving",
}
# The same in a word, for the track under the bar.
SHORT_PHASES: dict[Phase, str] = {
    "loading": "Load",
    "prompt": "Read",
    "generate": "Generate",
    "refine": "Refine",
    "decode": "Decode",
    "saving": "Save",
}
FAILURES: dict[ErrorType, str] = {
    "timeout": "It took too long",
    "lost": "The worker went away",
    "out_of_memory": "Too big for the worker",
    "content_filtered_error": "This prompt cannot be used",
    "invalid_input": "Something in the request did not work",
    "api_error": "Something broke on our side",
}
ENTRIES: dict[EntryKind, str] = {
    "grant": "Credits added",
    "hold": "Set aside for a video",
    "capture": "Video paid",
    "release": "Returned",
    "adjustment": "Corrected",
}


def phase_words(progress: Progress | None) -> str:
    """ "Generating 5/8"; "Starting" until the worker's first report."""
    if progress is None:
        return "Starting"
    words = PHASES[progress.phase]
    if progress.step is None or progress.steps is None:
        return words
    return f"{words} {progress.step}/{progress.steps}"


def sentence(words: str) -> str:
    """The same with a capital and a full stop, as what stands alone is written."""
    told = words.strip()
    return told[:1].upper() + told[1:] + ("" if told.endswith((".", "!", "?", "…")) else ".")


def clock(seconds: float) -> str:
    """ "0:41", "12:05", "1:02:05"."""
    whole = max(0, int(seconds))
    hours, minutes = divmod(whole // 60, 60)
    rest = f"{whole % 60:02}"
    return f"{hours}:{minutes:02}:{rest}" if hours else f"{minutes}:{rest}"


def roughly(seconds: float) -> str:
    """ "a few seconds", "about 25 s", "about 2 min": no more exact than a guess may be."""
    if seconds < 5:
        return "a few seconds"
    if seconds < 60:
        return f"about {5 * round(seconds / 5)} s"
    if seconds < 3600:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def size_words(count: int) -> str:
    """ "8.1 MB", in the decimal units that file managers show."""
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB"):
        count_in_unit = count / 1000 ** (1 if unit == "kB" else 2)
        if count_in_unit < 1000:
            return f"{count_in_unit:.0f} {unit}" if unit == "kB" else f"{count_in_unit:.1f} {unit}"
    return f"{count / 1000**3:.2f} GB"


def number_words(value: float) -> str:
    """ "24", "23.976": without zeros that say nothing."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def amount(count: int) -> str:
    """ "480", "12,000", "999.9M", "1B": exact below a million, else rounded down."""
    for unit, size in (("B", 10**9), ("M", 10**6)):
        if abs(count) >= size:
            tenths = abs(count) * 10 // size
            whole = f"{tenths // 10}.{tenths % 10}".removesuffix(".0")
            return f"{'-' if count < 0 else ''}{whole}{unit}"
    return f"{count:,}"


def amount_words(count: int) -> str:
    """ "1 credit", "480 credits", "999.9M credits"."""
    return f"{amount(count)} credit" if count == 1 else f"{amount(count)} credits"


def signed(count: int) -> str:
    """ "+6", "−6", "–" for nothing: as a table of money writes them."""
    return f"{count:+,}".replace("-", "−") if count else "–"


def took(seconds: float) -> str:
    """ "51 s", "5:12 min", "1:02:05 h"."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{clock(seconds)} {'h' if seconds >= 3600 else 'min'}"


def moment(at: datetime) -> str:
    """ "2 Dec 2026, 09:00 UTC"."""
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def ago(at: datetime, now: datetime) -> str:
    """ "just now", "5 min ago", "3 h ago", "2 Dec"."""
    past = now - at
    if past < timedelta(minutes=1):
        return "just now"
    if past < timedelta(hours=1):
        return f"{past // timedelta(minutes=1)} min ago"
    if past < timedelta(days=1):
        return f"{past // timedelta(hours=1)} h ago"
    if past < timedelta(days=7):
        days = past // timedelta(days=1)
        return "yesterday" if days == 1 else f"{days} days ago"
    return f"{at.day} {at:%b %Y}"


def cost_words(count: int, state: CostState) -> str:
    """What became of the credits, in a sentence."""
    match state:
        case "held":
            return f"{credit_words(count)} set aside"
        case "captured":
            return f"{credit_words(count)} paid"
        case "released":
            return f"{credit_words(count)} returned"
