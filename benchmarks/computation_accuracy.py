"""Claim: half precision and Winograd's products give the accuracy of single precision.

A bundle that computes in fp32, on all test pictures of CIFAR-100: how many are right, how many get
another class than in single precision, and how far the logits are from there. On this processor
(`chosen_runtime.py` says what it has of a board's), and the first 200 pictures on the emulated
boards that would compute so, a Raspberry Pi 5 and 4, against single precision here.

    python benchmarks/computation_accuracy.py BUNDLE... --out benchmarks/results

prints the table and writes computation_accuracy.json and .md, with processor and versions; what is
there already is not measured again.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import emulated
from chosen_runtime import runtime_in
from computation_accuracy_guest import logits_of
from edgecil.data import ImageDataset, load_dataset
from edgecil_devices import read_bundle
from edgecil_devices.computation import FP16, FP32, WINOGRAD
from measurements import Measurements, Row

HERE = Path(__file__).parent
WHERE = (("here", FP32), ("here", FP16), ("here", WINOGRAD), ("pi5", FP16), ("pi4", WINOGRAD))
"""Machines and computations: this one, and emulated boards."""
ON_BOARDS = 200
"""Pictures."""


def logits_on(board: str, path: Path, compute: str, pixels: NDArray[np.uint8]) -> Any:
    """Logits of pictures (N, S, S, 3) on an emulated board, (N, C).

    Raises:
        CalledProcessError: it does not run there.
    """
    environment = emulated.environment(emulated.requirements())
    with tempfile.TemporaryDirectory() as folder:
        taken, given = Path(folder, "pixels.npy"), Path(folder, "logits.npy")
        np.save(taken, pixels)
        script = HERE / "computation_accuracy_guest.py"
        words = (script, path.resolve(), compute, taken, given)
        subprocess.run(["bash", emulated.PI, "run", board, *words], env=environment, check=True)
        return np.load(given)


def measured(path: Path, missing: Sequence[tuple[str, str]], data: ImageDataset) -> Iterator[Row]:
    """What computations of a bundle give, beside single precision here."""
    bundle, pixels = read_bundle(path), data.test.pixels()
    places = {name: label for label, name in enumerate(bundle.manifest.classes)}
    labels = np.array([places[data.classes[label]] for label in data.test.labels])
    in_single = logits_of(runtime_in(bundle, FP32), pixels)
    for machine, compute in missing:
        count = len(pixels) if machine == "here" else ON_BOARDS
        expected, right = in_single[:count], labels[:count]
        if machine != "here":
            found = logits_on(machine, path, compute, pixels[:count])
        elif compute == FP32:
            found = in_single
        else:
            found = logits_of(runtime_in(bundle, compute), pixels)
        yield {
            "bundle": path.stem,
            "machine": machine,
            "compute": compute,
            "pictures": count,
            "accuracy": round(100 * float(np.mean(found.argmax(1) == right)), 2),
            "other_classes": int(np.count_nonzero(found.argmax(1) != expected.argmax(1))),
            "off": float(f"{np.abs(found - expected).max() / np.abs(expected).max():.1e}"),
        }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line for each bundle and computation."""
    columns = ("bundle", "machine", "compute", "pictures", "accuracy", "other_classes", "off")
    yield f"| {' | '.join(name.replace('_', ' ') for name in columns)} |"
    yield "|---" * len(columns) + "|"
    for row in rows:
        yield f"| {' | '.join(str(row[name]) for name in columns)} |"


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    asked = parser.parse_args()
    measurements = Measurements(asked.out, "computation_accuracy")
    data = load_dataset("cifar100")
    for path in asked.bundles:
        missing = [
            (machine, compute)
            for machine, compute in WHERE
            if not measurements.has({"bundle": path.stem, "machine": machine, "compute": compute})
        ]
        if missing:
            for row in measured(path, missing, data):
                measurements.add(row)
    measurements.write_table(
        "Accuracy in percent on CIFAR-100's test pictures; how many get another class than in "
        "single precision; how far logits are off, as a part of the largest.",
        table,
    )


if __name__ == "__main__":
    main()
