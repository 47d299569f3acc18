"""Run folders with made-up results, as small as a report needs them.

Accuracies fall along a straight line, so that every table entry can be worked out by hand.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgecil.training.settings import PlannedTask, RunSettings, Source

SETTINGS = RunSettings(
    sources=(Source("made", 0.2, "f00d"),),
    image_size_px=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    mirrors=True,
    tasks=(),
    seed=1993,
    method="memo",
    backbone="resnet14",
    cut="last",
    trunk="auto",
    budget_bytes=8 * 2**20,
    accounting="strict",
    tasks_ahead=0,
    codec="webp-lossless",
    precision="fp16",
    recipe="fast",
)


def write_run(
    folder: Path,
    *,
    start: float = 90.0,
    loss: float = 10.0,
    sizes: Sequence[int] = (2, 2, 2),
    finished: int | None = None,
    nearest_mean: float | None = None,
    confusion: bool = True,
    edgecil: str | None = None,
    **changed: Any,
) -> Path:
    """A run of which every task has `start` percent at first, and `loss` less after each later one.

    Args:
        folder: is made.
        start: accuracy of a task when it is new.
        loss: points that a task loses with every later task.
        sizes: classes of every task.
        finished: tasks that are learned; all if None.
        nearest_mean: what the nearest mean is better by, if it was measured.
        confusion: whether confusion.csv is there.
        edgecil: version that wrote the run; the installed one if None.
        changed: settings.
    """
    folder.mkdir(parents=True)
    names = [f"class-{label:02d}" for label in range(sum(sizes))]
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    tasks = tuple(
        PlannedTask(tuple(names[end - size : end]), 0)
        for end, size in zip(ends, sizes, strict=True)
    )
    settings = replace(SETTINGS, tasks=tasks, **changed)
    settings.save(folder / "config.json")
    stages = []
    for k in range(len(sizes) if finished is None else finished):
        by_task = [start - loss * (k - i) for i in range(k + 1)]
        accuracy = sum(size * a for size, a in zip(sizes, by_task, strict=False)) / ends[k]
        owners = {"trunk": 2**18, "blocks": (k + 1) * 2**19, "head": 2**12, "exemplars": 2**21}
        stages.append(
            {
                "stage": k + 1,
                "classes": ends[k],
                "accuracy": accuracy,
                "accuracy_by_task": by_task,
                "nearest_mean_accuracy": None if nearest_mean is None else accuracy + nearest_mean,
                "state_bytes": sum(owners.values()) + 100,
                "bytes_by_owner": owners | {"names": 100},
                "exemplars": 1000,
                "seconds": 60.0,
            }
        )
    if stages:
        results = {
            "method": settings.method,
            "backbone": settings.backbone,
            "budget_bytes": settings.budget_bytes,
            "seed": settings.seed,
            "finished": len(stages) == len(sizes),
            "stages": stages,
            "versions": {"edgecil": edgecil or version("edgecil"), "python": "3.11.7"},
            "hardware": {"processor": "AMD EPYC", "cores": 2, "device": "cpu", "threads": 1},
        }
        (folder / "results.json").write_text(json.dumps(results))
    if confusion:
        rows = [
            [8 * (t == p) + 2 * (p == (t + 1) % len(names)) for p in range(len(names))]
            for t in range(len(names))
        ]
        (folder / "confusion.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    return folder
