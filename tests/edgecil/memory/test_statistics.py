"""Statistics of classes come back from their file, or are refused."""

import numpy as np
import pytest

from edgecil.errors import StateCorruptError
from edgecil.memory.statistics import decode, encode, encoded_size
from edgecil.memory.tensorfile import Array, read_tensors, write_tensors
from edgecil_devices.closed_form import ClassStatistics

C, F = 3, 5


def statistics_of(magnitude: float = 1.0) -> ClassStatistics:
    draw, found = np.random.default_rng(0), ClassStatistics.empty(F)
    for label in range(C):
        found = found.added(magnitude * draw.normal(label, 1, (4 + label, F)), label)
    return found


@pytest.mark.parametrize(("precision", "digits"), [("fp32", 2e-7), ("fp16", 1e-3), ("int8", 1e-3)])
@pytest.mark.parametrize("magnitude", [1e-9, 1.0, 1e9])
def test_they_come_back_whatever_their_magnitude(
    precision: str, digits: float, magnitude: float
) -> None:
    statistics = statistics_of(magnitude)
    blob = encode(statistics, precision)
    back = decode(blob, C, F)
    assert (back.counts == statistics.counts).all()
    for found, written in (
        (back.means, statistics.means),
        (back.covariance, statistics.covariance),
    ):
        np.testing.assert_allclose(found, written, atol=digits * np.abs(written).max())
    assert encode(back, precision) == blob


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_their_size_is_known_before(precision: str) -> None:
    assert encoded_size(C, F, precision) == len(encode(statistics_of(), precision))


def test_half_precision_takes_half_the_bytes() -> None:
    # 100 classes of 640 features, as ondevice tables have them: 128,000 and 410,240 bytes in fp16.
    header_bytes = 8 + 300
    assert abs(encoded_size(100, 640, "fp16") - 128_000 - 410_240 - 400) < header_bytes
    assert encoded_size(100, 640, "fp32") > 1.99 * encoded_size(100, 640, "fp16")


def altered(**changes: Array) -> bytes:
    return write_tensors(read_tensors(encode(statistics_of(), "fp32")) | changes)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        encode(statistics_of(), "fp32")[:-1],
        altered(counts=np.zeros(C, np.uint32)),
        altered(counts=np.ones(C + 1, np.uint32)),
        altered(counts=np.ones(C, np.float32)),
        altered(means=np.full(C * F, np.nan, np.float32)),
        altered(means=np.zeros(C * F, np.float16)),
        altered(triangle=np.full(F * (F + 1) // 2, -1, np.float32)),
        altered(scales=np.array([1, np.inf], np.float32)),
        altered(scales=np.ones(1, np.float32)),
        altered(more=np.ones(1, np.float32)),
    ],
)
def test_what_no_pictures_can_have_is_refused(blob: bytes) -> None:
    with pytest.raises(StateCorruptError):
        decode(blob, C, F)


@pytest.mark.parametrize(("classes", "features"), [(C + 1, F), (C, F + 1), (F, C)])
def test_those_of_another_state_are_refused(classes: int, features: int) -> None:
    with pytest.raises(StateCorruptError, match="does not fit"):
        decode(encode(statistics_of(), "fp16"), classes, features)
