"""Scores of classes against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from kronos.errors import ConfigError
from kronos.evaluate.metrics import classes as ours


def guesses(count: int, classes: int, seed: int, digits: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities that know something about them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    odds = rng.gamma(1.0, size=(count, classes)) + 1.2 * np.eye(classes)[labels]
    said = (odds / odds.sum(axis=1, keepdims=True)).round(digits)
    return labels, said / said.sum(axis=1, keepdims=True)


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=15)
@given(st.integers(1, 80), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_labels(count: int, classes: int, seed: int) -> None:
    labels, told = guesses(count, classes, seed)
    said = told.argmax(axis=1)
    names = list(range(classes))
    table = ours.confusion_matrix(labels, said, classes)
    np.testing.assert_array_equal(table, metrics.confusion_matrix(labels, said, labels=names))
    found = ours.per_class(table)
    wanted = metrics.precision_recall_fscore_support(labels, said, labels=names, zero_division=0)
    for mine, theirs in zip((found.precision, found.recall, found.f1, found.support), wanted, strict=True):
        np.testing.assert_allclose(mine, theirs)
    assert ours.accuracy(labels, said) == pytest.approx(metrics.accuracy_score(labels, said))
    recalls = [np.mean(said[labels == one] == one) for one in np.unique(labels)]
    assert ours.balanced_accuracy(labels, said) == pytest.approx(np.mean(recalls))
    assert ours.matthews(table) == pytest.approx(metrics.matthews_corrcoef(labels, said), abs=1e-12)


@pytest.mark.parametrize("digits", [12, 1])
@pytest.mark.parametrize("classes", [2, 4])
def test_probabilities(classes: int, digits: int) -> None:
    labels, told = guesses(300, classes, 7, digits)
    found = ours.class_scores(labels, told)
    names = list(range(classes))
    held = np.maximum(told, np.finfo(float).eps)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, held / held.sum(1)[:, None], labels=names))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(labels, told, labels=names, scale_by_half=False))
    if classes == 2:
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, told[:, 1]))
        assert found["average_precision"] == pytest.approx(metrics.average_precision_score(labels, told[:, 1]))
    else:
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, told, multi_class="ovr"))
        one_hot = np.eye(classes)[labels]
        assert found["average_precision"] == pytest.approx(metrics.average_precision_score(one_hot, told))
    said = told.argmax(axis=1)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, said))
    for name, score in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        assert found[name] == pytest.approx(score(labels, said, average="macro"))


def test_the_likeliest_class_is_right_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    told = rng.dirichlet(np.ones(3), 20_000)
    labels = (told.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert ours.top_label_error(labels, told) < 0.015
    bold = told**2 / (told**2).sum(axis=1, keepdims=True)
    assert ours.top_label_error(labels, bold) > 0.08
    # by hand: two cases in one bin, said .9 and .92, one of them right
    assert ours.top_label_error([0, 1], [[0.9, 0.1], [0.92, 0.08]], 10) == pytest.approx(0.41)


def test_what_cannot_be_known() -> None:
    assert np.isnan(ours.roc_auc([1, 1], [0.2, 0.3]))
    assert np.isnan(ours.average_precision([0, 0], [0.2, 0.3]))
    assert ours.matthews(ours.confusion_matrix([0, 1, 1], [1, 1, 1])) == 0.0
    found = ours.class_scores([0, 0, 1], [[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.3, 0.6, 0.1]])
    assert found["roc_auc"] == 1.0  # of the classes that came
    assert ours.log_loss([0], [[0.0, 1.0]]) == pytest.approx(-np.log(np.finfo(float).eps))


def test_what_is_refused() -> None:
    for bad in (([0, 1], [0]), ([], []), ([0.5], [1]), ([-1], [0]), ([[0]], [[0]])):
        with pytest.raises(ConfigError, match="labels"):
            ours.confusion_matrix(*bad)
    with pytest.raises(ConfigError, match="a label is 3"):
        ours.confusion_matrix([0, 3], [0, 1], 3)
    for labels, told in (
        ([0], [[1.0]]),
        ([0], [0.5, 0.5]),
        ([2], [[0.5, 0.5]]),
        ([0], [[0.5, 0.6]]),
        ([0], [[-0.5, 1.5]]),
        ([0], [[np.nan, 1.0]]),
    ):
        with pytest.raises(ConfigError, match="probabilities"):
            ours.log_loss(labels, told)
    with pytest.raises(ConfigError, match="rows of equal length"):
        ours.roc_auc([1, 0], [0.5])
    with pytest.raises(ConfigError, match="not a number"):
        ours.average_precision([1, 0], [0.5, np.nan])
