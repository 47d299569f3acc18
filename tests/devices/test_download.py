"""Pictures from a server that is not always kind. Every server here is a real one, on this host."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPMessage
from urllib.request import Request

import pytest

from edgecil_devices import download as module
from edgecil_devices._http import RedirectionError, _Redirection
from edgecil_devices.download import download
from edgecil_devices.errors import ImageError

Conversation = Callable[[socket.socket], None]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@contextmanager
def server(talk: Conversation) -> Iterator[str]:
    """Answers every request by `talk`, which writes raw bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(2**16)
                with suppress(OSError):  # the client has had enough
                    talk(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def answer(*headers: str, body: bytes = b"", status: str = "200 OK") -> Conversation:
    head = "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""])
    return lambda connection: connection.sendall(head.encode() + body)


def refused(talk: Conversation, path: str = "/a.jpg", time_limit_s: float = 5) -> str:
    with server(talk) as address, pytest.raises(ImageError) as caught:
        download(address + path, time_limit_s)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("headers", [["Content-Length: 5"], []])
def test_the_bytes_arrive(headers: list[str]) -> None:
    with server(answer(*headers, body=b"photo")) as address:
        assert download(f"{address}/a photo é.jpg?size=1&x=%20") == b"photo"


def test_chunks_are_put_together() -> None:
    chunks = b"2\r\nph\r\n3\r\noto\r\n0\r\n\r\n"
    with server(answer("Transfer-Encoding: chunked", body=chunks)) as address:
        assert download(address) == b"photo"


def test_a_redirection_is_followed() -> None:
    with (
        server(answer(body=b"photo")) as there,
        server(answer(f"Location: {there}/b.jpg", status="302 Found")) as here,
    ):
        assert download(f"{here}/a.jpg") == b"photo"


def test_what_comes_with_a_redirection_is_not_read() -> None:
    left = io.BytesIO(b"much")
    ours = Request("http://a/")
    _Redirection().redirect_request(ours, left, 302, "", HTTPMessage(), "http://b/")
    assert left.closed


def test_a_redirection_whose_body_never_ends_is_followed() -> None:
    def endless(connection: socket.socket) -> None:
        answer(f"Location: {there}/b.jpg", status="302 Found")(connection)
        with suppress(OSError):
            while True:
                connection.sendall(bytes(65536))

    with server(answer(body=b"photo")) as there, server(endless) as here:
        assert download(f"{here}/a.jpg", 20) == b"photo"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/a.jpg", "data:,x"])
def test_a_redirection_to_another_scheme_is_refused(target: str) -> None:
    said = refused(answer(f"Location: {target}", status="301 Moved"))
    assert "redirect" in said.lower()
    assert target.partition(":")[0] in said


def test_a_redirection_from_https_to_http_is_refused() -> None:
    with pytest.raises(RedirectionError, match="redirects from https: to http:, which is refused"):
        _Redirection().redirect_request(
            Request("https://a/"), io.BytesIO(), 302, "", HTTPMessage(), "http://a/"
        )


def test_redirections_in_a_circle_end() -> None:
    said = refused(answer("Location: /a.jpg", status="302 Found"))
    assert said.startswith("the server answers 302 The HTTP server returned a redirect error")


def test_what_the_server_says_is_told() -> None:
    assert refused(answer(status="404 Not Found")) == (
        "the server answers 404 Not Found; check the address"
    )


@pytest.mark.parametrize("digits", [12, 5000])
def test_a_large_file_is_refused_by_its_announced_size(digits: int) -> None:
    huge = answer(f"Content-Length: {'9' * digits}")
    assert refused(huge) == "the file is larger than 64 MiB; offer it smaller"


def test_a_large_file_is_refused_when_it_was_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 2**20)

    def endless(connection: socket.socket) -> None:
        answer()(connection)
        while True:
            connection.sendall(bytes(2**16))

    assert refused(endless) == "the file is larger than 1 MiB; offer it smaller"


def test_a_connection_that_breaks_is_told_of() -> None:
    assert refused(answer("Content-Length: 10", body=b"half")) == (
        "the connection broke after 4 of 10 bytes"
    )


@pytest.mark.parametrize("prefix", [b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\n\r\n", b""])
def test_a_server_that_dribbles_is_given_up(prefix: bytes) -> None:
    def dribble(connection: socket.socket) -> None:
        connection.sendall(prefix)
        for _ in range(200):
            connection.sendall(b"x")
            time.sleep(0.02)

    start = time.monotonic()
    said = refused(dribble, time_limit_s=0.4)
    assert said.startswith("the picture took longer than 0.4 s to arrive; check ")
    assert time.monotonic() - start < 6  # a loaded machine; the server alone would take 4 s


def test_a_server_that_is_silent_is_given_up() -> None:
    said = refused(lambda connection: time.sleep(1), time_limit_s=0.3)
    assert said.startswith("the picture took longer than 0.3 s")


@pytest.mark.parametrize("rubbish", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_is_told_of(rubbish: bytes) -> None:
    said = refused(lambda connection: connection.sendall(rubbish))
    assert said.startswith("the picture does not arrive (")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.jpg", "http://host.invalid/", "https://127.0.0.1:1/"]
)
def test_no_server(url: str) -> None:
    with pytest.raises(ImageError, match=r"^the server cannot be reached \(.+\); check the"):
        download(url)


@pytest.mark.parametrize("url", ["http://", "http://[::1/", "http://h:port/", "http://a b/"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ImageError):
        download(url)


def test_a_plain_server_behind_https_is_told_of() -> None:
    with server(answer(body=b"photo")) as address, pytest.raises(ImageError) as caught:
        download(address.replace("http:", "https:"), 5)
    assert str(caught.value).startswith("the server cannot be reached (")
