"""`edgecil demo`: the whole way on built-in pictures, with nothing to download."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgecil.data import ImageDataset

SHOWN_PICTURES = 8
"""Pictures that are classified one by one at the end."""


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Keep run, bundle and pictures in this new folder."),
    ] = None,
    budget: Annotated[str, typer.Option(help="Bound on all that is kept.")] = "2MB",
) -> None:
    """Learn glyphs task by task under a budget, export them, and classify with the runtime."""
    from edgecil.cli.progress import TerminalReporter
    from edgecil.cli.train import say_results
    from edgecil.training.api import train
    from edgecil.training.request import TrainRequest, load_requested

    started = time.perf_counter()
    folder = out or Path(tempfile.mkdtemp(prefix="edgecil-demo-"))
    run = folder / "run"
    try:
        request = TrainRequest(
            data="glyphs", budget=budget, epochs=6, first_epochs=10
        )
        dataset = load_requested(request)
        say_results(run, train(request, run, reporter=TerminalReporter(), dataset=dataset))
        bundle = _exported(run, folder / "glyphs.edgecil")
        _classify(bundle, _saved_pictures(dataset, folder / "pictures"))
    finally:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"all of it took {time.perf_counter() - started:.0f} s")
    print("next: edgecil train --data photos/ --budget 7.6MB, with a folder for each class")


def _exported(run: Path, out: Path) -> Path:
    from edgecil_export import export

    export(run, out)
    return out


def _saved_pictures(dataset: "ImageDataset", folder: Path) -> dict[Path, str]:
    """A few test pictures as PNG files, evenly spread over the classes, and their true names."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    chosen = np.linspace(0, len(dataset.test) - 1, SHOWN_PICTURES).astype(np.int64)
    truth = {}
    for number, pixels in zip(chosen, dataset.test.pixels(chosen), strict=True):
        path = folder / f"{number:04d}.png"
        Image.fromarray(pixels).save(path)
        truth[path] = dataset.classes[dataset.test.labels[number]]
    return truth


def _classify(bundle: Path, truth: dict[Path, str]) -> None:
    from statistics import median

    from edgecil_devices import Classifier

    classifier = Classifier.load(bundle)
    classifier.predict(next(iter(truth)))  # the first run of a session is slower
    times_ms = []
    for path, name in truth.items():
        found = classifier.predict(path)
        times_ms.append(found.timing_ms.total)
        print(f"{path.name}  {found.label} {found.score:.2f}  (is {name})  {times_ms[-1]:.1f} ms")
    print(f"latency {median(times_ms):.1f} ms a picture, median of {len(times_ms)}, without torch")
