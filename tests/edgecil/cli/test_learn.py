"""What `edgecil learn` does to a run: all of it or nothing; and what was stopped goes on."""

import itertools
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from edgecil.cli.progress import TerminalReporter
from edgecil.training.run import Run
from edgecil.training.stopping import EXIT_STOPPED, Stopped
from tests.crash.recording import KilledError, Recorder
from tests.edgecil.cli.desk import Desk


def stop_after_epochs(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Stop each command after so many epochs; 0 no longer stops any."""
    done = itertools.count(1)

    def epoch_finished(reporter: object, phase: object, report: object) -> None:
        if next(done) == count:
            raise Stopped("stopped by --stop-after", EXIT_STOPPED)

    monkeypatch.setattr(TerminalReporter, "epoch_finished", epoch_finished)


def test_a_learn_that_ends_before_its_first_checkpoint_leaves_the_run_as_it_was(
    trained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise Stopped("stopped by SIGTERM", 143)

    wrong = trained.photos("wrong", "gnu", "hen")
    before = trained.strictly("config.json")
    with monkeypatch.context() as patch:
        patch.setattr(TerminalReporter, "task_started", stopped)
        _, told = trained.learn("--data", wrong, code=143)
    assert f"{trained.folder / 'run'} is as it was, and the same command begins again" in told
    assert trained.strictly("config.json") == before
    assert not (trained.folder / "run/checkpoint").exists()
    trained.learn("--data", "new")
    assert [s["classes"] for s in trained.strictly("results.json")["stages"]] == [2, 4, 6]


def test_a_task_of_one_picture_is_learned_once_there_are_more_as_the_message_says(
    desk: Desk,
) -> None:
    def one_left(place: Path) -> None:
        for number in range(2, 10):  # of the two that stay one is for the test
            (place / f"{number}.png").rename(desk.folder / f"{place.name} {number}.png")

    def put_back(place: Path) -> None:
        for number in range(2, 10):
            (desk.folder / f"{place.name} {number}.png").rename(place / f"{number}.png")

    few, new = desk.photos("old", "ant") / "ant", desk.photos("new", "bee") / "bee"
    one_left(few)
    asked = ("--method", "finetune", "--increment", "1")
    _, told = desk.train(*asked, code=1)
    assert "task 1 has one picture to learn from in all" in told
    assert told.endswith(
        "; begin another run with more pictures, or with more classes in the task\n"
    )
    put_back(few)
    _, told = desk.train(*asked, "--resume", code=1)
    assert "was started with other pictures" in told
    shutil.rmtree(desk.folder / "run")
    desk.train(*asked)
    one_left(new)
    _, told = desk.learn("--data", "new", code=1)
    assert "task 2 has one picture to learn from in all" in told
    assert told.endswith(
        "; give the same command with more pictures, or with more classes in the task\n"
    )
    put_back(new)
    desk.learn("--data", "new")


@pytest.mark.parametrize("options", [(), ("--codec", "webp:50")], ids=["as before", "smaller"])
def test_a_stopped_learn_goes_on_to_the_bytes_of_one_that_was_not(
    options: tuple[str, ...], trained: Desk
) -> None:
    shutil.copytree(trained.folder / "run", trained.folder / "spare")
    trained.learn("--data", "new", *options)
    whole = trained.state()
    shutil.rmtree(trained.folder / "run")
    (trained.folder / "spare").rename(trained.folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        stop_after_epochs(patch, 1)
        _, told = trained.learn("--data", "new", *options, code=75)
    assert "the same command goes on, and --discard gives the new classes up" in told
    assert "--resume" not in told
    # It may have been moved meanwhile, and is found again from wherever the command is given.
    (trained.folder / "new").rename(trained.folder / "moved")
    (trained.folder / "elsewhere").mkdir()
    trained.learn("--data", "../moved", *options, at=trained.folder / "elsewhere")
    assert trained.state() == whole
    sources = trained.strictly("config.json")["sources"]
    assert Path(sources[1]["data"]).resolve() == trained.folder / "moved"
    assert Path(sources[1]["data"]).is_absolute()
    assert not (trained.folder / "run/checkpoint").exists()


def test_other_classes_than_those_begun_are_refused_with_the_two_ways_on(
    trained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = trained.photos("wrong", "gnu", "hen")
    config = trained.folder / "run/config.json"
    before, metrics = config.read_bytes(), (trained.folder / "run/metrics.csv").read_bytes()
    stop_after_epochs(monkeypatch, 1)
    trained.learn("--data", wrong, "--budget", "700kB", code=75)
    assert config.read_bytes() != before
    stop_after_epochs(monkeypatch, 0)
    _, told = trained.learn("--data", "new", code=1)
    assert "class 'gnu' is missing" in told
    assert "class 'eel' is new" in told
    assert f"edgecil learn {trained.folder / 'run'} --data {wrong}" in told
    assert f"edgecil learn {trained.folder / 'run'} --discard" in told
    assert not re.search("[0-9a-f]{16}", told)
    _, told = trained.train("--resume", code=1)
    assert f"edgecil learn {trained.folder / 'run'} --data {wrong}" in told
    out, _ = trained.run("info", "run")
    assert f"next: edgecil learn run --data {wrong}" in out

    _, told = trained.learn("--discard")
    assert "given up: gnu, hen" in told
    assert config.read_bytes() == before
    assert (trained.folder / "run/metrics.csv").read_bytes() == metrics
    assert not (trained.folder / "run/checkpoint").exists()
    _, told = trained.learn("--discard")
    assert "no unfinished classes" in told
    trained.train("--resume")
    trained.learn("--data", "new")


def test_giving_up_and_learning_others_is_one_command(
    trained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.photos("wrong", "gnu", "hen")
    stop_after_epochs(monkeypatch, 1)
    trained.learn("--data", "wrong", code=75)
    stop_after_epochs(monkeypatch, 0)
    trained.learn("--data", "new", "--discard")
    tasks = trained.strictly("config.json")["tasks"]
    assert [task["classes"] for task in tasks][2:] == [["eel", "fox"]]


def test_pictures_that_changed_since_are_named_class_by_class(
    trained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after_epochs(monkeypatch, 1)
    trained.learn("--data", "new", code=75)
    (trained.folder / "new/fox/3.png").unlink()
    _, told = trained.learn("--data", "new", code=1)
    assert "class 'fox' has 9 pictures instead of 10" in told
    Image.new("RGB", (16, 16), (1, 2, 3)).save(trained.folder / "new/fox/3.png")
    _, told = trained.learn("--data", "new", code=1)
    assert "some pictures are others than they were, as many, of the same classes" in told


def test_a_budget_or_codec_that_differs_from_the_one_begun_with_is_refused(
    trained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after_epochs(monkeypatch, 1)
    trained.learn("--data", "new", "--budget", "700kB", code=75)
    _, told = trained.learn("--data", "new", "--budget", "800kB", code=1)
    assert "begun this task under a budget of 700000 bytes; leave out --budget" in told
    _, told = trained.learn("--data", "new", "--codec", "webp:30", code=1)
    assert "begun this task with exemplars in webp-lossless; leave out --codec" in told
    _, told = trained.learn("--data", "new", "--max-blocks", "2", code=1)
    assert "begun this task with at most 3 blocks; leave out --max-blocks" in told


def test_what_is_learned_already_is_not_learned_again(trained: Desk) -> None:
    first, _ = trained.learn("--data", "new")
    files = trained.state(), trained.strictly("config.json")
    assert trained.learn("--data", "./new/")[0] == first
    assert (trained.state(), trained.strictly("config.json")) == files


@pytest.mark.parametrize(
    ("asked", "how"),
    [
        (("--budget", "800kB"), "under a budget of 600000 bytes"),
        (("--codec", "webp:30"), "with exemplars in webp-lossless"),
        (("--max-blocks", "2"), "with at most 3 blocks"),
    ],
)
def test_what_is_asked_of_classes_that_are_learned_already_is_refused(
    trained: Desk, asked: tuple[str, str], how: str
) -> None:
    trained.learn("--data", "new")
    files = trained.state(), trained.strictly("config.json")
    _, told = trained.learn("--data", "new", *asked, code=1)
    assert f"run has learned these classes already, {how}; {asked[0]} goes with new ones" in told
    assert (trained.state(), trained.strictly("config.json")) == files


def test_a_crash_between_the_state_and_its_measurement_is_made_up_for(trained: Desk) -> None:
    trained.learn("--data", "new")
    results = trained.folder / "run/results.json"
    whole = trained.strictly("results.json")
    lacking = whole | {"stages": whole["stages"][:2]}
    trained.photos("newer", "gnu")
    for data, classes in (("new", [2, 4, 6]), ("newer", [2, 4, 6, 7])):
        results.write_text(json.dumps(lacking))
        trained.learn("--data", data)
        stages = trained.strictly("results.json")["stages"]
        assert [stage["classes"] for stage in stages] == classes
        assert stages[2]["accuracy"] == whole["stages"][2]["accuracy"]
    results.write_text(json.dumps(whole | {"stages": stages[3:]}))
    out, _ = trained.run("info", "run")
    assert "tasks: 4 of 4 learned" in out
    assert "next: edgecil export run\n" in out


def test_classes_that_are_learned_and_not_measured_yet_cannot_be_given_up(
    trained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise Stopped("stopped by SIGTERM", 143)

    for _ in range(2):  # and likewise where measuring is all that was left to do
        with monkeypatch.context() as patch:
            patch.setattr(Run, "record_confusion", stopped)
            _, told = trained.learn("--data", "new", code=143)
        assert "the new classes are learned, and the same command tells how well" in told
        assert "--discard" not in told
    trained.learn("--data", "new")
    assert [s["classes"] for s in trained.strictly("results.json")["stages"]] == [2, 4, 6]


def test_an_unfinished_training_is_finished_first_with_the_command_that_started_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.photos("old", "ant", "bee", "cat", "dog")
    desk.photos("new", "eel", "fox")
    stop_after_epochs(monkeypatch, 3)
    _, told = desk.train(code=75)
    assert "the same command with --resume goes on" in told
    for words in (("--data", "new"), ("--discard",)):
        _, told = desk.learn(*words, code=1)
        assert "the edgecil train command that started it, with --resume" in told
    desk.train("--resume")


def test_learn_without_anything_to_learn_says_what_to_give(trained: Desk) -> None:
    _, told = trained.learn(code=2)
    assert "give --data" in told


@pytest.mark.parametrize("discarding", [False, True])
def test_a_run_is_whole_wherever_a_learn_is_killed(
    trained: Desk, monkeypatch: pytest.MonkeyPatch, discarding: bool
) -> None:
    """Killed at every write up to the second checkpoint, or of the giving up, it can be resumed."""
    run, spare = trained.folder / "run", trained.folder / "spare"
    trained.photos("newer", "gnu")
    before = Run(run).settings()
    stop_after_epochs(monkeypatch, 2)
    if discarding:
        trained.learn("--data", "new", code=75)
    shutil.copytree(run, spare)
    words = ("--discard",) if discarding else ("--data", "new")
    for number in itertools.count(1):
        stop_after_epochs(monkeypatch, 0 if discarding else 2)
        with Recorder(run, number, error=None) as recorder:
            try:
                trained.learn(*words, code=0 if discarding else 75)
            except KilledError:
                trained.capsys.readouterr()
        # Begun or not, the other classes can be learned after --discard, and nothing is left over.
        stop_after_epochs(monkeypatch, 0)
        trained.learn("--discard")
        assert Run(run).settings() == before, number
        shutil.rmtree(run)
        shutil.copytree(spare, run)
        if not recorder.failed:
            break
    assert number > (4 if discarding else 12)


def test_a_learn_killed_anywhere_goes_on_to_the_same_bytes(trained: Desk) -> None:
    run, spare = trained.folder / "run", trained.folder / "spare"
    shutil.copytree(run, spare)
    trained.learn("--data", "new")
    whole = trained.state()
    for number in itertools.count(1, 4):
        shutil.rmtree(run)
        shutil.copytree(spare, run)
        with Recorder(run, number, error=None) as recorder:
            try:
                trained.learn("--data", "new")
            except KilledError:
                trained.capsys.readouterr()
        if not recorder.failed:
            break
        trained.learn("--data", "new")
        stages = trained.strictly("results.json")["stages"]
        assert [stage["classes"] for stage in stages] == [2, 4, 6]
        assert trained.state() == whole
    assert number > 30
