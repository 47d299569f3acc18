"""What may change with a new task: exemplars become smaller where they would not all fit."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgecil.data import ImageDataset
from edgecil.errors import BudgetError, UsageError
from edgecil.memory.codecs import codec_named
from edgecil.memory.state import State
from edgecil.planning.block_limits import BlockBound
from edgecil.planning.data_facts import facts_of
from edgecil.planning.tradeoffs import Choice, tradeoffs
from edgecil.training.api import SilentReporter, train
from edgecil.training.growth import (
    NewTask,
    codecs_from_here,
    kept_of,
    merged_away_of,
    resolve_new_task,
    with_new_task,
)
from edgecil.training.learner import Learner
from edgecil.training.loop import choose_device
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings
from edgecil.training.stopping import Deadline
from tests.edgecil.training.tiny import tiny_dataset

OLD, SEEN = tiny_dataset(), 24
NEW = replace(tiny_dataset(classes=2, seed=5), classes=("teal", "plum"))


def learned(folder: Path, **changes: object) -> Run:
    """A run that has learned six classes, of which it keeps all 144 pictures."""
    asked: dict[str, object] = {"data": "tiny", "budget": "400kB", "increment": 6, "epochs": 1}
    asked |= {"method": "replay", "backbone": "convnet2", "codec": "webp-lossless"}
    asked |= {"precision": "fp16"}
    train(TrainRequest(**asked | changes), folder, device="cpu", dataset=OLD)  # type: ignore[arg-type]
    return Run(folder)


def grown(
    run: Run, budget_bytes: int, codec: str | None = None, new: ImageDataset = NEW
) -> tuple[RunSettings, Choice]:
    """The run's settings with two classes more."""
    facts = facts_of(new, codecs_from_here(run.settings(), codec))
    return with_new_task(run.settings(), NewTask("more", 0.2, facts, budget_bytes))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return learned(tmp_path_factory.mktemp("growth") / "run")


@pytest.fixture(scope="module")
def tight_bytes(run: Run) -> int:
    """A budget that holds little more than what is kept already."""
    return State.read(run.state_folder).size_without_exemplars_bytes + 60_000


def test_where_all_pictures_fit_they_stay_as_they_are(run: Run) -> None:
    settings, choice = grown(run, 400_000)
    assert settings.codec == "webp-lossless"
    assert choice.reason == ""


def test_many_new_pictures_do_not_make_more_of_the_old_ones(run: Run) -> None:
    """All 144 old ones fit beside 200 new ones, but not if each old class counted 200."""
    settings, state = run.settings(), State.read(run.state_folder)
    kept = kept_of(settings, state)
    assert kept == dict.fromkeys(settings.classes, SEEN)
    facts = facts_of(NEW, codecs_from_here(settings, None))
    facts = replace(facts, class_pictures=(100, 100))
    each = facts.exemplar_bytes["webp-lossless"]
    budget_bytes = state.size_without_exemplars_bytes + int(400 * each) + 4000
    new = NewTask("more", 0.2, facts, budget_bytes, kept=kept)
    grown_settings, choice = with_new_task(settings, new)
    assert grown_settings.codec == "webp-lossless"
    assert choice.plan.stages[-1].exemplars == 144 + 200
    without = with_new_task(settings, replace(new, kept={}))[1]
    assert without.plan.stages[-1].exemplars > 144 + 200


def test_blocks_that_were_merged_away_are_not_planned_with_again(tmp_path: Path) -> None:
    run = learned(tmp_path / "run", method="memo", increment=2, max_blocks=2)
    settings, state = run.settings(), State.read(run.state_folder)
    assert (state.settings.stage, state.settings.block_count) == (3, 2)
    new = NewTask("more", 0.2, facts_of(NEW, [settings.codec]), bound=BlockBound(8))
    new = replace(new, kept=kept_of(settings, state), merged_away=merged_away_of(settings, state))
    settings, choice = with_new_task(settings, new)
    assert settings.max_blocks == 8
    assert choice.plan.stages[-1].blocks == 3
    learner = Learner(
        run, settings, [OLD, NEW], choose_device("cpu"), SilentReporter(), Deadline(), choice.plan
    )
    result = learner.learn()[-1]
    model_bytes = result.state_bytes - result.bytes_by_owner["exemplars"]
    assert model_bytes == pytest.approx(choice.plan.stages[-1].model_bytes, rel=0.01)


def test_where_they_do_not_they_are_encoded_smaller_and_the_reason_is_said(
    run: Run, tight_bytes: int
) -> None:
    settings, choice = grown(run, tight_bytes)
    assert settings.codec in tradeoffs().codec
    assert not codec_named(settings.codec).lossless
    assert choice.reason.startswith(
        f"exemplars are kept in {settings.codec} from here on, no longer in webp-lossless: convnet2"
    )
    as_before, _ = grown(run, tight_bytes, "webp-lossless")
    assert as_before.codec == "webp-lossless"


