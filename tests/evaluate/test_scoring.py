"""Every figure of a forecast against its plain definition, written out once more in loops and pandas."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kronos import Forecast
from kronos.bars.candles import CLOSE, HIGH, LOW
from kronos.errors import BarsError, ConfigError
from kronos.evaluate.metrics.distribution import crps, crps_gaussian, interval, pinball, pit
from kronos.evaluate.metrics.joint import energy_score, variogram_score
from kronos.evaluate.scoring import BRIEF, FIGURES, GROUPS, score_forecast

STEPS = (1, 3, 12)


def candles(closes: np.ndarray, before: float, reach: np.ndarray) -> np.ndarray:
    opens = np.concatenate([np.full_like(closes[..., :1], before), closes[..., :-1]], axis=-1)
    high, low = np.maximum(opens, closes) * (1 + reach), np.minimum(opens, closes) * (1 - reach)
    return np.stack([opens, high, low, closes, np.ones_like(closes), closes], axis=-1)


def case(seed: int = 0, samples: int = 25, bars: int = 130, horizon: int = 12) -> tuple[Forecast, Any, Any]:
    rng = np.random.default_rng(seed)

    def walk(shape: tuple[int, ...], start: float) -> np.ndarray:
        closes = start * np.exp(rng.normal(0, 0.01, shape).cumsum(axis=-1))
        return candles(closes, start, np.abs(rng.normal(0, 0.003, shape)))

    past = walk((bars,), 40.0)
    last = float(past[-1, CLOSE])
    truth, paths = walk((horizon,), last), walk((samples, horizon), last)
    index = pd.date_range("2024-01-01", periods=horizon, freq="1h")
    return Forecast(paths, index, last), past, truth


def written_out(forecast: Forecast, past: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The table of figures as its sentences say, for the steps of this file."""
    closes, last = past[:, CLOSE], past[-1, CLOSE]
    changes = np.log(closes[1:] / closes[:-1])
    u = changes[-100:].std()
    said, came = np.log(forecast.paths[:, :, CLOSE] / last), np.log(truth[:, CLOSE] / last)
    horizon = len(came)
    found: dict[str, Any] = {"volatility_unit": u}
    rows: dict[str, list[float]] = {}
    for h in STEPS:
        x, y, unit = said[:, h - 1], came[h - 1], u * np.sqrt(h)
        one = {
            "crps": float(crps(x, y)) / unit,
            "hv20_crps": float(crps_gaussian(0.0, changes[-20:].std() * np.sqrt(h), y)) / unit,
            "pinball": np.mean([float(pinball(x, y, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)]) / unit,
            "pit": float(pit(x, y)),
            "up": float(forecast.prob_up().iloc[h - 1]),
            "rose": float(y > 0) + 0.5 * float(y == 0),
            "bias": (x.mean() - y) / unit,
            "mae": 100 * abs(np.log(forecast.paths[:, h - 1, CLOSE].mean() / truth[h - 1, CLOSE])),
        }
        one["brier"] = (one["up"] - one["rose"]) ** 2
        for share in (50, 80, 90, 95):
            low, high = interval(x, share / 100)
            one[f"cover{share}"], one[f"width{share}"] = float(low <= y <= high), float(high - low) / unit
        for name, value in one.items():
            rows.setdefault(name, []).append(value)
            if f"{name}_h" in FIGURES:
                found[f"{name}_{h}"] = value
    found |= {name: np.mean(values) for name, values in rows.items() if name in FIGURES}
    means, true = forecast.mean()["close"].to_numpy(), truth[:, CLOSE]
    up, down = last * np.exp(u * np.sqrt(horizon)), last * np.exp(-u * np.sqrt(horizon))
    votes = np.sign(said[:, -1]).sum()
    squares = [np.diff(path, prepend=0.0) @ np.diff(path, prepend=0.0) for path in said]
    one_bar = np.diff(came, prepend=0.0)
    ratio = (one_bar @ one_bar) / np.mean(squares)
    z = u * np.sqrt(np.arange(1, horizon + 1))
    found |= {
        "direction": 0.5 if votes == 0 else float((votes > 0) == (came[-1] > 0)),
        "direction_steps": np.mean((means > last) == (true > last)),
        "said_return": said[:, -1].mean(),
        "came_return": came[-1],
        "mape": 100 * np.mean(np.abs(means / true - 1)),
        "rmse": 100 * np.sqrt(np.mean((means - true) ** 2)) / last,
        "close_correlation": stats.pearsonr(means, true)[0],
        "rank_correlation": stats.spearmanr(means, true)[0],
        "touch_up": forecast.prob_touch(up),
        "touch_down": forecast.prob_touch(down),
        "touched_up": float((truth[:, HIGH] >= up).any()),
        "touched_down": float((truth[:, LOW] <= down).any()),
        "said_variance": np.mean(squares),
        "came_variance": one_bar @ one_bar,
        "qlike": ratio - np.log(ratio) - 1,
        "energy": energy_score(said / z, came / z),
        "variogram": variogram_score(said / z, came / z),
    }
    errors = [(found[f"touch_{way}"] - found[f"touched_{way}"]) ** 2 for way in ("up", "down")]
    return found | {"brier_touch": np.mean(errors)}


@pytest.mark.parametrize("seed", range(6))
def test_every_figure_is_what_its_sentence_says(seed: int) -> None:
    forecast, past, truth = case(seed)
    found, wanted = score_forecast(forecast, past, truth, STEPS), written_out(forecast, past, truth)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    assert all(type(value) is float for value in found.values())


def test_the_table_names_what_there_is() -> None:
    found = score_forecast(*case(), steps=(2,))
    assert {f"{name[:-1]}2" if name.endswith("_h") else name for name in FIGURES} == set(found)
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(FIGURES)
    assert set(BRIEF) <= set(FIGURES)
    assert all(line and "\n" not in line for line in FIGURES.values())


@pytest.mark.parametrize("group", [*GROUPS, "brief"])
def test_only_what_is_wanted(group: str) -> None:
    whole = score_forecast(*case())
    found = score_forecast(*case(), wanted=[group])
    assert found
    assert found.items() <= whole.items()
    names = BRIEF if group == "brief" else GROUPS[group]
    assert len(found) == sum(3 if name.endswith("_h") else 1 for name in names)
    assert score_forecast(*case(), wanted=group) == found
    assert score_forecast(*case(), wanted=[group, "pit"]).keys() >= found.keys() | {"pit_1"}


def test_steps_beyond_the_horizon_become_the_horizon() -> None:
    found = score_forecast(*case(horizon=10))
    assert [name for name in found if name.startswith("crps_")] == ["crps_1", "crps_6", "crps_10"]
    assert found == score_forecast(*case(horizon=10), steps=(10, 6, 1))


def test_units_make_quiet_and_wild_alike() -> None:
    forecast, past, truth = case(3)

    def wilder(bars: np.ndarray, factor: float) -> np.ndarray:
        copy = bars.copy()
        copy[..., :4] = 40.0 * (bars[..., :4] / 40.0) ** factor
        return copy

    wild = Forecast(wilder(forecast.paths, 3.0), forecast.timestamps, 40.0 * (forecast.last_close / 40.0) ** 3.0)
    calm, loud = score_forecast(*case(3)), score_forecast(wild, wilder(past, 3.0), wilder(truth, 3.0))
    same = (
        "crps",
        "hv20_crps",
        "pinball",
        "width90",
        "bias",
        "energy",
        "variogram",
        "touch_up",
        "brier_touch",
        "qlike",
    )
    for name in same:
        assert loud[name] == pytest.approx(calm[name], rel=1e-6, abs=1e-9), name
    assert loud["volatility_unit"] == pytest.approx(3 * calm["volatility_unit"])


def test_a_look_back_that_stood_still() -> None:
    forecast, past, truth = case()
    past[:, :4] = past[-1, CLOSE]
    found = score_forecast(forecast, past, truth)
    in_units = {"crps", "pinball", "width90", "bias", "energy", "variogram", "touch_up", "touched_down", "brier_touch"}
    assert all(np.isnan(found[name]) for name in in_units)
    fine = {name for name, value in found.items() if np.isfinite(value)}
    assert {"cover90", "pit_6", "brier", "mape", "close_correlation", "qlike"} <= fine
    assert found["volatility_unit"] == 0.0


def test_nothing_moves_at_all() -> None:
    forecast, past, _ = case()
    last = float(past[-1, CLOSE])
    flat = candles(np.full((25, 12), last), last, np.zeros((25, 12)))
    still = Forecast(flat, forecast.timestamps, last)
    found = score_forecast(still, past, flat[0])
    assert (found["direction"], found["direction_steps"], found["rose_6"], found["up_6"]) == (0.5, 0.5, 0.5, 0.5)
    assert (found["crps"], found["mape"], found["energy"]) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    assert np.isnan([found["close_correlation"], found["rank_correlation"], found["qlike"]]).all()
    moved = score_forecast(still, past, case(1)[2] * last / case(1)[1][-1, CLOSE])
    assert moved["qlike"] == np.inf
    assert moved["direction_steps"] == 0.5


def test_another_last_close_is_put_right() -> None:
    """A forecaster may have mended the last bar; what it says is still held against the close that was there."""
    forecast, past, truth = case()
    other = Forecast(forecast.paths, forecast.timestamps, forecast.last_close * 1.01)
    found, wanted = score_forecast(other, past, truth), score_forecast(forecast, past, truth)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-7, abs=1e-12), name


def test_what_is_refused() -> None:
    forecast, past, truth = case()
    with pytest.raises(BarsError, match="12 bars, of 11"):
        score_forecast(forecast, past, truth[1:])
    one = Forecast(forecast.paths[:1], forecast.timestamps, forecast.last_close)
    with pytest.raises(BarsError, match="1 paths"):
        score_forecast(one, past, truth)
    with pytest.raises(ConfigError, match="no volatility"):
        score_forecast(forecast, past[:2], truth)
    with pytest.raises(BarsError, match="past must be candles"):
        score_forecast(forecast, past[:, CLOSE], truth)
    broken = truth.copy()
    broken[4, LOW] = 0.0
    with pytest.raises(BarsError, match="truth, row 4: low is 0"):
        score_forecast(forecast, past, broken)
    for wanted in (["crsp"], [], "sharpe"):
        with pytest.raises(ConfigError, match="no group of figures"):
            score_forecast(forecast, past, truth, wanted=wanted)
    with pytest.raises(ConfigError, match="steps"):
        score_forecast(forecast, past, truth, steps=())
