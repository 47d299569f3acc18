"""Options that several verbs share, each described once."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str | None,
    typer.Option(
        help="cifar100, glyphs, or a folder of class folders (photos/<class>/*.jpg), perhaps in "
        "train/ and val/.",
        show_default="the protocol's",
    ),
]
NewData = Annotated[
    str | None,
    typer.Option(help="cifar100, glyphs, or a folder of class folders (photos/<class>/*.jpg)."),
]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="A published comparison: cifar100-b0-inc5, -inc10, -inc20, cifar100-b50-inc5, "
        "-inc10, -inc25, imagenet100-b0-inc10, imagenet100-b50-inc5, imagenet1000-b0-inc100. It "
        "settles data (ImageNet: --data FOLDER), tasks, image size, recipe, and with --accounting "
        "published the backbone at the published budgets.",
    ),
]
ClassesFile = Annotated[
    Path | None,
    typer.Option(
        help="The class folders that count, one name a line in label order; # starts a remark."
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Where built-in data sets are, or are downloaded to.", envvar="EDGECIL_DATA"),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Height and width in pixels that pictures are brought to.", show_default="by the data"
    ),
]
Holdout = Annotated[
    float,
    typer.Option(help="Part of a folder's pictures kept for testing where it has no test split."),
]
Budget = Annotated[
    str, typer.Option(help="Bound on all that is kept between tasks: 7.6MB, 500kB, 8MiB, 7600000.")
]
Base = Annotated[
    int | None, typer.Option(help="Classes of the first task.", show_default="as --increment")
]
Increment = Annotated[
    int | None,
    typer.Option(help="Classes of every later task.", show_default="a tenth of all, 10 or more"),
]
Tasks = Annotated[
    Path | None, typer.Option(help="A TOML file that names the classes of every task.")
]
TasksAhead = Annotated[
    int, typer.Option(help="Tasks that the budget must still hold after the last one.")
]
Seed = Annotated[int, typer.Option(help="Seed of class order, weights, batches, augmentation.")]
MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        help="finetune, replay, icarl, wa, der, foster, memo, memo-2 (cut at last-two), joint; or "
        "thrift, edgecil's own: one network and many compressed exemplars.",
    ),
]
BackboneName = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="For CIFAR: convnet2, resnet14, -20, -26, -32, resnet14x2, resnet20x2, "
        "resnet32x2 (twice the channels). For larger images: convnet4, resnet10, "
        "-18, -34, -50, and resnet26-bottleneck, which the papers call ResNet26 there.",
        show_default="the planner's choice",
    ),
]
Cut = Annotated[
    str | None,
    typer.Option(
        help="Groups of the backbone that become the block: memo takes last or last-two.",
        show_default="the method's",
    ),
]
Trunk = Annotated[
    str,
    typer.Option(
        help="After the first task: train, freeze, or auto (train if it had under 20 classes)."
    ),
]
Accounting = Annotated[
    str, typer.Option(help="strict: the files of the state. published: the papers' rule.")
]
Codec = Annotated[
    str | None,
    typer.Option(
        help="Exemplars as raw, webp-lossless, webp:QUALITY or jpeg:QUALITY. All but the first two "
        "lose detail; new pictures are then seen through the codec, too.",
        show_default="the planner's choice",
    ),
]
StatePrecision = Annotated[
    str | None,
    typer.Option(
        help="Weights in the state as fp32, fp16 or int8.", show_default="the planner's choice"
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        help="fast (few epochs, one-cycle), thorough (100 epochs and more, autoaugment+cutout), "
        "published, published-cosine.",
        show_default="fast; published with --protocol",
    ),
]
Epochs = Annotated[
    int | None, typer.Option(help="Epochs of every task.", show_default="the recipe's")
]
FirstEpochs = Annotated[
    int | None, typer.Option(help="Epochs of the first task.", show_default="as --epochs")
]
LearningRate = Annotated[
    float | None, typer.Option(help="Highest learning rate.", show_default="the recipe's")
]
BatchSize = Annotated[int | None, typer.Option(help="Images a step.", show_default="the recipe's")]
Augmentation = Annotated[
    str | None,
    typer.Option(
        help="What happens to training pictures beyond crops, mirrors and brightness: plain, "
        "autoaugment, randaugment or trivialaugment, each also with +cutout.",
        show_default="the recipe's",
    ),
]
NoMirror = Annotated[
    bool,
    typer.Option(
        "--no-mirror",
        help="Do not mirror training pictures: for classes that differ by left and right, such as "
        "arrows, letters, turns.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
StopAfter = Annotated[
    str | None,
    typer.Option(help="Stop with a checkpoint after 90s, 9m or 1.5h; the exit code is then 75."),
]
KeepHistory = Annotated[
    bool,
    typer.Option(
        "--keep-history",
        help="Record in RUN/history what edgecil analyse shows: weights and gradients of every "
        "task. The budget does not count it; a resumed run goes on with it.",
    ),
]
Sign = Annotated[
    Path | None,
    typer.Option(help="Sign the release with this private key.", metavar="KEY"),
]
ReleaseNumber = Annotated[
    int | None,
    typer.Option(
        "--release",
        help="Number of the release; devices take only higher ones.",
        show_default="of a signed one, one above the last",
    ),
]
NewKeys = Annotated[
    Path | None,
    typer.Option(
        help="Public keys that devices trust from this release on; see keys rotate.",
        metavar="PUB",
    ),
]
Expires = Annotated[
    str | None,
    typer.Option(
        help="Day after which a device should have had a later release; status warns then.",
        metavar="YYYY-MM-DD",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")]
BundleFile = Annotated[Path, typer.Argument(help="A bundle, or a store.", metavar="BUNDLE")]
Threads = Annotated[
    int | None,
    typer.Option(help="Threads that may compute at once.", show_default="cores, at most 4"),
]
