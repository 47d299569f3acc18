"""The split and the mirror belong to the run and its bundle."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from edgecil.training.settings import RunSettings
from edgecil_devices.manifest import Manifest
from edgecil_devices.package import read_package
from tests.edgecil.cli.desk import COUNT, Desk


def add_pictures(desk: Desk, class_name: str, count: int) -> None:
    draw = np.random.default_rng(99)
    for number in range(count):
        pixels = draw.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(desk.folder / "old" / class_name / f"late-{number}.png")


def manifest(desk: Desk) -> Manifest:
    return Manifest.from_json(read_package(desk.folder / "x.edgecil").manifest_json)


def evaluated(desk: Desk, *words: object) -> dict[str, object]:
    out, _ = desk.run("eval", "x.edgecil", "--data", "old", "--json", *words)
    found: dict[str, object] = json.loads(out)
    return found


def test_a_bundle_is_tested_on_what_its_run_kept_for_the_test(desk: Desk) -> None:
    desk.photos("old", "a", "b", "c")
    desk.train("--seed", 5, "--holdout", 0.3)
    desk.run("export", "run", "--out", "x.edgecil")

    kept = manifest(desk).held_out
    assert kept is not None
    assert kept.seed == 5
    assert all(cut is not None for cut in kept.cuts)
    found = evaluated(desk)
    results = json.loads((desk.folder / "run" / "results.json").read_text())
    assert found["images"] == 9
    assert found["accuracy"] == pytest.approx(results["last_accuracy"])
    assert found["learned_images"] == 0

    add_pictures(desk, "a", 30)
    more = evaluated(desk)
    assert 9 < more["images"] < 39  # type: ignore[operator]
    assert more["learned_images"] == 0
    everything = evaluated(desk, "--holdout", 1)
    assert everything["images"] == 3 * COUNT + 30
    assert everything["learned_images"] == 3 * COUNT + 30 - more["images"]  # type: ignore[operator]


def test_a_split_by_hand_that_contradicts_the_bundle_is_refused(desk: Desk) -> None:
    desk.photos("old", "a", "b")
    desk.train("--seed", 5)
    desk.run("export", "run", "--out", "x.edgecil")
    _, complaint = desk.run("eval", "x.edgecil", "--data", "old", "--seed", 7, code=2)
    assert "were drawn by 5; leave it out" in complaint
    _, complaint = desk.run("eval", "x.edgecil", "--data", "old", "--holdout", 0.5, code=2)
    assert "or give 1 to test on all" in complaint
    assert evaluated(desk, "--seed", 5)["images"] == 4


def test_old_classes_are_measured_on_the_same_pictures_after_more_have_come(desk: Desk) -> None:
    desk.photos("old", "a", "b")
    desk.photos("new", "c", "d")
    desk.train()
    before = RunSettings.load(desk.folder / "run" / "config.json").sources[0].held_out
    add_pictures(desk, "b", 30)
    desk.run("learn", "run", "--data", "new", "--device", "cpu")
    after = RunSettings.load(desk.folder / "run" / "config.json")
    assert after.sources[0].held_out == before
    matrix = np.loadtxt(desk.folder / "run" / "confusion.csv", delimiter=",", dtype=int)
    tested = sorted(matrix.sum(axis=1))
    assert tested[0] == 2
    assert 2 < tested[-1] < 20
    desk.run("export", "run", "--out", "x.edgecil")
    kept = manifest(desk).held_out
    assert kept is not None
    assert len(kept.cuts) == 4


def test_data_with_a_test_split_note_none(desk: Desk) -> None:
    for part in ("train", "test"):
        shutil.copytree(desk.photos(part, "a", "b"), desk.folder / "old" / part)
    desk.train()
    desk.run("export", "run", "--out", "x.edgecil")
    assert manifest(desk).held_out is None
    assert evaluated(desk)["learned_images"] == 0


def test_a_test_split_that_the_run_did_not_have_is_no_proof(desk: Desk) -> None:
    desk.photos("old", "a", "b")
    desk.train()
    desk.run("export", "run", "--out", "x.edgecil")
    shutil.copytree(desk.folder / "old", desk.folder / "parted" / "test")
    shutil.copytree(desk.photos("fresh", "a", "b"), desk.folder / "parted" / "train")
    shutil.rmtree(desk.folder / "old")
    (desk.folder / "parted").rename(desk.folder / "old")
    assert evaluated(desk)["learned_images"] is None
    assert "cannot tell" in desk.run("eval", "x.edgecil", "--data", "old")[0]


def test_pictures_that_were_rewritten_since_are_no_proof(desk: Desk) -> None:
    desk.photos("old", "a", "b")
    desk.train()
    desk.run("export", "run", "--out", "x.edgecil")
    assert evaluated(desk)["learned_images"] == 0
    for path in (desk.folder / "old" / "b").iterdir():
        Image.open(path).save(path, compress_level=0)
    assert evaluated(desk, "--holdout", 1)["learned_images"] is None
    assert "cannot tell" in desk.run("eval", "x.edgecil", "--data", "old", "--holdout", 1)[0]


def test_mirrors_are_asked_about_and_can_be_left_out(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.photos("old", "arrow left", "arrow right")
    desk.train()
    assert "'arrow left' and 'arrow right'" in caplog.text
    assert "train with --no-mirror" in caplog.text
    assert RunSettings.load(desk.folder / "run" / "config.json").mirrors
    desk.run("export", "run", "--out", "x.edgecil")
    assert "mirrored" not in manifest(desk).network

    caplog.clear()
    shutil.rmtree(desk.folder / "run")
    desk.train("--no-mirror")
    assert "mirror" not in caplog.text
    assert not RunSettings.load(desk.folder / "run" / "config.json").mirrors
    desk.run("export", "run", "--out", "x.edgecil")
    assert manifest(desk).network["mirrored"] == "no"

    out, _ = desk.run("plan", "--data", "old", "--budget", "600kB", "--no-mirror")
    assert " --no-mirror " in out.splitlines()[-1]


def test_a_new_class_that_pairs_with_an_old_one_is_told_of(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.photos("old", "left", "up")
    desk.photos("new", "right", "down")
    desk.train()
    assert not caplog.text
    desk.run("learn", "run", "--data", "new", "--device", "cpu")
    assert "'left' and 'right'" in caplog.text
    assert "train another run with --no-mirror" in caplog.text
