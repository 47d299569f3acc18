"""Options that several verbs share, each described once, where training has no part in them."""

from pathlib import Path
from typing import Annotated

import typer

from edgecil.cli.verbs import described
from edgecil_devices.predict import PredictRequest

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")]
BundleFile = Annotated[Path, described(PredictRequest, "bundle")]
Compute = Annotated[str, described(PredictRequest, "compute")]
Threads = Annotated[int | None, described(PredictRequest, "threads")]
