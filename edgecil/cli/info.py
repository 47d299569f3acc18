"""`edgecil info`: what a run or a bundle holds, byte by byte."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecil.budget import format_bytes
from edgecil.cli import options
from edgecil.errors import UsageError
from edgecil.words import tasks_in_words
from edgecil_devices._json import json_object
from edgecil_devices.counting import counted
from edgecil_devices.output import typed

if TYPE_CHECKING:
    from edgecil_devices import Bundle
    from edgecil_devices.package import Package


def info(
    source: Annotated[
        Path, typer.Argument(help="Folder of a run, or a bundle.", metavar="RUN|BUNDLE")
    ],
    as_json: options.AsJson = False,
    extract: Annotated[
        Path | None,
        typer.Option(help="Write a bundle's graphs, head and manifest into this new folder."),
    ] = None,
) -> None:
    """Show what a run or a bundle holds."""
    if source.is_dir():
        if extract:
            raise UsageError(f"--extract takes a bundle, and {source} is a run; export it first")
        if (source / "blobs").is_dir():
            raise UsageError(f"{source} is a store; run: edgecil status --store {typed(source)}")
        _run_info(source, as_json)
        return
    from edgecil_devices.bundle import read_bundle
    from edgecil_devices.package import read_package

    if extract:
        _extract(read_bundle(source), extract)
    package = read_package(source)
    if as_json:
        print(
            json.dumps(
                _about(source, package) | json_object(package.manifest_json), allow_nan=False
            )
        )
    else:
        _print_package(source, package)


def _about(source: Path, package: "Package") -> dict[str, Any]:
    """What a file says besides its manifest."""
    from edgecil_devices.signing import signers

    return {
        "bundle" if package.base is None else "update": str(source),
        "size": package.size_bytes,
        "base": package.base,
        "manifest_sha256": package.manifest_sha256,
        "signed_by": signers(package.signatures),
    }


def _print_package(source: Path, package: "Package") -> None:
    from edgecil_devices.prediction_lines import printable

    manifest, about = package.manifest, _about(source, package)
    size = manifest.preprocessing.image_size_px
    kind = "bundle" if package.base is None else "update"
    print(f"{source}: {kind} of {format_bytes(package.size_bytes)}")
    if manifest.release is not None:
        until = f", to be followed by {manifest.expires}" if manifest.expires else ""
        print(f"release: {manifest.release}{until}, manifest sha256 {package.manifest_sha256}")
    print(f"signed: by {', '.join(about['signed_by']) or 'nobody'} (not checked here)")
    if manifest.keys:
        print(f"brings new keys: {', '.join(manifest.keys)}")
    if package.base:
        print(f"base: manifest sha256 {package.base}")
    for what, facts in (("network", manifest.network), ("weights started from", manifest.origin)):
        if facts:
            told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
            print(f"{what}: {printable(told)}")
    print(
        f"pictures: {size} x {size} pixels; weights: {manifest.weights}; "
        f"computes in {manifest.compute}"
    )
    print(f"needs: onnxruntime {manifest.min_onnxruntime} or newer")
    if accuracy := manifest.accuracy:
        print(f"accuracy: {accuracy.in_words(len(manifest.classes))}, measured by the run")
    if unknown := manifest.unknown:
        print(
            f"unknown: other things than these are told with an AUROC of about "
            f"{100 * unknown.auroc:.0f} % (50 is chance), by {unknown.pictures} held-out pictures"
        )
    if manifest.statistics:
        print("can be taught: edgecil teach, with statistics of its classes")
    for number, task in enumerate(manifest.tasks, 1):
        names = printable(", ".join(manifest.classes[task.start : task.stop]))
        print(f"task {number}: {names}")
    for blob in manifest.blobs:
        absent = "" if blob.sha256 in package.blobs else "  (the base has it)"
        size_told = format_bytes(blob.size_bytes)
        several = f"  stands for the tasks {tasks_in_words(blob.tasks)}" if blob.tasks else ""
        print(f"{blob.name:<17} {size_told:>18}  sha256 {blob.sha256}{several}{absent}")
    if package.base:
        print(f"next: edgecil update {typed(source)} --store DIR")
    else:
        print(f"next: edgecil predict {typed(source)} PICTURE.jpg")


def _extract(bundle: "Bundle", folder: Path) -> None:
    """Names in a manifest are plain file names, so nothing can land outside of `folder`."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder; give --extract a new one")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in {**bundle.blobs, "manifest.json": bundle.manifest_json}.items():
        (folder / name).write_bytes(data)
    print(f"wrote {len(bundle.blobs) + 1} files to {folder}", file=sys.stderr)


def _run_info(folder: Path, as_json: bool) -> None:
    from edgecil.budget import Ledger
    from edgecil.training.access import put_right
    from edgecil.training.run import Run

    run = Run(folder)
    settings, results = run.settings(), run.stage_results()
    put_right(folder)
    ledger = Ledger.of_folder(run.state_folder) if run.state_folder.is_dir() else Ledger(())
    if as_json:
        print(
            json.dumps(
                {
                    "run": str(folder),
                    "settings": json_object(run.config_file.read_bytes()),
                    "stages": [asdict(result) for result in results],
                    "state_bytes": ledger.total_bytes,
                    "bytes_by_owner": ledger.by_owner(),
                },
                allow_nan=False,
            )
        )
        return
    classes = sum(len(task.classes) for task in settings.tasks)
    print(f"{folder}: run of {settings.method}, {settings.backbone} cut at {settings.cut}")
    print(f"{settings.exemplars_in_words}; weights in {settings.precision}")
    if origin := settings.origin:
        print(f"starts from: {origin.source}, sha256 {origin.sha256}")
        print(f"licence of these weights: {origin.licence}; trained on: {origin.trained_on}")
    in_all = f"{counted(classes, 'class')} in all"
    learned = results[-1].stage if results else 0
    print(f"tasks: {learned} of {settings.stage_count} learned, {in_all}")
    for result in results:
        print(
            f"task {result.stage}: {counted(result.classes, 'class')}, accuracy "
            f"{result.accuracy_in_words}, {counted(result.exemplars, 'exemplar')}, "
            f"{format_bytes(result.state_bytes)}"
        )
        if result.merge:
            print(f"  before it, {result.merge.in_words}")
    if results and (blocks := results[-1].block_tasks):
        told = " | ".join(map(tasks_in_words, blocks))
        print(f"blocks: {len(blocks)}, which stand for the tasks {told}")
    for owner, size_bytes in ledger.by_owner().items():
        print(f"{owner:<10} {format_bytes(size_bytes):>18}")
    total, budget = format_bytes(ledger.total_bytes), format_bytes(settings.budget_bytes)
    print(f"{'state':<10} {total:>18} of {budget}")
    finished = learned == settings.stage_count
    next_command = (
        f"edgecil export {typed(folder)}" if finished else settings.going_on(folder, learned)
    )
    print(f"next: {next_command}")
