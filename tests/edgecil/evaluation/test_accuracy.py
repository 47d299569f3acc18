"""Accuracies, against counts by hand."""

import math

import numpy as np
import pytest

from edgecil.evaluation.accuracy import accuracy_by_task, percent_correct

LABELS = np.array([0, 0, 1, 2, 2, 2, 3])
PREDICTED = np.array([0, 1, 1, 2, 0, 2, 0])


def test_accuracy_is_the_share_of_right_labels_in_percent() -> None:
    assert percent_correct(LABELS, PREDICTED) == pytest.approx(100 * 4 / 7)
    assert math.isnan(percent_correct(LABELS[:0], PREDICTED[:0]))


def test_accuracy_by_task_counts_the_pictures_of_each_task_alone() -> None:
    by_task = accuracy_by_task(LABELS, PREDICTED, (2, 1, 1))
    assert by_task == pytest.approx([100 * 2 / 3, 100 * 2 / 3, 0.0])
