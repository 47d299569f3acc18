"""Accuracies, against counts by hand."""

import numpy as np
import pytest

from edgecil.evaluation.accuracy import accuracy_by_task, percent_correct

LABELS = np.array([0, 0, 1, 2, 2, 2, 3])
PREDICTED = np.array([0, 1, 1, 2, 0, 2, 0])


def test_accuracy_is_the_share_of_right_labels_in_percent() -> None:
    assert percent_correct(LABELS, PREDICTED) == pytest.approx(100 * 4 / 7)
    assert percent_correct(LABELS[:0], PREDICTED[:0]) is None


def test_accuracy_by_task_counts_the_pictures_of_each_task_alone() -> None:
    by_task = accuracy_by_task(LABELS, PREDICTED, (2, 1, 1))
    assert by_task == pytest.approx([100 * 2 / 3, 100 * 2 / 3, 0.0])


def test_a_task_with_a_class_that_has_no_pictures_is_not_measured() -> None:
    # Five classes: the first two are a task, then two, of which class 3 has pictures, then one.
    labels, predicted = np.array([0, 1, 1, 3, 3]), np.array([0, 1, 0, 3, 3])
    assert accuracy_by_task(labels, predicted, (2, 2, 1)) == [pytest.approx(200 / 3), None, None]
    assert accuracy_by_task(labels[:0], predicted[:0], (2, 1)) == [None, None]
