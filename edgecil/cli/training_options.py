"""Options of training that several verbs share, each described once."""

from pathlib import Path
from typing import Annotated

import typer

from edgecil.cli.verbs import described
from edgecil.training.request import DEVICES, TrainRequest
from edgecil_devices.options import one_of

DataDir = Annotated[Path | None, described(TrainRequest, "data_dir")]
Holdout = Annotated[float, described(TrainRequest, "holdout")]
Device = Annotated[str, typer.Option(help=f"{one_of(DEVICES)}.")]
StopAfter = Annotated[
    str | None,
    typer.Option(help="Stop with a checkpoint after 90s, 9m or 1h30m; the exit code is then 75."),
]
