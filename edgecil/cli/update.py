"""`edgecil update`: on the workstation it makes an update, on a device it takes one."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from edgecil.cli.verbs import Fields, described
from edgecil.errors import UsageError
from edgecil_devices.output import typed
from edgecil_devices.store import update as device
from edgecil_devices.store._verbs import DEFAULT_STORE
from edgecil_devices.store.fetching import LATEST
from edgecil_devices.store.folder import Folder
from edgecil_export.request import PLAIN, ExportRequest

Asked = Annotated[
    dict[str, Any],
    Fields(ExportRequest, without=("weights", "compute", "classifier", "teachable")),
]
"""What makes an update a release; all else is as in the bundle before."""


def update(
    *,
    source: Annotated[
        Path | None,
        typer.Argument(
            help="To make one: a run, or its new bundle. To take one: an update or a bundle.",
            metavar="RUN|FILE",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Make an update for devices that have this bundle, or this release of the run.",
            metavar="BUNDLE|RELEASE",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The update to write.", show_default="NAME.update")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Write the whole new bundle here as well.")
    ] = None,
    lose_unknown: Annotated[
        bool,
        typer.Option(
            "--lose-unknown",
            help="Make it though devices lose their thresholds for --unknown, where new ones "
            "cannot be measured.",
        ),
    ] = False,
    asked: Asked,
    store: Annotated[
        Path, typer.Option(help="Take it into this store.", metavar="DIR")
    ] = DEFAULT_STORE,
    place: Annotated[str | None, described(device.UpdateRequest, "place")] = None,
) -> None:
    """Make an update with what a new release adds to an old bundle, or take one into a store.

    With --since it is made, else it is taken.
    """
    request = _without_the_usual(ExportRequest(**asked, lose_unknown=lose_unknown))
    if since is None:
        if source and source.is_dir():
            raise UsageError(_not_a_file(source))
        if out or bundle or request != PLAIN:
            raise UsageError("--out, --bundle, --sign and the like make an update; give --since")
        _take(source, place, store)
        return
    if place:
        raise UsageError("--since makes an update and --from takes one; give one of them")
    if source is None:
        raise UsageError("name the run whose release the update makes of --since")
    from edgecil_export.releases import bundle_of
    from edgecil_export.update import make_update

    base = bundle_of(source, int(since)) if since.isdecimal() else Path(since)
    target = out or Path(f"{source.resolve().name.removesuffix('.edgecil')}.update")
    report = make_update(source, base, target, request, bundle)
    for line in report.lines():
        print(line)
    print(f"next, on the device: edgecil update {typed(target.name)} --store DIR")


def _not_a_file(folder: Path) -> str:
    """What a folder is that stands where the file to take should, and how it is given."""
    if Folder(folder).exists:
        return f"{folder} is a store; run: edgecil update FILE --store {typed(folder)}"
    if (folder / LATEST).exists():
        return f"{folder} offers releases; take the newest of them: --from {typed(folder)}"
    return f"{folder} is a folder; if a run, say what devices have with --since BUNDLE"


def _without_the_usual(request: ExportRequest) -> ExportRequest:
    """The request as a person typed it: where data usually are is in force without being named."""
    usual = os.environ.get("EDGECIL_DATA")
    is_usual = usual and request.data_dir == Path(usual)
    return replace(request, data_dir=None) if is_usual else request


def _take(source: Path | None, place: str | None, store: Path) -> None:
    if (source is None) == (place is None):
        raise UsageError("give either a file or --from; to make an update: a run and --since")
    device.run(device.UpdateRequest(source, store, place))
    print(f"next: edgecil predict {typed(store)} PICTURE.jpg", file=sys.stderr)
