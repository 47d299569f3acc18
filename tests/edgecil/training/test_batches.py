"""Images come the same whether they lie on the device or are streamed by workers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgecil.data import Split
from edgecil.training import batches
from edgecil.training.api import train
from edgecil.training.batches import (
    Images,
    JoinedPictures,
    ResidentImages,
    StreamedImages,
    images_on,
    shuffled,
)
from edgecil.training.image_operations import FILL
from edgecil.training.policies import Augment, Policy
from edgecil.training.request import TrainRequest
from edgecil_devices.images import Preprocessing
from tests.edgecil.training.tiny import tiny_dataset

CPU = torch.device("cpu")


def split(count: int = 10, size: int = 16) -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    return Split(pixels, np.arange(count, dtype=np.int64), Preprocessing(size))


def resident(pictures: Split) -> ResidentImages:
    return ResidentImages(pictures.pixels(), pictures.labels, CPU, mirrors=True)


def streamed(pictures: Split, workers: int = 0) -> StreamedImages:
    size = pictures.preprocessing.image_size_px
    return StreamedImages(pictures, pictures.labels, size, CPU, mirrors=True, workers=workers)


def one_pass(images: Images, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    found = list(images.training_batches(4, torch.Generator().manual_seed(seed)))
    return torch.cat([pixels for pixels, _ in found]), torch.cat([labels for _, labels in found])


@pytest.mark.parametrize("kind", [resident, streamed])
def test_plain_batches_are_the_pictures_in_order(kind: type) -> None:
    pictures = split()
    found = list(kind(pictures).plain_batches(4))
    assert [len(labels) for _, labels in found] == [4, 4, 2]
    pixels = torch.cat([pixels for pixels, _ in found])
    expected = torch.from_numpy(pictures.pixels()).permute(0, 3, 1, 2)
    assert torch.equal(pixels, expected)
    assert torch.cat([labels for _, labels in found]).tolist() == list(range(10))


@pytest.mark.parametrize("kind", [resident, streamed])
@pytest.mark.parametrize("size", [16, 96])
def test_a_pass_sees_every_picture_once_and_depends_on_the_seed_alone(
    kind: type, size: int
) -> None:
    pixels, labels = one_pass(kind(split(size=size)))
    assert pixels.shape == (10, 3, size, size)
    assert sorted(labels.tolist()) == list(range(10))
    again, same_labels = one_pass(kind(split(size=size)))
    assert torch.equal(pixels, again)
    assert torch.equal(labels, same_labels)
    assert not torch.equal(labels, one_pass(kind(split(size=size)), seed=1)[1])


def test_crops_do_not_depend_on_the_number_of_workers() -> None:
    images = streamed(split(), workers=2)
    for seed in (0, 1):  # the workers live on from one pass to the next
        parallel, alone = one_pass(images, seed), one_pass(streamed(split()), seed)
        assert torch.equal(parallel[0], alone[0])
        assert torch.equal(parallel[1], alone[1])


def test_no_batch_is_a_single_picture() -> None:
    sizes = [len(batch) for batch in shuffled(9, 4, torch.Generator())]
    assert sizes == [4, 5]
    assert [len(batch) for batch in shuffled(1, 4, torch.Generator())] == [1]


def test_joined_pictures_are_one_after_the_other() -> None:
    first, second = split(3), split(5)
    joined = JoinedPictures(first, split(0), second)
    assert len(joined) == 8
    whole = np.concatenate([first.pixels(), second.pixels()])
    np.testing.assert_array_equal(joined.pixels(), whole)
    np.testing.assert_array_equal(joined.pixels(np.array([7, 0, 3])), whole[[7, 0, 3]])


def test_what_does_not_fit_the_device_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    def kind() -> type:
        pictures = split()
        images = images_on(CPU, pictures, pictures.labels, image_size_px=16, mirrors=True)
        return type(images)

    assert kind() is ResidentImages
    monkeypatch.setattr(batches, "resident_limit_bytes", lambda _: 100)
    assert kind() is StreamedImages


def test_a_run_on_streamed_files_learns_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tiny_dataset(classes=4)
    for number, pixels in enumerate(dataset.train.pixels()):
        folder = tmp_path / "photos" / dataset.classes[dataset.train.labels[number]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    monkeypatch.setattr(batches, "resident_limit_bytes", lambda _: 100)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    asked = TrainRequest(
        data=str(tmp_path / "photos"),
        budget="260kB",
        image_size_px=16,
        increment=2,
        backbone="convnet2",
        epochs=4,
        batch_size=8,
    )
    results = train(asked, tmp_path / "run", device="cpu")
    assert results[-1].classes == 4
    assert (results[-1].accuracy or 0) > 50


@pytest.mark.parametrize("memory_bytes", [0, 1 << 40])
def test_a_policy_changes_crops_of_pictures_in_memory_and_of_streamed_ones(
    memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "resident_limit_bytes", lambda _: memory_bytes)
    grey = np.full((10, 96, 96, 3), 100, np.uint8)
    pictures = Split(grey, np.arange(10, dtype=np.int64), Preprocessing(96))
    augment = Augment(Policy("plain+cutout"), brightens=False)
    pixels, _ = one_pass(
        images_on(CPU, pictures, pictures.labels, image_size_px=96, mirrors=True, augment=augment)
    )
    covered = (pixels == FILL).all(dim=1).flatten(1).float().mean(dim=1)
    assert covered.max() <= 0.25  # a square of half the side, less where it reaches beyond an edge
    assert covered.min() > 0.05


@pytest.mark.parametrize("brightens", [True, False])
@pytest.mark.parametrize("memory_bytes", [0, 1 << 40])
def test_brightness_is_varied_only_where_it_is_wanted(
    memory_bytes: int, brightens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "resident_limit_bytes", lambda _: memory_bytes)
    grey = np.full((10, 96, 96, 3), 100, np.uint8)  # no crop of it is of another colour
    pictures = Split(grey, np.arange(10, dtype=np.int64), Preprocessing(96))
    augment = Augment(Policy(), brightens)
    pixels, _ = one_pass(
        images_on(CPU, pictures, pictures.labels, image_size_px=96, mirrors=True, augment=augment)
    )
    unchanged = bool(((pixels.float() - 100).abs() < 0.01).all())
    assert unchanged is not brightens
