"""A run that goes on takes from its beginning what was measured then, and nothing that is asked."""

from dataclasses import replace
from typing import Any

import pytest

from edgecil.planning.data_facts import facts_of
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import resolve
from edgecil.training.resuming import as_begun
from edgecil.training.settings import RunSettings
from tests.edgecil.training.tiny import tiny_dataset


def request(**more: Any) -> TrainRequest:
    return TrainRequest(data="tiny", budget="1MB", increment=1, **more)


@pytest.fixture(scope="module")
def begun() -> RunSettings:
    """A run of MEMO with two blocks that shows 700 pictures a task, as was found for its time."""
    asked = request(backbone="convnet2", codec="raw", precision="int8", max_blocks=2)
    facts = facts_of(tiny_dataset(), asked.possible_codecs)
    return replace(resolve(asked, facts)[0], images_a_task=700)


def test_what_was_found_for_a_time_or_a_latency_is_taken_again(begun: RunSettings) -> None:
    found = {"backbone": "convnet2", "codec": "raw", "precision": "int8", "max_blocks": 2}
    assert as_begun(request(), begun) == request(**found)
    assert as_begun(request(time="1h"), begun) == request(**found, images_a_task=700)


@pytest.mark.parametrize(
    "asked",
    [
        {"backbone": "resnet14"},
        {"codec": "webp:75"},
        {"precision": "fp16"},
        {"max_blocks": 3},
        {"images_a_task": 300},
        {"epochs": 5},
    ],
    ids=str,
)
def test_what_is_asked_for_stays_and_is_compared(begun: RunSettings, asked: dict[str, Any]) -> None:
    again = as_begun(request(**asked), begun)
    assert {name: getattr(again, name) for name in asked} == asked


@pytest.mark.parametrize(
    "asked", [{"method": "replay"}, {"no_merge": True}, {"accounting": "published"}], ids=str
)
def test_a_bound_that_nobody_gave_stands_against_nothing(
    begun: RunSettings, asked: dict[str, Any]
) -> None:
    assert as_begun(request(time="1h", **asked), begun).max_blocks is None
