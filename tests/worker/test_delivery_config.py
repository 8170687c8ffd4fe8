"""Which store it is: from the worker's variables and from a job, with every fault named."""

import pytest

from ltx2.delivery.endpoint import EndpointRefused, read_endpoint
from ltx2.delivery.s3_config import S3Config
from ltx2.errors import BadRequest, ConfigError
from ltx2.worker.settings import WorkerSettings

KEYS = {"BUCKET_ACCESS_KEY_ID": "key", "BUCKET_SECRET_ACCESS_KEY": "hush"}
R2 = "0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com"
JOB = {
    "accessId": "key", "accessSecret": "hush", "bucketName": "clips",
    "endpointUrl": "https://s3.eu-west-1.amazonaws.com",
}  # fmt: skip


def from_env(**variables):
    return S3Config.from_settings(WorkerSettings.from_env({**KEYS, **variables}))


def refusal(**variables):
    with pytest.raises(ConfigError) as caught:
        S3Config.from_settings(WorkerSettings.from_env(variables))
    assert "hush" not in str(caught.value)
    return str(caught.value)


def job_refusal(allow_private=False, **changes):
    with pytest.raises(BadRequest) as caught:
        S3Config.from_job({**JOB, **changes}, allow_private=allow_private)
    assert "hush" not in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize(
    ("url", "endpoint", "region", "bucket", "virtual"),
    [
        ("https://s3.amazonaws.com", None, None, None, True),
        ("https://s3.us-west-2.amazonaws.com/", None, "us-west-2", None, True),
        ("https://s3-eu-west-1.amazonaws.com", None, "eu-west-1", None, True),
        ("https://s3.dualstack.eu-central-1.amazonaws.com", None, "eu-central-1", None, True),
        ("https://s3.cn-north-1.amazonaws.com.cn", None, "cn-north-1", None, True),
        ("https://s3.us-gov-west-1.amazonaws.com", None, "us-gov-west-1", None, True),
        (
            "https://clips.s3.us-west-2.amazonaws.com",
            "https://s3.us-west-2.amazonaws.com",
            "us-west-2", "clips", True,
        ),
        (
            "https://my.clips.s3.us-west-2.amazonaws.com",
            "https://s3.us-west-2.amazonaws.com",
            "us-west-2", "my.clips", True,
        ),
        (
            "https://s3.us-west-2.amazonaws.com/clips",
            "https://s3.us-west-2.amazonaws.com",
            "us-west-2", "clips", True,
        ),
        (
            "https://s3.us-west-2.amazonaws.com/my.clips",
            "https://s3.us-west-2.amazonaws.com",
            "us-west-2", "my.clips", False,
        ),
        ("https://s3api-eu-ro-1.runpod.io/", None, "EU-RO-1", None, False),
        (
            "https://s3api-eur-is-1.runpod.io/abc123",
            "https://s3api-eur-is-1.runpod.io",
            "EUR-IS-1", "abc123", False,
        ),
        (f"https://{R2}", None, "auto", None, False),
        (f"https://clips.{R2}", f"https://{R2}", "auto", "clips", True),
        (f"https://{R2}/clips", f"https://{R2}", "auto", "clips", False),
        ("https://nyc3.digitaloceanspaces.com", None, "nyc3", None, False),
        (
            "https://clips.nyc3.digitaloceanspaces.com",
            "https://nyc3.digitaloceanspaces.com",
            "nyc3", "clips", True,
        ),
        ("https://s3.us-west-004.backblazeb2.com", None, "us-west-004", None, False),
        ("https://s3.eu-central-2.wasabisys.com", None, "eu-central-2", None, False),
        ("https://storage.googleapis.com", None, "auto", None, False),
        ("http://127.0.0.1:9000", None, None, None, False),
        ("http://[::1]:9000/clips", "http://[::1]:9000", None, "clips", False),
        ("https://minio.example.com/clips/", "https://minio.example.com", None, "clips", False),
    ],
)  # fmt: skip
def test_an_address_says_bucket_region_and_where_the_bucket_belongs(
    url, endpoint, region, bucket, virtual
):
    found = read_endpoint(url, None)
    assert found.url == (endpoint or url.rstrip("/"))
    assert (found.region, found.bucket, found.virtual) == (region, bucket, virtual)


