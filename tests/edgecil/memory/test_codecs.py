import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edgecil.errors import EdgecilError, StateCorruptError, UsageError
from edgecil.memory import codecs
from edgecil.memory.codecs import DEFAULT_CODEC, codec_named

NAMES = ["raw", "webp-lossless", "webp:75", "webp:100", "jpeg:75", "jpeg:100"]
LOSSLESS = ["raw", "webp-lossless"]


def pictures(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colour waves with a little noise, between photographs and plain areas."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / max(size, 8)
    waves = rng.uniform(-6, 6, (count, 3, 2, 1, 1))
    field = np.sin(waves[:, :, 0] * x + waves[:, :, 1] * y + rng.uniform(0, 6, (count, 3, 1, 1)))
    noise = rng.normal(0, 4, (count, 3, size, size))
    pixels: NDArray[np.uint8] = np.clip(field * 100 + 128 + noise, 0, 255).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1).copy()


def test_the_default_is_lossless() -> None:
    assert codec_named(DEFAULT_CODEC).lossless
    assert codec_named(DEFAULT_CODEC).name == "webp-lossless"


@pytest.mark.parametrize("name", NAMES)
def test_a_codec_bears_the_name_it_is_called_by(name: str) -> None:
    assert codec_named(name).name == name
    assert codec_named(name).lossless == (name in LOSSLESS)


@pytest.mark.parametrize(
    "name", ["", "png", "webp", "webp:0", "webp:101", "webp:075", "jpeg:7.5", "jpeg:-1", "Raw"]
)
def test_unknown_codecs_are_refused_with_all_listed(name: str) -> None:
    with pytest.raises(UsageError, match=r"raw, webp-lossless, webp:<quality .*, jpeg:<quality"):
        codec_named(name)


@pytest.mark.parametrize("name", LOSSLESS)
@settings(max_examples=40)
@given(
    size=st.sampled_from([1, 2, 3, 17, 32]),
    seed=st.integers(0, 2**32 - 1),
    values=st.sampled_from([1, 2, 256]),
)
def test_lossless_codecs_give_back_every_bit(name: str, size: int, seed: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, values, (2, size, size, 3), dtype=np.uint8)
    codec = codec_named(name)
    np.testing.assert_array_equal(codec.decode_many(codec.encode_many(pixels), size), pixels)
    assert codec.roundtrip(pixels) is pixels


@pytest.mark.parametrize("size", [1, 5, 32, 33, 64])
@pytest.mark.parametrize(
    ("name", "pillow_settings"),
    [
        ("webp:75", {"format": "WEBP", "quality": 75, "method": 6}),
        ("jpeg:75", {"format": "JPEG", "quality": 75, "subsampling": 0}),
    ],
)
def test_lossy_codecs_give_what_an_ordinary_file_would(
    name: str, pillow_settings: dict[str, object], size: int
) -> None:
    pixels = pictures(4, size)
    expected = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, **pillow_settings)  # type: ignore[arg-type]
        expected.append(np.asarray(Image.open(file)))
    np.testing.assert_array_equal(codec_named(name).roundtrip(pixels), np.stack(expected))


@pytest.mark.parametrize(
    ("name", "saved_bytes", "pillow_settings"),
    [
        ("webp-lossless", 25, {"format": "WEBP", "lossless": True, "exact": True, "method": 2}),
        ("webp:85", 27, {"format": "WEBP", "quality": 85, "method": 6}),
        ("jpeg:85", 625, {"format": "JPEG", "quality": 85, "subsampling": 0}),
    ],
)
def test_a_payload_is_a_file_without_what_is_the_same_for_all(
    name: str, saved_bytes: int, pillow_settings: dict[str, object]
) -> None:
    for image in pictures(8, 32):
        file = io.BytesIO()
        Image.fromarray(image).save(file, **pillow_settings)  # type: ignore[arg-type]
        payload = codec_named(name).encode(image)
        padding = len(file.getvalue()) - saved_bytes - len(payload)
        # RIFF chunks have an even length; the byte that makes them so is not kept either.
        assert padding in ((0,) if name.startswith("jpeg") else (0, 1))


def test_raw_payloads_are_the_pixels() -> None:
    image = pictures(1, 4)[0]
    assert codec_named("raw").encode(image) == bytes(int(value) for value in image.reshape(-1))
    assert codec_named("raw").payload_bytes(4) == 48


def test_images_are_decoded_with_the_header_they_were_stored_with() -> None:
    image = pictures(1, 16)[0]
    codec = codec_named("jpeg:90")
    stored = codec.shared_header(16)
    # The same image under coarser tables is another image: so the stored ones are in use.
    other = codec_named("jpeg:10").shared_header(16)
    payload = codec.encode(image)
    near = np.abs(codec.decode(payload, 16, stored).astype(int) - image).mean()
    far = np.abs(codec.decode(payload, 16, other).astype(int) - image).mean()
    assert near < 5 < far


def test_only_jpeg_has_a_shared_header() -> None:
    assert [bool(codec_named(name).shared_header(32)) for name in NAMES] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("name", NAMES)
def test_no_images_are_no_payloads(name: str) -> None:
    codec = codec_named(name)
    assert codec.encode_many(pictures(0, 8)) == []
    assert codec.decode_many([], 8, codec.shared_header(8)).shape == (0, 8, 8, 3)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_of_another_size_is_corrupt(name: str) -> None:
    codec = codec_named(name)
    payload, header = codec.encode(pictures(1, 16)[0]), codec.shared_header(16)
    if name.startswith("webp"):  # the size is not in the payload; what follows from it is wrong
        payload = payload[: len(payload) // 2]
    with pytest.raises(StateCorruptError, match="restore it from a copy"):
        codec.decode(payload, 24, header)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(data=st.data())
def test_altered_payloads_give_an_image_or_our_error(name: str, data: st.DataObject) -> None:
    codec = codec_named(name)
    stored = codec.shared_header(8) + b"|" + codec.encode(pictures(1, 8)[0])
    altered = bytearray(stored)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    del altered[data.draw(st.integers(0, len(altered))) :]
    split = len(codec.shared_header(8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            pixels = codec.decode(bytes(altered[split + 1 :]), 8, bytes(altered[:split]))
        except StateCorruptError:
            return
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("name", ["webp-lossless", "webp:50", "jpeg:50"])
def test_an_encoder_that_writes_another_form_is_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = codecs._saved
    codec_named(name).shared_header(8)
    monkeypatch.setattr(codecs, "_saved", lambda *a, **k: save(*a, **k)[:-1] + b"?\0")
    with pytest.raises(EdgecilError, match="--codec raw"):
        codec_named(name).encode(pictures(1, 8)[0])
