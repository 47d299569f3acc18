"""Whatever bytes come, there is a request, a refusal or an end; and what was meant is found."""

import asyncio
import re
import string
import time
import tracemalloc
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecil_devices.errors import RequestError
from edgecil_devices.serving.messages import MAX_HEAD_BYTES, Head, read_body, read_head
from edgecil_devices.serving.multipart import file_in_form, files_in_form

MAX_BODY_BYTES = 300
PIECES = (
    b"GET /predict HTTP/1.1\r\n",
    b"POST / HTTP/1.0\r\n",
    b"Host: localhost\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n",
    b"\n",
    b"3\r\nabc\r\n",
    b"0\r\n",
    b"ffff",
    b":",
)
TOKEN = set(f"{string.ascii_letters}{string.digits}!#$%&'*+-.^_`|~".encode())
"""Bytes of a field's name (RFC 9110, section 5.6.2)."""
PARTS = (b"--B", b"\r\n", b"--", b'Content-Disposition: form-data; filename="x"', b"\r\n\r\n")


def read(data: bytes) -> tuple[Head, bytes]:
    async def run() -> tuple[Head, bytes]:
        reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES)
        reader.feed_data(data[1:])
        reader.feed_eof()
        head = await read_head(data[:1], reader)
        return head, await read_body(head, reader, MAX_BODY_BYTES, lambda size: None)

    return asyncio.run(run())


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), min_size=1).map(b"".join))
def test_any_bytes_are_a_request_a_refusal_or_an_end(data: bytes) -> None:
    if not data:
        return
    with suppress(RequestError, EOFError):
        head, body = read(data)
        # A method is a token (RFC 9110, sections 5.6.2 and 9.1); which ones are served, others say.
        told = re.match(r"^(?:\r?\n)?([!#$%&'*+.^_`|~0-9A-Za-z-]+) /", data.decode("latin-1"))
        assert told
        assert head.method == told[1]
        assert len(body) <= MAX_BODY_BYTES
        assert body in data or head.is_chunked


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,10}-[a-z0-9]{1,10}", fullmatch=True),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
        max_size=20,
    ),
    st.binary(max_size=MAX_BODY_BYTES),
    st.integers(1, 100),
    st.booleans(),
)
def test_fields_and_body_are_found_again(
    fields: dict[str, str], body: bytes, chunk: int, chunked: bool
) -> None:
    fields = {k: v for k, v in fields.items() if k not in ("content-length", "transfer-encoding")}
    lines = ["POST /a?b HTTP/1.1", "HOST: x", *(f"{k}:\t {v} " for k, v in fields.items())]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        parts = [body[start : start + chunk] for start in range(0, len(body), chunk)]
        sent = b"".join(b"%X\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(body)}")
        sent = body
    head, found = read("\r\n".join([*lines, "", ""]).encode() + sent)
    assert found == body
    assert (head.method, head.path, head.target.query) == ("POST", "/a", "b")
    assert {name: head.fields[name] for name in fields} == fields


def told_apart(line: bytes) -> tuple[str, str] | None:
    """Name and value of a field's line, byte by byte (RFC 9112, section 5); None if it is none."""
    name, colon, value = line.partition(b":")
    controls = {*range(32), 127} - {ord("\t")}
    if not (name and colon) or set(name) - TOKEN or controls & set(value):
        return None
    while value[:1] in (b" ", b"\t"):
        value = value[1:]
    while value[-1:] in (b" ", b"\t"):
        value = value[:-1]
    return name.decode("latin-1").lower(), value.decode("latin-1")


@settings(max_examples=500)
@given(
    st.lists(
        st.sampled_from([b" ", b"\t", b"\xa0", b":", b"x", b"\r"]) | st.binary(max_size=3)
    ).map(lambda parts: b"x-" + b"".join(parts).replace(b"\n", b""))
)
def test_a_field_is_a_name_and_a_value_without_blanks_around_it(line: bytes) -> None:
    expected = told_apart(line)
    data = b"GET / HTTP/1.1\r\nHost: h\r\n" + line + b"\r\n\r\n"
    if expected is None:
        with pytest.raises(RequestError, match="must be: Name: value"):
            read(data)
    else:
        head, _ = read(data)
        assert dict(head.fields) == {"host": "h", expected[0]: expected[1]}


@pytest.mark.parametrize("blank", [b" ", b"\t", b" \t", b"\xa0"])
@pytest.mark.parametrize("end", [b"a", b"", b"\x01"])
def test_a_line_full_of_blanks_is_read_in_a_moment(blank: bytes, end: bytes) -> None:
    """All requests wait while a head is read, so its length alone may count, not its square."""
    blanks = blank * (15_900 // len(blank))
    before_s = time.thread_time()
    with suppress(RequestError):
        head, _ = read(b"GET / HTTP/1.1\r\nHost: h\r\nX: a" + blanks + end + b"\r\n\r\n")
        assert head.fields["x"] == (b"a" + blanks + end).decode("latin-1").strip(" \t")
    assert time.thread_time() - before_s < 0.2


@given(st.lists(st.sampled_from(PARTS) | st.binary(max_size=9)).map(b"".join))
def test_any_bytes_are_a_form_or_are_refused(body: bytes) -> None:
    with suppress(RequestError):
        assert file_in_form(body, "multipart/form-data; boundary=B") in body


@given(st.binary(max_size=200))
def test_a_file_in_a_form_is_found_whatever_it_contains(content: bytes) -> None:
    boundary = b"edge"
    if b"\r\n--" + boundary in b"\r\n" + content:
        return
    head = b'content-disposition: form-data; name="a"; filename="\xc3\xa4.png"'
    body = b"\r\n".join([b"--edge", head, b"x: y", b"", content, b"--edge--", b""])
    assert file_in_form(body, 'multipart/form-data; charset=x; boundary="edge"') == content


def test_a_form_may_have_as_many_files_as_are_taken() -> None:
    part = b'--B\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nfile\r\n'
    kind = "multipart/form-data; boundary=B"
    assert files_in_form(part * 3 + b"--B--\r\n", kind, 3) == [b"file"] * 3
    with pytest.raises(RequestError, match="more than 3 parts"):
        files_in_form(part * 4 + b"--B--\r\n", kind, 3)


def test_a_body_in_tiny_chunks_takes_the_memory_of_its_bytes() -> None:
    count = 100_000
    head = Head("POST", urlsplit("/predict"), False, {"transfer-encoding": "chunked"})

    async def run() -> bytes:
        reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES)
        reader.feed_data(b"2\r\nab\r\n" * count + b"0\r\n\r\n")
        reader.feed_eof()
        tracemalloc.start()
        body = await read_body(head, reader, 2 * count, lambda size: None)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(body)
        return body

    try:
        assert asyncio.run(run()) == b"ab" * count
    finally:
        tracemalloc.stop()
