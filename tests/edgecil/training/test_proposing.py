"""Photos are learned behind a pretrained trunk where it serves them and nothing else is asked."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecil.data import ImageDataset
from edgecil.training import proposing
from edgecil.training.proposing import proposed
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import load_requested, resolve

LITE0 = "efficientnet-lite0"
PHOTOS = 6
"""Pictures of a class; one of them is for the test."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for name in ("cup", "fork"):
        (folder / name).mkdir()
        for number in range(PHOTOS):
            pixels = draw.integers(0, 256, (90, 120, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(autouse=True)
def extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposing, "find_spec", lambda name: name)


def asked(photos: Path, **more: Any) -> tuple[TrainRequest, ImageDataset]:
    request = TrainRequest(data=str(photos), **{"budget": "4MB"} | more)
    return request, load_requested(request)


def test_few_photos_are_brought_to_the_size_of_the_pretrained_network(photos: Path) -> None:
    request, dataset = asked(photos)
    assert dataset.image_size_px == 88
    found = proposed(request, dataset)
    assert found.request == replace(request, backbone=LITE0, method="slda")
    assert "comes pretrained" in found.reason
    assert "5 photos a class" in found.reason
    assert "--method memo keeps pictures" in found.reason
    settings, planned, _ = resolve(found.request, found.facts)
    assert (settings.image_size_px, planned.cut, settings.precision) == (224, "b14-copied", "int8")
    loaded = load_requested(replace(request, backbone=LITE0, method="slda"))
    assert found.dataset.fingerprint == loaded.fingerprint
    assert (found.dataset.test.pixels() == loaded.test.pixels()).all()
    assert (found.dataset.train.pixels([1, 3]) == loaded.train.pixels([1, 3])).all()


def test_photos_that_are_kept_are_smaller(photos: Path) -> None:
    found = proposed(*asked(photos, method="memo"))
    assert found.dataset.image_size_px == found.facts.image_size_px == 128
    assert "px" not in found.reason
    without = proposed(*asked(photos)).reason
    assert "brought to 224 px" in without
    assert "--image-size 128 takes a device about 33 % of the time" in without
    assert "px" not in proposed(*asked(photos, image_size_px=160)).reason
    for method, size_px in (("slda", 224), ("memo", 128)):
        assert asked(photos, backbone=LITE0, method=method)[1].image_size_px == size_px


def test_a_size_that_is_named_and_that_of_a_run_that_goes_on_are_left(photos: Path) -> None:
    request, _ = asked(photos, backbone=LITE0, image_size_px=144)
    dataset = load_requested(request)
    found = proposed(request, dataset)
    assert found.dataset.image_size_px == 144
    begun, _, _ = resolve(request, found.facts)
    going_on, dataset = asked(photos)
    assert proposed(going_on, dataset, begun=begun).dataset.image_size_px == 144


def test_pictures_are_kept_behind_a_shallower_cut_where_bytes_are_few(photos: Path) -> None:
    found = proposed(*asked(photos, budget="2MB"))
    assert found.request.chosen_method == "memo"
    assert re.search(r"\nslda .* has room from --budget [\d.]+MB on$", found.reason)
    assert resolve(found.request, found.facts)[1].cut == "b10"


@pytest.mark.parametrize(
    "more",
    [
        {"method": "memo"},
        {"method": "replay"},
        {"codec": "webp:90"},
        {"max_blocks": 5},
        {"no_merge": True},
        {"epochs": 3},
        {"first_epochs": 3},
        {"images_a_task": 300},
        {"learning_rate": 0.01},
        {"batch_size": 4},
        {"augmentation": "randaugment"},
        {"recipe": "frozen"},
        {"trunk": "freeze"},
    ],
    ids=lambda more: str(more),
)
def test_pictures_are_kept_where_something_is_asked_for_that_needs_them(
    photos: Path, more: dict[str, Any]
) -> None:
    request, dataset = asked(photos, **more)
    found = proposed(request, dataset)
    assert found.request == replace(request, backbone=LITE0)
    assert "slda" not in found.reason


def test_a_time_and_where_pictures_are_go_without_keeping_them(photos: Path) -> None:
    for more in ({"time": "1h"}, {"no_mirror": True}, {"precision": "int8"}, {"holdout": 0.3}):
        assert proposed(*asked(photos, **more)).request.method == "slda"


def test_blocks_that_a_latency_bounds_are_added(photos: Path) -> None:
    request, dataset = asked(photos)
    assert proposed(request, dataset, bounded=True).request == replace(request, backbone=LITE0)


@pytest.mark.parametrize("extra_is_there", [True, False])
def test_small_pictures_are_left_to_small_networks_and_a_line_says_what_would_learn_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, extra_is_there: bool
) -> None:
    monkeypatch.setattr(proposing, "find_spec", lambda name: extra_is_there or None)
    for blue, name in enumerate(("cup", "fork")):
        (tmp_path / name).mkdir()
        for number in range(PHOTOS):
            Image.new("RGB", (32, 32), (number, 9, blue)).save(tmp_path / name / f"{number}.png")
    request, dataset = asked(tmp_path)
    found = proposed(request, dataset)
    assert (found.request, found.dataset) == (request, dataset)
    assert "of 32 px" in found.reason
    assert found.reason.endswith(f"--backbone {LITE0} --method slda")
    assert ("pip install" in found.reason) != extra_is_there
    # Not where there are many, or where what they are learned by is named.
    monkeypatch.setattr(proposing, "MOST_WITHOUT_PICTURES", PHOTOS - 2)
    assert proposed(request, dataset) == replace(found, reason="")
    assert proposed(*asked(tmp_path, backbone="convnet2")).reason == ""


