"""An exported bundle is the old or the new one, whole, after a crash at any moment of exporting."""

import errno
import itertools
import shutil
from pathlib import Path

import pytest

from edgecil.errors import ExportError
from edgecil_devices.bundle import read_bundle
from edgecil_export import ExportRequest, export
from tests.crash.disks import Disk, crashes
from tests.crash.recording import Recorder, left_by_a_dead_process

pytestmark = pytest.mark.slow


def weights_of(bundle: Path) -> str:
    return read_bundle(bundle).manifest.weights


def test_c2_a_power_cut_at_any_moment_leaves_the_old_or_the_new_bundle(
    run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    left_by_a_dead_process(folder / "a.edgecil")
    export(run, folder / "a.edgecil", ExportRequest(weights="int8"))
    assert [path.name for path in folder.iterdir()] == ["a.edgecil"]
    before = Disk.of(folder)
    with Recorder(folder) as recorder:
        export(run, folder / "a.edgecil", ExportRequest(weights="fp32"))
    found = set()
    for number, (_, disk) in enumerate(crashes(before, recorder.operations)):
        left = tmp_path / str(number)
        disk.write_to(left)
        found.add(weights_of(left / "a.edgecil"))
        shutil.rmtree(left)
    assert found == {"int8", "fp32"}


def test_c6_any_failing_operation_leaves_the_old_or_the_new_bundle(
    run: Path, tmp_path: Path
) -> None:
    export(run, tmp_path / "old.edgecil", ExportRequest(weights="int8"))
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(tmp_path / "old.edgecil", folder / "a.edgecil")
        with Recorder(folder, number, errno.EIO) as recorder:
            try:
                export(run, folder / "a.edgecil", ExportRequest(weights="fp32"))
            except ExportError:
                told = True
            else:
                told = False
        assert told == recorder.failed
        assert weights_of(folder / "a.edgecil") in ("int8", "fp32")
        assert not told or len(list(folder.iterdir())) == 1
        if not recorder.failed:
            break
    assert number > 4
