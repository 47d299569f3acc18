"""Collections of odd and damaged pictures that others have put together for their decoders.

They come from source packages, fetched once into the cache folder of the user and never kept here.
"""

import os
import subprocess
import sys
import tarfile
from collections import Counter
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from edgecil_devices.errors import ImageError
from edgecil_devices.images import read_image

pytestmark = pytest.mark.slow

# Taken before the tests get a cache folder of their own.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecil-pictures"
SOURCES = {"pypng": "0.0.20", "pillow": version("pillow")}


def source(package: str) -> Path:
    """The unpacked source of a package; skips where it cannot be had."""
    name = f"{package}-{SOURCES[package]}"
    if not (CACHE / name).exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        requirement = f"{package}=={SOURCES[package]}"
        options = ["--quiet", "--no-deps", "--no-binary", package, "--dest", str(CACHE)]
        pip = [sys.executable, "-m", "pip", "download", *options, requirement]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"the source of {requirement} cannot be had")
        archive = CACHE / f"{name}.tar.gz"
        with tarfile.open(archive) as members:
            # Python 3.11.2, which Debian 12 has, knows no filters yet.
            if hasattr(tarfile, "data_filter"):
                members.extractall(CACHE / f"{name}.new", filter="data")
            else:
                members.extractall(CACHE / f"{name}.new")
        archive.unlink()
        (CACHE / f"{name}.new" / name).rename(CACHE / name)
        (CACHE / f"{name}.new").rmdir()
    return CACHE / name


def module(path: Path, patch: pytest.MonkeyPatch) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = module_from_spec(spec)
    patch.setitem(sys.modules, path.stem, loaded)  # it looks itself up there
    spec.loader.exec_module(loaded)
    return loaded


def test_png_suite_looks_as_another_decoder_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code = source("pypng") / "code"
    suite: dict[str, bytes] = module(code / "pngsuite.py", monkeypatch).png
    decoder = module(code / "png.py", monkeypatch)
    compared = 0
    # Those with a capital letter are not of the suite.
    for name, data in ((n, d) for n, d in suite.items() if n.islower()):
        width, height, rows, _ = decoder.Reader(bytes=data).asRGBA8()
        rgba = np.array([list(row) for row in rows], dtype=np.float64).reshape(height, width, 4)
        share = rgba[..., 3:] / 255
        expected = rgba[..., :3] * share + 255 * (1 - share)
        ours = np.asarray(read_image(data), dtype=np.float64)
        # 16 bits are rounded there and cut here; blending may round the other way.
        assert ours.shape == expected.shape, name
        assert np.abs(ours - expected).max() <= 1.5, name
        compared += 1
    assert compared == 26


def test_pillow_s_own_pictures_give_a_picture_or_one_line() -> None:
    folder = source("pillow") / "Tests" / "images"
    outcomes: Counter[str] = Counter()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            image = read_image(path)
        except ImageError as error:
            told = str(error)
            assert told.startswith(f"{path}: "), told
            assert "\n" not in told
            outcomes["refused"] += 1
        else:
            assert image.mode == "RGB", path
            outcomes["read"] += 1
    assert outcomes["read"] > 400
    assert outcomes["refused"] > 300


def test_pillow_s_rotated_pictures_all_come_out_upright() -> None:
    folder = source("pillow") / "Tests" / "images"
    with Image.open(folder / "hopper.jpg") as image:
        upright = np.asarray(image.convert("RGB"), dtype=np.float64)
    turned = sorted(folder.glob("hopper_orientation_*.jpg"))
    assert len(turned) == 7
    for path in turned:
        ours = np.asarray(read_image(path), dtype=np.float64)
        assert np.abs(ours - upright).mean() < 6, path.name
