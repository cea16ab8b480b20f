"""Results of a benchmark whose truth is known: volatility that comes and goes, and forecasters that know more or less.

Every figure is made by `score_forecast` from paths, as in a real run; only the bars and the forecasters are invented.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars import Forecast
from kronos.evaluate.benchmark.results import Results
from kronos.evaluate.benchmark.tables import all_tables
from kronos.evaluate.benchmark.task import Task
from kronos.evaluate.scoring import score_forecast

LOOKBACK, HORIZON, STEPS, PATHS = 120, 12, (1, 6, 12), 40
FORECASTERS: dict[str, tuple[float, float, bool]] = {
    # by how much too wide; share of the true drift that is known; whether today's volatility is known
    "perfect": (1.0, 1.0, True),
    "narrow": (0.5, 0.0, True),
    "fhs": (1.0, 0.0, True),
    "ewma": (1.1, 0.0, True),
    "hv20": (1.0, 0.0, False),
}
SECONDS = {"perfect": 0.4, "narrow": 0.02, "fhs": 0.05, "ewma": 0.001, "hv20": 0.0004}
PLACES = (("crypto", "1h"), ("crypto", "1d"), ("us", "1d"), ("fx", "4h"))


def candles(rng: np.random.Generator, changes: np.ndarray, before: float) -> np.ndarray:
    """(..., B, 6) bars that close after these log returns (..., B)."""
    closes = before * np.exp(np.cumsum(changes, axis=-1))
    opens = np.concatenate([np.full((*closes.shape[:-1], 1), before), closes[..., :-1]], axis=-1)
    stretch = 1.0 + 0.3 * np.abs(changes).mean() * rng.random(closes.shape)
    highs, lows = np.maximum(opens, closes) * stretch, np.minimum(opens, closes) / stretch
    return np.stack([opens, highs, lows, closes, np.full_like(closes, 10.0), 10.0 * closes], axis=-1)


def world(rng: np.random.Generator, strength: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Bars known and to come, and the volatility and the drift that the horizon has."""
    levels = np.repeat(rng.choice([0.5, 1.0, 2.0], LOOKBACK // 20), 20)
    now = float(levels[-1])
    drift = float(rng.choice([-1.0, 1.0])) * strength * now * 0.01
    past = candles(rng, 0.01 * levels * rng.standard_normal(LOOKBACK), 100.0)
    changes = drift + 0.01 * now * rng.standard_normal(HORIZON)
    return past, candles(rng, changes, float(past[-1, 3])), now, drift


def said(
    rng: np.random.Generator, who: tuple[float, float, bool], past: np.ndarray, now: float, drift: float
) -> Forecast:
    """What this forecaster says."""
    wide, known, knows_now = who
    deviation = 0.01 * now if knows_now else float(np.diff(np.log(past[:, 3]))[-20:].std())
    last = float(past[-1, 3])
    paths = candles(rng, known * drift + wide * deviation * rng.standard_normal((PATHS, HORIZON)), last)
    return Forecast(paths, pd.date_range("2025-01-01", periods=HORIZON, freq="h"), last)


@lru_cache
def tables_of(results: Results) -> dict[str, pd.DataFrame]:
    """Its tables, made once."""
    return all_tables(results, price=0.1)


def part_of(results: Results, models: tuple[str, ...], origins: int | None = None) -> Results:
    """The same with only these models, and the first so many origins."""
    scores = results.scores[results.scores["model"].isin(models)]
    scores = scores if origins is None else scores[scores["number"] < origins]
    return replace(results, scores=scores, facts={name: results.facts[name] for name in models})


@lru_cache
def simulated(
    origins: int = 120,
    *,
    models: tuple[str, ...] = tuple(FORECASTERS),
    names: tuple[str, ...] | None = None,
    strength: float = 0.25,
    together: int = 6,
    cutoff: str | None = None,
    seed: int = 3,
) -> Results:
    """Results at so many origins, `together` of them at each moment; `names` are other names for the models.

    `strength` is that of the drift, in units of a bar's volatility. The results are shared by all tests: change none.
    """
    rng = np.random.default_rng(seed)
    called = dict(zip(models, names or models, strict=True))
    rows: list[dict[str, Any]] = []
    for number in range(origins):
        past, truth, now, drift = world(rng, strength)
        market, timeframe = PLACES[number // together % len(PLACES)]
        time = pd.Timestamp("2024-07-01") + pd.Timedelta(days=2 * (number // together))
        place = {
            "series": f"{market}/{timeframe}/A{number % together}",
            "market": market,
            "asset": f"{market} A{number % together}",
            "timeframe": timeframe,
            "time": time,
            "origin": time - pd.Timedelta(hours=1),
            "number": number,
            "regime": ("calm", "usual", "wild")[number % 3],
        }
        for name in models:
            forecast = said(rng, FORECASTERS[name], past, now, drift)
            figures = score_forecast(forecast, past, truth, STEPS)
            early = name == "perfect" and cutoff is not None and str(time)[:10] <= cutoff
            rows.append({"model": called[name], **place, "before_cutoff": early, "seconds": SECONDS[name], **figures})
    facts: dict[str, dict[str, Any]] = {
        called[name]: {
            "seconds": SECONDS[name],
            "samples": PATHS,
            "cutoff": cutoff if name == "perfect" else None,
            "baseline": name in ("fhs", "ewma", "hv20"),
        }
        for name in models
    }
    task = Task(name="simulated", data=("bars",), lookback=LOOKBACK, horizon=HORIZON, steps=STEPS, samples=PATHS)
    return Results(task, pd.DataFrame(rows), facts, {"short": ["us/1d/B"], "still": 3})
