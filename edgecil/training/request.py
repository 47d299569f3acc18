"""What a person asks for, checked before any data are read."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgecil.budget import ByteBudget
from edgecil.data import DATASETS, not_found
from edgecil.errors import UsageError
from edgecil.memory.codecs import CODECS, codec_named
from edgecil.memory.precisions import PRECISIONS
from edgecil.methods import METHODS, method_named
from edgecil.methods.recipes import RECIPES, recipe_named
from edgecil.networks import BACKBONES, cut_backbone
from edgecil.networks.backbones import backbone_named, can_be_cut, pretrained_named
from edgecil.planning.protocols import PROTOCOLS, Protocol, protocol_named
from edgecil.training.stopping import parse_duration
from edgecil_devices.options import described, one_of, option

if TYPE_CHECKING:
    from edgecil.planning.accounting import Accounting

DEVICES = ("auto", "cpu", "cuda", "mps")
"""What `--device` takes."""

HIGHEST_SEED = 2**32 - 1
"""Of `--seed`: the generator that class orders are drawn by takes no higher one."""

PRETRAINED = {name: one.pretrained for name, one in BACKBONES.items() if one.pretrained}
SMALL_BACKBONES = [name for name, one in BACKBONES.items() if one.largest_image_px <= 64]
LARGE_BACKBONES = [name for name in BACKBONES if name not in (*SMALL_BACKBONES, *PRETRAINED)]
PRETRAINED_CUTS = "; ".join(
    f"{name} {' or '.join(cut.name for cut in one.cuts)}" for name, one in PRETRAINED.items()
)

DATA_DIR = described("Where built-in data sets are, or are downloaded to.", envvar="EDGECIL_DATA")


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What `edgecil train` was asked for; None leaves the choice to edgecil.

    Each field says itself what it is, here and on the command lines that are derived from it.
    """

    protocol: str | None = option(
        None,
        f"A published comparison: {', '.join(PROTOCOLS)}. It settles data (ImageNet: --data "
        "FOLDER), tasks, image size, recipe, and with --accounting published the backbone at "
        "the published budgets.",
    )
    data: str | None = option(
        None,
        f"{', '.join(DATASETS)}, or a folder of class folders (photos/<class>/*.jpg), perhaps "
        "in train/ and val/.",
        shown_default="the protocol's",
    )
    budget: str | int = field(
        metadata=described(
            "Bound on all that is kept between tasks: 7.6MB, 500kB, 8MiB, 7600000.",
            parse=ByteBudget,
        )
    )
    """As text such as 7.6MB or in bytes; `budget_bytes` has the bytes."""
    data_dir: Path | None = field(default=None, metadata=DATA_DIR)
    classes_file: Path | None = option(
        None, "The class folders that count, one name a line in label order; # starts a remark."
    )
    image_size_px: int | None = option(
        None,
        "Height and width in pixels that pictures are brought to.",
        flag="--image-size",
        shown_default="by the data",
    )
    holdout: float = option(
        0.2, "Part of a folder's pictures kept for testing where it has no test split."
    )
    no_mirror: bool = option(
        False,
        "Do not mirror training pictures: for classes that differ by left and right, such as "
        "arrows, letters, turns.",
    )
    base: int | None = option(None, "Classes of the first task.", shown_default="as --increment")
    increment: int | None = option(
        None,
        "Classes of every later task.",
        shown_default="a tenth of all, 10 or more; up to ten classes are one task",
    )
    tasks: Path | None = option(
        None, "A TOML file with the classes of every task: [[task]] classes = ['cat', 'dog'] ..."
    )
    tasks_ahead: int = option(0, "Tasks that the budget must still hold after the last one.")
    seed: int = option(1993, "Seed of class order, weights, batches, augmentation.")
    method: str | None = option(
        None,
        f"{', '.join(METHODS)}. memo-2 is cut at last-two; thrift is edgecil's own: one "
        "network and many compressed exemplars; slda keeps no pictures and trains the first task "
        "alone, which behind a pretrained backbone suits few photos best and from scratch costs "
        "later tasks about ten points.",
        shown_default="memo, or slda where the planner takes a pretrained backbone for few photos",
    )
    backbone: str | None = option(
        None,
        f"For CIFAR: {', '.join(SMALL_BACKBONES)} (x2: twice the channels; any number is possible, "
        f"as in resnet14x4). For larger images: {', '.join(LARGE_BACKBONES)}; the papers call "
        "resnet26-bottleneck ResNet26 there. "
        f"Pretrained, with a trunk that stays as it is: {', '.join(PRETRAINED)}.",
        shown_default="the planner's choice",
    )
    cut: str | None = option(
        None,
        "Groups of the backbone that become the block: memo takes last or last-two. Pretrained: "
        f"{PRETRAINED_CUTS}; what is called copied has the last stage as it comes for a block, "
        "the others a thin one that starts at random.",
        shown_default="the method's, or the planner's of a pretrained backbone",
    )
    weights: Path | None = option(
        None,
        "A file that the backbone starts from: safetensors, or a state dict of torch.",
        shown_default="none, or those that a pretrained backbone has",
    )
    trunk: str = option(
        "auto", "After the first task: train, freeze, or auto (train if it had under 20 classes)."
    )
    max_blocks: int | None = option(
        None,
        "Blocks at most, of a method that adds one a task: then older ones are merged.",
        shown_default="the planner's choice",
    )
    no_merge: bool = option(False, "Refuse a budget that holds not every block, and merge none.")
    accounting: str = option(
        "strict", "strict: the files of the state. published: the papers' rule."
    )
    codec: str | None = option(
        None,
        f"Exemplars as {one_of(CODECS)}. All but the first two lose detail; new pictures "
        "are then seen through the codec, too.",
        shown_default="the planner's choice",
    )
    precision: str | None = option(
        None,
        f"Weights in the state as {one_of(PRECISIONS)}.",
        flag="--state-precision",
        shown_default="the planner's choice",
    )
    recipe: str | None = option(
        None,
        f"{', '.join(RECIPES)}. fast has few epochs and one cycle, thorough 100 epochs and "
        "more with autoaugment+cutout; frozen shows a frozen trunk a few views of each picture, "
        "once for all epochs.",
        shown_default="fast; frozen with a pretrained backbone, published with --protocol and "
        "without --time",
    )
    epochs: int | None = option(None, "Epochs of every task.", shown_default="the recipe's")
    first_epochs: int | None = option(
        None, "Epochs of the first task.", shown_default="as --epochs"
    )
    time: str | None = option(
        None,
        "How long the run may take, as in 30m or 3h: what this machine can train in it decides "
        "network and epochs.",
        shown_default="as long as the recipe takes",
    )
    images_a_task: int | None = option(
        None,
        "Pictures that training shows in every task, each as often as it is seen (5 epochs of 1000 "
        "are 5000): epochs follow, so that methods train equally long. --time finds it.",
        shown_default="as --epochs has it",
    )
    learning_rate: float | None = option(
        None, "Highest learning rate.", shown_default="the recipe's"
    )
    batch_size: int | None = option(None, "Images a step.", shown_default="the recipe's")
    augmentation: str | None = option(
        None,
        "What happens to training pictures beyond crops, mirrors and brightness: plain, "
        "autoaugment, randaugment or trivialaugment, each also with +cutout.",
        shown_default="the recipe's",
    )

    def __post_init__(self) -> None:
        """Take paths as text, too; refuse what cannot be before any data are read."""
        for name in ("data_dir", "classes_file", "tasks", "weights"):
            if isinstance(path := getattr(self, name), str):
                object.__setattr__(self, name, Path(path))
        # These take torch, which --help does not.
        from edgecil.pictures.policies import Policy
        from edgecil.planning.accounting import ACCOUNTINGS
        from edgecil.planning.block_limits import refuse_impossible_bound

        require_known("accounting", self.accounting, ACCOUNTINGS)
        require_known("state precision", self.precision or "fp32", PRECISIONS)
        if (self.counting.codec and self.codec) or (self.counting.precision and self.precision):
            raise UsageError(
                "published accounting counts raw pixels and fp32 weights; "
                "leave out --codec and --state-precision"
            )
        if self.data == "":  # an unset variable of a shell
            raise not_found(self.data)
        if self.protocol:
            _refuse_contradictions(self, protocol_named(self.protocol))
        elif self.data is None:
            raise UsageError("nothing says what to learn; give --data or --protocol")
        if self.image_size_px is not None and self.image_size_px < 1:
            raise UsageError(f"image size is {self.image_size_px} pixels; give 1 or more")
        if self.tasks_ahead < 0:
            raise UsageError(f"tasks ahead is {self.tasks_ahead}; give 0 or more")
        if not 0 <= self.seed <= HIGHEST_SEED:
            raise UsageError(f"seed is {self.seed}; give 0 to {HIGHEST_SEED}")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise UsageError(f"learning rate is {self.learning_rate}; give a number above 0")
        if self.tasks and (self.base or self.increment):
            raise UsageError("--tasks names every task; leave out --base and --increment")
        object.__setattr__(self, "budget", ByteBudget(self.budget))
        codec_named(self.codec or "raw")
        Policy(self.augmentation or "plain")
        _refuse_impossible_cuts(self)
        refuse_impossible_bound(self.max_blocks, self.no_merge, self.chosen_method, self.counting)
        _refuse_two_lengths(self)
        recipe_named(self.chosen_recipe, self.chosen_method).adapted(
            epochs=self.epochs, first_epochs=self.first_epochs, batch_size=self.batch_size
        )

    @property
    def budget_bytes(self) -> int:
        """The budget in bytes."""
        return int(self.budget)

    @property
    def counting(self) -> "Accounting":
        """How the budget is counted."""
        from edgecil.planning.accounting import ACCOUNTINGS

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
        """The size asked for, the protocol's, or a pretrained network's; None lets the data decide.

        Built-in data sets have pictures of one size.
        """
        if self.image_size_px is not None:
            return self.image_size_px
        if self.followed:
            return self.followed.images.image_size_px
        comes = pretrained_named(self.backbone)
        if not comes or self.data in DATASETS:
            return None
        learned = not method_named(self.chosen_method).keeps_statistics
        return comes.own_image_size_px(learned=learned)

    @property
    def chosen_recipe(self) -> str:
        """The recipe asked for, or a protocol's, or what suits the backbone.

        A protocol's has a length of its own: cut short to a given time it would no longer be what
        was published, and it is not what the planner's trade-offs were measured with.
        """
        own = "frozen" if pretrained_named(self.backbone) else "fast"
        return self.recipe or ("published" if self.protocol and not self.time else own)

    @property
    def chosen_method(self) -> str:
        """The method asked for, or memo."""
        return self.method or "memo"

    @property
    def published_backbone(self) -> str | None:
        """The protocol's backbone where the budget is one of its points; None elsewhere.

        A budget that bounds files is none, however large.
        """
        if self.followed is None or self.counting.bounds_files:
            return None
        name = self.followed.backbone_at(self.budget_bytes, self.chosen_method)
        return name if name and can_be_cut(backbone_named(name), self.chosen_cut) else None

    @property
    def chosen_cut(self) -> str:
        """The cut asked for, or that of a pretrained backbone, or the method's own."""
        comes, method = pretrained_named(self.backbone), method_named(self.chosen_method)
        if comes and not self.cut:
            return comes.own_cut(learned=not method.keeps_statistics).name
        return self.cut or method.cuts[0]

    @property
    def possible_cuts(self) -> tuple[str, ...]:
        """The cut asked for, or what the planner may choose from.

        A copied stage is chosen by nobody else than a person: it takes more bytes than a thin block
        and has learned no more.
        """
        comes = pretrained_named(self.backbone)
        if self.cut or not comes or method_named(self.chosen_method).keeps_statistics:
            return (self.chosen_cut,)
        return tuple(cut.name for cut in comes.cuts if cut.thin_after)

    @property
    def possible_codecs(self) -> tuple[str, ...]:
        """The codec asked for, or the accounting's own, or what the planner may choose from."""
        from edgecil.planning.tradeoffs import tradeoffs  # takes torch, which --help does not

        codec = self.codec or self.counting.codec
        if codec:
            return (codec,)
        lost = tradeoffs().codec
        if not method_named(self.chosen_method).keeps_exemplars:
            return (min(lost, key=lost.__getitem__),)  # for nothing; each takes a second to try
        return tuple(lost)

    @property
    def possible_precisions(self) -> tuple[str, ...]:
        """The precision asked for, or the accounting's own, or what the planner may choose from."""
        precision = self.precision or self.counting.precision
        return (precision,) if precision else ("fp16", "int8")


