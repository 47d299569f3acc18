"""The settings of a run: what `edgecil train` was asked for, kept as config.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecil.data.held_out import HeldOut
from edgecil.data.taught_zip import place_now
from edgecil.errors import RunError
from edgecil.networks.sources import Origin
from edgecil_devices._json import json_object
from edgecil_devices.files import replace_atomically
from edgecil_devices.images import Preprocessing
from edgecil_devices.output import typed
from edgecil_devices.preprocessing import AS_STORED

if TYPE_CHECKING:
    from edgecil.memory.state import StateSettings
    from edgecil.methods.recipes import Recipe
    from edgecil.pictures.policies import Augment


_COMPARED_OTHERWISE = ("sources", "tasks", "weights", "time_seconds", "latency_ms")
"""Settings that `RunSettings.differences` does not name by their values."""


REORDERED = "the classes come in another order"
"""How data differ that have the same classes, as of a list that was sorted since."""


@dataclass(frozen=True)
class Source:
    """Where the pictures of one or more tasks come from."""

    data: str
    """Data set: a built-in name, or the path of a folder from the root of the file system."""
    holdout: float
    """Fraction of a folder's pictures kept for testing where it has no test split."""
    fingerprint: str
    """Digest of the data, so that a resumed run notices when they changed."""
    pictures: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Pictures of each class, those for the test included; an older edgecil did not count them."""
    held_out: HeldOut | None = field(default=None, hash=False)
    """How test pictures were drawn; None where there was a test split, or from an older edgecil."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Source":
        """The source that `asdict` made a dict of."""
        held_out = data.get("held_out")
        return cls(**data | {"held_out": HeldOut(**held_out) if held_out else None})

    def changes(self, now: "Source", classes: Sequence[str]) -> str:
        """How the data differ from those of `now`, in words; "" if they are the same.

        Args:
            now: the same data as they are found now.
            classes: that are learned from them.
        """
        if self.fingerprint == now.fingerprint:
            return ""
        before = self.pictures or dict.fromkeys(classes, -1)
        gone = [f"class {name!r} is missing" for name in before if name not in now.pictures]
        # Without counts, only the classes that were learned are known of earlier.
        new = [f"class {name!r} is new" for name in now.pictures if name not in before]
        other = [
            f"class {name!r} has {now.pictures[name]} pictures instead of {count}"
            for name, count in before.items()
            if name in now.pictures and count not in (-1, now.pictures[name])
        ]
        found = gone + other + (new if self.pictures else [])
        if not found and self.pictures and [*self.pictures] != [*now.pictures]:
            return REORDERED
        if not found:
            alike = "as many, of the same classes" if self.pictures else "or their classes are"
            return f"some pictures are others than they were, {alike}, or files have other names"
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        return ", ".join(found[:4]) + more


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
    reading: str = AS_STORED
    """How picture files are read, see `Preprocessing`; runs from before it have the old way."""
    origin: Origin | None = None
    """Where the weights come from that the network starts with; None where it starts at random."""
    weights: str | None = None
    """File that has them, where a person brings it. It is needed for the first task alone, but that
    joint training starts every task from it, and wherever it lies, its content is known by the
    origin."""
    max_blocks: int | None = None
    """Blocks at most, of a method that adds one a task: older ones are merged; None for any."""
    images_a_task: int | None = None
    """Training pictures that each task shows, as often as they are seen; None for the epochs."""
    time_seconds: float | None = None
    """The time that was asked for, by which backbone and `images_a_task` were chosen; 0 where none
    was, None where an older edgecil did not keep it."""
    latency_ms: float | None = None
    """The latency that was asked for, by which backbone and `max_blocks` were chosen, or by
    `edgecil learn` `max_blocks` alone; likewise."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes of the run, in learning order."""
        return tuple(name for task in self.tasks for name in task.classes)

    @property
    def stage_count(self) -> int:
        """Tasks of the run."""
        return len(self.tasks)

    def blocks_kept(self, stage: int) -> int | None:
        """How many of the blocks before task `stage` stay beside its own; None for all."""
        if self.max_blocks is None or stage <= self.max_blocks:
            return None
        return self.max_blocks - 1

    def is_added(self, stage: int) -> bool:
        """Whether task `stage`, counted from 1, came with `edgecil learn`."""
        return self.tasks[stage - 1].source > 0

    def without_last_task(self) -> "RunSettings":
        """What they were before `edgecil learn` added the last task, but for a new budget."""
        return replace(self, sources=self.sources[:-1], tasks=self.tasks[:-1])

    def with_last_source_in(self, data: str) -> "RunSettings":
        """The same with the data of the last source in another place."""
        *others, last = self.sources
        return replace(self, sources=(*others, replace(last, data=data)))

    def going_on(self, folder: Path, learned: int) -> str:
        """The command that goes on with a run in `folder` of which `learned` tasks are finished."""
        if learned < self.stage_count and self.is_added(learned + 1):
            data = self.sources[self.tasks[learned].source].data
            return f"edgecil learn {typed(folder)} --data {typed(data)}"
        return "the edgecil train command that started it, with --resume"

    @property
    def exemplars_in_words(self) -> str:
        """What is kept of pictures."""
        from edgecil.methods import method_named

        keeps = method_named(self.method).keeps_exemplars
        return f"exemplars in {self.codec}" if keeps else "no pictures kept"

    @property
    def horizon_sizes(self) -> tuple[int, ...]:
        """Classes of every task that the budget must hold; those ahead are like the last."""
        sizes = tuple(len(task.classes) for task in self.tasks)
        return sizes + sizes[-1:] * self.tasks_ahead

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the pixels that the network sees, when it is measured and later."""
        return Preprocessing(
            self.image_size_px, shorter_side_px=self.shorter_side_px, reading=self.reading
        )

    @property
    def augment(self) -> "Augment":
        """What is done to training pictures once they are cropped."""
        from edgecil.pictures.policies import Augment, Policy  # takes torch, which reports do not

        return Augment(Policy(self.augmentation), self.brightens)

    def training_recipe(self, images: int) -> "Recipe":
        """The recipe for a task of so many pictures.

        What the run names itself, epochs, learning rate or batch size, is as it says.
        """
        from edgecil.methods.recipes import epochs_for, recipe_named  # the room takes torch

        recipe = recipe_named(self.recipe, self.method).adapted(batch_size=self.batch_size)
        epochs = self.epochs
        if self.images_a_task is not None:
            epochs = epochs_for(self.images_a_task, images)
        return recipe.for_images(images).adapted(
            epochs=epochs,
            first_epochs=self.first_epochs,
            learning_rate=self.learning_rate,
            # A policy's operations want another draw in every epoch.
            fresh_crops=self.augmentation != "plain",
        )

    def state_settings(self, stage: int, block_count: int) -> "StateSettings":
        """Of the state after task `stage`, with so many blocks of which none was merged."""
        from edgecil.memory.state import StateSettings  # takes torch, which reports do not

        learned = self.tasks[:stage]
        return StateSettings(
            method=self.method,
            backbone=self.backbone,
            cut=self.cut,
            precision=self.precision,
            codec=self.codec,
            preprocessing=self.preprocessing,
            mean=self.mean,
            std=self.std,
            block_count=block_count,
            classes=tuple(name for planned in learned for name in planned.classes),
            task_sizes=tuple(len(planned.classes) for planned in learned),
            origin=self.origin,
        )

    def save(self, path: Path) -> None:
        """Write the settings as JSON."""
        replace_atomically(
            path, (json.dumps(asdict(self), indent=1, allow_nan=False) + "\n").encode()
        )

    @classmethod
    def load(cls, path: Path) -> "RunSettings":
        """Read what `save` wrote; data that lie in the run's folder may have moved with it.

        Raises:
            RunError: there is no such file, it is not one of ours, or a newer edgecil wrote it.
        """
        try:
            data = json_object(path.read_bytes())
            unknown = data.keys() - {named.name for named in fields(cls)}
            for source in data["sources"]:
                unknown |= source.keys() - {named.name for named in fields(Source)}
            if unknown:
                raise RunError(
                    f"{path}: made by a newer edgecil ({', '.join(sorted(unknown))} unknown here); "
                    "install a newer edgecil"
                )
            data["sources"] = tuple(
                Source.from_dict(source | {"data": place_now(path.parent, source["data"])})
                for source in data["sources"]
            )
            data["mean"], data["std"] = tuple(data["mean"]), tuple(data["std"])
            data["origin"] = Origin(**data["origin"]) if data.get("origin") else None
            data["tasks"] = tuple(
                PlannedTask(tuple(task["classes"]), task["source"]) for task in data["tasks"]
            )
            return cls(**data)
        except FileNotFoundError as error:
            raise RunError(f"{path.parent} is not a run; edgecil train makes one") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path} cannot be read ({error}); restore it from a copy") from error

    def differences(self, other: "RunSettings") -> list[str]:
        """What `other` asks for that makes it another run, in words.

        Where the data lie does not count: data with the same fingerprint are the same data. Nor
        does a time or a latency, but for what it came to.
        """
        found = []
        for named in fields(self):
            mine, theirs = getattr(self, named.name), getattr(other, named.name)
            if named.name not in _COMPARED_OTHERWISE and mine != theirs:
                found.append(f"{named.name}: {mine} -> {theirs}")
        mine, theirs = self.sources[0], other.sources[0]
        if mine.holdout != theirs.holdout:
            found.append(f"holdout: {mine.holdout:g} -> {theirs.holdout:g}")
        # The fingerprint is also that of the size and the split, which the options decide.
        same_options = not {"seed", "image_size_px", "shorter_side_px", "holdout"} & {
            line.partition(":")[0] for line in found
        }
        classes = [name for task in self.tasks if task.source == 0 for name in task.classes]
        changes = mine.changes(theirs, classes)
        if changes == REORDERED:
            found.append(changes)
        elif changes and (same_options or mine.pictures not in ({}, theirs.pictures)):
            return [f"the data have changed: {changes}", *found]
        if self.tasks != other.tasks:
            found.append(f"tasks: {_in_words(self.tasks)} -> {_in_words(other.tasks)}")
        return found


def _in_words(tasks: Sequence[PlannedTask]) -> str:
    """The tasks by their sizes, and by the classes that the first begins with."""
    sizes = "+".join(str(len(task.classes)) for task in tasks[:12])
    begins = ", ".join(tasks[0].classes[:3])
    return f"{sizes}{'+...' if len(tasks) > 12 else ''} classes from {begins} on"
