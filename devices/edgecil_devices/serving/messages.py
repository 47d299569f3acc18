"""HTTP/1.1 as bytes (RFC 9110 and 9112): the head of a request, its body, and an answer.

Whatever two readers could understand differently is refused, so that no proxy before us sees other
requests than we do.
"""

import json
import re
from asyncio import IncompleteReadError, LimitOverrunError, StreamReader
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

from edgecil_devices.errors import RequestError

MAX_HEAD_BYTES = 16 * 2**10
"""A longer head is refused; browsers send about one kilobyte."""

MAX_FIELDS = 64
"""Likewise for the number of its fields."""

_READ_BYTES = 64 * 2**10
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%b) ([!-~]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
# With the blanks around the value, which a pattern that leaves them out tries one by one.
_FIELD = re.compile(rb"(%b):([^\x00-\x08\x0a-\x1f\x7f]*)" % _TOKEN)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_ONCE = {"host", "content-length", "transfer-encoding", "content-type", "origin", "expect"}
"""Fields that mean nothing certain when they come twice."""


@dataclass(frozen=True)
class Head:
    """A request without its body."""

    method: str
    target: SplitResult
    is_http_1_0: bool
    fields: Mapping[str, str]
    """By name, in small letters."""

    @property
    def path(self) -> str:
        """As it was sent, still quoted."""
        return self.target.path

    @property
    def host(self) -> str | None:
        """The name that the client knows us by, perhaps with a port."""
        return self.target.netloc or self.fields.get("host")

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks, its length unknown."""
        return "transfer-encoding" in self.fields

    @property
    def content_length(self) -> int:
        """Length of a body that is not chunked, in bytes."""
        return int(self.fields.get("content-length", 0))

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for a word before it sends the body."""
        return not self.is_http_1_0 and self.fields.get("expect", "").lower() == "100-continue"

    @property
    def wants_to_stay(self) -> bool:
        """Whether the client may send another request over the same connection."""
        options = self.fields.get("connection", "").lower()
        return not self.is_http_1_0 and "close" not in re.split(r"[ \t,]+", options)


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: bytes
    content_type: str
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, content: Any) -> "Answer":
        """An answer in JSON; it ends with a line end, for people with curl."""
        return cls(json.dumps(content, allow_nan=False).encode() + b"\n", "application/json")

    @classmethod
    def of_error(cls, error: RequestError) -> "Answer":
        """What is wrong, and what to do about it."""
        told = cls.of_json({"error": str(error)})
        return replace(told, code=error.code, headers=error.headers)

    def to_bytes(self, without_body: bool, stays: bool) -> bytes:
        """The whole answer as it is sent.

        Args:
            without_body: for HEAD: leave the body out, but not its length.
            stays: whether another request may follow.
        """
        headers = {
            "Date": formatdate(usegmt=True),
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Connection": "keep-alive" if stays else "close",
        } | dict(self.headers)
        lines = [f"HTTP/1.1 {self.code} {HTTPStatus(self.code).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return head if without_body else head + self.body


async def read_head(first: bytes, reader: StreamReader) -> Head:
    """Read the head of a request.

    Args:
        first: its first byte, read already.
        reader: gives the rest; its limit bounds a line.

    Raises:
        RequestError: this is no request, or too large a one.
        EOFError: the client went away within it.
    """
    # What is no letter may be TLS or anything else, and may never bring a line end.
    if not (first.isalpha() or first in b"\r\n"):
        raise RequestError(400, "this is not HTTP; use an address that begins with http://")
    line = first + (await _line(reader) if first != b"\n" else b"")
    if not line.strip(b"\r\n"):  # clients of old sent an empty line after a body
        line = await _line(reader)
    matched = _REQUEST_LINE.fullmatch(line.rstrip(b"\r\n"))
    if matched is None:
        raise RequestError(400, "the request's first line must be: METHOD /path HTTP/1.1")
    method, target, major, minor = (group.decode("ascii") for group in matched.groups())
    if major != "1":
        raise RequestError(505, f"HTTP/{major}.{minor} is not spoken here; use HTTP/1.1")
    head = Head(method, _split(target), minor == "0", await _read_fields(reader, len(line)))
    _check_length(head)
    if not head.is_http_1_0 and "host" not in head.fields:
        raise RequestError(400, "the Host field is missing; HTTP/1.1 asks for it")
    return head


async def read_body(
    head: Head, reader: StreamReader, max_bytes: int, hold: Callable[[int], None]
) -> bytes:
    """Read the whole body of a request.

    Args:
        head: of the request.
        reader: where its head ended.
        max_bytes: a longer body is refused, before it is read where its length is known.
        hold: is told how many more bytes are in memory now; may refuse them.

    Raises:
        RequestError: the body is too long, or its chunks are broken.
        EOFError: the client went away within it.
    """
    body = bytearray()  # a list of small chunks would take many times their bytes
    held = 0

    async def take(size: int) -> None:
        nonlocal held
        held += size
        if held > max_bytes:
            raise RequestError(
                413,
                f"the request is larger than the {max_bytes:,} bytes allowed; send a smaller "
                "picture, or start edgecil serve with a higher --max-mb",
            )
        while size:
            part = await reader.read(min(size, _READ_BYTES))
            if not part:
                raise EOFError
            hold(len(part))
            body.extend(part)
            size -= len(part)

    if not head.is_chunked:
        await take(head.content_length)
        return bytes(body)
    while size := await _chunk_size(reader):
        await take(size)
        if await _line(reader) not in (b"\r\n", b"\n"):
            raise RequestError(400, "a chunk is longer than it says; send a Content-Length instead")
    await _read_fields(reader, 0)  # what may follow the last chunk means nothing to us
    return bytes(body)


async def _line(reader: StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except IncompleteReadError:
        raise EOFError from None
    except LimitOverrunError:
        raise _head_too_large() from None


async def _read_fields(reader: StreamReader, read_bytes: int) -> dict[str, str]:
    """The fields up to the empty line; of those that come twice, the last."""
    fields: dict[str, str] = {}
    count = 0
    while (line := await _line(reader)) not in (b"\r\n", b"\n"):
        read_bytes += len(line)
        count += 1
        if read_bytes > MAX_HEAD_BYTES or count > MAX_FIELDS:
            raise _head_too_large()
        matched = _FIELD.fullmatch(line.removesuffix(b"\n").removesuffix(b"\r"))
        if matched is None:
            raise RequestError(400, "a field of the request's head must be: Name: value")
        name, value = (group.decode("latin-1") for group in matched.groups())
        name, value = name.lower(), value.strip(" \t")
        if name in _ONCE and name in fields:
            raise RequestError(400, f"the field {name} comes twice; send it once")
        fields[name] = value
    return fields


def _check_length(head: Head) -> None:
    """The length of the body must be certain."""
    length, coding = (head.fields.get(n) for n in ("content-length", "transfer-encoding"))
    if length is not None and not (length.isascii() and length.isdecimal() and len(length) < 19):
        raise RequestError(400, "Content-Length must be a number of bytes")
    if coding is not None and (length is not None or head.is_http_1_0):
        raise RequestError(400, "Transfer-Encoding is out of place; send a Content-Length alone")
    if coding is not None and coding.lower() != "chunked":
        raise RequestError(501, "only chunked is understood; send a Content-Length instead")


async def _chunk_size(reader: StreamReader) -> int:
    matched = _CHUNK.fullmatch((await _line(reader)).removesuffix(b"\n").removesuffix(b"\r"))
    if matched is None:
        raise RequestError(400, "a chunk has no size; send a Content-Length instead")
    return int(matched[1], 16)


def _split(target: str) -> SplitResult:
    """A path with a query, or a whole address as clients of proxies send it."""
    try:
        # A path may begin with two slashes, which alone would mean a host.
        split = urlsplit(f"http:///{target[1:]}" if target[0] == "/" else target)
    except ValueError:
        split = SplitResult("", "", "", "", "")
    if split.scheme != "http" or not split.path.startswith("/"):
        raise RequestError(400, "the request must be for a path, /predict for example")
    return split


def busy(why: str) -> RequestError:
    """The refusal of a request for which there is no room now."""
    return RequestError(503, f"{why}; try again in a second", {"Retry-After": "1"})


def _head_too_large() -> RequestError:
    return RequestError(
        431, f"the request's head has more than {MAX_HEAD_BYTES:,} bytes or {MAX_FIELDS} fields"
    )
