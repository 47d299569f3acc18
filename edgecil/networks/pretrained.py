"""Weights to start from: read from a file, and put into a network."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from edgecil.errors import WeightsError
from edgecil.networks.backbones import Backbone, backbone_named, cut_backbone
from edgecil.networks.expandable import ExpandableNetwork
from edgecil.networks.folding import without_batch_norms

Tensors = Mapping[str, Tensor]

_FOREIGN = (
    *(pickle.UnpicklingError, BadZipFile, EOFError, OSError),
    *(RuntimeError, ValueError, LookupError, AttributeError, TypeError),
)
"""What torch answers files that are none of its own."""
_COUNT = "num_batches_tracked"
"""Files of some publishers lack it, and nothing here reads it."""


def read_weights(path: Path) -> Tensors:
    """The tensors of a safetensors file, or of a state dict as torch keeps one.

    No code of a file is run: what holds more than tensors is refused.

    Raises:
        WeightsError: it cannot be read, or is neither.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"there is no file {path}; check --weights") from None
    except (SafetensorError, *_FOREIGN) as error:
        raise _foreign(path) from error
    if not isinstance(found, Mapping) or not all(isinstance(t, Tensor) for t in found.values()):
        raise _foreign(path)
    return found


def _foreign(path: Path) -> WeightsError:
    return WeightsError(
        f"{path} is neither a .safetensors file nor a state dict that holds tensors alone; "
        "write one with torch.save(network.state_dict(), FILE)"
    )


def start_from(network: ExpandableNetwork, backbone: str, cut: str, path: Path) -> None:
    """Let the trunk of `network` and its one block start from the weights in a file.

    Of a thin block, which no file has, the fresh weights stay. Nothing is drawn at random.

    Raises:
        WeightsError: the file cannot be read, or does not fit.
    """
    parts, row = cut_backbone(backbone, cut), backbone_named(backbone)
    wanted = _wanted(backbone, cut)
    wanted.load_state_dict(_fitting(wanted, row, path), assign=True)
    trunk_groups = len(list(network.trunk.children()))
    trunk, behind = wanted[:trunk_groups], wanted[trunk_groups:]
    if parts.frozen_trunk:
        trunk = without_batch_norms(trunk.eval())
    network.trunk.load_state_dict(trunk.state_dict())
    if len(behind):
        network.blocks[0].load_state_dict(nn.Sequential(*behind).state_dict())


def require_fitting(backbone: str, cut: str, path: Path) -> None:
    """Check that a file has what a backbone, cut so, starts from.

    Raises:
        WeightsError: it cannot be read, or does not fit.
    """
    _fitting(_wanted(backbone, cut), backbone_named(backbone), path)


def _wanted(backbone: str, cut: str) -> nn.Sequential:
    """The groups that a file must have, in their shapes."""
    row = backbone_named(backbone)
    comes = row.pretrained.cut_named(backbone, cut) if row.pretrained else None
    with torch.device("meta"):
        whole = nn.Sequential(*row.groups())
    return whole[: comes.trunk_groups] if comes and comes.thin_after else whole


def _fitting(wanted: nn.Module, row: Backbone, path: Path) -> dict[str, Tensor]:
    """What a file has for each tensor of `wanted`, whose names and shapes count alone."""
    tensors, found = read_weights(path), {}
    for name, tensor in wanted.state_dict().items():
        if name.endswith(_COUNT):
            found[name] = torch.zeros((), dtype=torch.int64)
            continue
        published = row.published_name(name)
        if published not in tensors:
            raise WeightsError(
                f"{path} has no tensor {published!r}, which {row.name} wants in the shape "
                f"{tuple(tensor.shape)}; give the weights of {row.name}, or another --backbone"
            )
        given = tensors[published]
        if given.shape != tensor.shape or not given.is_floating_point():
            raise WeightsError(
                f"{path} has {published!r} in the shape {tuple(given.shape)} ({given.dtype}), and "
                f"{row.name} wants {tuple(tensor.shape)}; give the weights of {row.name}, or "
                "another --backbone"
            )
        found[name] = given.float()
    return found
