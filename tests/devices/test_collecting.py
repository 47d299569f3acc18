"""Unsure pictures are kept to be labelled: few, whole, and not the same one again and again."""

import errno
import io
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgecil_devices.__main__ import main
from edgecil_devices.collected import Collection
from edgecil_devices.collecting import Collector, Unsure, kept_by
from edgecil_devices.errors import StoreWriteError, UsageError
from tests.crash.recording import Recorder

UNSURE, SURE = Unsure("tabby", 0.34), Unsure("tabby", 0.97)


def scene(seed: int, noise: int = 0) -> NDArray[np.uint8]:
    """A frame of blots; with noise, another frame of the same scene."""
    coarse = np.random.default_rng(seed).integers(0, 200, (6, 8, 3), np.uint8)
    frame = coarse.repeat(20, axis=0).repeat(20, axis=1)
    grain = np.random.default_rng(noise).integers(0, 12, frame.shape, np.uint8)
    return frame + grain if noise else frame


def file(path: Path, frame: NDArray[np.uint8]) -> bytes:
    Image.fromarray(frame).save(path)
    return path.read_bytes()


def test_unsure_and_unknown_pictures_are_kept_and_others_not(tmp_path: Path) -> None:
    collector = Collector(tmp_path / "unsure", 0.6, 10)
    data = file(tmp_path / "x.png", scene(1))
    kept = collector.consider(data, UNSURE)
    assert kept is not None
    assert kept.read_bytes() == data
    assert re.fullmatch(r"\d{8}-\d{6}-tabby-0\.34-[0-9a-f]{16}\.png", kept.name)
    assert collector.consider(scene(2), SURE) is None
    assert collector.consider(scene(2), Unsure("tabby", 0.97, known=False)) is not None
    assert len(list((tmp_path / "unsure").iterdir())) == 2


def test_of_frames_that_look_alike_one_is_kept(tmp_path: Path) -> None:
    collector = Collector(tmp_path, 0.6, 100)
    kept = [collector.consider(scene(1, noise), UNSURE) for noise in range(20)]
    assert sum(path is not None for path in kept) == 1
    others = [collector.consider(scene(seed), UNSURE) for seed in range(2, 12)]
    assert all(others)
    with Image.open(others[0] or "") as image:
        assert image.size == (160, 120)


def test_what_was_kept_before_a_restart_is_not_kept_again(tmp_path: Path) -> None:
    waits, labelled = (Collector(tmp_path, 0.6, 9).consider(scene(n), UNSURE) for n in (1, 2))
    assert waits
    assert labelled
    Collection(tmp_path).file_as("mug", [labelled.name])
    again = Collector(tmp_path, 0.6, 9)
    assert [again.consider(scene(seed, noise=5), UNSURE) for seed in (1, 2)] == [None, None]
    assert again.consider(scene(3), UNSURE)


def test_names_of_an_older_edgecil_are_understood(tmp_path: Path) -> None:
    file(tmp_path / "20261128-162140-tabby-0.34-9f3c01e2.png", scene(1))
    (older,) = Collection(tmp_path).pictures()
    assert (older.guess, older.score) == ("tabby", 0.34)
    assert Collector(tmp_path, 0.6, 9).consider(scene(2), UNSURE)


