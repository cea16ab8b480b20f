"""The drift report: planted leans are found again, the market's own is told apart, errors cover what they should."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.linear_model import OLS
from statsmodels.tools import add_constant

from kronos import Forecast, Forecaster
from kronos.data import Series
from kronos.errors import BarsError, ConfigError
from kronos.evaluate.protocols.drift import PLACE, DriftTask, trends_of, unit_of
from kronos.evaluate.protocols.drift_report import report_text, write_drift
from kronos.evaluate.protocols.drift_run import DriftResults, run_drift
from kronos.evaluate.protocols.drift_slope import binned, fit_slope, length_effect, slopes
from kronos.evaluate.protocols.drift_words import verdict

SIGMA = 0.01
TASK = DriftTask(lookbacks=(32, 64), horizon=12, steps=(1, 12), origins=80, samples=8)


def candles(closes: np.ndarray, before: float) -> np.ndarray:
    """Flat-bodied candles (..., H, 6) of closes (..., H)."""
    opens = np.concatenate([np.full_like(closes[..., :1], before), closes[..., :-1]], axis=-1)
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    return np.stack([opens, high, low, closes, np.ones_like(closes), closes], axis=-1)


def market(seed: int, momentum: float = 0.0, rows: int = 2500) -> Series:
    """Log closes of a random walk; with momentum, part of each return is the mean of the last 20."""
    rng = np.random.default_rng(seed)
    shocks = rng.normal(0, SIGMA, rows)
    if momentum:
        for t in range(20, rows):
            shocks[t] += momentum * shocks[t - 20 : t].mean()
    index = pd.date_range("2024-01-01", periods=rows, freq="1h", name="timestamp")
    columns = ["open", "high", "low", "close", "volume", "amount"]
    return Series.of(
        pd.DataFrame(candles(50 * np.exp(shocks.cumsum()), 50.0), index=index, columns=columns), f"w{seed}"
    )


class Leaning:
    """Paths whose end lies, in u, `lean` times the trend of the last 20 bars away, or back to the look-back's mean."""

    def __init__(self, lean: float = 0.0, drift: float = 0.0, back: float = 0.0) -> None:
        self.lean, self.drift, self.back, self.lengths = lean, drift, back, set[int]()

    @property
    def name(self) -> str:
        return "leaning"

    def forecast(self, data: Any, horizon: int, *, samples: int = 100, seed: int = 0, y_timestamp: Any = None) -> Any:
        found = []
        for frame, times in zip(data, y_timestamp, strict=True):
            self.lengths.add(len(frame))
            closes = frame["close"].to_numpy()
            unit = np.diff(np.log(closes)).std()
            trend = np.log(closes[-1] / closes[-21]) / (unit * np.sqrt(20))
            steps = np.arange(1, horizon + 1)
            away = (self.lean * trend + self.drift) * unit * steps / np.sqrt(horizon)
            away = away - self.back * np.log(closes[-1] / closes.mean()) * steps / horizon
            rng = np.random.default_rng([seed, int(frame.index[-1].value) % 2**32])
            paths = rng.normal(0, unit, (samples // 2, horizon)).cumsum(axis=1)
            paths = np.concatenate([paths, -paths]) + away  # in pairs: their mean is `away` to the last digit
            meta = {"lookback": min(len(frame), 48), "cutoff": "2024-02-01"}
            found.append(Forecast(candles(closes[-1] * np.exp(paths), closes[-1]), times, closes[-1], meta=meta))
        return found


def measured(task: DriftTask = TASK, momentum: float = 0.0, **models: Leaning) -> DriftResults:
    return run_drift(task, [market(seed, momentum) for seed in range(4)], models)


@pytest.fixture(scope="module")
def planted() -> DriftResults:
    assert isinstance(Leaning(), Forecaster)
    return measured(against=Leaning(-0.6), along=Leaning(0.2), neither=Leaning(drift=0.5))


@pytest.fixture(scope="module")
def table(planted: DriftResults) -> pd.DataFrame:
    return slopes(planted)


def row_of(table: pd.DataFrame, model: str, trend: str = "20", lookback: int = 64, step: int = 12) -> pd.Series:
    keys = {"model": model, "trend": trend, "lookback": lookback, "step": step}
    return table[(table[list(keys)] == pd.Series(keys)).all(axis=1)].iloc[0]


def test_planted_leans_are_found_again(table: pd.DataFrame) -> None:
    for model, lean in (("against", -0.6), ("along", 0.2), ("neither", 0.0)):
        for lookback in (32, 64):
            row = row_of(table, model, lookback=lookback)
            # the unit is of 100 returns, the forecaster's of what it sees: off by a tenth, with no relation to the lean
            assert row["said"] == pytest.approx(lean, abs=0.06), (model, lookback)
            assert abs(row["came"]) < 3.5 * row["came_se"]
            assert abs(row["excess"] - lean) < 3.5 * row["excess_se"] + 0.06
            assert row["said_se"] < 0.05
    assert row_of(table, "neither")["drift"] == pytest.approx(0.5, abs=0.05)
    # a drift that grows like h is, in u, sqrt(h) times smaller at h times fewer steps
    assert row_of(table, "neither", step=1)["drift"] == pytest.approx(0.5 / np.sqrt(12), abs=0.03)


def test_the_sentences_say_it(planted: DriftResults, table: pd.DataFrame) -> None:
    told = verdict(planted, table)
    names = ("against", "along", "neither")
    against, along, neither = (next(line for line in told if line.startswith(f"{who}, 64")) for who in names)
    assert "lean against the trend of the last 20 bars by 0.6" in against
    assert "biased towards the mean" in against
    assert "lean with the trend" in along
    assert "do not clearly lean" in neither
    assert "no bias" in neither


def test_a_market_with_momentum_is_no_bias_of_the_forecast() -> None:
    """Where the market itself goes on, who says so is right, and who says nothing leans back beside it."""
    table = slopes(measured(momentum=0.8, right=Leaning(0.3), flat=Leaning()))
    came = row_of(table, "flat")["came"]
    assert came > 3 * row_of(table, "flat")["came_se"] > 0
    assert row_of(table, "flat")["excess"] == pytest.approx(-came, abs=0.03)
    assert abs(row_of(table, "right")["excess"]) < abs(row_of(table, "flat")["excess"])


def test_a_price_scale_draws_back_to_its_mean_and_the_length_shows() -> None:
    """Going back to the mean of the look-back: against the place in it, and the more the longer it is."""
    results = measured(back=Leaning(back=0.5))
    table = slopes(results)
    assert row_of(table, "back", PLACE)["said"] < -5 * row_of(table, "back", PLACE)["said_se"]
    effect = length_effect(results, "back", "100", 12)
    assert effect.slope < -3 * effect.error
    same = length_effect(measured(lean=Leaning(-0.3)), "lean", "20", 12)
    assert abs(same.slope) < 0.08
    assert any("it depends on the length" in line for line in verdict(results, table, trend="100"))


def test_the_slope_is_that_of_statsmodels_and_its_error_holds() -> None:
    rng = np.random.default_rng(0)
    count = 600
    times, assets = np.arange(count), np.repeat(list("abcd"), count // 4)
    outside = []
    for _ in range(60):
        x = rng.normal(0, 1, count)
        y = 0.1 + 0.25 * x + rng.standard_t(4, count) * (1 + x**2)
        line = fit_slope(x, y, assets, times)
        outside.append(abs(line.slope - 0.25) > 2 * line.error)
    fit = OLS(y, add_constant(x)).fit(cov_type="HC0")
    assert line.slope == pytest.approx(fit.params[1])
    assert line.error >= 0.99 * fit.bse[1]  # clusters may add to it
    assert line.error < 2 * fit.bse[1]
    assert np.mean(outside) < 0.12


def test_shocks_that_last_make_the_error_larger() -> None:
    rng = np.random.default_rng(1)
    x = np.repeat(rng.normal(0, 1, 20), 30) + 0.1 * rng.normal(0, 1, 600)
    y = np.repeat(rng.normal(0, 1, 20), 30) + 0.1 * rng.normal(0, 1, 600)
    line = fit_slope(x, y, np.repeat("a", 600), np.arange(600))
    assert line.error > 3 * OLS(y, add_constant(x)).fit(cov_type="HC0").bse[1]


def test_what_cannot_be_fitted_is_not_a_number() -> None:
    assert np.isnan(fit_slope([1.0] * 30, np.arange(30.0), ["a"] * 30, range(30)).slope)
    few = fit_slope(np.arange(10.0), np.arange(10.0), ["a"] * 10, range(10))
    assert np.isnan(few.slope)
    assert few.origins == 10
    holes = fit_slope([np.nan, *np.arange(30.0)], [1.0, *np.arange(30.0)], ["a"] * 31, range(31))
    assert (holes.slope, holes.origins) == (pytest.approx(1.0), 30)


def test_bins_hold_every_origin_once() -> None:
    x = np.random.default_rng(2).normal(0, 1, 100)
    at, means, errors = binned(x, 2 * x, bins=7)
    assert len(at) == 7
    np.testing.assert_allclose(means, 2 * at)
    assert (np.diff(at) > 0).all()
    assert (errors > 0).all()
    assert len(binned(x[:4], x[:4])[0]) == 1


def test_trends_are_in_the_unit_of_a_random_walk() -> None:
    closes = np.exp(np.arange(120) * 0.01 + 0.002 * (-1.0) ** np.arange(120))
    unit = unit_of(closes)
    found = trends_of(closes, 32, (5, 20))
    assert found["20"] == pytest.approx(0.2 / (unit * np.sqrt(20)), rel=1e-6)
    assert found[PLACE] == pytest.approx((closes[-1] - closes[-32:].mean()) / closes[-32:].std())
    assert np.isnan(unit_of(np.full(120, 5.0)))


def test_forecasters_see_their_look_back_and_no_more() -> None:
    """Nothing after the origin and nothing before the look-back changes a forecast."""
    one = market(7)
    seen = Leaning(-0.3)
    first = run_drift(TASK, [one], {"a": seen}).rows
    assert seen.lengths == {32, 64}
    bars = one.bars.copy()
    last = one.times.searchsorted(first["time"].to_numpy()[:1])[0]  # of the first origin
    bars[last:, :4] *= 1.5
    bars[: last - 64, :4] *= 0.7
    changed = run_drift(TASK, [Series(**{**one.__dict__, "bars": bars})], {"a": Leaning(-0.3)}).rows
    np.testing.assert_array_equal(first["time"], changed["time"])
    unit = [unit_of(some[last - TASK.known : last, 3]) for some in (one.bars, bars)]
    assert changed["mean_12"][0] * unit[1] == pytest.approx(first["mean_12"][0] * unit[0])
    assert changed["came_12"][0] != pytest.approx(first["came_12"][0], rel=0.1)


def test_still_series_and_senseless_tasks_are_refused() -> None:
    flat = market(0)
    still = Series(**{**flat.__dict__, "bars": np.full_like(flat.bars, 5.0)})
    with pytest.raises(BarsError, match="did the price move"):
        run_drift(TASK, [still], {"a": Leaning()})
    mixed = run_drift(TASK, [still, flat], {"a": Leaning()})
    assert mixed.still == 40
    with pytest.raises(ConfigError, match="lookbacks"):
        run_drift(DriftTask(lookbacks=(64, 4)), [flat], {"a": Leaning()})
    with pytest.raises(ConfigError, match="twice"):
        DriftTask(trends=(5, 5)).check()
    with pytest.raises(ConfigError, match="no model"):
        run_drift(TASK, [flat], {})


def test_the_report_is_written_whole(planted: DriftResults, tmp_path: Path) -> None:
    some = planted.rows[planted.rows["model"].isin(["against"])]
    results = replace(planted, rows=some, task=planted.task.model_copy(update={"trends": (20,)}))
    tree = write_drift(results, tmp_path)
    assert json.loads((tmp_path / "drift.json").read_text(encoding="utf-8")) == tree
    assert len(tree["slopes"]) == 2 * 2 * 2
    assert len(pd.read_csv(tmp_path / "slopes.csv")) == len(tree["slopes"])
    assert len(pd.read_csv(tmp_path / "drifts.csv")) == 2 * 80
    pictures = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert pictures == ["lean_01_against.png", "slopes.png"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(f"pictures/{name}" in page for name in pictures)
    text = report_text(results)
    assert "biased towards the mean" in text
    assert "read 48 bars where it was given 64" in text
    assert "lie before its cut-off" in text
