"""The command line: `edgecil VERB`. One module a verb; heavy parts are imported when it runs."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from edgecil.cli import (
    analyse,
    bench,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    fsck,
    info,
    install,
    keys,
    learn,
    plan,
    predict,
    report,
    rollback,
    serve,
    status,
    train,
    update,
)
from edgecil.errors import EdgecilError, MissingExtraError
from edgecil_devices.files import FULL, told
from edgecil_devices.output import output_written

app = typer.Typer(
    help="Class-incremental image classifiers for small computers, under a strict byte budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("plan")(plan.plan)
app.command("train")(train.train)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("analyse")(analyse.analyse)
app.command("learn")(learn.learn)
app.command("export")(export.export)
app.command("update")(update.update)
app.command("install")(install.install)
app.command("rollback")(rollback.rollback)
app.command("status")(status.status)
app.command("fsck")(fsck.fsck)
app.add_typer(keys.keys, name="keys")
app.command("predict")(predict.predict)
app.command("serve")(serve.serve)
app.command("bench")(bench.bench)
app.command("eval")(evaluate.evaluate)
app.command("info")(info.info)
app.command("doctor")(doctor.doctor)

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
        with output_written():
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
