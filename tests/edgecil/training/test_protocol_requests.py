"""A protocol settles what it is about, refuses what contradicts it, and leaves the rest open."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil.data.cifar100 import KNOWN
from edgecil.errors import DataError, UsageError
from edgecil.planning.data_facts import facts_without_data, imagenet_facts
from edgecil.planning.protocols import protocol_named
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import load_requested, resolve
from edgecil.training.settings import RunSettings
from edgecil_devices.preprocessing import AS_STORED

SMALLEST, LARGEST = "7998016", "24684160"


def settled(**asked: object) -> tuple[RunSettings, str]:
    request = TrainRequest(**asked)  # type: ignore[arg-type]
    settings, _, reason = resolve(request, facts_without_data(KNOWN, request.possible_codecs))
    return settings, reason


def test_data_tasks_order_recipe_and_backbone_come_from_the_protocol() -> None:
    settings, reason = settled(
        protocol="cifar100-b50-inc10", budget="17268096", accounting="published", method="der"
    )
    assert settings.protocol == "cifar100-b50-inc10"
    assert settings.sources[0].data == "cifar100"
    assert [len(task.classes) for task in settings.tasks] == [50, 10, 10, 10, 10, 10]
    order = [name for task in settings.tasks for name in task.classes]
    assert order[:5] == ["class-68", "class-56", "class-78", "class-08", "class-23"]
    assert (settings.recipe, settings.backbone) == ("published", "resnet32")
    assert reason == "resnet32 is the published backbone of der at this budget"


def test_in_a_given_time_no_published_recipe_is_shortened() -> None:
    asked = {"protocol": "cifar100-b0-inc10", "budget": SMALLEST, "method": "thrift"}
    assert settled(**asked, time="1h")[0].recipe == "fast"
    assert settled(**asked, time="1h", recipe="published")[0].recipe == "published"
    assert settled(**asked)[0].recipe == "published"
    # As many pictures for each method is a comparison of what was published.
    assert settled(**asked, images_a_task=50_000)[0].recipe == "published"


def test_brightness_is_varied_but_for_imagenet100() -> None:
    assert settled(protocol="cifar100-b0-inc10", budget=LARGEST)[0].brightens
    assert settled(data="cifar100", budget=LARGEST)[0].brightens
    request = imagenet_request(None)
    facts = imagenet_facts(protocol_named("imagenet100-b0-inc10"), request.possible_codecs)
    assert not resolve(request, facts)[0].brightens


def test_another_seed_is_another_class_order() -> None:
    one, other = (
        settled(protocol="cifar100-b0-inc20", budget=LARGEST, method="wa", seed=seed)[0].tasks
        for seed in (1993, 1994)
    )
    assert one != other


def test_options_win_where_they_contradict_nothing() -> None:
    settings, reason = settled(
        protocol="cifar100-b0-inc10",
        budget=LARGEST,
        accounting="published",
        data="cifar100",
        base=0,
        increment=10,
        image_size_px=32,
        recipe="fast",
        backbone="resnet20",
    )
    assert (settings.recipe, settings.backbone, reason) == ("fast", "resnet20", "")


@pytest.mark.parametrize(
    "asked",
    [
        {"budget": "24684161", "accounting": "published"},
        {"budget": LARGEST, "accounting": "strict"},
        # ConvNet2, MEMO's backbone at this point, leaves MEMO-2 no trunk.
        {"budget": SMALLEST, "accounting": "published", "method": "memo-2"},
    ],
)
def test_the_planner_chooses_where_nothing_is_published(asked: dict[str, str]) -> None:
    settings, reason = settled(protocol="cifar100-b0-inc10", **asked)
    assert settings.backbone.startswith("resnet")
    assert "makes the most of the bytes" in reason


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"data": "glyphs"}, "--data glyphs contradicts cifar100-b50-inc5, which has cifar100"),
        ({"data": "photos"}, "--data photos contradicts"),
        ({"base": 10}, "--base 10 contradicts cifar100-b50-inc5, which has 50; leave it out"),
        ({"base": 0}, "--base 5 contradicts"),
        ({"increment": 10}, "--increment 10 contradicts .* which has 5"),
        ({"image_size_px": 64}, "--image-size 64 contradicts .* which has 32"),
        (
            {"tasks": Path("tasks.toml")},
            r"--tasks tasks\.toml contradicts cifar100-b50-inc5; leave",
        ),
        ({"tasks_ahead": 1}, "--tasks-ahead 1 contradicts"),
        ({"protocol": "imagenet100-b50-inc5", "data": "cifar100"}, "folder of yours, not from"),
        ({"protocol": "cifar"}, "unknown protocol 'cifar'"),
    ],
)
def test_options_that_contradict_the_protocol_are_refused(
    changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        TrainRequest(**({"protocol": "cifar100-b50-inc5", "budget": LARGEST} | changes))  # type: ignore[arg-type]


def test_neither_data_nor_a_protocol_is_refused() -> None:
    with pytest.raises(UsageError, match="give --data or --protocol"):
        TrainRequest(budget=LARGEST)


@pytest.mark.parametrize("protocol", [None, "imagenet100-b0-inc10", "cifar100-b50-inc5"])
def test_an_unset_variable_is_no_data(protocol: str | None) -> None:
    with pytest.raises(UsageError, match="no data set and no folder ''; give cifar100, glyphs"):
        TrainRequest(data="", protocol=protocol, budget=LARGEST)


def test_the_recipe_without_a_protocol_is_the_fast_one() -> None:
    assert settled(data="cifar100", budget=LARGEST)[0].recipe == "fast"


# ImageNet


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Two classes, a picture each to learn from and one to test on."""
    for number, name in enumerate(("train/n1", "train/n2", "val/n1", "val/n2")):
        path = tmp_path / "imagenet" / name / "picture.png"
        path.parent.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "imagenet"


