"""The state: all that survives between tasks, as files whose sizes the budget bounds.

    state.json              settings, class names, tasks, and the sha256 of every other file
    trunk.safetensors       weights of the trunk
    block-00.safetensors    weights of the first task's block, then block-01, ...
    head.safetensors        weights of the head
    exemplars.safetensors   encoded pictures, class by class in herding order; see `exemplars`
    statistics.safetensors  of slda alone: means and covariance of features; see `statistics`

A state is written as a whole into a folder beside it, which then takes its place.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgecil.budget import Ledger
from edgecil.errors import StateCorruptError, StateError, StateVersionError
from edgecil.memory import weights
from edgecil.memory.codecs import ImageCodec, codec_named
from edgecil.memory.exemplar_sizes import has_aspects
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.statistics import STATISTICS_FILE, decode, encode
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.networks.sources import Origin
from edgecil_devices._json import json_object
from edgecil_devices.closed_form import ClassStatistics
from edgecil_devices.files import sync_folder, write_synced
from edgecil_devices.images import Preprocessing

FORMAT = 5
"""Highest version of the layout; a reader refuses higher ones. Version 2 has the aspects of
exemplars of more than 64 pixels, version 3 the origin of a network that came pretrained, version 4
statistics of classes, version 5 blocks that stand for several tasks; states that have none of these
are still of version 1."""


@dataclass(frozen=True)
class StateSettings:
    """What must be known to go on from a state, or to run its network."""

    method: str
    """Name of the method."""
    backbone: str
    """Name of the backbone."""
    cut: str
    """Where the backbone is cut into trunk and block."""
    precision: str
    """How weights are encoded: fp32, fp16 or int8."""
    codec: str
    """How exemplars are encoded."""
    preprocessing: Preprocessing
    """How a picture becomes S x S pixels."""
    mean: tuple[float, float, float]
    """Channel means of pixels scaled to [0, 1]."""
    std: tuple[float, float, float]
    """Channel standard deviations, likewise."""
    block_count: int
    """Blocks of the network."""
    classes: tuple[str, ...]
    """Class names in the order in which they were learned; a label is an index into it."""
    task_sizes: tuple[int, ...]
    """Classes of each task so far."""
    origin: Origin | None = None
    """Where the weights come from that the network started with; None where it started at random.
    Whoever passes the network on must know under which licence they are."""
    block_tasks: tuple[tuple[int, ...], ...] | None = None
    """The tasks, from 0, that each block stands for, oldest first; None where no block was merged:
    then each task has its own, or one block stands for all."""

    @property
    def tasks_of_blocks(self) -> tuple[tuple[int, ...], ...]:
        """The tasks, from 0, that each block stands for."""
        if self.block_tasks is not None:
            return self.block_tasks
        if self.block_count == self.stage:
            return tuple((task,) for task in range(self.stage))
        return (tuple(range(self.stage)),)

    @property
    def stage(self) -> int:
        """Tasks learned."""
        return len(self.task_sizes)

    @property
    def image_size_px(self) -> int:
        """S, height and width of the pictures that the network sees."""
        return self.preprocessing.image_size_px

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON has them."""
        found = asdict(self) | {"preprocessing": self.preprocessing.to_dict()}
        for name in ("origin", "block_tasks"):
            if found[name] is None:
                del found[name]  # as in states before there was any
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "StateSettings":
        """The settings that `to_dict` wrote."""
        tuples = {key: tuple(data[key]) for key in ("mean", "std", "classes", "task_sizes")}
        made: dict[str, Any] = {"preprocessing": Preprocessing.from_dict(data["preprocessing"])}
        if "origin" in data:
            made["origin"] = Origin(**data["origin"])
        if "block_tasks" in data:
            made["block_tasks"] = tuple(map(tuple, data["block_tasks"]))
        return cls(**(data | tuples | made))

    @property
    def format(self) -> int:
        """The lowest version of the layout that has all of this."""
        if self.block_tasks:
            return 5
        if self.origin:
            return 3
        return 2 if has_aspects(self.image_size_px) else 1

    def empty_network(self) -> ExpandableNetwork:
        """A network of this shape with fresh weights."""
        return ExpandableNetwork(
            cut_backbone(self.backbone, self.cut),
            len(self.classes),
            self.block_count,
            mean=self.mean,
            std=self.std,
        )


def network_modules(network: ExpandableNetwork) -> dict[str, Any]:
    """The network's parts by the name of the file that keeps them."""
    blocks = {f"block-{k:02d}.safetensors": block for k, block in enumerate(network.blocks)}
    return {"trunk.safetensors": network.trunk, **blocks, "head.safetensors": network.head}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(
        data, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False
    ).encode()


