"""Behind a frozen trunk, feature maps that are computed once train what pixels train."""

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgecil.methods.base import Method, TaskView
from edgecil.methods.block_merge import BlockMerge
from edgecil.methods.foster import Foster
from edgecil.methods.icarl import ICaRL
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.memo import Memo
from edgecil.methods.recipes import PhaseRecipe, Recipe
from edgecil.networks import ExpandableNetwork, FeatureMaps, cut_backbone
from edgecil.pictures.batches import Batch, Images, ResidentImages, shuffled
from edgecil.pictures.views import Views
from edgecil.training import feature_maps
from edgecil.training.feature_maps import LARGEST_PORTION, MappedImages, behind_trunk
from edgecil.training.loop import train_phase
from tests.edgecil.training.tiny import tiny_dataset

CPU = torch.device("cpu")
COUNT = 2 * 24


def network(seed: int = 0, classes: int = 2) -> ExpandableNetwork:
    torch.manual_seed(seed)
    net = ExpandableNetwork(cut_backbone("convnet2"), classes, mean=(0.5,) * 3, std=(0.2,) * 3)
    for name, buffer in net.trunk.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return net.to(memory_format=torch.channels_last).eval()


def images(*, mirrors: bool = True) -> ResidentImages:
    train = tiny_dataset(classes=2).train
    return ResidentImages(train.pixels(), train.labels, CPU, mirrors=mirrors)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def second_task(net: ExpandableNetwork, recipe: PhaseRecipe) -> tuple[Lesson, Phase]:
    """MEMO with a frozen trunk, its second task; it grows the network."""
    task = TaskView(2, 1, (24, 24), 1)
    lesson = Memo(trunk="freeze").prepare(net, task, Recipe(recipe, recipe, recipe))
    return lesson, lesson.phases[0]


class Counting:
    """A trunk that notes how many pictures it gets at once."""

    def __init__(self, net: ExpandableNetwork) -> None:
        self._net, self.sizes = net, list[int]()

    def __call__(self, pixels: Tensor) -> Tensor:
        self.sizes.append(len(pixels))
        return self._net.feature_map(pixels)


def test_a_batch_of_maps_is_what_the_trunk_makes_of_the_same_pictures() -> None:
    net, shown = network(), images(mirrors=False)
    mapped = MappedImages(shown.views(0, drawn(0)), net.feature_map)
    plain = torch.cat([pixels for pixels, _ in shown.plain_batches(COUNT)])
    order = shuffled(COUNT, 16, drawn(3))
    batches = list(mapped.training_batches(16, drawn(3)))
    assert len(mapped) == COUNT
    for indices, (maps, labels) in zip(order, batches, strict=True):
        normalised = (plain[indices].double() / 255 - 0.5) / 0.2
        expected = copy.deepcopy(net.trunk).double()(normalised)
        assert isinstance(maps, FeatureMaps)
        torch.testing.assert_close(
            maps.as_subclass(Tensor).double(), expected, rtol=2e-3, atol=2e-3
        )
        assert torch.equal(labels, (indices >= 24).long())
        # A network and its copies go on behind their trunks.
        with torch.no_grad():
            torch.testing.assert_close(net(maps), net(plain[indices]), rtol=1e-2, atol=1e-2)


def test_every_view_of_every_picture_is_seen_in_time_and_passes_the_trunk_once() -> None:
    net = network()
    views, trunk = images().views(2, drawn(0)), Counting(net)
    mapped = MappedImages(views, trunk)
    places = COUNT * 4
    assert trunk.sizes == [LARGEST_PORTION] * (
        1 + places // LARGEST_PORTION
    )  # the first tells the maps' size
    numbers = torch.cat(list(views.batches(torch.split(torch.arange(places), LARGEST_PORTION))))
    with torch.no_grad():
        known = {tuple(m.flatten()[:64].tolist()) for m in net.feature_map(numbers).half()}
    seen = {
        tuple(one.flatten()[:64].tolist())
        for epoch in range(40)
        for maps, _ in mapped.training_batches(16, drawn(epoch))
        for one in maps.as_subclass(Tensor)
    }
    assert len(known) == places
    assert len(trunk.sizes) == 1 + places // LARGEST_PORTION
    assert len(seen & known) > 0.99 * places


def without_room(_device: torch.device) -> int:
    return 0


def test_maps_that_do_not_fit_are_computed_anew_in_portions_and_are_the_same_to_the_bit() -> None:
    net, batch_size = network(), 20
    held = MappedImages(images().views(2, drawn(5)), net.feature_map)
    trunk = Counting(net)
    with patch.object(feature_maps, "resident_limit_bytes", without_room):
        streamed = MappedImages(images().views(2, drawn(5)), trunk)
    for seed in (1, 2):
        pairs = zip(
            held.training_batches(batch_size, drawn(seed)),
            streamed.training_batches(batch_size, drawn(seed)),
            strict=True,
        )
        for (maps, labels), (again, same) in pairs:
            assert torch.equal(maps, again)
            assert torch.equal(labels, same)
    # 48 pictures an epoch make a portion of 32 and one of 16, which is filled up.
    assert trunk.sizes == [LARGEST_PORTION] * (1 + 2 * 2)


