"""Signatures of webhooks, as the Standard Webhooks specification has them."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
KEY_BYTES = 32  # of a new secret; the specification takes 24 to 64
LEAST_BYTES, MOST_BYTES = 24, 64
SKEW_SECONDS = 300  # between the sender's clock and the receiver's; older could be a replay
_VERSION = "v1"


class SecretRefused(ValueError):
    """A text that is no webhook secret; the message says what one is."""


class SignatureRefused(ValueError):
    """A webhook that its receiver must not believe."""


def new_secret() -> str:
    """A secret for a receiver, `whsec_` and base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The bytes behind a secret. Raises SecretRefused."""
    said = f"a webhook secret is {PREFIX} and base64 of {LEAST_BYTES} to {MOST_BYTES} bytes"
    if not secret.startswith(PREFIX):
        raise SecretRefused(said)
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretRefused(said) from error
    if not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise SecretRefused(said)
    return key


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature, `v1,` and base64. `timestamp`: seconds since 1970, of this try."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def headers(
    secrets_in_use: Sequence[str], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The three headers of a webhook. While a secret is replaced, both old and new one sign."""
    signatures = [sign(each, message_id, timestamp, body) for each in secrets_in_use]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def verify(secret: str, given: dict[str, str], body: bytes, *, now: float) -> None:
    """Raise SignatureRefused unless a webhook is ours, whole and of the last five minutes.

    For receivers in Python; `given` are the headers in lower case, `body` the bytes as they came.
    """
    try:
        message_id = given["webhook-id"]
        timestamp = int(given["webhook-timestamp"])
        signatures = given["webhook-signature"].split(" ")
    except (KeyError, ValueError) as error:
        raise SignatureRefused("webhook-id, -timestamp and -signature are needed") from error
    if abs(now - timestamp) > SKEW_SECONDS:
        raise SignatureRefused("the webhook's time is more than five minutes from ours")
    wanted = sign(secret, message_id, timestamp, body).encode()
    if not any(hmac.compare_digest(wanted, each.encode()) for each in signatures):
        raise SignatureRefused("no signature of the webhook is right")
