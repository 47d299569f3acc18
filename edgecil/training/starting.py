"""The network that a run starts with: fresh, or with weights that were trained elsewhere."""

from pathlib import Path

from edgecil.errors import WeightsError
from edgecil.memory import weights
from edgecil.memory.state import StateSettings
from edgecil.networks import ExpandableNetwork
from edgecil.networks.backbones import pretrained_named
from edgecil.networks.pretrained import start_from
from edgecil.networks.sources import sha256_of


def started(settings: StateSettings, file: str | None) -> ExpandableNetwork:
    """A network of the shape that `settings` say, with the weights that they say it starts from.

    A trunk that is frozen for good is rounded to the precision of the state at once: blocks then
    learn behind the trunk that is kept, and it is the same to the byte after every task.

    Args:
        settings: of the state after the task.
        file: has the weights, where a person brings them.

    Raises:
        MissingExtraError, WeightsError: the weights cannot be had, or do not fit.
    """
    network = settings.empty_network()
    if settings.origin is None:
        return network
    path = _weights_file(settings.backbone, file)
    if not sha256_of(path).startswith(settings.origin.sha256):
        raise WeightsError(f"{path} has changed since the run began; put it back")
    start_from(network, settings.backbone, settings.cut, path)
    if network.frozen_trunk:
        weights.round_to(network.trunk, settings.precision)
    return network


def _weights_file(backbone: str, file: str | None) -> Path:
    """The file that a backbone starts from: that of a person, or its own."""
    if file:
        return Path(file)
    comes = pretrained_named(backbone)
    if comes is None:
        raise WeightsError(f"{backbone} has no weights of its own; give --weights FILE")
    return comes.source.file(backbone)
