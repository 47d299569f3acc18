"""The lines for nginx and Caddy in devices/README.md, in front of a real server."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

if TYPE_CHECKING:
    from tests.devices.serving.conftest import Servers

README = Path(__file__).parents[3] / "devices" / "README.md"
NGINX = """
user root;  # whose the folder is where it keeps bodies; of no effect for others
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    %s
}
"""
CADDY = "{\nadmin off\nauto_https off\n}\n%s"
BELOW_A_PATH = {
    "nginx": ("location /", "location /cats/", ":8000;", ":8000/;"),
    "caddy": (
        "reverse_proxy 127.0.0.1:8000",
        "handle_path /cats/* {\nreverse_proxy :8000\n}",
        "",
        "",
    ),
}


def lines_of(proxy: str) -> str:
    """What README says for this proxy."""
    (found,) = re.findall(rf"```{proxy}\n(.*?)```", README.read_text(), re.DOTALL)
    return str(found)


def placed(proxy: str, lines: str, port: int, upstream: int) -> str:
    """The lines with the ports of a test."""
    lines = re.sub(r":8000\b", f":{upstream}", lines)
    if proxy == "nginx":
        return lines.replace("listen 80;", f"listen 127.0.0.1:{port};")
    return lines.replace("cam.example {", f"http://:{port} {{\nbind 127.0.0.1", 1)


@contextmanager
def started(proxy: str, lines: str, port: int, folder: Path) -> Iterator[None]:
    program = shutil.which(proxy) or shutil.which(proxy, path="/usr/sbin")
    if program is None:
        pytest.skip(f"{proxy} is not installed")
    file = folder / proxy
    if proxy == "nginx":
        file.write_text(NGINX % lines)
        words = [program, "-p", f"{folder}/", "-c", str(file), "-e", "stderr"]
    else:
        file.write_text(CADDY % lines)
        words = [program, "run", "--adapter", "caddyfile", "--config", str(file)]
    log = folder / "log"
    with log.open("wb") as stream, subprocess.Popen(words, stderr=stream, stdout=stream) as process:
        try:
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.02)
            yield
        finally:
            process.terminate()


def posts(port: int, picture: bytes, host: str, path: str) -> int:
    """The code of the answer to what a page at `host` posts to its own server, a proxy."""
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        lines = [f"POST {path}predict HTTP/1.1", f"Host: {host}", f"Origin: http://{host}"]
        lines += [f"Content-Length: {len(picture)}", "Connection: close"]
        client.sendall("\r\n".join([*lines, "", ""]).encode() + picture)
        with client.makefile("rb") as answer:
            return int(answer.read().split()[1])


@pytest.mark.parametrize("path", ["/", "/cats/"])
@pytest.mark.parametrize("proxy", ["nginx", "caddy"])
def test_the_page_takes_pictures_where_its_name_is_allowed(
    servers: "Servers", bundle_path: Path, picture: bytes, proxy: str, path: str, tmp_path: Path
) -> None:
    port = free_port()
    allowed, other = f"cam.example:{port}", f"localhost:{port}"
    lines = lines_of(proxy)
    if path != "/":
        before, after, upstream, with_slash = BELOW_A_PATH[proxy]
        lines = lines.replace(before, after).replace(upstream, with_slash)
    large = picture + bytes(2_000_000)  # a picture file may be longer than what is in it
    with servers.start(bundle_path, "--allow-host", allowed) as server:
        lines = placed(proxy, lines, port, server.port)
        with started(proxy, lines, port, tmp_path):
            assert posts(port, picture, allowed, path) == 200
            assert posts(port, large, allowed, path) == 200
            assert posts(port, picture, "evil.example", path) in (403, 421)
            assert posts(port, picture, other, path) == (403 if proxy == "nginx" else 200)


@pytest.mark.parametrize("proxy", ["nginx", "caddy"])
def test_a_server_that_does_not_know_of_the_proxy_lets_nobody_teach_there(
    servers: "Servers", bundle_path: Path, proxy: str, tmp_path: Path
) -> None:
    """It asks this machine for no token, and behind a proxy everybody seems to be on it."""
    port = free_port()
    with servers.start(bundle_path, "--teach") as server:
        assert server.get("/taught").code == 200
        lines = placed(proxy, lines_of(proxy), port, server.port)
        with (
            started(proxy, lines, port, tmp_path),
            socket.create_connection(("127.0.0.1", port), 30) as client,
        ):
            client.sendall(f"GET /taught HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            with client.makefile("rb") as answer:
                assert int(answer.readline().split()[1]) == 403
