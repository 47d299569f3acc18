"""How weights are rounded, against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgecil.errors import ExportError, UsageError
from edgecil_export import ExportRequest
from edgecil_export.precision import Floats, store, store_head, to_half


def matrix(*rows: list[float]) -> Floats:
    return np.array(rows, np.float32)


def test_int8_gives_every_output_channel_a_step_of_its_own() -> None:
    stored = store(matrix([1.27, -0.5, 0.0], [-254, 100, 1]), "int8")
    assert stored.values.tolist() == [[127, -50, 0], [-127, 50, 0]]  # 0.5 rounds to even
    assert stored.scales is not None
    assert stored.scales.tolist() == pytest.approx([0.01, 2.0])
    expected = matrix([1.27, -0.5, 0], [-254, 100, 0])
    np.testing.assert_allclose(stored.restored, expected, rtol=1e-6)


def test_a_channel_of_zeros_stays_zero() -> None:
    assert store(matrix([0, 0], [1, 2]), "int8").restored[0].tolist() == [0, 0]


def test_fp16_keeps_eleven_bits() -> None:
    stored = store(matrix([1 + 2**-10, 1 + 2**-12], [0.5, 0.0]), "fp16")
    assert stored.values.dtype == np.float16
    assert stored.restored.tolist() == [[1 + 2**-10, 1.0], [0.5, 0.0]]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_vectors_and_per_channel_factors_stay_as_they_are(precision: str) -> None:
    for shape in ((3,), (1, 3, 1, 1)):
        vector = np.full(shape, 1 / 3, np.float32)
        stored = store(vector, precision)
        assert stored.values.dtype == np.float32
        np.testing.assert_array_equal(stored.restored, vector)


@pytest.mark.parametrize(
    ("precision", "kept"), [("fp32", np.float32), ("fp16", np.float16), ("int8", np.float16)]
)
def test_a_head_is_rounded_to_half_precision_but_in_fp32(precision: str, kept: type) -> None:
    stored = store_head(matrix([1 + 2**-12, 0.5], [3, -4]), precision)
    assert stored.values.dtype == kept
    expected = [[1 + 2**-12 if kept is np.float32 else 1.0, 0.5], [3, -4]]
    assert stored.restored.tolist() == expected


def test_a_head_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ExportError, match="the head holds values that are not finite"):
        store_head(matrix([np.inf, 1.0]), "fp16")


def test_what_half_precision_cannot_hold_is_refused() -> None:
    with pytest.raises(ExportError, match="too large for .*--compute fp32 --weights fp32"):
        to_half(matrix([65520.0]))


def test_an_unknown_precision_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match="unknown weights 'fp8'; choose one of: fp32, fp16, int8"):
        ExportRequest(weights="fp8")


@given(arrays(np.float32, (4, 3, 2), elements=st.floats(-(2.0**20), 2.0**20, width=32)))
def test_int8_is_never_off_by_more_than_half_a_step(weight: Floats) -> None:
    stored = store(weight, "int8")
    assert stored.scales is not None
    half_step = stored.scales.astype(np.float64)[:, None, None] / 2
    error = np.abs(stored.restored.astype(np.float64) - weight)
    assert (error <= half_step * (1 + 1e-5)).all()
