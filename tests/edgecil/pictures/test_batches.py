"""Images come the same whether they lie on the device or are streamed by workers."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from edgecil.data import Split, load_folder
from edgecil.errors import ImageError
from edgecil.memory.state import State
from edgecil.pictures import batches
from edgecil.pictures.batches import (
    Images,
    JoinedPictures,
    ResidentImages,
    StreamedImages,
    images_on,
    resident_limit_bytes,
    shuffled,
)
from edgecil.pictures.image_operations import FILL
from edgecil.pictures.policies import PUBLISHED, Augment, Policy
from edgecil.pictures.scratch import ScratchPictures
from edgecil.pictures.sequences import Pictures, SeenInTest
from edgecil.team import Team
from edgecil.training.api import SilentReporter, train
from edgecil.training.request import TrainRequest
from edgecil.training.stopping import EXIT_STOPPED, Stopped
from edgecil_devices.images import Preprocessing
from edgecil_export import ExportRequest, export
from tests.edgecil.training.tiny import tiny_dataset

CPU = torch.device("cpu")


def split(count: int = 10, size: int = 16) -> Split:
    """Pictures of noise; large ones are whole pictures of all aspects, and one is a strip."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (count, size, size, 3), np.uint8)
    labels, aspects = np.arange(count, dtype=np.int64), draw.uniform(0.3, 3, count)
    aspects[:1] = 1000
    rule = Preprocessing(size, shorter_side_px=size * 8 // 7)
    return Split(pixels, labels, rule, aspects.astype(np.float32) if size > 64 else None)


def resident(pictures: Split, augment: Augment = PUBLISHED) -> ResidentImages:
    return ResidentImages(
        pictures.pixels(),
        pictures.labels,
        CPU,
        mirrors=True,
        augment=augment,
        aspects=pictures.aspects,
        shorter_side_px=pictures.preprocessing.shorter_side_px,
    )


def streamed(pictures: Split, augment: Augment = PUBLISHED, workers: int = 0) -> StreamedImages:
    return StreamedImages(
        pictures,
        pictures.labels,
        pictures.preprocessing.image_size_px,
        CPU,
        mirrors=True,
        augment=augment,
        shorter_side_px=pictures.preprocessing.shorter_side_px,
        workers=workers,
    )


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


@pytest.mark.parametrize("kind", [resident, streamed])
def test_plain_batches_of_whole_pictures_are_what_a_test_sees(kind: type) -> None:
    pictures, order = split(size=72), torch.tensor([3, 0, 9])
    ((pixels, labels),) = kind(pictures).plain_batches(4, order)
    seen = SeenInTest(pictures, pictures.preprocessing).pixels(order.numpy())
    assert torch.equal(pixels, torch.from_numpy(seen).permute(0, 3, 1, 2))
    assert labels.tolist() == [3, 0, 9]
    assert not np.array_equal(seen, pictures.pixels(order.numpy()))


@pytest.mark.parametrize("kind", [resident, streamed])
def test_plain_batches_are_in_the_order_that_is_asked_for(kind: type) -> None:
    pictures, order = split(), torch.tensor([7, 7, 0, 9, 2])
    found = list(kind(pictures).plain_batches(3, order))
    assert [len(labels) for _, labels in found] == [3, 2]
    pixels = torch.cat([pixels for pixels, _ in found])
    expected = torch.from_numpy(pictures.pixels()[order.numpy()]).permute(0, 3, 1, 2)
    assert torch.equal(pixels, expected)
    assert torch.cat([labels for _, labels in found]).tolist() == order.tolist()
    assert list(kind(pictures).plain_batches(3, order[:0])) == []


def all_of(images: Images) -> list[torch.Tensor]:
    """Two passes of training and a plain one."""
    generator = torch.Generator().manual_seed(3)
    passes = [images.training_batches(4, generator) for _ in range(2)] + [images.plain_batches(4)]
    return [tensor for one in passes for batch in one for tensor in batch]


@pytest.mark.parametrize("size", [16, 64, 72])
@pytest.mark.parametrize("augmentation", ["plain", "autoaugment+cutout", "randaugment"])
def test_streamed_batches_are_those_from_memory(size: int, augmentation: str) -> None:
    pictures, augment = split(size=size), Augment(Policy(augmentation), brightens=True)
    kinds = [all_of(resident(pictures, augment)), all_of(streamed(pictures, augment))]
    for from_memory, from_workers in zip(*kinds, strict=True):
        assert torch.equal(from_memory, from_workers)
        # Kernels are chosen by it, and may round differently.
        assert from_memory.stride() == from_workers.stride()


@pytest.mark.parametrize("size", [16, 72])
def test_streamed_shares_are_those_from_memory(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, augment = split(size=size), Augment(Policy("trivialaugment"), brightens=True)
    for rank in range(3):
        monkeypatch.setattr(batches, "share_of", lambda count, r=rank: slice(r, count, 3))
        kinds = [all_of(resident(pictures, augment)), all_of(streamed(pictures, augment))]
        assert all(map(torch.equal, *kinds))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2")  # on a single core
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_the_batches_of_one_process(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, drawn = all_of(streamed(split())), torch.get_rng_state()
    monkeypatch.setattr(batches, "DataLoader", partial(DataLoader, multiprocessing_context=method))
    assert all(map(torch.equal, all_of(streamed(split(), workers=2)), expected))
    assert torch.equal(torch.get_rng_state(), drawn)  # the run's own generator is left alone


class Vanished:
    """Eight pictures, one of which is no longer there."""

    aspects = None

    def __len__(self) -> int:
        return 8

    def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
        wanted = np.arange(8) if indices is None else indices
        if 5 in wanted:
            raise ImageError("photos/cat/5.jpg: No such file or directory")
        return np.zeros((len(wanted), 16, 16, 3), np.uint8)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_has_gone_is_told_in_one_line(workers: int) -> None:
    labels = np.zeros(8, np.int64)
    images = StreamedImages(Vanished(), labels, 16, CPU, mirrors=True, workers=workers)
    with pytest.raises(ImageError) as failed:
        list(images.plain_batches(4))
    assert str(failed.value) == "photos/cat/5.jpg: No such file or directory"
    (whole,) = images.plain_batches(4, torch.tensor([0, 7]))  # the others can still be had
    assert len(whole[0]) == 2


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


def test_a_quarter_of_the_available_memory_is_for_images(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not what happens to be free: the page cache takes that on every machine that is up for long.
    monkeypatch.setattr("os.sysconf", lambda name: 2)
    monkeypatch.setattr(batches, "available_bytes", lambda: 8_000_000_000)
    assert resident_limit_bytes(CPU) == 2_000_000_000
    monkeypatch.setattr(batches, "team", lambda: Team(local_size=4))
    assert resident_limit_bytes(CPU) == 500_000_000
    monkeypatch.setattr(batches, "available_bytes", lambda: None)
    assert resident_limit_bytes(CPU) == 1 << 30


def test_what_torch_holds_and_does_not_use_is_free_on_a_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (1_000, 80_000))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda _: 70_000)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda _: 9_000)
    assert resident_limit_bytes(torch.device("cuda")) == (1_000 + 61_000) // 2


def test_single_pictures_are_read_without_a_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = tuple(tmp_path / f"{number}.png" for number in range(3))
    for path, pixels in zip(paths, split(3).pixels(), strict=True):
        Image.fromarray(pixels).save(path)
    files = Split(paths, np.arange(3), Preprocessing(16))
    monkeypatch.setattr("edgecil.workers.ThreadPoolExecutor", None)
    monkeypatch.setattr("edgecil.workers._pool", None)
    assert torch.equal(*(one_pass(kind)[0] for kind in (streamed(files), resident(split(3)))))


class Counted(ScratchPictures):
    made = 0

    def __init__(self, pictures: Pictures, image_size_px: int, folder: Path) -> None:
        Counted.made += 1
        super().__init__(pictures, image_size_px, folder)


def files_of_state(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "state").iterdir()}


