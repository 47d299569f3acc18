"""Several pictures at once say what each says alone, and never take more memory than there is."""

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from edgecil_devices import (
    Classifier,
    EdgecilError,
    ImageError,
    UsageError,
    images,
    parallel_reading,
    profiles,
    sources,
)
from edgecil_devices.__main__ import main
from edgecil_devices.parallel_reading import Room, read_together
from edgecil_devices.predict import _groups
from edgecil_devices.preprocessing import Preprocessing
from edgecil_devices.sources import Item, Picture, Unreadable

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork


def png(seed: int, size_px: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_bad_picture_in_a_batch_does_not_move_the_others(
    tiny: "TinyNetwork", bundle_path: Path, threads: int
) -> None:
    classifier = Classifier.load(bundle_path, threads)
    good = [png(seed) for seed in range(4)]
    logits = tiny.logits(np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in good]))
    scores = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).max(axis=1)
    found = classifier.predict_batch([good[0], b"no picture", *good[1:], good[0][:60]])
    assert [isinstance(one, ImageError) for one in found] == [False, True, *[False] * 3, True]
    told = [one.score for one in found if not isinstance(one, ImageError)]
    assert told == pytest.approx(scores, rel=1e-5)  # all four differ by more


def test_a_batch_of_nothing_but_bad_pictures_and_of_nothing(bundle_path: Path) -> None:
    classifier = Classifier.load(bundle_path)
    assert classifier.predict_batch([]) == []
    assert all(isinstance(one, ImageError) for one in classifier.predict_batch([b"", b"x"]))
    with pytest.raises(UsageError, match="top must be at least 1"):
        classifier.predict_batch([png(0)], top=0)


def test_the_times_of_a_batch_are_shared_by_its_pictures(bundle_path: Path) -> None:
    classifier = Classifier.load(bundle_path, threads=1)
    pictures = [png(seed) for seed in range(32)]
    classifier.predict_batch(pictures)
    start = time.perf_counter()
    found = classifier.predict_batch(pictures)
    took_ms = (time.perf_counter() - start) * 1e3
    told_ms = sum(one.timing_ms.total for one in found if not isinstance(one, ImageError))
    assert took_ms / 20 < told_ms < took_ms


def test_pictures_are_decoded_side_by_side_only_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock, at_work, most_at_work = threading.Lock(), 0, 0
    small_together = threading.Barrier(3)

    def read(data: bytes, preprocessing: Preprocessing) -> images.Pixels:
        nonlocal at_work, most_at_work
        with Image.open(io.BytesIO(data)) as image:
            pixels = image.width * image.height
        with lock:
            at_work += pixels
            most_at_work = max(most_at_work, at_work)
        if pixels == 64:
            small_together.wait(10)  # breaks unless three are read at the same time
        with lock:
            at_work -= pixels
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(parallel_reading, "read_pixels", read)
    monkeypatch.setattr(profiles.Profile, "most_pixels", 300)
    sizes = [8, 8, 8, 16, 20, 16]  # 64, 256 and 400 pixels: the last two kinds only alone
    found = read_together([png(0, size) for size in sizes], Preprocessing(8), threads=3)
    assert len(found) == 6
    assert most_at_work == 400


def test_room_is_given_back_when_reading_fails() -> None:
    room = Room(10)
    with pytest.raises(ZeroDivisionError), room.taken(10):
        raise ZeroDivisionError
    waiting = threading.Thread(target=lambda: room.taken(10).__enter__(), daemon=True)
    waiting.start()
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.parametrize("batch", [2, 256])
def test_predict_prints_the_same_lines_in_batches(
    bundle_path: Path, tmp_path: Path, batch: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(5):
        (tmp_path / f"{seed}.png").write_bytes(png(seed) if seed != 2 else b"no picture")
    words = ["predict", str(bundle_path), str(tmp_path), "gone.png", "--agree", "2/3"]
    told = []
    for more in ([], ["--batch", str(batch)]):
        assert main([*words, *more]) == 1
        printed = capsys.readouterr()
        told.append(([line.rpartition("  ")[0] for line in printed.out.splitlines()], printed.err))
    assert len(told[0][0]) == 4
    assert told[0] == told[1]


def test_large_files_make_small_batches_and_nothing_is_read_ahead() -> None:
    taken: list[str] = []

    def items() -> Iterator[Item]:
        for name, size in [("a", 9), ("b", 9), ("c", 1), ("bad", 0), ("d", 17), ("e", 1)]:
            taken.append(name)
            yield Picture(name, bytes(size * 10**6), 0.0) if size else Unreadable(name, "")

    groups = _groups(items(), 3)
    first = next(groups)
    assert [item.name for item in first] == taken == ["a", "b"]
    rest = [[item.name for item in group] for group in groups]
    assert rest == [["c", "bad", "d"], ["e"]]


def test_frames_of_a_camera_are_told_one_by_one(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def frames(word: str) -> Iterator[images.Pixels]:
        yield np.zeros((48, 64, 3), np.uint8)
        assert capsys.readouterr().out.startswith("camera:0#1  ")  # before the next is waited for
        raise EdgecilError("gone")

    monkeypatch.setattr(sources, "camera_frames", frames)
    assert main(["predict", str(bundle_path), "camera", "--batch", "16"]) == 1
    assert capsys.readouterr().err == "error: gone\n"


@pytest.mark.parametrize("batch", ["0", "257"])
def test_a_batch_has_limits(
    bundle_path: Path, batch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(bundle_path), "a.png", "--batch", batch]) == 2
    assert capsys.readouterr().err == (
        f"error: --batch must be from 1 to 256, not {batch}; 16 suits most\n"
    )
