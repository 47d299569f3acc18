"""Runs in the emulator: `on_device.py FOLDER OUT` runs every bundle of a folder on pixels.npy."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgecil_devices.bundle import read_bundle
from edgecil_devices.runtime import Runtime
from edgecil_devices.selftest import self_test


def main(folder: Path, out: Path) -> None:
    """Write the logits (N, C) of each bundle, by its name, to `out`, after its self-test."""
    pixels = np.load(folder / "pixels.npy")
    logits: dict[str, Any] = {}
    for path in sorted(folder.glob("*.edgecil")):
        bundle = read_bundle(path)
        assert self_test(bundle, threads=1).samples > 0
        logits[path.stem] = Runtime(bundle, threads=1).run(pixels).logits
    np.savez(out, **logits)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
