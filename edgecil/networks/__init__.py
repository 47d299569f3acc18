"""Networks that grow: backbones cut into a shared trunk and one specialised block per task.

The backbones' names are known without torch; what needs it is imported when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgecil.networks.backbones import BACKBONES, CUTS, Backbone, Parts, cut_backbone

if TYPE_CHECKING:
    from edgecil.networks.expandable import (
        ExpandableNetwork,
        FeatureMaps,
        frozen_copy,
        grown,
        known_features,
        new_linear,
    )

__all__ = [
    "BACKBONES",
    "CUTS",
    "Backbone",
    "ExpandableNetwork",
    "FeatureMaps",
    "Parts",
    "cut_backbone",
    "frozen_copy",
    "grown",
    "known_features",
    "new_linear",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'edgecil.networks' has no attribute {name!r}")
    return getattr(import_module("edgecil.networks.expandable"), name)
