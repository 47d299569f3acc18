"""The planner's choice follows the measured table, whatever the table says."""

import dataclasses
import json
from pathlib import Path
from statistics import mean

import pytest

from edgecil.errors import BudgetError
from edgecil.memory.precisions import PRECISIONS
from edgecil.methods import method_named
from edgecil.networks import BACKBONES
from edgecil.planning import tradeoffs as module
from edgecil.planning.accounting import parameter_counts
from edgecil.planning.planner import plan
from edgecil.planning.plans import Demand
from edgecil.planning.tradeoffs import Tradeoffs, choose, estimate, part_kept, tradeoffs
from tests.edgecil.planning.lengths import epochs

BYTES = {"webp-lossless": 1727, "webp:75": 306, "webp:30": 190}
DEMANDS = [
    Demand(
        method=method_named("replay"),
        task_sizes=(10,) * 10,
        image_size_px=32,
        class_pictures=(500,) * 100,
        precision=precision,
        codec=codec,
        exemplar_bytes=size,
    )
    for codec, size in BYTES.items()
    for precision in ("fp16", "int8")
]
EPOCHS = epochs(20, 10)
TABLE = Tradeoffs(
    seen=(10_000, 1_000_000),
    network={
        "convnet2": (50.0, 50.0),
        "resnet14": (45.0, 60.0),
        "resnet20": (44.0, 61.0),
        "resnet26": (43.0, 62.0),
        "resnet32": (42.0, 63.0),
        "resnet14x2": (40.0, 66.0),
        "resnet20x2": (30.0, 66.5),
        "resnet32x2": (20.0, 67.0),
    },
    points_a_doubling=3.0,
    kept=((0.0, 40.0), (0.1, 20.0), (1.0, 0.0)),
    codec={"webp-lossless": 0.0, "webp:75": 1.0, "webp:30": 3.0},
    precision={"fp16": 0.0, "int8": 0.5},
    merging=((0.0, 0.0), (1.0, 0.0)),
)


def given(table: Tradeoffs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "tradeoffs", lambda: table)


def test_a_network_gains_by_the_logarithm_of_what_it_has_seen_within_the_table() -> None:
    for seen, expected in ((1_000, 45), (10_000, 45), (100_000, 52.5), (10**6, 60), (10**7, 60)):
        assert TABLE.of_network("resnet14", 171_856, seen) == pytest.approx(expected)


def test_networks_that_were_not_measured_differ_by_their_parameters() -> None:
    small, large = (TABLE.of_network("resnet18", size, 1_000) for size in (1_000_000, 4_000_000))
    assert large - small == pytest.approx(6)


def test_keeping_less_costs_what_lies_between_two_measurements() -> None:
    assert TABLE.of_keeping(0.05) == pytest.approx(30)
    assert TABLE.of_keeping(0.55) == pytest.approx(10)
    assert TABLE.of_keeping(1.0) == 0


def test_an_estimate_is_the_network_less_what_is_given_up_on_average_over_the_stages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given(TABLE, monkeypatch)
    demand = dataclasses.replace(DEMANDS[3], task_sizes=(10, 10))  # webp:75, int8
    planned = plan(demand, "resnet14", "last", 1_000_000)
    parts = [stage.exemplars / stage.classes / 500 for stage in planned.stages]
    assert 1 > parts[0] > parts[1] > 0.1
    lost = [20 * (1 - part) / 0.9 for part in parts]

    first = 2 * 5000
    seen = [first, first + 3 * (5000 + planned.stages[0].exemplars)]
    network = [TABLE.of_network("resnet14", 171_856, pictures) for pictures in seen]
    expected = (sum(network) - sum(lost)) / 2 - 1.0 - 0.5
    assert estimate(demand, planned, epochs(2, 3)) == pytest.approx(expected)


def test_part_kept_is_that_of_a_class_whatever_the_others_have() -> None:
    assert part_kept((50,) * 20, 250) == pytest.approx(0.25)
    assert part_kept((50,) * 20, 5000) == 1
    # All 950 of the small classes, and 550 of the 2000 of the large one.
    assert part_kept((*(50,) * 19, 2000), 1500) == pytest.approx((19 + 550 / 2000) / 20)
    # Ten of each, which are all of the first.
    assert part_kept((40, 10, 20), 30) == pytest.approx((1 / 4 + 1 + 1 / 2) / 3)
    assert part_kept((40, 0, 20), 20) == pytest.approx((10 / 40 + 1 + 10 / 20) / 3, abs=0.02)


def test_one_large_class_neither_fills_the_memory_nor_spoils_the_codec() -> None:
    """Twenty classes in tasks of five under 3 MB, one of which has many pictures."""
    small, large = (50,) * 20, (*(50,) * 19, 2000)
    chosen = {}
    for pictures in (small, large):
        demands = [
            dataclasses.replace(
                DEMANDS[0],
                method=method_named("thrift"),
                task_sizes=(5,) * 4,
                class_pictures=pictures,
                codec=codec,
                exemplar_bytes=size,
            )
            for codec, size in (("webp-lossless", 2000), ("webp:75", 700), ("webp:10", 250))
        ]
        chosen[pictures] = choose(demands, None, ["last"], 3_000_000, EPOCHS)
    assert chosen[small].demand.codec == "webp-lossless"
    assert chosen[large].demand.codec != "webp:10"
    assert chosen[large].plan.stages[-1].exemplars <= sum(large)