def test_a_map_does_not_depend_on_who_passes_the_trunk_with_it() -> None:
    mapped = MappedImages(images().views(0, drawn(0)), network().feature_map)
    pixels = torch.randint(0, 256, (LARGEST_PORTION, 3, 16, 16)).float()
    together, alone = mapped._passed(pixels), mapped._passed(pixels[5:6])
    assert torch.equal(together.maps[5:6], alone.maps)


def test_what_no_half_precision_number_can_hold_is_brought_to_the_largest() -> None:
    views = images().views(0, drawn(0))
    mapped = MappedImages(views, lambda pixels: pixels.double() * 1e6)
    (maps, _), *_ = mapped.training_batches(16, drawn(0))
    assert torch.isfinite(maps).all()


class Plain:
    """Images that are never cropped nor mirrored."""

    def __init__(self) -> None:
        self._images = images(mirrors=False)

    def __len__(self) -> int:
        return len(self._images)

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        for indices in shuffled(len(self), batch_size, generator):
            torch.randint(1, (len(indices),), generator=generator)  # which of the one view
            yield from self._images.plain_batches(batch_size, indices)

    def plain_batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[Batch]:
        return self._images.plain_batches(batch_size, order)

    def views(self, crops: int, generator: torch.Generator) -> Views:
        return self._images.views(crops, generator)


def trained(shown: Images, crops: int | None) -> dict[str, Tensor]:
    net = network(classes=1)
    recipe = PhaseRecipe(3, 0.05, 5e-4, batch_size=16, crops=crops)
    lesson, phase = second_task(net, recipe)
    with patch("edgecil.training.loop.half_precision_pays", lambda device: False):
        list(train_phase(net, lesson, phase, shown, seeds=[1, 2, 3]))
    return net.state_dict()


