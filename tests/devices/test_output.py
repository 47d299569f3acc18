"""Standard output that cannot be written, by both command lines, with real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

DOORS = {
    "edgecil": [sys.executable, "-c", "from edgecil.cli import main; main()"],
    "edgecil_devices": [sys.executable, "-m", "edgecil_devices"],
}
FULL = "error: the output cannot be written: No space left on device\n"


def ended(words: list[str], *, stdout: int, unbuffered: str = "") -> tuple[int, str]:
    """The exit code of a process and what it said on standard error."""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    finished = subprocess.run(
        words, stderr=subprocess.PIPE, text=True, check=False, env=environment, stdout=stdout
    )
    return finished.returncode, finished.stderr


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(path)
    return path


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def unbuffered(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("door", DOORS)
def test_a_full_disk_is_told_by_a_verb_that_writes_as_it_goes(
    bundle_path: Path, picture: Path, door: str, unbuffered: str
) -> None:
    words = [*DOORS[door], "predict", str(bundle_path), str(picture)]
    with Path("/dev/full").open("wb") as full:
        assert ended(words, unbuffered=unbuffered, stdout=full.fileno()) == (1, FULL)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("words", ["--help", "--version", "doctor BUNDLE"])
def test_a_full_disk_is_told_by_what_prints_at_once(
    bundle_path: Path, door: str, words: str
) -> None:
    asked = words.replace("BUNDLE", str(bundle_path)).split()
    with Path("/dev/full").open("wb") as full:
        assert ended([*DOORS[door], *asked], stdout=full.fileno()) == (1, FULL)


@pytest.mark.parametrize("door", DOORS)
def test_an_error_of_the_verb_goes_before_one_of_the_output(
    tmp_path: Path, bundle_path: Path, picture: Path, door: str
) -> None:
    words = [*DOORS[door], "predict", str(tmp_path / "none"), str(picture)]
    with Path("/dev/full").open("wb") as full:
        code, said = ended(words, stdout=full.fileno())
    assert (code, said.count("\n")) == (1, 1)
    assert str(tmp_path / "none") in said


@pytest.mark.parametrize("door", DOORS)
def test_an_output_that_nobody_reads_ends_it_silently(bundle_path: Path, door: str) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert ended([*DOORS[door], "doctor", str(bundle_path), "--json"], stdout=write) == (
            141,
            "",
        )
    finally:
        os.close(write)


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_stream_closed_from_the_start_is_no_matter(
    bundle_path: Path, picture: Path, closed: str
) -> None:
    words = [*DOORS["edgecil_devices"], "predict", str(bundle_path), str(picture)]
    shell = ["sh", "-c", f'"$@" {closed}', "sh", *words]
    assert ended(shell, stdout=subprocess.DEVNULL) == (0, "")
