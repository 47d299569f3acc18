"""Several processes learn what one learns alone, write once, and end together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from edgecil.cli import app
from edgecil.errors import UsageError
from edgecil.pictures.batches import Images, ResidentImages, StreamedImages, batch_sizes
from edgecil.team import Team, share_of, team
from edgecil.training.access import writing
from edgecil.training.api import train
from edgecil.training.distributed import lead
from edgecil.training.loop import choose_device
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run
from tests.edgecil.training.batch_norm_side_by_side import BATCHES, batch, new_layer, passed
from tests.edgecil.training.in_float64 import float64
from tests.edgecil.training.tiny import SIZE_PX, picture_folder, tiny_dataset
from tests.ports import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
# 46 pictures in batches of 15, 15 and 16, which two processes cannot share evenly.
PICTURES, BATCH, EPOCHS = 23, 15, 4


def started(
    *command: object, module: str, environment: dict[str, object] | None = None
) -> subprocess.Popen[str]:
    variables = {"OMP_NUM_THREADS": 1} | (environment or {})
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, command)],
        cwd=ROOT,
        env=os.environ | {name: str(value) for name, value in variables.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def place(rank: int, size: int) -> dict[str, object]:
    """What torchrun tells a process."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")
    return dict(zip(names, (rank, size, rank, size, "test"), strict=True))


def side_by_side(size: int, module: str, *arguments: object) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of `size` processes as torchrun starts them, without it."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = [
        started(*arguments, module=module, environment=place(rank, size) | meeting)
        for rank in range(size)
    ]
    said = [process.communicate(timeout=240) for process in processes]
    return [(process.returncode, *both) for process, both in zip(processes, said, strict=True)]


def state_files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "state").iterdir()}


def wait_for_epochs(run: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    metrics = run / "metrics.csv"
    while not metrics.exists() or len(metrics.read_text().splitlines()) <= count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_learn_what_one_learns_even_if_one_of_them_is_killed(tmp_path: Path) -> None:
    pictures = picture_folder(tiny_dataset(classes=4, train=PICTURES), tmp_path / "pictures")
    asked = TrainRequest(
        data=str(pictures),
        image_size_px=SIZE_PX,
        budget="300kB",
        increment=2,
        backbone="convnet2",
        epochs=EPOCHS,
        batch_size=BATCH,
        # The second task learns from feature maps, each of which one of the processes computes.
        trunk="freeze",
        recipe="frozen",
    )
    with float64():
        alone = train(asked, tmp_path / "alone", device="cpu")

    run = tmp_path / "shared"
    torchrun = "--standalone --nproc-per-node 2 -m -- tests.edgecil.training.in_float64 train"
    torchrun += f" --data {pictures} --image-size {SIZE_PX} --budget 300kB --increment 2"
    torchrun += f" --backbone convnet2 --epochs {EPOCHS} --batch-size {BATCH} --device cpu"
    torchrun += " --trunk freeze --recipe frozen"
    command = (*torchrun.split(), "--run", run, "--resume")
    with_pids: dict[str, object] = {"PIDS": tmp_path}
    first = started(*command, module="torch.distributed.run", environment=with_pids)
    wait_for_epochs(run, 1)
    os.kill(int((tmp_path / "1").read_text()), signal.SIGKILL)
    said = first.communicate(timeout=300)[1]
    assert first.returncode != 0
    assert (
        not (run / "results.json").exists()
        or not json.loads((run / "results.json").read_text())["finished"]
    )
    assert said.count("task 1/2:") == 1

    second = started(*command, module="torch.distributed.run", environment=with_pids)
    table, said = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert table.count("average incremental accuracy") == 1
    # Exemplars, and 16 of the 53 bits of every weight, are the same to the byte.
    assert state_files(run) == state_files(tmp_path / "alone")
    assert (run / "config.json").read_bytes() == (tmp_path / "alone" / "config.json").read_bytes()
    written = json.loads((run / "results.json").read_text())
    assert [stage["accuracy"] for stage in written["stages"]] == [one.accuracy for one in alone]
    assert [stage["state_bytes"] for stage in written["stages"]] == [
        one.state_bytes for one in alone
    ]
    assert written["hardware"]["processes"] == 2
    epochs = [line.split(",")[:3] for line in (run / "metrics.csv").read_text().splitlines()]
    assert len(epochs) == len({tuple(epoch) for epoch in epochs})


def test_what_ends_the_leader_ends_all_and_is_told_once(tmp_path: Path) -> None:
    pictures = picture_folder(tiny_dataset(classes=2, train=8), tmp_path / "pictures")
    command = f"train --data {pictures} --image-size {SIZE_PX} --budget 300kB --increment 2"
    command += " --backbone convnet2 --epochs 1 --batch-size 4 --device cpu --learning-rate 1e30"
    leader, other = side_by_side(2, "edgecil", *command.split(), "--run", tmp_path / "run")
    assert "error: the loss became nan" in leader[2]
    assert leader[0] == 1
    assert other == (1, "", "")
    assert not (tmp_path / "run" / "state").exists()


def test_a_run_that_another_process_writes_ends_all_and_is_told_once(tmp_path: Path) -> None:
    pictures = picture_folder(tiny_dataset(classes=2, train=8), tmp_path / "pictures")
    command = f"train --data {pictures} --image-size {SIZE_PX} --budget 300kB --increment 2"
    command += " --backbone convnet2 --epochs 1 --batch-size 4 --device cpu --resume"
    run = tmp_path / "run"
    run.mkdir()
    with writing(run):
        leader, other = side_by_side(2, "edgecil", *command.split(), "--run", run)
    assert f"run is in use by process {os.getpid()}" in leader[2]
    assert leader[0] == 1
    assert other == (1, "", "")
    # The leader alone holds the lock, so the processes of one run are not in each other's way.
    assert [code for code, *_ in side_by_side(2, "edgecil", *command.split(), "--run", run)] == [
        0,
        0,
    ]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed on Linux")
@pytest.mark.parametrize(("asked", "said"), [((), "\n"), (("fail",), "failed\n\n")])
def test_no_thread_of_the_process_group_outlives_it(asked: tuple[str, ...], said: str) -> None:
    ended = side_by_side(2, "tests.edgecil.training.threads_left_behind", *asked)
    assert ended == [(0, said, "")] * 2


def test_batch_norm_over_three_processes_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    module = "tests.edgecil.training.batch_norm_side_by_side"
    assert side_by_side(3, module, tmp_path) == [(0, "", "")] * 3
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(3)]
    reference = new_layer()
    for step, count in enumerate((*BATCHES, 3)):
        expected = passed(reference, *batch(count))
        together = [rank[step] for rank in ranks]
        if step == len(BATCHES):
            together = together[:1]
        for name, tensor in expected.items():
            parts = [one[name] for one in together]
            if name in {"outputs", "maps"}:
                parts = [torch.cat(parts)]
            if name in {"weight", "bias"}:
                parts = [torch.stack(parts).sum(0)]  # each process has the gradient of its share
            for part in parts:
                torch.testing.assert_close(part, tensor, rtol=1e-9, atol=1e-9)


