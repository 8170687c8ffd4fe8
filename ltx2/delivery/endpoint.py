"""The address of an S3 store taken apart: which bucket and region it names, and where.

Pure strings. An address may name the bucket in its host or in its path, as stores show it, and
hosts of known stores name the region, without which no signature and no link is good.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ltx2.media.address import PORTS, AddressRefused, parse

Addressing = Literal["auto", "path", "virtual"]

BUCKET = re.compile(r"[a-z0-9](?!.*\.\.)[A-Za-z0-9._-]{1,61}[A-Za-z0-9]", re.IGNORECASE)
REGION = re.compile(r"[A-Za-z0-9-]{1,40}")
AWS = re.compile(r"s3[^/]*\.amazonaws\.com(\.cn)?")
RUNPOD = re.compile(r"s3api-[a-z0-9-]+\.runpod\.io")
# The region that a store without regions, or one that is not known, is signed for.
DEFAULT_REGION = "us-east-1"

_NAMED = r"(?:(?P<bucket>[a-z0-9][a-z0-9._-]*)\.)?"
# Hosts of stores that have a region in them, or "auto" for all.
_STORES: tuple[tuple[re.Pattern[str], str | None], ...] = tuple(
    (re.compile(_NAMED + rf"(?P<store>{host})"), region)
    for host, region in (
        (
            r"s3(?:-fips)?(?:\.dualstack)?(?:[.-](?P<region>[a-z]{2}(?:-[a-z]+)+-\d+))?"
            r"\.amazonaws\.com(?:\.cn)?",
            None,
        ),
        (r"(?P<region>[a-z]{3}\d)\.digitaloceanspaces\.com", None),
        (r"[0-9a-f]{32}(?:\.(?:eu|fedramp))?\.r2\.cloudflarestorage\.com", "auto"),
        (r"s3\.(?P<region>[a-z0-9-]+)\.backblazeb2\.com", None),
        (r"s3\.(?P<region>[a-z0-9-]+)\.wasabisys\.com", None),
        (r"s3\.(?P<region>[a-z0-9-]+)\.scw\.cloud", None),
        (r"storage\.googleapis\.com", "auto"),
    )
)


class EndpointRefused(ValueError):
    """An address that names no store, or two. The message completes "<variable> ..."."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address without the bucket, and what it says of bucket and region."""

    url: str
    host: str
    bucket: str | None
    region: str | None
    bucket_in_host: bool

    @property
    def virtual(self) -> bool:
        """Whether the bucket belongs into the host where nothing else was asked for."""
        dotted = self.bucket is not None and "." in self.bucket  # no certificate is for that
        return self.bucket_in_host or (AWS.fullmatch(self.host) is not None and not dotted)


def read_endpoint(url: str, bucket: str | None, addressing: Addressing = "auto") -> Endpoint:
    """Take an address apart; `bucket` is its name where it was given elsewhere.

    Raises EndpointRefused for what is no address of a store, names no bucket, or names another one
    than `bucket`.
    """
    try:
        address = parse(url, any_port=True)
    except AddressRefused as error:
        raise EndpointRefused(str(error)) from error
    if urlsplit(url).query or urlsplit(url).fragment:
        raise EndpointRefused("must be an address without ? and #")
    host, region, in_host = _by_host(address.host.lower())
    if in_host is None and bucket and addressing == "virtual":
        # A host that is not known begins with the bucket only where that was asked for: it may
        # just be called like it.
        rest = host.removeprefix(f"{bucket.lower()}.")
        in_host, host = (bucket, rest) if rest != host else (None, host)
    found = _one(bucket, in_host)
    parts = [part for part in address.target.split("/") if part]
    if found is None and len(parts) > 1:
        raise EndpointRefused("has a path of several parts; say which of them is the bucket")
    if len(parts) == 1 or (parts and parts[-1] == found):  # what is left is the store's own path
        found = _one(found, parts.pop())
    if found is not None and not BUCKET.fullmatch(found):
        raise EndpointRefused(f"names a bucket that cannot be one: {found[:80]!a}")
    shown = f"[{host}]" if ":" in host else host
    port = "" if address.port == PORTS[address.scheme] else f":{address.port}"
    return Endpoint(
        url="/".join([f"{address.scheme}://{shown}{port}", *parts]),
        host=host,
        bucket=found,
        region=region,
        bucket_in_host=in_host is not None,
    )


def _one(first: str | None, second: str | None) -> str | None:
    """The bucket that was named in one place or two. Raises EndpointRefused for two buckets."""
    if first is not None and second is not None and first.lower() != second.lower():
        raise EndpointRefused(f"names the bucket {second[:80]!a}, which is not {first[:80]!a}")
    return first or second


def _by_host(host: str) -> tuple[str, str | None, str | None]:
    """A host without its bucket, the region it names, and the bucket."""
    if RUNPOD.fullmatch(host):
        # The platform writes its data centres, which are the regions, in capitals.
        return host, host.removeprefix("s3api-").removesuffix(".runpod.io").upper(), None
    for pattern, region in _STORES:
        if found := pattern.fullmatch(host):
            groups = found.groupdict()
            return found["store"], region or groups.get("region"), found["bucket"]
    return host, None, None
