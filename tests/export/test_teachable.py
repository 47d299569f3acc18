"""What a bundle brings for devices that are taught: right numbers, and few bytes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgecil.data import Split
from edgecil.errors import ExportError
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State
from edgecil_devices import Classifier
from edgecil_devices.bundle import read_bundle
from edgecil_devices.errors import BundleCorruptError
from edgecil_devices.images import Preprocessing, read_pixels
from edgecil_devices.runtime import Runtime
from edgecil_devices.teaching.head import Covariance, KnownClasses, Prototype, TaughtHead
from edgecil_devices.teaching.statistics import MOST_DIRECTIONS, packed, unpacked
from edgecil_devices.teaching.teacher import encoded
from edgecil_export import export
from edgecil_export.accuracy_loss import Sample
from edgecil_export.contents import contents_in_fp32
from edgecil_export.golden import npy
from edgecil_export.opened_run import OpenedRun
from edgecil_export.request import ExportRequest
from edgecil_export.teachable import (
    HeldOutAnswers,
    area_under_curve,
    blended_logits,
    blended_pairs,
    unknown_facts,
)
from tests.export.conftest import pictures

TEACHABLE = ExportRequest(teachable=True)


def test_statistics_are_those_of_the_exemplars_features(run: Path, tmp_path: Path) -> None:
    state = State.read(run / "state")
    network = state.network()
    pixels = torch.from_numpy(state.exemplars.pictures.pixels()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        features = network.features(pixels).double().numpy()
    labels = state.exemplars.labels()
    groups = [features[labels == c] for c in range(5)]
    pooled = sum((len(g) - 1) * np.cov(g.T) for g in groups) / (len(features) - 5)

    export(run, tmp_path / "b.edgecil", TEACHABLE)
    bundle = read_bundle(tmp_path / "b.edgecil")
    assert bundle.manifest.statistics is not None
    assert bundle.manifest.teaching is not None
    blob = bundle.blobs[bundle.manifest.statistics.name]
    found = unpacked(blob, "statistics.npy", bundle.manifest.teaching, features.shape[1])
    np.testing.assert_allclose(
        found.means, [g.mean(axis=0) for g in groups], atol=2e-3 * np.abs(features).max()
    )
    assert list(found.counts) == [len(g) for g in groups]
    factors = found.covariance.factors
    dense = factors.T @ factors + found.covariance.rest * np.eye(features.shape[1])
    # 128 features of 20 pictures: 15 directions are all there are.
    np.testing.assert_allclose(dense, pooled, atol=5e-3 * np.abs(pooled).max())
    assert found.covariance.trace == pytest.approx(np.trace(pooled), rel=1e-2)


def test_only_a_bundle_that_asks_for_it_has_them_and_the_newer_format(
    run: Path, tmp_path: Path
) -> None:
    export(run, tmp_path / "plain.edgecil")
    export(run, tmp_path / "taught.edgecil", TEACHABLE)
    plain, taught = (read_bundle(tmp_path / f"{name}.edgecil") for name in ("plain", "taught"))
    assert (plain.manifest.format_number, taught.manifest.format_number) == (1, 2)
    assert b'"teaching"' not in plain.manifest_json
    assert taught.blobs.items() >= plain.blobs.items()
    assert [blob.role for blob in taught.manifest.blobs][-3:] == [
        "statistics",
        "golden-pixels",
        "golden-logits",
    ]
    export(run, tmp_path / "again.edgecil", TEACHABLE)
    assert (tmp_path / "again.edgecil").read_bytes() == (tmp_path / "taught.edgecil").read_bytes()


def test_a_device_teaches_with_these_very_statistics(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "b.edgecil", TEACHABLE)
    bundle = read_bundle(tmp_path / "b.edgecil")
    runtime = Runtime(bundle, 1)
    drawn = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    pictures = drawn.repeat(2, axis=1)[:, :16]  # in JPEG they lose little
    classifier = Classifier.load(tmp_path / "b.edgecil", 1)
    classifier.teach("stripes", list(pictures[:6]))

    kept = [read_pixels(encoded(one), bundle.manifest.preprocessing) for one in pictures[:6]]
    features = runtime.run(np.stack(kept)).features.astype(np.float64)
    assert bundle.manifest.teaching is not None
    known = unpacked(
        bundle.blobs["statistics.npy"], "s", bundle.manifest.teaching, features.shape[1]
    )
    seen = runtime.run(pictures[7:])
    logits = TaughtHead(known, [Prototype(features, None)]).logits(seen.features, seen.logits)[0]
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    found = {one.label: one.score for one in classifier.predict(pictures[7], top=6).top}
    assert found["stripes"] == pytest.approx(expected[5], rel=1e-4)
    assert found["eel"] == pytest.approx(expected[4], rel=1e-4)


def test_a_state_without_exemplars_has_no_statistics(run: Path, tmp_path: Path) -> None:
    state = State.read(run / "state")
    none = ExemplarSet.empty(state.exemplars.codec, 16).with_new_classes([()] * 5)
    State(state.settings, state.parts, none).write(run / "state", None)
    with pytest.raises(ExportError, match="keeps none of 'ape'; export without --teachable"):
        export(run, tmp_path / "b.edgecil", TEACHABLE)


@pytest.mark.parametrize("classes", [1, 7])
def test_what_is_packed_is_unpacked_to_the_precision_of_float16(classes: int) -> None:
    random = np.random.default_rng(0)
    factors = random.normal(size=(MOST_DIRECTIONS, 100)) * 1e-4
    known = KnownClasses(
        random.normal(size=(classes, 100)) * 1e5,
        np.arange(1.0, classes + 1),
        Covariance(factors, 1e-9),
        0.3,
        0.5,
    )
    table, facts = packed(known)
    found = unpacked(npy(table), "s", facts, 100)
    np.testing.assert_allclose(found.means, known.means, atol=1e-3 * np.abs(known.means).max())
    np.testing.assert_allclose(found.covariance.factors, factors, atol=1e-3 * factors.max())
    assert (found.shrinkage, found.tau, found.covariance.rest) == (0.3, 0.5, 1e-9)


@pytest.mark.parametrize(
    "table",
    [
        np.zeros((4, 100), np.float16),
        np.zeros((6, 99), np.float16),
        np.zeros((5 + MOST_DIRECTIONS + 1, 100), np.float16),
        np.zeros(100, np.float16),
        np.full((6, 100), np.inf, np.float16),
        np.zeros((6, 100), np.float32),
    ],
)
def test_other_tables_are_refused(table: NDArray[np.float16]) -> None:
    known = KnownClasses(np.ones((5, 100)), np.ones(5), Covariance(np.ones((1, 100)), 1.0), 0, 1)
    with pytest.raises(BundleCorruptError, match="export"):
        unpacked(npy(table), "s", packed(known)[1], 100)


def test_the_area_is_the_chance_that_a_known_picture_scores_higher() -> None:
    known, unknown = np.array([3.0, 1, 2]), np.array([1.0, 0])
    pairs = [(k > u) + (k == u) / 2 for k in known for u in unknown]
    assert area_under_curve(known, unknown) == pytest.approx(np.mean(pairs))


def test_thresholds_let_pass_as_many_known_pictures_as_they_say() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 250)
    logits = random.normal(size=(1000, 4)).astype(np.float32)
    logits[np.arange(1000), labels] += 4
    held_out = HeldOutAnswers(np.zeros((1000, 1), np.float32), logits, labels)
    facts = unknown_facts(held_out, random.normal(size=(100, 4)).astype(np.float32))
    energies = np.log(np.exp(logits.astype(np.float64)).sum(axis=1))
    for percent in (50, 90, 95, 99.5):
        passing = 100 * np.mean(energies >= facts.threshold(percent))
        assert passing == pytest.approx(percent, abs=0.6)
    assert facts.pictures == 1000
    assert 0.9 < facts.auroc <= 1


@pytest.mark.parametrize(
    "labels",
    [
        np.repeat(np.arange(30), 100),
        np.tile(np.arange(30), 100),
        np.repeat([0, 1], [900, 100]),
        np.array([0, 1, 2, 0, 1]),
    ],
)
def test_blends_are_of_two_classes_and_every_class_is_in_some(labels: NDArray[np.int64]) -> None:
    first, second = blended_pairs(labels)
    assert (labels[first] != labels[second]).all()
    assert {*labels[first], *labels[second]} == {*labels}
    assert len(first) <= 1000
    if len(labels) == 3000:
        assert len(first) > 900
        assert len({*zip(labels[first], labels[second], strict=True)}) > 100


def test_blended_logits_are_those_of_pictures_half_of_each(run: Path) -> None:
    labels = np.repeat(np.arange(5), 4)
    split = Split(pictures(), labels, Preprocessing(16))
    opened = OpenedRun.read(run)
    contents = contents_in_fp32(opened, "fp32")
    found = blended_logits(Sample(split, np.arange(20), labels, "test"), contents)
    means = [
        (pictures()[i].astype(int) + pictures()[j].astype(int)) // 2
        for i, j in zip(*blended_pairs(labels), strict=True)
    ]
    expected = opened.logits(np.stack(means).astype(np.uint8))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_bundle_of_one_class_claims_to_tell_nothing_apart() -> None:
    labels = np.zeros(20, np.int64)
    held_out = HeldOutAnswers(np.ones((20, 2), np.float32), np.ones((20, 1), np.float32), labels)
    assert len(blended_pairs(labels)[0]) == 0
    assert unknown_facts(held_out, np.zeros((0, 1), np.float32)).auroc == 0.5
