"""Commands that are proposed can be typed as they are shown, whatever a folder is called."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil_devices.errors import StoreError
from edgecil_devices.store.reading import read_current


def test_the_remedy_for_a_folder_that_is_no_store(tmp_path: Path) -> None:
    folder = tmp_path / "my store"
    folder.mkdir()
    with pytest.raises(StoreError) as caught:
        read_current(folder)
    words = shlex.split(str(caught.value).partition("run: ")[2])
    assert words == ["edgecil", "install", "BUNDLE", "--store", str(folder)]


def test_what_comes_next(bundle_path: Path, tmp_path: Path) -> None:
    bundle = bundle_path.rename(tmp_path / "my bundle.edgecil")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "p.png")
    command = [sys.executable, "-m", "edgecil", "predict", str(bundle), str(tmp_path / "p.png")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    words = shlex.split(told.partition("next: ")[2])
    assert words == ["edgecil", "info", str(bundle)]
