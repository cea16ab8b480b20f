"""Adaptation: coverage comes back after the market has changed, states can be replayed, kept and trusted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kronos.bars import Forecast
from kronos.errors import BarsError, CheckpointError, ConfigError
from kronos.forecast.calibration import AdaptiveConformal, Calibration
from kronos.forecast.calibration.maps import SHARES
from kronos.forecast.calibration.online import EDGES, LIMIT
from kronos.forecast.calibration.tables import Table

SIGMA, HORIZON = 0.01, 4


def walk(
    seed: int, sigma: float = SIGMA, *, samples: int = 40, horizon: int = HORIZON, timeframe: str = "1h"
) -> Forecast:
    """A forecast that takes the market to be as calm as it always was."""
    closes = 50 * np.exp(np.random.default_rng(seed).normal(0, sigma, (samples, horizon)).cumsum(axis=1))
    times = pd.date_range("2024-01-01", periods=horizon, freq="1h", name="timestamp") + pd.Timedelta(hours=seed)
    return Forecast(np.stack([closes] * 4 + [np.ones_like(closes)] * 2, axis=-1), times, 50.0, timeframe=timeframe)


def truth(seed: int, sigma: float, horizon: int = HORIZON) -> np.ndarray:
    return 50 * np.exp(np.random.default_rng([seed, 9]).normal(0, sigma, horizon).cumsum())


def covers(forecast: Forecast, came: np.ndarray) -> tuple[float, float]:
    """How many bars the intervals of 90 and of 50 % hold."""
    low, first, third, high = np.quantile(forecast.paths[..., 3], (0.05, 0.25, 0.75, 0.95), axis=0, method="weibull")
    return float(((low <= came) & (came <= high)).mean()), float(((first <= came) & (came <= third)).mean())


def test_coverage_returns_after_the_market_has_changed() -> None:
    online = AdaptiveConformal()
    hits: dict[str, list[float]] = {"static": [], "adaptive": [], "half": []}
    for number in range(600):
        said, came = walk(number), truth(number, SIGMA if number < 250 else 2 * SIGMA)
        issued = online.apply(said)
        hits["static"].append(covers(said, came)[0])
        wide, half = covers(issued, came)
        hits["adaptive"].append(wide)
        hits["half"].append(half)
        online.observe(issued, came)
    assert abs(np.mean(hits["adaptive"][50:250]) - 0.9) < 0.03
    assert np.mean(hits["static"][250:]) < 0.65
    assert abs(np.mean(hits["adaptive"][300:]) - 0.9) < 0.03
    assert abs(np.mean(hits["half"][300:]) - 0.5) < 0.05
    assert 1.6 < online.factors("1h")[0, 2] < 2.6


def test_issued_and_raw_forecasts_teach_the_same() -> None:
    one, other = AdaptiveConformal(), AdaptiveConformal()
    for number in range(90):
        came = truth(number, 1.5 * SIGMA)
        one.observe(one.apply(walk(number)), came)
        other.observe(walk(number), came)
    np.testing.assert_allclose(one.factors("1h"), other.factors("1h"), atol=0.06)


def test_replay_gives_the_state_again_and_files_keep_it(tmp_path: Path) -> None:
    pairs = [(walk(n, timeframe="4h" if n % 3 else "1h"), truth(n, 3 * SIGMA)) for n in range(40)]
    first, second = AdaptiveConformal.replay(pairs), AdaptiveConformal.replay(pairs)
    assert first.groups == second.groups == {"1h": 14, "4h": 26}
    back = AdaptiveConformal.load(first.save(tmp_path / "state.json"))
    for group in ("1h", "4h"):
        np.testing.assert_array_equal(first.factors(group), second.factors(group))
        np.testing.assert_array_equal(first.factors(group), back.factors(group))
    assert (back.gamma, back.groups) == (first.gamma, first.groups)
    more = walk(99), truth(99, SIGMA)
    first.observe(*more)
    back.observe(*more)
    np.testing.assert_array_equal(first.factors("1h"), back.factors("1h"))
    np.testing.assert_array_equal(first.apply(walk(7)).paths, back.apply(walk(7)).paths)


def test_factors_are_bounded_and_belong_to_groups_and_ranges() -> None:
    online = AdaptiveConformal(gamma=1.0)
    for number in range(30):
        online.observe(walk(number), np.full(HORIZON, 500.0))
    factors = online.factors("1h")
    np.testing.assert_allclose(factors[:3], np.exp(LIMIT))  # steps 1, 2 and 3, 4
    np.testing.assert_array_equal(factors[3:], 1.0)
    np.testing.assert_array_equal(online.factors("1d"), np.ones((len(EDGES), len(SHARES))))
    online.observe(walk(1), truth(1, SIGMA)[:1], group="BTC")  # the first bar alone has come
    assert online.groups == {"1h": 30, "BTC": 1}
    assert (online.factors("BTC")[1:] == 1).all()
    assert (online.factors("BTC")[0] != 1).all()


def test_it_adapts_calibrated_forecasts_and_each_once() -> None:
    online = AdaptiveConformal()
    for number in range(50):
        online.observe(walk(number), truth(number, 2 * SIGMA))
    raw = walk(3)
    calibration = Calibration({"all": Table(steps=(1,), factors=(((1.2,) * 4,) * 2,))})
    both = online.apply(calibration.apply(raw))
    assert both.meta["calibration"] == calibration.id
    assert both.meta["adaptive"]["observed"] == 50
    assert both.returns().std() > calibration.apply(raw).returns().std() > raw.returns().std()
    order = np.argsort(raw.paths[:, -1, 3])
    assert (np.diff(both.paths[order, -1, 3]) > 0).all()
    with pytest.raises(ConfigError, match="adapted already"):
        online.apply(both)
    with pytest.raises(BarsError, match="have no intervals"):
        online.apply(walk(1, samples=10))


def test_truths_in_every_form_and_none_that_is_none() -> None:
    came = truth(5, SIGMA)
    candles = np.stack([came] * 6, axis=-1)
    frame = pd.DataFrame({"close": came})
    states = [AdaptiveConformal.replay([(walk(5), one)]).factors("1h") for one in (came, candles, frame)]
    np.testing.assert_array_equal(states[0], states[1])
    np.testing.assert_array_equal(states[0], states[2])
    for bad in (came[:0], -came, np.full(HORIZON, np.nan)):
        with pytest.raises(BarsError, match="positive prices"):
            AdaptiveConformal().observe(walk(5), bad)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        AdaptiveConformal(0)


@pytest.mark.parametrize(
    "change",
    [{"format": 9}, {"edges": [1]}, {"gamma": 7}, {"groups": {"1h": {"count": 1, "logs": [[0]]}}}, {"groups": 4}],
)
def test_states_that_are_none_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = AdaptiveConformal.replay([(walk(5), truth(5, SIGMA))]).save(tmp_path / "state.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match="not the state"):
        AdaptiveConformal.load(path)
