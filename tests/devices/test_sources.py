"""Names on the command line become pictures, and what cannot be read becomes an item too."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecil_devices import sources
from edgecil_devices.errors import UsageError
from edgecil_devices.sources import Picture, Unreadable, is_endless, pictures_of


def found(*words: object, standard_input: bytes = b"") -> list[sources.Item]:
    return list(pictures_of([str(w) for w in words], None, lambda: io.BytesIO(standard_input)))


def names(items: list[sources.Item]) -> list[str]:
    return [item.name for item in items if isinstance(item, Picture)]


def failures(items: list[sources.Item]) -> list[tuple[str, str]]:
    return [(item.name, item.error) for item in items if isinstance(item, Unreadable)]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that are only read, not decoded, so a letter each will do."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.JPG", "a.png", "dog/c.webp", "dog/notes.txt", ".hidden/d.jpg", "dog/.e.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return Path("photos")


def test_a_file_is_read_whatever_its_name(photos: Path) -> None:
    (item,) = found(photos / "dog/notes.txt")
    assert isinstance(item, Picture)
    assert (item.name, item.data) == ("photos/dog/notes.txt", b"dog/notes.txt")
    assert item.load_ms > 0


def test_a_folder_gives_the_pictures_in_and_below_it_in_order(photos: Path) -> None:
    assert names(found(photos)) == ["photos/a.png", "photos/b.JPG", "photos/dog/c.webp"]
    assert failures(found(photos)) == []


def test_a_folder_without_pictures_is_told_of(tmp_path: Path) -> None:
    ((name, error),) = failures(found(tmp_path))
    assert name == str(tmp_path)
    assert error.startswith("no pictures in this folder (.jpg ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_closed_folder_is_told_of_and_the_rest_read(photos: Path) -> None:
    (photos / "dog").chmod(0)
    try:
        items = found(photos)
    finally:
        (photos / "dog").chmod(0o755)
    assert names(items) == ["photos/a.png", "photos/b.JPG"]
    assert failures(items) == [
        ("photos/dog", "the folder cannot be listed (Permission denied)"),
    ]


def test_linked_folders_are_followed_and_circles_left(photos: Path) -> None:
    store = photos.parent / "store"
    store.mkdir()
    (store / "1.jfif").write_bytes(b"1")
    (photos / "linked").symlink_to("../store")
    (photos / "dog" / "back").symlink_to("..")
    told = ["photos/a.png", "photos/b.JPG", "photos/dog/c.webp", "photos/linked/1.jfif"]
    for words in (photos, "photos/**", "photos/*"):
        assert sorted(names(found(words))) == told
        assert failures(found(words)) == []
    assert names(found("photos/**/*.webp")) == ["photos/dog/c.webp"]


def test_link_to_a_folder_that_is_gone_is_told_of(photos: Path) -> None:
    (photos / "stick").symlink_to("/media/taken-out")
    assert failures(found(photos)) == [("photos/stick", "this link leads nowhere")]


def test_files_without_an_ending_count_if_they_begin_as_pictures(photos: Path) -> None:
    (photos / "n01443537_0").write_bytes(b"\xff\xd8\xff\xe0")
    (photos / "LICENSE").write_bytes(b"MIT")
    assert names(found(photos / "dog")) == ["photos/dog/c.webp"]
    assert names(found(photos))[2] == "photos/n01443537_0"
    assert failures(found(photos)) == []


def test_a_quoted_pattern_means_what_the_shell_would_make_of_it(photos: Path) -> None:
    assert names(found("photos/[ab].*")) == ["photos/a.png", "photos/b.JPG"]
    assert names(found("photos/**/*.webp")) == ["photos/dog/c.webp"]
    assert names(found("photos/*")) == ["photos/a.png", "photos/b.JPG", "photos/dog/c.webp"]
    assert failures(found("photos/*.gif")) == [
        ("photos/*.gif", "no file has a name like this; check the pattern")
    ]


def test_a_name_that_exists_is_no_pattern(photos: Path) -> None:
    odd = photos / "a[1].png"
    odd.write_bytes(b"odd")
    assert names(found(odd)) == [str(odd)]


def test_standard_input_gives_a_path_a_line(photos: Path) -> None:
    lines = b"photos/a.png\r\n\nphotos/dog\nno such\nphotos/b.JPG"
    items = found("-", standard_input=lines)
    assert names(items) == ["photos/a.png", "photos/dog/c.webp", "photos/b.JPG"]
    assert failures(items) == [("no such", "the file cannot be opened (No such file or directory)")]


def test_a_name_that_is_no_utf8_is_found(photos: Path) -> None:
    path = os.fsencode(photos) + b"/\xff.png"
    Path(os.fsdecode(path)).write_bytes(b"x")
    assert names(found("-", standard_input=path)) == ["photos/\udcff.png"]


def test_a_path_with_a_zero_byte_is_an_error_of_that_picture(photos: Path) -> None:
    ((_, error),) = failures(found("-", standard_input=b"photos/\0.png"))
    with pytest.raises(ValueError, match="null") as python_says:
        os.open("\0", os.O_RDONLY)
    assert error == f"the file cannot be opened ({python_says.value})"


def test_standard_input_is_read_line_by_line(photos: Path) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as lines:
        items = pictures_of(["-"], None, lambda: lines)
        for name in ("photos/a.png", "photos/b.JPG"):
            os.write(writer, name.encode() + b"\n")
            assert next(items).name == name  # and the pipe is still open
        os.close(writer)
        assert list(items) == []


def test_pictures_are_read_when_their_turn_comes(photos: Path) -> None:
    items = pictures_of([str(photos)], None, io.BytesIO)
    next(items)
    (photos / "b.JPG").unlink()
    assert isinstance(next(items), Unreadable)


def test_frames_are_numbered_and_the_camera_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    released = []

    def frames(word: str) -> Iterator[bytes]:
        try:
            while True:
                yield word.encode()
        finally:
            released.append(word)

    monkeypatch.setattr(sources, "camera_frames", frames)
    items = pictures_of(["camera"], None, io.BytesIO)
    assert [next(items).name, next(items).name] == ["camera:0#1", "camera:0#2"]
    items.close()  # type: ignore[attr-defined]
    assert released == ["camera"]
    assert next(pictures_of(["csi"], None, io.BytesIO)).name == "csi#1"


def test_only_cameras_and_watched_folders_do_not_end() -> None:
    assert not is_endless(["a.jpg", "-", "./camera"], None)
    assert is_endless(["camera:1"], None)
    assert is_endless(["photos"], Path("photos"))


@pytest.mark.parametrize(
    ("words", "watched", "said"),
    [
        ([], None, "give pictures: files"),
        (["a.jpg", "csi"], None, "csi does not end, so give it alone"),
        (["camera:1"], Path(), "camera:1 does not end, so give it alone"),
        (["a.jpg"], Path("gone"), "--watch gone: No such file or directory; give a folder"),
    ],
)
def test_sources_that_do_not_fit_together_are_refused(
    words: list[str], watched: Path | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        pictures_of(words, watched, io.BytesIO)
