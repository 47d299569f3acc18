"""The self-test, with golden logits worked out in float64 by hand."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgecil_devices.blobs import Blob
from edgecil_devices.bundle import Bundle, complete
from edgecil_devices.errors import BundleCorruptError, SelfTestError
from edgecil_devices.package import pack, read_package
from edgecil_devices.selftest import SelfTest, self_test

PIXELS = np.random.default_rng(3).integers(0, 256, (4, 8, 8, 3), np.uint8)


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def with_golden(tiny: Any, logits: Any, **changes: Any) -> Bundle:
    golden = {
        "golden-pixels.npy": ("golden-pixels", npy(PIXELS)),
        "golden-logits.npy": ("golden-logits", npy(logits.astype(np.float32))),
    }
    blobs = tiny.blobs() | {name: data for name, (_, data) in golden.items()}
    more = tuple(Blob.of(name, role, data) for name, (role, data) in golden.items())
    manifest = tiny.manifest()
    manifest = replace(manifest, blobs=manifest.blobs + more, **changes)
    return complete(read_package(pack(manifest, blobs)), {})


def test_a_bundle_that_computes_what_it_should_passes(tiny: Any) -> None:
    found = self_test(with_golden(tiny, tiny.logits(PIXELS)), threads=1)
    assert found.samples == 4
    assert 0 <= found.max_difference < 1e-5


@pytest.mark.parametrize("sample", [0, 3])
def test_one_logit_of_one_sample_is_enough_to_fail(tiny: Any, sample: int) -> None:
    logits = tiny.logits(PIXELS)
    scale = max(1.0, np.abs(logits).max())
    logits[sample, 1] += 0.003 * scale
    with pytest.raises(SelfTestError, match=r"differ by [23]\.\de-03 of the largest, more than"):
        self_test(with_golden(tiny, logits), threads=1)
    self_test(with_golden(tiny, logits, tolerance=0.01), threads=1)


def test_swapped_classes_do_not_pass(tiny: Any) -> None:
    with pytest.raises(SelfTestError, match="install another version of onnxruntime"):
        self_test(with_golden(tiny, tiny.logits(PIXELS)[:, ::-1]), threads=1)


def test_a_bundle_without_golden_samples_has_to_run_at_least(tiny: Any) -> None:
    bundle = complete(read_package(pack(tiny.manifest(), tiny.blobs())), {})
    assert self_test(bundle, threads=1) == SelfTest(0, 0.0)


def test_a_golden_blob_that_is_no_array_is_refused(tiny: Any) -> None:
    bundle = with_golden(tiny, tiny.logits(PIXELS))
    broken = replace(bundle, blobs=bundle.blobs | {"golden-logits.npy": b"no array"})
    with pytest.raises(BundleCorruptError, match=r"golden-logits\.npy is not an array"):
        self_test(broken, threads=1)


@pytest.mark.parametrize("kept", [("golden-pixels",), ("golden-logits",)])
def test_one_half_of_the_golden_samples_makes_no_manifest(tiny: Any, kept: tuple[str, ...]) -> None:
    manifest = with_golden(tiny, tiny.logits(PIXELS)).manifest
    blobs = tuple(b for b in manifest.blobs if "golden" not in b.role or b.role in kept)
    with pytest.raises(BundleCorruptError, match="golden samples or none"):
        replace(manifest, blobs=blobs)