def as_process(patch: pytest.MonkeyPatch, rank: int, size: int) -> None:
    for name, value in place(rank, size).items():
        patch.setenv(name, str(value))


def one_pass(images: Images) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(images.training_batches(4, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("kind", ["resident", "streamed"])
@pytest.mark.parametrize("size_px", [SIZE_PX, 80])
def test_the_shares_of_a_batch_are_the_batch(
    kind: str, size_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, size_px, size_px, 3), np.uint8)
    labels = np.arange(10)

    class Given:
        aspects = None

        def __len__(self) -> int:
            return 10

        def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
            return pixels if indices is None else pixels[indices]

    images: Images = ResidentImages(pixels, labels, CPU, mirrors=True)
    if kind == "streamed":
        images = StreamedImages(Given(), labels, size_px, CPU, mirrors=True, workers=0)
    whole = one_pass(images)
    assert [len(labels) for _, labels in whole] == [4, 4, 2]
    assert batch_sizes(10, 4) == [4, 4, 2]
    shares = []
    for rank in range(3):
        as_process(monkeypatch, rank, 3)
        shares.append(one_pass(images))
    assert [len(labels) for _, labels in shares[0]] == [1, 1, 0]
    for number, (expected_pixels, expected_labels) in enumerate(whole):
        parts = [share[number] for share in shares]
        assert torch.equal(torch.cat([pixels for pixels, _ in parts]), expected_pixels)
        assert torch.equal(torch.cat([labels for _, labels in parts]), expected_labels)


def test_one_process_is_alone_with_or_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    assert team() == Team(rank=0, size=1, local_rank=0, local_size=1)
    as_process(monkeypatch, 0, 1)
    assert share_of(5) == slice(0, 5)
    assert lead(lambda: "done") == "done"  # there is no process group to ask


@pytest.mark.parametrize("rank", [0, 1])
def test_what_is_for_one_process_is_refused_in_each_of_several(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_process(monkeypatch, rank, 2)
    done = CliRunner().invoke(app, ["learn", "run", "--data", "photos"])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).endswith("start it without torchrun")


def test_a_time_and_a_latency_are_measured_once_for_all(tmp_path: Path) -> None:
    pictures = picture_folder(tiny_dataset(classes=3, train=8), tmp_path / "pictures")
    command = f"train --data {pictures} --image-size {SIZE_PX} --budget 300kB --increment 3"
    command += " --backbone convnet2 --method memo --device cpu --time 0.2s --latency 10s"
    run = tmp_path / "run"
    leader, other = side_by_side(2, "edgecil", *command.split(), "--run", run)
    assert (leader[0], *other) == (0, 0, "", ""), leader[2]
    assert leader[2].count("convnet2 on this machine: a block takes") == 1
    settings = Run(run).settings()
    assert (settings.latency_ms, settings.time_seconds) == (10_000, 0.2)
    assert settings.images_a_task


def test_every_process_takes_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    as_process(monkeypatch, 1, 3)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cpu") == CPU
    as_process(monkeypatch, 2, 3)
    with pytest.raises(UsageError, match="--nproc-per-node"):
        choose_device("auto")
