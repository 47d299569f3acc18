"""What `predict --batch` brings for a folder of pictures: whole commands, side by side.

Claim, for ResNet32 with ten blocks: a folder of 500 pictures is classified in less time with
`--batch 16` than one by one, small pictures and large ones, on one thread and on two; and the
answers are the same.

    python benchmarks/predict_batch.py BUNDLE [--rounds 5]

Every figure is of whole processes, Python's start and loading included, which take turns within
each round; times are medians over the rounds. Pictures are JPEGs with patches and grain, of
640 x 480 and of 64 x 64 pixels. What is measured stands in `results/predict_batch.md` and `.json`,
with hardware and versions.
"""

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from PIL import Image

from edgecil_devices import read_bundle
from edgecil_devices.bench_measuring import sample_picture

BATCHES, THREADS, PICTURES = (1, 4, 16, 64), (1, 2), 500
CLAIMED_BATCH = 16
SIZES_PX = ((64, 64), (640, 480))
"""Width and height."""


class Row(NamedTuple):
    """What one setting came to."""

    width_px: int
    height_px: int
    threads: int
    batch: int
    seconds: float
    """Median, of the whole command."""
    times_as_fast: float
    """Against a batch of one."""


def make_pictures(folder: Path, size_px: tuple[int, int], count: int) -> None:
    """Different pictures, each as large to decode as the others."""
    with Image.open(io.BytesIO(sample_picture())) as opened:
        pixels = np.asarray(opened.resize(size_px))
    for number in range(count):
        moved = np.roll(pixels, number * pixels.shape[1] // count, axis=1)
        Image.fromarray(moved).save(folder / f"{number:04}.jpg", quality=85)


def predict(bundle: Path, folder: Path, threads: int, batch: int) -> tuple[float, list[str]]:
    """Seconds of the command, and its lines without the times."""
    words = ["predict", bundle, folder, "--threads", threads, "--batch", batch]
    command = [sys.executable, "-m", "edgecil_devices", *map(str, words)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    return seconds, [line.rpartition("  ")[0] for line in done.stdout.splitlines()]


def measure(bundle: Path, pictures: int, rounds: int) -> Iterator[Row]:
    """The rows, one after the other."""
    for size_px, threads in product(SIZES_PX, THREADS):
        with TemporaryDirectory() as folder:
            make_pictures(Path(folder), size_px, pictures)
            seconds: dict[int, list[float]] = {batch: [] for batch in BATCHES}
            lines: dict[int, list[str]] = {}
            for _, batch in product(range(rounds), BATCHES):
                took_s, lines[batch] = predict(bundle, Path(folder), threads, batch)
                seconds[batch].append(took_s)
        if any(found != lines[1] for found in lines.values()) or len(lines[1]) != pictures:
            raise SystemExit("batches give other answers than single pictures")
        alone_s = median(seconds[1])
        for batch, times in seconds.items():
            yield Row(*size_px, threads, batch, median(times), alone_s / median(times))


def main() -> int:
    """Measure, print, write; the exit code is 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="any bundle; the results say what is in it")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    load, manifest = os.getloadavg()[0], read_bundle(options.bundle).manifest
    lines = [
        "| pictures | threads | batch | s | pictures a second | times as fast |",
        "|---" * 6 + "|",
    ]
    print(*lines, sep="\n")
    rows = []
    for row in measure(options.bundle, options.pictures, options.rounds):
        rows.append(row)
        lines.append(
            f"| {row.width_px} x {row.height_px} | {row.threads} | {row.batch} | {row.seconds:.2f} "
            f"| {options.pictures / row.seconds:.0f} | {row.times_as_fast:.2f} |"
        )
        print(lines[-1], flush=True)
    versions = {name: version(name) for name in ("edgecil", "numpy", "onnxruntime", "pillow")}
    content = {
        "blocks": len(manifest.blocks),
        "network": manifest.network,
        "pictures": options.pictures,
        "rounds": options.rounds,
        "rows": [row._asdict() for row in rows],
        "load_before": load,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version()} | versions,
    }
    heading = (
        f"# `predict --batch`\n\n{options.pictures} JPEGs, {len(manifest.blocks)} blocks of "
        f"{manifest.network.get('backbone', 'another network')}; medians of {options.rounds} whole "
        f"commands, Python's start and loading included. {content['processor']}, "
        f"{content['cores']} cores, on which {load:.1f} other programs were running (load before "
        f"the start); {', '.join(f'{name} {number}' for name, number in versions.items())}. Made "
        "by `benchmarks/predict_batch.py`.\n"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "predict_batch.json").write_text(
        json.dumps(content, indent=1, allow_nan=False) + "\n"
    )
    (options.out / "predict_batch.md").write_text("\n".join([heading, *lines]) + "\n")
    claimed = [row for row in rows if row.batch == CLAIMED_BATCH]
    holds = all(row.times_as_fast > 1 for row in claimed)
    print(f"batches of {CLAIMED_BATCH} are faster everywhere: {'yes' if holds else 'MISSED'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
