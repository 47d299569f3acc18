"""Claim: strong augmentation costs the training loop less than a tenth of its speed.

Passes over the same 1,280 CIFAR-100 pictures in turns: the training step of a ResNet-20 (forward,
backward, SGD; batch 128) fed by each augmentation of edgecil, and by torchvision's own AutoAugment,
which treats one picture at a time, as its operations take one amount for all they are given. On a
processor that is no slower; on a graphics card each of its calls is a launch, thousands a batch.
The figures are medians over the passes; ratios are to `plain` of the same run.

    python benchmarks/accuracy_per_byte/augmentation_speed.py [--passes 5] [--device auto]
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgecil.data import load_dataset
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.pictures.batches import ResidentImages
from edgecil.pictures.policies import PUBLISHED, Augment, Policy
from edgecil.training.loop import choose_device, half_precision_pays
from edgecil.training.run import hardware, versions

POLICIES = ("plain", "plain+cutout", "autoaugment", "autoaugment+cutout", "trivialaugment")
PICTURES, BATCH = 1280, 128
RESULT = Path(__file__).parents[1] / "results" / "accuracy-per-byte" / "augmentation_speed.json"


def torchvision_autoaugment() -> Callable[[Tensor], Tensor]:
    """Batches (B, 3, S, S) uint8 through torchvision's policy, picture by picture."""
    from torchvision.transforms import v2

    policy = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    return lambda pixels: torch.stack([policy(picture) for picture in pixels])


class Step:
    """One network and its optimiser; every feeding trains the same kind of step."""

    def __init__(self, device: torch.device) -> None:
        mean, std = (0.5,) * 3, (0.25,) * 3
        torch.manual_seed(0)
        network = ExpandableNetwork(cut_backbone("resnet20"), 20, mean=mean, std=std)
        self._network = network.to(device).to(memory_format=torch.channels_last).train()
        self._optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, fused=True)
        self._device, self._halved = device, half_precision_pays(device)

    def __call__(self, pixels: Tensor, labels: Tensor) -> None:
        """Learn from one batch."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._halved):
            loss = F.cross_entropy(self._network(pixels), labels)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()


def one_pass(
    images: ResidentImages, step: Step, device: torch.device, after: Callable[[Tensor], Tensor]
) -> float:
    """Images a second of one pass."""
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(1)
    for pixels, labels in images.training_batches(BATCH, generator):
        step(after(pixels), labels)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return PICTURES / (time.perf_counter() - started)


def main() -> None:
    """Measure, print and write what `--out` names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    device = choose_device(asked.device)
    train = load_dataset("cifar100", data_dir=Path(os.environ["EDGECIL_DATA"])).train
    chosen = np.arange(0, len(train), len(train) // PICTURES)[:PICTURES]
    pixels, labels = train.pixels(chosen), train.labels[chosen] % 20

    def feed(augment: Augment) -> ResidentImages:
        return ResidentImages(pixels, labels, device, mirrors=True, augment=augment)

    feeds = {name: (feed(Augment(Policy(name), True)), lambda batch: batch) for name in POLICIES}
    theirs = torchvision_autoaugment()
    feeds["autoaugment of torchvision"] = (
        feed(PUBLISHED),
        lambda batch: theirs(batch.to(torch.uint8)),
    )
    step = Step(device)
    speeds: dict[str, list[float]] = {name: [] for name in feeds}
    for turn in range(asked.passes + 1):
        for name, (images, after) in feeds.items():
            speed = one_pass(images, step, device, after)
            if turn:  # the first warms up
                speeds[name].append(speed)
    plain = median(speeds["plain"])
    rows = {
        name: {
            "images_per_second": round(median(found)),
            "of_plain": round(median(found) / plain, 3),
        }
        for name, found in speeds.items()
    }
    where = {
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "passes": asked.passes,
        "seed": 1,
    }
    for name, row in rows.items():
        print(f"{name:<28} {row['images_per_second']:>6} images/s  {row['of_plain']:.2f} of plain")
    asked.out.write_text(
        json.dumps({"where": where, "speeds": rows}, indent=1, allow_nan=False) + "\n"
    )


if __name__ == "__main__":
    main()
