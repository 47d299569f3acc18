"""The settings of a run: what `edgecil train` was asked for, kept as config.json."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecil.errors import RunError
from edgecil.training.recipes import Recipe, recipe_named
from edgecil_devices.files import replace_atomically
from edgecil_devices.images import Preprocessing

if TYPE_CHECKING:
    from edgecil.training.policies import Augment


@dataclass(frozen=True)
class Source:
    """Where the pictures of one or more tasks come from."""

    data: str
    """Data set: a built-in name or a folder."""
    holdout: float
    """Fraction of a folder's pictures kept for testing where it has no test split."""
    fingerprint: str
    """Digest of the data, so that a resumed run notices when they changed."""


@dataclass(frozen=True)
class PlannedTask:
    """One task of a run."""

    classes: tuple[str, ...]
    """Class names in learning order."""
    source: int
    """Which of the run's sources has the pictures."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that decides what a run learns; two runs with equal settings end equal."""

    sources: tuple[Source, ...]
    """Where the pictures come from; `edgecil learn` adds one."""
    image_size_px: int
    """S, height and width of the pictures that the network sees."""
    mean: tuple[float, float, float]
    """Channel means of pixels scaled to [0, 1], for normalisation."""
    std: tuple[float, float, float]
    """Channel standard deviations, likewise."""
    mirrors: bool
    """Whether a picture still shows its class in a mirror, so that half may be flipped."""
    tasks: tuple[PlannedTask, ...]
    """Every task, in learning order."""
    seed: int
    """Seed of weights, batches and augmentation."""
    method: str
    """Name of the method."""
    backbone: str
    """Name of the backbone."""
    cut: str
    """Where the backbone is cut."""
    trunk: str
    """Whether the trunk goes on training: auto, train or freeze."""
    budget_bytes: int
    """Bound on the state."""
    accounting: str
    """`strict` bounds the files of the state; `published` is the papers' rule."""
    tasks_ahead: int
    """Tasks that the budget must still hold after the last one of this run."""
    codec: str
    """How exemplars are encoded."""
    precision: str
    """How weights are encoded in the state."""
    recipe: str
    """Name of the training recipe."""
    epochs: int | None = None
    """Epochs a task, None for the recipe's."""
    first_epochs: int | None = None
    """Epochs of the first task, None for `epochs` or the recipe's."""
    learning_rate: float | None = None
    """Highest learning rate of every task, None for the recipe's."""
    batch_size: int | None = None
    """Images a step, None for the recipe's."""
    protocol: str | None = None
    """The published protocol that the run follows."""
    shorter_side_px: int | None = None
    """What test pictures' shorter side is resized to before their middle is cut out; None for S."""
    brightens: bool = True
    """Whether training varies the brightness of pictures."""
    augmentation: str = "plain"
    """The policy by which training pictures are changed beyond crops, mirrors and brightness."""

    @property
    def stage_count(self) -> int:
        """Tasks of the run."""
        return len(self.tasks)

    @property
    def horizon_sizes(self) -> tuple[int, ...]:
        """Classes of every task that the budget must hold; those ahead are like the last."""
        sizes = tuple(len(task.classes) for task in self.tasks)
        return sizes + sizes[-1:] * self.tasks_ahead

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the pixels that the network sees, when it is measured and later."""
        return Preprocessing(self.image_size_px, shorter_side_px=self.shorter_side_px)

    @property
    def augment(self) -> "Augment":
        """What is done to training pictures once they are cropped."""
        from edgecil.training.policies import Augment, Policy  # takes torch, which reports do not

        return Augment(Policy(self.augmentation), self.brightens)

    def training_recipe(self, images: int) -> Recipe:
        """The recipe for a task of so many pictures.

        What the run names itself, epochs, learning rate or batch size, is as it says.
        """
        recipe = recipe_named(self.recipe, self.method).for_images(images)
        return recipe.adapted(
            epochs=self.epochs,
            first_epochs=self.first_epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
        )

    def save(self, path: Path) -> None:
        """Write the settings as JSON."""
        replace_atomically(path, (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> "RunSettings":
        """Read what `save` wrote.

        Raises:
            RunError: there is no such file, or it is not one of ours.
        """
        try:
            data: dict[str, Any] = json.loads(path.read_bytes())
            data["sources"] = tuple(Source(**source) for source in data["sources"])
            data["mean"], data["std"] = tuple(data["mean"]), tuple(data["std"])
            data["tasks"] = tuple(
                PlannedTask(tuple(task["classes"]), task["source"]) for task in data["tasks"]
            )
            return cls(**data)
        except FileNotFoundError as error:
            raise RunError(f"{path.parent} is not a run; edgecil train makes one") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} cannot be read ({error}); restore it from a copy") from error

    def differences(self, other: "RunSettings") -> list[str]:
        """The fields in which `other` differs, as "field: mine -> theirs"."""
        found = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine != theirs:
                found.append(f"{field.name}: {_short(mine)} -> {_short(theirs)}")
        return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
