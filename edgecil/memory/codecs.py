"""Image codecs for exemplars: each image as few bytes as possible, nothing stored twice.

An ordinary image file repeats, in every file, what all exemplars of one codec and size share: for
32x32 images that is 25 bytes of a lossless WebP file, 27 of a lossy one, and 625 of a JPEG file. A
codec keeps the rest only, the payload. What can be rebuilt from the image size is rebuilt when an
image is decoded; the tables of JPEG are kept once per state, as the shared header.

Every encoder setting below is the one with the fewest bytes for its distortion on CIFAR-100, of
those that encode thousands of images a second.

Shapes: N images, S image size.
"""

import functools
import io
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecil.errors import EdgecilError, StateCorruptError, UsageError
from edgecil.workers import PORTION, on_all_cores

Pixels = NDArray[np.uint8]
T = TypeVar("T")

DEFAULT_CODEC = "webp-lossless"

_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises on bytes that are no image."""


class ImageCodec(ABC):
    """Square RGB images to bytes and back.

    Args:
        name: what `codec_named` calls it.
        lossless: whether decoding gives back the very pixels that were encoded.
    """

    def __init__(self, name: str, *, lossless: bool) -> None:
        self.name = name
        self.lossless = lossless

    def __repr__(self) -> str:
        return f"codec_named({self.name!r})"

    @abstractmethod
    def encode(self, pixels: Pixels) -> bytes:
        """One image (S, S, 3) -> its payload.

        Raises:
            EdgecilError: the installed Pillow writes a form that is not known here.
        """

    @abstractmethod
    def decode(self, payload: bytes, image_size_px: int, shared_header: bytes = b"") -> Pixels:
        """A payload and the shared header it was stored with -> one image (S, S, 3).

        Raises:
            StateCorruptError: the payload is not that of an image of this size.
        """

    def shared_header(self, image_size_px: int) -> bytes:
        """What all images of this size share and decoding needs; to be kept once per state."""
        return b""

    def payload_bytes(self, image_size_px: int) -> int | None:
        """The length of every payload where all have the same, None where they differ."""
        return None

    def encode_many(self, pixels: Pixels) -> list[bytes]:
        """Images (N, S, S, 3) -> N payloads, on all processors."""
        return _on_all_processors(self.encode, pixels)

    def decode_many(
        self, payloads: Sequence[bytes], image_size_px: int, shared_header: bytes = b""
    ) -> Pixels:
        """N payloads -> images (N, S, S, 3), on all processors.

        Raises:
            StateCorruptError: a payload is not that of an image of this size.
        """
        pixels = np.empty((len(payloads), image_size_px, image_size_px, 3), np.uint8)

        def decode_into(index: int) -> None:
            pixels[index] = self.decode(payloads[index], image_size_px, shared_header)

        _on_all_processors(decode_into, range(len(payloads)))
        return pixels

    def roundtrip(self, pixels: Pixels) -> Pixels:
        """Images (N, S, S, 3) as they will look once they have been exemplars, same shape."""
        if self.lossless:
            return pixels
        size = pixels.shape[1]
        return self.decode_many(self.encode_many(pixels), size, self.shared_header(size))


class RawCodec(ImageCodec):
    """The pixels as they are, row by row, S*S*3 bytes."""

    def __init__(self) -> None:
        super().__init__("raw", lossless=True)

    def encode(self, pixels: Pixels) -> bytes:
        """One image (S, S, 3) -> its S*S*3 bytes."""
        return pixels.tobytes()

    def decode(self, payload: bytes, image_size_px: int, shared_header: bytes = b"") -> Pixels:
        """S*S*3 bytes -> one image (S, S, 3).

        Raises:
            StateCorruptError: there are more or fewer bytes.
        """
        if len(payload) != self.payload_bytes(image_size_px):
            raise _corrupt(self.name, image_size_px)
        return np.frombuffer(payload, np.uint8).reshape(image_size_px, image_size_px, 3)

    def payload_bytes(self, image_size_px: int) -> int:
        """S*S*3."""
        return image_size_px * image_size_px * 3


class _FileCodec(ImageCodec):
    """A codec that takes image files of Pillow apart, and puts them together again."""

    _format: str

    def encode(self, pixels: Pixels) -> bytes:
        """One image (S, S, 3) -> its payload.

        Raises:
            EdgecilError: the installed Pillow writes a form that is not known here.
        """
        file = self._save(pixels)
        size = len(pixels)
        payload = self._strip(file, size)
        if self._rebuild(payload, size, self.shared_header(size)) != file:
            raise EdgecilError(
                f"the installed Pillow writes {self.name} images in a form that edgecil does not "
                "know; install another version of Pillow, or use --codec raw"
            )
        return payload

    def decode(self, payload: bytes, image_size_px: int, shared_header: bytes = b"") -> Pixels:
        """A payload and the shared header it was stored with -> one image (S, S, 3).

        Raises:
            StateCorruptError: the payload is not that of an image of this size.
        """
        file = io.BytesIO(self._rebuild(payload, image_size_px, shared_header))
        try:
            with Image.open(file, formats=[self._format]) as image:
                # Asked before decoding, as an altered header can promise more than memory holds.
                if image.size != (image_size_px, image_size_px) or image.mode != "RGB":
                    raise _corrupt(self.name, image_size_px)
                return np.array(image)
        except _DECODER_ERRORS as error:
            raise _corrupt(self.name, image_size_px) from error

    @abstractmethod
    def _save(self, pixels: Pixels) -> bytes:
        """One image (S, S, 3) -> its file."""

    @abstractmethod
    def _strip(self, file: bytes, size: int) -> bytes:
        """A file -> its payload."""

    @abstractmethod
    def _rebuild(self, payload: bytes, size: int, shared_header: bytes) -> bytes:
        """A payload -> its file."""


class WebPLosslessCodec(_FileCodec):
    """VP8L, bit-exact, without the container and the head of the bitstream (25 bytes).

    Method 2 writes fewer bytes than any other on CIFAR-100 (libwebp spends methods 4 to 6 on
    entropy images, which do not pay at 32x32), and is three times as fast as method 4.

    Source: RFC 9649, sections 2 and 3.
    """

    _format = "WEBP"

    def __init__(self) -> None:
        super().__init__(DEFAULT_CODEC, lossless=True)

    def _save(self, pixels: Pixels) -> bytes:
        return _saved(pixels, "WEBP", lossless=True, exact=True, method=2, quality=75)

    def _strip(self, file: bytes, size: int) -> bytes:
        return _webp_chunk(file)[5:]

    def _rebuild(self, payload: bytes, size: int, shared_header: bytes) -> bytes:
        # A signature byte, then width-1 and height-1 in 14 bits each, alpha (1 bit), version (3).
        head = b"\x2f" + ((size - 1) | (size - 1) << 14).to_bytes(4, "little")
        return _webp_file(b"VP8L", head + payload)


class WebPCodec(_FileCodec):
    """VP8 at a quality of 1 to 100, without the container and the frame's constants (27 bytes).

    Method 6 saves 3 % of the bytes of method 4 for 0.1 dB, which at these rates are worth 0.2 dB.

    Source: RFC 6386, section 9.1; RFC 9649, section 2.
    """

    _format = "WEBP"

    def __init__(self, quality: int) -> None:
        super().__init__(f"webp:{quality}", lossless=False)
        self.quality = quality

    def _save(self, pixels: Pixels) -> bytes:
        return _saved(pixels, "WEBP", quality=self.quality, method=6)

    def _strip(self, file: bytes, size: int) -> bytes:
        # The frame tag (3 bytes) tells the length of the first partition, so it stays.
        frame = _webp_chunk(file)
        return frame[:3] + frame[10:]

    def _rebuild(self, payload: bytes, size: int, shared_header: bytes) -> bytes:
        start_code, width = b"\x9d\x01\x2a", size.to_bytes(2, "little")
        return _webp_file(b"VP8 ", payload[:3] + start_code + width * 2 + payload[3:])


class JpegCodec(_FileCodec):
    """Baseline JPEG at a quality of 1 to 100; tables and frame header are shared by all images.

    Chroma is kept at full resolution: at 32x32 halving it costs more distortion than it saves
    bytes (4:4:4 at quality 75 has 32.2 dB in 364 bytes, 4:2:0 at quality 85 32.1 dB in 385).
    The Huffman tables are the standard's, as tables optimised per image could not be shared.

    Source: ITU-T T.81, annex B.
    """

    _format = "JPEG"
    _END = b"\xff\xd9"

    def __init__(self, quality: int) -> None:
        super().__init__(f"jpeg:{quality}", lossless=False)
        self.quality = quality

    @functools.cache  # noqa: B019 - codecs are few and live as long as the program
    def shared_header(self, image_size_px: int) -> bytes:
        """All from the start of the image to the end of the scan's header."""
        file = self._save(np.zeros((image_size_px, image_size_px, 3), np.uint8))
        scan = file.index(b"\xff\xda") + 2
        return file[: scan + int.from_bytes(file[scan : scan + 2], "big")]

    def _save(self, pixels: Pixels) -> bytes:
        return _saved(pixels, "JPEG", quality=self.quality, subsampling=0, progressive=False)

    def _strip(self, file: bytes, size: int) -> bytes:
        return file[len(self.shared_header(size)) : -len(self._END)]

    def _rebuild(self, payload: bytes, size: int, shared_header: bytes) -> bytes:
        return shared_header + payload + self._END


