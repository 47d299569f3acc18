"""What TensorBoard shows of a run."""

import csv
import sys
from pathlib import Path

import pytest

from edgecil.errors import MissingExtraError
from edgecil.methods.lesson import Phase
from edgecil.training.api import train
from edgecil.training.loop import EpochReport
from edgecil.training.reporters import Together
from edgecil.training.request import TrainRequest
from edgecil.training.stopping import Stopped
from edgecil.training.tensorboard import FOLDER, TensorBoardReporter
from tests.edgecil.training.test_reporters import Diary
from tests.edgecil.training.tiny import tiny_dataset


class EndsInTheSecondTask(Diary):
    """Ends a run after an epoch of its second task."""

    def __init__(self, epoch: int, error: Exception) -> None:
        super().__init__()
        self.epoch, self.error = epoch, error

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        super().epoch_finished(phase, report)
        if self.said.count(f"epoch {self.epoch}") == 2:
            raise self.error


def learned(folder: Path, *reporters: Diary, resume: bool = False) -> None:
    asked = TrainRequest(
        data="tiny", budget="260kB", increment=3, backbone="convnet2", epochs=2, batch_size=16
    )
    reporter = Together(TensorBoardReporter(), *reporters)
    train(asked, folder, device="cpu", resume=resume, reporter=reporter, dataset=tiny_dataset())


@pytest.mark.parametrize(
    ("epoch", "error"),
    [(1, Stopped("enough", 75)), (1, RuntimeError("a crash")), (2, RuntimeError("a crash"))],
    ids=["stopped", "crashed", "crashed later"],
)
def test_a_run_that_was_cut_short_has_every_epoch_and_task_once(
    epoch: int, error: Exception, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    with pytest.raises(type(error)):
        learned(run, EndsInTheSecondTask(epoch, error))
    learned(run, resume=True)
    shown = EventAccumulator(str(run / FOLDER)).Reload()
    with (run / "metrics.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert [event.step for event in shown.Scalars("loss/train")] == [1, 2, 3, 4]
    assert [event.value for event in shown.Scalars("loss/train")] == pytest.approx(losses, abs=1e-4)
    assert [event.step for event in shown.Scalars("accuracy")] == [1, 2]
    state_bytes = sum(path.stat().st_size for path in (run / "state").iterdir())
    owners = [name for name in shown.Tags()["scalars"] if name.startswith("bytes/")]
    assert sum(shown.Scalars(name)[-1].value for name in owners) == state_bytes


def test_without_the_extra_one_line_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgecil\[tensorboard\]'"):
        TensorBoardReporter()
