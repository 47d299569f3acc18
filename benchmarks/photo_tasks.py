"""Claim: thirty tasks of photos are learned under 5 MB, and a device follows by small updates.

60 classes of CIFAR-100 (drawn by the seed), saved as photos: 50 of each class to learn from and all
test pictures. EfficientNet-Lite0, thin blocks, two classes a task: `edgecil train` learns the first
task, `edgecil learn` each other one, under 5 MB and with at most eight blocks. After every task a
signed release: the first is installed in a store, the others come to it as updates, one after the
other, int8 weights in all of them. At the end the store is rolled back, and rolled back once more,
which returns to where it was. Beside it `slda`, which keeps no pictures, learns the same tasks.

    python benchmarks/photo_tasks.py --out benchmarks/results --work DIR [--tasks 30]

writes photo_tasks.json and .md, with processor and versions. `ms` is the median of one picture on
one thread of this machine, as `edgecil bench` has it, of all releases one after the other when all
is learned. It can be stopped at any time and goes on where it was.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from as_typed import LITE0, THIN_BLOCKS, edgecil, latency_ms, save_pictures
from edgecil.data import ImageDataset, load_dataset
from edgecil.evaluation.results import read_results
from edgecil.memory.state import State
from measurements import write_measured

PHOTOS, A_TASK, BUDGET, MOST_BLOCKS, SEED = 50, 2, "5MB", 8, 1993


@dataclass(frozen=True)
class Tasks:
    """Which photos come when."""

    dataset: ImageDataset
    """Where they are from."""
    classes: NDArray[np.int64]
    """(tasks, classes a task), labels."""

    @classmethod
    def drawn(cls, dataset: ImageDataset, count: int) -> "Tasks":
        """So many tasks, drawn by the seed."""
        order = np.random.default_rng(SEED).permutation(len(dataset.classes))
        return cls(dataset, order[: count * A_TASK].reshape(count, A_TASK))

    @property
    def names(self) -> list[list[str]]:
        """The classes of each task."""
        return [[self.dataset.classes[label] for label in task] for task in self.classes]

    def save(self, folder: Path, *tasks: int) -> None:
        """Write the photos of tasks, counted from 1, the same each time."""
        for task in tasks:
            draw = np.random.default_rng([SEED, task])
            save_pictures(self.dataset, self.classes[task - 1], PHOTOS, folder, draw)


def learned(run: Path, photos: Path, task: int) -> dict[str, Any]:
    """Learn a task, counted from 1, unless that is done; what it came to."""
    bound = ("--max-blocks", str(MOST_BLOCKS))
    if task == 1 and not (run / "results.json").exists():
        words = ("--budget", BUDGET, "--increment", str(A_TASK), "--seed", str(SEED))
        edgecil("train", "--data", photos, "--run", run, *THIN_BLOCKS, *words, *bound)
    elif len(read_results(run).stages) < task:
        edgecil("learn", run, "--data", photos, *bound)
    stage = read_results(run).stages[-1]
    return {
        "task": task,
        "classes": stage.classes,
        "accuracy": stage.accuracy,
        "state_bytes": stage.state_bytes,
        "exemplars": stage.exemplars,
        "blocks": State.read(run / "state").settings.block_count,
        "merged": stage.merge is not None,
        "learning_s": round(stage.seconds, 1),
    }


def without_pictures(work: Path, tasks: Tasks) -> list[float | None]:
    """The accuracy of slda after every task."""
    run, photos, listed = work / "slda", work / "all", work / "tasks.toml"
    if not photos.exists():
        tasks.save(photos, *range(1, len(tasks.classes) + 1))
    told = (json.dumps(names, allow_nan=False) for names in tasks.names)
    listed.write_text("".join(f"[[task]]\nclasses = {names}\n" for names in told))
    words = ("--tasks", listed, "--budget", BUDGET, "--seed", str(SEED), "--method", "slda")
    edgecil("train", "--data", photos, "--run", run, "--resume", *LITE0, *words)
    return [stage.accuracy for stage in read_results(run).stages]


def sent(work: Path, task: int) -> Path:
    """Bring the release of a task to the store: a bundle first, then updates; what was sent."""
    run, key, store = work / "run", work / "edgecil.key", work / "store"
    bundle, update = bundle_of(work, task), work / f"{task}.update"
    if not key.exists():
        edgecil("keys", "new", key)
    if task == 1:
        edgecil("export", run, "--weights", "int8", "--sign", key, "--out", bundle)
        edgecil("install", bundle, "--store", store, "--trust", f"{key}.pub")
        return bundle
    made = ("--since", bundle_of(work, task - 1), "--sign", key, "--out", update)
    edgecil("update", run, *made, "--bundle", bundle)
    edgecil("update", update, "--store", store)
    return update


def bundle_of(work: Path, task: int) -> Path:
    """Where the release of a task lies."""
    return work / f"{task}.edgecil"


def current(store: Path) -> int:
    """The release that a store answers with."""
    return int(json.loads(edgecil("status", "--store", store, "--json"))["release"])


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line a task."""
    columns = (
        *("task", "classes", "accuracy", "slda", "state_bytes", "exemplars", "blocks", "merged"),
        *("sent_bytes", "ms", "learning_s"),
    )
    yield f"| {' | '.join(name.replace('_', ' ') for name in columns)} |"
    yield "|---" * len(columns) + "|"
    for row in rows:
        shown = row | {name: f"{row[name]:.1f}" for name in ("accuracy", "slda")}
        shown["merged"] = "yes" * row["merged"]
        cells = [one if isinstance(one := shown[name], str) else f"{one:,}" for name in columns]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Learn and send what is not there yet, and write what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--work", type=Path, default=Path("runs/photo-tasks"))
    parser.add_argument("--tasks", type=int, default=30)
    asked = parser.parse_args()
    for folder in (asked.out, asked.work):
        folder.mkdir(parents=True, exist_ok=True)
    kept, store = asked.work / "rows.json", asked.work / "store"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    tasks = Tasks.drawn(load_dataset("cifar100"), asked.tasks)
    for task in range(len(rows) + 1, asked.tasks + 1):
        photos = asked.work / "photos" / f"{task:02}"
        if not photos.exists():
            tasks.save(photos, task)
        row = learned(asked.work / "run", photos, task)
        rows.append(row | {"sent_bytes": sent(asked.work, task).stat().st_size})
        print(rows[-1], flush=True)
        kept.write_text(json.dumps(rows, allow_nan=False))
    other = without_pictures(asked.work, tasks)
    rows = [row | {"slda": accuracy} for row, accuracy in zip(rows, other, strict=True)]
    for row in rows:
        row["ms"] = round(latency_ms(bundle_of(asked.work, row["task"]), 3.0), 2)
    releases = [current(store)]
    for _ in range(2):
        edgecil("rollback", "--store", store)
        releases.append(current(store))
    file = asked.out / "photo_tasks.json"
    write_measured(file, rows, releases=releases)
    lines = "\n".join(table(rows))
    print(lines)
    file.with_suffix(".md").write_text(
        f"EfficientNet-Lite0, thin blocks, {PHOTOS} photos a class, {A_TASK} classes a task, "
        f"{BUDGET}, at most {MOST_BLOCKS} blocks; accuracy in percent.\n\n{lines}\n\n"
        f"The store's release before and after each of two rollbacks: {releases}.\n"
    )


if __name__ == "__main__":
    main()
