"""`edgecil predict`: pictures in, one line each out. Needs nothing but a base installation."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecil.cli import options
from edgecil.errors import ImageError

if TYPE_CHECKING:
    from edgecil_devices import Prediction


def predict(
    bundle: options.BundleFile,
    files: Annotated[list[Path], typer.Argument(help="Pictures.", metavar="FILES...")],
    top: Annotated[int, typer.Option(help="How many of the likeliest classes to show.")] = 3,
    threads: options.Threads = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a picture.")
    ] = False,
) -> None:
    """Classify pictures. One that cannot be read is reported, and the others go on."""
    from edgecil_devices import Classifier

    classifier = Classifier.load(bundle, threads)
    unreadable = 0
    for file in files:
        try:
            prediction = classifier.predict(file, top=top)
        except ImageError as error:
            unreadable += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        line = json.dumps(_record(file, prediction)) if as_json else _line(file, prediction)
        print(line, flush=True)
    if unreadable:
        raise typer.Exit(code=1)
    print(f"next: edgecil info {bundle}", file=sys.stderr)


def _line(file: Path, prediction: "Prediction") -> str:
    candidates = "  ".join(f"{label} {score:.2f}" for label, score in prediction.top)
    return f"{file}  {candidates}  {prediction.timing_ms.total:.1f} ms"


def _record(file: Path, prediction: "Prediction") -> dict[str, Any]:
    times = {part: round(ms, 3) for part, ms in vars(prediction.timing_ms).items()}
    return {
        "source": str(file),
        "label": prediction.label,
        "score": prediction.score,
        "top": [candidate._asdict() for candidate in prediction.top],
        "ms": times,
    }
