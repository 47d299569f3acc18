"""What `--unknown` makes of a device that was taught: thresholds are of the release's classes."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgecil_devices import Classifier, UsageError
from edgecil_devices.bundle import read_bundle
from edgecil_devices.package import pack
from edgecil_devices.teaching_facts import UnknownFacts
from tests.devices.teaching.colours import COLOURS, RED, Pixels, pictures, save_teachable

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork


def with_threshold(path: Path, energy: float) -> Path:
    """The bundle, with the same threshold whatever part of known pictures is to pass."""
    bundle = read_bundle(path)
    facts = UnknownFacts((energy,) * 101, 0.9, 50)
    path.write_bytes(pack(replace(bundle.manifest, unknown=facts), bundle.blobs))
    return path


def test_what_was_taught_is_known_however_little_the_release_makes_of_it(
    tiny: "TinyNetwork", tmp_path: Path
) -> None:
    bundle = with_threshold(save_teachable(tiny, tmp_path / "tiny.edgecil"), 1e6)
    classifier = Classifier.load(bundle)
    seen = pictures(RED, 30, 9)
    assert not any(classifier.knows(one) for one in classifier.predict(seen))
    classifier.teach("mug", pictures(RED, 10))
    found = list(classifier.predict(seen))
    assert {one.label for one in found} == {"mug"}
    assert all(classifier.knows(one) for one in found)
    assert not classifier.knows(classifier.predict(pictures(COLOURS[0], 1, 9)[0]))


@pytest.mark.parametrize("rules", ["trained", "statistics"])
def test_what_is_taken_for_a_class_of_the_release_is_as_known_as_before_teaching(
    tiny: "TinyNetwork", tmp_path: Path, rules: str
) -> None:
    path = save_teachable(tiny, tmp_path / "tiny.edgecil", rules)
    picture = nearly_taught(path)
    logits = tiny.logits(picture[np.newaxis])[0]
    energy = np.log(np.exp(logits - logits.max()).sum()) + logits.max()
    for threshold, known in ((energy - 0.01, True), (energy + 0.01, False)):
        classifier = Classifier.load(with_threshold(path, threshold))
        found = classifier.predict(picture)
        assert not found.taught
        assert found.energy == pytest.approx(energy, rel=3e-6)  # of logits in float32
        assert classifier.knows(found) is known


def nearly_taught(path: Path) -> Pixels:
    """Teach what looks as a class of the release does, and take a picture that just stays its."""
    classifier = Classifier.load(path)
    classifier.teach("leaf", pictures(COLOURS[0], 10, 5))
    shares = []
    for picture in pictures(COLOURS[0], 30, 9):
        scores = {one.label: one.score for one in classifier.predict(picture).top}
        if scores["leaf"] < scores["ape"]:
            shares.append((scores["leaf"], picture))
    share, picture = max(shares, key=lambda one: one[0])
    assert share > 0.1
    return picture


def test_without_thresholds_a_taught_class_is_refused_too(
    tiny: "TinyNetwork", tmp_path: Path
) -> None:
    classifier = Classifier.load(save_teachable(tiny, tmp_path / "tiny.edgecil"))
    classifier.teach("mug", pictures(RED, 10))
    with pytest.raises(UsageError, match="export it with --teachable"):
        classifier.knows(classifier.predict(pictures(RED, 1, 9)[0]))
