"""The learner: from task to task, with nothing but the state in between."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

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
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import Images, JoinedPictures, Pictures, images_on
from edgecil.pictures.readers import death_of_readers_told
from edgecil.planning.accounting import ACCOUNTINGS
from edgecil.planning.candidates import Candidates, Offer
from edgecil.training.distributed import lead
from edgecil.training.loop import epoch_seed
from edgecil.training.run import Run
from edgecil.training.run_data import Labelled, RunData
from edgecil.training.settings import RunSettings
from edgecil.training.starting import started
from edgecil.training.stopping import Deadline
from edgecil.training.task import EpochKeeper, Reporter, train_task


class Learner:
    """Learns the tasks of a run that are not learned yet.

    Args:
        run: the run folder, started with these settings.
        settings: the run's settings.
        datasets: one per source of the settings; None for one that cannot be had any more.
        device: where to train.
        reporter: who is told.
        deadline: when to stop.
    """

    def __init__(
        self,
        run: Run,
        settings: RunSettings,
        datasets: Sequence[ImageDataset | None],
        device: torch.device,
        reporter: Reporter,
        deadline: Deadline,
    ) -> None:
        self._run, self._settings, self._device = run, settings, device
        self._reporter, self._deadline = reporter, deadline
        self._library = RunData(datasets, settings.tasks)
        self._method = method_named(settings.method, trunk=settings.trunk)
        self._codec = codec_named(settings.codec)
        self._accounting = ACCOUNTINGS[settings.accounting]

    @death_of_readers_told()
    def learn(self) -> list[StageResult]:
        """Learn every remaining task and measure what lacks a measurement.

        Returns:
            One result a task.

        Raises:
            Stopped: as it was asked to, with a checkpoint.
            BudgetError, TrainingError, DataError, StateError: training cannot go on.
        """
        lead(partial(recover, self._run.state_folder))
        state = State.read(self._run.state_folder) if self._run.state_folder.exists() else None
        learned = state.settings.stage if state else 0
        results = self._run.stage_results()[:learned]
        if learned and (not results or results[-1].stage < learned):
            # A crash came between the state and its measurement.
            results.append(lead(partial(self._measured, learned, 0.0)))
            lead(partial(self._record, results))
        for stage in range(learned + 1, self._settings.stage_count + 1):
            lead(self._deadline.check)
            seconds = self._learn_task(stage, state)
            results.append(lead(partial(self._measured, stage, seconds)))
            lead(partial(self._record, results))
            self._reporter.stage_finished(results[-1], Ledger.of_folder(self._run.state_folder))
            state = State.read(self._run.state_folder)
        return results

    def _learn_task(self, stage: int, state: State | None) -> float:
        """Train task `stage` from `state` and write the new state; returns the seconds it took."""
        torch.manual_seed(epoch_seed(self._settings.seed, stage, 0, -1))
        kept = state.exemplars if state else self._no_exemplars()
        new = self._new_pictures(stage)
        old: Sequence[Pictures] = kept.by_class()
        if self._method.sees_all_pictures:
            old = [pictures for k in range(1, stage) for pictures in self._new_pictures(k)]
        if state and not self._method.sees_all_pictures:
            network = state.network()
        else:
            begun = self._run.checkpoints.load(stage) is not None
            fresh = self._state_settings(stage, 1)
            network = fresh.empty_network() if begun else started(fresh, self._settings.weights)
        counts = tuple(len(pictures) for pictures in (*old, *new))
        lead(partial(_require_several, stage, counts))
        task = TaskView(stage, self._settings.horizon_sizes[0], counts, len(old))
        network.to(self._device).to(memory_format=torch.channels_last)
        recipe = self._settings.training_recipe(sum(counts))
        lesson = self._method.prepare(network, task, recipe)
        lesson.extras.to(self._device)  # made on the CPU, so that they start alike on every device
        labels = np.repeat(np.arange(len(counts)), counts)
        images = self._images(Labelled(JoinedPictures(*old, *new), labels))
        self._reporter.task_started(task, self._settings.stage_count, len(images))
        keeper = EpochKeeper(self._run, self._reporter, self._deadline)
        seconds = train_task(network, lesson, images, task, self._settings.seed, keeper)

        return seconds + lead(partial(self._finish_task, task, network, kept, new, images))

    def _finish_task(
        self,
        task: TaskView,
        network: ExpandableNetwork,
        kept: ExemplarSet,
        new: Sequence[Pictures],
        images: Images,
    ) -> float:
        """Write the state after training; returns the seconds it took."""
        started = time.perf_counter()
        self._method.finish(network, task)
        after = self._state_after(task, network, kept, new, images)
        bound_bytes = self._settings.budget_bytes if self._accounting.bounds_files else None
        after.write(self._run.state_folder, bound_bytes)
        self._run.checkpoints.delete()
        return time.perf_counter() - started

    def _state_after(
        self,
        task: TaskView,
        network: ExpandableNetwork,
        kept: ExemplarSet,
        new: Sequence[Pictures],
        images: Images,
    ) -> State:
        """The state to keep: the network, and as many exemplars as the accounting allows.

        Args:
            task: the task.
            network: as trained.
            kept: the exemplars of the classes before it.
            new: the pictures of each of its classes.
            images: what was trained on: the pictures of all classes, class by class.
        """
        settings = self._state_settings(task.stage, len(network.blocks))
        if not self._method.keeps_exemplars:
            return State.of(settings, network.cpu(), kept.with_new_classes([()] * len(new)))
        of_classes = torch.split(torch.arange(len(images)), list(task.class_counts))
        candidates = [
            Candidates(pictures, _class_features(network, images, indices), self._codec)
            for pictures, indices in zip(new, of_classes[task.known_classes :], strict=True)
        ]
        bare = State.of(settings, network.cpu(), self._no_exemplars())
        budget_bytes, horizon = self._settings.budget_bytes, len(self._settings.horizon_sizes)
        offer = Offer(kept, candidates)
        chosen = self._accounting.chosen(offer, bare, budget_bytes, horizon)
        return replace(bare, exemplars=chosen)

    def _measured(self, stage: int, seconds: float) -> StageResult:
        """Measure the state as it lies on disk: what was really kept, decoded."""
        started = time.perf_counter()
        state = State.read(self._run.state_folder)
        network = state.network().to(self._device)
        test = self._library.test(stage)
        images = self._images(test) if len(test.labels) else None
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
            stage=stage,
            classes=classes,
            accuracy=percent_correct(test.labels, predicted),
            accuracy_by_task=tuple(by_task),
            measured_classes=len(np.unique(test.labels)),
            nearest_mean_accuracy=nearest_mean,
            state_bytes=ledger.total_bytes,
            bytes_by_owner=ledger.by_owner(),
            exemplars=len(state.exemplars),
            seconds=seconds + time.perf_counter() - started,
        )

    def _record(self, results: list[StageResult]) -> None:
        self._run.record(self._settings, results, self._device)

    def _images(self, labelled: Labelled) -> Images:
        return images_on(
            self._device,
            labelled.pictures,
            labelled.labels,
            image_size_px=self._settings.image_size_px,
            mirrors=self._settings.mirrors,
            augment=self._settings.augment,
            shorter_side_px=self._settings.shorter_side_px,
        )

    def _no_exemplars(self) -> ExemplarSet:
        return ExemplarSet.empty(self._codec, self._settings.image_size_px)

    def _state_settings(self, stage: int, block_count: int) -> StateSettings:
        learned = self._settings.tasks[:stage]
        return StateSettings(
            method=self._settings.method,
            backbone=self._settings.backbone,
            cut=self._settings.cut,
            precision=self._settings.precision,
            codec=self._settings.codec,
            preprocessing=self._settings.preprocessing,
            mean=self._settings.mean,
            std=self._settings.std,
            block_count=block_count,
            classes=tuple(name for planned in learned for name in planned.classes),
            task_sizes=tuple(len(planned.classes) for planned in learned),
            origin=self._settings.origin,
        )

    def _new_pictures(self, stage: int) -> list[Pictures]:
        """The pictures of task `stage`, class by class, as they are trained on."""
        splits = self._library.training(stage)
        return [self._method.as_trained_on(split, self._codec) for split in splits]


def _class_features(
    network: ExpandableNetwork, images: Images, indices: torch.Tensor, batch_size: int = 256
) -> torch.Tensor:
    """Concatenated features of the plain images at `indices` (n,) -> (n, F) float32 on the CPU."""
    network.eval()
    with torch.inference_mode():
        batches = images.plain_batches(batch_size, indices)
        features = [network.features(pixels).cpu() for pixels, _ in batches]
    return torch.cat(features)


def _require_several(stage: int, counts: Sequence[int]) -> None:
    """Refuse a task of a single picture, before torch does in the middle of it."""
    if sum(counts) < 2:
        raise DataError(
            f"task {stage} has one picture to learn from in all, and BatchNorm cannot learn from "
            "one; add pictures, or give the task more classes (--base, --increment, --tasks)"
        )
