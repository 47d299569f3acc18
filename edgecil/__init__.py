"""Class-incremental image classifiers for small computers, under a strict byte budget.

    import edgecil
    from pathlib import Path

    edgecil.train(edgecil.TrainRequest(data="photos", budget="7.6MB"), Path("runs/photos"))
    edgecil.Classifier.load("photos.edgecil").predict("cat.jpg").label

Names are imported when they are first used: classifying needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecil.errors import EdgecilError
    from edgecil.memory.state import State
    from edgecil.training.api import train
    from edgecil.training.reporters import Reporter
    from edgecil.training.request import TrainRequest
    from edgecil_devices import Classifier, Prediction

__all__ = ["Classifier", "EdgecilError", "Prediction", "Reporter", "State", "TrainRequest", "train"]

_HOMES = {
    "Classifier": "edgecil_devices",
    "EdgecilError": "edgecil.errors",
    "Prediction": "edgecil_devices",
    "Reporter": "edgecil.training.reporters",
    "State": "edgecil.memory.state",
    "TrainRequest": "edgecil.training.request",
    "train": "edgecil.training.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgecil' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
