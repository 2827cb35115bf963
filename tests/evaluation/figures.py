"""The figures of predictions, by name."""

from collections.abc import Sequence

import numpy as np

from fo1.evaluation.prediction import Prediction
from fo1.evaluation.task import AnyTask


def shares(task: AnyTask, predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return shares from 0 to 1."""
    weights = np.ones((1, len(task.picture_names)))
    return {one.name: float(one.values[0]) for one in task.measure(predictions, weights)}


def percents(task: AnyTask, predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return figures in their units, shares in percent."""
    weights = np.ones((1, len(task.picture_names)))
    return {one.name: one.estimate.value for one in task.measure(predictions, weights)}