@pytest.mark.parametrize("method", ["replay", "icarl"])
def test_a_run_ends_in_the_same_bytes_wherever_its_images_are(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, streamed, from the disk, and in turns as memory comes and goes between stops."""
    monkeypatch.setattr(Counted, "made", 0)
    asked = TrainRequest(
        data="tiny",
        budget="260kB",
        increment=2,
        backbone="convnet2",
        method=method,
        epochs=2,
        batch_size=16,
        augmentation="autoaugment+cutout",
    )
    kinds: list[type] = []

    class Watched(SilentReporter):
        def epoch_finished(self, phase: object, report: object) -> None:
            if self.stops:
                raise Stopped("enough", EXIT_STOPPED)

        def __init__(self, stops: bool) -> None:
            self.stops = stops

    def learned(name: str, limit_bytes: int, stops: bool = False, on_disk: bool = False) -> bool:
        def made(*given: Any, **options: Any) -> Images:
            images = images_on(*given, **options)
            kinds.append(type(images))
            return images

        monkeypatch.setattr("edgecil.training.learner.images_on", made)
        monkeypatch.setattr(batches, "resident_limit_bytes", lambda _: limit_bytes)
        monkeypatch.setattr(batches, "usable_cores", lambda: 1)
        monkeypatch.setattr(batches, "fits_on_disk", lambda *_: on_disk)
        dataset, reporter = tiny_dataset(classes=4), Watched(stops)
        try:
            folder = tmp_path / name
            train(asked, folder, device="cpu", resume=True, reporter=reporter, dataset=dataset)
        except Stopped:
            return False
        return True

    assert learned("memory", 1 << 40)
    assert set(kinds) == {ResidentImages}
    kinds.clear()
    assert learned("streamed", 0)
    assert set(kinds) == {StreamedImages}
    assert len(kinds) == 4  # of each task: one to learn from, choosing exemplars too; one to test
    monkeypatch.setattr(batches, "ScratchPictures", Counted)
    assert learned("disk", 0, on_disk=True)
    assert Counted.made == 4
    assert not [path for path in (tmp_path / "disk").iterdir() if path.name.startswith("tmp")]
    limits = [0, 1 << 40] * 3
    while not learned("turns", limits.pop(), stops=True):
        pass
    assert len(limits) == 1  # after each of two epochs of two tasks
    assert (
        files_of_state(tmp_path / "memory")
        == files_of_state(tmp_path / "streamed")
        == files_of_state(tmp_path / "disk")
        == files_of_state(tmp_path / "turns")
    )


def test_a_run_on_streamed_files_learns_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tiny_dataset(classes=4)
    for number, pixels in enumerate(dataset.train.pixels()):
        folder = tmp_path / "photos" / dataset.classes[dataset.train.labels[number]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    monkeypatch.setattr(batches, "resident_limit_bytes", lambda _: 100)
    monkeypatch.setattr(batches, "usable_cores", lambda: 1)
    monkeypatch.setattr(batches, "fits_on_disk", lambda *_: False)
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


@pytest.mark.parametrize(("method", "codec"), [("icarl", "raw"), ("memo", "jpeg:80")])
def test_large_photos_of_all_shapes_are_learned_and_deployed(
    method: str, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole pictures, in memory and streamed from the disk; exemplars keep their aspects."""
    shapes = [(90, 130), (200, 80), (80, 80), (300, 100), (1, 400)]
    draw = np.random.default_rng(0)
    for label in range(2):
        folder = tmp_path / "photos" / f"class-{label}"
        folder.mkdir(parents=True)
        for number, (width_px, height_px) in enumerate(shapes):
            noise = draw.integers(100 * label, 100 * label + 120, (height_px, width_px, 3))
            Image.fromarray(noise.astype(np.uint8)).save(folder / f"{number}.png")
    monkeypatch.setattr(batches, "usable_cores", lambda: 1)
    asked = TrainRequest(
        data=str(tmp_path / "photos"),
        budget="13MB",
        image_size_px=72,
        increment=1,
        method=method,
        backbone="convnet4",
        codec=codec,
        precision="fp16",
        epochs=1,
        batch_size=8,
    )
    for name, limit_bytes in (("memory", 1 << 40), ("streamed", 0)):
        monkeypatch.setattr(batches, "resident_limit_bytes", lambda _, limit=limit_bytes: limit)
        results = train(asked, tmp_path / name, device="cpu")
        assert results[-1].state_bytes <= 13_000_000
    assert files_of_state(tmp_path / "memory") == files_of_state(tmp_path / "streamed")

    exemplars = State.read(tmp_path / "memory" / "state").exemplars
    learned = load_folder(tmp_path / "photos", image_size_px=72, seed=asked.seed)[0].train
    assert learned.aspects is not None
    assert [sorted(row) for row in exemplars.aspects] == [
        sorted(learned.aspects[learned.labels == label].tolist()) for label in range(2)
    ]
    classifier = {"icarl": "nearest-mean", "memo": "linear"}[method]
    as_measured = ExportRequest(classifier=classifier)
    report = export(tmp_path / "memory", tmp_path / "photos.edgecil", as_measured)
    assert report.parity.real


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


def test_on_a_processor_what_is_more_than_a_quarter_of_a_gigabyte_lies_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Many:
        aspects = np.ones(2000, np.float32)

        def __len__(self) -> int:
            return 2000

        def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
            assert indices is not None
            assert len(indices) <= 16  # never many of them at once
            return np.broadcast_to(
                (indices % 256).astype(np.uint8)[:, None, None, None], (len(indices), 224, 224, 3)
            )

    monkeypatch.setattr(batches, "resident_limit_bytes", lambda _: 1 << 40)
    labels = np.arange(2000)
    given: Any = {"image_size_px": 224, "mirrors": False, "scratch": tmp_path}
    images = images_on(CPU, Many(), labels, **given)
    assert isinstance(images, StreamedImages)
    assert not list(tmp_path.iterdir())
    wanted = torch.tensor([1999, 3, 700])
    pixels, found = next(images.plain_batches(3, wanted))
    assert found.tolist() == wanted.tolist()
    assert pixels[:, 0, 100, 100].round().tolist() == [1999 % 256, 3, 700 % 256]