def imagenet_request(data: Path | None) -> TrainRequest:
    folder = None if data is None else str(data)
    return TrainRequest(protocol="imagenet100-b0-inc10", budget="400MB", data=folder)


def test_pictures_are_read_as_published_for_imagenet(imagenet: Path) -> None:
    dataset = load_requested(imagenet_request(imagenet))
    assert dataset.image_size_px == 224
    assert dataset.test.preprocessing.shorter_side_px == 256
    assert dataset.train.preprocessing.shorter_side_px is None
    assert dataset.mean == (0.485, 0.456, 0.406)


def test_the_classes_file_restricts_the_folder(imagenet: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("n2\n")
    request = replace(imagenet_request(imagenet), classes_file=tmp_path / "list.txt")
    assert load_requested(request).classes == ("n2",)


def test_a_folder_without_a_test_folder_is_refused(imagenet: Path) -> None:
    (imagenet / "val").rename(imagenet.parent / "elsewhere")
    with pytest.raises(DataError, match="wants train/ and val/ in it"):
        load_requested(imagenet_request(imagenet))


def test_training_without_the_pictures_is_refused() -> None:
    with pytest.raises(UsageError, match="give --data FOLDER, with train/ and val/"):
        load_requested(imagenet_request(None))


def test_another_number_of_classes_asks_for_a_list() -> None:
    facts = imagenet_facts(protocol_named("imagenet1000-b0-inc100"), ["raw"])
    with pytest.raises(
        DataError, match="has 1000 classes and .* 100; name these in .*classes-file"
    ):
        resolve(imagenet_request(Path("imagenet")), facts)


def test_too_few_classes_are_no_matter_for_a_list() -> None:
    request = replace(imagenet_request(Path("imagenet")), protocol="imagenet1000-b0-inc100")
    facts = imagenet_facts(protocol_named("imagenet100-b0-inc10"), ["raw"])
    with pytest.raises(DataError, match="has 100 classes and .* 1000; check --data"):
        resolve(request, facts)


def test_pictures_that_are_not_at_hand_count_no_less_than_they_take() -> None:
    protocol = protocol_named("imagenet100-b50-inc5")
    facts = imagenet_facts(protocol, ["raw", "webp-lossless", "webp:85"])
    # 49 times as many pixels as a picture of CIFAR-100, which takes 1,727 bytes without loss.
    sizes = {"raw": 224 * 224 * 3, "webp-lossless": 1727 * 49, "webp:85": 431 * 49}
    assert facts.exemplar_bytes == sizes


# Runs from before there were protocols


def test_settings_written_without_a_protocol_are_read(tmp_path: Path) -> None:
    settings, _ = settled(data="cifar100", budget=LARGEST)
    path = tmp_path / "config.json"
    settings.save(path)
    written = json.loads(path.read_text())
    for new in ("protocol", "shorter_side_px", "brightens", "augmentation", "reading"):
        del written[new]
    path.write_text(json.dumps(written))
    # And from before colour profiles were followed, as such runs go on.
    assert RunSettings.load(path) == replace(settings, reading=AS_STORED)
