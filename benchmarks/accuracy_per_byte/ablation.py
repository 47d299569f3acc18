"""Claim: at equal bytes, what each lever does to accuracy. One lever at a time, on real CIFAR-100.

The short protocol: the first 20 classes of the published order in four tasks of five
(../cifar100_20_classes.toml), ResNet-14, 12 epochs for the first task and 8 for each later one. Of
its two budgets 1.6 MB is as large beside the 30.7 MB of raw training pictures as the smallest
published one, 7.6 MiB, is beside the 153.6 MB of all 100 classes; 500 kB is tight.

    python benchmarks/accuracy_per_byte/ablation.py --out runs/ablation [--budgets 500kB,1.6MB]
        [--seeds 1993] [--variants "replay;memo"] [--epochs 12,8] [--former]

With --former the recipe is `fast` as it was before it had smaller batches and Nesterov's momentum,
which the levers of these two are measured against; its runs are in OUT/former.

A run is a line of results.csv, of which `ablation_table.py` makes a table, with the sizes of state/
at every stage as they lie on disk, and the last accuracy three times more: with the test pictures
through the codec as well, with the weights of that very run rounded to int8, and with the logits of
every picture and its mirror image added. Stop it at will; the same command goes on.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.sgd import sgd

from ablation_table import merged, read, write
from edgecil.data import Split, load_dataset
from edgecil.errors import BudgetError
from edgecil.evaluation.accuracy import percent_correct, predicted_labels
from edgecil.memory.codecs import ImageCodec, codec_named
from edgecil.memory.state import State
from edgecil.methods import METHODS, Method, TaskView, recipes
from edgecil.methods.base import align_weights, distillation_loss, log_priors
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import Recipe, recipe_named
from edgecil.networks import ExpandableNetwork, frozen_copy
from edgecil.pictures.batches import JoinedPictures, Pictures, ResidentImages
from edgecil.training.api import train
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run
from edgecil.training.run_data import RunData

TASKS = Path(__file__).parents[1] / "cifar100_20_classes.toml"
CODEC = "webp:75"


@dataclass(frozen=True)
class Variant:
    """Replay, but for one lever."""

    request: dict[str, Any] = field(default_factory=dict)
    """What the request changes."""
    prior: bool = False
    """Whether logits are shifted by the logarithm of how often each class is seen."""
    class_weights: bool = False
    """Whether the loss weighs classes inversely to how often each is seen."""
    distillation: str = "no"
    """`no`, `traded` (weights 1 - lambda and lambda, as in WA) or `added` (1 and lambda)."""
    alignment: str = "no"
    """`no`, `as published`, or `down only`: new rows are never scaled up."""
    balancing_epochs: int = 0
    """Epochs in which the head alone learns from evenly weighted classes."""
    smoothing: float = 0.0
    """Label smoothing."""
    mixup: float = 0.0
    """Alpha of mixup (Zhang et al., ICLR 2018); 0: pictures are not mixed."""
    nesterov: bool | None = None
    """Whether the momentum looks ahead; None: as the recipe has it."""
    decays_all: bool = True
    """Whether weight decay takes biases and BatchNorm's own weights, too."""
    averaging: float = 0.0
    """What a step leaves of the average of weights that is kept in the end, statistics included."""
    clean_news: float = 0.0
    """The part of the new pictures seen as they are; the others, like all exemplars, through the
    codec."""


VARIANTS = {
    "lossless": Variant({"codec": "webp-lossless"}),
    "replay": Variant(),
    "clean new pictures": Variant(clean_news=1.0),
    "half the new pictures clean": Variant(clean_news=0.5),
    "webp:50": Variant({"codec": "webp:50"}),
    "webp:30": Variant({"codec": "webp:30"}),
    "webp:90": Variant({"codec": "webp:90"}),
    "jpeg:75": Variant({"codec": "jpeg:75"}),
    "weights in int8": Variant({"precision": "int8"}),
    "prior and int8": Variant({"precision": "int8"}, prior=True),
    "weights in fp32": Variant({"precision": "fp32"}),
    "autoaugment+cutout": Variant({"augmentation": "autoaugment+cutout"}),
    "autoaugment": Variant({"augmentation": "autoaugment"}),
    "trivialaugment": Variant({"augmentation": "trivialaugment"}),
    "cutout": Variant({"augmentation": "plain+cutout"}),
    "label smoothing": Variant(smoothing=0.1),
    "mixup": Variant(mixup=0.2),
    "nesterov": Variant(nesterov=True),
    "no decay of norms and biases": Variant(decays_all=False),
    "averaged weights": Variant(averaging=0.95),
    "batches of 32 and nesterov": Variant({"batch_size": 32}, nesterov=True),
    "batches of 64": Variant({"batch_size": 64}),
    "batches of 64 and nesterov": Variant({"batch_size": 64}, nesterov=True),
    "batches of 256 at 0.2": Variant({"batch_size": 256, "learning_rate": 0.2}),
    "prior": Variant(prior=True),
    "class weights": Variant(class_weights=True),
    "distillation": Variant(distillation="traded"),
    "distillation added": Variant(distillation="added"),
    "alignment": Variant(alignment="as published"),
    "alignment down only": Variant(alignment="down only"),
    "balanced head": Variant(balancing_epochs=2),
    "prior and distillation": Variant(prior=True, distillation="traded"),
    "prior and distillation added": Variant(prior=True, distillation="added"),
    "twice as wide": Variant({"backbone": "resnet14x2"}),
    "memo": Variant({"method": "memo"}),
    "thrift": Variant({"method": "thrift"}),
    "thrift, batches of 64 and nesterov": Variant(
        {"method": "thrift", "batch_size": 64}, nesterov=True
    ),
    "thrift as planned": Variant(
        {"method": "thrift", "backbone": None, "codec": None, "precision": None}
    ),
}


