"""One rule says which files of a folder are pictures, and linked folders are followed once."""

import os
from pathlib import Path

import pytest

from edgecil_devices.picture_files import (
    Reason,
    Skipped,
    files_below,
    is_picture_file,
    is_picture_name,
)

PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\x10\x00\x00\x00WEBPVP8 "


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def found(folder: Path) -> list[str]:
    return [
        os.path.relpath(file, folder)
        for file in files_below(folder)
        if not isinstance(file, Skipped)
    ]


def skipped(folder: Path) -> list[tuple[str, Reason]]:
    files = files_below(folder)
    return [(os.path.relpath(f.path, folder), f.reason) for f in files if isinstance(f, Skipped)]


@pytest.mark.parametrize("name", ["a.jpg", "a.JPE", "a.Jfif", "a.jpeg", "a.png", "a.webp", "a.bmp"])
def test_endings_of_pictures_count_in_small_and_capital_letters(name: str) -> None:
    assert is_picture_name(name)


@pytest.mark.parametrize("name", ["a.txt", ".a.jpg", "jpg", "a.jpg.part", "a.tif", "a."])
def test_other_names_are_none_of_a_picture(name: str) -> None:
    assert not is_picture_name(name)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (PNG, True),
        (JPEG, True),
        (WEBP, True),
        (b"GIF89a", True),
        (b"BM", True),
        (b"RIFF", False),
        (b"MIT License", False),
        (b"", False),
    ],
)
def test_file_without_an_ending_counts_if_it_begins_as_a_picture(
    tmp_path: Path, start: bytes, expected: bool
) -> None:
    assert is_picture_file(put(tmp_path / "n01443537_0", start)) is expected


def test_pipe_without_an_ending_is_no_picture_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_picture_file(tmp_path / "pipe")


def test_files_come_before_those_of_subfolders_and_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/c/3.png", "a/1.png", "z.png", "b/d/4.png", "B/5.png"):
        put(tmp_path / name)
    expected = ["z.png", "B/5.png", "a/1.png", "b/2.png", "b/c/3.png", "b/d/4.png"]
    assert found(tmp_path) == expected


def test_hidden_files_and_what_systems_leave_behind_are_skipped(tmp_path: Path) -> None:
    for name in (".hidden.png", ".git/a.png", "__MACOSX/a.png", "@eaDir/a.jpg/THUMB.jpg"):
        put(tmp_path / name)
    for name in ("$RECYCLE.BIN/a.png", "System Volume Information/a.png", "lost+found/#1.png"):
        put(tmp_path / name)
    put(tmp_path / "eaDir" / "mine.png")
    assert found(tmp_path) == ["eaDir/mine.png"]
    assert skipped(tmp_path) == []


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "store" / "deep" / "1.png")
    file = put(tmp_path / "elsewhere.png")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "linked").symlink_to(tmp_path / "store")
    (photos / "picture.png").symlink_to(file)
    assert found(photos) == ["picture.png", "linked/deep/1.png"]
    (tmp_path / "all").symlink_to(photos)
    assert found(tmp_path / "all") == ["picture.png", "linked/deep/1.png"]


def test_links_in_circles_end(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png")
    put(tmp_path / "b" / "2.png")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "over").symlink_to("../b")
    (tmp_path / "b" / "back").symlink_to("../a")
    (tmp_path / "a" / "knot").symlink_to("knot")
    assert found(tmp_path) == ["a/1.png", "a/over/2.png"]
    assert found(tmp_path / "b") == ["2.png", "back/1.png"]
    circles = [("a/self", Reason.CIRCLE), ("a/up", Reason.CIRCLE)]
    assert skipped(tmp_path) == [("a/knot", Reason.NOWHERE), *circles]


def test_many_folders_that_lead_to_each_other_come_once_each(tmp_path: Path) -> None:
    """Eleven folders with links to all others have ten million paths without a circle."""
    for one in range(11):
        put(tmp_path / "store" / str(one) / f"{one}.png")
        for other in range(11):
            if one != other:
                (tmp_path / "store" / str(one) / f"to-{other}").symlink_to(f"../{other}")
    names = [Path(path).name for path in found(tmp_path)]
    assert sorted(names) == sorted(f"{one}.png" for one in range(11))


def test_links_that_lead_nowhere_are_told_or_left_to_the_reader(tmp_path: Path) -> None:
    (tmp_path / "stick").symlink_to("/media/taken-out")
    (tmp_path / "gone.jpg").symlink_to("/media/gone.jpg")
    assert found(tmp_path) == ["gone.jpg"]
    assert skipped(tmp_path) == [("stick", Reason.NOWHERE)]
