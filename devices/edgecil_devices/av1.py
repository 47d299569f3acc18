"""How large the AV1 streams in an AVIF file are, read from their own heads.

The size that the file gives, and Pillow tells, is another entry than the stream's. A file of a few
kilobytes that says 30 x 30 may hold a stream of 16,384 x 16,384, and libavif decodes that before it
notices. So the streams are asked, without decoding: boxes by ISO/IEC 14496-12, sections 8.11.1,
8.11.3 and 8.11.11; streams by the AV1 bitstream specification, sections 5.3.1 and 5.5.1.
"""

from collections.abc import Collection, Iterator

_MOST_BOXES = 4096
_MOST_UNITS = 256
_MOST_FRAMES = 8
_SEQUENCE_HEADER = 1
_FRAMES = (3, 6)  # a frame's head, and a frame with its head; layered pictures have up to four


def coded_pixels(data: bytes) -> int:
    """The pixels of the largest AV1 stream among a file's items; 0 if it has none.

    Args:
        data: an AVIF file; nothing in it is trusted.

    Raises:
        ValueError, IndexError: the file is cut off, or a stream does not tell its size.
    """
    return max((_pixels(stream) for stream in _streams(data)), default=0)


class _Bits:
    """Bits of a stream, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), len(data) * 8

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        self._left -= count
        if self._left < 0:
            raise ValueError("the stream ends")
        return self._value >> self._left & ((1 << count) - 1)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box between two places."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        size, head = int.from_bytes(data[start : start + 4], "big"), 8
        kind = data[start + 4 : start + 8]
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else start + size
        if stop > end or stop < start + head:
            return
        yield kind, start + head, stop
        start = stop


def _streams(data: bytes) -> Iterator[memoryview]:
    """The items of the file that are AV1."""
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta":
            inner = {name: (a, b) for name, a, b in _boxes(data, start + 4, end)}
            if b"iloc" in inner and b"iinf" in inner:
                wanted = set(_av1_numbers(data, *inner[b"iinf"]))
                own_data = inner.get(b"idat", (0, 0))[0]
                yield from _located(data, *inner[b"iloc"], own_data, wanted)


def _av1_numbers(data: bytes, start: int, end: int) -> Iterator[int]:
    """The numbers of the items that the box `iinf` says are AV1."""
    first = start + (6 if data[start] == 0 else 8)
    for kind, at, _ in _boxes(data, first, end):
        wide = data[at] >= 3
        kind_at = at + (10 if wide else 8)
        if kind == b"infe" and data[kind_at : kind_at + 4] == b"av01":
            yield int.from_bytes(data[at + 4 : kind_at - 2], "big")


def _located(
    data: bytes, start: int, end: int, own_data: int, wanted: Collection[int]
) -> Iterator[memoryview]:
    """What the box `iloc` points at: in the file, or in a box whose content is at `own_data`.

    Only of the `wanted` items, and of all of them no more than the file is large: a small box may
    name the same bytes thousands of times.
    """
    version, at = data[start], start + 4
    left = len(data)

    def number(size: int) -> int:
        nonlocal at
        if at + size > end:
            raise ValueError("the box ends")
        at += size
        return int.from_bytes(data[at - size : at], "big")

    sizes = number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version in (1, 2) else 0
    for _ in range(number(4 if version == 2 else 2)):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version in (1, 2) else 0
        number(2)  # which file; this one
        base = number(base_size) + (own_data if method == 1 else 0)
        parts = []
        for _ in range(number(2)):
            number(index_size)
            offset, length = base + number(offset_size), number(length_size)
            parts.append(memoryview(data)[offset : offset + (length or len(data))])
        if item not in wanted:
            continue
        left -= sum(map(len, parts))
        if left < 0:
            raise ValueError("its items are larger than the file")
        yield parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def _pixels(stream: memoryview) -> int:
    """Width times height of a stream, by the heads of all its units."""
    at, largest, frames = 0, 0, 0
    for _ in range(_MOST_UNITS):
        if at >= len(stream) and largest:
            return largest
        kind, extended, sized = stream[at] >> 3 & 15, stream[at] >> 2 & 1, stream[at] >> 1 & 1
        at += 1 + extended
        size = len(stream) - at
        if sized:
            size, at = _leb128(stream, at)
        frames += kind in _FRAMES
        if frames > _MOST_FRAMES:  # libavif decodes all of them and shows one
            raise ValueError("a stream has too many frames")
        if kind == _SEQUENCE_HEADER:
            largest = max(largest, _sequence_pixels(_Bits(bytes(stream[at : at + size][:64]))))
        at += size
    raise ValueError("a stream has too many units")


def _leb128(stream: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for position in range(8):
        byte = stream[at + position]
        value |= (byte & 127) << 7 * position
        if byte < 128:
            return value, at + position + 1
    raise ValueError("the number does not end")


def _sequence_pixels(bits: _Bits) -> int:
    bits.take(4)  # profile, still picture
    if bits.take(1):  # the short head of a still picture
        bits.take(5)
    else:
        _skip_to_the_size(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return (bits.take(width_bits) + 1) * (bits.take(height_bits) + 1)


def _skip_to_the_size(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(32)
        bits.take(32)
        if bits.take(1):  # every frame as long as the other: a number in exponential Golomb code
            zeros = 0
            while not bits.take(1):
                zeros += 1
            bits.take(min(zeros, 32))
        if bits.take(1):  # a model of the decoder
            delay_bits = bits.take(5) + 1
            bits.take(42)
    delays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if delays and bits.take(1):
            bits.take(4)