def test_old_exemplars_are_those_that_the_codec_would_have_given_at_once(
    tmp_path: Path, tight_bytes: int
) -> None:
    run = learned(tmp_path / "run")
    settings, choice = grown(run, tight_bytes)
    settings.save(run.config_file)
    sources = [OLD, NEW]
    learner = Learner(run, settings, sources, choose_device("cpu"), SilentReporter(), Deadline())
    (_, result) = learner.learn()
    assert result.state_bytes <= tight_bytes
    assert result.exemplars == pytest.approx(choice.plan.stages[-1].exemplars, abs=16)
    state, codec = State.read(run.state_folder), codec_named(settings.codec)
    assert state.settings.codec == codec.name
    for label, name in enumerate(state.settings.classes[:6]):
        seen = OLD.train.pixels((OLD.train.labels == OLD.classes.index(name)).nonzero()[0])
        possible = {codec.encode(one) for one in seen}
        kept = state.exemplars.payloads[label]
        assert len(kept) > 0
        assert possible.issuperset(kept)


def test_what_is_lossy_may_become_lossier_and_nothing_else(
    tmp_path: Path, tight_bytes: int
) -> None:
    run = learned(tmp_path / "run", codec="webp:75")
    settings = run.settings()
    assert codecs_from_here(settings, None) == ("webp:75", "webp:50", "webp:30", "webp:10")
    assert codecs_from_here(settings, "webp:40") == ("webp:40",)
    for other in ("webp:90", "webp-lossless", "raw", "jpeg:50"):
        with pytest.raises(UsageError, match="kept in webp:75.*leave out --codec"):
            codecs_from_here(settings, other)
    # Where all fit there is nothing to gain.
    assert grown(run, 400_000)[0].codec == "webp:75"
    # A little too little is not worth a second encoding, far too little is.
    state = State.read(run.state_folder)
    kept_bytes, model_bytes = len(state.exemplars.to_bytes()), state.size_without_exemplars_bytes
    as_before, choice = grown(run, model_bytes + int(kept_bytes * 1.25))
    assert choice.plan.stages[-1].exemplars < 8 * SEEN
    assert (as_before.codec, choice.reason) == ("webp:75", "")
    smaller, choice = grown(run, model_bytes + kept_bytes // 2)
    assert codec_named(smaller.codec).name in ("webp:50", "webp:30", "webp:10")
    assert "no longer in webp:75" in choice.reason


def test_where_papers_count_pixels_nothing_is_encoded(run: Run) -> None:
    settings = replace(run.settings(), accounting="published", codec="raw")
    assert codecs_from_here(settings, None) == ("raw",)
    with pytest.raises(UsageError, match="counts exemplars as raw; leave out --codec"):
        codecs_from_here(settings, "webp:30")


def test_a_codec_may_be_named(run: Run) -> None:
    settings, _ = grown(run, 400_000, "webp:30")
    assert settings.codec == "webp:30"
    with pytest.raises(UsageError, match="unknown image codec"):
        codecs_from_here(run.settings(), "gif")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("colour-{}", ("turquoises", "periwinkle")),
        ("colour-of-some-length-{}", ("turquoise-of-some-kind0", "periwinkle-of-some-kin1")),
    ],
    ids=["names as usual", "names as long as those before"],
)
def test_the_smallest_budget_that_fits_holds_the_task_that_was_planned_ahead(
    tmp_path: Path, old: str, new: tuple[str, str]
) -> None:
    first = replace(tiny_dataset(classes=2), classes=(old.format(0), old.format(1)))
    second = replace(NEW, classes=new)
    asked = TrainRequest(
        data="tiny",
        budget="10kB",
        method="finetune",
        backbone="convnet2",
        increment=2,
        epochs=1,
        tasks_ahead=1,
    )
    with pytest.raises(BudgetError, match="smallest budget that fits") as refused:
        train(asked, tmp_path / "run", device="cpu", dataset=first)
    told = re.search(r"smallest budget that fits is ([\d ]+) bytes", str(refused.value))
    assert told
    budget_bytes = int(told[1].replace(" ", ""))
    asked = replace(asked, budget=str(budget_bytes))
    train(asked, tmp_path / "run", device="cpu", dataset=first)
    run = Run(tmp_path / "run")
    settings, _ = grown(run, budget_bytes, new=second)
    settings.save(run.config_file)
    device = choose_device("cpu")
    learner = Learner(run, settings, [first, second], device, SilentReporter(), Deadline())
    (_, result) = learner.learn()
    assert result.classes == 4
    # It counts means and deviations of four digits, where these have one and two.
    assert budget_bytes - result.state_bytes == 3 * 3 + 3 * 2


def test_data_that_were_learned_and_have_moved_since_are_found_where_they_are_given(
    run: Run, tmp_path: Path
) -> None:
    settings, _ = grown(run, 400_000)
    again = Run(tmp_path)
    settings.save(again.config_file)
    facts = facts_of(NEW, codecs_from_here(settings, None))
    given = NewTask(str(tmp_path / "moved"), 0.2, facts)
    found, choice = resolve_new_task(again, settings.stage_count, given)
    assert choice is None
    assert found == again.settings()
    assert [one.data for one in found.sources] == [
        settings.sources[0].data,
        str(tmp_path / "moved"),
    ]