@dataclass(frozen=True)
class State:
    """A state in memory, encoded exactly as its files are."""

    settings: StateSettings
    """What the state is of."""
    parts: dict[str, bytes]
    """Encoded weights, and statistics of classes where these are kept, by file name."""
    exemplars: ExemplarSet
    """Encoded pictures."""

    @classmethod
    def of(
        cls,
        settings: StateSettings,
        network: ExpandableNetwork,
        exemplars: ExemplarSet,
        statistics: ClassStatistics | None = None,
    ) -> "State":
        """Encode `network`, and `statistics` of its classes, as `settings` say.

        Raises:
            TrainingError: a weight is not finite.
        """
        modules = network_modules(network)
        parts = {
            name: weights.encode(module, settings.precision) for name, module in modules.items()
        }
        if statistics:
            parts[STATISTICS_FILE] = encode(statistics, settings.precision)
        return cls(settings, parts, exemplars)

    def statistics(self) -> ClassStatistics | None:
        """What is known of the features of every class; None where that is not kept.

        Raises:
            StateCorruptError: it is not of these classes and this network.
        """
        if STATISTICS_FILE not in self.parts:
            return None
        learned = self.settings
        features = learned.block_count * cut_backbone(learned.backbone, learned.cut).feature_size
        return decode(self.parts[STATISTICS_FILE], len(learned.classes), features)

    def network(self) -> ExpandableNetwork:
        """The network, decoded, on the CPU and in evaluation mode.

        Raises:
            StateCorruptError: the weights do not fit the network.
        """
        network = self.settings.empty_network()
        for name, module in network_modules(network).items():
            weights.decode_into(module, self.parts[name])
        return network.eval()

    def recoded(self, codec: ImageCodec) -> "State":
        """The state with its exemplars, as they are decoded, encoded by another codec."""
        settings = replace(self.settings, codec=codec.name)
        return replace(self, settings=settings, exemplars=self.exemplars.recoded(codec))

    @property
    def size_without_exemplars_bytes(self) -> int:
        """Size of every file but that of the exemplars; it does not depend on them."""
        files = self.files()
        del files["exemplars.safetensors"]
        return sum(len(data) for data in files.values())

    def files(self) -> dict[str, bytes]:
        """Every file of the state by its name."""
        files = dict(self.parts)
        files["exemplars.safetensors"] = self.exemplars.to_bytes()
        body = {
            "format": self._format,
            "settings": self.settings.to_dict(),
            "sha256": {name: _sha256(data) for name, data in files.items()},
        }
        # Without it, a changed byte of state.json itself would go unnoticed.
        files["state.json"] = _json(body | {"check": _sha256(_json(body))})
        return files

    @property
    def _format(self) -> int:
        """The lowest version of the layout that has all that is in the state."""
        return max(4 if STATISTICS_FILE in self.parts else 1, self.settings.format)

    def write(self, folder: Path, budget_bytes: int | None) -> Ledger:
        """Put the state in the place of the one in `folder`; a crash leaves one or the other.

        Args:
            folder: the state folder; `recover` must have been called if a crash is possible.
            budget_bytes: bound on the sum of all file sizes; None for none.

        Returns:
            The ledger of the files as they lie there.

        Raises:
            BudgetError: the state is larger; nothing was changed.
            OSError: the disk is full or failing; the old state is untouched.
        """
        files = self.files()
        if budget_bytes is not None:
            sizes = [(name, len(data)) for name, data in files.items()]
            Ledger.of_files(sizes).require_within(budget_bytes)
        new, old = _beside(folder, "new"), _beside(folder, "old")
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir(parents=True)
            for name, data in files.items():
                write_synced(new / name, data)
            sync_folder(new)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
        return Ledger.of_folder(folder)

    @classmethod
    def read(cls, folder: Path) -> "State":
        """Read a state and check every byte of it.

        Raises:
            StateError: there is no state in `folder`.
            StateCorruptError: a file is missing, truncated, altered or foreign.
            StateVersionError: a newer edgecil wrote it.
        """
        body = _read_index(folder / "state.json")
        settings = _settings_of(body, folder)
        files = {name: _read_checked(folder / name, sha) for name, sha in body["sha256"].items()}
        foreign = {path.name for path in folder.iterdir()} - files.keys() - {"state.json"}
        if foreign:
            raise StateCorruptError(f"{folder} holds a foreign file, {min(foreign)}; remove it")
        codec = codec_named(settings.codec)
        exemplars = ExemplarSet.from_bytes(
            files.pop("exemplars.safetensors"), codec, settings.image_size_px
        )
        return cls(settings, files, exemplars)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f"{folder.name}.{suffix}")


def is_cut_short(folder: Path) -> bool:
    """Whether a `State.write` into `folder` goes on just now, or was cut short by a crash."""
    return _beside(folder, "new").exists() or _beside(folder, "old").exists()


def recover(folder: Path) -> None:
    """Undo a `State.write` into `folder` that a crash cut short: the last whole state is back."""
    new, old = _beside(folder, "new"), _beside(folder, "old")
    if not is_cut_short(folder):
        return
    if not folder.exists() and old.exists():
        old.rename(folder)
    # The killed process may not have come to this, and deletions must not reach the disk before
    # the renames do.
    sync_folder(folder.parent)
    for rest in (new, old):
        shutil.rmtree(rest, ignore_errors=True)


def _read_index(path: Path) -> dict[str, Any]:
    try:
        body = json_object(path.read_bytes())
        version, check = body["format"], body.pop("check")
    except FileNotFoundError as error:
        raise StateError(
            f"{path.parent} holds no state: no task is learned yet; edgecil train has to end one, "
            "with --resume if it was stopped"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if isinstance(version, int) and version > FORMAT:
        raise StateVersionError(
            f"{path.parent} has state format {version}, this edgecil knows {FORMAT}; "
            "upgrade edgecil"
        )
    if check != _sha256(_json(body)):
        raise _damaged(path)
    return body


def _settings_of(body: dict[str, Any], folder: Path) -> StateSettings:
    try:
        return StateSettings.from_dict(body["settings"])
    except (KeyError, TypeError) as error:
        raise _damaged(folder / "state.json") from error


def _read_checked(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StateCorruptError(
            f"{path} is missing or cannot be read; restore the run from a copy"
        ) from error
    if _sha256(data) != sha256:
        raise _damaged(path)
    return data


def _damaged(path: Path) -> StateCorruptError:
    return StateCorruptError(f"{path} is truncated or altered; restore the run from a copy")
