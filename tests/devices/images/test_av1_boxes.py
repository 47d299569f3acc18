"""Small boxes that name a large file many times, and streams of many frames."""

import io

import pytest
from PIL import Image

from edgecil_devices.av1 import _located, _pixels, _streams
from edgecil_devices.decoders import _reads_avif


def iloc(items: int, length: int) -> bytes:
    """The content of an `iloc` box of version 0: each item is one extent from the file's start."""
    item = b"".join(
        number.to_bytes(2, "big")
        + bytes(2)
        + (1).to_bytes(2, "big")
        + bytes(4)
        + length.to_bytes(4, "big")
        for number in range(items)
    )
    return bytes(4) + bytes([0x44, 0x00]) + items.to_bytes(2, "big") + item


def test_items_that_are_together_larger_than_the_file_are_refused() -> None:
    box = iloc(3, 20)
    assert len(box) == 50
    assert [bytes(one) for one in _located(box, 0, 50, 0, {0, 2})] == [box[:20]] * 2
    with pytest.raises(ValueError, match="larger than the file"):
        list(_located(box, 0, 50, 0, {0, 1, 2}))


def test_items_that_nobody_wants_cost_nothing() -> None:
    box = iloc(3, 50)
    assert [bytes(one) for one in _located(box, 0, 50, 0, {1})] == [box]


@pytest.mark.skipif(not _reads_avif(), reason="Pillow has no AVIF")
def test_a_stream_of_more_frames_than_a_picture_has_is_refused() -> None:
    """libavif decodes every one of them, and shows one."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, "AVIF", speed=10)
    (one,) = _streams(file.getvalue())
    assert _pixels(memoryview(bytes(one) * 8)) == 64 * 48
    with pytest.raises(ValueError, match="too many frames"):
        _pixels(memoryview(bytes(one) * 9))
