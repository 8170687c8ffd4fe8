"""Which S3 store a clip goes to: read from the worker's settings, or from a job. No torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from ltx2.delivery.endpoint import (
    AWS,
    BUCKET,
    DEFAULT_REGION,
    REGION,
    RUNPOD,
    Addressing,
    Endpoint,
    EndpointRefused,
    read_endpoint,
)
from ltx2.errors import BadRequest, ConfigError
from ltx2.forms import shown
from ltx2.media.address import AddressRefused, parse

if TYPE_CHECKING:
    from ltx2.worker.settings import WorkerSettings

WEEK = 7 * 24 * 3600  # seconds: the longest that a signed link can live
_KEY = re.compile(r"[\x21-\x7e]{1,256}")
_JOB_FIELDS = ("accessId", "accessSecret", "bucketName", "endpointUrl")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Config:
    """A bucket of an S3 store and the keys to it."""

    endpoint: str  # without the bucket
    host: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str
    region_known: bool = True  # False where it is only the default
    virtual: bool = False  # whether the bucket is named in the host
    prefix: str = ""
    public_url: str | None = None
    link_seconds: int = WEEK
    allow_private: bool = True  # False for a stranger's address
    name: str = "the store"  # for errors

    @property
    def signs_links(self) -> bool:
        """Whether a link can be made that needs no keys. RunPod's volumes take none."""
        return self.public_url is not None or not RUNPOD.fullmatch(self.host)

    def in_region(self, region: str) -> Self:
        """The same bucket where the store says that it lies."""
        if not AWS.fullmatch(self.host):
            return replace(self, region=region, region_known=True)
        china = ".cn" if self.host.endswith(".cn") else ""
        host = f"s3.{region}.amazonaws.com{china}"
        scheme = self.endpoint.partition("://")[0]
        return replace(
            self, endpoint=f"{scheme}://{host}", host=host, region=region, region_known=True
        )

    @classmethod
    def from_settings(cls, settings: "WorkerSettings") -> Self | None:
        """The store of a worker; None where nothing of one is set.

        Raises ConfigError with everything that is missing or wrong.
        """
        required = {
            "BUCKET_ENDPOINT_URL": settings.bucket_endpoint,
            "BUCKET_ACCESS_KEY_ID": settings.bucket_access_key,
            "BUCKET_SECRET_ACCESS_KEY": settings.bucket_secret_key,
        }
        others = {
            "BUCKET_NAME": settings.bucket,
            "BUCKET_REGION": settings.bucket_region,
            "BUCKET_PREFIX": settings.bucket_prefix,
            "BUCKET_PUBLIC_URL": settings.bucket_public_url,
        }
        if not any({**required, **others}.values()):
            return None
        problems = [f"{name} is missing" for name, value in required.items() if not value]
        problems += _key_problems(
            {name: value for name, value in required.items() if "KEY" in name and value}
        )
        problems += _own_problems(settings)
        endpoint: Endpoint | None = None
        if settings.bucket_endpoint:
            try:
                endpoint = read_endpoint(
                    settings.bucket_endpoint, settings.bucket, settings.bucket_addressing
                )
            except EndpointRefused as error:
                problems.append(f"BUCKET_ENDPOINT_URL {error}")
        if endpoint is not None:
            if endpoint.bucket is None:
                problems.append("BUCKET_NAME is missing, and BUCKET_ENDPOINT_URL names no bucket")
            problems += _region_problems(endpoint, settings.bucket_region)
        if problems or endpoint is None:
            raise ConfigError("the S3 store is only partly set up: " + "; ".join(problems))
        return cls(
            endpoint=endpoint.url,
            host=endpoint.host,
            bucket=endpoint.bucket or "",
            access_key=settings.bucket_access_key or "",
            secret_key=settings.bucket_secret_key or "",
            region=settings.bucket_region or endpoint.region or DEFAULT_REGION,
            region_known=bool(settings.bucket_region or endpoint.region),
            virtual=_virtual(settings.bucket_addressing, endpoint),
            prefix=settings.bucket_prefix.strip("/"),
            public_url=(settings.bucket_public_url or "").rstrip("/") or None,
            link_seconds=settings.bucket_link_seconds,
        )

    @classmethod
    def from_job(cls, given: Mapping[str, Any], *, allow_private: bool = False) -> Self:
        """The store that a job brings. Raises BadRequest with everything against it."""
        problems = [
            f"s3Config.{name} must be text that is not empty"
            for name in _JOB_FIELDS
            if not isinstance(given.get(name), str) or not given[name].strip()
        ]
        if unknown := sorted(str(name) for name in given if name not in _JOB_FIELDS):
            listed = ", ".join(map(shown, unknown[:8]))
            problems.append(f"s3Config takes {', '.join(_JOB_FIELDS)}, and no {listed}")
        if problems:
            raise BadRequest(problems)
        values: dict[str, str] = {name: given[name].strip() for name in _JOB_FIELDS}
        keys = {f"s3Config.{name}": values[name] for name in ("accessId", "accessSecret")}
        problems = _key_problems(keys)
        url, endpoint = values["endpointUrl"], None
        try:
            endpoint = read_endpoint(url, values["bucketName"])
            if not allow_private:
                parse(endpoint.url, any_port=False)
                if not endpoint.url.startswith("https://"):
                    raise EndpointRefused("must be an https address")
        except (EndpointRefused, AddressRefused) as error:
            problems.append(f"s3Config.endpointUrl {error}")
        if problems or endpoint is None:
            raise BadRequest(problems)
        return cls(
            endpoint=endpoint.url,
            host=endpoint.host,
            bucket=values["bucketName"],
            access_key=values["accessId"],
            secret_key=values["accessSecret"],
            region=endpoint.region or DEFAULT_REGION,
            region_known=endpoint.region is not None,
            virtual=endpoint.virtual,
            allow_private=allow_private,
            name="the store of s3Config",
        )


