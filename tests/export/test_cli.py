"""From a run to a prediction with nothing but the command line, torch's exporter included."""

import json
from pathlib import Path

import pytest

from tests.export.conftest import edgecil


def test_export_then_info(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parent)
    assert edgecil(monkeypatch, "export", "run", "--weights", "fp16") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("trunk.onnx ")
    assert lines[-2].startswith("wrote run.edgecil (")
    assert lines[-1] == "next: edgecil predict run.edgecil PICTURE.jpg"

    assert edgecil(monkeypatch, "info", "run.edgecil", "--json") == 0
    assert json.loads(capsys.readouterr().out)["weights"] == "fp16"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["export", "run", "--weights", "int4"], 2, "choose one of: fp32, fp16, int8"),
        (["export", "file"], 1, "file is not a run folder"),
        (["export", "empty"], 1, "holds no state"),
        (["predict", "run", "x.png"], 1, "a run, not a bundle; run: edgecil export run"),
        (["info", "run", "--extract", "out"], 2, "--extract takes a bundle"),
        (["info", "empty"], 1, "not a run"),
        (["info", "none"], 1, "No such file"),
    ],
)
def test_each_mistake_is_one_line(
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    exit_code: int,
    message: str,
) -> None:
    monkeypatch.chdir(run.parent)
    Path("empty").mkdir()
    Path("file").write_bytes(b"x")
    assert edgecil(monkeypatch, *arguments) == exit_code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
