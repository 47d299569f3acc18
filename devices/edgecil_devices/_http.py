"""One HTTP or HTTPS request that ends in time, whatever the server does."""

import io
import re
import socket
import time
from base64 import b64encode
from functools import partial
from http.client import HTTPConnection, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import IO, Any
from urllib import request
from urllib.error import URLError
from urllib.parse import quote, unquote, urlsplit

SCHEMES = ("http://", "https://")
"""How an address begins."""

_MOST_DIGITS = 18
_LEFT_AS_THEY_ARE = "/:?#[]@!$&'()*+,;=%~"
_LOGIN = re.compile(r"(https?://)([^/?#]*)@", re.IGNORECASE)


class RedirectionError(URLError):
    """The server sends us where we do not go."""


def get(url: str, time_limit_s: float, stall_s: float | None = None, **headers: str) -> Any:
    """Ask for what is behind an address; the answer is read like a file and must be closed.

    Redirections are followed, but not in circles, never to another scheme than http and https, nor
    from https to http. Proxies of the environment (`https_proxy`) are used. Name and password in
    the address (`http://admin:secret@host/`) are sent by HTTP's basic scheme (RFC 7617), and to no
    other server that it redirects to.

    Args:
        url: begins with one of `SCHEMES`.
        time_limit_s: seconds until reading the answer ends with a TimeoutError, looking up the
            server's name excepted.
        stall_s: likewise for a server from which nothing comes at all.
        headers: of the request.

    Raises:
        HTTPError: the server answers with an error.
        RedirectionError: it redirects to another scheme.
        URLError: there is no such server.
        HTTPException: it does not speak HTTP.
        OSError: the connection fails.
        ValueError: this is no address.
    """
    opener = _opener(time.monotonic() + time_limit_s, stall_s or time_limit_s)
    bare, login = _without_login(url)
    asked = request.Request(quote(bare, _LEFT_AS_THEY_ARE), headers=headers)
    if login:
        asked.add_unredirected_header("Authorization", login)
    return opener.open(asked, timeout=time_limit_s)


def shown(url: str) -> str:
    """An address as it may be told and kept: without the name and the password in it."""
    return _LOGIN.sub(r"\1***@", url, count=1) if _LOGIN.match(url) else url


def promised_bytes(answer: Any) -> int | None:
    """How long an answer says its body is, if it says so; 10**18 stands for any larger number."""
    length = str(answer.headers.get("Content-Length", ""))
    if not length.isdecimal():
        return None
    digits = length.lstrip("0") or "0"
    # Python refuses to read a number of more than 4300 digits.
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


def told(reason: object) -> str:
    """What a failure says, as one short line."""
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return " ".join(text.split())[:200] or type(reason).__name__


def _without_login(url: str) -> tuple[str, str | None]:
    """An address without name and password, and the field that says them."""
    matched = _LOGIN.match(url)
    if matched is None:
        return url, None
    name, _, password = map(unquote, matched[2].partition(":"))
    login = b64encode(f"{name}:{password}".encode()).decode()
    return f"{matched[1]}{url[matched.end() :]}", f"Basic {login}"


def _opener(deadline: float, stall_s: float) -> request.OpenerDirector:
    """Knows http and https only; urllib's own would also open file:, ftp: and data: addresses."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        _Redirection(),
        _Handler(deadline, stall_s),
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
        fp.close()  # or urllib would read what comes with it, however much that is
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise RedirectionError(f"it redirects from {before}: to {after}:, which is refused")
        newurl, login = _without_login(newurl)
        asked = super().redirect_request(req, fp, code, msg, headers, newurl)
        if urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]:
            login = login or req.get_header("Authorization")
        if asked and login:
            asked.add_unredirected_header("Authorization", login)
        return asked


class _Handler(request.HTTPSHandler):
    """Opens connections that end at a deadline, a time of `time.monotonic`."""

    def __init__(self, deadline: float, stall_s: float) -> None:
        super().__init__()
        self._deadline, self._stall_s = deadline, stall_s

    http_request = request.AbstractHTTPHandler.do_request_

    def http_open(self, req: request.Request) -> HTTPResponse:
        return self.do_open(partial(self._connection, HTTPConnection), req)

    def https_open(self, req: request.Request) -> HTTPResponse:
        return self.do_open(partial(self._connection, HTTPSConnection), req)

    def _connection(
        self, kind: type[HTTPConnection], host: str, *, timeout: float, **options: Any
    ) -> HTTPConnection:
        timeout = min(self._stall_s, _remaining_s(self._deadline))
        connection = kind(host, timeout=timeout, **options)
        connection.response_class = partial(  # type: ignore[assignment]
            _Response, deadline=self._deadline, stall_s=self._stall_s
        )
        return connection


class _Response(HTTPResponse):
    def __init__(
        self, sock: socket.socket, *options: Any, deadline: float, stall_s: float, **more: Any
    ) -> None:
        super().__init__(sock, *options, **more)
        self.fp.close()
        self.fp = io.BufferedReader(_Timed(sock, deadline, stall_s))


class _Timed(io.RawIOBase):
    """A socket's bytes until a deadline.

    A socket's own time limit starts anew with every byte, so a server that sends one now and then
    could hold on for ever.
    """

    def __init__(self, sock: socket.socket, deadline: float, stall_s: float) -> None:
        super().__init__()
        self._socket, self._deadline, self._stall_s = sock, deadline, stall_s
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open when urllib closes it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(min(self._stall_s, _remaining_s(self._deadline)))
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _remaining_s(deadline: float) -> float:
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    return remaining_s
