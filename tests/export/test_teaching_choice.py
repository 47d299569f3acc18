"""How devices are to learn: decided on held-out pictures, and only where these say it clearly.

Pictures are features that are drawn: each class is normal around a mean, all with one covariance.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecil_devices import Classifier
from edgecil_devices.bundle import read_bundle
from edgecil_devices.closed_form import ClassStatistics, Floats
from edgecil_devices.teaching.head import Covariance, KnownClasses, Prototype, TaughtHead
from edgecil_export import exporter
from edgecil_export.accuracy_loss import TEST_PICTURES, Sample
from edgecil_export.request import ExportRequest
from edgecil_export.teachable import HeldOutAnswers
from edgecil_export.teaching_choice import (
    Comparison,
    chosen,
    heads_compared,
    taught_accuracies,
)
from tests.export.conftest import pictures

USUAL = (0.1, 0.5)


@dataclass
class World:
    """Classes as they are, with what a bundle says of them."""

    means: Floats
    """(C, F)."""
    noise: Floats
    """(F,), standard deviations of features within a class."""
    random: np.random.Generator

    @classmethod
    def drawn(
        cls, classes: int, size: int, noise: float, seed: int = 0, uneven: float = 1
    ) -> "World":
        """Means at random; the noise of the last feature is `uneven` times that of the first."""
        random = np.random.default_rng(seed)
        means = random.normal(size=(classes, size))
        return cls(means, noise * np.geomspace(1, uneven, size), random)

    def features(self, labels: NDArray[np.int64]) -> Floats:
        noise = self.random.normal(size=(len(labels), self.means.shape[1]))
        return self.means[labels] + self.noise * noise

    def known(self, count: int, shown: int) -> KnownClasses:
        """Statistics of the first classes, with so many pictures of each."""
        statistics = ClassStatistics.empty(self.means.shape[1])
        for label in range(count):
            statistics = statistics.added(self.features(np.full(shown, label)), label)
        counts = statistics.counts.astype(np.float64)
        covariance = Covariance.of(statistics.covariance, 64)
        return KnownClasses(statistics.means, counts, covariance, *USUAL)

    def ideal(self, features: Floats, count: int) -> Floats:
        """The logits of the best head there can be for the first classes."""
        means = self.means[:count]
        biases: Floats = np.sum((means / self.noise) ** 2, axis=1) / 2
        found: Floats = (features / self.noise**2) @ means.T - biases
        return found

    def held_out(self, count: int, of_class: int, wrong: float = 0) -> HeldOutAnswers:
        """Pictures of the first classes; `wrong` is noise in the logits of the trained head."""
        labels = np.repeat(np.arange(count), of_class)
        features = self.features(labels)
        logits = self.ideal(features, count)
        logits += wrong * self.random.normal(size=logits.shape)
        return HeldOutAnswers(features.astype(np.float32), logits.astype(np.float32), labels)


def settings_of(known: KnownClasses) -> tuple[float, float, str]:
    return known.shrinkage, known.tau, known.rules


def dull(held_out: HeldOutAnswers) -> HeldOutAnswers:
    """The same with logits half as large."""
    return replace(held_out, logits=held_out.logits * np.float32(0.5))


def test_accuracies_are_those_of_formulas_with_explicit_matrices() -> None:
    world = World.drawn(classes=6, size=8, noise=1.2)
    known, held_out = world.known(6, 15), world.held_out(6, 12)
    x, z = (array.astype(np.float64) for array in (held_out.features, held_out.logits))
    labels = held_out.labels
    factors = known.covariance.factors
    cov = factors.T @ factors + known.covariance.rest * np.eye(8)
    right: dict[int, list[float]] = {label: [] for label in range(6)}
    # The first of five parts has classes 0 and 5; of 12 pictures, 6 and 5 are taught.
    for left_out in ([0, 5], [1], [2], [3], [4]):
        old = [label for label in range(6) if label not in left_out]
        g = known.means[old].mean(axis=0)
        spread = np.mean([np.sum((known.means[c] - g) ** 2) for c in old])
        k = np.trace(cov) / (spread - np.trace(cov) / 15)
        inverse = np.linalg.inv(0.7 * cov + 0.3 * np.trace(cov) / 8 * np.eye(8))
        for places in (np.linspace(0, 11, 6).round(), np.linspace(0, 11, 5).round()):
            shown = {c: 12 * c + places.astype(int) for c in left_out}
            means = {c: (known.means[c], 15) for c in old}
            means |= {c: (x[shown[c]].mean(axis=0), len(places)) for c in left_out}
            s = np.full((len(x), 6), np.nan)
            for c, (mean, n) in means.items():
                shrunk = g + n / (n + k) * (mean - g)
                s[:, c] = 0.25 * (x @ inverse @ shrunk - shrunk @ inverse @ shrunk / 2)
            logits = z.copy()
            shift = np.log(np.exp(z[:, old]).sum(1)) - np.log(np.exp(s[:, old]).sum(1))
            logits[:, left_out] = s[:, left_out] + shift[:, None]
            answers = logits.argmax(axis=1)
            for c in range(6):
                others = np.setdiff1d(np.flatnonzero(labels == c), shown.get(c, []))
                right[c].append(100 * float(np.mean(answers[others] == c)))
    found = taught_accuracies(known, held_out)
    assert set(found) == {(r, tau) for r in (0.01, 0.1, 0.3, 0.5) for tau in (0.25, 0.5, 1.0)}
    np.testing.assert_allclose(found[0.3, 0.25], [np.mean(right[c]) for c in range(6)])
    assert found[0.3, 0.25].mean() < 100


def test_settings_that_are_better_for_new_classes_are_found_with_classes_left_out() -> None:
    """Classes that nobody has seen, taught as a device does it, want the same as those left out."""
    world = World.drawn(classes=30, size=32, noise=1.8)
    known = world.known(20, 100)
    found = chosen(known, world.held_out(20, 150)).known
    assert found.tau == 1  # both heads say logarithms of probabilities, so that they weigh alike
    labels = np.repeat(np.arange(30), 300)
    x = world.features(labels)
    logits = world.ideal(x, 20).astype(np.float32)
    new = [Prototype(world.features(np.full(20, label)), None) for label in range(20, 30)]
    right = [
        np.mean(TaughtHead(one, new).logits(x.astype(np.float32), logits).argmax(axis=1) == labels)
        for one in (found, known)
    ]
    assert right[0] > right[1] + 0.005


@pytest.mark.parametrize("seed", range(4))
def test_what_is_usual_stays_where_nothing_is_clearly_better(seed: int) -> None:
    """Logits half as sharp as probabilities want tau 0.5, and with little noise any r will do."""
    world = World.drawn(classes=8, size=32, noise=1, seed=seed, uneven=3)
    choice = chosen(world.known(8, 100), dull(world.held_out(8, 40)))
    assert settings_of(choice.known) == (*USUAL, "trained")
    assert "r 0.1, tau 0.5, the trained head decides" in choice.line()


def test_chance_does_not_decide() -> None:
    """In the same world with ten pictures a class, something is always ahead by a point."""
    ahead = []
    for seed in range(12):
        world = World.drawn(classes=8, size=32, noise=1, seed=seed, uneven=3)
        known, held_out = world.known(8, 100), dull(world.held_out(8, 10))
        means = {s: float(a.mean()) for s, a in taught_accuracies(known, held_out).items()}
        ahead.append(max(means.values()) - means[USUAL] > 0.2)
        assert settings_of(chosen(known, held_out).known) == (*USUAL, "trained")
    assert sum(ahead) >= 6


def test_the_closed_form_decides_where_the_trained_head_is_worse_and_not_otherwise() -> None:
    world = World.drawn(classes=10, size=32, noise=1.5)
    known = world.known(10, 100)
    good, bad = world.held_out(10, 40), world.held_out(10, 40, wrong=5)
    assert chosen(known, good).known.rules == "trained"
    found = chosen(known, bad)
    assert found.known.rules == "statistics"
    assert "the closed form decides among the release's classes" in found.line()
    compared = heads_compared(known, bad)
    factors = known.covariance.factors
    cov = factors.T @ factors + known.covariance.rest * np.eye(32)
    inverse = np.linalg.inv(0.9 * cov + 0.1 * np.trace(cov) / 32 * np.eye(32))
    g, spread = known.means.mean(axis=0), np.trace(cov)
    between = np.mean(np.sum((known.means - g) ** 2, axis=1))
    k = spread / (between - spread / 100)
    m = g + 100 / (100 + k) * (known.means - g)
    x = bad.features.astype(np.float64)
    answers = (x @ inverse @ m.T - np.diag(m @ inverse @ m.T) / 2).argmax(axis=1)
    by_class = (answers == bad.labels).reshape(10, 40).mean(axis=1)
    np.testing.assert_allclose(compared.rival, 100 * by_class)
    trained = (bad.logits.argmax(axis=1) == bad.labels).reshape(10, 40).mean(axis=1)
    np.testing.assert_allclose(compared.usual, 100 * trained)
    said = f"head {100 * trained.mean():.1f} %, closed form {100 * by_class.mean():.1f} %"
    assert said in found.line()


def test_where_the_closed_form_decides_the_shrinkage_is_chosen_and_tau_changes_nothing() -> None:
    world = World.drawn(classes=12, size=32, noise=0.7, uneven=10)  # want no shrinkage
    known = world.known(12, 100)
    held_out = world.held_out(12, 100, wrong=40)
    ruled = replace(known, rules="statistics")
    assert settings_of(chosen(known, held_out).known) == (0.01, 0.5, "statistics")
    assert set(taught_accuracies(ruled, held_out)) == {(r, 0.5) for r in (0.01, 0.1, 0.3, 0.5)}
    for tau in (0.25, 1.0):
        other = taught_accuracies(replace(ruled, tau=tau), held_out)
        for r in (0.01, 0.5):
            same = taught_accuracies(ruled, held_out)[r, 0.5]
            np.testing.assert_array_equal(other[r, tau], same)


@pytest.mark.parametrize(
    ("gains", "wins"),
    [
        ([1.0, 1, 1, 1], True),
        ([0.9, 0.9, 0.9, 0.9], False),
        ([3, 1, 2, 2], True),  # 2 +- 0.4
        ([8, -4, 6, -2], False),  # 2 +- 2.9
        ([-3, -1, -2, -2], False),
    ],
)
def test_a_rival_wins_by_a_point_and_twice_the_standard_error(
    gains: list[float], wins: bool
) -> None:
    usual = np.array([50.0, 60, 70, 80])
    assert Comparison(usual, usual + gains, 1.0).rival_wins is wins


@pytest.mark.parametrize(("classes", "of_class"), [(2, 50), (5, 9)])
def test_with_few_pictures_or_classes_all_is_as_usual(classes: int, of_class: int) -> None:
    world = World.drawn(classes=classes, size=16, noise=1.0)
    known, held_out = world.known(classes, 50), world.held_out(classes, of_class, wrong=50)
    found = chosen(known, held_out)
    assert found.known == known
    assert "as usual" in found.line()
    enough = World.drawn(classes=5, size=16, noise=1.0)
    assert chosen(enough.known(5, 50), enough.held_out(5, 10, wrong=50)).known.rules != "trained"


def test_the_order_of_classes_pictures_does_not_leave_any_class_out() -> None:
    """Labels come in any order, and classes with many pictures count as much as others."""
    world = World.drawn(classes=4, size=16, noise=1.0)
    known, held_out = world.known(4, 50), world.held_out(4, 60)
    kept = np.flatnonzero((held_out.labels != 1) | (np.arange(240) % 3 == 0))
    mixed = world.random.permutation(kept)
    one, other = (
        heads_compared(
            known,
            HeldOutAnswers(held_out.features[some], held_out.logits[some], held_out.labels[some]),
        )
        for some in (kept, mixed)
    )
    np.testing.assert_array_equal(one.rival, other.rival)


class Noisy:
    """Twelve pictures of each class, its exemplars with noise."""

    aspects = None

    def __init__(self) -> None:
        own = pictures().reshape(5, 4, 16, 16, 3)[:, [0, 1, 2, 3] * 3].reshape(60, 16, 16, 3)
        noise = np.random.default_rng(3).integers(-12, 13, own.shape)
        self._pixels: NDArray[np.uint8] = np.clip(own + noise, 0, 255).astype(np.uint8)

    def __len__(self) -> int:
        return len(self._pixels)

    def pixels(self, indices: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._pixels if indices is None else self._pixels[indices]
        return found


def test_an_export_decides_writes_it_down_and_says_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trained head of this run is drawn at random, so that the closed form is better."""
    request = ExportRequest(teachable=True)
    plain = exporter.export(run, tmp_path / "plain.edgecil", request)
    assert plain.manifest.teaching is not None
    assert plain.manifest.teaching.rules == "trained"
    # 128 features of 20 exemplars in 5 classes: 128 / (128 + 15).
    assert sum("teaching: r 0.9, tau 0.5, the trained head" in one for one in plain.lines()) == 1
    assert not [one for one in exporter.export(run, tmp_path / "x").lines() if "teaching" in one]

    labels = np.repeat(np.arange(5), 12)
    sample = Sample(Noisy(), np.arange(60), labels, TEST_PICTURES)
    monkeypatch.setattr(exporter, "held_out_sample", lambda *_: sample)
    report = exporter.export(run, tmp_path / "b.edgecil", request)
    exporter.export(run, tmp_path / "again.edgecil", request)
    assert (tmp_path / "b.edgecil").read_bytes() == (tmp_path / "again.edgecil").read_bytes()
    facts = read_bundle(tmp_path / "b.edgecil").manifest.teaching
    assert facts is not None
    assert facts.rules == "statistics"
    # Equal noise on every picture: its covariance is known from few.
    assert facts.shrinkage < plain.manifest.teaching.shrinkage
    usual = plain.manifest.teaching.shrinkage
    assert replace(facts, rules="trained", shrinkage=usual) == plain.manifest.teaching
    assert sum("the closed form decides" in one for one in report.lines()) == 1

    trained, ruled = (Classifier.load(tmp_path / f"{name}.edgecil") for name in ("plain", "b"))
    before = [ruled.predict(one).label for one in Noisy().pixels()]
    assert before == [trained.predict(one).label for one in Noisy().pixels()]
    far = list(np.random.default_rng(5).integers(0, 256, (5, 16, 16, 3), np.uint8))
    right = []
    for classifier in (trained, ruled):
        classifier.teach("stripes", far)
        answers = [classifier.predict(one).label for one in Noisy().pixels()]
        right.append(
            np.mean([one == classifier.classes[c] for one, c in zip(answers, labels, strict=True)])
        )
    assert right[1] > right[0] + 0.2
