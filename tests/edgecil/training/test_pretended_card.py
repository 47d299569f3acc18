"""What a graphics card learns by replayed steps is what the processor learns, without waiting."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgecil.analysis.views import similarities
from edgecil.data import Split
from edgecil.methods import METHODS
from edgecil.methods.lesson import Lesson, Phase
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.pictures import image_operations
from edgecil.pictures.batches import Images, StreamedImages, images_on
from edgecil.pictures.policies import AUGMENTATIONS, Augment, Policy
from edgecil.training import loop
from edgecil.training.api import SilentReporter, train
from edgecil.training.gradients import GradientNorms
from edgecil.training.loop import EpochReport, choose_device
from edgecil.training.recording import EAGER
from edgecil.training.request import TrainRequest
from edgecil.training.stopping import EXIT_STOPPED, Stopped
from edgecil.training.watching import EpochWatch
from edgecil_devices.images import Preprocessing
from tests.edgecil.training.pretended_card import CUDA, bare, pretended_card
from tests.edgecil.training.tiny import tiny_dataset

EPOCHS, STAGES = 2, 2
CPU = torch.device("cpu")


def learned(
    method: str,
    folder: Path,
    device: str,
    *,
    batch_size: int = 7,
    reporter: SilentReporter | None = None,
) -> dict[str, bytes]:
    """The files of the state and of the history, and the accuracies, of a run that goes on."""
    request = TrainRequest(
        data="tiny",
        budget="560000",
        increment=2,
        method=method,
        # Convolutions without a bias go another way in a recording.
        backbone="resnet14" if method in ("memo-2", "wa") else "convnet2",
        precision="int8" if method == "memo-2" else "fp16",
        augmentation="autoaugment+cutout" if method == "thrift" else None,
        epochs=EPOCHS,
        batch_size=batch_size,
        seed=1,
    )
    results = train(
        request,
        folder,
        device=device,
        resume=True,
        reporter=reporter,
        dataset=tiny_dataset(classes=2 * STAGES, train=12, test=4),
        keep_history=True,
    )
    accuracies = [(result.accuracy, result.nearest_mean_accuracy) for result in results]
    kept = [*(folder / "state").iterdir(), *(folder / "history").rglob("*.*")]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in kept}
    return files | {"accuracies": repr(accuracies).encode()}


def test_steps_are_started_one_by_one_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EAGER, "0")
    with pretended_card() as card:
        replayed = learned("finetune", tmp_path / "replayed", "cuda")
        assert card.replays
    monkeypatch.setenv(EAGER, "1")
    with pretended_card() as card:
        assert learned("finetune", tmp_path / "eager", "cuda") == replayed
        assert not card.replays


class StopsAfterEveryFirstEpoch(SilentReporter):
    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        if report.epoch == 1:
            raise Stopped("for the test", EXIT_STOPPED)


@pytest.mark.parametrize(
    ("method", "halved"),
    [
        *((method, False) for method in METHODS),
        *((method, True) for method in ("memo", "foster", "icarl", "thrift")),
    ],
)
def test_a_card_learns_what_the_processor_learns_stopped_or_not(
    method: str, halved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, or in bfloat16, whatever this processor is fast at."""
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: halved, raising=False)
    on_processor = learned(method, tmp_path / "processor", "cpu")
    with pretended_card(bf16=halved) as card:
        assert learned(method, tmp_path / "card", "cuda") == on_processor
    assert card.waits["loop.py:train_phase"]  # it was there
    assert card.replays >= 3  # of the first task's six batches of 7
    assert not card.unordered

    stopped, plug = tmp_path / "stopped", StopsAfterEveryFirstEpoch()
    stops = 0
    while True:  # each stretch on the other device: the end of a phase and the start of the next
        try:
            if stops % 2:
                assert learned(method, stopped, "cpu", reporter=plug) == on_processor
            else:
                with pretended_card(bf16=halved):
                    assert learned(method, stopped, "cuda", reporter=plug) == on_processor
            break
        except Stopped:
            stops += 1
    # FOSTER's later tasks have two phases, and slda's none.
    assert stops == {"foster": STAGES + 1, "slda": 1}.get(method, STAGES)


def resident(pictures: Split, device: torch.device, augment: Augment) -> Images:
    size_px = pictures.preprocessing.image_size_px
    given = (device, pictures, pictures.labels)
    return images_on(*given, image_size_px=size_px, mirrors=True, augment=augment)


def streamed(pictures: Split, device: torch.device, augment: Augment) -> Images:
    given = (pictures, pictures.labels, pictures.preprocessing.image_size_px, device)
    return StreamedImages(*given, mirrors=True, augment=augment, workers=0)


