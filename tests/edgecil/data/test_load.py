"""A data set is found by its name or by its folder, and never half."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

import edgecil.data
from edgecil.data import load_dataset
from edgecil.errors import DataError, MissingExtraError, UsageError

DATA_DIR = os.environ.get("EDGECIL_DATA", "")


def test_unknown_name_lists_the_data_sets() -> None:
    with pytest.raises(UsageError, match="'mnist'; give cifar100, glyphs or the path of a folder"):
        load_dataset("mnist")


def test_folder_is_read_with_its_options(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / "pets" / "cat" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    dataset = load_dataset(str(tmp_path / "pets"), image_size_px=40, holdout=0.5, seed=3)
    assert dataset.image_size_px == 40
    assert (len(dataset.train), len(dataset.test)) == (2, 2)


def test_name_of_a_data_set_wins_over_a_folder_unless_written_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "glyphs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_dataset("glyphs").name == "glyphs"
    with pytest.raises(DataError, match="no class folders"):
        load_dataset("./glyphs")


@pytest.mark.parametrize("given", ["option", "environment", "neither"])
def test_data_folder_is_the_option_the_environment_or_the_cache(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setitem(edgecil.data.DATASETS, "cifar100", lambda folder, *_: asked.append(folder))
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("EDGECIL_DATA", "" if given == "neither" else "/from/environment")
    load_dataset("cifar100", data_dir=tmp_path if given == "option" else None)
    expected = {
        "option": tmp_path,
        "environment": Path("/from/environment"),
        "neither": Path("/home/somebody/.cache/edgecil"),
    }
    assert asked == [expected[given]]


def test_cifar100_without_torchvision_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(MissingExtraError, match=r"cifar100 .*edgecil\[train\]"):
        load_dataset("cifar100", data_dir=tmp_path)


@pytest.mark.parametrize(
    "failure",
    [URLError("no network"), RuntimeError("File not found\nor corrupted."), OSError("disk full")],
)
def test_failed_download_of_cifar100_says_where_to_put_it(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("torchvision.datasets")

    def unavailable(root: str, train: bool, download: bool = False) -> Any:
        raise failure if download else RuntimeError("Dataset not found or corrupted.")

    monkeypatch.setattr(datasets, "CIFAR100", unavailable)
    with pytest.raises(DataError, match="--data-dir or EDGECIL_DATA") as caught:
        load_dataset("cifar100", data_dir=tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "new") in str(caught.value)


def test_cifar100_is_downloaded_only_when_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    calls = []

    class Present:
        classes = ("apple", "bear")
        data = np.zeros((2, 32, 32, 3), dtype=np.uint8)
        targets = (1, 0)

        def __init__(self, root: str, train: bool, download: bool = False) -> None:
            calls.append((root, train, download))

    monkeypatch.setattr(datasets, "CIFAR100", Present)
    dataset = load_dataset("cifar100", data_dir=tmp_path)
    assert calls == [(str(tmp_path), True, False), (str(tmp_path), False, False)]
    assert dataset.train.labels.tolist() == [1, 0]


def test_cifar100_in_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out --image-size"):
        load_dataset("cifar100", data_dir=tmp_path, image_size_px=64)


@pytest.mark.skipif(
    not (Path(DATA_DIR) / "cifar-100-python").is_dir(),
    reason="EDGECIL_DATA names no folder that holds cifar-100-python",
)
def test_cifar100_is_the_real_one() -> None:
    dataset = load_dataset("cifar100")
    assert dataset.classes[:3] == ("apple", "aquarium_fish", "baby")
    assert len(dataset.classes) == 100
    assert np.bincount(dataset.train.labels).tolist() == [500] * 100
    assert np.bincount(dataset.test.labels).tolist() == [100] * 100
    pixels = dataset.train.pixels()
    assert pixels.shape == (50_000, 32, 32, 3)
    # The published statistics are of these very pixels.
    assert np.allclose(pixels[:, ::2, ::2].mean(axis=(0, 1, 2)) / 255, dataset.mean, atol=2e-3)


def test_data_is_loaded_without_torch() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'torchvision', 'onnx']));"
        "from edgecil.data import load_dataset; load_dataset('glyphs')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