_QUALITY = ":<quality 1..100>"

CODECS: dict[str, Callable[..., ImageCodec]] = {
    "raw": RawCodec,
    "webp-lossless": WebPLosslessCodec,
    f"webp{_QUALITY}": WebPCodec,
    f"jpeg{_QUALITY}": JpegCodec,
}
"""Every codec as `codec_named` takes it; what is made of a quality says so in its name."""


@functools.cache
def codec_named(name: str) -> ImageCodec:
    """The codec called `name`: one of `CODECS`, such as "webp:75".

    Raises:
        UsageError: there is none of that name.
    """
    kind, _, quality = name.partition(":")
    if not quality and name in CODECS:
        return CODECS[name]()
    if kind + _QUALITY in CODECS and re.fullmatch("[1-9][0-9]?|100", quality):
        return CODECS[kind + _QUALITY](int(quality))
    raise UsageError(f"unknown image codec {name!r}; choose one of: {', '.join(CODECS)}")


def _on_all_processors(function: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    items = list(items)
    batches = [items[start : start + PORTION] for start in range(0, len(items), PORTION)]
    done = on_all_cores(lambda batch: [function(item) for item in batch], batches)
    return [result for batch in done for result in batch]


def _saved(pixels: Pixels, image_format: str, **settings: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format, **settings)
    return file.getvalue()


def _webp_chunk(file: bytes) -> bytes:
    """The only chunk of a simple WebP file, without its padding."""
    return file[20 : 20 + int.from_bytes(file[16:20], "little")]


def _webp_file(kind: bytes, chunk: bytes) -> bytes:
    padding = b"\0" * (len(chunk) % 2)
    body = b"WEBP" + kind + len(chunk).to_bytes(4, "little") + chunk + padding
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _corrupt(codec: str, size: int) -> StateCorruptError:
    return StateCorruptError(
        f"an exemplar is not a {codec} image of {size}x{size} pixels; "
        "the state was altered, so restore it from a copy or train again"
    )
