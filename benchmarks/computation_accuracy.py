"""Claim: half precision and Winograd's products give the accuracy of single precision.

A bundle that computes in fp32, on all test pictures of CIFAR-100: how many are right, how many get
another class than in single precision, and how far the logits are from there.

    python benchmarks/computation_accuracy.py BUNDLE --out benchmarks/results

prints the table and writes computation_accuracy.json and .md, with processor and versions; a row
for each bundle and computation, and what is there already is not measured again. Winograd's
products are for boards without dot products of bytes, so the runtime is told that this machine is
one (a Raspberry Pi 4); it then proves them on the golden samples as it would there. The graphs are
those of a board; onnxruntime's kernels below them are this processor's.
"""

import argparse
import platform
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from edgecil.data import ImageDataset, load_dataset
from edgecil_devices import Bundle, read_bundle
from edgecil_devices.arrangement_choice import SIDE_BY_SIDE, Choice, keep_choice, key_of
from edgecil_devices.computation import AUTO, FP16, FP32, WINOGRAD
from edgecil_devices.runtime import Runtime
from measurements import Measurements

COMPUTATIONS = (FP32, FP16, WINOGRAD)
THREADS, BATCH = 1, 50
PI_4 = "Features\t: fp asimd evtstrm crc32 cpuid\n"
"""What Linux says of the board's processor, as far as it matters here."""


def runtime_in(bundle: Bundle, compute: str) -> Runtime:
    """The bundle as it is run by this computation."""
    if compute != WINOGRAD:
        return Runtime(bundle, THREADS, compute=compute)
    with ExitStack() as pretended:
        pretended.enter_context(patch("edgecil_devices.runtime.read_cpuinfo", lambda: PI_4))
        pretended.enter_context(patch.object(platform, "machine", lambda: "aarch64"))
        folder = pretended.enter_context(tempfile.TemporaryDirectory())
        key = key_of(bundle.manifest_json, THREADS, AUTO)
        keep_choice(Path(folder, "kept"), key, Choice(SIDE_BY_SIDE, 0.5, WINOGRAD))
        return Runtime(bundle, THREADS, Path(folder, "kept"), AUTO)


def logits_of(runtime: Runtime, data: ImageDataset) -> NDArray[np.float32]:
    """Of all test pictures, (N, C)."""
    rows = np.array_split(np.arange(len(data.test)), -(-len(data.test) // BATCH))
    return np.concatenate([runtime.run(data.test.pixels(some)).logits for some in rows])


def measured(path: Path, compute: str, data: ImageDataset) -> dict[str, Any]:
    """What a computation gives, beside single precision.

    Raises:
        SystemExit: the runtime does not use it.
    """
    bundle = read_bundle(path)
    runtime = runtime_in(bundle, compute)
    if runtime.compute != compute:
        raise SystemExit(runtime.note)
    found, expected = (logits_of(one, data) for one in (runtime, runtime_in(bundle, FP32)))
    places = {name: label for label, name in enumerate(bundle.manifest.classes)}
    labels = np.array([places[data.classes[label]] for label in data.test.labels])
    return {
        "pictures": len(labels),
        "accuracy": round(100 * float(np.mean(found.argmax(1) == labels)), 2),
        "other_classes": int(np.count_nonzero(found.argmax(1) != expected.argmax(1))),
        "off": float(f"{np.abs(found - expected).max() / np.abs(expected).max():.1e}"),
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line for each bundle and computation."""
    columns = ("bundle", "compute", "pictures", "accuracy", "other_classes", "off")
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
        for compute in COMPUTATIONS:
            about = {"bundle": path.stem, "compute": compute}
            if not measurements.has(about):
                measurements.add(about | measured(path, compute, data))
    measurements.write_table(
        "Accuracy in percent on CIFAR-100's test pictures; how many get another class than in "
        "single precision; how far logits are off, as a part of the largest.",
        table,
    )


if __name__ == "__main__":
    main()
