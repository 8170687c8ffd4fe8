"""Names that sort by their time, and secrets of which only a digest is kept."""

import hashlib
import re
import secrets
from datetime import datetime

# Crockford's base 32: no letter looks like a digit, and the order of texts is that of numbers.
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TIME, _RANDOM = 10, 16  # digits: milliseconds until the year 10889, and 80 random bits
SECRET_BYTES = 32


def new_id(prefix: str, now: datetime) -> str:
    """`gen_01K9F3…`: what is made later sorts later, but for the same millisecond."""
    number = (int(now.timestamp() * 1000) << 5 * _RANDOM) | secrets.randbits(5 * _RANDOM)
    shifts = range(5 * (_TIME + _RANDOM - 1), -1, -5)
    return f"{prefix}_" + "".join(_DIGITS[number >> shift & 31] for shift in shifts)


def is_id(prefix: str, text: str) -> bool:
    """Whether a text could be a name of that kind; no database need be asked about another."""
    return re.fullmatch(f"{prefix}_[{_DIGITS}]{{{_TIME + _RANDOM}}}", text) is not None


def new_secret(prefix: str = "") -> str:
    """256 random bits as text."""
    return prefix + secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> str:
    """SHA-256 in hex: all that is stored of a secret. With 256 random bits it needs no salt."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