def test_a_longer_training_is_worth_a_larger_network(monkeypatch: pytest.MonkeyPatch) -> None:
    given(TABLE, monkeypatch)
    demands = [dataclasses.replace(demand, method=method_named("thrift")) for demand in DEMANDS]
    backbones = [
        choose(demands, None, ["last"], 20_000_000, epochs(length, length)).plan.backbone
        for length in (1, 10, 100)
    ]
    sizes = [sum(parameter_counts(backbone, "last")) for backbone in backbones]
    assert sizes == sorted(set(sizes))


def test_where_quality_is_all_pictures_are_kept_lossless(monkeypatch: pytest.MonkeyPatch) -> None:
    lossy = {"webp-lossless": 0.0, "webp:75": 50.0, "webp:30": 60.0}
    given(dataclasses.replace(TABLE, codec=lossy), monkeypatch)
    assert choose(DEMANDS, None, ["last"], 8_000_000, EPOCHS).demand.codec == "webp-lossless"


def test_where_numbers_are_all_pictures_are_kept_small(monkeypatch: pytest.MonkeyPatch) -> None:
    same = dict.fromkeys(BYTES, 0.0)
    given(dataclasses.replace(TABLE, codec=same), monkeypatch)
    assert choose(DEMANDS, None, ["last"], 2_000_000, EPOCHS).demand.codec == "webp:30"


def test_where_networks_are_equal_the_bytes_go_to_exemplars(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same: dict[str, tuple[float, ...]] = dict.fromkeys(TABLE.network, (60.0, 60.0))
    given(dataclasses.replace(TABLE, network=same), monkeypatch)
    assert choose(DEMANDS, None, ["last"], 2_000_000, EPOCHS).plan.backbone == "convnet2"


def test_where_weights_lose_nothing_in_int8_they_are_kept_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for lost, expected in ((0.0, "int8"), (50.0, "fp16")):
        precision = {"fp16": 0.0, "int8": lost}
        given(dataclasses.replace(TABLE, precision=precision), monkeypatch)
        assert choose(DEMANDS, "resnet32", ["last"], 2_000_000, EPOCHS).demand.precision == expected


def test_the_reason_names_what_is_kept_and_what_a_block_would_cost() -> None:
    choice = choose(DEMANDS, None, ["last"], 7_998_016, EPOCHS)
    assert choice.plan.backbone in choice.reason
    assert choice.demand.codec in choice.reason
    assert "points more than" in choice.reason
    assert "a block costs" not in choice.reason  # replay never adds one
    growing = [dataclasses.replace(demand, method=method_named("memo")) for demand in DEMANDS]
    assert "a block costs" in choose(growing, None, ["last"], 7_998_016, EPOCHS).reason


def test_what_was_asked_for_is_not_chosen_again() -> None:
    choice = choose(DEMANDS[:1], "resnet20", ["last"], 7_998_016, EPOCHS)
    assert (choice.plan.backbone, choice.demand, choice.reason) == ("resnet20", DEMANDS[0], "")


def test_a_budget_that_is_too_small_is_refused_with_the_smallest_that_fits() -> None:
    with pytest.raises(BudgetError, match="smallest budget that fits is") as refused:
        choose(DEMANDS, None, ["last"], 30_000, EPOCHS)
    digits = str(refused.value).split("fits is ")[1].split(" bytes")[0].replace(" ", "")
    smallest = int(digits)
    assert choose(DEMANDS, None, ["last"], smallest, EPOCHS).plan.backbone == "convnet2"
    with pytest.raises(BudgetError):
        choose(DEMANDS, None, ["last"], smallest - 1, EPOCHS)


def test_of_exemplars_nothing_is_said_where_none_are_kept() -> None:
    none = [dataclasses.replace(one, method=method_named("finetune")) for one in DEMANDS]
    for demands, told in ((DEMANDS, True), (none, False)):
        with pytest.raises(BudgetError) as refused:
            choose(demands, None, ["last"], 30_000, EPOCHS)
        assert ("exemplar" in str(refused.value)) is told


def test_the_table_is_within_noise_of_the_measurements_beside_its_script() -> None:
    results = Path(__file__).parents[3] / "benchmarks/results/accuracy-per-byte/tradeoffs.json"
    measured = json.loads(results.read_text())
    table, noise = tradeoffs(), 2.0
    assert set(table.precision) == set(PRECISIONS)

    lossless = mean(measured["codecs"]["webp-lossless"]["accuracy"])
    for codec, lost in table.codec.items():
        found = mean(measured["codecs"][codec]["accuracy"])
        assert lost == pytest.approx(lossless - found, abs=noise)
    for run, found in measured["backbones"].items():
        name, epochs = run.split()
        accuracy = table.of_network(name, 0, int(epochs) * 10_000)
        assert accuracy == pytest.approx(mean(found["accuracy"]), abs=noise)
    large = {name for name, backbone in BACKBONES.items() if backbone.smallest_image_px > 64}
    assert set(table.network) == set(BACKBONES) - large
    everything = measured["kept"]["20MB"]["accuracy"][0]
    for row in measured["kept"].values():
        for stage in range(1, 4):
            lost = table.of_keeping(row["parts_after"][stage - 1])
            found = everything[stage] - row["accuracy"][0][stage]
            assert lost == pytest.approx(found, abs=2 * noise)


def test_nothing_is_gained_by_keeping_less_or_worse() -> None:
    table = tradeoffs()
    lost = [points for _, points in table.kept]
    assert lost == sorted(lost, reverse=True)
    codecs = list(table.codec.values())
    assert codecs == sorted(codecs)
    for accuracies in table.network.values():
        assert list(accuracies) == sorted(accuracies)
