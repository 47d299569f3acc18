"""Options that several verbs share, each described once, where training has no part in them."""

from pathlib import Path
from typing import Annotated

import typer

from edgecil.cli.verbs import described
from edgecil_devices.predict import PredictRequest

Sign = Annotated[
    Path | None,
    typer.Option(help="Sign the release with this private key.", metavar="KEY"),
]
ReleaseNumber = Annotated[
    int | None,
    typer.Option(
        "--release",
        help="Number of the release; devices take only higher ones.",
        show_default="of a signed one, one above the last",
    ),
]
NewKeys = Annotated[
    Path | None,
    typer.Option(
        help="Public keys that devices trust from this release on; see keys rotate.",
        metavar="PUB",
    ),
]
Expires = Annotated[
    str | None,
    typer.Option(
        help="Day after which a device should have had a later release; status warns then.",
        metavar="YYYY-MM-DD",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")]
BundleFile = Annotated[Path, described(PredictRequest, "bundle")]
Threads = Annotated[int | None, described(PredictRequest, "threads")]
