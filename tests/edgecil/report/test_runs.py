"""Runs are read as they were written, and what cannot stand on one page is refused by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgecil.errors import RunError
from edgecil.evaluation.measures import Spread
from edgecil.evaluation.results import StageResult
from edgecil.report.cells import cells_of, outcomes_of
from edgecil.report.runs import read_runs, tasks_in_words
from edgecil.training.run import Run
from edgecil.training.settings import Source
from tests.edgecil.report.made_runs import write_run


def test_a_run_that_training_wrote_is_read(tmp_path: Path) -> None:
    run = Run(write_run(tmp_path / "run", finished=0, sizes=(2, 1)))
    owners = {"trunk": 1, "blocks": 2, "head": 3, "exemplars": 4, "names": 5}
    first = StageResult(
        stage=1,
        classes=2,
        accuracy=80.0,
        accuracy_by_task=(80.0,),
        nearest_mean_accuracy=None,
        state_bytes=15,
        bytes_by_owner=owners,
        exemplars=7,
        seconds=3.0,
    )
    second = StageResult(
        stage=2,
        classes=3,
        accuracy=60.0,
        accuracy_by_task=(50.0, 80.0),
        nearest_mean_accuracy=61.0,
        state_bytes=15,
        bytes_by_owner=owners,
        exemplars=7,
        seconds=4.0,
    )
    run.record(run.settings(), [first, second], torch.device("cpu"))
    (read,) = read_runs([run.folder]).runs
    assert read.task_sizes == (2, 1)
    assert read.results.accuracies == [80, 60]
    assert read.results.stages[1].accuracy_by_task == (50, 80)
    assert [stage.nearest_mean_accuracy for stage in read.results.stages] == [None, 61]
    assert read.results.stages[1].bytes_by_owner == owners
    assert read.results.seconds == 7
    assert read.results.versions["torch"] == torch.__version__.partition("+")[0]
    assert read.results.hardware["device"] == "cpu"


def test_a_folder_of_runs_stands_for_its_runs(tmp_path: Path) -> None:
    one, two = write_run(tmp_path / "grid" / "one"), write_run(tmp_path / "grid" / "two", seed=1994)
    (tmp_path / "grid" / "notes").mkdir()
    assert [run.folder for run in read_runs([tmp_path / "grid", one]).runs] == [one, two]


def test_what_a_comparison_could_not_run_is_noted(tmp_path: Path) -> None:
    write_run(tmp_path / "memo-9")
    cells = [
        {"name": "memo-9", "status": "finished", "reason": ""},
        {"name": "der-1", "status": "failed", "reason": "1 byte cannot hold 3 tasks"},
        {"name": "der-9", "status": "waiting", "reason": ""},
    ]
    (tmp_path / "comparison.json").write_text(json.dumps({"cells": cells}))
    assert read_runs([tmp_path]).notes == (
        "Not run, der-1: 1 byte cannot hold 3 tasks.",
        "Not finished, der-9: the same edgecil compare goes on with it.",
    )


@pytest.mark.parametrize(
    "content", ["{", "3", "[3]", '{"cells": 3}', '{"cells": [3]}', '{"cells": [{}]}']
)
def test_a_damaged_file_of_a_comparison_is_named(tmp_path: Path, content: str) -> None:
    write_run(tmp_path / "memo-9")
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(RunError, match=r"comparison\.json is damaged; restore it from a copy"):
        read_runs([tmp_path])


def test_what_was_measured_over_some_classes_is_left_out_and_noted(tmp_path: Path) -> None:
    """Of the last task an older edgecil has NaN; of the second this one says what it covers."""
    folder = write_run(tmp_path / "run")
    written = json.loads((folder / "results.json").read_text())
    first, second, third = written["stages"]
    first["measured_classes"] = 2
    second |= {"measured_classes": 3, "accuracy_by_task": [None, 90.0]}
    third["accuracy_by_task"][0] = float("nan")
    (folder / "results.json").write_text(json.dumps(written))
    collection = read_runs([folder])
    results = collection.first.results
    assert results.accuracies == [first["accuracy"], None, None]
    assert results.stages[2].accuracy_by_task == (None, 80.0, 90.0)
    assert collection.notes == (
        f"{folder}: after task 2, 3 not all classes were measured, as the pictures of some were "
        "not there, or its result is lost; tables and curves are without these accuracies.",
    )
    (outcome,) = outcomes_of(*cells_of(collection.runs))
    assert (outcome.average, outcome.last) == (None, None)
    assert outcome.sessions[0] == Spread(90.0, None, 1)
    # 90 -> 80 of the second task alone; the first was never measured again.
    assert [spread and spread.mean for spread in outcome.forgetting] == [0, None, 10]


def test_what_an_older_run_did_not_measure_is_missing(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", confusion=False)
    results = json.loads((folder / "results.json").read_text())
    for stage in results["stages"]:
        del stage["nearest_mean_accuracy"]
    (folder / "results.json").write_text(json.dumps(results))
    (read,) = read_runs([folder]).runs
    assert read.confusion == ()
    assert read.results.stages[0].nearest_mean_accuracy is None


def test_a_run_on_cifar100_follows_its_protocol_without_being_told(tmp_path: Path) -> None:
    source = (Source("cifar100", 0.2, "f00d"),)
    for name, sizes in (
        ("inc10", (10,) * 10),
        ("b50", (50, *[5] * 10)),
        ("odd", (50, 30, 20)),
        ("few", (5,) * 4),
        ("unknown", (40, 30, 30)),
        ("quarters", (25,) * 4),
    ):
        write_run(tmp_path / name, sizes=sizes, sources=source, confusion=False)
    write_run(tmp_path / "own", sizes=(10,) * 10, confusion=False)
    protocols = {p.name: read_runs([p]).first.protocol for p in tmp_path.iterdir()}
    assert protocols == {
        "inc10": "cifar100-b0-inc10",
        "b50": "cifar100-b50-inc5",
        "odd": None,
        "few": None,
        "unknown": None,
        "quarters": None,
        "own": None,
    }


def test_a_run_with_tasks_beyond_its_protocol_follows_it_no_longer(tmp_path: Path) -> None:
    told = "imagenet100-b0-inc10"
    photos, more = Source("/photos", 0.0, "f00d"), Source("/more", 0.2, "beef")
    as_told = write_run(tmp_path / "a", sizes=(10,) * 10, sources=(photos,), protocol=told)
    assert read_runs([as_told]).first.protocol == told
    sizes = (*(10,) * 10, 3)
    grown = write_run(tmp_path / "b", sizes=sizes, sources=(photos, more), protocol=told)
    assert read_runs([grown]).first.protocol is None


def test_an_unfinished_run_is_refused_by_name_or_left_out(tmp_path: Path) -> None:
    done = write_run(tmp_path / "done")
    half, fresh = write_run(tmp_path / "half", finished=2), write_run(tmp_path / "new", finished=0)
    with pytest.raises(RunError, match="half \\(2 of 3 tasks\\).*new \\(0 of 3.*--resume.*--fin"):
        read_runs([done, half, fresh])
    collection = read_runs([done, half], finished_only=True)
    assert [run.folder for run in collection.runs] == [done]
    assert "half (2 of 3 tasks)" in collection.notes[0]
    with pytest.raises(RunError, match="no run is finished"):
        read_runs([half], finished_only=True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sizes": (3, 3)}, "3 tasks of 2 classes and .*other.* 2 tasks of 3 classes"),
        ({"sizes": (2, 2, 2, 2)}, "report of its own"),
        ({"sources": (Source("made", 0.2, "beef"),)}, "different pictures"),
    ],
)
def test_runs_of_different_tasks_do_not_share_a_page(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    one = write_run(tmp_path / "one")
    other = write_run(tmp_path / "other", **changed)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=said):
        read_runs([one, other])


def test_another_seed_may_split_a_folder_otherwise(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one")
    other = write_run(tmp_path / "other", seed=1994, sources=(Source("made", 0.2, "beef"),))
    assert len(read_runs([one, other]).runs) == 2


def test_a_run_of_another_version_is_read_with_a_note(tmp_path: Path) -> None:
    collection = read_runs([write_run(tmp_path / "old", edgecil="0.0.1")])
    assert "edgecil 0.0.1" in collection.notes[0]
    assert "old" in collection.notes[0]


def test_a_run_of_a_version_that_cannot_be_read_names_that_version(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "new", edgecil="9.0.0")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"telepathy": True}))
    with pytest.raises(RunError, match="written by edgecil 9.0.0"):
        read_runs([folder])


@pytest.mark.parametrize("name", ["results.json", "config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"stages": [{}]}', '{"stages": 7}'])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    folder = write_run(tmp_path / "run")
    (folder / name).write_text(content)
    with pytest.raises(RunError, match=f"{name}.*restore it from a copy"):
        read_runs([folder])


@pytest.mark.parametrize("content", ["", "1,2\n3,4\n", "a\n", "1.5\n"])
def test_a_confusion_of_other_classes_is_refused(tmp_path: Path, content: str) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "confusion.csv").write_text(content)
    with pytest.raises(RunError, match="6 x 6"):
        _ = read_runs([folder]).first.confusion


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run, and has none in it"):
        read_runs([tmp_path])
    with pytest.raises(RunError, match="nowhere does not exist"):
        read_runs([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((5, 5), "made in 2 tasks of 5 classes"),
        ((50, 5, 5), "made in tasks of 50 + 2 x 5 classes"),
        ((4, 2, 3), "made in tasks of 4, 2, 3 classes"),
    ],
)
def test_tasks_are_told_in_words(tmp_path: Path, sizes: tuple[int, ...], said: str) -> None:
    assert tasks_in_words(read_runs([write_run(tmp_path / "run", sizes=sizes)]).first) == said


def test_reading_runs_needs_no_torch() -> None:
    code = "import sys, edgecil.report.runs, edgecil.report.cells; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