def test_many_photos_a_class_are_rehearsed_sooner_where_they_come_at_once(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposing, "MOST_WITHOUT_PICTURES", PHOTOS - 2)

    def method(**more: Any) -> str:
        found = proposed(*asked(photos, **more))
        assert found.request.backbone == LITE0
        return found.request.chosen_method

    assert method() == "memo"
    assert method(increment=1) == method(tasks_ahead=1) == method(method="slda") == "slda"


@pytest.mark.parametrize(
    "more",
    [
        {"backbone": "convnet4"},
        {"image_size_px": 64},
        {"image_size_px": 256},
        {"cut": "last"},
        {"method": "memo-2"},
        {"trunk": "train"},
        {"accounting": "published"},
    ],
    ids=lambda more: str(more),
)
def test_what_is_asked_for_stands_against_it(photos: Path, more: dict[str, Any]) -> None:
    request, dataset = asked(photos, **more)
    found = proposed(request, dataset)
    assert (found.request, found.dataset, found.reason) == (request, dataset, "")


def test_a_budget_without_room_for_the_trunk_is_told_the_smallest_that_has(photos: Path) -> None:
    request, dataset = asked(photos, budget="800kB")
    found = proposed(request, dataset)
    assert (found.request, found.dataset) == (request, dataset)
    assert "would learn more of 5 photos a class" in found.reason
    (budget,) = re.findall(r"has room from --budget ([\d.]+MB) on$", found.reason)
    assert proposed(*asked(photos, budget=budget)).request.method == "slda"
    less = f"{float(budget[:-2]) - 0.1:.1f}MB"
    assert proposed(*asked(photos, budget=less)).request.method is None


def test_many_photos_a_class_are_learned_from_scratch(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposing, "MOST_IMAGES_PER_CLASS", PHOTOS - 2)
    assert proposed(*asked(photos)).request.backbone is None


def test_where_the_extra_is_missing_one_line_says_how_to_get_it(
    photos: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(proposing, "find_spec", lambda name: None)
    request, dataset = asked(photos)
    with caplog.at_level(logging.WARNING, "edgecil"):
        assert proposed(request, dataset).request.backbone is None
    (line,) = caplog.messages
    assert line.endswith("run: pip install 'edgecil[pretrained]'")
    assert "85 % and more instead of 48" in line


def test_a_run_goes_on_with_what_it_began_with(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, dataset = asked(photos)
    found = proposed(request, dataset)
    begun, _, _ = resolve(found.request, found.facts)
    monkeypatch.setattr(proposing, "find_spec", lambda name: None)
    again = proposed(request, dataset, begun=begun)
    assert begun.differences(resolve(again.request, again.facts)[0]) == []
    from_scratch = replace(begun, backbone="convnet4")
    monkeypatch.setattr(proposing, "find_spec", lambda name: name)
    assert proposed(request, dataset, begun=from_scratch).request.backbone is None


@pytest.mark.parametrize("method", ["slda", "finetune"])
def test_no_codec_is_tried_for_pictures_that_are_not_kept(method: str) -> None:
    assert TrainRequest(data="photos", budget="5MB", method=method).possible_codecs == (
        "webp-lossless",
    )
    assert TrainRequest(
        data="photos", budget="5MB", method=method, codec="raw"
    ).possible_codecs == ("raw",)
    assert len(TrainRequest(data="photos", budget="5MB", method="memo").possible_codecs) > 3
