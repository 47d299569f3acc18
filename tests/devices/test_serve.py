"""The verb `serve` by both command lines: what it says, and what it refuses to begin with."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgecil_devices.store.install import install
from edgecil_devices.store.records import Release
from tests.devices.store.releases import Releases

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork

COMMANDS = {
    "edgecil": [sys.executable, "-c", "from edgecil.cli import main; main()"],
    "edgecil_devices": [sys.executable, "-m", "edgecil_devices"],
}


def serve(*arguments: object, command: str = "edgecil_devices") -> subprocess.CompletedProcess[str]:
    words = [*COMMANDS[command], "serve", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


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
        with socket.create_connection(("::1", port), 90) as client:
            client.sendall(f"GET /health HTTP/1.1\r\nHost: [::1]:{port}\r\n\r\n".encode())
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        process.terminate()
        assert process.wait(90) == 0


def test_who_opens_it_to_every_network_is_told_what_that_means(bundle_path: Path) -> None:
    words = [*COMMANDS["edgecil_devices"], "serve", str(bundle_path), "--host", "0.0.0.0"]
    with serving(words) as (_, said):
        assert "at http://0.0.0.0:" in next(said)
        assert next(said).startswith("anybody in your networks can use it")


def classes_served(line: str) -> str:
    """What /info answers, at the place that a server has told."""
    port = int(re.findall(r":(\d+)/", line)[0])
    with socket.create_connection(("127.0.0.1", port), 90) as client:
        client.sendall(b"GET /info HTTP/1.0\r\n\r\n")
        return client.makefile().read()


def ask_until(stop: threading.Event, line: str) -> None:
    while not stop.wait(0.05):
        with suppress(OSError):  # the server has gone, which others notice
            classes_served(line)


@pytest.mark.parametrize("damaged", ["before", "meanwhile"])
def test_that_an_older_release_is_served_is_said_once(
    tiny: "TinyNetwork", tmp_path: Path, damaged: str
) -> None:
    releases, store = Releases(tiny, tmp_path / "releases"), tmp_path / "store"
    blobs = store / "blobs"
    install(releases.bundle(1), store)
    sound = set(blobs.iterdir())

    def rots(store: Path, release: Release) -> None:
        """A self-test that is passed, after which no reader ever finds the release sound."""
        for path in set(blobs.iterdir()) - sound:
            path.write_bytes(b"rot")

    def install_damaged() -> None:
        install(releases.bundle(2), store, test=rots)

    if damaged == "before":
        install_damaged()
    with serving([*COMMANDS["edgecil_devices"], "serve", str(store)]) as (process, said):
        watchdog = threading.Timer(180, process.kill)
        watchdog.start()
        warning = next(said) if damaged == "before" else ""
        place = next(said)
        assert place.startswith("serving ")
        assert next(said).startswith("next: ")
        stop = threading.Event()
        asking = threading.Thread(target=ask_until, args=(stop, place))
        asking.start()
        try:
            if damaged == "meanwhile":
                install_damaged()
                warning = next(said)
            time.sleep(1.5)  # one look at the store more, or two
        finally:
            stop.set()
            asking.join()
            watchdog.cancel()
        assert "release 1 class 0" in classes_served(place)
        process.terminate()
        assert list(said) == []
    assert re.fullmatch(rf"warning: .*{re.escape(str(blobs))}.* going on with .*release.*", warning)


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
        assert process.wait(90) == 0


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
    for host in ("nowhere.invalid", "192.0.2.1", "x" * 64):
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