def require_known(what: str, name: str, known: Iterable[str]) -> None:
    """Check that a name is one of those there are.

    Args:
        what: what is called so, in words.
        name: as it was given.
        known: the names there are.

    Raises:
        UsageError: it is none of them; the message lists them.
    """
    if name not in known:
        raise UsageError(f"unknown {what} {name!r}; choose one of: {', '.join(known)}")


def _refuse_two_lengths(request: TrainRequest) -> None:
    """Refuse more than one way to say how long training is, and one that says nothing."""
    lengths = {
        "--time": request.time,
        "--images-a-task": request.images_a_task,
        "--epochs": request.epochs or request.first_epochs,
    }
    given = [flag for flag, value in lengths.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} both say how long to train; give one of them")
    if request.images_a_task is not None and request.images_a_task < 1:
        raise UsageError(f"images a task is {request.images_a_task}; give 1 or more")
    if request.time is not None:
        parse_duration(request.time)


def _refuse_impossible_cuts(request: TrainRequest) -> None:
    """Refuse a backbone, a cut or a trunk's training that do not go together."""
    method = method_named(request.chosen_method, trunk=request.trunk)
    if pretrained_named(request.backbone):
        if method.cuts == ("last-two",):
            raise UsageError(f"{method.name} is for backbones from scratch; give --method memo")
        if request.trunk == "train":
            raise UsageError(
                f"the trunk of {request.backbone} is pretrained and stays as it is; "
                "leave out --trunk train"
            )
    elif request.cut and request.cut not in method.cuts:
        cuts = " or ".join(method.cuts)
        raise UsageError(f"{method.name} is cut at {cuts}, not {request.cut!r}; leave out --cut")
    cut_backbone(request.backbone or "resnet14", request.chosen_cut)
    if request.weights:
        if request.backbone is None:
            raise UsageError("--weights are those of one backbone; name it with --backbone")
        if request.weights.exists():  # a run that goes on may do without
            from edgecil.networks.pretrained import require_fitting

            require_fitting(request.backbone, request.chosen_cut, request.weights)


def _refuse_contradictions(request: TrainRequest, protocol: Protocol) -> None:
    """Refuse options that ask for something else than the protocol."""
    if protocol.images.data is None and request.data in DATASETS:
        raise UsageError(
            f"{protocol.name} learns from a folder of yours, not from {request.data}; "
            "give --data FOLDER, with train/ and val/ in it"
        )
    first = protocol.base or protocol.increment
    base = protocol.increment if request.base == 0 else request.base
    for flag, asked, settled in (
        ("--data", request.data, protocol.images.data or request.data),
        ("--image-size", request.image_size_px, protocol.images.image_size_px),
        ("--base", base, first),
        ("--increment", request.increment, protocol.increment),
        ("--tasks", request.tasks, None),
        ("--tasks-ahead", request.tasks_ahead or None, None),
    ):
        if asked is not None and asked != settled:
            own = "" if settled is None else f", which has {settled}"
            raise UsageError(f"{flag} {asked} contradicts {protocol.name}{own}; leave it out")