def test_a_store_under_a_path_keeps_it_where_the_bucket_is_named():
    address = "https://store.example.com/storage/v1/s3"
    assert read_endpoint(address, "clips").url == address
    assert read_endpoint(f"{address}/clips", "clips").url == address
    with pytest.raises(EndpointRefused, match="which of them is the bucket"):
        read_endpoint(address, None)


@pytest.mark.parametrize(
    "url",
    [
        "https://other.s3.us-west-2.amazonaws.com",
        "https://s3.us-west-2.amazonaws.com/other",
        "https://clips.s3.us-west-2.amazonaws.com/other",
    ],
)
def test_two_buckets_are_refused(url):
    with pytest.raises(EndpointRefused, match=r"names the bucket 'other', which is not 'clips'"):
        read_endpoint(url, "clips")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.com", "http or https"),
        ("s3.amazonaws.com", "http or https"),
        ("https://key:hush@example.com", "without a user name"),
        ("https://exa mple.com", "spaces"),
        ("https://example.com/clips?versioning", "without ? and #"),
        ("https://example.com/a", "cannot be one"),
        ("https://example.com/..", "cannot be one"),
    ],
)
def test_an_address_that_is_none_is_refused(url, words):
    with pytest.raises(EndpointRefused, match=words.replace("?", r"\?")):
        read_endpoint(url, None)


def test_a_host_that_is_not_known_begins_with_the_bucket_only_where_that_is_asked_for():
    plain = read_endpoint("https://clips.example.com", "clips")
    assert (plain.url, plain.virtual) == ("https://clips.example.com", False)
    virtual = read_endpoint("https://clips.example.com", "clips", "virtual")
    assert (virtual.url, virtual.virtual) == ("https://example.com", True)


def test_no_variable_means_no_store():
    assert S3Config.from_settings(WorkerSettings.from_env({})) is None
    link_only = WorkerSettings.from_env({"BUCKET_LINK_SECONDS": "60"})
    assert S3Config.from_settings(link_only) is None


def test_the_variables_make_a_store():
    config = from_env(
        BUCKET_ENDPOINT_URL="https://nyc3.digitaloceanspaces.com",
        BUCKET_NAME="clips",
        BUCKET_PREFIX="/made/here/",
        BUCKET_PUBLIC_URL="https://cdn.example.com/c/",
        BUCKET_LINK_SECONDS="600",
        BUCKET_ADDRESSING="virtual",
    )
    assert (config.bucket, config.region, config.region_known) == ("clips", "nyc3", True)
    assert (config.prefix, config.public_url) == ("made/here", "https://cdn.example.com/c")
    assert (config.link_seconds, config.virtual) == (600, True)
    assert "hush" not in repr(config)


def test_a_region_that_nobody_named_is_only_a_guess():
    config = from_env(BUCKET_ENDPOINT_URL="https://s3.amazonaws.com/clips")
    assert (config.region, config.region_known) == ("us-east-1", False)
    moved = config.in_region("eu-west-1")
    assert moved.endpoint == "https://s3.eu-west-1.amazonaws.com"
    assert (moved.region, moved.region_known) == ("eu-west-1", True)
    own = from_env(BUCKET_ENDPOINT_URL="http://10.0.0.1:9000", BUCKET_NAME="clips")
    assert own.in_region("here").endpoint == "http://10.0.0.1:9000"


def test_a_store_that_is_partly_set_up_is_refused_with_all_that_is_missing():
    said = refusal(BUCKET_NAME="clips")
    for variable in ("BUCKET_ENDPOINT_URL", "BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY"):
        assert f"{variable} is missing" in said
    said = refusal(BUCKET_ENDPOINT_URL="https://s3.amazonaws.com", **KEYS)
    assert "BUCKET_NAME is missing" in said
    assert "BUCKET_SECRET_ACCESS_KEY is missing" in refusal(BUCKET_ACCESS_KEY_ID="key")


