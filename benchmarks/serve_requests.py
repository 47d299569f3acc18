"""A server in a process of its own, as serve_load.py starts it, and what clients ask of it."""

import io
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

QUEUE = 16
SEED = 0


class Process:
    """A running server, as the system sees it."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid, self.port = pid, port

    def resident_mb(self) -> float:
        """Its memory now, in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_s(self) -> float:
        """Processor time so far, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Connection:
    """One client's connection, opened anew when the server has ended it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> int:
        """Send a request and read its whole answer; the code."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), 30)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._socket.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(re.findall(rb"Content-Length: (\d+)", head)[0])
        while len(body) < length:
            body += self._socket.recv(65536)
        if b"Connection: close" in head:
            self.close()
        return int(head[9:12])

    def leave(self, beginning: bytes) -> None:
        """Begin a request over a connection of its own, and go away."""
        with socket.create_connection(("127.0.0.1", self._port), 30) as other:
            other.sendall(beginning)

    def close(self) -> None:
        """The next request opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@contextmanager
def serving(bundle: Path) -> Iterator[Process]:
    """A server of its own process."""
    words = ["serve", str(bundle), "--port", "0", "--queue", str(QUEUE), "--max-mb", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "edgecil_devices", *words], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        port = int(re.findall(r":(\d+)/", process.stderr.readline())[0])
        try:
            yield Process(process.pid, port)
        finally:
            process.terminate()
            process.wait(30)


def jpeg() -> bytes:
    """A picture of 320 x 240 pixels with about as much detail as a photograph's."""
    rng = np.random.default_rng(SEED)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize((320, 240), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def post(body: bytes, *fields: str) -> bytes:
    """A request with a picture."""
    lines = ["POST /predict HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(path: str) -> bytes:
    """A request without."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def broken(picture: bytes) -> list[bytes]:
    """Requests that get an error."""
    form = post(b"--B\r\nx", "Content-Type: multipart/form-data; boundary=B")
    return [
        post(b"no picture"),
        post(picture[: len(picture) // 2]),
        get("/nothing/here"),
        get("/predict"),
        post(b"").replace(b"Length: 0", b"Length: many"),
        form,
        post(b"").replace(b"Length: 0", b"Length: 1000001"),
    ]
