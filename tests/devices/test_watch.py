"""A watched folder tells of each new picture once, when it is complete. The tests make the time."""

import os
from pathlib import Path

import pytest

from edgecil_devices.errors import EdgecilError, UsageError
from edgecil_devices.watch import EMPTY_S, POLL_S, SETTLE_S, Watch


class Folder:
    """A watched folder and a clock that only goes on when it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.watch = Watch(path)
        self.now_s = 100.0

    def told_within(self, seconds: float) -> list[str]:
        """What the watch tells while this time passes, look by look."""
        told = []
        end_s = self.now_s + seconds
        while self.now_s <= end_s:
            told += [path.name for path in self.watch.look(self.now_s)]
            self.now_s += POLL_S
        return told


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "old.jpg").write_bytes(b"old")
    return Folder(tmp_path)


def test_pictures_that_were_there_before_are_not_told(folder: Folder) -> None:
    assert folder.told_within(10) == []


def test_a_new_picture_is_told_once_when_it_has_settled(folder: Folder) -> None:
    (folder.path / "new.png").write_bytes(b"new")
    assert folder.told_within(SETTLE_S - 2 * POLL_S) == []
    assert folder.told_within(SETTLE_S) == ["new.png"]
    assert folder.told_within(10) == []


def test_a_picture_that_grows_is_told_when_it_is_complete(folder: Folder) -> None:
    with (folder.path / "slow.jpg").open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(b"x")
            assert folder.told_within(SETTLE_S / 2) == []
    assert folder.told_within(2 * SETTLE_S) == ["slow.jpg"]


def test_rewriting_without_growth_is_noticed_too(folder: Folder) -> None:
    path = folder.path / "a.bmp"
    for second in range(5):
        path.write_bytes(b"same size")
        os.utime(path, (second, second))
        assert folder.told_within(0) == []
    assert folder.told_within(SETTLE_S) == ["a.bmp"]


def test_a_picture_that_is_renamed_in_is_told_at_the_next_look(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "upload"
    outside.write_bytes(b"all of it")
    os.utime(outside, (1e9, 1e9))
    outside.rename(folder.path / "upload.jpg")
    (folder.path / "b.jpg.part").write_bytes(b"half")
    assert folder.told_within(POLL_S) == ["upload.jpg"]
    os.utime(folder.path / "b.jpg.part", (1e9, 1e9))
    (folder.path / "b.jpg.part").rename(folder.path / "b.jpg")
    os.utime(folder.path, (2e9, 2e9))  # whatever the grain of the clock
    assert folder.told_within(POLL_S) == ["b.jpg"]


def test_a_name_with_new_content_is_told_again(folder: Folder) -> None:
    path = folder.path / "latest.jpg"
    path.write_bytes(b"1")
    assert folder.told_within(3) == ["latest.jpg"]
    path.write_bytes(b"2")  # in place: the folder does not change
    os.utime(path, (2e9, 2e9))
    assert folder.told_within(3) == ["latest.jpg"]
    (folder.path / "temporary").write_bytes(b"3")
    (folder.path / "temporary").rename(path)
    assert folder.told_within(3) == ["latest.jpg"]
    path.unlink()
    assert folder.told_within(3) == []
    path.write_bytes(b"4")
    assert folder.told_within(3) == ["latest.jpg"]
    old = folder.path / "old.jpg"
    old.write_bytes(b"new content under a name from before the watch")
    assert folder.told_within(3) == ["old.jpg"]


def test_touching_the_rights_or_the_name_is_no_new_content(folder: Folder) -> None:
    path = folder.path / "a.jpg"
    path.write_bytes(b"a")
    assert folder.told_within(3) == ["a.jpg"]
    path.chmod(0o600)
    path.rename(folder.path / "archived.jpg")
    assert folder.told_within(3) == []


def test_what_is_no_picture_is_left_alone(folder: Folder) -> None:
    (folder.path / ".a.jpg").write_bytes(b"hidden")
    (folder.path / "a.jpg.part").write_bytes(b"half")
    (folder.path / "folder.jpg").mkdir()
    os.mkfifo(folder.path / "pipe.jpg")
    (folder.path / "circle.jpg").symlink_to("circle.jpg")
    (folder.path / "nowhere.jpg").symlink_to("missing")
    assert folder.told_within(20) == []


def test_an_empty_file_is_waited_for_and_then_told(folder: Folder) -> None:
    path = folder.path / "empty.jpg"
    path.touch()
    assert folder.told_within(EMPTY_S - 2 * POLL_S) == []
    assert folder.told_within(1) == ["empty.jpg"]


def test_pictures_that_arrive_together_come_oldest_first(folder: Folder) -> None:
    for name, second in (("a.jpg", 3), ("b.jpg", 1), ("c.jpg", 2)):
        (folder.path / name).write_bytes(b"x")
        os.utime(folder.path / name, (second, second))
    assert folder.told_within(3) == ["b.jpg", "c.jpg", "a.jpg"]


def test_looking_costs_little_however_many_pictures_there_are(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        (folder.path / f"{number}.jpg").write_bytes(b"x")
    assert len(folder.told_within(3)) == 1000
    looked_at = []
    stat = os.stat

    def counting(path: str, *args: object, **kwargs: object) -> os.stat_result:
        looked_at.append(path)
        return stat(path, *args, **kwargs)  # type: ignore[arg-type]

    # At a cost of 1 s for every file, all files are looked at once in 250 s.
    clock = iter(range(10_000))
    monkeypatch.setattr("edgecil_devices.watch.time.thread_time", lambda: next(clock))
    folder.told_within(2)
    monkeypatch.setattr(os, "stat", counting)
    folder.told_within(200)
    assert len(looked_at) < 2000
    (folder.path / "one_more.jpg").write_bytes(b"x")
    looked_at.clear()
    assert folder.told_within(2) == ["one_more.jpg"]
    assert {Path(path).name for path in looked_at} <= {"one_more.jpg", folder.path.name}


def test_pictures_are_told_by_the_same_rule_as_those_of_a_folder(folder: Folder) -> None:
    for name in ("a.jfif", "b.JPE", "c.part", ".d.jpg"):
        (folder.path / name).write_bytes(b"x")
    (folder.path / "e").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder.path / "f").write_bytes(b"a note")
    assert sorted(folder.told_within(3)) == ["a.jfif", "b.JPE", "e"]


def test_a_file_in_the_making_without_an_ending_is_told_again_once_it_is_named(
    folder: Folder,
) -> None:
    path = folder.path / "tmp3f9a"
    path.write_bytes(b"\xff\xd8\xff half")
    assert folder.told_within(3) == ["tmp3f9a"]
    path.rename(folder.path / "done.jpg")
    assert folder.told_within(3) == ["done.jpg"]


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file: Not a directory; give a folder that exists"):
        Watch(tmp_path / "file")


def test_a_folder_that_goes_away_ends_the_watch(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    watch = Watch(folder)
    folder.rmdir()
    with pytest.raises(EdgecilError, match=r"stick cannot be watched any more: No such file"):
        next(watch.pictures())
