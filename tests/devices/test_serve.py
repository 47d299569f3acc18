"""The verb `serve` by both command lines: what it says, and what it refuses to begin with."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMANDS = {
    "edgecil": [sys.executable, "-c", "from edgecil.cli import main; main()"],
    "edgecil_devices": [sys.executable, "-m", "edgecil_devices"],
}


def serve(*arguments: object, command: str = "edgecil_devices") -> subprocess.CompletedProcess[str]:
    words = [*COMMANDS[command], "serve", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)


@contextmanager
def serving(words: list[str]) -> Iterator[tuple["subprocess.Popen[str]", Iterator[str]]]:
    """A server, and the lines that it says."""
    with subprocess.Popen([*words, "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            yield process, map(str.strip, process.stderr)
        finally:
            process.kill()


@pytest.mark.parametrize("command", COMMANDS)
def test_both_command_lines_say_where_it_is_and_what_to_do_next(
    bundle_path: Path, command: str
) -> None:
    words = [*COMMANDS[command], "serve", str(bundle_path), "--host", "::1"]
    with serving(words) as (process, said):
        first = next(said)
        port = int(re.findall(r":(\d+)/", first)[0])
        assert first == f"serving {bundle_path} at http://[::1]:{port}/ (Ctrl-C ends it)"
        assert next(said) == f"next: curl --data-binary @picture.jpg http://[::1]:{port}/predict"
        with socket.create_connection(("::1", port), 10) as client:
            client.sendall(f"GET /health HTTP/1.1\r\nHost: [::1]:{port}\r\n\r\n".encode())
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        process.terminate()
        assert process.wait(20) == 0


def test_who_opens_it_to_every_network_is_told_what_that_means(bundle_path: Path) -> None:
    words = [*COMMANDS["edgecil_devices"], "serve", str(bundle_path), "--host", "0.0.0.0"]
    with serving(words) as (_, said):
        assert "at http://0.0.0.0:" in next(said)
        assert next(said).startswith("anybody in your networks can use it")


def test_a_signal_that_the_shell_ignores_stays_ignored(bundle_path: Path) -> None:
    """As of a server in the background of a script, which Ctrl-C must not end."""
    script = 'trap "" INT; exec "$0" "$@"'
    words = ["sh", "-c", script, *COMMANDS["edgecil_devices"], "serve", str(bundle_path)]
    with serving(words) as (process, said):
        next(said)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.terminate()
        assert process.wait(20) == 0


def test_a_port_in_use_is_an_error_with_a_remedy(bundle_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = serve(bundle_path, "--port", port)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: 127.0.0.1 port {port} cannot be listened at (Address already in use); "
        "give another --host or --port\n"
    )


def test_a_host_that_is_not_this_machine_is_an_error(bundle_path: Path) -> None:
    for host in ("nowhere.invalid", "192.0.2.1"):
        ended = serve(bundle_path, "--host", host, "--port", 0)
        assert ended.returncode == 1
        assert re.fullmatch(f"error: {host} .*; give another --host.*\n", ended.stderr)


def test_a_damaged_bundle_is_refused(bundle_path: Path) -> None:
    bundle_path.write_bytes(bundle_path.read_bytes()[:-1])
    ended = serve(bundle_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {bundle_path}: truncated")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", ""], "--host must be an address"),
        (["--port", "70000"], "--port must be from 0 to 65535"),
        (["--queue", "-1"], "--queue must be 0 or more"),
        (["--max-mb", "0"], "--max-mb must be above 0"),
        (["--max-mb", "65"], "at most 64"),
        (["--timeout", "nan"], "--timeout must be above 0"),
        (["--allow-host", "https://cam.example/"], "give it without http:// and path"),
        (["--allow-host", ""], "is no name"),
        (["--collect-below", "0.5"], "are for --collect; give that, too"),
    ],
)
def test_options_that_cannot_be_are_refused(
    bundle_path: Path, options: list[str], said: str
) -> None:
    ended = serve(bundle_path, *options)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
