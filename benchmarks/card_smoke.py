"""Does every method learn on the device at hand what it learns on the processor?

    python benchmarks/card_smoke.py                 # on the fastest device there is
    python benchmarks/card_smoke.py --device cpu    # a rehearsal: equal to the byte

The first thing to run on a graphics card that edgecil has not met; a minute or two. Each method
learns four colours in two tasks: on the processor, on the device, and there again, stopped in the
second task (slda, which trains in the first alone, in that) and gone on with. Two more rows have
augmented pictures, and larger ones. Shown are

- the last accuracies, which differ by chance where the bits do: the trainings are short;
- how alike the two networks' features are (linear CKA, worked out on the device, 1 at best);
- whether the files of the state are those of the processor, and whether a stop changed them.

The end is 1 if a row fails. edgecil must be installed, since a run notes its version.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from edgecil.analysis.views import FEATURES, similarities
from edgecil.data import ImageDataset, Split
from edgecil.data.datasets import fingerprint_of
from edgecil.memory.state import State
from edgecil.methods import METHODS, method_named
from edgecil.methods.lesson import Phase
from edgecil.methods.recipes import recipe_named
from edgecil.training.api import SilentReporter, train
from edgecil.training.loop import EpochReport, choose_device, half_precision_pays
from edgecil.training.request import TrainRequest
from edgecil.training.run import hardware, versions
from edgecil.training.stopping import EXIT_STOPPED, Stopped
from edgecil_devices.images import Preprocessing

CPU = torch.device("cpu")
FAILED = "failed"
"""What the table says of a row that did."""


@dataclass(frozen=True)
class Row:
    """What is learned, and how."""

    name: str
    """As the table has it."""
    method: str
    """Name of the method."""
    image_size_px: int = 32
    """Height and width of the pictures."""
    augmentation: str = "plain"
    """What is done to them."""


ROWS = (
    *(Row(method, method) for method in METHODS),
    Row("thrift, augmented", "thrift", augmentation="autoaugment+cutout"),
    Row("replay, 72 px", "replay", image_size_px=72),
)


class _StopsOnce(SilentReporter):
    """Stops the run after the first epoch of the second task, or of the only one that has any."""

    def __init__(self, method: str) -> None:
        self._phases = 0
        self._in = 2 if method_named(method).epochs(recipe_named("fast", method), 2) else 1

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        self._phases += report.epoch == 1
        if report.epoch == 1 and self._phases == self._in:
            raise Stopped("to be gone on with", EXIT_STOPPED)


def colours(image_size_px: int, pictures: int) -> ImageDataset:
    """Four classes of noisy colours, with so many pictures to learn from each: soon learned."""
    draw = np.random.default_rng(0)
    means = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200), (190, 190, 60)])

    def split(per_class: int) -> Split:
        labels = np.repeat(np.arange(len(means)), per_class)
        noise = draw.integers(-60, 61, (len(labels), image_size_px, image_size_px, 3))
        noise += draw.integers(-40, 41, (len(labels), 1, 1, 3))  # of the whole picture
        pixels = np.clip(means[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
        return Split(pixels, labels, Preprocessing(image_size_px))

    names = ("red", "green", "blue", "yellow")
    train_split, test_split = split(pictures), split(pictures)
    return ImageDataset(
        name="colours",
        classes=names,
        train=train_split,
        test=test_split,
        image_size_px=image_size_px,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        fingerprint=fingerprint_of(names, train_split, test_split),
    )


def request_of(row: Row, epochs: int) -> TrainRequest:
    """How a row is learned."""
    return TrainRequest(
        data="colours",
        budget="2MB",
        increment=2,
        method=row.method,
        backbone="resnet14",
        precision="fp16",
        codec="webp-lossless",
        augmentation=row.augmentation,
        image_size_px=row.image_size_px,
        epochs=epochs,
        batch_size=16,
        seed=1,
    )


def smoked(row: Row, dataset: ImageDataset, device: torch.device, epochs: int, here: Path) -> str:
    """Learn a row three times in the folder `here` -> its line of the table."""

    def learned(name: str, device_type: str, reporter: SilentReporter | None = None) -> float:
        results = train(
            request_of(row, epochs),
            here / name,
            device=device_type,
            resume=True,
            keep_history=True,
            dataset=dataset,
            reporter=reporter,
        )
        return results[-1].accuracy or 0.0

    def state_files(name: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (here / name / "state").iterdir()}

    on_processor = learned("processor", "cpu")
    started = time.perf_counter()
    on_device = learned("device", device.type)
    seconds = time.perf_counter() - started
    try:
        learned("stopped", device.type, _StopsOnce(row.method))
    except Stopped:
        stopped = learned("stopped", device.type)
    else:
        raise RuntimeError("the run was to stop, and did not")

    networks = [State.read(here / name / "state").network() for name in ("processor", "device")]
    alike = similarities(networks, dataset.test.pixels(), device)[FEATURES][0, 1]
    same = state_files("device") == state_files("processor")
    same_after_stop = state_files("device") == state_files("stopped")
    cells = (
        row.name,
        *(f"{accuracy:.0f}" for accuracy in (on_processor, on_device, stopped)),
        f"{alike:.3f}",
        "yes" if same else "no",
        "yes" if same_after_stop else "no",
        f"{seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def line_of(row: Row, device_name: str, epochs: int, pictures: int) -> str:
    """The line of a row, which says so where it failed: the other rows are to be seen, too."""
    try:
        device = choose_device(device_name)
        with tempfile.TemporaryDirectory() as folder:
            dataset = colours(row.image_size_px, pictures)
            return smoked(row, dataset, device, epochs, Path(folder))
    except Exception as error:
        traceback.print_exc()
        return f"| {row.name} | {FAILED}: {type(error).__name__} | | | | | | |"


def lines_of(rows: Sequence[Row], at_once: int, asked: argparse.Namespace) -> Iterator[str]:
    """The line of each row, in their order; so many are learned at once, in processes."""
    one = partial(line_of, device_name=asked.device, epochs=asked.epochs, pictures=asked.pictures)
    if at_once == 1:
        yield from map(one, rows)
        return
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
        yield from pool.map(one, rows)


def heading(device: torch.device, epochs: int, pictures: int, at_once: int) -> str:
    """What was run on what, and the head of the table."""
    machine = hardware(device)
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    return (
        "# Every method on the device and on the processor\n\n"
        f"{machine.get('gpu', device.type)} beside {machine['processor']}; bfloat16 "
        f"{'on' if half_precision_pays(device) else 'not on'} the device, "
        f"{'on' if half_precision_pays(CPU) else 'not on'} the processor; "
        f"{packages}. Four classes of {pictures} pictures in two tasks, {epochs} epochs each, "
        f"once, {at_once} rows at a time. "
        "Made by `benchmarks/card_smoke.py`, which says what is compared.\n\n"
        "| | processor, % | device, % | stopped, % | features alike | processor's bytes "
        "| same bytes after a stop | seconds |\n|---|---|---|---|---|---|---|---|"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every row, print the table as it grows, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="auto", help="as edgecil train takes it")
    parser.add_argument("--epochs", type=int, default=8, help="a task")
    parser.add_argument("--pictures", type=int, default=32, help="to learn from, a class")
    parser.add_argument("--only", nargs="+", choices=METHODS, help="rows of these methods")
    parser.add_argument("--at-once", type=int, default=1, help="rows that are learned at once")
    parser.add_argument("--out", type=Path, help="a file for the table")
    asked = parser.parse_args(arguments)
    rows = [row for row in ROWS if not asked.only or row.method in asked.only]
    lines = [heading(choose_device(asked.device), asked.epochs, asked.pictures, asked.at_once)]
    print(lines[0], flush=True)
    for line in lines_of(rows, asked.at_once, asked):
        lines.append(line)
        print(line, flush=True)
        if asked.out:
            asked.out.write_text("\n".join(lines) + "\n")
    return int(any(FAILED in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
