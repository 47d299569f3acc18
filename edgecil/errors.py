"""The workstation's errors; the root and the device's are in `edgecil_devices.errors`.

EdgecilError                  exit code 1
  + UsageError                exit code 2: an argument or option that cannot be
    + MissingExtraError       a part of edgecil that is not installed
  + ImageError, BundleError   as on the device
  + DataError                 pictures, classes or tasks that cannot be learned from
  + BudgetError               what must be kept does not fit the byte budget
  + StateError                a run's state cannot be used
    + StateCorruptError       truncated or altered
    + StateVersionError       written by a newer edgecil
  + WeightsError              weights to start from that cannot be had, or do not fit
  + RunError                  a run folder is in the way, or its settings changed
  + TrainingError             training cannot go on (the loss is not a number, memory is full)
  + ExportError               the exported graphs do not say what the network says
"""

from edgecil_devices.errors import (
    BundleCorruptError,
    BundleError,
    BundleVersionError,
    EdgecilError,
    ImageError,
    MissingExtraError,
    UsageError,
)

__all__ = [
    "BudgetError",
    "BundleCorruptError",
    "BundleError",
    "BundleVersionError",
    "DataError",
    "EdgecilError",
    "ExportError",
    "ImageError",
    "MissingExtraError",
    "RunError",
    "StateCorruptError",
    "StateError",
    "StateVersionError",
    "TrainingError",
    "UsageError",
    "WeightsError",
]


class DataError(EdgecilError):
    """Pictures, classes or tasks that cannot be learned from."""


class BudgetError(EdgecilError):
    """What must be kept between tasks does not fit the byte budget.

    Args:
        message: what does not fit, and what would help.
        smallest_bytes: the smallest budget that holds it, where that is known.
    """

    def __init__(self, message: str, smallest_bytes: int | None = None) -> None:
        super().__init__(message)
        self.smallest_bytes = smallest_bytes


class StateError(EdgecilError):
    """A run's state cannot be used."""


class StateCorruptError(StateError):
    """A state that is truncated or altered."""


class StateVersionError(StateError):
    """A state that a newer edgecil wrote."""


class WeightsError(EdgecilError):
    """Weights to start from cannot be had, or do not fit the backbone."""


class RunError(EdgecilError):
    """A run folder is in the way, or the settings it was started with have changed."""


class TrainingError(EdgecilError):
    """Training cannot go on: the loss is not a number, or the device's memory is full."""


class ExportError(EdgecilError):
    """The exported graphs do not compute what the network computes, so nothing was written."""
