"""Does every method learn on the device at hand what it learns on the processor?

    python benchmarks/card_smoke.py                 # on the fastest device there is
    python benchmarks/card_smoke.py --device cpu    # a rehearsal: equal to the byte
    python benchmarks/card_smoke.py --check         # half a minute: replayed or one by one alone

The first thing to run on a graphics card that edgecil has not met; a minute or two. Each method
learns four colours in two tasks: on the processor, on the device, there again with steps that are
started one by one, and once more, stopped in the second task (slda, which trains in the first
alone, in that) and gone on with. More rows have other networks, batches and pictures. Shown are

- the last accuracies, which differ by chance where the bits do: the trainings are short;
- how alike the two networks' features are (linear CKA, worked out on the device, 1 at best);
- whether the files of the state are those of the processor;
- whether they are those of steps that were started one by one, and whether a stop changed them.

The end is 1 if a row fails, as it does where one of the last two is not so. A row that did not fail
is not learned again where the file of `--out` has it, of the same code on the same machine. edgecil
must be installed, since a run notes its version.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from card_machine import revision, shared_by_mps
from edgecil.analysis.views import FEATURES, similarities
from edgecil.data import ImageDataset, Split
from edgecil.data.datasets import fingerprint_of
from edgecil.memory.state import State
from edgecil.methods import METHODS, method_named
from edgecil.methods.lesson import Phase
from edgecil.methods.recipes import recipe_named
from edgecil.training.api import SilentReporter, train
from edgecil.training.loop import EpochReport, choose_device, half_precision_pays
from edgecil.training.recording import EAGER
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
    options: dict[str, Any] = field(default_factory=dict)
    """Fields of its `TrainRequest` that differ from those of other rows."""
    more_pictures: int = 0
    """A class, than other rows have."""
    checked: bool = False
    """Whether `--check` learns it, too."""


THREE_TASKS = {"base": 2, "increment": 1}
ROWS = (
    *(Row(method, method, checked=method in ("icarl", "foster")) for method in METHODS),
    Row("finetune, convnet2", "finetune", {"backbone": "convnet2"}, checked=True),
    Row("replay, batches of 64 and a short one", "replay", {"batch_size": 64}, 1, checked=True),
    Row("memo, three blocks", "memo", THREE_TASKS, checked=True),
    Row("memo, merged", "memo", THREE_TASKS | {"max_blocks": 2}, checked=True),
    Row(
        "memo, maps of a frozen trunk",
        "memo",
        THREE_TASKS | {"trunk": "freeze", "recipe": "frozen"},
        checked=True,
    ),
    Row("thrift, augmented", "thrift", {"augmentation": "autoaugment+cutout"}),
    Row("replay, 72 px", "replay", {"image_size_px": 72}),
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
    alike: dict[str, Any] = {
        "increment": 2,
        "backbone": "resnet14",
        "augmentation": "plain",
        "image_size_px": 32,
        "batch_size": 16,
    }
    return TrainRequest(
        data="colours",
        budget="2MB",
        method=row.method,
        precision="fp16",
        codec="webp-lossless",
        epochs=epochs,
        seed=1,
        **alike | row.options,
    )


def smoked(
    row: Row, dataset: ImageDataset, device: torch.device, epochs: int, here: Path, *, check: bool
) -> str:
    """Learn a row in the folder `here`, with `check` on the device alone -> its line."""

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

    def same(one: str, other: str) -> bool:
        return state_files(one) == state_files(other)

    started = time.perf_counter()
    on_device = learned("device", device.type)
    seconds = time.perf_counter() - started
    with patch.dict(os.environ, {EAGER: "1"}):
        learned("one by one", device.type)
    one_by_one = "yes" if same("device", "one by one") else FAILED
    if check:
        found = (f"{on_device:.0f}", "", "", "", one_by_one, "", f"{seconds:.1f}")
        return f"| {row.name} | | {' | '.join(found)} |"
    on_processor = learned("processor", "cpu")
    try:
        learned("stopped", device.type, _StopsOnce(row.method))
    except Stopped:
        stopped = learned("stopped", device.type)
    else:
        raise RuntimeError("the run was to stop, and did not")

    networks = [State.read(here / name / "state").network() for name in ("processor", "device")]
    alike = similarities(networks, dataset.test.pixels(), device)[FEATURES][0, 1]
    cells = (
        row.name,
        *(f"{accuracy:.0f}" for accuracy in (on_processor, on_device, stopped)),
        f"{alike:.3f}",
        "yes" if same("device", "processor") else "no",
        one_by_one,
        "yes" if same("device", "stopped") else FAILED,
        f"{seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def line_of(row: Row, device_name: str, epochs: int, pictures: int, *, check: bool) -> str:
    """The line of a row, which says so where it failed: the other rows are to be seen, too."""
    try:
        device = choose_device(device_name)
        with tempfile.TemporaryDirectory() as folder:
            image_size_px = request_of(row, epochs).image_size_px or 0
            dataset = colours(image_size_px, pictures + row.more_pictures)
            return smoked(row, dataset, device, epochs, Path(folder), check=check)
    except Exception as error:
        traceback.print_exc()
        return f"| {row.name} | {FAILED}: {type(error).__name__} | | | | | | | |"


def lines_of(rows: Sequence[Row], at_once: int, asked: argparse.Namespace) -> Iterator[str]:
    """The line of each row, in their order; so many are learned at once, in processes."""
    given = {"epochs": asked.epochs, "pictures": asked.pictures, "check": asked.check}
    one = partial(line_of, device_name=asked.device, **given)
    if at_once == 1:
        yield from map(one, rows)
        return
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
        yield from pool.map(one, rows)


def known_lines(file: Path | None, head: str) -> dict[str, str]:
    """Lines of rows, by name, that an earlier call with the same heading left, but for failures."""
    text = file.read_text() if file and file.exists() else ""
    lines = text.removeprefix(head).splitlines() if text.startswith(head) else []
    return {line.split("|")[1].strip(): line for line in lines if line and FAILED not in line}


def heading(device: torch.device, epochs: int, pictures: int, at_once: int) -> str:
    """What was run on what, and the head of the table."""
    machine = hardware(device)
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    return (
        "# Every method on the device and on the processor\n\n"
        f"{machine.get('gpu', device.type)} beside {machine['processor']}; bfloat16 "
        f"{'on' if half_precision_pays(device) else 'not on'} the device, "
        f"{'on' if half_precision_pays(CPU) else 'not on'} the processor; "
        f"{packages}, revision {revision()}; "
        f"MPS {'runs' if shared_by_mps() else 'does not run'}. "
        f"Four classes of {pictures} pictures in two tasks or three, {epochs} epochs each, "
        f"once, {at_once} rows at a time. "
        "Made by `benchmarks/card_smoke.py`, which says what is compared.\n\n"
        "| | processor, % | device, % | stopped, % | features alike | processor's bytes "
        "| bytes of steps one by one | same bytes after a stop | seconds |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every row, print the table as it grows, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="auto", help="as edgecil train takes it")
    parser.add_argument("--epochs", type=int, default=8, help="a task")
    parser.add_argument("--pictures", type=int, default=32, help="to learn from, a class")
    parser.add_argument("--only", nargs="+", choices=METHODS, help="rows of these methods")
    parser.add_argument("--check", action="store_true", help="a few rows, on the device alone")
    parser.add_argument("--at-once", type=int, default=1, help="rows that are learned at once")
    parser.add_argument("--out", type=Path, help="a file for the table")
    asked = parser.parse_args(arguments)
    rows = [row for row in ROWS if not asked.only or row.method in asked.only]
    rows = [row for row in rows if row.checked or not asked.check]
    head = heading(choose_device(asked.device), asked.epochs, asked.pictures, asked.at_once)
    lines = known_lines(asked.out, head)
    print("\n".join((head, *lines.values())), flush=True)
    missing = [row for row in rows if row.name not in lines]
    for row, line in zip(missing, lines_of(missing, asked.at_once, asked), strict=True):
        lines[row.name] = line
        print(line, flush=True)
        if asked.out:
            found = (lines[one.name] for one in ROWS if one.name in lines)
            asked.out.write_text("\n".join((head, *found)) + "\n")
    return int(any(FAILED in line for line in lines.values()))


if __name__ == "__main__":
    sys.exit(main())
