"""A static web server on this host that can be told to misbehave."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[["_Handler"], None]
"""Answers one request in place of the server."""


class Shelf:
    """Files by name, what was asked for, and what to do to the next requests instead."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        """Path and range of every request."""
        self.faults: dict[str, list[Fault]] = {}
        """By file, for its next requests, first one first."""
        self.always: dict[str, Fault] = {}
        """By file, for every request."""
        self.ranges = True
        """Whether ranges are understood."""
        self.address = ""


class _Handler(BaseHTTPRequestHandler):
    shelf: Shelf

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.shelf.asked.append((name, self.headers["Range"]))
        waiting = self.shelf.faults.get(name)
        fault = waiting.pop(0) if waiting else self.shelf.always.get(name)
        with suppress(OSError):  # the client has had enough
            (fault or _Handler.answer)(self)

    def answer(self, *, length: int | None = None, most: int | None = None) -> None:
        """What a server should say, or with another length, or only so many bytes of it."""
        body = self.shelf.files.get(self.path.lstrip("/"))
        if body is None:
            self.send_error(404)
            return
        asked = self.headers["Range"]
        if asked and self.shelf.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body[:most])

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


def cut_after(count: int) -> Fault:
    """The connection ends after so many bytes of the body."""
    return lambda request: request.answer(most=count)


def lie_about_length(length: int) -> Fault:
    """The header promises another length than there is."""
    return lambda request: request.answer(length=length)


def say(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Another status or other headers, with a body or without."""

    def fault(request: _Handler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return fault


def stall(over: threading.Event) -> Fault:
    """Nothing comes until then."""

    def fault(request: _Handler) -> None:
        over.wait()

    return fault


def endless(request: _Handler) -> None:
    """A body that never ends, without a length."""
    endless_after(b"")(request)


def endless_after(beginning: bytes) -> Fault:
    """A body that begins so and never ends, without a length."""

    def fault(request: _Handler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(beginning)
        while True:
            request.wfile.write(bytes(2**16))

    return fault


@contextmanager
def serving() -> Iterator[Shelf]:
    """A shelf behind an address of this host."""
    shelf = Shelf()
    handler = type("Handler", (_Handler,), {"shelf": shelf})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        shelf.address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield shelf
        finally:
            server.shutdown()
            thread.join()
