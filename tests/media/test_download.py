"""Downloads from a real server on loopback: caps, redirects, time, and servers that misbehave."""

import datetime
import socket
import ssl
import time
from contextlib import contextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ltx2.errors import MediaRefused, TooLarge
from ltx2.media.download import download
from tests.media.server import raw, redirect, serving

BODY = bytes(range(256)) * 10
HEAD = b"HTTP/1.1 200 OK\r\n"


def get(url, *, max_bytes=10_000, timeout_s=10.0, allow_private=True):
    return download(
        url, name="image", max_bytes=max_bytes, timeout_s=timeout_s, allow_private=allow_private
    )


def refused(url, error=MediaRefused, **options):
    """The one sentence of a refusal; it begins with the field and keeps secrets."""
    with pytest.raises(error) as caught:
        get(url, **options)
    sentence = str(caught.value)
    assert sentence.startswith("image ")
    assert "secret" not in sentence
    assert "\n" not in sentence
    return sentence


def test_a_body_comes_whole_and_the_query_is_sent():
    with serving({"/a.png": BODY}) as server:
        assert get(server.url("/a.png?key=secret")) == BODY
    path, headers = server.asked[0]
    assert path == "/a.png?key=secret"
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    assert headers["Accept-Encoding"] == "identity"


def test_a_private_address_is_refused_before_anything_is_asked():
    with serving({"/a.png": BODY}) as server:
        url = server.url("/a.png?key=secret")
        assert "port" in refused(url, allow_private=False)
        assert "public address" in refused("http://127.0.0.1/?key=secret", allow_private=False)
    assert server.asked == []


def test_the_connection_goes_to_the_number_that_was_checked(monkeypatch):
    """A second answer of the name server, as in DNS rebinding, is never asked for."""
    with serving({"/a.png": BODY}) as server:
        asked = []

        def getaddrinfo(host, port, *rest, **options):
            if host == "pictures.example":
                asked.append(host)
                host = "127.0.0.1"
            return real(host, port, *rest, **options)

        real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert get(f"http://pictures.example:{server.port}/a.png") == BODY
    assert asked == ["pictures.example"]
    assert server.asked[0][1]["Host"] == f"pictures.example:{server.port}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_relative_and_absolute(status):
    with serving({"/x/a": redirect("b?k=v", status), "/x/b": BODY}) as server:
        assert get(server.url("/x/a")) == BODY
    assert [path for path, _ in server.asked] == ["/x/a", "/x/b?k=v"]


def test_three_redirects_are_followed_and_a_fourth_is_not():
    answers = {f"/{n}": redirect(f"/{n + 1}?key=secret") for n in range(4)} | {"/4": BODY}
    with serving(answers) as server:
        assert get(server.url("/1")) == BODY
        assert "more than 3 redirects" in refused(server.url("/0"))


def test_a_redirect_to_a_private_address_is_refused(monkeypatch):
    """The first host is let through as a public one would be; the second must not be."""
    with serving({"/a": redirect("http://169.254.169.254/latest/meta-data")}) as server:
        monkeypatch.setattr("ltx2.media.address.PORTS", {"http": server.port, "https": 443})
        monkeypatch.setattr("ltx2.media.address.is_public", lambda number: number == "127.0.0.1")
        sentence = refused(f"http://127.0.0.1:{server.port}/a", allow_private=False)
    assert "public address" in sentence
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "not by file"),
        ("ftp://example.org/a.png", "not by ftp"),
        ("http://user:secret@127.0.0.1/a", "without a user name"),
    ],
)
def test_a_redirect_must_lead_to_a_url_that_would_be_taken_itself(location, words):
    with serving({"/a": redirect(location)}) as server:
        assert words in refused(server.url("/a"))


def test_a_size_above_the_cap_is_refused_by_its_header():
    with serving({"/a": BODY, "/b": raw(HEAD + b"Content-Length: 999999999\r\n\r\n")}) as server:
        assert get(server.url("/a"), max_bytes=len(BODY)) == BODY
        assert "2,559 bytes" in refused(server.url("/a"), TooLarge, max_bytes=len(BODY) - 1)
        refused(server.url("/b"), TooLarge)


