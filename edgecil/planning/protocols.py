"""The published protocols as data: what is learned in which tasks, and at which budgets.

The papers compare methods at a few budget points each. All follow from one rule: a point is what
DER takes with one of the backbones below, a whole backbone a task and the protocol's exemplars as
raw pixels; the smallest is what a single network takes. There DER and MEMO use the smallest
backbone of all. Methods of a single network have the same backbone at every point, and more
exemplars. Source: MEMO (Zhou et al., ICLR 2023), appendix D.1 to D.4.
"""

from dataclasses import dataclass
from functools import cached_property

from edgecil.errors import UsageError
from edgecil.methods import method_named


@dataclass(frozen=True)
class BudgetPoint:
    """One of the budgets at which the papers compare methods."""

    budget_bytes: int
    """Network and exemplars by the papers' rule. Their "MB" are MiB."""
    expanding_backbone: str
    """The backbone of methods that add a block a task: DER and MEMO."""


@dataclass(frozen=True)
class ProtocolData:
    """What the protocols of one data set share."""

    data: str | None
    """Name of the built-in data set; None for a folder that the person has."""
    image_size_px: int
    """Height and width of the pictures that the network sees."""
    shorter_side_px: int | None
    """What the shorter side is resized to before the test's centre crop; None for no more."""
    images_per_class: int
    """Training pictures of a class."""
    backbone: str
    """The backbone of methods with a single network."""
    expanding_backbones: tuple[str, ...]
    """Those of DER and MEMO, one a budget point, small to large."""


@dataclass(frozen=True)
class Protocol:
    """Data, tasks and budgets of a published comparison."""

    name: str
    """What `--protocol` calls it."""
    images: ProtocolData
    """The pictures, and the networks that suit them."""
    class_count: int
    """Classes of all tasks."""
    base: int
    """Classes of the first task; 0 for as many as in the others ("B0")."""
    increment: int
    """Classes of every later task."""
    exemplars: int = 2000
    """Pictures that a single network keeps beside it at the smallest budget."""
    brightens: bool = True
    """Whether training varies the brightness of pictures; the public code does not for
    ImageNet-100."""

    @property
    def task_sizes(self) -> tuple[int, ...]:
        """Classes of every task."""
        first = self.base or self.increment
        return first, *(self.increment,) * ((self.class_count - first) // self.increment)

    @cached_property
    def points(self) -> tuple[BudgetPoint, ...]:
        """The budget points, small to large."""
        smallest, *others = self.images.expanding_backbones
        single_bytes = self._bytes_of(self.images.backbone, 1)
        return (
            BudgetPoint(single_bytes, smallest),
            *(BudgetPoint(self._bytes_of(name, len(self.task_sizes)), name) for name in others),
        )

    @property
    def budgets_bytes(self) -> tuple[int, ...]:
        """The budgets of the points, small to large."""
        return tuple(point.budget_bytes for point in self.points)

    def backbone_at(self, budget_bytes: int, method: str) -> str | None:
        """The published backbone of a method at a point; None where the budget is no point."""
        for point in self.points:
            if point.budget_bytes == budget_bytes:
                expands = method_named(method).blocks_after(2) > 1
                return point.expanding_backbone if expands else self.images.backbone
        return None

    def _bytes_of(self, backbone: str, count: int) -> int:
        """`count` whole backbones and the exemplars, as the papers count."""
        from edgecil.planning.accounting import PUBLISHED_BYTES_PER_PARAMETER, parameter_counts

        _, parameters = parameter_counts(backbone, "whole")
        pixels_bytes = self.exemplars * self.images.image_size_px**2 * 3
        return count * parameters * PUBLISHED_BYTES_PER_PARAMETER + pixels_bytes


_CIFAR = ProtocolData(
    data="cifar100",
    image_size_px=32,
    shorter_side_px=None,
    images_per_class=500,
    backbone="resnet32",
    expanding_backbones=("convnet2", "resnet14", "resnet20", "resnet26", "resnet32"),
)
_IMAGENET = ProtocolData(
    data=None,
    image_size_px=224,
    shorter_side_px=256,
    images_per_class=1300,
    backbone="resnet18",
    expanding_backbones=(
        "convnet4",
        "resnet10",
        "resnet18",
        "resnet26-bottleneck",
        "resnet34",
        "resnet50",
    ),
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("cifar100-b0-inc5", _CIFAR, 100, 0, 5),
        Protocol("cifar100-b0-inc10", _CIFAR, 100, 0, 10),
        Protocol("cifar100-b0-inc20", _CIFAR, 100, 0, 20),
        Protocol("cifar100-b50-inc5", _CIFAR, 100, 50, 5),
        Protocol("cifar100-b50-inc10", _CIFAR, 100, 50, 10),
        Protocol("cifar100-b50-inc25", _CIFAR, 100, 50, 25),
        Protocol("imagenet100-b0-inc10", _IMAGENET, 100, 0, 10, brightens=False),
        Protocol("imagenet100-b50-inc5", _IMAGENET, 100, 50, 5, brightens=False),
        Protocol("imagenet1000-b0-inc100", _IMAGENET, 1000, 0, 100, exemplars=20_000),
    )
}
"""All protocols by name."""


def protocol_named(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"unknown protocol {name!r}; choose one of: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