@pytest.mark.parametrize("kind", [resident, streamed])
@pytest.mark.parametrize("size_px", [16, 72])  # padded crops, and resized ones
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_pictures_are_augmented_alike_and_no_step_waits_for_the_card(
    name: str, size_px: int, kind: Callable[[Split, torch.device, Augment], Images]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, size_px, size_px, 3), np.uint8)
    pictures = Split(noise, np.arange(48), Preprocessing(size_px))
    augment = Augment(Policy(name), brightens=True)

    def batches(images: Images) -> list[tuple[Tensor, Tensor]]:
        return list(images.training_batches(16, torch.Generator().manual_seed(0)))

    on_processor = batches(kind(pictures, CPU, augment))
    with pretended_card() as card:
        images = kind(pictures, CUDA, augment)
        batches(images)  # constants are made once
        card.waits.clear()
        on_card = batches(images)
        assert not card.waits
    assert not card.unordered
    for there, here in zip(on_card, on_processor, strict=True):
        assert all(tensor.is_cuda for tensor in there)
        assert torch.equal(bare(there[0]), here[0])
        assert torch.equal(bare(there[1]), here[1])


def waits_of_a_run(method: str, folder: Path, batch_size: int) -> dict[str, int]:
    """By place, without those for a recording, of which there are two in a phase at most."""
    with pretended_card() as card:
        learned(method, folder, "cuda", batch_size=batch_size)
    assert card.waits.pop("recording.py:record", 0) <= 2 * (STAGES + 1)
    card.waits.pop("image_operations.py:_luma_on", None)  # a constant, once in a process
    return dict(card.waits)


@pytest.mark.parametrize("method", ["memo", "foster", "icarl", "thrift"])
def test_training_waits_for_the_card_once_an_epoch_however_many_steps_it_has(
    method: str, tmp_path: Path
) -> None:
    few = waits_of_a_run(method, tmp_path / "few", 16)
    many = waits_of_a_run(method, tmp_path / "many", 8)
    assert many == few
    phases = STAGES + (method == "foster")
    waits = sum(n for place, n in few.items() if place.startswith("loop.py"))
    assert waits == phases * EPOCHS


def test_similarities_are_the_same_on_a_card() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)

    def of_two_networks(device: torch.device) -> dict[str, list[list[float]]]:
        torch.manual_seed(0)
        parts = cut_backbone("convnet2")
        networks = [ExpandableNetwork(parts, 2, mean=(0.5,) * 3, std=(0.2,) * 3) for _ in range(2)]
        found = similarities(networks, pixels, device)
        return {depth: matrix.tolist() for depth, matrix in found.items()}

    on_processor = of_two_networks(CPU)
    with pretended_card():
        assert of_two_networks(CUDA) == on_processor
    assert len(on_processor) == 3


def test_a_chosen_card_rounds_nothing_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # whatever ran before

    def rounds() -> bool:
        return bool(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)

    with pretended_card():
        assert rounds()  # in its convolutions, as torch has it
        choose_device("cpu")
        assert rounds()
        assert choose_device("auto") == torch.device("cuda")
        assert not rounds()
        with torch.backends.cudnn.flags():  # raises where torch's two interfaces to it are mixed
            pass
    assert rounds()  # for the tests that follow


# The pretended card itself: what it refuses, what it counts, and that the tests above can fail.


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda there, here: there + here, "same device"),
        (lambda there, here: here + there, "same device"),
        (lambda there, here: torch.nn.functional.linear(there, here), "same device"),
        (lambda there, here: torch.cat([there, here]), "same device"),
        (lambda there, here: here.sum().add_(there.sum()), "same device"),
        (lambda there, here: here[there.long()], "same device"),
        (lambda there, here: there.index_put_((there.long(),), here), "same device"),
        (lambda there, here: there.numpy(), "numpy"),
        (lambda there, here: np.asarray(there), "numpy"),
    ],
)
def test_it_refuses_what_a_card_refuses(
    wrong: Callable[[Tensor, Tensor], object], message: str
) -> None:
    with pretended_card():
        there, here = torch.ones(3, 3, device="cuda"), torch.ones(3, 3)
        with pytest.raises((RuntimeError, TypeError), match=message):
            wrong(there, here)
        assert (there + torch.tensor(1.0)).sum().item() == 18  # a number may come from anywhere


@pytest.mark.parametrize(
    ("waits", "asked"),
    [
        (1, lambda there, here: there.sum().item()),
        (1, lambda there, here: bool(torch.isfinite(there).all())),
        (1, lambda there, here: there.tolist()),
        (1, lambda there, here: there.cpu()),
        (1, lambda there, here: there.to("cpu", non_blocking=True)),
        (1, lambda there, here: here.to("cuda")),
        (1, lambda there, here: here.cuda()),
        (1, lambda there, here: here.to(there)),
        (1, lambda there, here: there.copy_(here)),
        (1, lambda there, here: here.copy_(there)),
        (1, lambda there, here: torch.tensor([1.0], device="cuda")),
        (1, lambda there, here: there[here.long()]),
        (1, lambda there, here: there[there > 0]),
        (1, lambda there, here: there.nonzero()),
        (1, lambda there, here: torch.equal(there, there)),
        (0, lambda there, here: here.to("cuda", non_blocking=True)),
        (0, lambda there, here: there.copy_(here, non_blocking=True)),
        (0, lambda there, here: there.copy_(there * 2)),
        (0, lambda there, here: there.to("cuda", torch.float64)),
        (0, lambda there, here: there[there.long()]),
        (0, lambda there, here: torch.zeros(3, device="cuda") + 1),
        (0, lambda there, here: torch.where(there > 0, there, 0.0).fill_(2)),
    ],
)
def test_it_counts_what_a_card_is_waited_for(
    waits: int, asked: Callable[[Tensor, Tensor], object]
) -> None:
    with pretended_card() as card:
        there, here = torch.ones(3, 3, device="cuda"), torch.ones(3, 3)
        assert not card.waits
        asked(there, here)
        assert card.waits == ({"tests": waits} if waits else {})


