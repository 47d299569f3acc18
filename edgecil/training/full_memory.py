"""A training device whose memory is full, told in a sentence wherever that is noticed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from edgecil.errors import TrainingError

_TOLD = re.compile(r"out of memory|_ALLOC_FAILED")
"""How drivers and libraries tell it, which torch passes on as plain errors: cuBLAS, a card that is
full before the first tensor, Apple's graphics."""


@contextmanager
def full_memory_told() -> Iterator[None]:
    """Say in a sentence that the training device's memory is full, and what to do.

    Raises:
        TrainingError: it is.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or _TOLD.search(str(error))):
            raise
        raise TrainingError(
            "the training device ran out of memory; go on with --device cpu, "
            "or begin another run with a smaller --batch-size"
        ) from error
