"""Branches of a recorded step: same numbers, and everything that is read was waited for."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgecil.networks.streams import WeightGradientsBeside, side_by_side
from edgecil.training import recording
from tests.edgecil.training.pretended_card import CUDA, bare, pretended_card

CPU = torch.device("cpu")


class Stream:
    """A stream that notes what it waits for; the first one is the one at hand."""

    made: list["Stream"]
    now: list["Stream"]
    log: list[str]

    def __init__(self, device: Any = None) -> None:
        self.number = len(self.made)
        self.made.append(self)

    def wait_stream(self, other: "Stream") -> None:
        self.log.append(f"{self.number} waits for {other.number}")

    def __enter__(self) -> None:
        self.now.append(self)

    def __exit__(self, *error: object) -> None:
        self.now.pop()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is noted while a recording is pretended."""
    with pretended_card():
        Stream.made, Stream.now, Stream.log = [], [], []
        Stream.now.append(Stream())
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream.now[-1])
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        yield Stream.log


def noted(name: str) -> str:
    Stream.log.append(f"{name} on {Stream.now[-1].number}")
    return name


def test_calls_are_on_streams_of_their_own_and_waited_for(log: list[str]) -> None:
    calls = [partial(noted, name) for name in "abc"]
    assert side_by_side(calls, CUDA) == ["a", "b", "c"]
    assert log == [
        "1 waits for 0",
        "a on 1",
        "2 waits for 0",
        "b on 2",
        "c on 0",
        "0 waits for 1",
        "0 waits for 2",
    ]
    log.clear()
    assert side_by_side(calls[:1], CUDA) == ["a"]
    assert side_by_side([], CUDA) == []
    assert log == ["a on 0"]


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_outside_of_a_recording_they_follow_each_other(
    log: list[str], device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == CUDA:
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert side_by_side([partial(noted, name) for name in "ab"], device) == ["a", "b"]
    assert log == ["a on 0", "b on 0"]


class Network(nn.Module):
    """Convolutions of every kind, the last of them `times` in a row."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False),
            nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
            nn.Conv2d(6, 6, (1, 3), padding=(0, 1), bias=True),
            nn.Conv2d(6, 6, 3, padding="same", bias=False),
            nn.Conv2d(6, 6, 3, padding=2, dilation=2, bias=False),
        )
        self.frozen = nn.Conv2d(6, 6, 1, bias=False).requires_grad_(False)
        self.last = nn.Conv2d(6, 6, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.frozen(self.layers(x)).relu()
        for _ in range(self.times):
            x = self.last(x)
        return x.square().mean()


def gradients_of(network: nn.Module, x: Tensor) -> list[Tensor]:
    network.zero_grad()
    network(x).backward()
    found = [bare(each.grad) for each in network.parameters() if each.requires_grad]
    return found if x.grad is None else [*found, bare(x.grad)]


@pytest.mark.parametrize("learns_pixels", [False, True])
@pytest.mark.parametrize(("halved", "times"), [(False, 1), (False, 2), (True, 1)])
def test_weights_get_the_gradients_that_they_get_otherwise(
    log: list[str], halved: bool, times: int, learns_pixels: bool
) -> None:
    torch.manual_seed(0)
    network, pixels = Network(times).to(CUDA), torch.rand(2, 3, 8, 8).to(CUDA)
    pixels = pixels.detach().requires_grad_(learns_pixels)
    with torch.autocast("cuda", torch.bfloat16, enabled=halved):
        wanted = [gradient.clone() for gradient in gradients_of(network, pixels)]
        pixels.grad = None
        log.clear()
        with WeightGradientsBeside(CUDA):
            found = gradients_of(network, pixels)
    assert len(wanted) == 7 + learns_pixels
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    # Of the convolutions that learn, those without a bias and padded by numbers.
    assert log == [*["1 waits for 0"] * (3 + times), "0 waits for 1"]


def test_where_no_gradient_is_worked_out_beside_nothing_is_waited_for(log: list[str]) -> None:
    conv, pixels = nn.Conv2d(3, 6, 3, bias=True).to(CUDA), torch.rand(2, 3, 8, 8).to(CUDA)
    with WeightGradientsBeside(CUDA):
        conv(pixels).sum().backward()
    assert bare(conv.weight.grad).any()
    assert not log


def test_what_a_gradient_needs_is_kept_until_it_is_waited_for(log: list[str]) -> None:
    torch.manual_seed(0)
    conv, pixels = nn.Conv2d(3, 6, 3, bias=False).to(CUDA), torch.rand(2, 3, 8, 8).to(CUDA)
    with WeightGradientsBeside(CUDA) as beside:
        out = conv(pixels)
        torch.autograd.backward(out.sum())  # which does not wait
        assert conv.weight.grad is None
        (kept,) = beside._found
        assert [tuple(tensor.shape) for tensor in kept] == [
            (6, 3, 3, 3),  # the weight
            (6, 3, 3, 3),  # its gradient
            (2, 6, 6, 6),  # and what it is made of: the output's,
            (2, 3, 8, 8),  # what came in,
            (6, 3, 3, 3),  # and the weight as it was used
        ]


def test_large_batches_fill_a_card_without_branches_that_take_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[torch.device] = []

    def beside(device: torch.device) -> AbstractContextManager[None]:
        made.append(device)
        return nullcontext()

    monkeypatch.setattr(recording, "WeightGradientsBeside", beside)
    with pretended_card() as card:
        for batch, size_px, branches in ((128, 64, 1), (129, 64, 1), (512, 32, 2), (9, 256, 2)):
            run = recording.recorded(lambda pixels, labels, size: None, CUDA)
            pixels = torch.zeros(batch, 3, size_px, size_px, device=CUDA)
            labels = torch.zeros(batch, dtype=torch.int64, device=CUDA)
            for _ in range(recording.FIRST_STEPS + 2):
                run(pixels, labels, batch)
            assert len(made) == branches
        assert card.replays == 4 * 2
