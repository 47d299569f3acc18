"""A run that goes on takes from its beginning what was measured then, and nothing that is asked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecil.cli.train import say_results
from edgecil.data import load_dataset
from edgecil.errors import RunError
from edgecil.planning.data_facts import facts_of
from edgecil.training.api import train
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import resolve
from edgecil.training.resuming import as_begun
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings
from tests.edgecil.training.tiny import SIZE_PX, picture_folder, tiny_dataset


def request(**more: Any) -> TrainRequest:
    asked: dict[str, Any] = {"data": "tiny", "budget": "1MB", "increment": 1}
    return TrainRequest(**asked | more)


@pytest.fixture(scope="module")
def begun() -> RunSettings:
    """A run of MEMO with two blocks that shows 700 pictures a task, as was found for its time."""
    asked = request(backbone="convnet2", codec="raw", precision="int8", max_blocks=2)
    facts = facts_of(tiny_dataset(), asked.possible_codecs)
    return replace(resolve(asked, facts)[0], images_a_task=700)


def test_what_was_found_for_a_time_or_a_latency_is_taken_again(begun: RunSettings) -> None:
    found = {"backbone": "convnet2", "codec": "raw", "precision": "int8", "max_blocks": 2}
    assert as_begun(request(), begun) == request(**found)
    in_time = request(**found, images_a_task=700, recipe="fast")
    assert as_begun(request(time="1h"), begun) == in_time
    # It goes on without the time, too, unless another length is asked for.
    in_an_hour = replace(begun, time_seconds=3600.0)
    assert as_begun(request(), in_an_hour) == in_time
    assert as_begun(request(epochs=3), in_an_hour) == request(**found, epochs=3)
    # An older edgecil may have begun it by a protocol's recipe.
    older = replace(in_an_hour, recipe="published")
    assert as_begun(request(time="1h"), older) == replace(in_time, recipe="published")


def test_what_an_older_edgecil_chose_goes_on_and_what_is_asked_for_is_compared(
    tmp_path: Path,
) -> None:
    run, data = Run(tmp_path / "run"), tiny_dataset(classes=2, train=4, test=2)
    asked = request(epochs=1, budget="2MB")
    now = resolve(asked, facts_of(data, asked.possible_codecs))[0]
    others = [name for name in ("convnet2", "resnet14", "resnet20") if name != now.backbone]
    backbone, another = others[:2]
    precision = "fp16" if now.precision == "int8" else "int8"
    older = replace(now, backbone=backbone, precision=precision)
    with run.started(older, resume=False):
        pass
    for more, told in (
        ({"epochs": 2}, "epochs: 1 -> 2"),
        ({"backbone": another}, f"backbone: {backbone} -> {another}"),
        ({"budget": "1900kB"}, "budget_bytes: 2000000 -> 1900000"),
    ):
        other = replace(asked, **more)
        with pytest.raises(RunError, match=rf"with other settings \({told}\); give the same"):
            train(other, run.folder, device="cpu", dataset=data, resume=True)
    train(asked, run.folder, device="cpu", dataset=data, resume=True)
    assert run.settings() == older


def test_a_run_that_was_to_merge_nothing_in_its_time_goes_on_as_the_same_run() -> None:
    asked = request(
        time="480s", backbone="resnet14", codec="raw", precision="int8", budget="1500kB"
    )
    # Exemplars in place of some blocks would be worth it, but for the time that merging takes.
    facts = replace(facts_of(tiny_dataset(classes=10), ["raw"]), class_pictures=(100,) * 10)
    begun, _, _ = resolve(asked, facts, pace=lambda _: 1e-3)
    assert begun.max_blocks is None
    again, _, _ = resolve(as_begun(asked, begun), facts)
    assert begun.differences(again) == []
    # A budget that holds fewer blocks is what a run differs in, and no reason to stop before.
    smaller = as_begun(replace(asked, budget="700kB"), begun)
    assert begun.differences(resolve(smaller, facts)[0])[0] == "budget_bytes: 1500000 -> 700000"


@pytest.mark.parametrize(
    "asked",
    [
        {"backbone": "resnet14"},
        {"codec": "webp:75"},
        {"precision": "fp16"},
        {"max_blocks": 3},
        {"images_a_task": 300},
        {"epochs": 5},
    ],
    ids=str,
)
def test_what_is_asked_for_stays_and_is_compared(begun: RunSettings, asked: dict[str, Any]) -> None:
    again = as_begun(request(**asked), begun)
    assert {name: getattr(again, name) for name in asked} == asked


@pytest.mark.parametrize(
    "asked", [{"method": "replay"}, {"no_merge": True}, {"accounting": "published"}], ids=str
)
def test_a_bound_that_nobody_gave_stands_against_nothing(
    begun: RunSettings, asked: dict[str, Any]
) -> None:
    assert as_begun(request(time="1h", **asked), begun).max_blocks is None


def test_a_list_of_classes_in_another_order_is_told_as_that(tmp_path: Path) -> None:
    folder = picture_folder(tiny_dataset(classes=3, train=4, test=2), tmp_path / "pictures")
    asked = request(backbone="convnet2", codec="raw", precision="int8")

    def listed(*names: str) -> RunSettings:
        data = load_dataset(str(folder), image_size_px=SIZE_PX, seed=1, classes=names)
        return resolve(asked, facts_of(data, ["raw"]))[0]

    run, names = Run(tmp_path / "run"), ("colour-2", "colour-0", "colour-1")
    with run.started(listed(*names), resume=False):
        pass
    with run.started(listed(*names), resume=True):
        pass
    told = r"other settings \(the classes come in another order; .*\); give the same ones"
    with pytest.raises(RunError, match=told), run.started(listed(*sorted(names)), resume=True):
        pass
    # A class that is gone is told as that, whatever the order of the others.
    told = "other pictures .*class 'colour-0' is missing"
    with pytest.raises(RunError, match=told), run.started(listed(*names[::2]), resume=True):
        pass


@pytest.mark.parametrize(("left", "lost"), [([], "1-2"), ([1], "2"), ([2], "1")], ids=str)
def test_without_the_results_of_some_tasks_there_is_no_average_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left: list[int], lost: str
) -> None:
    run, data = Run(tmp_path / "run"), tiny_dataset(classes=3, train=4, test=2)
    asked = request(backbone="convnet2", codec="raw", precision="int8", epochs=1)
    whole = train(asked, run.folder, device="cpu", dataset=data)
    written = json.loads(run.results_file.read_text())
    written["stages"] = [stage for stage in written["stages"] if stage["stage"] in left]
    if left:
        run.results_file.write_text(json.dumps(written))
    else:
        run.results_file.unlink()
    results = train(asked, run.folder, device="cpu", dataset=data, resume=True)
    assert [one.stage for one in results] == [*left, 3]
    written = json.loads(run.results_file.read_text())
    assert written["average_accuracy"] is None
    assert written["last_accuracy"] == whole[-1].accuracy
    say_results(run.folder, results)
    *_, told, averages, _ = capsys.readouterr().out.splitlines()
    assert told == f"the results of tasks {lost} are lost with results.json, so there is no average"
    assert averages.startswith("average incremental accuracy -, last accuracy ")
    say_results(run.folder, whole)
    assert "lost" not in capsys.readouterr().out
