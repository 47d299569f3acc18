"""`edgecil keys`: the key pairs that sign releases."""

import os
from pathlib import Path
from typing import Annotated

import typer

from edgecil_devices.output import typed

keys = typer.Typer(
    help="Make and show the keys that sign releases.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
KeyFile = Annotated[Path, typer.Argument(help="The private key's file.", metavar="KEY")]


@keys.command("new")
def new(path: KeyFile = Path("edgecil.key")) -> None:
    """Make a private key in KEY and its public key in KEY.pub; nothing is written over.

    With EDGECIL_PASSPHRASE set the private key is encrypted with it.
    """
    _new(path)
    print(f"next: edgecil export RUN --sign {typed(path)}, and once on each device")
    print(f"      edgecil install BUNDLE --store DIR --trust {typed(f'{path.name}.pub')}")


@keys.command("show")
def show(path: KeyFile = Path("edgecil.key")) -> None:
    """Print the public key of a private key, or of a .pub file."""
    from edgecil_devices.signing import read_public_keys
    from edgecil_export.keys import public_text

    texts = read_public_keys(path).texts if path.suffix == ".pub" else (public_text(path),)
    for text in texts:
        print(text)


@keys.command("rotate")
def rotate(
    old: Annotated[Path, typer.Argument(help="The private key that devices trust.", metavar="OLD")],
    path: Annotated[Path, typer.Argument(help="The file of the new private key.", metavar="NEW")],
) -> None:
    """Make a key that takes the place of OLD, and say how devices come to trust it.

    Releases that are signed with both tell them, until the last device has one; then NEW will do.
    """
    from edgecil_export.keys import public_path, public_text

    public_text(old)  # it must be there and readable, or the rotation could not go on
    _new(path)
    print("next: until the last device has one of them, every release is signed with both keys:")
    both = f"--sign {typed(old)} --sign {typed(path)}"
    print(f"      edgecil export RUN {both} --new-keys {typed(public_path(path))}")
    print(f"      and after that with the new one: edgecil export RUN --sign {typed(path)}")


def _new(path: Path) -> None:
    from edgecil_export.keys import PASSPHRASE_VARIABLE, new_key, public_path

    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    text = new_key(path, passphrase)
    kept = f"encrypted with {PASSPHRASE_VARIABLE}" if passphrase else "not encrypted"
    print(f"wrote {path} (private, {kept}; keep a copy somewhere safe) and {public_path(path)}")
    print(text)