def test_a_photo_is_decoded_small_for_its_thumbnail_and_its_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a board needs it on which the whole photo would not fit."""
    stream = io.BytesIO()
    Image.fromarray(scene(1)).resize((4800, 3600)).save(stream, "JPEG")
    monkeypatch.setenv("EDGECIL_PROFILE", "raspberry-pi-zero-2")
    kept = Collector(tmp_path, 0.6, 9).consider(stream.getvalue(), UNSURE)
    assert kept
    with Image.open(io.BytesIO(Collection(tmp_path).thumbnail(kept.name))) as small:
        assert small.size == (200, 150)
    assert Collector(tmp_path, 0.6, 9).consider(scene(1), UNSURE) is None  # looks as the whole does


def test_a_full_folder_gets_nothing_more_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "older.jpg").write_bytes(b"a person's")
    collector = Collector(tmp_path, 0.6, 3)
    for seed in range(9):
        collector.consider(scene(seed), UNSURE)
    assert collector.full
    assert len(list(tmp_path.iterdir())) == 3
    assert (tmp_path / "older.jpg").exists()
    assert Collector(tmp_path, 0.6, 3).full


@pytest.mark.parametrize("label", ["../../etc/x", "a/b", "x" * 300, "\x1b[31m"])
def test_no_label_leads_out_of_the_folder(tmp_path: Path, label: str) -> None:
    kept = Collector(tmp_path / "in", 0.6, 3).consider(scene(1), Unsure(label, 0.1))
    assert kept is not None
    assert kept.parent == tmp_path / "in"
    assert kept.name.isprintable()


def test_there_is_room_again_once_some_were_labelled(tmp_path: Path) -> None:
    collector = Collector(tmp_path, 0.6, 2)
    kept = [collector.consider(scene(seed), UNSURE) for seed in range(2)]
    assert collector.consider(scene(2), UNSURE) is None
    assert kept[0] is not None
    Collection(tmp_path).file_as("mug", [kept[0].name])
    assert collector.consider(scene(3), UNSURE) is not None
    assert collector.consider(scene(4), UNSURE) is None


def test_a_full_disk_is_told_and_leaves_no_part_of_a_picture(tmp_path: Path) -> None:
    collector = Collector(tmp_path, 0.6, 3)
    with Recorder(tmp_path, 2, errno.ENOSPC), pytest.raises(StoreWriteError, match="make room"):
        collector.consider(scene(1), UNSURE)
    assert list(tmp_path.iterdir()) == []


def test_pictures_from_anybody_leave_room_for_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_bytes = 150_000_000
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free_bytes))
    collector = Collector(tmp_path, 0.6, 3)
    assert collector.consider(scene(1), UNSURE) is not None
    free_bytes = 100_000_000
    with pytest.raises(StoreWriteError, match="make room"):
        collector.consider(scene(2), UNSURE)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("below", "most"), [(0, 3), (1.5, 3), (0.5, 0)])
def test_impossible_bounds_are_refused(tmp_path: Path, below: float, most: int) -> None:
    with pytest.raises(UsageError, match="--collect-"):
        Collector(tmp_path, below, most)


def test_predict_collects(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        file(tmp_path / f"{seed}.png", scene(seed))
    words = [str(tmp_path / f"{seed}.png") for seed in range(3)]
    into = tmp_path / "unsure"
    more = ["--collect", str(into), "--collect-below", "1", "--collect-most", "2"]
    assert main(["predict", str(bundle_path), *words, *more]) == 0
    assert len(list(into.iterdir())) == 2
    told = capsys.readouterr()
    assert told.out.count("\n") == 3
    assert told.err.count("no more are kept") == 1
    assert main(["predict", str(bundle_path), words[0], "--collect", words[1]]) == 2


def test_where_nothing_more_can_be_kept_pictures_are_answered_all_the_same(
    bundle_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> bool:
        raise StoreWriteError("no space left")

    monkeypatch.setattr(Collector, "consider", full)
    for seed in range(3):
        file(tmp_path / f"{seed}.png", scene(seed))
    words = [str(tmp_path / f"{seed}.png") for seed in range(3)]
    assert main(["predict", str(bundle_path), *words, "--collect", str(tmp_path / "unsure")]) == 0
    told = capsys.readouterr()
    assert told.out.count("\n") == 3
    assert told.err == "warning: no space left; no pictures are kept meanwhile\n"


def test_pictures_are_kept_again_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_bytes = 99_000_000
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free_bytes))
    collector, told = Collector(tmp_path, 0.6, 9), list[str]()

    def keep(*seeds: int) -> None:
        for seed in seeds:
            kept_by(collector, scene(seed), UNSURE, told.append)

    keep(1, 2)
    free_bytes = 200_000_000
    keep(3)
    assert len(told) == 1
    assert len(list(tmp_path.iterdir())) == 1
    free_bytes = 99_000_000
    keep(4, 5)
    assert (
        told
        == [
            f"{tmp_path} is on a disk with less than 100 MB free, which are left to "
            "updates; make room; no pictures are kept meanwhile"
        ]
        * 2
    )


def test_a_full_folder_is_told_of_once_until_there_was_room_for_more(tmp_path: Path) -> None:
    told = list[str]()

    def keep(collector: Collector, *seeds: int) -> None:
        for seed in seeds:
            kept_by(collector, scene(seed), UNSURE, told.append)

    full = f"{tmp_path} has as many pictures as it may, so no more are kept; label or move them"
    first = Collector(tmp_path, 0.6, 2)
    keep(first, 1)
    assert told == []
    keep(first, 2, 3, 4)
    assert [one.startswith(full) for one in told] == [True]
    keep(Collector(tmp_path, 0.6, 2), 5, 6)  # after a restart
    assert [one.startswith(full) for one in told] == [True] * 2
    for path in tmp_path.iterdir():
        path.unlink()
    keep(first, 7, 8, 9)
    assert [one.startswith(full) for one in told] == [True] * 3
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failing_disk_is_told_once_however_many_pictures_come(tmp_path: Path) -> None:
    collector, told = Collector(tmp_path, 0.6, 9), list[str]()
    for seed in range(3):
        with Recorder(tmp_path, 2, errno.ENOSPC):
            kept_by(collector, scene(seed), UNSURE, told.append)
    assert len(told) == 1


def test_an_option_may_stand_before_the_pictures(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file(tmp_path / "1.png", scene(1))
    picture, answers = str(tmp_path / "1.png"), []
    for words in (
        ["--top", "1", str(bundle_path), picture],
        [str(bundle_path), "--top", "1", picture],
        [str(bundle_path), picture, "--top", "1"],
        [str(bundle_path), "--top", "1", "--", picture],
    ):
        assert main(["predict", *words]) == 0
        answers.append(capsys.readouterr().out.rsplit("  ", 1)[0])  # without the time it took
    assert len(set(answers)) == 1
