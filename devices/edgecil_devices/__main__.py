"""`python -m edgecil_devices VERB`: the device's verbs with argparse alone, without typer."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # pip refuses it, but files can be copied
    sys.exit(
        f"error: Python {sys.version.split()[0]} is too old; use 3.11 or newer, which "
        "Raspberry Pi OS 12 has"
    )

from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from edgecil_devices.errors import EdgecilError
from edgecil_devices.files import FULL, told
from edgecil_devices.output import output_written

# A verb's module has add_arguments(parser: ArgumentParser) -> None and run(arguments: Namespace)
# -> int, the exit code. It is imported only when its verb is called.
VERBS = {
    "predict": ("edgecil_devices.predict", "Classify pictures; one line each."),
    "serve": ("edgecil_devices.serving.verb", "Classify pictures in a browser and over HTTP."),
    "bench": ("edgecil_devices.bench", "Measure how fast a bundle is on this device."),
    "doctor": ("edgecil_devices.doctor.verb", "Check this device, and a bundle on it."),
    "install": ("edgecil_devices.store.install", "Make a release current in a store."),
    "update": ("edgecil_devices.store.update", "Bring a store up to date."),
    "rollback": ("edgecil_devices.store.rollback", "Return to the release before."),
    "status": ("edgecil_devices.store.status", "Show what a store holds."),
    "fsck": ("edgecil_devices.store.fsck", "Check every byte of a store."),
}
"""Verb: its module, and what it does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; an error ends it with one line and an exit code of 1 or 2.

    Args:
        argv: the verb and its arguments; None: those of this process.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        with output_written():
            return _run(words)
    except KeyboardInterrupt:
        return 130
    except (EdgecilError, OSError) as error:
        if "--debug" in words:
            raise
        print(f"error: {_told(error)}", file=sys.stderr)
        return error.exit_code if isinstance(error, EdgecilError) else 1


def _run(words: list[str]) -> int:
    parser = ArgumentParser("python -m edgecil_devices", description="edgecil on the device.")
    parser.add_argument("--debug", action="store_true", help="Show where in the code errors arise.")
    parser.add_argument("--version", action="version", version=f"edgecil {_version()}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, (module, description) in VERBS.items():
        of_verb = verbs.add_parser(verb, help=description, description=description)
        if verb in words:
            import_module(module).add_arguments(of_verb)
    arguments = parser.parse_args(words)
    code: int = import_module(VERBS[arguments.verb][0]).run(arguments)
    return code


def _version() -> str:
    try:
        return version("edgecil")
    except PackageNotFoundError:  # copied to the device instead of installed
        return "of unknown version"


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        again = "; make room, and give the same command again" if error.errno in FULL else ""
        return told(error) + again
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
