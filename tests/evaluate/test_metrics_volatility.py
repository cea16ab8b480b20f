"""Realised variance by simulation, and scores of volatility against scikit-learn and statsmodels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.errors import BarsError, ConfigError
from kronos.evaluate.metrics.volatility import (
    garman_klass,
    mincer_zarnowitz,
    parkinson,
    qlike,
    r2,
    realised_variance,
    realised_volatility,
    volatility_scores,
)


def fine_candles(paths: int, bars: int, inside: int, sigma: float, seed: int = 0) -> np.ndarray:
    """(paths, bars, 6) of a walk that is looked at `inside` times a bar, of deviation `sigma` a bar."""
    shocks = np.random.default_rng(seed).normal(0, sigma / np.sqrt(inside), (paths, bars * inside))
    logs = np.concatenate([np.zeros((paths, 1)), shocks.cumsum(axis=1)], axis=1)
    opens = logs[:, :-1].reshape(paths, bars, inside)
    whole = np.concatenate([opens, logs[:, 1:].reshape(paths, bars, inside)[..., -1:]], axis=-1)
    candles = np.stack([whole[..., 0], whole.max(axis=-1), whole.min(axis=-1), whole[..., -1]], axis=-1)
    return np.concatenate([100 * np.exp(candles), np.ones((paths, bars, 2))], axis=-1)


def test_the_ranges_estimate_what_returns_estimate_and_surer() -> None:
    candles = fine_candles(60, 20, 2500, 0.02).reshape(-1, 1, 6)  # 1200 of one bar each
    closes = candles[:, 0, [0, 3]]
    found = [realised_variance(closes), parkinson(candles), garman_klass(candles)]
    for one, share in zip(found, (0.12, 0.07, 0.07), strict=True):  # three errors; a range seen 2500 times misses 3 %
        assert one.shape == (1200,)
        assert one.mean() == pytest.approx(0.02**2, rel=share)
    spread = [one.std() for one in found]
    assert spread[1] / spread[0] == pytest.approx(np.sqrt(0.2), rel=0.15)  # theory
    assert spread[2] / spread[0] == pytest.approx(np.sqrt(0.135), rel=0.15)
    np.testing.assert_allclose(realised_volatility(closes), np.sqrt(found[0]))


def test_variances_by_hand() -> None:
    assert realised_variance([1.0, np.e, 1.0]) == pytest.approx(2.0)
    candle = np.array([[1.0, np.e, 1.0, np.exp(0.5), 0.0, 0.0]])
    assert parkinson(candle) == pytest.approx(1 / (4 * np.log(2)))
    assert garman_klass(candle) == pytest.approx(0.5 - (2 * np.log(2) - 1) * 0.25)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6))
def test_qlike_is_least_where_it_agrees_and_knows_no_unit(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    came, factor = rng.gamma(2, size=50), np.exp(rng.normal(0, 1, 50))
    loss = qlike(came * factor, came)
    assert (loss >= 0).all()
    np.testing.assert_allclose(qlike(came, came), 0.0, atol=1e-15)
    np.testing.assert_allclose(qlike(unit * came * factor, unit * came), loss, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_less(qlike(came * 2, came), qlike(came / 2, came))  # too little costs more than too much


def test_the_mean_of_qlike_is_least_for_the_true_variance() -> None:
    came = 3.0 * np.random.default_rng(3).chisquare(1, 20_000)
    losses = [float(qlike(said, came[came > 0]).mean()) for said in (2.0, 2.7, 3.0, 3.3, 4.0)]
    assert np.argmin(losses) == 2


def test_qlike_at_the_edges() -> None:
    found = qlike([1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, np.e])
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == np.inf
    assert found[3] == pytest.approx(np.e - 2)
    with pytest.raises(ConfigError, match="variance"):
        qlike(-1.0, 1.0)


def test_scores_are_those_of_other_libraries() -> None:
    from sklearn import metrics
    from statsmodels.regression.linear_model import OLS
    from statsmodels.tools import add_constant

    rng = np.random.default_rng(5)
    said = rng.gamma(2, size=200)
    came = 0.1 + 0.6 * said * rng.gamma(3, 1 / 3, 200)
    found = volatility_scores(said, came)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(came, said))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(came, said))
    assert found["r2"] == pytest.approx(metrics.r2_score(came, said))
    fitted = OLS(came, add_constant(said)).fit()
    assert [found["intercept"], found["slope"]] == pytest.approx(fitted.params.tolist())
    assert found["regression_r2"] == pytest.approx(fitted.rsquared)
    ratio = came / said
    assert found["qlike"] == pytest.approx(np.mean(ratio - np.log(ratio) - 1))


def test_what_does_not_vary_has_no_share_explained() -> None:
    assert np.isnan(r2([1.0, 2.0], [3.0, 3.0]))
    assert np.isnan(mincer_zarnowitz([1.0, 1.0], [2.0, 3.0])).all()
    assert r2([2.0, 3.0], [2.0, 3.0]) == 1.0


def test_what_is_refused() -> None:
    for bad in ([1.0], [1.0, -2.0], [1.0, np.nan], 3.0):
        with pytest.raises(BarsError, match="closes"):
            realised_variance(bad)
    for bad in (np.ones((3, 5)), np.ones(6), np.zeros((2, 6))):
        with pytest.raises(BarsError, match="candles"):
            garman_klass(bad)
    for said, came in (([1.0], [1.0, 2.0]), ([], []), ([np.nan], [1.0])):
        with pytest.raises(ConfigError, match="what was said"):
            r2(said, came)
