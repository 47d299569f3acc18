"""The cells of a comparison, and the command of each."""

import shlex
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from edgecil.cli import command_called
from edgecil.comparison.grid import grid
from edgecil.errors import UsageError
from edgecil.training.request import TrainRequest
from edgecil_devices.options import words_of

ASKED = TrainRequest(data="glyphs", budget="1MB", backbone="convnet2", epochs=3)


def options_of_train() -> set[str]:
    """Every option of `edgecil train`, as typer has it."""
    return {flag for parameter in command_called("train").params for flag in parameter.opts}


def test_seeds_are_outermost_so_that_half_a_comparison_has_whole_seeds(tmp_path: Path) -> None:
    cells = grid(ASKED, ["memo", "wa"], ["1MB", "2MiB"], [7, 8], tmp_path, "cpu")
    assert [cell.name for cell in cells] == [
        "memo-1000000-7",
        "wa-1000000-7",
        "memo-2097152-7",
        "wa-2097152-7",
        "memo-1000000-8",
        "wa-1000000-8",
        "memo-2097152-8",
        "wa-2097152-8",
    ]


def test_a_cell_is_the_command_that_a_person_would_type(tmp_path: Path) -> None:
    (cell,) = grid(ASKED, ["memo"], ["400kB"], [1993], tmp_path, "cpu")
    command = cell.job(threads=2, stop_at=None).command
    assert shlex.split(command)[:5] == [
        "OMP_NUM_THREADS=2",
        sys.executable,
        "-m",
        "edgecil",
        "train",
    ]
    words = shlex.split(command)[5:]
    assert words[-3:] == ["--run", str(tmp_path / "memo-400000-1993"), "--resume"]
    pairs = dict(zip(words[:-1:2], words[1:-1:2], strict=True))
    assert pairs == {
        "--data": "glyphs",
        "--method": "memo",
        "--budget": "400000",
        "--seed": "1993",
        "--backbone": "convnet2",
        "--epochs": "3",
        "--device": "cpu",
        "--run": str(tmp_path / "memo-400000-1993"),
    }


def test_every_field_of_a_request_is_an_option_of_train() -> None:
    everything = TrainRequest(data="glyphs", budget="1MB")
    for field in fields(everything):
        object.__setattr__(everything, field.name, "something else")
    flags = [word for word in words_of(everything) if word.startswith("--")]
    assert len(flags) == len(set(flags)) == len(fields(everything))
    assert set(flags) <= options_of_train()


def test_paths_are_absolute_so_that_a_command_works_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    asked = replace(ASKED, data="photos", tasks=Path("tasks.toml"))
    (cell,) = grid(asked, ["memo"], ["1MB"], [1], Path("out"), "auto")
    for path in ("photos", "tasks.toml", "out/memo-1000000-1"):
        assert str(tmp_path / path) in cell.arguments


def test_what_no_run_could_be_is_refused_before_any_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="whole"):
        grid(replace(ASKED, cut="last"), ["memo", "der"], ["1MB"], [1], tmp_path, "cpu")


@pytest.mark.parametrize(
    ("methods", "budgets", "seeds"),
    [
        (["memo", "memo"], ["1MB"], [1]),
        (["memo"], ["1MB", "1000kB"], [1]),
        (["memo"], ["1MB"], [1, 1]),
    ],
)
def test_nothing_is_asked_twice(
    tmp_path: Path, methods: list[str], budgets: list[str], seeds: list[int]
) -> None:
    with pytest.raises(UsageError, match="twice"):
        grid(ASKED, methods, budgets, seeds, tmp_path, "cpu")
