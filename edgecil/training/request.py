"""What a person asks for, checked before any data are read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgecil.budget import parse_bytes
from edgecil.data import DATASETS
from edgecil.errors import UsageError
from edgecil.memory.codecs import codec_named
from edgecil.memory.weights import PRECISIONS
from edgecil.methods import method_named
from edgecil.methods.recipes import recipe_named
from edgecil.networks import BACKBONES, cut_backbone
from edgecil.networks.backbones import can_be_cut
from edgecil.pictures.policies import Policy
from edgecil.planning.accounting import ACCOUNTINGS, Accounting
from edgecil.planning.protocols import Protocol, protocol_named
from edgecil.planning.tradeoffs import tradeoffs


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What `edgecil train` was asked for; None leaves the choice to edgecil."""

    budget: str
    """Bound on the state, such as 7.6MB."""
    data: str | None = None
    """A built-in data set or a folder of class folders; None where the protocol names it."""
    protocol: str | None = None
    """The published protocol that settles data, tasks, image size, recipe and backbone."""
    data_dir: Path | None = None
    """Where built-in data sets are."""
    classes_file: Path | None = None
    """A list of the class folders that count, in label order."""
    image_size_px: int | None = None
    """Height and width of the pictures that the network sees."""
    holdout: float = 0.2
    """Fraction of a folder's pictures kept for testing where it has no test split."""
    base: int | None = None
    """Classes of the first task."""
    increment: int | None = None
    """Classes of every later task."""
    tasks: Path | None = None
    """A TOML file with the class names of every task."""
    seed: int = 1993
    """Seed of the class order, weights, batches and augmentation."""
    method: str = "memo"
    """Name of the method."""
    backbone: str | None = None
    """Name of the backbone."""
    cut: str | None = None
    """Where the backbone is cut."""
    trunk: str = "auto"
    """Whether the trunk goes on training."""
    accounting: str = "strict"
    """`strict` or `published`."""
    tasks_ahead: int = 0
    """Tasks that the budget must still hold after the last one."""
    codec: str | None = None
    """How exemplars are encoded."""
    precision: str | None = None
    """How weights are encoded."""
    recipe: str | None = None
    """Name of the training recipe."""
    epochs: int | None = None
    """Epochs a task."""
    first_epochs: int | None = None
    """Epochs of the first task."""
    learning_rate: float | None = None
    """Highest learning rate."""
    batch_size: int | None = None
    """Images a step."""
    augmentation: str | None = None
    """The policy by which training pictures are changed."""
    no_mirror: bool = False
    """Whether pictures stop showing their class in a mirror, so that none may be flipped."""

    def __post_init__(self) -> None:
        """Refuse what cannot be before any data are read."""
        _require_known("accounting", self.accounting, ACCOUNTINGS)
        _require_known("state precision", self.precision or "fp32", PRECISIONS)
        if (self.counting.codec and self.codec) or (self.counting.precision and self.precision):
            raise UsageError(
                "published accounting counts raw pixels and fp32 weights; "
                "leave out --codec and --state-precision"
            )
        if self.protocol:
            _refuse_contradictions(self, protocol_named(self.protocol))
        elif self.data is None:
            raise UsageError("nothing says what to learn; give --data or --protocol")
        if self.tasks_ahead < 0:
            raise UsageError(f"tasks ahead is {self.tasks_ahead}; give 0 or more")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise UsageError(f"learning rate is {self.learning_rate}; give one above 0")
        if self.tasks and (self.base or self.increment):
            raise UsageError("--tasks names every task; leave out --base and --increment")
        parse_bytes(self.budget)
        codec_named(self.codec or "raw")
        Policy(self.augmentation or "plain")
        method = method_named(self.method, trunk=self.trunk)
        if self.cut and self.cut not in method.cuts:
            cuts = " or ".join(method.cuts)
            raise UsageError(f"{method.name} is cut at {cuts}, not {self.cut!r}; leave out --cut")
        cut_backbone(self.backbone or "resnet14", self.chosen_cut)
        recipe_named(self.chosen_recipe, self.method).adapted(
            epochs=self.epochs, first_epochs=self.first_epochs, batch_size=self.batch_size
        )

    @property
    def budget_bytes(self) -> int:
        """The budget in bytes."""
        return parse_bytes(self.budget)

    @property
    def counting(self) -> Accounting:
        """How the budget is counted."""
        return ACCOUNTINGS[self.accounting]

    @property
    def followed(self) -> Protocol | None:
        """The protocol asked for."""
        return protocol_named(self.protocol) if self.protocol else None

    @property
    def chosen_data(self) -> str | None:
        """The data asked for, or the protocol's; None for a folder that is not named yet."""
        return self.data or (self.followed.images.data if self.followed else None)

    @property
    def chosen_image_size_px(self) -> int | None:
        """The size asked for, or the protocol's; None lets the data decide."""
        return self.image_size_px or (self.followed.images.image_size_px if self.followed else None)

    @property
    def chosen_recipe(self) -> str:
        """The recipe asked for, or `published` under a protocol, or `fast`."""
        return self.recipe or ("published" if self.protocol else "fast")

    @property
    def published_backbone(self) -> str | None:
        """The protocol's backbone where the budget is one of its points; None elsewhere.

        A budget that bounds files is none, however large.
        """
        if self.followed is None or self.counting.bounds_files:
            return None
        name = self.followed.backbone_at(self.budget_bytes, self.method)
        return name if name and can_be_cut(BACKBONES[name], self.chosen_cut) else None

    @property
    def chosen_cut(self) -> str:
        """The cut asked for, or the method's own."""
        return self.cut or method_named(self.method).cuts[0]

    @property
    def possible_codecs(self) -> tuple[str, ...]:
        """The codec asked for, or the accounting's own, or what the planner may choose from."""
        codec = self.codec or self.counting.codec
        return (codec,) if codec else tuple(tradeoffs().codec)

    @property
    def possible_precisions(self) -> tuple[str, ...]:
        """The precision asked for, or the accounting's own, or what the planner may choose from."""
        precision = self.precision or self.counting.precision
        return (precision,) if precision else ("fp16", "int8")


def _require_known(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UsageError(f"unknown {what} {name!r}; choose one of: {', '.join(known)}")


def _refuse_contradictions(request: TrainRequest, protocol: Protocol) -> None:
    """Refuse options that ask for something else than the protocol."""
    if protocol.images.data is None and request.data in DATASETS:
        raise UsageError(
            f"{protocol.name} learns from a folder of yours, not from {request.data}; "
            "give --data FOLDER, with train/ and val/ in it"
        )
    first = protocol.base or protocol.increment
    base = protocol.increment if request.base == 0 else request.base
    for option, asked, settled in (
        ("--data", request.data, protocol.images.data or request.data),
        ("--image-size", request.image_size_px, protocol.images.image_size_px),
        ("--base", base, first),
        ("--increment", request.increment, protocol.increment),
        ("--tasks", request.tasks, None),
        ("--tasks-ahead", request.tasks_ahead or None, None),
    ):
        if asked is not None and asked != settled:
            own = "" if settled is None else f", which has {settled}"
            raise UsageError(f"{option} {asked} contradicts {protocol.name}{own}; leave it out")
