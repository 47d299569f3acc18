"""Real processes, killed, stopped and asked to end; the same command with --resume goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.edgecil.training.tiny import two_tasks

pytestmark = pytest.mark.slow

EPOCHS = 50
"""Of each task: nearly as many are left when the last signal is sent, however late that is."""


class Training:
    """`edgecil train` of two small tasks, as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.log = folder / "log.txt"
        self._command = [sys.executable, "-m", "edgecil", "train", *two_tasks(folder)]
        self._command += ["--budget", "400kB", "--backbone", "convnet2"]
        self._command += ["--epochs", str(EPOCHS), "--device", "cpu"]
        self._command += ["--run", str(self.run), "--resume"]

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """One thread: then sums are added in the same order whatever else the machine does."""
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self._command, *more], stdout=log, stderr=log, env=environment
            )

    def epochs(self) -> list[list[str]]:
        """Stage, phase and epoch of every line of metrics.csv."""
        metrics = self.run / "metrics.csv"
        lines = metrics.read_text().splitlines()[1:] if metrics.exists() else []
        return [line.split(",")[:3] for line in lines]

    def state(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.run / "state").iterdir()}


def wait_for_epoch(training: Training, process: subprocess.Popen[bytes], epochs: int) -> None:
    while len(training.epochs()) < epochs:
        assert process.poll() is None, training.log.read_text()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Training:
    training = Training(tmp_path_factory.mktemp("whole"))
    assert training.start().wait(timeout=300) == 0, training.log.read_text()
    return training


def test_a_run_killed_again_and_again_ends_in_the_same_bytes(
    tmp_path: Path, uninterrupted: Training
) -> None:
    training = Training(tmp_path)
    for epochs in (1, EPOCHS, EPOCHS + 2):  # in the first task, at its end, and in the second
        process = training.start()
        wait_for_epoch(training, process, epochs)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert training.start().wait(timeout=300) == 0, training.log.read_text()
    assert training.state() == uninterrupted.state()
    assert training.epochs() == uninterrupted.epochs()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_with_the_code_that_shells_expect(
    tmp_path: Path, uninterrupted: Training, number: signal.Signals, code: int
) -> None:
    training = Training(tmp_path)
    process = training.start()
    wait_for_epoch(training, process, 1)
    process.send_signal(number)
    assert process.wait(timeout=200) == code
    assert f"stopped by {number.name}" in training.log.read_text()
    assert "Traceback" not in training.log.read_text()
    if number == signal.SIGTERM:
        assert training.start().wait(timeout=300) == 0
        assert training.state() == uninterrupted.state()


def test_stop_after_leaves_a_checkpoint_and_its_own_code(tmp_path: Path) -> None:
    training = Training(tmp_path)
    assert training.start("--stop-after", "0.01s").wait(timeout=120) == 75
    assert (training.run / "config.json").exists()
    assert [epoch for _, _, epoch in training.epochs()] == ["1"]
    assert "--resume" in training.log.read_text()
