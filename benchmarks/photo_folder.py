"""Claim: ten thousand photos of 12 megapixels are read and learned from in under a gigabyte.

A folder of ten classes is made: distinct pictures of 4032 x 3024 pixels, with the spectrum and the
edges of photos, saved as telephones save them (JPEG, quality 90, half the colour resolution), each
file with bytes of its own. Then, each in a process of its own,

    plan    edgecil plan: every file is read and decoded once, and a sample encoded
    read    what edgecil train does to pictures in an epoch, without the network: the same, then
            every picture at 224 px into memory or the file for it, and one pass over all batches

are timed, and the memory of the process with all that it started is looked at every 0.1 s (RSS, so
that what processes share counts twice). And what decoding at a smaller scale changes is measured on
the distinct pictures: how long reading one takes, and how far apart the pixels are that a network
sees, from 0 to 255, against decoding them whole.

    python benchmarks/photo_folder.py --out benchmarks/results [--pictures 10000] [--work FOLDER]

prints the tables and writes photo_folder.md and .json, with processor and versions. The folder
takes about 2 MB a picture, and is deleted in the end.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from edgecil.data import load_dataset
from edgecil.pictures.batches import JoinedPictures, images_on
from edgecil.training.run import hardware, versions
from edgecil_devices.images import read_pixels
from edgecil_devices.limits import usable_cores
from edgecil_devices.preprocessing import AS_STORED, FOR_PHOTOS, Preprocessing

CLASSES, DISTINCT = 10, 20
WIDTH_PX, HEIGHT_PX = 4032, 3024
SIZES_PX = (32, 96, 224)
TRAINED_PX = 224


def photo(seed: int) -> bytes:
    """A JPEG of coloured noise with a photo's spectrum (1/f), and shapes with sharp edges."""
    draw = np.random.default_rng(seed)
    planes = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.float32)
    side = 4
    while side < WIDTH_PX:
        rough = draw.standard_normal((side * 3 // 4, side, 3)).astype(np.float32)
        for channel in range(3):
            smooth = Image.fromarray(rough[..., channel]).resize(
                (WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC
            )
            planes[..., channel] += np.asarray(smooth) * (40 * 4 / side) ** 0.7
        side *= 2
    grey = planes.mean(axis=2, keepdims=True)
    pixels = 120 + grey + 0.4 * (planes - grey)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    shapes = ImageDraw.Draw(image)
    for _ in range(30):
        x, y = int(draw.integers(WIDTH_PX)), int(draw.integers(HEIGHT_PX))
        width, height = (int(side) for side in draw.integers(40, 700, 2))
        colour = tuple(int(part) for part in draw.integers(0, 256, 3))
        one = (shapes.ellipse, shapes.rectangle)[int(draw.integers(2))]
        one((x, y, x + width, y + height), fill=colour)
    # A sensor's noise is what most of a photo's bytes are for.
    noise = draw.normal(0, 3.5, (HEIGHT_PX, WIDTH_PX, 1)).astype(np.float32)
    image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90, subsampling="4:2:0")
    return stream.getvalue()


def make_folder(folder: Path, count: int) -> list[bytes]:
    """Write `count` photos into class folders; returns the distinct ones."""
    distinct = [photo(seed) for seed in range(min(DISTINCT, count))]
    needed_bytes = count * max(map(len, distinct))
    if needed_bytes > shutil.disk_usage(folder).free:
        raise SystemExit(f"{folder} lacks room for {needed_bytes / 1e9:.0f} GB; give --work")
    for number in range(count):
        file = folder / f"class-{number % CLASSES}" / f"{number:05}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(distinct[number % len(distinct)] + f"\n{number}".encode())
    return distinct


def tree_bytes(root: int) -> int:
    """The memory (RSS) of a process and all that it has started."""
    children: dict[int, list[int]] = defaultdict(list)
    resident: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                children[int(fields[1])].append(int(entry))
                resident[int(entry)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        total += resident.get(process, 0)
        waiting += children[process]
    return total


def read(folder: Path) -> None:
    """What training does to the pictures of a folder before the network, one epoch of it."""
    dataset = load_dataset(str(folder), image_size_px=TRAINED_PX)
    for split in (dataset.train, dataset.test):
        classes = [split.subset(np.flatnonzero(split.labels == c)) for c in range(CLASSES)]
        images = images_on(
            torch.device("cpu"),
            JoinedPictures(*classes),
            np.sort(split.labels),
            image_size_px=TRAINED_PX,
            mirrors=True,
            scratch=folder.parent,
        )
        generator = torch.Generator().manual_seed(0)
        batches = images.training_batches(64, generator)
        if split is dataset.test:
            batches = images.plain_batches(64)
        print(sum(len(labels) for _, labels in batches))


def measured(words: list[str]) -> dict[str, float]:
    """Seconds and peak memory of Python with `words` behind it."""
    command = [sys.executable, *words]
    started, peak_bytes = time.perf_counter(), 0
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as own:
        while own.poll() is None:
            peak_bytes = max(peak_bytes, tree_bytes(own.pid))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        if own.returncode:
            log.seek(0)
            raise SystemExit(log.read().decode())
    return {"seconds": seconds, "peak_mb": peak_bytes / 1e6}


def compared(distinct: list[bytes], size_px: int) -> dict[str, float]:
    """What reading photos at a smaller scale saves and changes, at one size of the network."""
    ms: dict[str, list[float]] = defaultdict(list)
    seen: dict[str, list[np.ndarray]] = defaultdict(list)
    for data in distinct:
        for reading in (AS_STORED, FOR_PHOTOS):
            started = time.perf_counter()
            pixels = read_pixels(data, Preprocessing(size_px, reading=reading))
            ms[reading].append((time.perf_counter() - started) * 1e3)
            seen[reading].append(pixels.astype(np.int16))
    apart = np.abs(np.stack(seen[AS_STORED]) - np.stack(seen[FOR_PHOTOS]))
    return {
        "size_px": size_px,
        "whole_ms": median(ms[AS_STORED]),
        "reduced_ms": median(ms[FOR_PHOTOS]),
        "mean_difference": float(apart.mean()),
        "p99_difference": float(np.percentile(apart, 99)),
        "max_difference": int(apart.max()),
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    used = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines = [
        "# A folder of photos of 12 megapixels",
        "",
        f"n = {result['pictures']} JPEG pictures of {WIDTH_PX} x {HEIGHT_PX} in {CLASSES} classes, "
        f"{result['mean_mb']:.1f} MB each; {result['cores']} cores of "
        f"{result['hardware']['processor']}; {used}.",
        "",
        "| what | seconds | ms a picture | peak memory, MB |",
        "|---|---|---|---|",
    ]
    for verb in ("plan", "read"):
        row = result[verb]
        each_ms = row["seconds"] * 1e3 / result["pictures"]
        lines.append(f"| {verb} | {row['seconds']:.0f} | {each_ms:.0f} | {row['peak_mb']:.0f} |")
    lines += [
        "",
        f"Decoded whole and at a smaller scale, n = {result['distinct']}, one thread:",
        "",
        "| network's size, px | whole, ms | smaller, ms | mean difference, of 255 "
        "| 99th percentile | largest |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['size_px']} | {row['whole_ms']:.0f} | {row['reduced_ms']:.0f} | "
        f"{row['mean_difference']:.2f} | {row['p99_difference']:.0f} | {row['max_difference']} |"
        for row in result["scales"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the folder, measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--work", type=Path, help="where the folder of photos is made")
    asked = parser.parse_args()
    if asked.read:
        read(asked.read)
        return
    if asked.work:
        asked.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.work) as work:
        folder = Path(work) / "photos"
        folder.mkdir()
        distinct = make_folder(folder, asked.pictures)
        data = ["--data", str(folder), "--budget", "5MB"]
        result: dict[str, Any] = {
            "pictures": asked.pictures,
            "distinct": len(distinct),
            "mean_mb": float(np.mean([len(one) for one in distinct])) / 1e6,
            "cores": usable_cores(),
            "hardware": hardware(torch.device("cpu")),
            "versions": versions(),
            "scales": [compared(distinct, size_px) for size_px in SIZES_PX],
            "plan": measured(["-m", "edgecil", "plan", *data]),
            "read": measured([__file__, "--read", str(folder)]),
        }
    print(table(result))
    asked.out.mkdir(parents=True, exist_ok=True)
    written = json.dumps(result, indent=1, allow_nan=False)
    (asked.out / "photo_folder.json").write_text(f"{written}\n")
    (asked.out / "photo_folder.md").write_text(table(result))


if __name__ == "__main__":
    main()