def step(*ways: tuple[int, int], on: int = 0) -> None:
    """Record a step on stream 0 in which streams wait for others, and one does something."""
    ones = torch.ones(3, device="cuda")
    streams = [torch.cuda.Stream() for _ in range(4)]  # type: ignore[no-untyped-call]
    with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=streams[0]):
        for waits, other in ways:
            streams[waits].wait_stream(streams[other])
        with torch.cuda.stream(streams[on]):
            ones.add(1)


def test_a_recording_has_branches_that_come_together() -> None:
    with pretended_card():
        step((1, 0), (2, 1), (0, 2))  # 2 waited for 1, and so 0 did for both
        step((3, 2))  # which are no part of it


@pytest.mark.parametrize(
    ("ways", "on", "message"),
    [
        ([(0, 1)], 0, "uncaptured work"),
        ([], 1, "not captured"),
        ([(1, 0)], 1, "unjoined"),
        ([(1, 0), (0, 1)], 1, "unjoined"),  # what it did came after that
        ([(1, 0), (2, 1), (0, 1)], 0, "unjoined"),
    ],
)
def test_a_branch_that_a_card_refuses_is_noticed(
    ways: list[tuple[int, int]], on: int, message: str
) -> None:
    with pretended_card(), pytest.raises(RuntimeError, match=message):
        step(*ways, on=on)


def test_it_counts_what_a_card_adds_in_no_order() -> None:
    with pretended_card() as card:
        numbers, places = torch.ones(3, device="cuda"), torch.zeros(3, device="cuda").long()
        numbers.long().scatter_add_(0, places, numbers.long())  # whole numbers: the same anyhow
        assert not card.unordered
        assert numbers.index_add_(0, places, numbers.clone()).tolist() == [4, 1, 1]
        assert card.unordered == {"tests": 1}


def test_a_head_left_on_the_processor_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Lesson.begin

    def on_the_processor(lesson: Lesson, network: torch.nn.Module, phase: Phase) -> None:
        lesson.extras.cpu()
        begin(lesson, network, phase)

    monkeypatch.setattr(Lesson, "begin", on_the_processor)
    with pretended_card(), pytest.raises(RuntimeError, match="same device"):
        learned("memo", tmp_path, "cuda")


def test_another_result_on_the_card_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_processor = learned("replay", tmp_path / "processor", "cpu")
    normalise = ExpandableNetwork.normalise
    monkeypatch.setattr(
        ExpandableNetwork,
        "normalise",
        lambda network, pixels: normalise(network, pixels) * (1.001 if pixels.is_cuda else 1),
    )
    with pretended_card():
        assert learned("replay", tmp_path / "card", "cuda") != on_processor


def test_a_number_read_in_a_step_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = GradientNorms.add

    def reading(norms: GradientNorms) -> None:
        add(norms)
        assert norms._sums is not None
        norms._sums.sum().item()

    monkeypatch.setattr(GradientNorms, "add", reading)
    with pretended_card(), pytest.raises(RuntimeError, match="capturing"):
        learned("replay", tmp_path, "cuda")


def test_a_number_read_after_every_step_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EpochWatch, "step", lambda watch, images, loss_sum: loss_sum.item())
    few, many = (waits_of_a_run("replay", tmp_path / str(size), size) for size in (16, 8))
    # An epoch of the first task has 24 pictures, 2 or 3 steps; one of the second has the first
    # task's as exemplars beside its own, 3 or 6 steps.
    assert sum(many.values()) - sum(few.values()) == EPOCHS * (1 + 3)


def test_a_number_that_python_keeps_for_the_next_step_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay has the number that was there when it was recorded."""
    on_processor = learned("replay", tmp_path / "processor", "cpu")
    monkeypatch.setattr(loop, "_rate_on", lambda _: torch.zeros((), dtype=torch.float64))
    with pretended_card():
        assert learned("replay", tmp_path / "card", "cuda") != on_processor


def test_a_constant_made_in_every_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = image_operations._luma_on.__wrapped__
    monkeypatch.setattr(image_operations, "_luma_on", made)
    with pytest.raises(AssertionError, match="_luma_on"):
        test_pictures_are_augmented_alike_and_no_step_waits_for_the_card(
            "autoaugment", 16, resident
        )
