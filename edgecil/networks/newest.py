"""A network's newest backbone, layer by layer: what the analyses look at.

A layer here is the stem, one residual block, or one group of a ConvNet. The newest backbone is the
trunk followed by the newest block. With one network that goes on training it is that network; with
DER it is the backbone of the latest task, as in the paper; with MEMO it is the trunk that all tasks
share and the block of the latest task, which started from the one before it. Older blocks are
frozen: they neither change nor have gradients.
"""

from torch import nn

from edgecil.networks import ExpandableNetwork

_RESIDUAL = ("BasicBlock", "Bottleneck")
"""What our residual blocks and torchvision's are called; importing the latter takes seconds."""


class NewestBackbone(nn.Module):
    """A trunk and a block in a row.

    Args:
        trunk: normalised images (N, 3, S, S) -> feature map; a sequence of groups, perhaps empty.
        block: feature map -> features (N, D); a sequence of at least one group.
    """

    def __init__(self, trunk: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.trunk, self.block = trunk, block

    @classmethod
    def of(cls, network: ExpandableNetwork) -> "NewestBackbone":
        """That of a network, whose modules it shares."""
        return cls(network.trunk, network.blocks[-1])

    def groups(self) -> dict[str, nn.Module]:
        """Every group by its name, shallow to deep, without the pooling that ends the last.

        A ResNet's are `stem`, `group 1`, `group 2` ...; a ConvNet has no stem.
        """
        found = [
            _without_pooling(part) for part in (*self.trunk.children(), *self.block.children())
        ]
        if any(_residual_blocks(group) for group in found):
            names = ["stem", *(f"group {n}" for n in range(1, len(found)))]
        else:
            names = [f"group {n}" for n in range(1, len(found) + 1)]
        return dict(zip(names, found, strict=True))

    def layers(self) -> dict[str, nn.Module]:
        """Every layer by its name, shallow to deep: `stem`, `1.1`, `1.2`, `2.1` ...

        The first number is the group's; a ConvNet's layers are its groups.
        """
        layers: dict[str, nn.Module] = {}
        for name, group in self.groups().items():
            layers.update(layers_in(name, group))
        return layers

    @property
    def trunk_groups(self) -> int:
        """How many of the groups are the trunk's; 0 where there is no trunk, as with DER."""
        return len(list(self.trunk.children()))


def layers_in(name: str, group: nn.Module) -> dict[str, nn.Module]:
    """The layers of one of `NewestBackbone.groups`, by name."""
    number = name.removeprefix("group ")
    blocks = _residual_blocks(group)
    return {f"{number}.{n}": block for n, block in enumerate(blocks, 1)} or {number: group}


def _without_pooling(group: nn.Module) -> nn.Module:
    """What `edgecil.networks.layers.pooled` was given, or the group itself."""
    children = list(group.children())
    return children[0] if children and isinstance(children[-1], nn.Flatten) else group


def _residual_blocks(group: nn.Module) -> list[nn.Module]:
    return [child for child in group.children() if type(child).__name__ in _RESIDUAL]
