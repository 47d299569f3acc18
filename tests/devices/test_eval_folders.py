"""`edgecil eval` on folders: of what is there it reads what the bundle knows and can be tested."""

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from edgecil.cli import main
from edgecil_devices.manifest import HeldOut
from edgecil_devices.package import pack

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork

KNOWN = ("ape", "bee", "cat")


def photos(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True)
    draw = np.random.default_rng([*folder.as_posix().encode()])
    for number in range(count):
        pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """Three pictures of each class of the bundle."""
    for name in KNOWN:
        photos(tmp_path / "fresh" / name)
    return tmp_path / "fresh"


def evaluated(*words: object, code: int = 0) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["edgecil", "eval", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert int(ended.value.code or 0) == code


def test_folders_of_other_classes_are_counted_and_not_looked_into(
    fresh: Path, bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(fresh / "ape", fresh / "all")
    shutil.copytree(fresh / "bee", fresh / "all", dirs_exist_ok=True)
    (fresh / "all" / "damaged.png").write_bytes(b"x")
    (fresh / "empty").mkdir()
    evaluated(bundle_path, "--data", fresh, "--holdout", 1, "--json")
    printed = capsys.readouterr()
    assert json.loads(printed.out)["images"] == 9
    assert printed.err == "left out: 2 classes that the bundle has not learned\n"


def test_data_of_other_classes_alone_are_left_out_beside_the_bundles(
    fresh: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos(tmp_path / "more" / "yak", 1)
    photos(tmp_path / "more" / "zebu", 1)
    evaluated(bundle_path, "--data", fresh, "--data", tmp_path / "more", "--json")
    printed = capsys.readouterr()
    assert json.loads(printed.out)["images"] == 3
    assert printed.err == "left out: 2 classes that the bundle has not learned\n"


def test_new_pictures_that_the_runs_rule_leaves_to_learning_are_tested_on_demand(
    fresh: Path, tiny: "TinyNetwork", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No picture's place is below a cut of naught; every one's is below the highest."""
    held_out = HeldOut(7, ("0" * 12, "f" * 12, "0" * 12))
    bundle = tmp_path / "noted.edgecil"
    bundle.write_bytes(pack(replace(tiny.manifest(), held_out=held_out), tiny.blobs()))
    evaluated(bundle, "--data", fresh)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[3].split()[:3] == ["all", "1", "3"]
    assert printed.err == (
        "not measured: 2 of the 3 classes of the bundle (ape, cat), no usable picture to test on; "
        "give --holdout 1 to test on every picture\n"
    )
    shutil.rmtree(fresh / "bee")
    evaluated(bundle, "--data", fresh, code=1)
    assert capsys.readouterr().err == (
        "error: no usable picture to test on in 3 of the 3 classes of the bundle (ape, bee, cat); "
        "add some, or give --holdout 1 to test on every picture\n"
    )
    photos(fresh / "bee")
    evaluated(bundle, "--data", fresh, "--holdout", 1)
    told = capsys.readouterr().out
    assert told.splitlines()[3].split()[:3] == ["all", "3", "9"]
    # None is the one whose place is a class's cut: the run had others.
    assert "the bundle cannot tell which of these images its run had learned\n" in told
    evaluated(bundle, "--data", fresh)
    told = capsys.readouterr().out
    assert "its run had learned; if none, --holdout 1 tests on all there are\n" in told


def test_pictures_that_were_learned_are_counted_where_the_run_parted_these(
    fresh: Path, tiny: "TinyNetwork", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each class's three the one with the lowest hash, 12 digits of it, was the test's."""
    seed, cuts = 7, []
    for name in KNOWN:
        digests = [
            hashlib.sha256(path.read_bytes()).hexdigest() for path in fresh.glob(f"{name}/*")
        ]
        cuts.append(
            min(hashlib.sha256(f"{seed} {one}".encode()).hexdigest()[:12] for one in digests)
        )
    bundle = tmp_path / "noted.edgecil"
    noted = replace(tiny.manifest(), held_out=HeldOut(seed, tuple(cuts)))
    bundle.write_bytes(pack(noted, tiny.blobs()))
    for options, count in (((), 3), (("--holdout", 1), 9)):
        evaluated(bundle, "--data", fresh, *options)
        told = capsys.readouterr().out
        assert told.splitlines()[3].split()[:3] == ["all", "3", str(count)]
        learned = "6 of these images had been learned by the bundle's run, unless they came later"
        assert (learned in told) == (count == 9)
        assert ("0 of these images had been learned by the bundle's run\n" in told) == (count == 3)


def test_a_test_split_that_lacks_a_class_is_made_whole_by_another(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in KNOWN:
        photos(tmp_path / "parted" / "train" / name)
    for name in ("ape", "bee"):
        photos(tmp_path / "parted" / "test" / name, 2)
    evaluated(bundle_path, "--data", tmp_path / "parted", "--json")
    printed = capsys.readouterr()
    assert json.loads(printed.out) | {"images": 4, "classes": 2} == json.loads(printed.out)
    assert printed.err == (
        "not measured: 1 of the 3 classes of the bundle (cat), no usable picture to test on\n"
    )
    photos(tmp_path / "more" / "cat", 1)
    evaluated(bundle_path, "--data", tmp_path / "parted", "--data", tmp_path / "more", "--json")
    assert json.loads(capsys.readouterr().out)["images"] == 5
