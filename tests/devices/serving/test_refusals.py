"""Requests as they should not be: each gets its code and a sentence with the remedy."""

import io
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.devices.serving.conftest import Served

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
FORM = POST + b"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: %d\r\n\r\n%b"
FILE = b'Content-Disposition: form-data; name="f"; filename="f"\r\n\r\npicture\r\n'


def form(body: bytes) -> bytes:
    return FORM % (len(body), body)


REFUSED = {
    "garbage": (b"\x00\xff\xfe garbage", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "words": (b"hello server\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/3.7": (b"GET / HTTP/3.7\r\n\r\n", 505),
    "two spaces": (b"GET  / HTTP/1.1\r\n\r\n", 400),
    "a space in the path": (b"GET /a b HTTP/1.1\r\n\r\n", 400),
    "no path": (b"GET health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "another scheme": (b"GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a broken address": (b"GET http://[::1/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "CONNECT": (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "unknown path": (b"GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "two slashes": (b"GET //health HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "GET /predict": (b"GET /predict HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "POST /info": (b"POST /info HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 405),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "a preflight": (b"OPTIONS /predict HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "a made-up method": (b"get /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two hosts": (GET + b"Host: localhost\r\n\r\n", 400),
    "a host that is none": (b"GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n", 400),
    "an empty host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "a field without a colon": (GET + b"nonsense\r\n\r\n", 400),
    "a space before the colon": (GET + b"Accept : x\r\n\r\n", 400),
    "a folded field": (GET + b"Accept: x\r\n y\r\n\r\n", 400),
    "a zero byte": (GET + b"Accept: \x00\r\n\r\n", 400),
    "a lone carriage return": (GET + b"Accept: x\rContent-Length: 5\r\n\r\n", 400),
    "a field with no name": (GET + b": x\r\n\r\n", 400),
    "70 fields": (GET + b"".join(b"A%d: x\r\n" % n for n in range(70)) + b"\r\n", 431),
    "a long field": (GET + b"A: " + b"x" * 17_000 + b"\r\n\r\n", 431),
    "many long fields": (GET + (b"A: " + b"x" * 3000 + b"\r\n") * 6 + b"\r\n", 431),
    "a path without end": (b"GET /" + b"x" * 40_000, 431),
    **{
        f"Content-Length {length.decode('latin-1')!r}": (
            POST + b"Content-Length: " + length + b"\r\n\r\nabc",
            400,
        )
        for length in (b"-1", b"+3", b"3.0", b"", b"3, 3", b"0x3", b"1e3", b"\xb3", b"9" * 30)
    },
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "length and chunks": (
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunks in HTTP/1.0": (b"POST /predict HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "another coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "a chunk without size": (CHUNKED + b"\r\nabc\r\n", 400),
    "a chunk of size zz": (CHUNKED + b"zz\r\nabc\r\n", 400),
    "a chunk of size -1": (CHUNKED + b"-1\r\nabc\r\n", 400),
    "a chunk longer than it says": (CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n", 400),
    "a chunk too large": (CHUNKED + b"ffffffff\r\n", 413),
    "a size of many digits": (CHUNKED + b"0" * 100 + b"1\r\na\r\n", 400),
    "too many chunks": (CHUNKED + (b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n") * 8, 413),
    "a flood after the last chunk": (CHUNKED + b"0\r\n" + b"A: x\r\n" * 100 + b"\r\n", 431),
    "too large": (POST + b"Content-Length: 500001\r\n\r\n", 413),
    "too large, and sent": (POST + b"Content-Length: 2000000\r\n\r\n" + b"x" * 2_000_000, 413),
    "an empty body": (POST + b"Content-Length: 0\r\n\r\n", 400),
    "no body": (POST + b"\r\n", 400),
    "a compressed body": (POST + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 415),
    **{
        f"?{query}": (POST.replace(b"predict", b"predict?" + query.encode()) + b"\r\n", 400)
        for query in ("top=0", "top=-1", "top=x", "top=", "top=1.5", "top=99999999", "size=3")
    },
    "a form without boundary": (form(b"x").replace(b"; boundary=B", b""), 400),
    "a form with nothing in it": (form(b"no delimiter at all"), 400),
    "a form that is cut short": (form(b"--B\r\n" + FILE), 400),
    "a form cut within a delimiter": (form(b"--B\r\n" + FILE + b"--B"), 400),
    "a form without a file": (
        form(b'--B\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n--B--\r\n'),
        400,
    ),
    "a form with two files": (form((b"--B\r\n" + FILE) * 2 + b"--B--\r\n"), 400),
    "a form with 40 parts": (form((b"--B\r\n" + FILE) * 40 + b"--B--\r\n"), 400),
    "a part without an empty line": (form(b"--B\r\nfilename=x\r\n--B--\r\n"), 400),
    "a delimiter that goes on": (form(b"--BB\r\n" + FILE + b"--B--\r\n"), 400),
    "an empty file": (form(b"--B\r\n" + FILE.replace(b"picture", b"") + b"--B--\r\n"), 400),
    "a file that is no picture": (form(b"--B\r\n" + FILE + b"--B--\r\n"), 422),
    "no picture": (POST + b"Content-Length: 3\r\n\r\nabc", 422),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_a_sentence_and_the_next_client_is_served(
    server: "Served", case: str
) -> None:
    request, code = REFUSED[case]
    reply = server.ask(request)
    assert reply.code == code
    assert set(reply.json) == {"error"}
    assert 15 < len(reply.json["error"]) < 200
    assert server.get("/health").code == 200


def test_a_wrong_method_is_told_the_right_one(server: "Served") -> None:
    reply = server.ask(b"GET /predict HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert reply.headers["Allow"] == "POST"
    assert "curl --data-binary" in reply.json["error"]


def test_damaged_pictures_are_refused_one_by_one(server: "Served", picture: bytes) -> None:
    for cut in range(1, len(picture) - 20, 7):  # the last 20 bytes hold no pixels
        assert server.post(picture[:cut]).code == 422
    bomb = io.BytesIO()
    Image.new("1", (9000, 9000)).save(bomb, "PNG")
    assert len(bomb.getvalue()) < 20_000
    assert "64,000,000" in server.post(bomb.getvalue()).json["error"]
    assert server.post(picture).code == 200


def test_what_follows_a_body_is_the_next_request(server: "Served", picture: bytes) -> None:
    """A length that is too small gives a damaged picture, and then garbage."""
    short = len(picture) - 60
    client = server.client().send(POST + b"Content-Length: %d\r\n\r\n" % short + picture)
    assert [client.reply().code for _ in range(2)] == [422, 400]
    assert client.is_closed()


def test_a_body_that_ends_too_early_gets_no_answer_and_does_no_harm(
    server: "Served", picture: bytes
) -> None:
    before = server.metric("requests_total")
    client = server.client().send(POST + b"Content-Length: 99999\r\n\r\n" + picture)
    client.socket.shutdown(1)
    assert client.is_closed()
    client.close()
    assert server.metric("requests_total") == before + 1  # which was the question itself


def test_bytes_behind_a_refusal_are_never_taken_for_requests(server: "Served") -> None:
    """Else somebody could smuggle a request past a proxy."""
    smuggled = POST + b"Content-Length: 5, 5\r\n\r\n" + GET + b"\r\n"
    client = server.client().send(smuggled)
    assert client.reply().code == 400
    assert client.is_closed()


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost", 200),
        ("LOCALHOST.:8000", 200),
        ("127.0.0.1:1", 200),
        ("192.168.1.20", 200),
        ("[::1]:80", 200),
        ("pi.example", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::1]evil", 400),
    ],
)
def test_only_names_that_are_ours_are_answered_to(server: "Served", host: str, code: int) -> None:
    """A foreign name that points here (DNS rebinding) would make a foreign page count as ours."""
    reply = server.ask(f"GET /info HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert reply.code == code
    if code == 421:
        assert reply.json["error"].endswith(f"--allow-host {host}")


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://localhost", 200),
        ("https://localhost", 200),  # a proxy may speak TLS before us
        ("http://localhost:8000", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
def test_pages_of_other_servers_may_not_post(
    server: "Served", picture: bytes, origin: str, code: int
) -> None:
    reply = server.post(picture, "/predict", f"Origin: {origin}")
    assert reply.code == code
    assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("https://pi.example", 200),
        ("http://PI.example", 200),
        ("https://cam.example:8443", 200),
        ("https://pi.example:8443", 403),  # another server on the same machine
        ("https://cam.example", 403),
        ("https://evil.example", 403),
        ("https://pi.example.evil.example", 403),
        ("https://evil.example/pi.example", 403),
        ("pi.example", 403),
        ("null", 403),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_behind_a_proxy_only_pages_at_names_that_were_allowed_may_post(
    server: "Served", picture: bytes, origin: str, code: int, version: str
) -> None:
    """It calls us by an address, and what it adds about the name anybody could have written."""
    lines = [f"POST /predict HTTP/{version}", f"Host: 127.0.0.1:{server.port}", f"Origin: {origin}"]
    lines += [f"Content-Length: {len(picture)}", "X-Forwarded-Host: evil.example"]
    lines += ["Forwarded: host=evil.example"]
    reply = server.ask("\r\n".join([*lines, "", ""]).encode() + picture)
    assert reply.code == code
    if origin == "https://pi.example:8443":
        assert reply.json["error"].endswith("start it with --allow-host pi.example:8443")


def test_a_request_without_a_host_may_not_come_from_another_page(
    server: "Served", picture: bytes
) -> None:
    """A proxy may leave Host out, in HTTP/1.0; so may a program, which sends no Origin."""
    length = f"Content-Length: {len(picture)}\r\n".encode()
    for origin, code in ((b"", 200), (b"Origin: http://evil.example\r\n", 403)):
        head = b"POST /predict HTTP/1.0\r\n" + length + origin + b"\r\n"
        assert server.ask(head + picture).code == code
