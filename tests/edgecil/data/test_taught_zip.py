"""What a device was taught, carried to the workstation, and whatever else calls itself so."""

import stat
import zipfile
from pathlib import Path

import pytest

from edgecil.data import taught_zip
from edgecil.data.taught_zip import place_now, unpacked
from edgecil.errors import DataError
from edgecil_devices.class_names import folder_name
from edgecil_devices.teaching.carrying import export_taught
from edgecil_devices.teaching.overlay import NewPicture, Overlay

LABELS = ["mug", "tabby", "a/b", "50% off", "con", "..", "naïve", " x.", "日本"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    overlay = Overlay(tmp_path / "b.edgecil")
    for number, label in enumerate(LABELS):
        overlay.add(
            [NewPicture(f"{label} {n}".encode(), "/home/me/x.jpg") for n in range(number + 1)],
            label,
            correction=False,
            useless=lambda records: iter(()),
            feature_bytes=0,
        )
    export_taught(overlay, tmp_path / "taught.zip")
    return tmp_path / "taught.zip"


def made(path: Path, *names: str, data: bytes = b"x", mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return path


def test_pictures_arrive_under_their_labels(file: Path, tmp_path: Path) -> None:
    found = unpacked(file, tmp_path / "run" / "taught", known=["tabby", "dog"])
    assert found.corrections == {"tabby": 2}
    by_folder = {
        path.name: sorted(one.read_bytes() for one in path.iterdir())
        for path in found.folder.iterdir()
    }
    expected = {
        {"a/b": "a%2Fb", "..": "%2E%2E"}.get(label, label): sorted(
            f"{label} {n}".encode() for n in range(number + 1)
        )
        for number, label in enumerate(LABELS)
        if label != "tabby"
    }
    assert by_folder == expected


def test_the_file_tells_nothing_of_the_device(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        assert b"/home/me" not in archive.read("taught.json")
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("label", LABELS)
def test_no_label_leads_out_of_its_folder(label: str) -> None:
    name = folder_name(label)
    assert "/" not in name
    assert name not in (".", "..")


ELSEWHERE = ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", "x.jpg", "a/b/c.jpg", "a\\b.jpg", "a/.."]
HIDDEN = [".ssh/x.jpg", "a/.x.jpg"]


@pytest.mark.parametrize("name", [*ELSEWHERE, *HIDDEN])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    file = made(tmp_path / "t.zip", "mug/good.jpg", name)
    with pytest.raises(DataError, match="not what a device was taught"):
        unpacked(file, tmp_path / "out", known=[])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.zip"]


def test_links_are_refused(tmp_path: Path) -> None:
    file = made(tmp_path / "t.zip", "mug/x.jpg", data=b"/etc/passwd", mode=stat.S_IFLNK | 0o777)
    with pytest.raises(DataError, match="is no picture"):
        unpacked(file, tmp_path / "out", known=[])


def test_a_million_files_or_bytes_beyond_all_measure_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made(tmp_path / "t.zip", *(f"mug/{n}.jpg" for n in range(30)), data=bytes(1000))
    for limit, least in (("MOST_FILES", 29), ("MOST_BYTES", 29_999), ("MAX_FILE_BYTES", 999)):
        with monkeypatch.context() as patch:
            patch.setattr(taught_zip, limit, least)
            with pytest.raises(DataError, match="larger than any"):
                unpacked(file, tmp_path / "out", known=[])
    assert not (tmp_path / "out").exists()


def test_a_file_that_says_less_than_it_holds_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mug/x.jpg", bytes(100_000))
    data = file.read_bytes()
    assert data.count((100_000).to_bytes(4, "little")) == 2
    file.write_bytes(data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match="export it once more"):
        unpacked(file, tmp_path / "out", known=[])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + bytes(50)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "t.zip"
    file.write_bytes(content)
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpacked(file, tmp_path / "out", known=[])


def test_nothing_but_corrections_is_nothing_to_learn(file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing new"):
        unpacked(file, tmp_path / "out", known=LABELS)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_file_is_told_in_one_line_and_leaves_nothing(tmp_path: Path, how: int) -> None:
    file = tmp_path / "t.zip"
    content = bytes(range(256)) * 20
    with zipfile.ZipFile(file, "w", how) as archive:
        archive.writestr("mug/x.jpg", content)
    data = bytearray(file.read_bytes())
    data[60:64] = b"\xff\xff\xff\xff"  # within the picture
    file.write_bytes(data)
    with pytest.raises(DataError, match="export it once more"):
        unpacked(file, tmp_path / "out", known=[])
    assert [path.name for path in tmp_path.iterdir()] == ["t.zip"]


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_packed_unusually_is_refused(tmp_path: Path, how: int) -> None:
    file = tmp_path / "t.zip"
    with zipfile.ZipFile(file, "w", how) as archive:
        archive.writestr("mug/x.jpg", b"picture")
    with pytest.raises(DataError, match="packed in a way that is not usual"):
        unpacked(file, tmp_path / "out", known=[])


def test_what_was_unpacked_in_a_run_is_found_where_the_run_is_now(tmp_path: Path) -> None:
    place, before, run = "taught-0123456789ab", tmp_path / "before", tmp_path / "run"
    assert place_now(run, str(before / place)) == str(before / place)  # gone for good
    (run / place).mkdir(parents=True)
    assert place_now(run, str(before / place)) == str(run / place)
    (run / "photos").mkdir()
    assert place_now(run, str(before / "photos")) == str(before / "photos")
    (before / place).mkdir(parents=True)
    assert place_now(run, str(before / place)) == str(before / place)
