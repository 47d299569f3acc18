"""`edgecil info`: what a run or a bundle holds, byte by byte."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecil.budget import format_bytes
from edgecil.cli import options
from edgecil.errors import UsageError

if TYPE_CHECKING:
    from edgecil_devices import Bundle


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
        _run_info(source, as_json)
        return
    from edgecil_devices import read_bundle

    bundle = read_bundle(source)
    if extract:
        _extract(bundle, extract)
    if as_json:
        print(json.dumps({"bundle": str(source), "size": bundle.size_bytes} | _manifest(bundle)))
    else:
        _print_bundle(source, bundle)


def _manifest(bundle: "Bundle") -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(bundle.manifest_json)
    return manifest


def _print_bundle(source: Path, bundle: "Bundle") -> None:
    manifest = bundle.manifest
    size = manifest.preprocessing.image_size_px
    print(f"{source}: bundle of {format_bytes(bundle.size_bytes)}")
    print("network: " + ", ".join(f"{key} {value}" for key, value in manifest.network.items()))
    print(f"pictures: {size} x {size} pixels; weights: {manifest.weights}")
    print(f"needs: onnxruntime {manifest.min_onnxruntime} or newer")
    if accuracy := manifest.accuracy:
        print(f"accuracy: {accuracy.overall:.2f} %, measured by the run")
    for number, task in enumerate(manifest.tasks, 1):
        print(f"task {number}: {', '.join(manifest.classes[task.start : task.stop])}")
    for blob in manifest.blobs:
        print(f"{blob.name:<14} {format_bytes(blob.size_bytes):>18}  sha256 {blob.sha256}")
    print(f"next: edgecil predict {source} PICTURE.jpg")


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
    from edgecil.training.run import Run

    run = Run(folder)
    settings, results = run.settings(), run.stage_results()
    ledger = Ledger.of_folder(run.state_folder) if run.state_folder.is_dir() else Ledger(())
    if as_json:
        print(
            json.dumps(
                {
                    "run": str(folder),
                    "settings": json.loads(run.config_file.read_bytes()),
                    "stages": [vars(result) for result in results],
                    "state_bytes": ledger.total_bytes,
                    "bytes_by_owner": ledger.by_owner(),
                }
            )
        )
        return
    classes = sum(len(task.classes) for task in settings.tasks)
    print(f"{folder}: run of {settings.method}, {settings.backbone} cut at {settings.cut}")
    print(f"exemplars: {settings.codec}; weights: {settings.precision}")
    print(f"tasks: {len(results)} of {settings.stage_count} learned, {classes} classes in all")
    for result in results:
        print(
            f"task {result.stage}: {result.classes} classes, accuracy {result.accuracy:.2f} %, "
            f"{result.exemplars} exemplars, {format_bytes(result.state_bytes)}"
        )
    for owner, size_bytes in ledger.by_owner().items():
        print(f"{owner:<10} {format_bytes(size_bytes):>18}")
    total, budget = format_bytes(ledger.total_bytes), format_bytes(settings.budget_bytes)
    print(f"{'state':<10} {total:>18} of {budget}")
    next_command = f"export {folder}" if results else "train --resume, as it was started"
    print(f"next: edgecil {next_command}")