@pytest.mark.parametrize(
    "answer",
    [
        raw(HEAD + b"\r\n" + BODY * 100),
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"a00\r\n" + BODY + b"\r\n") * 100),
    ],
    ids=["until the end", "in chunks"],
)
def test_a_size_above_the_cap_is_refused_while_it_streams(answer):
    with serving({"/a": answer}) as server:
        refused(server.url("/a"), TooLarge)


def test_a_body_in_chunks_is_put_together():
    chunks = HEAD + b"Transfer-Encoding: chunked\r\n\r\na00\r\n" + BODY + b"\r\n0\r\n\r\n"
    with serving({"/a": raw(chunks)}) as server:
        assert get(server.url("/a")) == BODY


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"", rest_s=1.5),
        raw(HEAD + b"X-Slow: " + b"a" * 40, drip_s=0.05),
        raw(HEAD + b"\r\n" + b"a" * 40, drip_s=0.05),
        raw(HEAD + b"Content-Length: 100\r\n\r\n" + b"a" * 50, rest_s=1.5),
    ],
    ids=["silence", "headers by the byte", "a body by the byte", "half a body"],
)
def test_the_time_limit_is_for_everything_together(answer):
    with serving({"/a": answer}) as server:
        started = time.monotonic()
        assert "not done within 0.5 s" in refused(server.url("/a?key=secret"), timeout_s=0.5)
        assert time.monotonic() - started < 1.3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (404, "the server answered 404"),
        (500, "the server answered 500"),
        (raw(b"HTTP/1.1 302 Found\r\n\r\n"), "the server answered 302"),
        (raw(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\na"), "answered 206"),
        (raw(HEAD + b"Content-Length: 100\r\n\r\nabc"), "broke before the end"),
        (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\na00\r\nabc"), "broke before the end"),
        (raw(b""), "broke before the end"),
        (raw(b"SSH-2.0-OpenSSH_9.9\r\n"), "does not answer in HTTP"),
        (raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\na"), "sent it packed"),
    ],
)
def test_a_server_that_misbehaves_gets_one_sentence(answer, words):
    with serving({"/a": answer}) as server:
        assert words in refused(server.url("/a?key=secret"))


def test_a_port_where_nobody_listens_gets_one_sentence():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        assert "connection was refused" in refused(f"http://127.0.0.1:{port}/a?key=secret")


def test_a_server_without_tls_cannot_be_asked_by_https():
    with serving({"/a": BODY}) as server:
        sentence = refused(server.url("/a").replace("http:", "https:"))
    assert "encrypted connection failed" in sentence


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of `pictures.example` with its key, signed by itself, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pictures.example")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("pictures.example")])
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        signed.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@contextmanager
def serving_tls(answers, certificate, monkeypatch):
    """A server with TLS on loopback that is found under every name ending in .example."""

    def getaddrinfo(host, port, *rest, **options):
        return real("127.0.0.1" if host.endswith(".example") else host, port, *rest, **options)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(answers, wrap=lambda plain: context.wrap_socket(plain, server_side=True)) as made:
        yield made


def test_https_is_fetched_under_the_name_of_the_certificate(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving_tls({"/a": BODY}, certificate, monkeypatch) as server:
        assert get(f"https://pictures.example:{server.port}/a") == BODY
        sentence = refused(f"https://other.example:{server.port}/a?key=secret")
    assert "certificate is not trusted" in sentence
    assert "other.example" in sentence
    assert len(server.asked) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate, monkeypatch):
    with serving_tls({"/a": BODY}, certificate, monkeypatch) as server:
        sentence = refused(f"https://pictures.example:{server.port}/a?key=secret")
    assert "certificate is not trusted" in sentence
    assert server.asked == []


def test_a_slow_body_over_tls_meets_the_time_limit(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    slow = raw(HEAD + b"\r\n" + b"a" * 40, drip_s=0.05)
    with serving_tls({"/a": slow}, certificate, monkeypatch) as server:
        url = f"https://pictures.example:{server.port}/a"
        assert "not done within 0.5 s" in refused(url, timeout_s=0.5)


def test_tls_that_never_begins_meets_the_time_limit():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        assert "not done within 0.4 s" in refused(f"https://127.0.0.1:{port}/", timeout_s=0.4)
        assert time.monotonic() - started < 1.2


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving({"/a": BODY}) as server:
        assert get(server.url("/a")) == BODY
