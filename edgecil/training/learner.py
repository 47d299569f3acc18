"""The learner: from task to task, with nothing but the state in between."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from edgecil.budget import Ledger
from edgecil.data import ImageDataset
from edgecil.errors import DataError
from edgecil.evaluation.accuracy import (
    accuracy_by_task,
    confusion_matrix,
    percent_correct,
    predicted_labels,
)
from edgecil.evaluation.nearest_mean import exemplar_means, nearest_mean_logits
from edgecil.evaluation.results import StageResult
from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State, StateSettings, recover
from edgecil.methods import TaskView, method_named
from edgecil.methods.block_merge import BlockMerge
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import Images, JoinedPictures, Pictures, PlainImages, images_on
from edgecil.pictures.readers import death_of_readers_told
from edgecil.planning.accounting import ACCOUNTINGS
from edgecil.planning.candidates import Candidates, Offer
from edgecil.planning.plans import Plan
from edgecil.training.checkpoint import Learned
from edgecil.training.class_features import class_features, round_as_kept, with_new_classes
from edgecil.training.distributed import lead
from edgecil.training.efforts import efforts_of, known_speed
from edgecil.training.forecast import Forecast
from edgecil.training.full_memory import full_memory_told
from edgecil.training.known_maps import KnownMaps
from edgecil.training.loop import epoch_seed
from edgecil.training.merging import Accuracies, Merging, block_tasks_after, choose_merge
from edgecil.training.rehearsal import rehearsed_speed
from edgecil.training.reporters import Reporter, SilentReporter
from edgecil.training.run import Run
from edgecil.training.run_data import Labelled, RunData
from edgecil.training.settings import RunSettings
from edgecil.training.starting import started
from edgecil.training.stopping import Deadline
from edgecil.training.task import EpochKeeper, train_task
from edgecil.work import work
from edgecil_devices.closed_form import ClassStatistics


class Learner:
    """Learns the tasks of a run that are not learned yet.

    Args:
        run: the run folder, started with these settings.
        settings: the run's settings.
        datasets: one per source of the settings; None for one that cannot be had any more.
        device: where to train.
        reporter: who is told.
        deadline: when to stop.
        planned: what the run comes to, if that is known.
    """

    def __init__(
        self,
        run: Run,
        settings: RunSettings,
        datasets: Sequence[ImageDataset | None],
        device: torch.device,
        reporter: Reporter,
        deadline: Deadline,
        planned: Plan | None = None,
    ) -> None:
        self._run, self._settings, self._device = run, settings, device
        self._reporter, self._deadline, self._planned = reporter, deadline, planned
        self._forecast: Forecast | None = None
        self._library = RunData(datasets, settings.tasks)
        self._known_maps = KnownMaps()
        self._method = method_named(settings.method, trunk=settings.trunk)
        self._codec = codec_named(settings.codec)
        self._accounting = ACCOUNTINGS[settings.accounting]

    @full_memory_told()
    @death_of_readers_told()
    def learn(self, seconds_a_pass: float | None = None) -> list[StageResult]:
        """Learn every remaining task and measure what lacks a measurement.

        Args:
            seconds_a_pass: of this machine, as far as it was measured already; see `Forecast`.

        Returns:
            One result a task.

        Raises:
            Stopped: as it was asked to, with a checkpoint.
            BudgetError, TrainingError, DataError, StateError: training cannot go on.
        """
        lead(partial(recover, self._run.state_folder))
        state = State.read(self._run.state_folder) if self._run.state_folder.exists() else None
        learned = state.settings.stage if state else 0
        results = [one for one in self._run.stage_results() if one.stage <= learned]
        known = len(results)
        if learned and (not results or results[-1].stage < learned):
            # A stop or a crash came between the state and its measurement.
            results.append(lead(lambda: self._measured(self._run.checkpoints.noted(learned))))
            lead(partial(self._record, results))
        lead(partial(self._foresee, learned, state, seconds_a_pass))
        for stage in range(learned + 1, self._settings.stage_count + 1):
            if len(results) > known:  # else calls that may take little time would never get on
                lead(self._deadline.check)
            with work(f"task {stage}/{self._settings.stage_count}", facts=self._left_in_words):
                told = self._learn_task(
                    stage, state, results[-1].accuracy_by_task if results else ()
                )
                results.append(lead(partial(self._measured, told)))
            lead(partial(self._record, results))
            self._reporter.stage_finished(results[-1], Ledger.of_folder(self._run.state_folder))
            state = State.read(self._run.state_folder)
        return results

    def _foresee(self, learned: int, state: State | None, seconds_a_pass: float | None) -> None:
        """Foresee the tasks after `learned` ones, and tell how long they take; for the leader."""
        if learned == self._settings.stage_count:
            return
        stages = self._planned.stages if self._planned else ()
        exemplars = {one.stage: one.exemplars for one in stages}
        if state:
            exemplars[learned] = len(state.exemplars)
        efforts = efforts_of(self._settings, self._library, self._method, exemplars)
        seconds_a_pass = seconds_a_pass or known_speed(self._run, self._settings, self._method)
        # Where nobody wants to know, nothing is measured.
        if seconds_a_pass is None and type(self._reporter) is not SilentReporter:
            network = self._settings.state_settings(1, 1).empty_network()
            network.to(self._device).to(memory_format=torch.channels_last)
            seconds_a_pass = rehearsed_speed(network, self._method, self._settings, efforts)
        self._forecast = Forecast(efforts, seconds_a_pass)
        self._forecast.begin_task(learned + 1, efforts[learned].images)
        if left := self._forecast.left():
            self._reporter.time_left(left)

    def _left_in_words(self) -> str:
        left = self._forecast.left() if self._forecast else None
        return left.in_words(one_task=self._settings.stage_count == 1) if left else ""

    def _learn_task(self, stage: int, state: State | None, accuracies: Accuracies) -> Learned:
        """Train task `stage` from `state`, of which each task has its accuracy; write the new one.

        Returns:
            What there is to tell of it besides.
        """
        torch.manual_seed(epoch_seed(self._settings.seed, stage, 0, -1))
        state = state.recoded(self._codec) if state else None
        if state and self._method.keeps_exemplars:
            state.exemplars.require_own_header()
        kept = state.exemplars if state else self._no_exemplars()
        new = self._new_pictures(stage)
        old: Sequence[Pictures] = kept.by_class()
        if self._method.sees_all_pictures:
            old = [pictures for k in range(1, stage) for pictures in self._new_pictures(k)]
        if state and not self._method.sees_all_pictures:
            network = state.network()
        else:
            begun = self._run.checkpoints.load(stage) is not None
            fresh = self._settings.state_settings(stage, 1)
            network = fresh.empty_network() if begun else started(fresh, self._settings.weights)
        counts = tuple(len(pictures) for pictures in (*old, *new))
        network.to(self._device).to(memory_format=torch.channels_last)
        labels = np.repeat(np.arange(len(counts)), counts)
        images = self._images(Labelled(JoinedPictures(*old, *new), labels))
        merging = None
        if state:
            known = counts[: len(old)]
            merging = self._merging(stage, state.settings, network, images, known)
        merge = merging.merge if merging else None
        was_merged = state is not None and state.settings.block_tasks is not None
        first_classes = self._settings.horizon_sizes[0]
        task = TaskView(stage, first_classes, counts, len(old), merge, was_merged)
        recipe = self._settings.training_recipe(sum(counts))
        lesson = self._method.prepare(network, task, recipe)
        if lesson.phases:
            lead(partial(self._require_several, stage, counts))
        lesson.extras.to(self._device)  # made on the CPU, so that they start alike on every device
        self._reporter.task_started(task, self._settings.stage_count, len(images))
        keeper = EpochKeeper(self._run, self._reporter, self._deadline, self._forecast)
        seed = self._settings.seed
        seconds = train_task(network, lesson, images, task, seed, keeper, merging)
        told = Learned(stage, seconds, merging.result(accuracies) if merging else None)
        return lead(partial(self._finish_task, told, task, recipe, network, state, new, images))

    def _require_several(self, stage: int, counts: Sequence[int]) -> None:
        """Refuse a task of a single picture, before torch does in the middle of it."""
        if sum(counts) > 1:
            return
        # What `edgecil train` has started goes on with the same pictures alone.
        again = "give the same command" if self._settings.is_added(stage) else "begin another run"
        raise DataError(
            f"task {stage} has one picture to learn from in all, and BatchNorm cannot learn from "
            f"one; {again} with more pictures, or with more classes in the task"
        )

    def _merging(
        self,
        stage: int,
        before: StateSettings,
        network: ExpandableNetwork,
        images: Images,
        counts: Sequence[int],
    ) -> Merging | None:
        """What is merged before task `stage` adds a block; None where all blocks stay.

        Args:
            stage: the task.
            before: of the state before it.
            network: of that state.
            images: the task's, those of classes known before first.
            counts: how many of each of these.
        """
        kept = self._settings.blocks_kept(stage)
        if kept is None or len(network.blocks) <= kept:
            return None
        measure = partial(self._accuracies_before, stage, network)
        tasks = before.tasks_of_blocks
        if checkpoint := self._run.checkpoints.load(stage):
            merge = BlockMerge(checkpoint.groups or ())
            return Merging(merge, tasks, measure, checkpoint.merged_accuracy)
        return Merging(lead(partial(choose_merge, network, images, counts, kept)), tasks, measure)

    def _accuracies_before(
        self, stage: int, network: ExpandableNetwork, answer: Callable[[Tensor], Tensor]
    ) -> Accuracies:
        """What the tasks before `stage` have on their test pictures, with other logits."""
        sizes = [len(task.classes) for task in self._settings.tasks[: stage - 1]]
        test = self._library.test(stage - 1)
        if not len(test.labels):
            return (None,) * len(sizes)
        predicted = predicted_labels(network, self._test_images(network, test), answer)
        return tuple(accuracy_by_task(test.labels, predicted, sizes))

    def _finish_task(
        self,
        told: Learned,
        task: TaskView,
        recipe: Recipe,
        network: ExpandableNetwork,
        before: State | None,
        new: Sequence[Pictures],
        images: Images,
    ) -> Learned:
        """Write the state after training; returns `told` with the seconds this took, too."""
        started = time.perf_counter()
        self._method.finish(network, task, recipe)
        after = self._state_after(task, network, before, new, images)
        self._run.take_grown()
        bound_bytes = self._settings.budget_bytes if self._accounting.bounds_files else None
        self._run.checkpoints.note(told.after(started))
        after.write(self._run.state_folder, bound_bytes)
        self._run.checkpoints.delete_last()
        return told.after(started)

    def _state_after(
        self,
        task: TaskView,
        network: ExpandableNetwork,
        before: State | None,
        new: Sequence[Pictures],
        images: Images,
    ) -> State:
        """The state to keep: the network, and as many exemplars as the accounting allows.

        Args:
            task: the task.
            network: as trained.
            before: the state before it; None before the first.
            new: the pictures of each of its classes.
            images: what was trained on: the pictures of all classes, class by class.
        """
        settings = replace(
            self._settings.state_settings(task.stage, len(network.blocks)),
            block_tasks=block_tasks_after(task, before.settings if before else None),
        )
        kept = before.exemplars if before else self._no_exemplars()
        of_classes = torch.split(torch.arange(len(images)), list(task.class_counts))
        of_new = of_classes[task.known_classes :]
        if not self._method.keeps_exemplars:
            statistics = None
            if self._method.keeps_statistics:
                statistics = self._statistics_after(network, before, images, of_new)
                self._method.finish_from(network, statistics)
            none = kept.with_new_classes([()] * len(new))
            return State.of(settings, network.cpu(), none, statistics)
        candidates = [
            Candidates(pictures, class_features(network, images, indices), self._codec)
            for pictures, indices in zip(new, of_new, strict=True)
        ]
        bare = State.of(settings, network.cpu(), self._no_exemplars())
        budget_bytes, horizon = self._settings.budget_bytes, len(self._settings.horizon_sizes)
        offer = Offer(kept, candidates)
        chosen = self._accounting.chosen(offer, bare, budget_bytes, horizon)
        return replace(bare, exemplars=chosen)

    def _statistics_after(
        self,
        network: ExpandableNetwork,
        before: State | None,
        images: Images,
        of_new: Sequence[torch.Tensor],
    ) -> ClassStatistics:
        """What is known of the features of all classes, those of `network` as it will be kept."""
        round_as_kept(network, self._settings.precision)
        known = before.statistics() if before else None
        return with_new_classes(known, network, images, of_new)

    def _measured(self, told: Learned) -> StageResult:
        """Measure the state as it lies on disk: what was really kept, decoded."""
        started = time.perf_counter()
        state = State.read(self._run.state_folder)
        network = state.network().to(self._device)
        test = self._library.test(told.stage)
        images = self._test_images(network, test) if len(test.labels) else None
        predicted = predicted_labels(network, images) if images else test.labels
        classes = len(state.settings.classes)
        self._run.record_confusion(confusion_matrix(test.labels, predicted, classes))
        nearest_mean = None
        if self._method.nearest_mean and images:
            means = exemplar_means(network, state.exemplars, state.settings.preprocessing)
            nearest = predicted_labels(
                network, images, lambda pixels: nearest_mean_logits(network.features(pixels), means)
            )
            nearest_mean = percent_correct(test.labels, nearest)
        by_task = accuracy_by_task(test.labels, predicted, state.settings.task_sizes)
        ledger = Ledger.of_folder(self._run.state_folder)
        return StageResult(
            stage=told.stage,
            classes=classes,
            accuracy=percent_correct(test.labels, predicted),
            accuracy_by_task=tuple(by_task),
            measured_classes=len(np.unique(test.labels)),
            nearest_mean_accuracy=nearest_mean,
            state_bytes=ledger.total_bytes,
            bytes_by_owner=ledger.by_owner(),
            exemplars=len(state.exemplars),
            seconds=told.after(started).seconds,
            block_tasks=state.settings.block_tasks,
            merge=told.merge,
        )

    def _record(self, results: list[StageResult]) -> None:
        self._run.record(self._settings, results, self._device)
        self._run.checkpoints.delete_of(results[-1].stage)

    def _images(self, labelled: Labelled) -> Images:
        return images_on(
            self._device,
            labelled.pictures,
            labelled.labels,
            image_size_px=self._settings.image_size_px,
            mirrors=self._settings.mirrors,
            augment=self._settings.augment,
            shorter_side_px=self._settings.shorter_side_px,
            scratch=self._run.folder,
        )

    def _test_images(self, network: ExpandableNetwork, test: Labelled) -> PlainImages:
        return self._known_maps.of(network, test, self._images)

    def _no_exemplars(self) -> ExemplarSet:
        return ExemplarSet.empty(self._codec, self._settings.image_size_px)

    def _new_pictures(self, stage: int) -> list[Pictures]:
        """The pictures of task `stage`, class by class, as they are trained on."""
        splits = self._library.training(stage)
        found = []
        with work("encoding pictures", sum(map(len, splits))) as done:
            for split in splits:
                found.append(self._method.as_trained_on(split, self._codec))
                done(len(split))
        return found
