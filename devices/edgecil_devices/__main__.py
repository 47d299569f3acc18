"""`python -m edgecil_devices VERB`: the device's verbs with argparse alone, without typer."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # pip refuses it, but files can be copied
    sys.exit(
        f"error: Python {sys.version.split()[0]} is too old; use 3.11 or newer, which "
        "Raspberry Pi OS 12 has"
    )

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, get_type_hints

from edgecil_devices.errors import EdgecilError
from edgecil_devices.files import FULL, told
from edgecil_devices.options import add_arguments, request_from
from edgecil_devices.output import output_written
from edgecil_devices.version import version

VERBS = {
    "predict": ("predict:predict", "Classify pictures; one line each."),
    "teach": ("teaching.teach:run", "Teach a new class from a few pictures."),
    "taught": ("teaching.taught:run", "List, forget, undo or export what was taught."),
    "serve": ("serving.verb:serve", "Classify pictures in a browser and over HTTP."),
    "bench": ("bench:bench", "Measure how fast a bundle is on this device."),
    "doctor": ("doctor.verb:doctor", "Check this device, and a bundle on it."),
    "install": ("store.install:run", "Make a release current in a store."),
    "update": ("store.update:run", "Bring a store up to date."),
    "rollback": ("store.rollback:run", "Return to the release before."),
    "status": ("store.status:run", "Show what a store holds."),
    "fsck": ("store.fsck:run", "Check every byte of a store."),
}
"""Verb: the function behind it, whose module is imported when it is called, and what it does.

The function's one parameter is the verb's request, whose fields are its options; it returns the
exit code, or None for 0.
"""


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
    told = f"edgecil {version() or 'of unknown version'}"
    parser.add_argument("--version", action="version", version=told)
    verbs = parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, parser_class=_VerbParser
    )
    for verb, (_, description) in VERBS.items():
        of_verb = verbs.add_parser(verb, help=description, description=description)
        if verb in words:
            add_arguments(of_verb, request_of(function_of(verb)))
    arguments = parser.parse_args(words)
    function = function_of(arguments.verb)
    code: int | None = function(request_from(vars(arguments), request_of(function)))
    return code or 0


class _VerbParser(ArgumentParser):
    """Takes options before, between and after what has no name.

    Before Python 3.12 argparse itself takes no pictures after an option if they may be none.
    """

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As of any parser."""
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


def function_of(verb: str) -> Callable[[Any], int | None]:
    """The function behind a verb."""
    module, _, name = VERBS[verb][0].partition(":")
    function: Callable[[Any], int | None] = getattr(
        import_module(f"edgecil_devices.{module}"), name
    )
    return function


def request_of(function: Callable[[Any], int | None]) -> type:
    """What the function behind a verb takes."""
    request: type = get_type_hints(function)["request"]
    return request


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        again = "; make room, and give the same command again" if error.errno in FULL else ""
        return told(error) + again
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
