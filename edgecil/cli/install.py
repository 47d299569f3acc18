"""`edgecil install`: a release into a device's store, which is made if there is none."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecil_devices.store.help import DEFAULT_STORE, HELP

Store = Annotated[Path, typer.Option(help=HELP["store"], metavar="DIR")]


def install(
    file: Annotated[Path, typer.Argument(help=HELP["install"], metavar="FILE")],
    store: Store = Path(DEFAULT_STORE),
    trust: Annotated[Path | None, typer.Option(help=HELP["trust"], metavar="KEY")] = None,
) -> None:
    """Make the release in FILE current, once its self-test has passed."""
    from edgecil_devices.store._verbs import tell
    from edgecil_devices.store.install import install as install_release

    tell(install_release(file, store, trust), store)
    print(f"next: edgecil predict {store} PICTURE.jpg", file=sys.stderr)