def varied_sgd(variant: Variant, step: Callable[..., None]) -> Callable[..., None]:
    """A step of SGD with its levers."""

    def varied(
        parameters: list[Tensor], gradients: list[Tensor], buffers: list[Any], **how: Any
    ) -> None:
        if variant.nesterov is not None:
            how["nesterov"] = variant.nesterov
        for whole in (True, False):
            chosen = [n for n, one in enumerate(parameters) if (one.ndim > 1) == whole]
            if not chosen:
                continue
            decay = how["weight_decay"] if whole or variant.decays_all else 0.0
            kept = [buffers[n] for n in chosen]
            told = [parameters[n] for n in chosen], [gradients[n] for n in chosen], kept
            step(*told, **(how | {"weight_decay": decay}))
            for n, buffer in zip(chosen, kept, strict=True):
                buffers[n] = buffer

    return varied


class Average:
    """The moving average of a network's weights and statistics."""

    def __init__(self, network: ExpandableNetwork, kept: float) -> None:
        self._network, self._kept = network, kept
        self._mean = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def follow(self) -> None:
        """Take in what the network has become."""
        for name, tensor in self._network.state_dict().items():
            if tensor.is_floating_point():
                self._mean[name].lerp_(tensor, 1 - self._kept)

    def put_in(self) -> None:
        """Make it the network's."""
        self._network.load_state_dict(self._mean)


def class_weights(counts: Sequence[int]) -> Tensor:
    """1/n for each class of n pictures, scaled to a mean of 1, (C,)."""
    weights = 1 / torch.tensor(counts, dtype=torch.float64)
    return (weights / weights.mean()).float()


