"""`edgecil learn` with pictures that the run has learned under another name, as real processes."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TRAIN = ("--budget", "300kB", "--backbone", "convnet2", "--epochs", "1", "--codec", "raw")


def edgecil(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgecil", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def photos(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True)
    for number in range(6):
        draw = np.random.default_rng([seed, number])
        pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned-twice")
    photos(folder / "old" / "cat", 1)
    photos(folder / "old" / "dog", 2)
    done = edgecil(folder, "train", "--data", "old", *TRAIN, "--increment", "2", "--run", "run")
    assert done.returncode == 0, done.stderr
    return folder


def test_class_of_known_pictures_is_refused_and_the_run_stays_as_it_was(trained: Path) -> None:
    before = (trained / "run" / "config.json").read_bytes()
    shutil.copytree(trained / "old" / "dog", trained / "again" / "wolf")
    done = edgecil(trained, "learn", "run", "--data", "again")
    assert done.returncode == 1
    assert "6 of 6 pictures of the new class 'wolf' are known to the run as dog" in done.stderr
    assert (trained / "run" / "config.json").read_bytes() == before


def test_known_pictures_are_left_out_and_told(trained: Path) -> None:
    photos(trained / "new" / "wolf", 3)
    for number in range(3):
        shutil.copy(trained / f"old/dog/{number}.png", trained / f"new/wolf/husky-{number}.png")
    done = edgecil(trained, "learn", "run", "--data", "new")
    assert done.returncode == 0, done.stderr
    assert "new: 3 pictures that the run has learned as another class, left out" in done.stderr
    assert "new/wolf/husky-1.png: comes as wolf, learned as dog" in done.stderr
