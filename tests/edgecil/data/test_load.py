"""A data set is found by its name or by its folder, and never half."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

import edgecil.data
from edgecil.cli import main
from edgecil.data import DATASETS, is_here, load_dataset
from edgecil.data.built_in import BuiltIn
from edgecil.data.cifar100 import KNOWN
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
    asks: Any = BuiltIn("cifar100", lambda folder, *_: asked.append(folder))  # type: ignore[arg-type]
    monkeypatch.setitem(edgecil.data.DATASETS, "cifar100", asks)
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


def test_a_folder_and_glyphs_are_here_and_a_download_only_once_it_is_there(tmp_path: Path) -> None:
    assert is_here("glyphs", tmp_path / "nowhere")
    assert is_here(str(tmp_path))
    assert not is_here(str(tmp_path / "nowhere"))
    assert not is_here("cifar100", tmp_path)
    (tmp_path / "cifar-100-python").mkdir()
    assert not is_here("cifar100", tmp_path)  # no more than begun
    (tmp_path / "cifar-100-python" / "train").touch()
    assert is_here("cifar100", tmp_path)


def test_an_unset_variable_is_not_the_folder_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_here(".")
    assert not is_here("")
    with pytest.raises(UsageError, match="no data set and no folder ''; give cifar100"):
        load_dataset("")


def test_another_data_set_is_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is not here is planned from what is known, and named; nothing goes by a name."""
    known = replace(KNOWN, classes=tuple("abcdefghijklmnopqrst"), image_size_px=64)
    row = BuiltIn("stamps", lambda *_: pytest.fail("loaded"), lambda data_dir: False, known)
    monkeypatch.setitem(edgecil.data.DATASETS, "stamps", row)
    words = ["--data", "stamps", "--data-dir", str(tmp_path), "--budget", "5MB", "--json"]
    monkeypatch.setattr(sys, "argv", ["edgecil", "plan", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    told = capsys.readouterr()
    assert "stamps is not at hand" in told.err
    assert json.loads(told.out)["stages"][-1]["classes"] == 20


@pytest.mark.parametrize("built_in", DATASETS.values(), ids=lambda built_in: built_in.name)
def test_what_may_be_away_is_known(built_in: BuiltIn, tmp_path: Path) -> None:
    """A plan downloads nothing, so it has to know what it cannot look at."""
    assert built_in.is_here(tmp_path) == (built_in.known is None)