class Varied(Method):
    """Replay with the levers of one variant."""

    name = "varied"
    variant: Variant
    average: Average | None = None

    def as_trained_on(self, new: Split, codec: ImageCodec) -> Pictures:
        """A part of the new pictures as they are, perhaps."""
        clean = round(self.variant.clean_news * len(new))
        if not clean:
            return super().as_trained_on(new, codec)
        rest = super().as_trained_on(new.subset(np.arange(clean, len(new))), codec)
        return JoinedPictures(new.subset(np.arange(clean)), rest)

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """Train everything; then, perhaps, the head alone."""
        variant, teacher = self.variant, frozen_copy(network)
        network.grow_head(task.total_classes)
        device = network.mean.device
        shift = log_priors(task.class_counts).to(device) * variant.prior
        even = class_weights(task.class_counts).to(device)
        known = task.known_classes / task.total_classes
        chance = np.random.default_rng(task.stage)
        self.average = Average(network, variant.averaging) if variant.averaging else None

        def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(
                logits + shift,
                labels,
                weight=even if variant.class_weights else None,
                label_smoothing=variant.smoothing,
            )

        def mixed_loss(pixels: Tensor, labels: Tensor) -> Tensor:
            share = chance.beta(variant.mixup, variant.mixup)
            others = torch.from_numpy(chance.permutation(len(labels)))
            logits = network(share * pixels + (1 - share) * pixels[others])
            apart = cross_entropy(logits, labels), cross_entropy(logits, labels[others])
            return share * apart[0] + (1 - share) * apart[1]

        def loss(pixels: Tensor, labels: Tensor) -> Tensor:
            if self.average:
                self.average.follow()
            if variant.mixup:
                return mixed_loss(pixels, labels)
            logits = network(pixels)
            told = cross_entropy(logits, labels)
            if variant.distillation == "no":
                return told
            taught = known * distillation_loss(logits, teacher(pixels))
            return (
                (1 - known) * told + taught if variant.distillation == "traded" else told + taught
            )

        def even_loss(pixels: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(network(pixels), labels, weight=even)

        phases = [Phase("train", recipe.incremental, loss, [network])]
        if variant.balancing_epochs:
            short = replace(recipe.incremental, epochs=variant.balancing_epochs, learning_rate=0.02)
            phases.append(Phase("balance", short, even_loss, [network.head]))
        return Lesson(phases)

    def finish(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> None:
        """Take the averaged weights, and align the head, perhaps."""
        if self.average:
            self.average.follow()
            self.average.put_in()
        if task.stage == 1 or self.variant.alignment == "no":
            return
        norms = network.head.weight.norm(dim=1)
        scales_up = norms[: task.known_classes].mean() > norms[task.known_classes :].mean()
        if self.variant.alignment == "as published" or not scales_up:
            align_weights(network.head, task.known_classes)


def former_fast() -> Recipe:
    """The recipe `fast` as it was: batches of 128, and a momentum that does not look ahead."""
    now = recipe_named("fast", "replay")
    as_it_was = partial(replace, batch_size=128, nesterov=False)
    return replace(
        now,
        first=as_it_was(now.first, learning_rate=0.2),
        incremental=as_it_was(now.incremental, learning_rate=0.1),
        compression=as_it_was(now.compression, learning_rate=0.1),
    )


def run_one(name: str, budget: str, seed: int, epochs: Sequence[int], out: Path) -> Run:
    """Train one variant, or go on with it."""
    variant = VARIANTS[name]
    Varied.variant = variant
    METHODS["varied"] = Varied
    asked = {"method": "varied", "backbone": "resnet14", "codec": CODEC, "precision": "fp16"}
    request = TrainRequest(
        data="cifar100",
        data_dir=data_dir(),
        budget=budget,
        tasks=TASKS,
        seed=seed,
        first_epochs=epochs[0],
        epochs=epochs[1],
        **(asked | variant.request),
    )
    folder = out / f"{name.replace(' ', '-').replace(':', '-')}-{budget}-{seed}"
    with patch("edgecil.training.sgd.sgd", varied_sgd(variant, sgd)):
        train(request, folder, resume=True)
    return Run(folder)


def data_dir() -> Path | None:
    """Where CIFAR-100 is; None: where edgecil looks for it."""
    found = os.environ.get("EDGECIL_DATA")
    return Path(found) if found else None


def last_accuracies(run: Run) -> dict[str, float]:
    """The last accuracy in percent: through the codec, with weights in int8, with mirror images."""
    state, dataset = State.read(run.state_folder), load_dataset("cifar100", data_dir=data_dir())
    test = RunData([dataset], run.settings().tasks).test(state.settings.stage)
    clean = test.pictures.pixels()
    in_int8 = State.of(
        replace(state.settings, precision="int8"), state.network(), state.exemplars
    ).network()

    def accuracy(network: ExpandableNetwork, pixels: np.ndarray, mirrored: bool = False) -> float:
        images = ResidentImages(pixels, test.labels, torch.device("cpu"), mirrors=True)

        def both(pixels: Tensor) -> Tensor:
            found: Tensor = network(pixels) + network(pixels.flip(3))
            return found

        predicted = predicted_labels(network, images, both if mirrored else None)
        percent = percent_correct(test.labels, predicted)
        return round(percent or 0.0, 2)  # CIFAR-100 has test pictures

    through_codec = codec_named(state.settings.codec).roundtrip(clean)
    return {
        "last_through_codec": accuracy(state.network(), through_codec),
        "last_in_int8": accuracy(in_int8, clean),
        "last_mirrored": accuracy(state.network(), clean, mirrored=True),
    }


def row(name: str, budget: str, seed: int, run: Run) -> dict[str, Any]:
    """A line of the table."""
    results = run.stage_results()
    accuracies = [result.accuracy or 0.0 for result in results]
    return {
        "variant": name,
        "budget": budget,
        "seed": seed,
        "average": round(sum(accuracies) / len(accuracies), 2),
        "last": round(accuracies[-1], 2),
        **last_accuracies(run),
        "accuracies": " ".join(f"{accuracy:.2f}" for accuracy in accuracies),
        "exemplars": " ".join(str(result.exemplars) for result in results),
        "state_bytes": " ".join(str(result.state_bytes) for result in results),
        "seconds": round(sum(result.seconds for result in results)),
    }


def main() -> None:
    """Run what was asked for, and put each run's row into results.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--budgets", default="500kB,1.6MB")
    parser.add_argument("--seeds", default="1993")
    parser.add_argument("--variants", default=";".join(VARIANTS), help="with ; between them")
    parser.add_argument("--former", action="store_true", help="the recipe fast as it was")
    parser.add_argument("--epochs", default="12,8", help="of the first task, and of each later one")
    asked = parser.parse_args()
    epochs = [int(count) for count in asked.epochs.split(",")]
    out = asked.out
    if asked.former:
        recipes._OURS["fast"] = former_fast()
        out /= "former"  # a run of one recipe would go on with the other
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.csv"
    for seed in map(int, asked.seeds.split(",")):
        for budget in asked.budgets.split(","):
            for name in asked.variants.split(";"):
                try:
                    run = run_one(name, budget, seed, epochs, out)
                except BudgetError as error:
                    print(f"{name}: {error}", flush=True)
                    continue
                found = row(name, budget, seed, run)
                print(found, flush=True)
                write(results, merged([*read(results), found]))


if __name__ == "__main__":
    main()
