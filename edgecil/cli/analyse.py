"""`edgecil analyse`: how the shallow and the deep layers of a run learned."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecil.cli import options
from edgecil.cli.training_options import DataDir, Device
from edgecil_devices.output import typed

if TYPE_CHECKING:
    from edgecil.analysis.inspection import Inspection, Similarity


def analyse(
    run: options.RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="Folder of what is written.", show_default="RUN/analysis")
    ] = None,
    task: Annotated[
        int | None,
        typer.Option(
            help="The task whose gradients are drawn.", show_default="the last one learned"
        ),
    ] = None,
    images: Annotated[
        int, typer.Option(help="Test images on which the tasks' networks are compared.")
    ] = 2000,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """Plot gradients, change and similarity of a run's layers, shallow to deep.

    The run must have been trained with --keep-history. Three views, as PNG, SVG, CSV and JSON:
    the gradient's norm over the epochs of one task, the mean squared change between the first and
    the last epoch of every task, and the similarity (linear CKA) of the networks after every task.
    """
    from edgecil.analysis.inspection import inspect_run
    from edgecil.analysis.writing import write_analysis
    from edgecil.training.loop import choose_device

    inspection = inspect_run(
        run, stage=task, data_dir=data_dir, image_count=images, device=choose_device(device)
    )
    folder = out or run / "analysis"
    write_analysis(inspection, folder)
    _print_layers(inspection)
    if inspection.similarity:
        _print_similarity(inspection.similarity)
    for note in inspection.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{folder}: the numbers as JSON and CSV, the plots as PNG and SVG")
    learned = len(inspection.learned_stages)
    if learned < inspection.settings.stage_count:
        print(f"next: go on with {inspection.settings.going_on(run, learned)}")
    else:
        print(f"next: edgecil report {typed(run)} --out report.html")


def _print_layers(inspection: "Inspection") -> None:
    """A line a layer: its mean gradient norm in one task, its mean change over all tasks."""
    stage = inspection.shown_stage
    norms: dict[str, list[float]] = {}
    for row in inspection.gradients:
        if row.stage == stage:
            norms.setdefault(row.layer, []).append(row.norm)
    changes: dict[str, list[float]] = {}
    relative: dict[str, list[float]] = {}
    # The first task starts from nothing; how layers learn one more task is another question.
    later = [change for change in inspection.changes if change.stage > 1]
    for change in later or inspection.changes:
        changes.setdefault(change.layer, []).append(change.mean_squared_change)
        relative.setdefault(change.layer, []).append(change.relative_change)
    print(f"gradient norm in task {stage} (mean over epochs), change (mean over later tasks)")
    print(
        f"{'layer':<6} {'in':<5} {'parameters':>10} {'gradient':>10} {'change':>10} "
        f"{'relative':>10}"
    )
    for layer in inspection.layers:
        print(
            f"{layer.name:<6} {'trunk' if layer.in_trunk else 'block':<5} {layer.parameters:>10} "
            f"{_mean(norms.get(layer.name)):>10} {_mean(changes.get(layer.name)):>10} "
            f"{_mean(relative.get(layer.name)):>10}"
        )


def _print_similarity(similarity: "Similarity") -> None:
    """A line a depth: how alike the networks of different tasks are."""
    stages = similarity.stages
    print(f"linear CKA of the networks after {len(stages)} tasks, {similarity.images} test images")
    print(f"{'depth':<10} {'neighbours':>10} {'first-last':>10}")
    for depth, matrix in similarity.by_depth.items():
        neighbours = [matrix[i][i + 1] for i in range(len(stages) - 1)]
        print(f"{depth:<10} {_mean(neighbours):>10} {_mean([matrix[0][-1]]):>10}")


def _mean(values: list[float] | None) -> str:
    known = [value for value in values or () if math.isfinite(value)]
    return f"{sum(known) / len(known):.3g}" if known else "-"
