"""Where pictures may come from: the shape of URLs, and which numbers count as public."""

import socket
import threading
import time

import pytest

from ltx2.media.address import AddressRefused, is_public, parse, resolve


def soon():
    return time.monotonic() + 5


@pytest.mark.parametrize(
    "number",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255",
        "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192",
        "198.18.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "168.63.129.16", "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254",
        "fec0::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1",
        "2001:db8::1", "2001::1", "3fff::1", "4000::1", "64:ff9b:1::1", "192.88.99.1",
        "::ffff:168.63.129.16",
    ],
)  # fmt: skip
def test_a_number_that_is_not_public_is_known_as_such(number):
    assert not is_public(number)


@pytest.mark.parametrize(
    "number",
    ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111",
     "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"],
)  # fmt: skip
def test_a_public_number_is_known_as_such(number):
    assert is_public(number)


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("http://example.org", "example.org", 80, "/"),
        ("HTTPS://Example.org/a.png?k=v&x=%20#top", "example.org", 443, "/a.png?k=v&x=%20"),
        ("https://example.org:443/ä", "example.org", 443, "/%C3%A4"),
        ("https://bücher.example/a", "xn--bcher-kva.example", 443, "/a"),
        ("http://[2606:4700:4700::1111]/a", "2606:4700:4700::1111", 80, "/a"),
        ("http://under_score.example.org/", "under_score.example.org", 80, "/"),
    ],
)
def test_a_url_is_taken_apart(url, host, port, target):
    address = parse(url, any_port=False)
    assert (address.host, address.port, address.target) == (host, port, target)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://user:secret@example.org/", "without a user name"),
        ("http://secret@example.org/", "without a user name"),
        ("http://example.org:22/", "port 80 or 443, not 22"),
        ("http://example.org:0/", "port 80 or 443, not 0"),
        ("http://example.org:99999/", "not a URL"),
        ("http://user:secret/", "not a URL"),
        ("http://exa mple.org/", "spaces"),
        ("http://example.org/a\r\nHost: b", "control characters"),
        ("http://example.org\\@127.0.0.1/", "backslashes"),
        ("http:///path", "host name"),
        ("http://[::1/", "not a URL"),
        ("http://[v1.a]/", "brackets"),
        ("http://a..b/", "host name"),
        ("http://-a.example/", "host name"),
        ("http://" + "a" * 64 + "ä.example/", "host name"),
        ("http://127.0.0.1;example.org/", "host name"),
        ("ftp://example.org/a.png", "not by ftp"),
        ("file:///etc/passwd", "not by file"),
        ("//example.org/a.png", "not by nothing"),
    ],
)
def test_a_url_that_is_not_fetched_from_is_refused(url, words):
    with pytest.raises(AddressRefused) as caught:
        parse(url, any_port=False)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_port_is_free_in_development_and_in_the_host_header():
    address = parse("http://[::1]:8188/view?f=a.png", any_port=True)
    assert (address.port, address.host_header) == (8188, "[::1]:8188")


def test_a_url_is_shown_without_its_query_and_not_at_length():
    assert parse("https://example.org/a?token=secret#x", any_port=False).shown == (
        "https://example.org/a"
    )
    assert len(parse("https://example.org/" + "a" * 500, any_port=False).shown) == 100


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b?x=1", "https://example.org/b?x=1"),
        ("c", "https://example.org/a/c"),
        ("//other.example/d", "https://other.example/d"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
    ],
)
def test_a_redirect_is_read_relative_to_where_it_stands(location, url):
    assert parse("https://example.org/a/b?k=v", any_port=False).follow(location) == url


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]"]
)
def test_no_spelling_of_this_machine_is_public(host):
    address = parse(f"http://{host}/latest/meta-data?key=secret", any_port=False)
    with pytest.raises((AddressRefused, OSError)) as caught:  # OSError: not a number everywhere
        resolve(address, allow_private=False, deadline=soon())
    assert "secret" not in str(caught.value)


def answering(numbers):
    """A name server's answer, in the form of getaddrinfo."""

    def getaddrinfo(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port)) for number in numbers]

    return getaddrinfo


def test_one_private_number_among_public_ones_refuses_all(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", answering(["1.1.1.1", "10.0.0.1"]))
    address = parse("https://example.org/", any_port=False)
    with pytest.raises(AddressRefused, match="public address"):
        resolve(address, allow_private=False, deadline=soon())
    assert resolve(address, allow_private=True, deadline=soon()) == ["1.1.1.1", "10.0.0.1"]


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch):
    asked = threading.Event()

    def late(*_, **__):
        asked.wait(5)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", late)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        resolve(
            parse("https://example.org/", any_port=False),
            allow_private=False,
            deadline=started + 0.1,
        )
    assert time.monotonic() - started < 2
    asked.set()


def test_a_name_that_nobody_knows_is_an_error(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="the host name is not known"):
        resolve(parse("https://example.org/", any_port=False), allow_private=False, deadline=soon())
