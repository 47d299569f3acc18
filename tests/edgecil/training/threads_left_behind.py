"""A step on several processes, and the threads of their process group that outlive it.

One of them that still holds a tensor while Python ends aborts the process, now and then.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from edgecil.errors import TrainingError
from edgecil.training.distributed import joined, lead, shared_step


def names() -> list[str]:
    """Of the threads of this process."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def fail() -> None:
    raise TrainingError("as asked")


def main(*, failing: bool) -> None:
    layer = nn.Linear(3, 2)
    with (
        joined(torch.device("cpu")),
        shared_step(lambda pixels, _: layer(pixels).mean(), [layer]) as step,
    ):
        loss = step(torch.ones(4, 3), torch.zeros(4), 8)
        loss.backward()  # type: ignore[no-untyped-call]
        assert any("gloo" in name for name in names())
        if failing:
            lead(fail)


if __name__ == "__main__":
    try:
        main(failing="fail" in sys.argv)
    except (TrainingError, SystemExit):  # the error keeps the variables of every frame
        print("failed")
    print(*(name for name in names() if "gloo" in name))
