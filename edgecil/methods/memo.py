"""MEMO: one shared trunk, one specialised block a task (Zhou et al., ICLR 2023)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from edgecil.errors import UsageError
from edgecil.methods.der import DER

TRUNK_POLICIES = ("auto", "train", "freeze")
"""What `--trunk` takes."""

TRUNK_THRESHOLD_CLASSES = 20
"""`auto` freezes a trunk whose first task had at least this many classes (MEMO, appendix C.2)."""


@dataclass(frozen=True)
class Memo(DER):
    """MEMO as published: section 4 of the paper, and its code where the text is silent.

    As DER, but blocks share the shallow layers: the new block starts from the previous one, and the
    trunk may go on training.

    With a trunk that goes on training, frozen blocks see a feature map that slowly differs from
    the one they were fitted to, and every update to a device carries the trunk too. With a frozen
    trunk old blocks stay exact, and an update is one block and a head.
    """

    trunk: str = "auto"
    """`train` or `freeze` the trunk after the first task; `auto` follows the paper's rule."""

    name = "memo"
    price = (
        "memo keeps old blocks as they are and updates small; thrift, one network that learns on, "
        "was 1 to 5 points ahead on average in the same bytes and 2 to 7 after the last task "
        "(benchmarks/results/merging.md, merging_cifar100.md, cifar100-comparison.md)"
    )
    cuts: ClassVar[tuple[str, ...]] = ("last", "last-two")

    def __post_init__(self) -> None:
        if self.trunk not in TRUNK_POLICIES:
            raise UsageError(
                f"unknown trunk policy {self.trunk!r}; choose one of: {', '.join(TRUNK_POLICIES)}"
            )

    def with_trunk(self, policy: str) -> Self:
        """The same method with another trunk policy."""
        return replace(self, trunk=policy)

    def passes(self, stage: int) -> float:
        """Each picture passes through every frozen block, about half of a backbone."""
        return 3 + (stage - 1) / 2

    def trains_trunk(self, first_classes: int) -> bool:
        """Whether the trunk goes on training after a first task of `first_classes` classes."""
        if self.trunk == "auto":
            return first_classes < TRUNK_THRESHOLD_CLASSES
        return self.trunk == "train"


class Memo2(Memo):
    """MEMO-2: the last two groups are specialised (MEMO, appendix B.1; no public code has it)."""

    name = "memo-2"
    cuts: ClassVar[tuple[str, ...]] = ("last-two",)
