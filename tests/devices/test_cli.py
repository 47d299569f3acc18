"""The verbs that a device needs, as a person calls them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest
from PIL import Image

import edgecil.data
from edgecil.cli import main
from edgecil.data import ImageDataset, Split
from edgecil_devices.images import Preprocessing

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork


class Edgecil(Protocol):
    def __call__(self, *arguments: object) -> int: ...


@pytest.fixture
def edgecil_(monkeypatch: pytest.MonkeyPatch) -> Edgecil:
    """Runs the command line and gives its exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["edgecil", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return paths


def test_predict_prints_one_line_a_picture(
    edgecil_: Edgecil,
    bundle_path: Path,
    pictures: list[Path],
    capsys: pytest.CaptureFixture[str],
    tiny: "TinyNetwork",
) -> None:
    assert edgecil_("predict", bundle_path, *pictures, "--top", 2) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert len(lines) == 2
    for path, line in zip(pictures, lines, strict=True):
        logits = tiny.logits(np.asarray(Image.open(path))[None])[0]
        score = np.exp(logits).max() / np.exp(logits).sum()
        source, best, second, time = line.split("  ")
        assert source == str(path)
        assert best == f"{tiny.classes[int(logits.argmax())]} {score:.2f}"
        assert second.split()[0] in tiny.classes
        assert time.endswith(" ms")
    assert printed.err == f"next: edgecil info {bundle_path}\n"


def test_predict_says_why_half_precision_that_was_asked_for_is_not_used(
    edgecil_: Edgecil,
    bundle_path: Path,
    pictures: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert edgecil_("predict", bundle_path, pictures[0], "--compute", "fp16") == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    assert "warning: fp16 is not used: the bundle has no golden samples" in printed.err
    assert edgecil_("predict", bundle_path, pictures[0], "--compute", "int8") == 1
    assert "export it with --compute int8" in capsys.readouterr().err


def test_predict_prints_json_lines(
    edgecil_: Edgecil, bundle_path: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert edgecil_("predict", "--json", bundle_path, *pictures) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["source"] for record in records] == [str(path) for path in pictures]
    for record in records:
        assert record["top"][0] == {"label": record["label"], "score": record["score"]}
        assert sum(candidate["score"] for candidate in record["top"]) == pytest.approx(1)
        assert set(record["ms"]) == {"load", "preprocess", "trunk", "blocks", "head"}


def test_a_bad_picture_does_not_stop_the_rest(
    edgecil_: Edgecil, bundle_path: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = pictures[0].with_name("bad.jpg")
    bad.write_bytes(b"no picture")
    assert edgecil_("predict", bundle_path, pictures[0], bad, "gone.png", pictures[1]) == 1
    printed = capsys.readouterr()
    assert [line.split("  ")[0] for line in printed.out.splitlines()] == [*map(str, pictures)]
    errors = printed.err.splitlines()
    assert errors[0].startswith(f"error: {bad}: ")
    assert errors[1].startswith("error: gone.png: ")


def test_a_damaged_bundle_ends_with_one_line(
    edgecil_: Edgecil, bundle_path: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle_path.write_bytes(bundle_path.read_bytes()[:-1])
    assert edgecil_("predict", bundle_path, *pictures) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {bundle_path}: truncated: it has ")
    assert printed.err.count("\n") == 1


def test_info_shows_tasks_and_files(
    edgecil_: Edgecil, bundle_path: Path, capsys: pytest.CaptureFixture[str], tiny: "TinyNetwork"
) -> None:
    assert edgecil_("info", bundle_path) == 0
    printed = capsys.readouterr().out
    assert "task 1: ape, bee\ntask 2: cat\n" in printed
    for blob in tiny.manifest().blobs:
        assert f"{blob.size_bytes} bytes  sha256 {blob.sha256}" in printed

    assert edgecil_("info", bundle_path, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["size"] == bundle_path.stat().st_size
    assert record["classes"] == ["ape", "bee", "cat"]


def test_info_extracts_every_file(
    edgecil_: Edgecil, bundle_path: Path, tmp_path: Path, tiny: "TinyNetwork"
) -> None:
    assert edgecil_("info", bundle_path, "--extract", tmp_path / "out") == 0
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert written == tiny.blobs() | {"manifest.json": tiny.manifest().to_json()}


def test_info_extracts_into_an_empty_folder_only(
    edgecil_: Edgecil, bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edgecil_("info", bundle_path, "--extract", bundle_path.parent) == 2
    assert "not an empty folder" in capsys.readouterr().err


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> ImageDataset:
    """Ten test pictures of each class, in another order of classes, and a class too many."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    split = Split(pixels, np.arange(40) % 4, Preprocessing(8))
    classes = ("cat", "dog", "ape", "bee")
    found = ImageDataset("mine", classes, split, split, 8, (0, 0, 0), (1, 1, 1), "")
    monkeypatch.setattr(edgecil.data, "load_dataset", lambda *_, **__: found)
    return found


def test_eval_matches_classes_by_name(
    edgecil_: Edgecil,
    bundle_path: Path,
    dataset: ImageDataset,
    tiny: "TinyNetwork",
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert edgecil_("eval", bundle_path, "--data", "mine", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    found = np.array(tiny.classes)[tiny.logits(dataset.test.pixels()).argmax(axis=1)]
    truth = np.array(dataset.classes)[dataset.test.labels]
    in_task = [np.isin(truth, ["ape", "bee"]), truth == "cat"]
    by_task = [100 * np.mean((found == truth)[task]) for task in in_task]
    assert record["accuracy_by_task"] == pytest.approx(by_task)
    assert record["accuracy"] == pytest.approx((20 * by_task[0] + 10 * by_task[1]) / 30)
    assert (record["images"], record["classes"]) == (30, 3)


def test_eval_measures_the_computation_that_is_asked_for(
    edgecil_: Edgecil,
    bundle_path: Path,
    dataset: ImageDataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert edgecil_("eval", bundle_path, "--data", "mine", "--compute", "fp32", "--json") == 0
    assert json.loads(capsys.readouterr().out)["compute"] == "fp32"
    assert edgecil_("eval", bundle_path, "--data", "mine", "--compute", "fp16") == 0
    printed = capsys.readouterr()
    assert "warning: fp16 is not used: the bundle has no golden samples" in printed.err
    assert ", in fp32\n" in printed.out
    assert edgecil_("eval", bundle_path, "--data", "mine", "--compute", "int8") == 1
    assert "export it with --compute int8" in capsys.readouterr().err


def test_eval_prints_a_line_a_task(
    edgecil_: Edgecil, bundle_path: Path, dataset: ImageDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edgecil_("eval", bundle_path, "--data", "mine") == 0
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines()]
    assert rows[0] == ["task", "classes", "images", "accuracy"]
    assert [row[:3] for row in rows[1:4]] == [
        ["1", "2", "20"],
        ["2", "1", "10"],
        ["all", "3", "30"],
    ]
    assert "left out: 1 classes that the bundle has not learned" in printed.err


def test_eval_measures_the_classes_that_the_data_have_and_names_the_others(
    edgecil_: Edgecil,
    dataset: ImageDataset,
    tiny: "TinyNetwork",
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny.classes = ("ape", "yak", "zebu")
    bundle = tiny.save(tmp_path / "x.edgecil")
    assert edgecil_("eval", bundle, "--data", "mine") == 0
    printed = capsys.readouterr()
    assert [line.split()[:3] for line in printed.out.splitlines()[1:4]] == [
        ["1", "1", "10"],
        ["2", "0", "0"],
        ["all", "1", "10"],
    ]
    assert printed.err.splitlines()[0] == (
        "not measured: 2 of the 3 classes of the bundle (yak, zebu), no usable picture to test on"
    )


def test_eval_refuses_data_without_any_class_of_the_bundle(
    edgecil_: Edgecil,
    dataset: ImageDataset,
    tiny: "TinyNetwork",
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny.classes = ("gnu", "yak", "zebu")
    bundle = tiny.save(tmp_path / "x.edgecil")
    assert edgecil_("eval", bundle, "--data", "mine") == 1
    told = "the data have no class of the bundle, which knows gnu, yak, zebu; folders are named"
    assert told in capsys.readouterr().err


BASE_INSTALLATION = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "onnx", "onnxscript", "safetensors"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from edgecil.cli import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["predict", "BUNDLE", "PICTURE"], 0, "PICTURE  "),
        (["info", "BUNDLE"], 0, "task 1: ape, bee"),
        (["eval", "BUNDLE", "--data", "glyphs"], 2, "glyphs cannot have 8 pixels"),
        (["export", "RUN"], 2, "pip install 'edgecil[train]'"),
        (["train", "--data", "glyphs", "--budget", "1MB"], 2, "pip install 'edgecil[train]'"),
    ],
)
def test_what_a_base_installation_can_do_and_what_it_says_about_the_rest(
    bundle_path: Path,
    pictures: list[Path],
    tmp_path: Path,
    arguments: list[str],
    exit_code: int,
    said: str,
) -> None:
    real = {"BUNDLE": str(bundle_path), "PICTURE": str(pictures[0]), "RUN": str(tmp_path)}
    finished = subprocess.run(
        [sys.executable, "-c", BASE_INSTALLATION, *(real.get(a, a) for a in arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert finished.returncode == exit_code, finished.stderr
    assert said.replace("PICTURE", real["PICTURE"]) in finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
