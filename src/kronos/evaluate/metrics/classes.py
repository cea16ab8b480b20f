"""Scores of classes: labels (N,) from 0 to C - 1 against labels that were said, or against probabilities (N, C)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError
from kronos.evaluate.metrics.points import ranks
from kronos.evaluate.metrics.probability import expected_calibration_error

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

LEAST = np.finfo(np.float64).eps  # of a probability, before its logarithm is taken


class PerClass(NamedTuple):
    """Figures of every class (C,); what cannot be known (nothing was said, or came) counts 0."""

    precision: Array
    recall: Array
    f1: Array
    support: Numbers


# Of labels ------------------------------------------------------------------------------------------------------------


def confusion_matrix(labels: ArrayLike, said: ArrayLike, classes: int | None = None) -> Numbers:
    """How often (C, C) each class (row) was called each class (column)."""
    truth, told = _labels(labels, said)
    most = int(max(truth.max(), told.max())) + 1
    count = most if classes is None else classes
    if count < most:
        raise ConfigError(f"a label is {most - 1}; of {count} classes the last is {count - 1}")
    return np.bincount(truth * count + told, minlength=count * count).reshape(count, count)


def accuracy(labels: ArrayLike, said: ArrayLike) -> float:
    """The share that was called rightly."""
    truth, told = _labels(labels, said)
    return float((truth == told).mean())


def balanced_accuracy(labels: ArrayLike, said: ArrayLike) -> float:
    """The mean recall of the classes that came: 1 / C for guessing, however unequal their shares."""
    found = per_class(confusion_matrix(labels, said))
    return float(found.recall[found.support > 0].mean())


def per_class(confusion: ArrayLike) -> PerClass:
    """Precision, recall, F1 and support of every class of a confusion matrix; their plain means are the macro ones."""
    table = np.asarray(confusion)
    hits, said, came = np.diag(table).astype(np.float64), table.sum(axis=0), table.sum(axis=1)
    return PerClass(
        precision=_ratio(hits, said), recall=_ratio(hits, came), f1=_ratio(2.0 * hits, said + came), support=came
    )


def matthews(confusion: ArrayLike) -> float:
    """Matthews' correlation of a confusion matrix, for any number of classes; 0 where all or nothing was said."""
    table = np.asarray(confusion, dtype=np.float64)
    total, said, came = table.sum(), table.sum(axis=0), table.sum(axis=1)
    shared = np.trace(table) * total - said @ came
    spread = (total**2 - said @ said) * (total**2 - came @ came)
    return float(shared / np.sqrt(spread)) if spread > 0 else 0.0


# Of probabilities -----------------------------------------------------------------------------------------------------


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of -log of the probability that the true class was given, which counts as at least 2.2e-16."""
    truth, told = _given(labels, probabilities)
    return float(-np.log(np.maximum(told[np.arange(len(truth)), truth], LEAST)).mean())


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance of the probabilities from the truth, summed over classes: 0 to 2.

    Of two classes it is twice `probability.brier`.
    """
    truth, told = _given(labels, probabilities)
    return float(np.square(told - np.eye(told.shape[1])[truth]).sum(axis=1).mean())


def top_label_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the likeliest class: is it right as often as its probability says?"""
    truth, told = _given(labels, probabilities)
    return expected_calibration_error(told.max(axis=1), told.argmax(axis=1) == truth, bins)


def roc_auc(positive: ArrayLike, scores: ArrayLike) -> float:
    """How often a positive case scores higher than a negative one, a tie counting half; .5 for guessing.

    Not a number where all cases are of one kind.
    """
    hits, numbers = _scored(positive, scores)
    count, others = int(hits.sum()), int((~hits).sum())
    if not count or not others:
        return float("nan")
    return float((ranks(numbers)[hits].sum() - count * (count + 1) / 2) / (count * others))


def average_precision(positive: ArrayLike, scores: ArrayLike) -> float:
    """Area under precision over recall, by steps: the mean precision at each positive case, ties taken together.

    The share of positive cases for guessing; not a number where there is none.
    """
    hits, numbers = _scored(positive, scores)
    if not hits.any():
        return float("nan")
    order = np.argsort(-numbers, kind="stable")
    taken = np.cumsum(hits[order])
    ends = np.append(np.flatnonzero(np.diff(numbers[order])), len(hits) - 1)  # of runs of equal scores
    precision, gained = taken[ends] / (ends + 1), np.diff(taken[ends], prepend=0)
    return float((precision * gained).sum() / hits.sum())


def class_scores(labels: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """All of it by name, of probabilities (N, C); the likeliest class is the one that was said.

    `precision recall f1` are macro means over all C classes; `roc_auc` and `average_precision` are means over classes
    against the rest, of two classes those of class 1; classes that did not come are left out of these.
    """
    truth, told = _given(labels, probabilities)
    said, classes = told.argmax(axis=1), told.shape[1]
    table = confusion_matrix(truth, said, classes)
    found, judged = per_class(table), [1] if classes == 2 else range(classes)
    areas = [roc_auc(truth == one, told[:, one]) for one in judged]
    precisions = [average_precision(truth == one, told[:, one]) for one in judged]
    return {
        "accuracy": accuracy(truth, said),
        "balanced_accuracy": balanced_accuracy(truth, said),
        "precision": float(found.precision.mean()),
        "recall": float(found.recall.mean()),
        "f1": float(found.f1.mean()),
        "matthews": matthews(table),
        "log_loss": log_loss(truth, told),
        "brier": brier_score(truth, told),
        "top_label_error": top_label_error(truth, told),
        "roc_auc": _mean(areas),
        "average_precision": _mean(precisions),
    }


def _mean(values: list[float]) -> float:
    there = [value for value in values if value == value]
    return sum(there) / len(there) if there else float("nan")


def _ratio(above: ArrayLike, below: ArrayLike) -> Array:
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def _labels(labels: ArrayLike, said: ArrayLike) -> tuple[Numbers, Numbers]:
    truth, told = np.asarray(labels), np.asarray(said)
    if truth.ndim != 1 or truth.shape != told.shape or not len(truth):
        raise ConfigError(f"labels are rows of equal length, at least one; the shapes are {truth.shape}, {told.shape}")
    for values in (truth, told):
        if values.dtype.kind not in "iub" or values.min() < 0:
            raise ConfigError("labels are whole numbers from 0")
    return truth.astype(np.int64), told.astype(np.int64)


def _given(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Numbers, Array]:
    told = np.asarray(probabilities, dtype=np.float64)
    truth, _ = _labels(labels, labels)
    if told.ndim != 2 or len(told) != len(truth) or told.shape[1] < 2:
        raise ConfigError(f"probabilities of {len(truth)} labels are ({len(truth)}, classes), not {told.shape}")
    if truth.max() >= told.shape[1]:
        raise ConfigError(f"a label is {truth.max()}; there are probabilities of {told.shape[1]} classes")
    if not ((told >= 0).all() and np.allclose(told.sum(axis=1), 1.0, atol=1e-4)):
        raise ConfigError("probabilities of the classes are at least 0 and add up to 1, row by row")
    return truth, told.clip(0.0, 1.0)


def _scored(positive: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Array]:
    hits, numbers = np.asarray(positive).astype(bool), np.asarray(scores, dtype=np.float64)
    if hits.ndim != 1 or hits.shape != numbers.shape or not len(hits):
        raise ConfigError(f"cases and scores are rows of equal length, not {hits.shape} and {numbers.shape}")
    if np.isnan(numbers).any():
        raise ConfigError("a score is not a number; leave such cases out")
    return hits, numbers
