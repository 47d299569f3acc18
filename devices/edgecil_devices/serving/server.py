"""Connections over which requests come: bounded in number, time and memory, and stopped cleanly.

A client has one time limit for each of: beginning its next request, sending the head, sending the
body, taking the answer. So the slowest client holds a connection for a known time, and costs no
thread.
"""

import asyncio
import os
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from dataclasses import dataclass

from edgecil_devices.errors import EdgecilError, RequestError
from edgecil_devices.serving.application import Application
from edgecil_devices.serving.messages import (
    MAX_HEAD_BYTES,
    Answer,
    Head,
    busy,
    read_body,
    read_head,
)

LINGER_S = 2.0
"""A client that still sends when it is refused gets so long to notice; if we closed at once, its
system would throw our answer away."""

_READ_BYTES = 64 * 2**10


@dataclass(frozen=True)
class Limits:
    """What clients may take."""

    max_body_bytes: int = 16_000_000
    """Of one request."""
    connections: int = 64
    """Further ones are answered 503."""
    timeout_s: float = 20.0
    """For each step of an exchange."""
    grace_s: float = 10.0
    """How long a stopping server waits for the requests that are under way."""

    @property
    def held_bytes(self) -> int:
        """Of all bodies that are in memory at once."""
        return 4 * self.max_body_bytes


class Server:
    """Accepts connections until it is told to stop.

    Args:
        application: answers the requests.
        limits: what clients may take.
    """

    def __init__(self, application: Application, limits: Limits) -> None:
        self.application, self.limits = application, limits
        self.held_bytes = 0
        """Of bodies that are in memory now."""
        self.idle: set[asyncio.Task[None]] = set()
        """Those of the connections without a request under way."""
        self.stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(
        self, host: str, port: int, started: Callable[[int], None], stop: asyncio.Event
    ) -> None:
        """Serve until `stop` is set, then finish what is under way.

        Args:
            host: name or address to listen at.
            port: 0 takes a free one.
            started: is told the port.
            stop: ends it.

        Raises:
            EdgecilError: nothing can listen there.
        """
        try:
            server = await asyncio.start_server(self._connected, host, port, limit=MAX_HEAD_BYTES)
        except (OSError, UnicodeError) as error:  # the latter for what can be no name
            raise _cannot_listen(host, port, error) from None
        started(server.sockets[0].getsockname()[1])
        await stop.wait()
        self.stopping = True
        server.close()
        for task in self.idle:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.limits.grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.application.metrics.connections = len(self._tasks)
        connection = _Connection(self, task, reader, writer)
        try:
            # Those beyond the limit are told so, but not without a limit either.
            if len(self._tasks) <= self.limits.connections:
                await connection.serve()
            elif len(self._tasks) <= 2 * self.limits.connections:
                await connection.refuse()
        except (EOFError, ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # the client has gone or does not take its answer, or we stop
        finally:
            self._tasks.discard(task)
            self.idle.discard(task)
            self.application.metrics.connections = len(self._tasks)
            writer.transport.abort()


class _Connection:
    """Requests of one client, one after the other."""

    def __init__(
        self,
        server: Server,
        task: asyncio.Task[None],
        reader: StreamReader,
        writer: StreamWriter,
    ) -> None:
        self._server, self._task = server, task
        self._reader, self._writer = reader, writer
        self._timeout_s = server.limits.timeout_s
        writer.transport.set_write_buffer_limits(high=0)  # draining waits until all is sent

    async def serve(self) -> None:
        """Answer until the client or we have had enough."""
        while not self._server.stopping and (first := await self._first_byte()):
            if not await self._exchange(first):
                await self._say_goodbye()
                return

    async def refuse(self) -> None:
        """Tell the client that there is no room."""
        error = busy(f"{self._server.limits.connections} connections are open already")
        await self._send(self._server.application.refuse(error).to_bytes(False, stays=False))
        await self._say_goodbye()

    async def _exchange(self, first: bytes) -> bool:
        """Read and answer one request; whether another may follow."""
        application = self._server.application
        try:
            async with asyncio.timeout(self._timeout_s):
                head = await read_head(first, self._reader)
        except (RequestError, TimeoutError) as error:
            await self._send(application.refuse(error).to_bytes(False, stays=False))
            return False
        body = _Body(self._server, head, self._reader, self._writer)
        try:
            answer: Answer = await application.answer(head, body.read)
        finally:
            body.release()
        stays = head.wants_to_stay and body.is_read and not self._server.stopping
        await self._send(answer.to_bytes(head.method == "HEAD", stays))
        return stays

    async def _first_byte(self) -> bytes:
        """The first byte of the next request; none if there is none."""
        self._server.idle.add(self._task)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._reader.read(1)
        finally:
            self._server.idle.discard(self._task)

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(self._timeout_s):
            await self._writer.drain()

    async def _say_goodbye(self) -> None:
        self._server.idle.add(self._task)
        self._writer.write_eof()
        async with asyncio.timeout(LINGER_S):
            while await self._reader.read(_READ_BYTES):
                pass


class _Body:
    """The body of one request, read when it is asked for."""

    def __init__(
        self, server: Server, head: Head, reader: StreamReader, writer: StreamWriter
    ) -> None:
        self._server, self._head, self._reader, self._writer = server, head, reader, writer
        self._held_bytes = 0
        self.is_read = not head.is_chunked and head.content_length == 0
        """Whether nothing of it is still to come."""

    async def read(self) -> bytes:
        """All of it.

        Raises:
            RequestError: it is too long or broken, or there is no room for it now.
            TimeoutError: it does not come in time.
            EOFError: it does not come at all.
        """
        limits = self._server.limits
        if self._head.expects_continue and self._head.content_length <= limits.max_body_bytes:
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async with asyncio.timeout(limits.timeout_s):
            body = await read_body(self._head, self._reader, limits.max_body_bytes, self._hold)
        self.is_read = True
        return body

    def release(self) -> None:
        """It is not in memory any more."""
        self._server.held_bytes -= self._held_bytes

    def _hold(self, size_bytes: int) -> None:
        if self._server.held_bytes + size_bytes > self._server.limits.held_bytes:
            raise busy("too many large pictures are under way")
        self._server.held_bytes += size_bytes
        self._held_bytes += size_bytes


def _cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> EdgecilError:
    place = f"{host} port {port}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return EdgecilError(f"{host} is no address of this machine; give another --host")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return EdgecilError(f"{place} cannot be listened at ({reason}); give another --host or --port")
