"""`edgecil report`: what it says, and that every mistake is one line with its remedy."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from edgecil.cli import main
from edgecil.report import report
from tests.edgecil.report.made_runs import write_run


def asked(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int | str | None:
    """Run the command line; its exit code."""
    monkeypatch.setattr(sys, "argv", ["edgecil", "report", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_a_report_is_written_and_the_next_step_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write_run(tmp_path / "runs" / "a").parent
    write_run(runs / "half", finished=1)
    page = tmp_path / "page.html"
    assert not asked(monkeypatch, runs, "--out", page, "--finished-only")
    out, err = capsys.readouterr()
    first, second, last = out.splitlines()
    assert first == f"{page}: 1 run on one page, {page.stat().st_size} bytes"
    assert second.startswith(f"{tmp_path / 'page_files'}: ")
    assert last.startswith(f"next: open {page}")
    assert "half (1 of 3 tasks)" in err
    assert len(list((tmp_path / "page_files").glob("*.png"))) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere does not exist"),
        (("empty",), "empty is no run"),
        (("half",), "half (1 of 3 tasks)"),
        (("done", "other"), "report of its own"),
        (("done", "--out", "no/report.html"), "folder no does not exist"),
        (("done", "--out", "empty"), "empty is a folder"),
        (("done", "--plots", "file"), "file"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    write_run(tmp_path / "done")
    write_run(tmp_path / "half", finished=1)
    write_run(tmp_path / "other", sizes=(3, 3))
    before = sorted(tmp_path.iterdir())
    assert asked(monkeypatch, *words) in (1, 2)
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
    assert len(told.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_the_older_page_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    run = write_run(tmp_path / "run")
    page = tmp_path / "report.html"
    page.write_text("older")
    monkeypatch.setattr(report, "replace_atomically", full)
    assert asked(monkeypatch, run, "--out", page) == 1
    told = capsys.readouterr().err
    assert f"error: {page}: the disk is full; make room, and give the same command again" in told
    assert page.read_text() == "older"


def test_without_matplotlib_the_extra_is_named(tmp_path: Path) -> None:
    blocked = (
        "import sys; sys.modules['matplotlib'] = None; "
        f"sys.argv = ['edgecil', 'report', {str(tmp_path)!r}]; "
        "from edgecil.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert result.returncode == 2
    assert "pip install 'edgecil[report]'" in result.stderr
    assert len(result.stderr.splitlines()) == 1
