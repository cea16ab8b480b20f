"""The baselines as forecasters: what they are asked, honest candles, and the right law where the process is known."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from kronos import Forecaster
from kronos.bars import Timeframe, invalid
from kronos.bars.candles import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME
from kronos.errors import BarsError, ConfigError
from kronos.evaluate import crps, crps_gaussian
from kronos.evaluate.baselines.asking import Past
from kronos.evaluate.baselines.base import Baseline
from kronos.evaluate.baselines.bootstrap import BlockBootstrap
from kronos.evaluate.baselines.choosing import BASELINES, make_baseline
from kronos.evaluate.baselines.gaussian import Drift, Ewma, HistoricalVolatility
from kronos.evaluate.baselines.quantiles import paths_of_quantiles
from kronos.evaluate.baselines.seasonal import SeasonalVolatility
from kronos.evaluate.metrics.distribution import interval
from reference import bars_frame

OURS = [name for name in BASELINES if name not in ("arima", "ets")]  # those two need a package; they have a file
SIGMA = 0.01


@pytest.fixture(params=OURS)
def baseline(request: pytest.FixtureRequest) -> Any:
    return make_baseline(request.param)


def walk(changes: np.ndarray, start: str = "2024-01-01", freq: str = "1h") -> pd.DataFrame:
    """A frame whose closes made these log returns; bodies without wicks."""
    closes = 50 * np.exp(np.r_[0.0, changes.cumsum()])
    opens = np.r_[50.0, closes[:-1]]
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    columns = {"open": opens, "high": high, "low": low, "close": closes, "volume": 7.0, "amount": 7.0 * closes}
    return pd.DataFrame(columns, index=pd.date_range(start, periods=len(closes), freq=freq, name="timestamp"))


def past_of(frame: pd.DataFrame, horizon: int) -> Past:
    """A look-back of an hourly frame in order, unread: reading costs more than all that a simple baseline does."""
    future = pd.date_range(frame.index[-1], periods=horizon + 1, freq="1h")[1:]
    return Past("x", frame, future, Timeframe.parse("1h"), "24/7")


# What they are asked --------------------------------------------------------------------------------------------------


def test_a_forecast_is_one_of_valid_candles_that_tells_how_it_was_made(baseline: Any) -> None:
    bars = bars_frame(150)
    made = baseline.forecast(bars, 7, samples=30, seed=3)
    assert isinstance(baseline, Forecaster)
    assert made.paths.shape == (30, 7, 6)
    assert not invalid(made.paths).any()
    assert made.timestamps.equals(pd.date_range("2024-03-10 06:00", periods=7, freq="1h"))
    assert made.last_close == bars["close"].iloc[-1]
    assert made.timeframe == "1h"
    assert {key: made.meta[key] for key in ("model", "seed", "lookback")} == {
        "model": baseline.name, "seed": 3, "lookback": 150,
    }  # fmt: skip
    assert made.meta["fitted"]
    assert len(np.unique(made.paths[:, -1, CLOSE])) == 30


def test_equal_arguments_give_equal_paths_whatever_stands_beside_them(baseline: Any) -> None:
    first, second = bars_frame(120, seed=1), bars_frame(90, seed=2)
    alone = baseline.forecast(first, 5, samples=8, seed=1)
    beside = baseline.forecast({"b": second, "a": first, "again": first.copy()}, 5, samples=8, seed=1)
    assert list(beside) == ["b", "a", "again"]
    assert beside["a"].name == "a"
    np.testing.assert_allclose(beside["a"].paths, alone.paths, rtol=1e-9)
    np.testing.assert_array_equal(beside["a"].paths, beside["again"].paths)
    assert not np.allclose(baseline.forecast(first, 5, samples=8, seed=2).paths, alone.paths)
    again = pickle.loads(pickle.dumps(baseline))
    assert again.name == baseline.name
    np.testing.assert_array_equal(again.forecast([first], 5, samples=8, seed=1)[0].paths, alone.paths)


def test_what_stood_still_goes_on_standing_still(baseline: Any) -> None:
    still = walk(np.zeros(120))
    moving = bars_frame(120)
    made = baseline.forecast([moving, still], 4, samples=5)
    assert (made[1].paths[..., [OPEN, HIGH, LOW, CLOSE]] == 50.0).all()
    assert made[0].paths[..., CLOSE].std() > 0
    assert made[1].meta["fitted"] == {"still": True}


def test_volume_that_never_was_is_not_forecast(baseline: Any) -> None:
    bars = bars_frame(100).drop(columns=["volume", "amount"])
    made = baseline.forecast(bars, 3, samples=5)
    assert not made.paths[..., VOLUME:].any()


def test_too_short_a_look_back_is_refused(baseline: Any) -> None:
    with pytest.raises(BarsError, match=r"bars\[1\]: \d+ bars are too few for this baseline; it needs at least"):
        baseline.forecast([bars_frame(100), bars_frame(baseline.least - 1)], 3)
    assert baseline.forecast(bars_frame(baseline.least), 3, samples=2).horizon == 3


def test_given_times_are_taken_and_checked() -> None:
    bars = bars_frame(50)
    times = pd.DatetimeIndex(["2024-03-10", "2024-03-11"])
    assert list(Ewma().forecast([bars], 2, y_timestamp=[times])[0].timestamps) == list(times)
    assert list(Ewma().forecast({"a": bars}, 2, y_timestamp={"a": times})["a"].timestamps) == list(times)
    with pytest.raises(BarsError, match="2 times for a horizon of 3"):
        Ewma().forecast(bars, 3, y_timestamp=times)
    with pytest.raises(BarsError, match="must increase"):
        Ewma().forecast(bars, 2, y_timestamp=times[::-1])
    with pytest.raises(BarsError, match="time zone"):
        Ewma().forecast(bars, 2, y_timestamp=times.tz_localize("UTC"))
    with pytest.raises(ConfigError, match="1 entries for 2"):
        Ewma().forecast([bars, bars], 2, y_timestamp=[times])
    with pytest.raises(ConfigError, match="lacks b"):
        Ewma().forecast({"b": bars}, 2, y_timestamp={"a": times})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"horizon": 0}, "horizon"), ({"samples": 1.5}, "samples"), ({"seed": "x"}, "seed"), ({"samples": True}, "sam")],
)
def test_what_is_no_count_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Ewma().forecast(bars_frame(40), **{"horizon": 2, **wrong})


@pytest.mark.parametrize("data", [[], {}, "bars", 3])
def test_what_is_no_frame_is_refused(data: Any) -> None:
    with pytest.raises(BarsError):
        Ewma().forecast(data, 2)


def test_names() -> None:
    assert all(make_baseline(name).name == name for name in BASELINES)
    with pytest.raises(ConfigError, match="no baseline 'grach'; is 'garch' meant"):
        make_baseline("grach")
    with pytest.raises(ConfigError, match="chronos: needs weights"):
        make_baseline("chronos:")
    with pytest.raises(ConfigError, match="at least 2"):
        HistoricalVolatility(1)


# Candles around the closes --------------------------------------------------------------------------------------------


def diffused(rows: int, seed: int, pieces: int = 60) -> pd.DataFrame:
    """Candles of a Brownian motion, seen `pieces` times a bar: highs and lows as they come about."""
    random = np.random.default_rng(seed)
    inside = random.normal(0, SIGMA / np.sqrt(pieces), (rows, pieces)).cumsum(axis=1)
    ends = inside[:, -1].cumsum()
    logs = inside + (ends - inside[:, -1])[:, None]
    opens = np.r_[0.0, ends[:-1]]
    high, low = np.maximum(logs.max(axis=1), opens), np.minimum(logs.min(axis=1), opens)
    prices = np.exp(np.column_stack([opens, high, low, ends])) * 80
    index = pd.date_range("2024-01-01", periods=rows, freq="1h", name="timestamp")
    return pd.DataFrame(prices, index=index, columns=["open", "high", "low", "close"]).assign(
        volume=random.random(rows)
    )


def test_touch_probabilities_are_those_of_the_motion() -> None:
    # a bar's high is reached within it, which closes alone do not show: of them it is half as often
    level, random = 1.5 * SIGMA * np.sqrt(6), np.random.default_rng(9)
    inside = random.normal(0, SIGMA / np.sqrt(60), (10_000, 6 * 60)).cumsum(axis=1)
    true, of_closes = ((inside[:, ::step].max(axis=1) >= level).mean() for step in (1, 60))
    said = []
    for seed in range(20):
        made = HistoricalVolatility(390).forecast(diffused(400, seed), 6, samples=200)
        said += [made.prob_touch(made.last_close * np.exp(side * level)) for side in (1, -1)]
    assert np.mean(said) == pytest.approx(true, abs=0.012)
    assert of_closes < 0.6 * true


def test_candles_borrow_shape_and_volume_from_bars_that_moved_alike() -> None:
    random = np.random.default_rng(5)
    changes = random.normal(0, SIGMA, 300)
    bars = walk(changes)
    bars["high"] *= np.exp(0.5 * SIGMA)
    bars["low"] *= np.exp(-0.25 * SIGMA)
    bars["volume"] = np.r_[1.0, np.where(np.abs(changes) > 2 * SIGMA, 100.0, 1.0)]
    bars["amount"] = bars["volume"] * bars["close"]
    made = Ewma().forecast(bars, 12, samples=300)
    top = np.log(made.paths[..., HIGH] / made.paths[..., [OPEN, CLOSE]].max(axis=-1))
    bottom = np.log(made.paths[..., [OPEN, CLOSE]].min(axis=-1) / made.paths[..., LOW])
    assert top.mean() == pytest.approx(0.5 * SIGMA, rel=0.2)
    np.testing.assert_allclose(top, 2 * bottom, rtol=1e-6)  # of one donor
    before = np.concatenate([np.full((300, 1), made.last_close), made.paths[:, :-1, CLOSE]], axis=1)
    np.testing.assert_allclose(made.paths[..., OPEN], before)  # no gap was known, and none is made
    sizes = np.abs(np.log(made.paths[..., CLOSE] / before))
    loud = made.paths[..., VOLUME] == 100.0
    assert loud[sizes > 2.6 * SIGMA].mean() > 0.7
    assert loud[sizes < SIGMA].mean() < 0.02
    np.testing.assert_allclose(made.paths[..., AMOUNT], made.paths[..., VOLUME] * made.paths[..., CLOSE])


def test_wicks_grow_with_the_volatility() -> None:
    bars = bars_frame(300)
    wild = bars.copy()
    logs = np.log(wild[["open", "high", "low", "close"]].to_numpy() / 50)
    wild[["open", "high", "low", "close"]] = 50 * np.exp(3 * logs)
    made = [Ewma().forecast(frame, 10, samples=200).paths for frame in (bars, wild)]
    wick, thrice = (np.log(paths[..., HIGH] / paths[..., [OPEN, CLOSE]].max(axis=-1)).mean() for paths in made)
    assert thrice == pytest.approx(3 * wick, rel=0.1)


# The right law --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", [HistoricalVolatility(300), SeasonalVolatility(), BlockBootstrap(), Drift()])
def test_a_gaussian_walk_is_covered_as_often_as_said(baseline: Baseline) -> None:
    drift = 0.4 * SIGMA if isinstance(baseline, Drift) else 0.0
    changes = np.random.default_rng(1).normal(drift, SIGMA, (40, 300))
    walks = baseline.walks([past_of(walk(one), 10) for one in changes], 60, 0)
    moves = np.stack([one.moves for one in walks], axis=1)
    steps = np.arange(1, 11)
    mean, deviation = drift * steps, SIGMA * np.sqrt(steps)
    # what comes is known to be normal, so that what is expected of it needs no drawing
    for share, error in ((0.9, 0.02), (0.5, 0.03)):
        low, high = (norm.cdf(end, mean, deviation) for end in interval(moves, share))
        assert (high - low).mean() == pytest.approx(share, abs=error)
    ideal = deviation / np.sqrt(np.pi)
    between = np.abs(moves).mean(axis=0) - crps(moves, np.zeros((40, 10)))  # half the difference between paths
    expected = crps_gaussian(mean, deviation, moves).mean(axis=0) + ideal - between
    assert (expected / ideal).mean() == pytest.approx(1.0, abs=0.03)
    assert (expected / ideal).mean() > 0.99  # no law scores better than the true one


def test_hv20_and_ewma_are_as_wide_as_their_formulas() -> None:
    frame = bars_frame(100, seed=4)
    changes = np.diff(np.log(frame["close"].to_numpy()))
    variance = np.square(changes).mean()
    for change in changes:
        variance = 0.94 * variance + 0.06 * change**2
    for baseline, deviation in ((HistoricalVolatility(), changes[-20:].std()), (Ewma(), np.sqrt(variance))):
        made = baseline.forecast(frame, 4, samples=20_000)
        assert made.meta["fitted"]["deviation"] == pytest.approx(deviation, rel=1e-12)
        np.testing.assert_allclose(made.returns().std(axis=0), deviation * np.sqrt([1, 2, 3, 4]), rtol=0.03)
        np.testing.assert_allclose(made.returns().mean(axis=0), 0.0, atol=4 * deviation * 2 / np.sqrt(20_000))


def test_few_draws_flatter_nobody() -> None:
    # the fair CRPS rests on the mean difference between paths, which antithetic or stratified draws would widen
    frame = bars_frame(60)
    past = past_of(frame, 12)
    differences = []
    for seed in range(60):
        steps = np.diff(HistoricalVolatility().walks([past], 4, seed)[0].moves, axis=1, prepend=0.0)
        differences.append(np.abs(steps[:, None] - steps[None]).sum() / 12 / 12)
    deviation = np.diff(np.log(frame["close"].to_numpy()))[-20:].std()
    assert np.mean(differences) == pytest.approx(2 * deviation / np.sqrt(np.pi), rel=0.05)


def test_drift_counts_in_that_its_mean_is_an_estimate() -> None:
    frame = bars_frame(30, seed=2)
    changes = np.diff(np.log(frame["close"].to_numpy()))
    moves = Drift().forecast(frame, 20, samples=20_000).returns()[:, -1]
    assert moves.mean() == pytest.approx(20 * changes.mean(), abs=0.002)
    assert moves.std() == pytest.approx(changes.std(ddof=1) * np.sqrt(20 * (1 + 20 / 29)), rel=0.03)


def test_the_bootstrap_draws_blocks_of_centred_returns() -> None:
    changes = np.random.default_rng(3).normal(0.002, SIGMA, 216)
    frame = walk(changes)
    made = BlockBootstrap().forecast(frame, 12, samples=2000)
    assert made.meta["fitted"]["mean_length"] == pytest.approx(6.0)
    steps = np.diff(made.returns(), axis=1, prepend=0.0)
    away = np.abs(steps[..., None] - (changes - changes.mean()))
    assert away.min(axis=-1).max() < 1e-9
    drawn = away.argmin(axis=-1)
    assert ((drawn[:, 1:] - drawn[:, :-1]) % 216 == 1).mean() == pytest.approx(5 / 6, abs=0.01)
    assert np.bincount(drawn.ravel(), minlength=216).min() > 40  # of 111: everywhere, the ends included


def test_blocks_keep_what_hangs_together() -> None:
    shocks = np.random.default_rng(4).normal(0, SIGMA, 2001)
    frame = walk(shocks[1:] + 0.8 * shocks[:-1])
    moves = BlockBootstrap().forecast(frame, 40, samples=2000).returns()
    steps = np.diff(moves, axis=1, prepend=0.0)
    ratio = moves[:, -1].var() / steps.var() / 40
    assert ratio == pytest.approx(1 + 2 * 0.8 / 1.64 * (1 - 1 / 12.6), rel=0.15)  # 1 without dependence


# Seasons --------------------------------------------------------------------------------------------------------------


def test_the_wild_hour_and_the_wild_weekday_are_seen() -> None:
    index = pd.date_range("2024-01-01", periods=24 * 60, freq="1h")
    wild = np.where(index.hour[1:] == 14, 4.0, 1.0)
    changes = np.random.default_rng(1).normal(0, SIGMA, len(wild)) * wild
    made = SeasonalVolatility().forecast(walk(changes), 24, samples=10)
    steps = np.array(made.meta["fitted"]["steps"])
    assert made.timestamps[14].hour == 14
    others = np.delete(steps, 14)
    assert 2.8 < steps[14] / others.mean() < 5
    assert others.max() / others.min() < 1.6
    assert others.mean() == pytest.approx(SIGMA, rel=0.35)

    days = pd.bdate_range("2022-01-03", periods=400)
    weekend = np.where(days.day_of_week[1:] == 0, 2.5, 1.0)
    frame = walk(np.random.default_rng(2).normal(0, SIGMA, 399) * weekend, freq="B", start="2022-01-03")
    made = SeasonalVolatility().forecast(frame, 5, samples=10)
    steps = np.array(made.meta["fitted"]["steps"])
    monday = made.timestamps.day_of_week == 0
    assert 1.7 < steps[monday][0] / steps[~monday].mean() < 3


def test_chance_is_not_taken_for_a_season() -> None:
    pasts = [past_of(walk(one), 24) for one in np.random.default_rng(6).normal(0, SIGMA, (20, 400))]
    spreads = []
    for made in SeasonalVolatility().walks(pasts, 2, 0):
        steps = np.array(made.told["steps"])
        spreads.append(steps.std() / steps.mean())
    assert np.mean(spreads) < 0.08  # sixteen days an hour: the raw means would spread by .19


def test_a_clock_that_was_never_seen_and_a_day_and_a_half_have_no_season() -> None:
    changes = np.random.default_rng(0).normal(0, SIGMA, 399)
    frame = walk(changes, freq="5min")  # 33 hours
    made = SeasonalVolatility().forecast(frame, 12, samples=2)
    assert len(set(made.meta["fitted"]["steps"])) == 1
    weekly = walk(changes, freq="7D")
    assert len(set(SeasonalVolatility().forecast(weekly, 12, samples=2).meta["fitted"]["steps"])) == 1


# Paths through quantiles ----------------------------------------------------------------------------------------------


def test_paths_have_the_quantiles_they_were_made_of_and_hang_together_as_a_walk_does() -> None:
    levels = [0.1, 0.25, 0.5, 0.75, 0.9]
    values = np.array([[-2.0, -1.0, 0.5, 1.0, 4.0], [-4.0, -1.0, 0.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.0, 6.0]])
    paths = paths_of_quantiles(values, levels, 40_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.quantile(paths, levels, axis=0).T, values, atol=0.08)
    assert (paths[:, 0] > 4.0).mean() == pytest.approx(0.1, abs=0.01)
    assert paths[:, 0].max() > 8  # tails go on
    ranks = paths.argsort(axis=0).argsort(axis=0)
    expected = 6 / np.pi * np.arcsin(np.sqrt([1 / 2, 1 / 3, 2 / 3]) / 2)  # Spearman's of a Gaussian copula
    found = np.corrcoef(ranks.T)[[0, 0, 1], [1, 2, 2]]
    np.testing.assert_allclose(found, expected, atol=0.02)
    crossed = paths_of_quantiles(values[:, ::-1], levels, 100, np.random.default_rng(0))
    np.testing.assert_array_equal(crossed, paths_of_quantiles(values, levels, 100, np.random.default_rng(0)))
