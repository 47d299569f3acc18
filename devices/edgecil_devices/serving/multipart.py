"""The pictures in a form (multipart/form-data, RFC 7578), as browsers and `curl -F` send it."""

import re

from edgecil_devices.errors import RequestError

_BOUNDARY = re.compile(r';[ \t]*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_FILE_NAME = re.compile(
    rb"^content-disposition:[ \t]*form-data;.*?filename\*?=", re.IGNORECASE | re.MULTILINE
)
_MAX_PARTS = 32


def is_form(content_type: str) -> bool:
    """Whether a body of this type is a form."""
    return content_type.lower().startswith("multipart/form-data")


def file_in_form(body: bytes, content_type: str) -> bytes:
    """The one file of a form; its other fields are ignored.

    Args:
        body: the whole form.
        content_type: tells where its parts end.

    Raises:
        RequestError: the form is broken or cut short, or has no file, or several.
    """
    files = files_in_form(body, content_type, _MAX_PARTS)
    if len(files) != 1:
        raise RequestError(400, f"the form has {len(files)} files; send one picture a request")
    return files[0]


def files_in_form(body: bytes, content_type: str, most_parts: int) -> list[bytes]:
    """All files of a form; its other fields are ignored.

    Args:
        body: the whole form.
        content_type: tells where its parts end.
        most_parts: a form with more is refused.

    Raises:
        RequestError: the form is broken, cut short or has too many parts.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise RequestError(400, "the form's Content-Type has no boundary; let the client set it")
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
    # The first delimiter may stand at the very start, without the line end that belongs to it.
    _, *parts = (b"\r\n" + body).split(delimiter, most_parts + 2)
    if len(parts) > most_parts + 1:  # the last is what ends the form
        raise RequestError(400, f"the form has more than {most_parts} parts; send fewer at once")
    *parts, end = parts or [b""]
    if not end.startswith(b"--"):
        raise RequestError(400, "the form is cut short; send it whole")
    return [content for part in parts for content in _file(part)]


def _file(part: bytes) -> tuple[bytes, ...]:
    """What a part holds, if it is a file."""
    after_delimiter, line_end, rest = part.partition(b"\r\n")
    if after_delimiter.strip(b" \t") or not line_end:
        raise RequestError(400, "the form is broken; let the client make it")
    head, empty_line, content = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if not empty_line:
        raise RequestError(400, "a part of the form has no end of its head; let the client make it")
    return (content,) if _FILE_NAME.search(head) else ()
