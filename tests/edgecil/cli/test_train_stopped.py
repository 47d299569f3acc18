"""What `edgecil train` says when it is stopped: which command goes on, and with which run."""

import signal

import pytest

from edgecil.cli import progress
from edgecil.cli.progress import TerminalReporter
from edgecil.training import api
from tests.edgecil.cli.desk import Desk

TRAIN = "train --image-size 16 --budget 600kB --backbone convnet2 --epochs 1 --device cpu"


def interrupt(*_: object, **__: object) -> None:
    """In place of what takes long."""
    signal.raise_signal(signal.SIGINT)


def stopped(desk: Desk, place: object, name: str, *words: str) -> str:
    """The last line of what is said where Ctrl-C comes in place of something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, interrupt)
        _, told = desk.run(*TRAIN.split(), "--data", "old", *words, code=130)
    return told.splitlines()[-1]


def test_the_run_that_was_stopped_is_named_where_another_might_go_on(desk: Desk) -> None:
    desk.photos("old", "ant", "bee")
    told = stopped(desk, TerminalReporter, "task_started")
    assert told.endswith("; the same command with --run runs/train --resume goes on")
    # Before it has a folder, --resume would go on with the one before.
    told = stopped(desk, api, "load_requested")
    assert told.endswith("stopped by SIGINT; nothing was begun, and the same command begins again")
    told = stopped(desk, TerminalReporter, "task_started")
    assert told.endswith("; the same command with --run runs/train-2 --resume goes on")
    told = stopped(desk, TerminalReporter, "task_started", "--run", "mine")
    assert told.endswith("; the same command with --resume goes on")


def test_the_command_that_divides_a_long_run_has_its_curves(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    monkeypatch.setattr(progress, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(TerminalReporter, "task_started", interrupt)
    desk.photos("old", "ant", "bee")
    words = (*TRAIN.split(), "--data", "old", "--run", "mine", "--tensorboard")
    _, told = desk.run(*words, code=130)
    (line,) = (line for line in told.splitlines() if line.startswith("  edgecil train "))
    assert " --tensorboard --run mine --resume " in line
