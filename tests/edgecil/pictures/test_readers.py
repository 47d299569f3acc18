"""Processes that read pictures, where they cannot start or are killed: one sentence each time."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from edgecil.errors import TrainingError
from edgecil.pictures.readers import death_of_readers_told, end_if_only_imported

pytestmark = pytest.mark.slow

SCRIPT = """
import multiprocessing
import sys
from pathlib import Path

import edgecil
from edgecil.pictures import batches

batches.resident_limit_bytes = lambda device: 0  # so little memory that pictures are streamed
batches.fits_on_disk = lambda size, folder: False
multiprocessing.set_start_method(sys.argv[1], force=True)
asked = edgecil.TrainRequest(
    data=sys.argv[2], budget="500kB", backbone="convnet2", image_size_px=16, epochs=1
)
edgecil.train(asked, Path(sys.argv[3]), device="cpu")
"""


class Killed(Dataset[torch.Tensor]):
    """Its reader ends as where memory is full."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_script_without_a_main_guard_is_told_to_have_one(tmp_path: Path, method: str) -> None:
    """As macOS starts processes, and Linux from Python 3.14 on."""
    for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            shade = tuple(min(255, part + number) for part in colour)
            Image.new("RGB", (16, 16), shade).save(tmp_path / "photos" / name / f"{number}.png")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = [sys.executable, "-W", "ignore", str(script), method]
    words += [str(tmp_path / "photos"), str(tmp_path / "run")]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 1
    assert ended.stderr.count("Traceback") == 1
    assert ended.stderr.splitlines()[-1].startswith(
        "edgecil.errors.TrainingError: a process that reads pictures has ended. Does a script call "
        'edgecil.train at its top level? Put the call below if __name__ == "__main__":'
    )


def test_a_process_that_was_killed_is_told_with_the_remedy() -> None:
    loader = DataLoader(Killed(), num_workers=1)
    with (
        pytest.raises(TrainingError, match=r"pictures has ended.* memory was full.* --resume"),
        death_of_readers_told(),
    ):
        list(loader)


@pytest.mark.parametrize("error", [RuntimeError("other"), BrokenPipeError(), EOFError("early")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, death_of_readers_told():
        raise error
    assert caught.value is error


def test_a_process_that_trains_goes_on_and_one_that_imports_its_script_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end_if_only_imported()
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(SystemExit) as ended:
        end_if_only_imported()
    assert ended.value.code == 1
