"""Candidates for exemplars: in herding order, of which no more is found than is wanted."""

import numpy as np
import pytest
import torch
from torch import Tensor

from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import EncodedPictures, ExemplarSet
from edgecil.memory.herding import herd
from edgecil.planning import candidates
from edgecil.planning.candidates import Candidates, Offer
from tests.edgecil.training.tiny import SIZE_PX, tiny_dataset

COUNT = 12
CODEC = codec_named("raw")


def by_the_text(features: np.ndarray) -> list[int]:
    """The order of herding: each brings the mean of all chosen closest to that of the class."""
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    order: list[int] = []
    while rest := sorted(set(range(len(units))) - set(order)):
        means = np.stack([units[[*order, one]].mean(axis=0) for one in rest])
        order.append(rest[int(np.linalg.norm(means - units.mean(axis=0), axis=1).argmin())])
    return order


@pytest.fixture
def herded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many were chosen each time."""
    counts: list[int] = []

    def counted(features: Tensor, count: int) -> Tensor:
        counts.append(count)
        return herd(features, count)

    monkeypatch.setattr(candidates, "herd", counted)
    return counts


def test_exemplars_are_the_first_in_herding_order_however_many_are_asked_for(
    herded: list[int],
) -> None:
    pictures = EncodedPictures.of(tiny_dataset(classes=1, train=COUNT).train, CODEC)
    features = np.abs(np.random.default_rng(0).standard_normal((COUNT, 5)))
    some = Candidates(pictures, torch.from_numpy(features), CODEC)
    order = by_the_text(features)
    for count, known in ((3, 3), (5, 5), (4, 5), (COUNT + 1, COUNT), (COUNT + 9, COUNT)):
        some.encode_to(count)
        assert some.payloads == [pictures.payloads[one] for one in order[:known]]
        assert some.exhausted == (known == COUNT)
    assert herded == [3, 5, COUNT + 1]


def test_no_more_are_chosen_than_the_bytes_may_hold(herded: list[int]) -> None:
    pictures = EncodedPictures.of(tiny_dataset(classes=1, train=100).train, CODEC)
    some = Candidates(pictures, torch.rand(100, 5), CODEC)
    offer = Offer(ExemplarSet.empty(CODEC, SIZE_PX), [some])
    assert offer.by_quota(5).counts.tolist() == [5]
    assert herded == [5]
    raw_bytes = len(pictures.payloads[0])
    assert 0 < offer.filling(10 * raw_bytes).counts[0] <= 10
    assert max(herded) < 30
