"""Tests of two forecasters against statsmodels and the printed formula, and by simulation of what they believe."""

import numpy as np
import pytest
from scipy import stats

from kronos.errors import ConfigError
from kronos.evaluate.metrics.comparing import diebold_mariano, diebold_mariano_panel
from kronos.evaluate.metrics.long_run import automatic_lag
from kronos.evaluate.metrics.uncertainty import paired


def losses(seed: int, count: int, overlap: int = 1, gain: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of losses whose difference is a moving sum over `overlap` shocks."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_normal(count + overlap - 1)
    hard = rng.gamma(2, size=count)
    return hard + np.convolve(shocks, np.ones(overlap), "valid") - gain, hard


@pytest.mark.parametrize(("count", "horizon", "lags"), [(30, 1, 0), (80, 4, 3), (250, 12, 30), (60, 1, None)])
def test_it_is_the_regression_on_a_constant_with_a_correction(count: int, horizon: int, lags: int | None) -> None:
    from statsmodels.regression.linear_model import OLS

    ours, theirs = losses(count, count, horizon, 0.3)
    most = automatic_lag(count) if lags is None else lags
    fitted = OLS(ours - theirs, np.ones(count)).fit(cov_type="HAC", cov_kwds={"maxlags": most})
    shrunk = np.sqrt((count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count)
    found = diebold_mariano(ours, theirs, horizon, lags)
    assert found.difference == pytest.approx(fitted.params[0])
    assert found.statistic == pytest.approx(fitted.tvalues[0] * shrunk)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.statistic), count - 1))
    assert (found.freedom, found.observations) == (count - 1, count)
    low, high = found.interval(0.9)
    reach = stats.t.ppf(0.95, count - 1) * found.error
    assert [low, high] == pytest.approx([found.difference - reach, found.difference + reach])
    swapped = diebold_mariano(theirs, ours, horizon, lags)
    assert (swapped.statistic, swapped.p) == (pytest.approx(-found.statistic), pytest.approx(found.p))


@pytest.mark.parametrize("overlap", [1, 6])
def test_it_rejects_the_equal_rarely_and_the_worse_often(overlap: int) -> None:
    equal = [diebold_mariano(*losses(seed, 300, overlap), overlap).p < 0.05 for seed in range(200)]
    assert np.mean(equal) < 0.085
    naive = [diebold_mariano(*losses(seed, 300, overlap), 1, 0).p < 0.05 for seed in range(200)]
    assert (np.mean(naive) > 0.25) == (overlap > 1)  # who forgets that forecasts overlap finds edges everywhere
    better = [diebold_mariano(*losses(seed, 300, overlap, 1.6), overlap) for seed in range(60)]
    assert np.mean([one.p < 0.05 for one in better]) > 0.8
    assert all(one.difference < 0 for one in better)


def panel(seed: int, gain: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    times, assets = 60, 10
    hard = rng.gamma(2, size=(times, assets))
    ours = hard + rng.standard_normal((times, 1)) + 0.2 * rng.standard_normal((times, assets)) - gain
    names = np.tile([f"a{i}" for i in range(assets)], times)
    places = {"series": names, "asset": names, "time": np.repeat(np.arange(times), assets).astype("datetime64[h]")}
    return {**places, "crps": ours.ravel()}, {**places, "crps": hard.ravel()}


def test_a_panel_is_judged_by_its_clusters() -> None:
    ours, theirs = panel(1, 0.5)
    found = diebold_mariano_panel(ours, theirs)
    difference, error = paired(ours, theirs)
    assert (found.difference, found.error, found.statistic) == (difference, error, difference / error)
    assert (found.freedom, found.observations) == (19, 600)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.statistic), 19))
    equal = [diebold_mariano_panel(*panel(seed, 0.0)).p < 0.05 for seed in range(150)]
    assert np.mean(equal) < 0.08
    better = [diebold_mariano_panel(*panel(seed, 0.6)).p < 0.05 for seed in range(50)]
    assert np.mean(better) > 0.8
    ours["crps"][:10] = np.nan
    assert diebold_mariano_panel(ours, theirs).observations == 590


def test_the_same_losses_and_a_constant_gain() -> None:
    ours, _ = losses(0, 40)
    same = diebold_mariano(ours, ours)
    assert (same.difference, same.statistic, same.p) == (0.0, 0.0, 1.0)
    sure = diebold_mariano(np.zeros(40), np.ones(40))
    assert (sure.statistic, sure.p) == (-np.inf, 0.0)
    one, other = panel(2, 0.1)
    alone = {key: values[:10] for key, values in one.items()}, {key: values[:10] for key, values in other.items()}
    found = diebold_mariano_panel(*alone)  # one moment says nothing about another
    assert np.isnan([found.error, found.statistic, found.p]).all()
    assert np.isnan(found.interval()).all()


def test_what_is_refused() -> None:
    ours, theirs = losses(0, 40)
    for bad in ((ours, theirs[1:]), (ours[:1], theirs[:1]), (ours[:, None], theirs[:, None])):
        with pytest.raises(ConfigError, match="two rows"):
            diebold_mariano(*bad)
    with pytest.raises(ConfigError, match="leave out"):
        diebold_mariano(np.where(ours > 1, np.nan, ours), theirs)
    for horizon in (0, 40):
        with pytest.raises(ConfigError, match="horizon"):
            diebold_mariano(ours, theirs, horizon)
    with pytest.raises(ConfigError, match="lags"):
        diebold_mariano(ours, theirs, lags=40)
