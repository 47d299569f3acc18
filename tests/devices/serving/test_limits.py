"""Slow, greedy and vanishing clients; too many pictures; and how a server stops."""

import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.devices.serving.conftest import Client, Served, Servers

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
PATIENCE_S = 90


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def trickle(client: "Client", data: bytes) -> None:
    """Send a byte every 50 ms until the server says something."""
    client.socket.settimeout(0.05)
    for byte in data:
        client.send(bytes([byte]))
        try:
            client.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        break
    client.socket.settimeout(PATIENCE_S)


def test_a_client_that_trickles_is_cut_off_however_steadily_it_does(
    servers: "Servers", bundle_path: Path
) -> None:
    with servers.start(bundle_path, "--timeout", "1.5") as server:
        for slow in (
            (b"", GET[:-2] + b"A: x\r\n" * 100),
            (POST + b"Content-Length: 1000\r\n\r\n", b"x" * 1000),
            (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 100),
        ):
            start = time.monotonic()
            client = server.client().send(slow[0])
            trickle(client, slow[1])
            assert 1.4 < time.monotonic() - start < 15  # all of it would take 30 s
            reply = client.reply()
            assert (reply.code, reply.headers["Connection"]) == (408, "close")
        assert server.get("/health").code == 200


def test_an_idle_connection_is_closed_without_a_word(servers: "Servers", bundle_path: Path) -> None:
    with servers.start(bundle_path, "--timeout", "2") as server:
        new, used = server.client(), server.client().send(GET)
        assert used.reply().code == 200
        assert new.is_closed()
        assert used.is_closed()


def test_a_client_that_takes_no_answers_is_cut_off(servers: "Servers", bundle_path: Path) -> None:
    """Many requests at once, none of whose answers is read."""
    with servers.start(bundle_path, "--timeout", "2") as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.setblocking(False)
        until(lambda: _is_cut_off(client, GET.replace(b"/ ", b"/page.js ")))
        until(lambda: server.metric("connections") == 1)  # the question's own
        assert server.metric("resident_memory_bytes") < 300e6


def _is_cut_off(client: socket.socket, data: bytes) -> bool:
    """Whether the server has ended the connection, after as many requests as it takes now."""
    try:
        while True:
            client.send(data)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_clients_that_vanish_do_no_harm(
    server: "Served", servers: "Servers", large_picture: bytes
) -> None:
    whole = servers.post(large_picture)
    for sent in (b"", b"G", whole[:20], whole[:100], whole[:-1], whole, whole + b"GET"):
        client = server.client().send(sent)
        # Closes with a reset, as when a cable is pulled and the system gives up.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    until(lambda: server.metric("connections") == 1)
    assert server.metric("queue_pictures") == 0
    assert server.post(large_picture).code == 200


def test_when_the_queue_is_full_further_pictures_are_sent_away(
    servers: "Servers", bundle_path: Path, large_picture: bytes
) -> None:
    with servers.start(bundle_path, "--queue", "1") as server, ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(server.post, [large_picture] * 8))
        codes = [reply.code for reply in replies]
        assert set(codes) == {200, 503}
        assert codes.count(200) >= 2  # one at work, one in the queue
        refused = next(reply for reply in replies if reply.code == 503)
        assert refused.headers["Retry-After"] == "1"
        assert refused.json["error"] == "1 pictures wait already; try again in a second"
        assert server.post(large_picture).code == 200
        assert server.metric('requests_total{path="/predict",code="503"}') == codes.count(503)


def test_there_is_an_end_to_connections_and_room_again_afterwards(
    servers: "Servers", bundle_path: Path
) -> None:
    with servers.start(bundle_path) as server:
        most = [server.client() for _ in range(64)]
        until(lambda: server_connections(most[0]) == 64)
        beyond = server.client()
        reply = beyond.reply()
        assert (reply.code, reply.headers["Retry-After"]) == (503, "1")
        assert "64 connections are open" in reply.json["error"]
        for client in most:
            client.close()
        until(lambda: _is_open_to_new(server))


def server_connections(client: "Client") -> int:
    client.send(GET.replace(b"/ ", b"/metrics "))
    lines = client.reply().body.decode().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("edgecil_connections"))


def _is_open_to_new(server: "Served") -> bool:
    return server.get("/health").code == 200


def test_all_bodies_together_are_bounded(servers: "Servers", bundle_path: Path) -> None:
    """Four bodies of the largest size may be in memory, however many clients send."""
    with servers.start(bundle_path, "--max-mb", "0.1") as server:
        clients = [server.client() for _ in range(5)]
        for client in clients:
            client.send(POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 99_999)
        reply = clients[-1].reply()
        assert (reply.code, reply.headers["Retry-After"]) == (503, "1")
        for client in clients[:4]:
            assert client.send(b"x").reply().code == 422  # whole, though no picture
        again = server.post(b"x" * 100_000)
        assert again.code == 422


def _refuses(server: "Served") -> bool:
    """Whether nobody listens any more."""
    try:
        server.client()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_signal_lets_what_is_under_way_finish(
    servers: "Servers", bundle_path: Path, picture: bytes, number: int
) -> None:
    with servers.start(bundle_path) as server:
        idle, sending = server.client(), server.client()
        sending.send(servers.post(picture)[:-5])
        assert server.get("/health").code == 200  # so that both are known to the server
        server.process.send_signal(number)
        assert idle.is_closed()
        until(lambda: _refuses(server))
        reply = sending.send(picture[-5:]).reply()
        assert (reply.code, reply.headers["Connection"]) == (200, "close")
        sending.close()  # else the server waits a while for more
        assert server.process.wait(PATIENCE_S) == 0
        assert server.process.stderr
        assert "Traceback" not in server.process.stderr.read()


def test_a_second_signal_ends_it_at_once(
    servers: "Servers", bundle_path: Path, picture: bytes
) -> None:
    with servers.start(bundle_path) as server:
        sending = server.client().send(servers.post(picture)[:-5])
        assert server.get("/health").code == 200
        server.process.send_signal(SIGTERM)
        until(lambda: _refuses(server))
        assert server.stop() == -SIGTERM
        assert sending.is_closed()


def test_a_client_that_sends_nothing_more_cannot_hold_up_the_stop(
    servers: "Servers", bundle_path: Path, picture: bytes
) -> None:
    with servers.start(bundle_path, "--timeout", "1") as server:
        client = server.client().send(servers.post(picture)[:-5])
        assert server.get("/health").code == 200
        assert server.stop() == 0
        assert client.reply().code == 408


def test_memory_does_not_grow_with_requests(
    servers: "Servers", bundle_path: Path, picture: bytes
) -> None:
    """The short form of benchmarks/serve_load.py."""
    good, bad = servers.post(picture), servers.post(picture[:50])
    with servers.start(bundle_path) as server:
        client = server.client()

        def ask(requests: int) -> float:
            for number in range(requests):
                assert client.send(good if number % 4 else bad).reply().code in (200, 422)
            server.client().send(good[:-5]).close()
            return server.metric("resident_memory_bytes")

        before = ask(300)
        assert ask(1200) < before + 2e6  # were even 2 kB a request kept, it would be more
