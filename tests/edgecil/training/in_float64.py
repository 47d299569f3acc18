"""`edgecil` in float64, for comparisons in which rounding must not be seen.

With autocast off and 53 bits, what is summed in another order differs by about 1e-14, and the
16 or 32 bits that a state keeps do not show it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch

from edgecil.cli import main


@contextmanager
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        with patch("edgecil.training.loop.half_precision_pays", lambda device: False):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


if __name__ == "__main__":
    # So that a test can kill one process of several.
    Path(os.environ["PIDS"], os.environ["RANK"]).write_text(str(os.getpid()))
    with float64():
        main()
