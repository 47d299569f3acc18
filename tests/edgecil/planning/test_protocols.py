"""Protocols have the published tasks and budgets, and budgets the published exemplars.

Numbers are those of the MEMO paper's tables, and of its code where the tables print rounded ones.
"""

import pytest

from edgecil.errors import UsageError
from edgecil.methods import method_named
from edgecil.planning.accounting import parameter_counts, published_memory, published_model_bytes
from edgecil.planning.protocols import PROTOCOLS, Protocol, protocol_named

MIB = 1 << 20


def exemplars(protocol: Protocol, method: str, budget_bytes: int) -> int:
    """What the papers' rule leaves a method at a budget, with its published backbone."""
    backbone = protocol.backbone_at(budget_bytes, method)
    assert backbone is not None
    tasks, size_px = len(protocol.task_sizes), protocol.images.image_size_px
    return memory(method, backbone, tasks, size_px, budget_bytes)


def memory(method: str, backbone: str, tasks: int, size_px: int, budget_bytes: int) -> int:
    chosen = method_named(method)
    model_bytes = published_model_bytes(chosen, backbone, chosen.cuts[0], tasks)
    return published_memory(chosen, budget_bytes - model_bytes, size_px)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("cifar100-b0-inc5", (5,) * 20),
        ("cifar100-b0-inc10", (10,) * 10),
        ("cifar100-b0-inc20", (20,) * 5),
        ("cifar100-b50-inc5", (50, *(5,) * 10)),
        ("cifar100-b50-inc10", (50, *(10,) * 5)),
        ("cifar100-b50-inc25", (50, 25, 25)),
        ("imagenet100-b0-inc10", (10,) * 10),
        ("imagenet100-b50-inc5", (50, *(5,) * 10)),
        ("imagenet1000-b0-inc100", (100,) * 10),
    ],
)
def test_every_protocol_has_its_tasks(name: str, sizes: tuple[int, ...]) -> None:
    protocol = protocol_named(name)
    assert protocol.task_sizes == sizes
    assert sum(sizes) == protocol.class_count


# Budget and backbone of each point, then the exemplars of single networks, DER and MEMO.
@pytest.mark.parametrize(
    ("budget_bytes", "backbone", "single", "der", "memo"),
    [
        (7_998_016, "convnet2", 2000, 2096, 2118),
        (13_018_240, "resnet14", 3634, 2000, 2495),
        (16_906_880, "resnet20", 4900, 2000, 2768),
        (20_795_520, "resnet26", 6165, 2000, 3040),
        (24_684_160, "resnet32", 7431, 2000, 3312),
    ],
)
def test_cifar100_in_ten_tasks_has_the_published_exemplars(
    budget_bytes: int, backbone: str, single: int, der: int, memo: int
) -> None:
    protocol = protocol_named("cifar100-b0-inc10")
    assert budget_bytes in protocol.budgets_bytes
    for method in ("replay", "icarl", "wa", "foster"):
        assert protocol.backbone_at(budget_bytes, method) == "resnet32"
        assert exemplars(protocol, method, budget_bytes) == single
    for method, count in (("der", der), ("memo", memo)):
        assert protocol.backbone_at(budget_bytes, method) == backbone
        assert exemplars(protocol, method, budget_bytes) == count


def test_cifar100_in_ten_tasks_has_no_other_points() -> None:
    assert len(protocol_named("cifar100-b0-inc10").points) == 5


# The largest budgets that the papers print, in "MB" that are MiB, rounded as they are there.
@pytest.mark.parametrize(
    ("name", "backbone", "printed", "digits"),
    [
        ("cifar100-b0-inc5", "resnet32", 41.2, 1),
        ("cifar100-b0-inc10", "resnet32", 23.5, 1),
        ("cifar100-b50-inc5", "resnet32", 25.3, 1),
        ("cifar100-b50-inc10", "resnet32", 16.5, 1),
        ("imagenet100-b50-inc5", "resnet18", 756, 0),
        ("imagenet100-b0-inc10", "resnet18", 713, 0),
        ("imagenet1000-b0-inc100", "resnet18", 3297, 0),
    ],
)
def test_budgets_are_those_that_the_papers_print(
    name: str, backbone: str, printed: float, digits: int
) -> None:
    points = {point.expanding_backbone: point for point in protocol_named(name).points}
    assert round(points[backbone].budget_bytes / MIB, digits) == printed


def test_imagenet100_from_fifty_classes_has_the_papers_six_points() -> None:
    labels = (329, 493, 755, 872, 1180, 1273)  # of the axis; cut off or rounded, as it happens
    budgets = protocol_named("imagenet100-b50-inc5").budgets_bytes
    assert [abs(b / MIB - label) < 1.1 for b, label in zip(budgets, labels, strict=True)] == [
        True
    ] * 6
    assert budgets[0] == 4 * 11_176_512 + 2000 * 150_528
    assert budgets[-1] == 4 * 11 * 23_508_032 + 2000 * 150_528


def test_one_network_is_worth_603_cifar_or_297_imagenet_pictures() -> None:
    for backbone, picture_bytes, worth in (("resnet32", 3072, 603.52), ("resnet18", 150_528, 297)):
        network_bytes = published_model_bytes(method_named("replay"), backbone, "whole", 1)
        assert network_bytes / picture_bytes == pytest.approx(worth, abs=0.01)


def test_memo_2_leaves_3033_exemplars_to_memo() -> None:
    # MEMO, appendix B.1: MEMO-2 keeps 2,000 exemplars, and MEMO 3,033 in the same bytes.
    trunk, block = parameter_counts("resnet32", "last-two")
    assert (trunk, block) == (23_824, 439_680)
    budget_bytes = 4 * (trunk + 10 * block) + 2000 * 3072
    assert memory("memo-2", "resnet32", 10, 32, budget_bytes) == 2000
    assert memory("memo", "resnet32", 10, 32, budget_bytes) == 3033


@pytest.mark.parametrize("name", PROTOCOLS)
def test_der_keeps_the_protocols_exemplars_wherever_its_backbone_makes_the_point(name: str) -> None:
    protocol = protocol_named(name)
    assert list(protocol.budgets_bytes) == sorted(set(protocol.budgets_bytes))
    assert exemplars(protocol, "replay", protocol.budgets_bytes[0]) == protocol.exemplars
    for budget_bytes in protocol.budgets_bytes[1:]:
        assert exemplars(protocol, "der", budget_bytes) == protocol.exemplars
        assert exemplars(protocol, "memo", budget_bytes) > protocol.exemplars


def test_another_budget_has_no_published_backbone() -> None:
    assert protocol_named("cifar100-b0-inc10").backbone_at(7_998_017, "memo") is None


def test_an_unknown_protocol_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'cifar10'; choose one of: cifar100-b0-inc5, .*inc100$"):
        protocol_named("cifar10")