def test_everything_that_is_wrong_is_said_at_once():
    said = refusal(
        BUCKET_ENDPOINT_URL="https://s3.us-west-2.amazonaws.com/other",
        BUCKET_NAME="clips",
        BUCKET_REGION="somewhere else",
        BUCKET_PREFIX="a/../b",
        BUCKET_PUBLIC_URL="https://cdn.example.com/?x=1",
        BUCKET_ACCESS_KEY_ID="k e y",
        BUCKET_SECRET_ACCESS_KEY="hush hush",
    )
    for words in (
        "BUCKET_ENDPOINT_URL names the bucket", "BUCKET_REGION must", "BUCKET_PREFIX must",
        "BUCKET_PUBLIC_URL must", "BUCKET_ACCESS_KEY_ID must", "BUCKET_SECRET_ACCESS_KEY must",
    ):  # fmt: skip
        assert words in said


def test_a_region_that_contradicts_the_address_is_refused():
    address = {"BUCKET_ENDPOINT_URL": "https://s3.us-west-2.amazonaws.com/clips"}
    assert "is in us-west-2" in refusal(**address, **KEYS, BUCKET_REGION="eu-west-1")
    volume = {"BUCKET_ENDPOINT_URL": "https://s3api-eu-ro-1.runpod.io/abc123"}
    assert from_env(**volume, BUCKET_REGION="eu-ro-1").region == "eu-ro-1"


def test_a_job_brings_a_store():
    config = S3Config.from_job(JOB)
    assert (config.bucket, config.region, config.virtual) == ("clips", "eu-west-1", True)
    assert not config.allow_private
    assert "hush" not in repr(config)


def test_a_job_may_name_the_bucket_in_the_address_too():
    config = S3Config.from_job({**JOB, "endpointUrl": "https://clips.s3.eu-west-1.amazonaws.com"})
    assert (config.endpoint, config.bucket) == ("https://s3.eu-west-1.amazonaws.com", "clips")


def test_everything_that_a_job_lacks_is_said_at_once():
    with pytest.raises(BadRequest) as caught:
        S3Config.from_job({"accessId": 5, "bucketName": " ", "acessSecret": "hush"})
    assert len(caught.value.problems) == 5
    assert "hush" not in str(caught.value)
    assert "'acessSecret'" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://s3.eu-west-1.amazonaws.com", "https"),
        ("https://s3.example.com:9000", "port 80 or 443"),
        ("file:///etc/passwd", "http or https"),
        ("https://user:hush@s3.example.com", "without a user name"),
        ("https://other.s3.eu-west-1.amazonaws.com", "'other'"),
    ],
)
def test_a_job_cannot_send_clips_to_an_address_that_is_not_public_https(url, words):
    (problem,) = job_refusal(endpointUrl=url)
    assert problem.startswith("s3Config.endpointUrl ")
    assert words in problem


def test_development_may_send_clips_to_an_address_of_its_own():
    config = S3Config.from_job({**JOB, "endpointUrl": "http://127.0.0.1:9000"}, allow_private=True)
    assert config.endpoint == "http://127.0.0.1:9000"


@pytest.mark.parametrize("key", ["a\nb", "a b", "é", "x" * 257, "a\x00"])
def test_a_key_that_would_not_fit_into_a_header_is_refused(key):
    (problem,) = job_refusal(accessId=key)
    assert problem.startswith("s3Config.accessId must be")


@pytest.mark.parametrize("bucket", ["a", "../etc", "evil.example/x", "clips@x", "a..b", "x" * 70])
def test_a_bucket_that_could_lead_elsewhere_is_refused(bucket):
    (problem,) = job_refusal(bucketName=bucket)
    assert "bucket" in problem
