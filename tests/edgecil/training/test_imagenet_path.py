"""From ImageNet's folders to a bundle: a protocol cut down to four classes and a few pictures."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil.cli.evaluate import measure
from edgecil.memory.state import State
from edgecil.planning.protocols import PROTOCOLS
from edgecil.training.api import train
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import load_requested
from edgecil.training.run import Run
from edgecil_devices import Classifier
from edgecil_export import export

pytestmark = pytest.mark.slow

TINY_IMAGENET = Path(os.environ.get("EDGECIL_DATA", "")) / "tiny-imagenet-100"
CLASSES = ("n02124075", "n04067472", "n04540053", "n04099969")


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch) -> str:
    """A protocol on ImageNet in which two tasks of two classes are all."""
    name = "imagenet100-b0-inc10"
    small = replace(PROTOCOLS[name], class_count=4, increment=2)
    monkeypatch.setitem(PROTOCOLS, name, small)
    return name


def learned_and_deployed(
    protocol: str, folder: Path, run: Path, backbone: str, budget: str
) -> Classifier:
    """Train on all of it but one class that the list leaves out, export, and compare accuracies."""
    classes_file = run.with_suffix(".txt")
    classes_file.write_text("# four of them\n" + "\n".join(CLASSES))
    request = TrainRequest(
        protocol=protocol,
        data=str(folder),
        classes_file=classes_file,
        budget=budget,
        backbone=backbone,
        method="replay",
        epochs=1,
        batch_size=4,
    )
    dataset = load_requested(request)
    assert dataset.classes == CLASSES
    results = train(request, run, dataset=dataset)
    assert [stage.classes for stage in results] == [2, 4]
    assert all(stage.state_bytes <= request.budget_bytes for stage in results)
    assert results[-1].exemplars >= 4
    assert Run(run).settings().recipe == "published"

    export(run, run.with_suffix(".edgecil"))
    classifier = Classifier.load(run.with_suffix(".edgecil"))
    measured = measure(classifier, [dataset]).overall
    assert measured.percent == pytest.approx(results[-1].accuracy)
    assert classifier.manifest.preprocessing.image_size_px == 224
    assert classifier.manifest.preprocessing.shorter_side_px == 256
    return classifier


def test_folders_as_imagenet_has_them_are_learned_and_deployed(
    protocol: str, tmp_path: Path
) -> None:
    for label, name in enumerate((*CLASSES, "n00000000")):
        for split, count in (("train", 3), ("val", 1)):
            for number in range(count):
                draw = np.random.default_rng([label, number, count])
                pixels = draw.integers(40 * label, 40 * label + 90, (50, 70, 3), dtype=np.uint8)
                path = tmp_path / "imagenet" / split / name / f"{number}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, "PNG")
    learned_and_deployed(protocol, tmp_path / "imagenet", tmp_path / "run", "convnet4", "4MB")
    exemplars = State.read(tmp_path / "run" / "state").exemplars  # whole, of 70 x 50 pixels
    assert np.concatenate(exemplars.aspects) == pytest.approx(1.4)


@pytest.mark.skipif(
    not TINY_IMAGENET.is_dir(), reason="EDGECIL_DATA names no folder that holds tiny-imagenet-100"
)
def test_tiny_imagenet_is_learned_with_resnet18_and_deployed(protocol: str, tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 1)):
        for name in CLASSES:
            folder = tmp_path / "imagenet" / split / name
            folder.mkdir(parents=True)
            for path in sorted((TINY_IMAGENET / split / name).iterdir())[:count]:
                (folder / path.name).symlink_to(path)
    classifier = learned_and_deployed(
        protocol, tmp_path / "imagenet", tmp_path / "run", "resnet18", "30MB"
    )
    picture = next((tmp_path / "imagenet" / "val" / CLASSES[0]).iterdir())
    assert classifier.predict(picture).label in CLASSES
