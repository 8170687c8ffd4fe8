"""Delivery by a PUT to the caller's URL: to a store that checks it, and to servers that fail."""

import datetime
import socket
import ssl
import time
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ltx2.delivery.presigned import check_upload_url, put_to
from ltx2.errors import BadRequest, Cancelled, DeliveryFailed
from ltx2.media.upload import Times
from tests.worker.double import Answer, doubling, stop_after
from tests.worker.s3_server import BUCKET, serving_s3
from tests.worker.test_delivery_s3 import clip, never, store_at

IMPATIENT = Times(quiet=0.6, least=5.0)


def send(url, video, *, pauses=(0.01, 0.01), stop=never, times=None, allow_private=True):
    return put_to(url, video, allow_private=allow_private, stop=stop, pauses=pauses, times=times)


def failure(url, video, kind=DeliveryFailed, **options):
    with pytest.raises(kind) as caught:
        send(url, video, **options)
    sentence = str(caught.value)
    assert sentence.startswith("upload_url ")
    assert "secret" not in sentence
    return sentence


@pytest.fixture
def video(tmp_path):
    return clip(tmp_path)


def signed_put(store, key, **more):
    """What a caller's own back end makes."""
    params = {"Bucket": BUCKET, "Key": key, **more}
    client = store._line.client
    return client.generate_presigned_url("put_object", Params=params, ExpiresIn=60)


def test_a_clip_goes_to_a_signed_url_of_a_real_store(tmp_path, video):
    with serving_s3(tmp_path / "s3") as server:
        store = store_at(server.url)
        url = signed_put(store, "from/caller.mp4", ContentType="video/mp4")
        assert send(url, video) == f"{server.url}/{BUCKET}/from/caller.mp4"
        assert server.objects == {"from/caller.mp4": video.read_bytes()}
        assert "refuses the clip (403)" in failure(url[:-4] + "0000", video)
        other_type = signed_put(store, "b.mp4", ContentType="image/png")
        assert "PUT of video/mp4" in failure(other_type, video)


def test_the_answer_has_no_query_and_the_server_gets_it(video):
    with doubling() as double:
        url = f"{double.url}/a/clip.mp4"
        assert send(f"{url}?X-Signature=secret&x=1#part", video) == url
        (asked,) = double.asked
    assert asked.path == "/a/clip.mp4?X-Signature=secret&x=1"
    assert asked.body == video.read_bytes()
    assert asked.headers["Content-Type"] == "video/mp4"
    assert asked.headers["Content-Length"] == str(video.stat().st_size)


@pytest.mark.parametrize(
    "failures",
    [[Answer(status=500), Answer(status=503)], [Answer(read=10), Answer(read=0)]],
    ids=["errors", "a line that breaks"],
)
def test_what_may_pass_is_sent_again_whole(failures, video):
    with doubling(PUT=failures) as double:
        send(f"{double.url}/clip.mp4", video)
        assert double.objects["/clip.mp4"] == (video.read_bytes(), "video/mp4")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "it has expired"),
        (401, "it has expired"),
        (413, "no file of that size"),
        (404, "refuses the clip (404)"),
        (307, "leads elsewhere (307)"),
    ],
)
def test_a_refusal_is_not_repeated(status, words, video):
    answer = Answer(status=status, headers={"Location": "http://127.0.0.1/?secret"}, body=b"secret")
    with doubling(PUT=[answer]) as double:
        assert words in failure(f"{double.url}/clip.mp4?key=secret", video)
        assert len(double.asked) == 1


def test_a_server_that_goes_on_failing_is_given_up(video):
    with doubling(PUT=[Answer(status=502)] * 5) as double:
        assert "answered 502, 3 times" in failure(f"{double.url}/c?key=secret", video)


def test_silence_is_given_up_in_time_and_a_stop_ends_it_at_once(video):
    with doubling(PUT=[Answer(hang_s=30.0)] * 2) as double:
        url = f"{double.url}/clip.mp4"
        began = time.monotonic()
        assert "nothing moved for 0.6 s" in failure(url, video, pauses=(), times=IMPATIENT)
        with pytest.raises(Cancelled):
            send(url, video, stop=stop_after(0.3))
        assert time.monotonic() - began < 8


def test_a_server_that_refuses_before_it_has_read_all_is_still_understood(tmp_path):
    """Several megabytes are more than the line holds, so the answer comes amid the sending."""
    video = clip(tmp_path, 30_000_000)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse():
            line, _ = listener.accept()
            with line:
                line.recv(1000)
                line.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                time.sleep(0.3)

        thread = Thread(target=refuse)
        thread.start()
        port = listener.getsockname()[1]
        said = failure(f"http://127.0.0.1:{port}/c", video, pauses=())
        thread.join()
    assert "refuses the clip (403)" in said


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/c?key=secret", "public address"),
        ("http://169.254.169.254/latest", "public address"),
        ("https://[::1]/c", "public address"),
        ("http://127.0.0.1:8000/c", "port 80 or 443"),
        ("file:///etc/passwd", "http or https"),
        ("https://user:secret@example.com/c", "without a user name"),
        ("https://no-such-host.invalid/c", "not known"),
        ("clip.mp4", "http or https"),
    ],
)
def test_an_address_that_nothing_is_sent_to_is_refused_early(url, words):
    with pytest.raises(BadRequest, match="upload_url") as caught:
        check_upload_url(url, allow_private=False)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_address_that_turned_private_since_is_refused_at_the_end(video, monkeypatch):
    """The second answer of a name server, as in DNS rebinding, is checked like the first."""
    real, numbers = socket.getaddrinfo, iter(["93.184.215.14", "127.0.0.1"])

    def getaddrinfo(host, *rest, **options):
        return real(next(numbers) if host == "caller.example" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    url = "http://caller.example/c?key=secret"
    check_upload_url(url, allow_private=False)
    assert "public address" in failure(url, video, BadRequest, allow_private=False)


@pytest.fixture
def caller_tls(tmp_path, monkeypatch):
    """What gives a server the certificate of `caller.example`, which this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "caller.example")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("caller.example")]), False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "caller.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    real = socket.getaddrinfo

    def getaddrinfo(host, *rest, **options):
        return real("127.0.0.1" if str(host).endswith(".example") else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return lambda plain: context.wrap_socket(plain, server_side=True)


def test_a_clip_goes_over_tls_to_the_name_of_the_certificate_alone(caller_tls, tmp_path):
    video = clip(tmp_path, 5_000_000)
    with doubling(wrap=caller_tls) as double:
        port = double.server_address[1]
        send(f"https://caller.example:{port}/c", video)
        assert double.objects["/c"][0] == video.read_bytes()
        said = failure(f"https://other.example:{port}/c?key=secret", video, pauses=())
        assert "certificate is not trusted" in said
        assert len(double.asked) == 1


def test_a_silent_server_over_tls_is_left_when_the_job_is_stopped(caller_tls, video):
    with doubling(wrap=caller_tls, PUT=[Answer(hang_s=30.0)]) as double:
        url = f"https://caller.example:{double.server_address[1]}/c"
        began = time.monotonic()
        with pytest.raises(Cancelled):
            send(url, video, stop=stop_after(0.3))
    assert time.monotonic() - began < 5
