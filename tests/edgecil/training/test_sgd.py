"""SGD beside torch's own, to the bit, and what a process that trains does not load."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgecil.training.sgd import SGD

ROOT = Path(__file__).parents[3]


def parameters() -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = ((8, 3, 3, 3), (8,), (5, 8))
    return [torch.randn(*shape, generator=draw).requires_grad_() for shape in shapes]


def give_gradients(of: list[Tensor], step: int) -> None:
    """Of all but one, which never has any: torch wants a parameter to have some always or never."""
    for n, parameter in enumerate(of):
        draw = torch.Generator().manual_seed(100 * step + n)
        gradient = torch.randn(parameter.shape, generator=draw)
        parameter.grad = None if n == 1 else gradient


@pytest.mark.parametrize(
    ("momentum", "weight_decay", "nesterov"),
    [(0.9, 5e-4, False), (0.0, 0.1, False), (0.5, 0.0, False), (0.9, 5e-4, True)],
)
def test_it_moves_as_torch_s_own_does_to_the_bit(
    momentum: float, weight_decay: float, nesterov: bool
) -> None:
    rate = torch.zeros((), dtype=torch.float64)
    ours, theirs = parameters(), parameters()
    how: dict[str, Any] = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
    mine = SGD(ours, rate, **how)
    torch_s = torch.optim.SGD(theirs, lr=rate, fused=True, **how)
    for step in range(9):
        rate.fill_(0.1 / (step + 1))
        for of in (ours, theirs):
            give_gradients(of, step)
        mine.step()
        torch_s.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    mine.zero_grad()
    assert [one.grad for one in ours] == [None] * 3


@pytest.mark.parametrize("before", ["ours", "torch's"])
def test_it_goes_on_where_it_was_or_where_torch_s_own_was(before: str) -> None:
    rate = torch.tensor(0.1, dtype=torch.float64)
    whole, parts = parameters(), parameters()
    first = SGD(whole, rate, 0.9, 0.01)
    other: SGD | torch.optim.SGD = SGD(parts, rate, 0.9, 0.01)
    if before == "torch's":
        other = torch.optim.SGD(parts, lr=rate, momentum=0.9, weight_decay=0.01, fused=True)
    for step in range(8):
        if step == 4:
            kept = other.state_dict()
            other = SGD(parts, rate, 0.9, 0.01)
            other.load_state_dict(kept)
        for of, optimiser in ((whole, first), (parts, other)):
            give_gradients(of, step)
            optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_a_process_that_trains_does_not_load_torch_s_compiler(tmp_path: Path) -> None:
    """It costs over a second, and nothing here is compiled."""
    script = """
import sys
from pathlib import Path
from typing import Any
import edgecil
from edgecil.training.request import TrainRequest
from tests.edgecil.training.tiny import tiny_dataset
how = dict(backbone="convnet2", increment=3, epochs=1, first_epochs=1)
asked = TrainRequest(data="tiny", budget="400kB", **how)
edgecil.train(asked, Path(sys.argv[1]), dataset=tiny_dataset(), device="cpu")
assert "torch.optim" in sys.modules
assert "torch._dynamo" not in sys.modules
"""
    alone = os.environ | {"OMP_NUM_THREADS": "1"}  # beside other tests
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "run"], check=True, cwd=ROOT, env=alone
    )
