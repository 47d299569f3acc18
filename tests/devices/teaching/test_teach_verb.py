"""The verb `teach`: what it holds in memory at once, and what it says where there is nothing."""

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgecil_devices import sources
from edgecil_devices.__main__ import main
from edgecil_devices.images import read_file
from edgecil_devices.teaching import step
from edgecil_devices.teaching.overlay import Overlay
from tests.devices.teaching.colours import RED, files, pictures, save_teachable

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork


@pytest.fixture
def bundle_path(tiny: "TinyNetwork", tmp_path: Path) -> Path:
    return save_teachable(tiny, tmp_path / "tiny.edgecil")


class Held(bytes):
    """The content of a file, which tells how many of its like are in memory."""

    now = most = 0

    def __init__(self, _: bytes) -> None:
        Held.now += 1
        Held.most = max(Held.now, Held.most)

    def __del__(self) -> None:
        Held.now -= 1


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read, as they are; `Held` counts them."""
    found: list[Path] = []

    def reading(path: Path) -> Held:
        found.append(path)
        return Held(read_file(path))

    monkeypatch.setattr(sources, "read_file", reading)
    Held.now = Held.most = 0
    return found


@pytest.mark.parametrize("verb", [("--label", "mug"), ("--label", "ape", "--correct")])
def test_files_are_read_when_their_turn_comes_and_let_go(
    bundle_path: Path, tmp_path: Path, reads: list[Path], verb: tuple[str, ...]
) -> None:
    made = files(tmp_path / "mugs", RED, 30)
    assert main(["teach", str(bundle_path), str(tmp_path / "mugs"), *verb]) == 0
    assert sorted(reads) == sorted(made)
    assert (Held.now, Held.most) == (0, 2)  # one that was decoded, and the next
    kept = {one.source for one in Overlay(bundle_path).records().present}
    assert kept == {str(path) for path in made}


def test_too_many_files_are_refused_before_they_are_all_read(
    bundle_path: Path,
    tmp_path: Path,
    reads: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(step, "MOST_AT_ONCE", 5)
    made = files(tmp_path / "mugs", RED, 30)
    assert main(["teach", str(bundle_path), *map(str, made), "--label", "mug"]) == 2
    assert reads == made[:6]
    assert capsys.readouterr().err == ("error: more than 5 pictures; teach them in several steps\n")
    assert not Overlay(bundle_path).exists
    assert main(["teach", str(bundle_path), *map(str, made[:5]), "--label", "mug"]) == 0


def test_what_cannot_be_read_is_told_after_the_step_and_the_rest_keeps_its_names(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = files(tmp_path / "mugs", RED, 3)
    broken, gone = tmp_path / "broken.jpg", tmp_path / "gone.jpg"
    broken.write_bytes(b"no picture")
    words = ["teach", bundle_path, good[0], broken, gone, *good[1:], "--label", "mug"]
    assert main([*map(str, words)]) == 1
    told = capsys.readouterr()
    assert told.out == "taught 'mug': 3 pictures, 3 now; 5 or more are surer\n"
    assert [line.partition(": ")[0] for line in told.err.splitlines()] == [
        f"left out {gone}",  # first what is no file, then what is no picture
        f"left out {broken}",
    ]
    kept = Overlay(bundle_path).records().present
    assert [one.source for one in kept] == [str(path) for path in good]
    assert main([*map(str, words), "--json"]) == 1
    assert [name for name, _ in json.loads(capsys.readouterr().out)["unreadable"]] == [
        str(gone),
        str(broken),
    ]


NO_PICTURE = "error: there is no picture to teach from; give files, a folder or camera\n"


@pytest.mark.parametrize(
    ("standard_input", "says"),
    [
        (b"", NO_PICTURE),
        (b"\n\n", NO_PICTURE),
        (None, "error: standard input is closed; give the paths as arguments\n"),
        (
            b"gone.jpg\n",
            "error: there is no picture to teach from: gone.jpg: the file cannot be opened "
            "(No such file or directory)\n",
        ),
    ],
)
def test_standard_input_without_a_picture_teaches_nothing(
    bundle_path: Path,
    standard_input: bytes | None,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = None if standard_input is None else io.TextIOWrapper(io.BytesIO(standard_input))
    monkeypatch.setattr(sys, "stdin", given)
    assert main(["teach", str(bundle_path), "-", "--label", "mug"]) == 2
    assert capsys.readouterr().err == says


def test_paths_on_standard_input_are_taught(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = b"".join(os.fsencode(path) + b"\n" for path in files(tmp_path / "mugs", RED, 3))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert main(["teach", str(bundle_path), "-", "--label", "mug"]) == 0
    assert len(Overlay(bundle_path).records().present) == 3


@pytest.mark.parametrize(("target", "says"), [("..", NO_PICTURE), ("gone.jpg", "cannot be opened")])
def test_a_pattern_of_links_that_lead_to_no_picture_teaches_nothing(
    bundle_path: Path,
    tmp_path: Path,
    target: str,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A circle of folders is left out without a word, as `predict` does."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "linked").symlink_to(target)
    assert main(["teach", str(bundle_path), f"{tmp_path}/photos/l*", "--label", "mug"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: there is no picture to teach from")
    assert says in told


def test_that_there_is_no_picture_is_told_before_what_is_wrong_with_the_label(
    bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["teach", str(bundle_path), "gone.jpg", "--label", "ape"]) == 2
    assert "there is no picture to teach from: gone.jpg: " in capsys.readouterr().err


def test_a_camera_is_released_whatever_becomes_of_its_frames(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: list[int] = []
    released: list[str] = []

    def frames(word: str) -> Iterator[Any]:
        try:
            for number, frame in enumerate(pictures(RED, 30)):
                taken.append(number)
                yield frame
        finally:
            released.append(word)

    monkeypatch.setattr(sources, "camera_frames", frames)
    for label, count, code in (("mug", 7, 0), ("ape", 1, 2)):
        taken.clear()
        assert main(["teach", str(bundle_path), "camera", "--label", label, "--count", "7"]) == code
        assert len(taken) == count
    assert released == ["camera", "camera"]
    assert "the release knows 'ape' already" in capsys.readouterr().err
