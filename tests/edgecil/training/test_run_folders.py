"""Names of runs that nobody names."""

from pathlib import Path

from edgecil.training.run import latest_run_folder, next_run_folder


def test_runs_are_numbered_and_the_last_goes_on_though_others_were_deleted(tmp_path: Path) -> None:
    assert latest_run_folder(tmp_path) == next_run_folder(tmp_path) == tmp_path / "train"
    (tmp_path / "train").mkdir()
    assert latest_run_folder(tmp_path) == tmp_path / "train"
    assert next_run_folder(tmp_path) == tmp_path / "train-2"
    for name in ("train-2", "train-10", "train-x", "training", "train-010"):
        (tmp_path / name).mkdir()
    (tmp_path / "train").rmdir()
    assert latest_run_folder(tmp_path) == tmp_path / "train-10"
    assert next_run_folder(tmp_path) == tmp_path / "train-11"
