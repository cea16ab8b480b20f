"""Scores of lines against scipy and scikit-learn, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from kronos.errors import ConfigError
from kronos.evaluate.metrics.points import correlation, direction, mae, mape, rank_correlation, ranks, rmse


def lines(seed: int = 0, shape: tuple[int, ...] = (3, 4, 30)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    came = 100 + rng.standard_normal(shape).cumsum(axis=-1)
    return came + rng.standard_normal(shape), came


def test_errors_are_those_of_another_library() -> None:
    said, came = lines()
    for row in np.ndindex(3, 4):
        one = came[row], said[row]
        assert mae(said, came)[row] == pytest.approx(metrics.mean_absolute_error(*one))
        assert rmse(said, came)[row] == pytest.approx(metrics.root_mean_squared_error(*one))
        assert mape(said, came)[row] == pytest.approx(100 * metrics.mean_absolute_percentage_error(*one))
        assert correlation(said, came)[row] == pytest.approx(stats.pearsonr(*one)[0])
        assert rank_correlation(said, came)[row] == pytest.approx(stats.spearmanr(*one)[0])


@settings(max_examples=25)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_ranks_share_what_is_equal(values: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(values), rng.permutation(values)])
    np.testing.assert_allclose(ranks(rows), stats.rankdata(rows, axis=-1))


@settings(max_examples=25)
@given(st.integers(3, 40), st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-50, 50))
def test_correlations_know_neither_scale_nor_level(count: int, seed: int, scale: float, shift: float) -> None:
    said, came = lines(seed, (count,))
    for measure in (correlation, rank_correlation):
        found = float(measure(said, came))
        assert -1 <= found <= 1
        assert float(measure(said * scale + shift, came)) == pytest.approx(found, abs=1e-6)
        assert float(measure(-said, came)) == pytest.approx(-found, abs=1e-6)
        assert float(measure(came, came)) == pytest.approx(1.0)


def test_a_line_that_stands_still_has_no_correlation() -> None:
    came = np.array([1.0, 2.0, 3.0])
    still = np.full(3, 0.1) * np.array([3.0, 3.0, 3.0])
    jitter = 0.3 + np.array([0.0, 5e-17, -5e-17])  # constant but for rounding
    for flat in (still, jitter):
        for measure in (correlation, rank_correlation):
            assert np.isnan(measure(flat, came))
            assert np.isnan(measure(came, flat))
    assert np.isnan(correlation([5.0], [3.0]))


def test_direction_by_hand() -> None:
    said, came = [101.0, 99.0, 100.0, 102.0, 100.0], [105.0, 105.0, 105.0, 100.0, 100.0]
    np.testing.assert_array_equal(direction(said, came, 100.0), [1.0, 0.0, 0.5, 0.5, 0.5])
    assert direction(-0.1, -3.0) == 1.0
    np.testing.assert_array_equal(direction([[1.0], [3.0]], [[1.0], [1.0]], [[2.0], [2.0]]), [[1.0], [0.0]])


def test_what_is_refused() -> None:
    for measure in (mae, rmse, mape, correlation, rank_correlation):
        for bad in (([1.0, 2.0], [1.0]), (1.0, 1.0), ([], [])):
            with pytest.raises(ConfigError, match="not compared"):
                measure(*bad)
    with pytest.raises(ConfigError, match="percentage"):
        mape([1.0, 2.0], [1.0, 0.0])
