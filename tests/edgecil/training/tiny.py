"""A data set small enough to learn in a test: coloured noise, a colour a class."""

from pathlib import Path

import numpy as np
from PIL import Image

from edgecil.data import ImageDataset, Split
from edgecil_devices.images import Preprocessing

SIZE_PX = 16


def tiny_dataset(classes: int = 6, train: int = 24, test: int = 8, seed: int = 0) -> ImageDataset:
    draw = np.random.default_rng(seed)
    colours = draw.integers(40, 216, (classes, 3))

    def split(per_class: int) -> Split:
        labels = np.repeat(np.arange(classes), per_class)
        noise = draw.integers(-40, 40, (len(labels), SIZE_PX, SIZE_PX, 3))
        pixels = np.clip(colours[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
        return Split(pixels, labels.astype(np.int64), Preprocessing(SIZE_PX))

    return ImageDataset(
        name="tiny",
        classes=tuple(f"colour-{c}" for c in range(classes)),
        train=split(train),
        test=split(test),
        image_size_px=SIZE_PX,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        mirrors=True,
        fingerprint=f"tiny-{classes}-{train}-{test}-{seed}",
    )


def picture_folder(dataset: ImageDataset, folder: Path) -> Path:
    """A data set as a folder of PNG files, in train/ and test/."""
    for part, split in (("train", dataset.train), ("test", dataset.test)):
        for number, (pixels, label) in enumerate(zip(split.pixels(), split.labels, strict=True)):
            path = folder / part / dataset.classes[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder


def two_tasks(folder: Path) -> list[str]:
    """What `edgecil train` or `compare` is told to learn three tiny classes, then two."""
    tiny = tiny_dataset(classes=5, train=80)
    pictures, tasks, names = folder / "pictures", folder / "tasks.toml", list(tiny.classes)
    picture_folder(tiny, pictures)
    tasks.write_text(f"[[task]]\nclasses = {names[:3]}\n[[task]]\nclasses = {names[3:]}\n")
    return ["--data", str(pictures), "--tasks", str(tasks), "--image-size", str(SIZE_PX)]