def test_maps_of_plain_pictures_train_what_plain_pixels_train() -> None:
    torch.manual_seed(1)
    by_pixels = trained(Plain(), None)
    torch.manual_seed(1)
    with patch.object(feature_maps, "MAP_TYPE", torch.float32):
        by_maps = trained(Plain(), 0)
    torch.manual_seed(1)
    by_small_maps = trained(Plain(), 0)
    before = network(classes=1).state_dict()
    for name, tensor in by_pixels.items():
        torch.testing.assert_close(by_maps[name], tensor, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(by_small_maps[name], tensor, rtol=2e-2, atol=2e-2)
        if name.startswith("trunk."):
            assert torch.equal(by_maps[name], before[name])


def test_a_block_that_stays_as_it_is_sees_every_view_once_however_many_epochs_there_are() -> None:
    net = network(classes=1)
    lesson, phase = second_task(net, PhaseRecipe(4, 0.05, 5e-4, batch_size=16, crops=0))
    seen: dict[str, int] = {"old": 0, "new": 0}
    for name, block in zip(seen, net.blocks, strict=True):
        block.register_forward_hook(
            lambda _module, given, _out, name=name: seen.update({name: seen[name] + len(given[0])})
        )
    list(train_phase(net, lesson, phase, images(), seeds=[1, 2, 3, 4]))
    places = 2 * COUNT  # every picture and its mirror image
    assert seen["old"] == places + LARGEST_PORTION  # and once to tell how large features are
    assert seen["new"] >= 4 * COUNT


MERGE = BlockMerge(((0, 2), (1,)))
LATER: dict[str, Method] = {"memo": Memo(trunk="freeze"), "icarl": ICaRL(), "foster": Foster()}


def later_task(
    name: str, crops: int | None
) -> tuple[ExpandableNetwork, Lesson, Counter[nn.Module]]:
    """A lesson with a teacher behind a frozen trunk, and how many pictures each block sees.

    Of three blocks MEMO merges two; the other methods have one.
    """
    parts = replace(cut_backbone("convnet2"), frozen_trunk=True)
    torch.manual_seed(0)
    net = ExpandableNetwork(parts, 1, 3 if name == "memo" else 1, mean=(0.5,) * 3, std=(0.2,) * 3)
    net.to(memory_format=torch.channels_last)
    seen = Counter[nn.Module]()
    for block in net.blocks:  # copies have the same hook
        block.register_forward_hook(lambda block, given, _: seen.update({block: len(given[0])}))
    recipe = PhaseRecipe(3, 0.05, 5e-4, batch_size=16, crops=crops)
    task = TaskView(4, 1, (24, 24), 1, MERGE if name == "memo" else None)
    return net, LATER[name].prepare(net, task, Recipe(recipe, recipe, recipe)), seen


@pytest.mark.parametrize(
    ("method", "teachers"), [("memo", (3, 2)), ("icarl", (1,)), ("foster", (1, 2))]
)
def test_blocks_that_teach_see_every_view_once_and_those_that_say_nothing_none(
    method: str, teachers: tuple[int, ...]
) -> None:
    """Old blocks before a merge, the old ones beside a new one, and FOSTER's two of its second."""
    net, lesson, seen = later_task(method, 0)
    for phase, count in zip(lesson.phases, teachers, strict=True):
        seen.clear()
        list(train_phase(net, lesson, phase, images(), seeds=[1, 2, 3]))
        learns = {part for module in phase.trained for part in module.modules()}
        assert all(seen[block] >= 3 * COUNT for block in seen.keys() & learns)
        # Every picture and its mirror image, and once to tell how large features are.
        others = [seen[block] for block in seen.keys() - learns]
        assert others == [2 * COUNT + LARGEST_PORTION] * count


@pytest.mark.parametrize("method", LATER)
def test_what_is_known_of_teachers_teaches_what_they_do(method: str) -> None:
    found = []
    for crops in (None, 0):
        net, lesson, _ = later_task(method, crops)
        with (
            patch("edgecil.training.loop.half_precision_pays", lambda device: False),
            patch.object(feature_maps, "MAP_TYPE", torch.float32),
        ):
            for phase in lesson.phases:
                list(train_phase(net, lesson, phase, Plain(), seeds=[1, 2, 3]))
        found.append(net.state_dict())
    by_pixels, by_maps = found
    for name, tensor in by_pixels.items():
        torch.testing.assert_close(by_maps[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("room", ["held", "streamed"])
def test_what_is_known_of_a_block_is_what_it_makes_of_the_maps(
    room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(classes=1)
    lesson, phase = second_task(net, PhaseRecipe(1, 0.1, 0.0, crops=1))
    lesson.begin(net, phase)
    if room == "streamed":
        monkeypatch.setattr(feature_maps, "resident_limit_bytes", without_room)
    mapped = behind_trunk(net, phase, images(), 0)
    old, new = net.blocks
    for maps, _ in mapped.training_batches(20, drawn(0)):
        assert isinstance(maps, FeatureMaps)
        assert list(maps.known) == [old]
        plain = maps.as_subclass(Tensor).float()
        torch.testing.assert_close(maps.known[old], old(plain), rtol=1e-4, atol=1e-5)
        # A recording has a copy, into which the next batches are copied.
        kept = maps.clone()
        kept.known[old].zero_()
        kept.copy_(maps)
        for given in (maps, kept):
            first, second = net.block_features(given)
            assert torch.equal(first, maps.known[old])
            torch.testing.assert_close(second, new(plain), rtol=1e-4, atol=1e-5)
        # Another network's blocks are others, though their numbers are the same.
        other = copy.deepcopy(net)
        maps.known = {old: torch.zeros_like(first)}
        torch.testing.assert_close(other.block_features(maps)[0], first, rtol=1e-4, atol=1e-5)


def test_pixels_are_shown_where_the_trunk_learns_or_the_recipe_wants_fresh_crops() -> None:
    net, shown = network(classes=1), images()
    recipe = PhaseRecipe(1, 0.1, 0.0, crops=1)
    lesson, phase = second_task(net, recipe)
    lesson.begin(net, phase)
    assert isinstance(behind_trunk(net, phase, shown, 0), MappedImages)
    fresh = replace(phase, recipe=replace(recipe, crops=None))
    assert behind_trunk(net, fresh, shown, 0) is shown
    assert behind_trunk(net, replace(phase, behind_trunk=False), shown, 0) is shown
    goes_on = Memo(trunk="train").prepare(
        network(classes=1), TaskView(2, 1, (24, 24), 1), Recipe(recipe, recipe, recipe)
    )
    assert not goes_on.phases[0].behind_trunk


def test_where_there_is_no_trunk_there_is_nothing_to_compute_once() -> None:
    whole = ExpandableNetwork(cut_backbone("convnet2", "whole"), 1, mean=(0.5,) * 3, std=(0.2,) * 3)
    _, phase = second_task(whole, PhaseRecipe(1, 0.1, 0.0, crops=1))
    shown = images()
    assert behind_trunk(whole, phase, shown, 0) is shown


@pytest.mark.parametrize("count", [1, LARGEST_PORTION, LARGEST_PORTION + 1])
def test_any_number_of_pictures_can_be_mapped(count: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    few = ResidentImages(pixels, np.arange(count), CPU, mirrors=True)
    mapped = MappedImages(few.views(0, drawn(0)), network().feature_map)
    labels = torch.cat([labels for _, labels in mapped.training_batches(8, drawn(0))])
    assert sorted(labels.tolist()) == list(range(count))