def _virtual(addressing: Addressing, endpoint: Endpoint) -> bool:
    return endpoint.virtual if addressing == "auto" else addressing == "virtual"


def _key_problems(keys: Mapping[str, str | None]) -> list[str]:
    return [
        f"{name} must be 1 to 256 printable ASCII characters without spaces"
        for name, value in keys.items()
        if value is not None and not _KEY.fullmatch(value)
    ]


def _own_problems(settings: "WorkerSettings") -> list[str]:
    """What is wrong with the variables that an address has no part in."""
    problems: list[str] = []
    if settings.bucket and not BUCKET.fullmatch(settings.bucket):
        problems.append("BUCKET_NAME must be 3 to 63 letters, digits, dots, - and _")
    if settings.bucket_region and not REGION.fullmatch(settings.bucket_region):
        problems.append("BUCKET_REGION must be a region's name, like us-east-1")
    parts = settings.bucket_prefix.strip("/").split("/")
    bad = any(not part or part in (".", "..") for part in parts)
    if settings.bucket_prefix.strip("/") and (bad or not settings.bucket_prefix.isprintable()):
        problems.append("BUCKET_PREFIX must be names with / between them, without . and ..")
    if len(settings.bucket_prefix.encode()) > 512:  # of the 1024 that a key may have
        problems.append("BUCKET_PREFIX must have up to 512 bytes")
    if settings.bucket_public_url:
        try:
            parse(settings.bucket_public_url, any_port=True)
            if "?" in settings.bucket_public_url or "#" in settings.bucket_public_url:
                raise AddressRefused("must be an address without ? and #")
        except AddressRefused as error:
            problems.append(f"BUCKET_PUBLIC_URL {error}")
    return problems


def _region_problems(endpoint: Endpoint, region: str | None) -> list[str]:
    if not region or endpoint.region in (None, "auto"):
        return []
    if region.lower() == endpoint.region.lower():
        return []
    return [f"BUCKET_REGION is {region}, and BUCKET_ENDPOINT_URL is in {endpoint.region}"]
