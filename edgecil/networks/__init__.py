"""Networks that grow: backbones cut into a shared trunk and one specialised block per task."""

from edgecil.networks.backbones import BACKBONES, CUTS, Backbone, Parts, cut_backbone
from edgecil.networks.expandable import ExpandableNetwork, frozen_copy, grown, new_linear

__all__ = [
    "BACKBONES",
    "CUTS",
    "Backbone",
    "ExpandableNetwork",
    "Parts",
    "cut_backbone",
    "frozen_copy",
    "grown",
    "new_linear",
]
