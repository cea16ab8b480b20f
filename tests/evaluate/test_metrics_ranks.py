"""Cross-sections against alphalens, statsmodels and loops; and what a planted signal must show."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kronos.errors import ConfigError
from kronos.evaluate.metrics.long_run import automatic_lag, long_run_variance, overlapping_variance
from kronos.evaluate.metrics.ranks import (
    bucket_returns,
    decay,
    forward_returns,
    information_coefficients,
    rank_autocorrelation,
    skill,
)

DATES, ASSETS = 60, 23


def panel(seed: int, dates: int = DATES, assets: int = ASSETS) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=dates, freq="D", name="date")
    columns = pd.Index([f"a{i:02d}" for i in range(assets)], name="asset")
    return pd.DataFrame(np.random.default_rng(seed).standard_normal((dates, assets)), index, columns)


def related(seed: int = 0, share: float = 0.2) -> tuple[pd.DataFrame, pd.DataFrame]:
    signal = panel(seed)
    return signal, share * signal + panel(seed + 1)


def factor_data(signal: pd.DataFrame, returns: pd.DataFrame, buckets: int = 5) -> pd.DataFrame:
    """What alphalens works on."""
    utils = pytest.importorskip("alphalens.utils")
    table = pd.DataFrame({"1D": returns.stack(), "factor": signal.stack()})
    table.index = table.index.set_names(["date", "asset"])
    table["factor_quantile"] = utils.quantize_factor(table, quantiles=buckets)
    return table


def test_coefficients_are_those_of_another_library() -> None:
    performance = pytest.importorskip("alphalens.performance")
    signal, returns = related()
    wanted = performance.factor_information_coefficient(factor_data(signal, returns))["1D"]
    np.testing.assert_allclose(information_coefficients(signal, returns), wanted, rtol=1e-10)


def test_the_turnover_of_ranks_is_that_of_another_library() -> None:
    performance = pytest.importorskip("alphalens.performance")
    slow = panel(1).cumsum()
    for lag in (1, 5):
        wanted = performance.factor_rank_autocorrelation(factor_data(slow, panel(2)), lag)
        np.testing.assert_allclose(rank_autocorrelation(slow, lag), wanted, rtol=1e-10)
    assert rank_autocorrelation(slow, 1).iloc[20:].mean() > 0.9 > 0.5 > rank_autocorrelation(panel(3)).abs().mean()


@pytest.mark.parametrize("buckets", [2, 5, 7])
def test_buckets_are_those_of_another_library(buckets: int) -> None:
    performance = pytest.importorskip("alphalens.performance")
    signal, returns = related()
    table = factor_data(signal, returns, buckets)
    wanted, _ = performance.mean_return_by_quantile(table, by_date=True, demeaned=False)
    found = bucket_returns(signal, returns, buckets)
    assert found.columns.tolist() == list(range(1, buckets + 1))
    np.testing.assert_allclose(found, wanted["1D"].unstack("factor_quantile"), rtol=1e-10)
    means = found.mean()
    assert means.iloc[-1] > means.iloc[0] + 0.2


def test_what_is_missing_takes_no_part() -> None:
    signal, returns = related()
    signal.iloc[3, :15] = np.nan
    returns.iloc[3, 10:17] = np.inf
    returns.iloc[5, 2:] = np.nan  # two assets are left
    signal.iloc[7] = 0.1 * 3  # no order
    both = (
        information_coefficients(signal, returns, ranked=True),
        information_coefficients(signal, returns, ranked=False),
    )
    for found, measure in zip(both, (stats.spearmanr, stats.pearsonr), strict=True):
        assert np.isnan(found.iloc[[5, 7]]).all()
        assert found.iloc[3] == pytest.approx(measure(signal.iloc[3, 17:], returns.iloc[3, 17:])[0])
        assert found.iloc[0] == pytest.approx(measure(signal.iloc[0], returns.iloc[0])[0])
    held = bucket_returns(signal, returns, 5).iloc[[3, 5, 7]]
    assert held.iloc[0].notna().all()
    assert held.iloc[1].notna().tolist() == [True, False, False, False, True]
    assert held.iloc[2].notna().sum() == 1  # equal signals are one bucket
    assert held.iloc[2].mean() == pytest.approx(returns.iloc[7].mean())


def test_the_t_is_that_of_another_library() -> None:
    import statsmodels.api as sm

    coefficients = information_coefficients(*related()).rolling(4).mean()  # it remembers
    values = coefficients.dropna().to_numpy()
    for lags in (0, 3, 9):
        fitted = sm.OLS(values, np.ones(len(values))).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
        found = skill(coefficients, lags=lags)
        assert found.error == pytest.approx(fitted.bse[0])
        assert found.t == pytest.approx(fitted.tvalues[0])
        assert found.p == pytest.approx(2 * stats.t.sf(abs(fitted.tvalues[0]), len(values) - 1))
    found = skill(coefficients, periods=252)
    assert found.dates == 57
    assert found.error == skill(coefficients, lags=automatic_lag(57)).error
    assert found.mean == pytest.approx(values.mean())
    assert found.ratio == pytest.approx(values.mean() / values.std(ddof=1))
    assert found.annual_ratio == pytest.approx(found.ratio * np.sqrt(252))
    assert np.isnan(skill(coefficients).annual_ratio)
    assert found.positive == (values > 0).mean()


def test_the_long_run_variance_of_what_remembers() -> None:
    rng = np.random.default_rng(4)
    shocks = rng.standard_normal(200_000)
    series = shocks[1:] + 0.8 * shocks[:-1]
    assert long_run_variance(series, 0) == pytest.approx(1.64, rel=0.03)
    assert long_run_variance(series, 60) == pytest.approx(1.8**2, rel=0.05)
    assert long_run_variance([1.0, -1.0] * 20, 5) >= 0
    overlap = np.convolve(shocks[:60_000], np.ones(8), "valid")  # what 8 dates in a row have in common
    assert overlapping_variance(overlap, 8) == pytest.approx(64, rel=0.1)
    assert long_run_variance(overlap, 7) == pytest.approx(64 * 2 / 3, rel=0.1)
    assert overlapping_variance(overlap[:500], 1) == long_run_variance(overlap[:500])
    assert overlapping_variance([1.0, -1.0] * 20, 3) >= 0
    assert [automatic_lag(n) for n in (1, 2, 30, 100, 1000)] == [0, 1, 3, 4, 6]


def test_returns_ahead() -> None:
    closes = np.exp(panel(3, 6, 2).cumsum())
    found = forward_returns(closes, 2)
    assert found.iloc[1, 0] == pytest.approx(closes.iloc[3, 0] / closes.iloc[1, 0] - 1)
    assert found.iloc[-2:].isna().all(axis=None)


def test_a_signal_that_lives_three_dates_decays() -> None:
    signal = panel(6, 400, 30)
    shocks = panel(7, 400, 30)
    moves = 0.01 * (shocks + sum(0.5 * signal.shift(lag).fillna(0.0) for lag in (1, 2, 3)))
    closes = np.exp(moves.cumsum())
    table = decay(signal, closes, (1, 3, 10))
    assert table.index.tolist() == [1, 3, 10]
    found = information_coefficients(signal, forward_returns(closes, 3))
    assert table.loc[3, "mean"] == pytest.approx(found.mean())
    assert table.loc[3, "dates"] == 397
    assert table.loc[3, "mean"] > table.loc[1, "mean"] > 0.2  # three dates gather what one has a third of
    assert table.loc[10, "mean"] < table.loc[3, "mean"]
    assert (table["t"] > 3).all()
    late = decay(signal, closes, (1,), delay=3)
    assert abs(late.loc[1, "mean"]) < 4 * late.loc[1, "error"]
    assert decay(signal, closes, (1,), delay=2).loc[1, "mean"] > 0.2


def test_what_is_refused() -> None:
    signal, returns = related()
    with pytest.raises(ConfigError, match="same dates and assets"):
        information_coefficients(signal, returns.iloc[1:])
    with pytest.raises(ConfigError, match="same dates and assets"):
        bucket_returns(signal, returns.iloc[:, ::-1])
    with pytest.raises(ConfigError, match="empty"):
        information_coefficients(signal.iloc[:0], returns.iloc[:0])
    with pytest.raises(ConfigError, match="2 are needed"):
        skill(pd.Series([0.1, np.nan]))
    with pytest.raises(ConfigError, match="lags"):
        skill(pd.Series([0.1, 0.2]), lags=2)
    with pytest.raises(ConfigError, match="periods"):
        skill(pd.Series([0.1, 0.2]), periods=0)
    with pytest.raises(ConfigError, match="buckets"):
        bucket_returns(signal, returns, 1)
    with pytest.raises(ConfigError, match="look ahead"):
        decay(signal, returns, delay=-1)
    with pytest.raises(ConfigError, match="over 70 dates"):
        decay(signal, np.exp(returns), (70,))
    for call in (lambda: forward_returns(returns, 0), lambda: rank_autocorrelation(signal, 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            call()
    with pytest.raises(ConfigError, match="overlap"):
        skill(pd.Series([0.1, 0.2]), overlap=2)
    with pytest.raises(ConfigError, match="leave out"):
        long_run_variance([1.0, np.nan])
