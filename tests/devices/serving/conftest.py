"""`serve` as a process of its own, and a client that sends any bytes at all."""

import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

PATIENCE_S = 90


class Reply(NamedTuple):
    """One answer."""

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection, byte by byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> "Client":
        self.socket.sendall(data)
        return self

    def reply(self, without_body: bool = False) -> Reply:
        """The next answer; EOFError if the connection ends before it."""
        first = self._file.readline()
        if not first:
            raise EOFError
        headers = {}
        while line := self._file.readline().strip().decode():
            name, _, value = line.partition(": ")
            headers[name] = value
        length = 0 if without_body else int(headers.get("Content-Length", 0))
        return Reply(int(first.split()[1]), headers, self._file.read(length))

    def is_closed(self) -> bool:
        """Whether the server has nothing more to say; waits for it."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class Served:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stderr
        first = process.stderr.readline()
        found = re.search(r" at http://\S+:(\d+)/ ", first)
        assert found, first + process.stderr.read()
        self.port = int(found[1])
        self._clients: list[Client] = []

    def client(self) -> Client:
        """A new connection, which is closed at the end of the test at the latest."""
        self._clients.append(Client(self.port))
        return self._clients[-1]

    def close_clients(self) -> None:
        while self._clients:
            self._clients.pop().close()

    def ask(self, request: bytes) -> Reply:
        """The answer to raw bytes over a connection of their own."""
        client = Client(self.port)
        try:
            return client.send(request).reply()
        finally:
            client.close()

    def get(self, path: str) -> Reply:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def post(self, body: bytes, path: str = "/predict", *fields: str) -> Reply:
        return self.ask(post(body, path, *fields))

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"edgecil_{name}"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def post(body: bytes, path: str = "/predict", *fields: str) -> bytes:
    """A request."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def serving(bundle: Path, *options: str, module: str = "edgecil_devices") -> Iterator[Served]:
    words = [sys.executable, "-m", module, "serve", str(bundle), "--port", "0", *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    with process:
        watchdog = threading.Timer(2 * PATIENCE_S, process.kill)
        watchdog.start()
        served = None
        try:
            yield (served := Served(process))
        finally:
            if served:
                served.close_clients()
            watchdog.cancel()
            process.kill()


class Servers:
    """Starts servers; one without options serves all tests that want one."""

    def __init__(self) -> None:
        self.shared: Served | None = None
        self.start = serving
        self.post = post


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    if servers.shared:
        servers.shared.process.kill()
        servers.shared.process.communicate()


@pytest.fixture
def servers(shared_servers: Servers) -> Servers:
    return shared_servers


@pytest.fixture
def server(shared_servers: Servers, bundle_path: Path) -> Iterator[Served]:
    """A server of the tiny bundle, whose limits are small. All tests share it."""
    if shared_servers.shared is None:
        words = [sys.executable, "-m", "edgecil_devices", "serve", str(bundle_path)]
        options = ["--port", "0", "--max-mb", "0.5", "--timeout", "5"]
        options += ["--allow-host", "pi.example", "--allow-host", "cam.example:8443"]
        process = subprocess.Popen([*words, *options], stderr=subprocess.PIPE, text=True)
        shared_servers.shared = Served(process)
    yield shared_servers.shared
    shared_servers.shared.close_clients()


@pytest.fixture
def pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture
def picture(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The bytes of a PNG."""
    return png(Image.fromarray(pixels))


@pytest.fixture
def large_picture() -> bytes:
    """A small file that takes long to decode, some 0.1 s."""
    return png(Image.new("RGB", (4000, 4000)))


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
