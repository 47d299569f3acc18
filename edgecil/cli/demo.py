"""`edgecil demo`: the whole way on built-in pictures, with nothing to download."""

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from edgecil.errors import BudgetError, UsageError

if TYPE_CHECKING:
    from edgecil.data import ImageDataset
    from edgecil_devices import Classifier

TASKS = """\
[[task]]
classes = ["digit-1", "digit-2", "digit-3", "digit-4", "digit-5", "digit-6", "digit-7", "digit-8"]

[[task]]
classes = ["upper-A", "upper-B", "upper-C", "upper-D", "upper-E", "upper-F", "upper-G", "upper-H"]

[[task]]
classes = ["symbol-at", "symbol-plus", "symbol-hash", "symbol-equals", "symbol-question"]
"""
"""First digits, then letters, then symbols: what `--tasks tasks.toml` takes."""

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
    from edgecil.training.request import TrainRequest
    from edgecil.training.resolving import load_requested
    from edgecil_devices import Classifier
    from edgecil_export import export

    if out and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; give --out a new folder, or delete it")
    started = time.perf_counter()
    folder = out or Path(tempfile.mkdtemp(prefix="edgecil-demo-"))
    run = folder / "run"
    try:
        tasks = folder / "tasks.toml"
        # Few pictures need small batches, or there would be too few steps.
        request = TrainRequest(
            data="glyphs",
            budget=budget,
            tasks=tasks,
            backbone="resnet14",  # a larger one would take more than two minutes
            first_epochs=16,
            epochs=8,
            batch_size=32,
            learning_rate=0.05,
        )
        folder.mkdir(parents=True, exist_ok=True)  # once nothing that was asked for is impossible
        tasks.write_text(TASKS)
        dataset = load_requested(request)
        say_results(run, train(request, run, reporter=TerminalReporter(), dataset=dataset))
        bundle = folder / "glyphs.edgecil"
        for line in export(run, bundle).lines():
            print(line)
        classifier = Classifier.load(bundle)
        pictures = _saved_pictures(dataset, classifier.classes, folder / "pictures")
        _classify(classifier, pictures)
    except BudgetError:  # of which nothing is to stay where another is tried
        if tasks.exists():
            tasks.unlink()
            folder.rmdir()
        raise
    finally:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"all of it took {time.perf_counter() - started:.0f} s")
    print("next: edgecil train --data photos/ --budget 5MB, with a folder for each class")


def _saved_pictures(
    dataset: "ImageDataset", classes: tuple[str, ...], folder: Path
) -> dict[Path, str]:
    """A few test pictures as PNG files, evenly spread over `classes`, and their true names."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    learned = [dataset.classes.index(name) for name in classes]
    pictures = np.flatnonzero(np.isin(dataset.test.labels, learned))
    chosen = pictures[np.linspace(0, len(pictures) - 1, SHOWN_PICTURES).astype(np.int64)]
    truth = {}
    for number, pixels in zip(chosen, dataset.test.pixels(chosen), strict=True):
        path = folder / f"{number:04d}.png"
        Image.fromarray(pixels).save(path)
        truth[path] = dataset.classes[dataset.test.labels[number]]
    return truth


def _classify(classifier: "Classifier", truth: dict[Path, str]) -> None:
    classifier.predict(next(iter(truth)))  # the first run of a session is slower
    times_ms = []
    for path, name in truth.items():
        found = classifier.predict(path)
        times_ms.append(found.timing_ms.total)
        print(f"{path.name}  {found.label} {found.score:.2f}  (is {name})  {times_ms[-1]:.1f} ms")
    print(f"latency {median(times_ms):.1f} ms a picture, median of {len(times_ms)}, without torch")
