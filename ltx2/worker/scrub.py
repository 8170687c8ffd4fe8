"""What must not stand in a log, found in any text: keys, queries of URLs, pictures as base64.

Every pattern is bounded, so that the time it takes grows with the text and not with its square.
"""

import re
from collections.abc import Iterable, Mapping

SECRET = "[secret]"
LEAST_SECRET = 4  # characters; what is shorter would be found in every word
BASE64_RUN = 64  # characters of base64 in one piece

# Names that a key stands behind, in a query, a header, JSON or a dictionary's text.
_NAMES = (
    r"x-amz-[a-z0-9-]{1,40}|aws[_-]?access[_-]?key[_-]?id|(?:aws[_-]?)?secret[_-]?access[_-]?key|"
    r"access[_-]?(?:key|id|secret|token)(?:[_-]?id)?|secret[_-]?key|api[_-]?key|"
    r"(?:auth|security|session|hf|id|refresh)?[_-]?token|signature|credential|sig|password|passwd|"
    r"cookie|set-cookie"
)
# In this order: a URL loses its query before that is looked through for names.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(data:[^,\s\"']{0,200},)[A-Za-z0-9+/=_\-%\\\r\n]{16,}", re.I), r"\1[data]"),
    (re.compile(r"(\b[a-z][a-z0-9+.\-]{1,20}://)[^\s/?#\"'<>]{0,1000}@", re.I), r"\1[user]@"),
    (re.compile(r"(\b[a-z][a-z0-9+.\-]{1,20}://[^\s?#\"'<>]{1,1000})[?#][^\s\"'<>]*", re.I),
     r"\1?[query]"),
    (re.compile(r"((?:proxy-)?authorization[\"']?\s{0,4}[:=,]\s{0,4}[\"']?)[^\r\n\"']+", re.I),
     rf"\1{SECRET}"),
    (re.compile(r"\b(bearer|aws4-hmac-sha256)\s{1,4}[^\s\"',;]{4,}(?:,\s?\S+=\S+){0,4}", re.I),
     rf"\1 {SECRET}"),
    (re.compile(rf"(?<![a-z0-9])((?:{_NAMES})[\"']?\s{{0,4}}[:=]\s{{0,4}}[\"']?)[^\s\"'&,;}}\])]+",
                re.I), rf"\1{SECRET}"),
    (re.compile(r"(\S)\?[^\s\"'<>=]{1,200}=[^\s\"'<>]*"), r"\1?[query]"),
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}"), SECRET),
    (re.compile(r"\b(?:hf|rpa)_[A-Za-z0-9]{16,}"), SECRET),
)  # fmt: skip

# A file of a traceback may be as long as a run of base64, and is what the log is read for.
_FILE = r'File "[^"\n]{1,1000}", line \d+'
_RUN = re.compile(rf"{_FILE}|[A-Za-z0-9+/_\-]{{{BASE64_RUN},}}={{0,2}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Where a machine keeps files: the beginning of a path, and so unlikely the beginning of base64.
_PATH = re.compile(r"/(?:runpod-volume|models|root|home|usr|opt|tmp|var|app|srv|mnt)/[\w/\-]*")


class Scrub:
    """Takes what is secret out of a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = Hiding(dict.fromkeys(secrets, SECRET))

    def __call__(self, text: str) -> str:
        """The text without keys that are known, what looks like one, queries and base64."""
        text = self._secrets(text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return _RUN.sub(_shortened, text)


class Hiding:
    """Replaces each of some texts wherever it stands, the longest first."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        kept = [(text, new) for text, new in texts.items() if len(text) >= LEAST_SECRET]
        self._texts = sorted(kept, key=lambda pair: len(pair[0]), reverse=True)

    def __call__(self, text: str) -> str:
        """The text with the others in place of those."""
        for old, new in self._texts:
            text = text.replace(old, new)
        return text


def cut(text: str, most: int) -> str:
    """A text of at most about `most` characters: what is too much is taken from its middle."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} [{len(text) - 2 * half:,} characters] {text[-half:]}"


def _shortened(found: re.Match[str]) -> str:
    run = found[0]
    if run.startswith('File "') or _SHA256.fullmatch(run) or _PATH.fullmatch(run):
        return run
    return f"[base64, {len(run):,} characters]"
