"""Pictures that were taught, as they are kept, computed and exported."""

import io
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgecil_devices import Classifier
from edgecil_devices.__main__ import main
from edgecil_devices.bundle import read_bundle
from edgecil_devices.teaching import carrying
from edgecil_devices.teaching.features import TaughtFeatures
from edgecil_devices.teaching.overlay import NewPicture, Overlay
from tests.devices.teaching.colours import BLUE, RED, pictures, save_teachable

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork


@pytest.fixture
def bundle_path(tiny: "TinyNetwork", tmp_path: Path) -> Path:
    return save_teachable(tiny, tmp_path / "tiny.edgecil")


def test_a_kept_picture_is_not_cropped_again_where_a_margin_was_cut(
    bundle_path: Path,
) -> None:
    Classifier.load(bundle_path).teach("mug", pictures(RED, 2))
    overlay = Overlay(bundle_path)
    present = overlay.records().present
    as_whole = read_bundle(bundle_path).manifest.preprocessing
    with_margin = replace(as_whole, shorter_side_px=2 * as_whole.image_size_px)
    seen: list[NDArray[np.uint8]] = []

    def network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.extend(pixels)
        return np.zeros((len(pixels), 1), np.float32)

    TaughtFeatures(overlay, "another", network, with_margin).of(present, present)
    kept = [np.asarray(Image.open(io.BytesIO(overlay.picture(one)))) for one in present]
    np.testing.assert_array_equal(seen, kept)


def test_a_file_name_that_is_no_utf8_hinders_no_export(bundle_path: Path, tmp_path: Path) -> None:
    photo = tmp_path / os.fsdecode(b"caf\xe9.png")
    Image.fromarray(pictures(RED, 1)[0]).save(photo)
    assert main(["teach", str(bundle_path), str(photo), "--label", "mug"]) == 0
    data, counts = carrying.taught_zip(Overlay(bundle_path))
    assert counts == {"mug": 1}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (told,) = json.loads(archive.read(carrying.PROVENANCE))
    assert told["source"] == "caf\udce9.png"


def test_a_copy_of_the_folder_teaches_another_device(bundle_path: Path, tmp_path: Path) -> None:
    overlay = Overlay(bundle_path)
    Classifier.load(bundle_path).teach("mug", pictures(RED, 5))
    other = tmp_path / "other" / "photos.edgecil"
    other.parent.mkdir()
    shutil.copy(bundle_path, other)
    Classifier.load(other).teach("cup", pictures(BLUE, 5))
    shutil.rmtree(other.with_name("photos.edgecil.taught"))
    shutil.copytree(overlay.folder, other.with_name("photos.edgecil.taught"))
    shutil.rmtree(overlay.folder)
    copied = Classifier.load(other)
    assert copied.predict(pictures(RED, 1, 9)[0]).label == "mug"
    copied.teach("mug", pictures(RED, 2, 8))
    assert [(one.label, one.pictures) for one in copied.taught] == [("mug", 7)]


def test_damaged_pictures_are_left_out_of_an_export_and_the_others_are_taken_home(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = Classifier.load(bundle_path)
    classifier.teach("mug", pictures(RED, 3))
    classifier.teach("cup", pictures(BLUE, 2))
    kept = sorted((classifier.overlay.folder / "pictures").iterdir())
    sound = sorted(path.read_bytes() for path in kept[1:])
    kept[0].write_bytes(b"rotten")
    out = tmp_path / "taught.zip"
    assert main(["taught", "export", str(bundle_path), "--out", str(out)]) == 1
    told = capsys.readouterr()
    assert told.out.startswith(f"wrote {out}: 4 pictures of 2 labels\n")
    warning, error = told.err.splitlines()
    assert warning.startswith(f"warning: {kept[0]}, a picture of ")
    assert error.startswith(f"error: {out} lacks 1 damaged picture, see above; ")
    with zipfile.ZipFile(out) as archive:
        *names, told_of = archive.namelist()
        assert sorted(map(archive.read, names)) == sound
        assert [one["file"] for one in json.loads(archive.read(told_of))] == names
    data, counts = carrying.taught_zip(Overlay(bundle_path))
    assert (data, sum(counts.values())) == (out.read_bytes(), 4)


def test_where_every_picture_is_damaged_nothing_is_exported(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay, out = Overlay(bundle_path), tmp_path / "taught.zip"
    Classifier.load(bundle_path).teach("mug", pictures(RED, 2))
    for path in (overlay.folder / "pictures").iterdir():
        path.unlink()
    assert main(["taught", "export", str(bundle_path), "--out", str(out)]) == 1
    assert "there is nothing to export: every picture in " in capsys.readouterr().err
    assert not out.exists()


def test_what_was_taught_before_a_release_knew_it_can_be_a_correction_again(
    bundle_path: Path,
) -> None:
    overlay, one = Overlay(bundle_path), NewPicture(b"picture", "p.png")
    for correction in (False, True, True):
        added = overlay.add([one], "mug", correction=correction, useless=iter, feature_bytes=4)
    assert added.repeated == 1
    assert [kept.correction for kept in overlay.records().present] == [True]
