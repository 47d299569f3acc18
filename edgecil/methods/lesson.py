"""How a method says that a task is learned: a lesson of one phase or several, for the one loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from edgecil.methods.recipes import PhaseRecipe


@dataclass(frozen=True)
class Phase:
    """One stretch of training: what is learned, and how."""

    name: str
    """Shown in the progress lines."""
    recipe: PhaseRecipe
    """Epochs and optimiser."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """Pixels (B, 3, S, S) in 0..255 and labels (B,) -> scalar loss."""
    trained: Sequence[nn.Module]
    """What learns. All else is frozen: no gradients, and BatchNorm keeps its statistics."""
    behind_trunk: bool = False
    """Whether the network's trunk stays as it is, and the loss needs nothing of a picture but what
    that makes of it: then it may be given `FeatureMaps` in place of pixels. Where the trunk is
    frozen for good, that goes without saying."""
    stays: Sequence[nn.Module] | None = None
    """Blocks behind the trunk that stay as they are, whose features the loss takes where they are
    known (`FeatureMaps`); None for those of the network that do not learn."""
    answer: Callable[[Tensor], Tensor] | None = None
    """Pixels (B, 3, S, S) in 0..255 -> logits (B, C) of the classes known before, where what this
    phase costs them is to be measured when it ends."""


@dataclass(frozen=True)
class Lesson:
    """How a task is learned."""

    phases: Sequence[Phase]
    """One after another."""
    extras: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    """Modules that learn beside the network and are thrown away after the task."""

    def begin(self, network: nn.Module, phase: Phase) -> None:
        """Freeze everything but what the phase trains."""
        for module in (network, self.extras):
            module.requires_grad_(False).eval()
        for module in phase.trained:
            module.requires_grad_(True).train()
