"""Claim: a step that is recorded and replayed takes a card half the time or less.

    python benchmarks/card_speed.py --out benchmarks/results
    python benchmarks/card_speed.py --tiny --device cpu    # does it run? it records nothing

Images a second of training as `edgecil train` does it, on random pictures: with steps that are
started one by one, and with steps that are recorded and replayed. For single networks, with
augmentation, and for MEMO with K blocks, all but the last of which are frozen; then with other
batches (64 are those of the recipe `fast`), a wider network, cuDNN looking for its quickest
convolutions, and without the branches of a recording (`edgecil.networks.streams`). Each kind takes
turns with the other; the last epoch of three counts, in which everything has been recorded, and the
median of the turns is told. Both begin alike: whether they end with the same bits, and whether two
recorded ones do, is told as well. A setting that is measured again, or one kind of it, takes the
place of what is in the file, which says by which revision of the code each was measured; `--new`
measures nothing that this one has measured already.

On one H100 at least twice as many were expected for ResNet-32, and four times for ten blocks.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from card_machine import revision
from edgecil.methods import TaskView, method_named
from edgecil.methods.lesson import Lesson
from edgecil.methods.recipes import recipe_named
from edgecil.networks import ExpandableNetwork, cut_backbone, expandable
from edgecil.pictures.batches import ResidentImages
from edgecil.pictures.policies import Augment, Policy
from edgecil.training import loop, recording
from edgecil.training.loop import choose_device, train_phase
from edgecil.training.run import hardware, versions

BATCH, BATCHES, EPOCHS, TURNS = 128, 100, 3, 3
KINDS = ("eager", "recorded")
"""Steps that are started one by one, and steps that are replayed."""
CLASSES = 10
"""Of a task."""


@dataclass(frozen=True)
class Setting:
    """What a step is of."""

    name: str
    """As the table has it."""
    backbone: str
    """Name of the backbone."""
    blocks: int = 1
    """All but the last are frozen."""
    trunk: str = "freeze"
    """Whether the trunk learns where there are several blocks."""
    augmentation: str = "plain"
    """What is done to pictures."""
    batch_size: int = BATCH
    """Pictures of a step."""
    searches: bool = False
    """Whether cuDNN tries its ways to convolve, instead of guessing the quickest."""
    branches: bool = True
    """Whether recorded work that does not wait for other work is beside it."""


SETTINGS = (
    Setting("resnet14", "resnet14"),
    Setting("resnet14, autoaugment+cutout", "resnet14", augmentation="autoaugment+cutout"),
    Setting("resnet32", "resnet32"),
    Setting("resnet32x2", "resnet32x2"),
    Setting("memo, 2 blocks of resnet32", "resnet32", 2),
    Setting("memo, 5 blocks", "resnet32", 5),
    Setting("memo, 10 blocks", "resnet32", 10),
    Setting("resnet14, batches of 64", "resnet14", batch_size=64),
    Setting("resnet32, batches of 64", "resnet32", batch_size=64),
    Setting("memo, 5 blocks, batches of 64", "resnet32", 5, batch_size=64),
    Setting("resnet32x2, batches of 256", "resnet32x2", batch_size=256),
    Setting("resnet32x2, batches of 512", "resnet32x2", batch_size=512),
    Setting("resnet14x4", "resnet14x4"),
    Setting("resnet32, cuDNN searches", "resnet32", searches=True),
    Setting("resnet32x2, cuDNN searches", "resnet32x2", searches=True),
    Setting("resnet32, no branches", "resnet32", branches=False),
    Setting("resnet32x2, no branches", "resnet32x2", branches=False),
    Setting("memo, 10 blocks, no branches", "resnet32", 10, branches=False),
    Setting("memo, 10 blocks, trunk learns", "resnet32", 10, trunk="train"),
    Setting("memo, 10 blocks, trunk learns, no branches", "resnet32", 10, "train", branches=False),
)
TINY = (
    Setting("convnet2", "convnet2", batch_size=16),
    Setting("memo, 2 blocks", "convnet2", 2, batch_size=16),
)


def lesson_of(setting: Setting, device: torch.device) -> tuple[ExpandableNetwork, Lesson]:
    """A network of so many blocks, and how its last one is learned; always the same."""
    torch.manual_seed(0)
    parts = cut_backbone(setting.backbone)
    blocks, method = max(1, setting.blocks - 1), method_named("memo", trunk=setting.trunk)
    network = ExpandableNetwork(parts, CLASSES, blocks, mean=(0.5,) * 3, std=(0.25,) * 3)
    network.to(device).to(memory_format=torch.channels_last)
    recipe = recipe_named("fast", "memo").adapted(epochs=EPOCHS, batch_size=setting.batch_size)
    if setting.blocks == 1:
        task = TaskView(1, CLASSES, (1,) * CLASSES, 0)
    else:
        task = TaskView(setting.blocks, CLASSES, (1,) * 2 * CLASSES, CLASSES)
    lesson = method.prepare(network, task, recipe)
    lesson.extras.to(device)
    return network, lesson


def one_by_one(calls: Sequence[Callable[[], Any]], device: torch.device) -> list[Any]:
    """What stands for `side_by_side`."""
    return [call() for call in calls]


def trained(setting: Setting, device: torch.device, batches: int) -> tuple[float, float, bytes]:
    """Images a second in the last epoch of a short training, its loss, and the weights after it."""
    network, lesson = lesson_of(setting, device)
    draw, count = np.random.default_rng(0), batches * setting.batch_size
    images = ResidentImages(
        draw.integers(0, 256, (count, 32, 32, 3), np.uint8),
        draw.integers(0, network.class_count, count),
        device,
        mirrors=True,
        augment=Augment(Policy(setting.augmentation), brightens=True),
    )
    torch.backends.cudnn.benchmark = setting.searches
    with ExitStack() as stack:
        if not setting.branches:
            stack.enter_context(patch.object(expandable, "side_by_side", one_by_one))
            stack.enter_context(patch.object(recording, "WeightGradientsBeside", nullcontext))
        *_, last = train_phase(network, lesson, lesson.phases[0], images, seeds=range(EPOCHS))
    tensors = [tensor.cpu().numpy().tobytes() for tensor in network.state_dict().values()]
    return last.images_per_second, last.loss, b"".join(tensors)


def speeds(
    settings: Sequence[Setting],
    device: torch.device,
    batches: int,
    turns: int,
    kinds: Sequence[str] = KINDS,
) -> Iterator[dict[str, Any]]:
    """Each setting with its steps one by one and recorded, in turns: the median of these."""
    for setting in settings:
        found: dict[str, list[tuple[float, float, bytes]]] = {kind: [] for kind in kinds}
        for _ in range(turns):
            for kind in kinds:
                with ExitStack() as stack:
                    if kind == "eager":
                        stack.enter_context(patch.object(loop, "recorded", lambda step, _: step))
                    found[kind].append(trained(setting, device, batches))
        row: dict[str, Any] = asdict(setting)
        for kind, ends in found.items():
            row[kind] = {
                "images_per_second": round(median(speed for speed, _, _ in ends)),
                "turns": turns,
                "loss": ends[0][1],
                "revision": revision(),
            }
            if turns > 1:
                row[kind]["same_bits"] = len({bits for _, _, bits in ends}) == 1
        if len(kinds) == len(KINDS):
            row["same_bits"] = len({ends[0][2] for ends in found.values()}) == 1
        yield row


def read(file: Path) -> dict[str, Any]:
    """What was measured before."""
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def is_known(setting: Setting, rows: Sequence[dict[str, Any]], kinds: Sequence[str]) -> bool:
    """Whether these kinds of a setting were measured by this revision."""
    found = [row.get(kind, {}) for row in rows if row["name"] == setting.name for kind in kinds]
    return bool(found) and all(kind.get("revision") == revision() for kind in found)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, a line a setting; what was not measured is left blank."""
    lines = [
        "| step | one by one, images/s | recorded | times | same loss | same bits "
        "| twice the same bits | revision |\n|---|---|---|---|---|---|---|---|"
    ]
    for row in rows:
        eager, recorded = (row.get(kind, {}) for kind in KINDS)
        speeds = [kind.get("images_per_second") for kind in (eager, recorded)]
        asked = [row.get("same_bits"), recorded.get("same_bits")]
        if eager and recorded:
            asked.insert(0, eager["loss"] == recorded["loss"])
        cells = [
            row["name"],
            *(f"{speed:,}" if speed else "" for speed in speeds),
            f"{speeds[1] / speeds[0]:.2f}" if all(speeds) else "",
            *([""] * (3 - len(asked))),
            *({None: "", True: "yes", False: "no"}[answer] for answer in asked),
            ", ".join(sorted({kind.get("revision", "") for kind in (eager, recorded) if kind})),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(content: dict[str, Any]) -> str:
    """Markdown, whole."""
    machine, packages = content["hardware"], content["versions"]
    return (
        "# Steps on a graphics card\n\nImages a second of training, as `edgecil train` does it. "
        f"{machine.get('gpu', machine['device'])} beside {machine['processor']}, "
        f"{machine['cores']} cores; {', '.join(f'{name} {packages[name]}' for name in packages)}. "
        f"Batches of {BATCH} but where another size is told. Made by `benchmarks/card_speed.py`, "
        "which says what is compared; card_speed.json has how often each was measured.\n\n"
        f"{table(content['rows'])}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write every row as it comes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/card"))
    parser.add_argument("--device", default="cuda", help="as edgecil train takes it")
    parser.add_argument("--only", nargs="+", default=[""], help="settings with one of these words")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--new", action="store_true", help="only what the file does not have yet")
    parser.add_argument("--tiny", action="store_true", help="two small settings, a few steps")
    asked = parser.parse_args(arguments)
    device = choose_device(asked.device)
    asked.out.mkdir(parents=True, exist_ok=True)
    file, turns, batches = asked.out / "card_speed.json", asked.turns, BATCHES
    settings = [one for one in SETTINGS if any(word in one.name for word in asked.only)]
    if asked.tiny:
        settings, turns, batches = list(TINY), 2, 5
    told = {"hardware": hardware(device), "versions": versions()}
    rows = []
    if file.exists() and told == {name: read(file)[name] for name in told}:
        rows = read(file)["rows"]
    if asked.new:
        settings = [one for one in settings if not is_known(one, rows, asked.kinds)]
    for row in speeds(settings, device, batches, turns, asked.kinds):
        before = {one["name"]: one for one in rows}
        kept = before.get(row["name"], {})
        kept.pop("same_bits", None)
        rows = [*(before | {row["name"]: kept | row}).values()]
        print(json.dumps(row, allow_nan=False), flush=True)
        content = json.dumps(told | {"rows": rows}, indent=1, allow_nan=False)
        file.write_text(content + "\n")
        (asked.out / "card_speed.md").write_text(page(told | {"rows": rows}))
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
