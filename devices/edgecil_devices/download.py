"""Pictures from the network: one GET, bounded in size and in time."""

import io
import socket
import time
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from edgecil_devices.errors import ImageError
from edgecil_devices.images import MAX_FILE_BYTES

SCHEMES = ("http://", "https://")
"""How an address of a picture begins."""

TIME_LIMIT_S = 15.0
"""A picture that has not arrived by then, redirections included, is given up."""

_CHUNK_BYTES = 2**16
_LEFT_AS_THEY_ARE = "/:?#[]@!$&'()*+,;=%~"
_CHECK = "; check the address and the network"


def download(url: str, time_limit_s: float = TIME_LIMIT_S) -> bytes:
    """The bytes behind an http or https address.

    Redirections are followed, but never to another scheme than http and https, nor from https to
    http. Proxies of the environment (`https_proxy`) are used.

    Args:
        url: begins with one of `SCHEMES`.
        time_limit_s: seconds for everything but looking up the server's name.

    Raises:
        ImageError: there is no such server or picture, or it is too large or too slow. The message
            does not name the address.
    """
    deadline = time.monotonic() + time_limit_s
    try:
        with _opener(deadline).open(quote(url, _LEFT_AS_THEY_ARE), timeout=time_limit_s) as answer:
            return _read(answer)
    except HTTPError as error:
        with error:
            said = _told(f"{error.code} {error.reason}")
        raise ImageError(f"the server answers {said}; check the address") from None
    except TimeoutError:
        raise _too_slow(time_limit_s) from None
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _too_slow(time_limit_s) from None
        raise ImageError(f"the server cannot be reached ({_told(error.reason)}){_CHECK}") from None
    except (HTTPException, OSError, ValueError) as error:
        raise ImageError(f"the picture does not arrive ({_told(error)}){_CHECK}") from None


def _read(answer: Any) -> bytes:
    length = answer.headers.get("Content-Length", "")
    promised = int(length) if length.isdecimal() else None
    data = bytearray()
    while (promised or 0) <= MAX_FILE_BYTES and len(data) <= MAX_FILE_BYTES:
        chunk = answer.read(_CHUNK_BYTES)
        data += chunk
        if not chunk:
            if promised is not None and len(data) < promised:
                raise ImageError(f"the connection broke after {len(data)} of {promised} bytes")
            return bytes(data)
    raise ImageError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB; offer it smaller")


def _too_slow(time_limit_s: float) -> ImageError:
    return ImageError(f"the picture took longer than {time_limit_s:g} s to arrive{_CHECK}")


def _told(reason: object) -> str:
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return " ".join(text.split())[:200] or type(reason).__name__


def _opener(deadline: float) -> request.OpenerDirector:
    """Knows http and https only; urllib's own would also open file:, ftp: and data: addresses."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        _Redirection(),
        _Handler(deadline),
    ):
        opener.add_handler(handler)
    return opener


class _Redirection(request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> request.Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            fp.close()
            raise ImageError(f"the server redirects from {before}: to {after}:, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Handler(request.HTTPSHandler):
    """Opens connections that end at a deadline, a time of `time.monotonic`."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    http_request = request.AbstractHTTPHandler.do_request_

    def http_open(self, req: request.Request) -> HTTPResponse:
        return self.do_open(partial(self._connection, HTTPConnection), req)

    def https_open(self, req: request.Request) -> HTTPResponse:
        return self.do_open(partial(self._connection, HTTPSConnection), req)

    def _connection(
        self, kind: type[HTTPConnection], host: str, *, timeout: float, **options: Any
    ) -> HTTPConnection:
        connection = kind(host, timeout=_remaining_s(self._deadline), **options)
        connection.response_class = partial(_Response, deadline=self._deadline)  # type: ignore[assignment]
        return connection


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *options: Any, deadline: float, **more: Any) -> None:
        super().__init__(sock, *options, **more)
        self.fp.close()
        self.fp = io.BufferedReader(_Timed(sock, deadline))


class _Timed(io.RawIOBase):
    """A socket's bytes until a deadline.

    A socket's own time limit starts anew with every byte, so a server that sends one now and then
    could hold on for ever.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._socket, self._deadline = sock, deadline
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open when urllib closes it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(_remaining_s(self._deadline))
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _remaining_s(deadline: float) -> float:
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    return remaining_s
