"""The command line: `edgecil VERB`. One module a verb, imported when it is called.

Heavy parts are imported when it runs, so that its --help is there at once and needs no torch.
"""

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from edgecil.cli.bars import bars_shown
from edgecil.errors import EdgecilError, MissingExtraError
from edgecil_devices.files import FULL, told
from edgecil_devices.output import output_written

VERBS = {
    "demo": "Learn glyphs task by task under a budget, export them, and classify them.",
    "plan": "Show what a budget holds after every task, and the backbones that fit it.",
    "train": "Learn a data set task after task; what is kept never exceeds the budget.",
    "compare": "Train every method under every budget with every seed.",
    "report": "Write runs as one self-contained page, with published numbers.",
    "analyse": "Plot gradients, change and similarity of a run's layers, shallow to deep.",
    "learn": "Teach a run new classes: those of a folder become its next task.",
    "export": "Write what a run has learned as a bundle.",
    "update": "Make an update with what a new release adds, or take one into a store.",
    "install": "Make a release current in a store.",
    "rollback": "Make the previous release of a store current.",
    "status": "Show which release of a store is current, and since when.",
    "fsck": "Check every byte of a store.",
    "keys": "Make and show the keys that sign releases.",
    "predict": "Classify pictures.",
    "teach": "Teach a new class from a few pictures, or correct a known one.",
    "taught": "List, forget, undo or export what was taught.",
    "serve": "Classify pictures in a browser, live from its camera, and over HTTP.",
    "bench": "Measure how fast a bundle is on this device.",
    "eval": "Measure a bundle on the test pictures of a data set.",
    "info": "Show what a run or a bundle holds.",
    "doctor": "Check this device, and a bundle on it.",
}
"""Verb: its line in `edgecil --help`. Its module here and the function there have its name."""


class _Verbs(TyperGroup):
    """All verbs by their lines; the one that is called is imported then."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the words begin with."""
        verb, listed, rest = super().resolve_command(ctx, args)
        return verb, listed if verb is None else command_called(verb), rest


app = typer.Typer(
    cls=_Verbs,
    help="Class-incremental image classifiers for small computers, under a strict byte budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _listed() -> None:
    """Stands for a verb in the list of all."""


for _name, _line in VERBS.items():
    app.command(_name, help=_line)(_listed)


def command_called(verb: str) -> Any:
    """The command of a verb, made of its function or its group of functions."""
    from edgecil.cli.verbs import command_of

    name = "evaluate" if verb == "eval" else verb  # Python has an eval of its own
    found = getattr(import_module(f"edgecil.cli.{name}"), name)
    if isinstance(found, typer.Typer):
        return get_command(found)
    alone = typer.Typer(add_completion=False)
    alone.command(verb)(command_of(found))
    return get_command(alone)


TRAINING_PACKAGES = {"torch", "torchvision", "onnx", "onnxscript", "safetensors"}
"""Packages of the extra `train`; a base installation runs bundles without them."""

REPORT_PACKAGES = {"matplotlib"}
"""Packages of the extra `report`."""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"edgecil {version('edgecil')}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option(help="Show where in the code an error arose.")] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Class-incremental image classifiers for small computers, under a strict byte budget."""


def main() -> None:
    """Run the command line; an error ends it with one line and an exit code of 1 or 2."""
    try:
        with output_written(), bars_shown():
            app()
    except (EdgecilError, ModuleNotFoundError, OSError) as error:
        if "--debug" in sys.argv:
            raise
        ended_by = _told(error)
        print(f"error: {ended_by}", file=sys.stderr)
        sys.exit(ended_by.exit_code)


def _told(error: Exception) -> EdgecilError:
    """The error as the person is told of it; what nobody can put right is raised again."""
    if isinstance(error, EdgecilError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name in TRAINING_PACKAGES:
        return MissingExtraError(f"this command needs {error.name}, which", "train")
    if isinstance(error, ModuleNotFoundError) and error.name in REPORT_PACKAGES:
        return MissingExtraError(f"this command needs {error.name}, which", "report")
    if isinstance(error, OSError) and error.errno in FULL:
        going_on = _GOING_ON.get(_verb(), "give the same command again")
        return EdgecilError(f"{told(error)}; make room, and {going_on}")
    if isinstance(error, OSError):
        return EdgecilError(told(error))
    raise error


_GOING_ON = {
    "train": "the same command with --resume goes on",
    "learn": "the same command goes on",
    "compare": "give the same command again, what is finished is kept",
    "report": "give the same command again; runs and any older page are as they were",
}
"""What to do by verb, once there is room."""


def _verb() -> str:
    """The verb of this command line; before it there may be options without values."""
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")
