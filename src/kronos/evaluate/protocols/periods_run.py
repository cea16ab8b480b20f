"""Running an evaluation by market period: every forecaster sees the same pasts, and every forecast is scored.

What the guide looks at (close correlation, direction, MAPE) stands beside what it leaves out: the CRPS, the coverage of
the 90 % band, the error of a forecast of no change, and how far the correlation of this very path with a random walk
strays from 0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast, Forecaster
from kronos.bars.candles import CLOSE
from kronos.data import Series
from kronos.data.sets.partition import asset_of
from kronos.errors import BarsError, ConfigError
from kronos.evaluate.protocols.periods import Period, PeriodsTask, Regime, describe, find_periods, regime_of
from kronos.evaluate.scoring import score_forecast

Array = NDArray[np.float64]

SCORED = (
    "crps", "hv20_crps", "cover50", "cover90", "width90", "close_correlation", "rank_correlation", "direction",
    "direction_steps", "mape", "said_return", "came_return",
)  # fmt: skip
"""Figures of `score_forecast` that are kept; means are over all steps of the predicted part."""

OWN = ("direction_bars", "mape_still", "correlation_chance")
"""Figures made here: bars whose direction was met, MAPE of no change, spread of the correlation by chance."""

_GROUPS = ("crps", "coverage", "points", "direction")  # of `score_forecast`
_WALKS = 1000  # random walks that a path is correlated with


@dataclass(frozen=True)
class View:
    """One period's last window, as whoever draws it sees it."""

    series: Series
    period: Period
    regime: Regime
    market: str
    """The regime in words."""
    forecasts: Mapping[str, Forecast]
    figures: Mapping[str, Mapping[str, Any]]
    lookback: int

    @property
    def origin(self) -> int:
        """The row of the first predicted bar."""
        return self.period.origins[-1]


@dataclass(frozen=True)
class PeriodResults:
    """What came out: a row per window and model, a row per period, and what was left out with the reason."""

    task: PeriodsTask
    scores: pd.DataFrame
    periods: pd.DataFrame
    left_out: Mapping[str, str]

    @property
    def models(self) -> list[str]:
        """Whom it was about, in the order given."""
        return list(dict.fromkeys(self.scores["model"]))


def run_periods(
    task: PeriodsTask,
    series: Sequence[Series],
    models: Mapping[str, Forecaster],
    *,
    say: Callable[[str], None] | None = None,
    show: Callable[[View], None] | None = None,
) -> PeriodResults:
    """Forecast every window of every period with every model, and score it.

    `say` hears of progress, `show` gets the forecasts of every period's last window, to draw them.
    """
    task.check()
    if not models:
        raise ConfigError("no model is to be judged; name at least one")
    walks = _standard_walks(task.horizon)
    rows: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for one in series:
        periods, short = find_periods(one, task)
        left_out |= {f"{one.name} {name}": reason for name, reason in short.items()}
        regimes = [regime_of(one, period.first, period.stop) for period in periods]
        words = describe(regimes)
        for number, (period, regime, market) in enumerate(zip(periods, regimes, words, strict=True), start=1):
            told.append(_place(one, period, regime, market, task.horizon))
            forecasts, scored = _judge(task, one, period, models, walks)
            rows += scored
            if say is not None:
                say(f"{one.name} {period.name}: period {number} of {len(periods)}")
            if show is not None:
                last = {row["model"]: row for row in scored if row["window"] == len(period.origins)}
                show(View(one, period, regime, market, forecasts, last, task.lookback))
    if not rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:5])
        raise BarsError(f"no period has room for a window of {task.lookback} + {task.horizon} bars ({reasons})")
    return PeriodResults(task, pd.DataFrame(rows), pd.DataFrame(told), left_out)


def _judge(
    task: PeriodsTask,
    series: Series,
    period: Period,
    models: Mapping[str, Forecaster],
    walks: Array,
) -> tuple[dict[str, Forecast], list[dict[str, Any]]]:
    """Every model's last forecast in a period, and a row of figures for each of its windows.

    The truth is cut out when all of them have spoken.
    """
    made = {name: _ask(model, task, series, period.origins) for name, model in models.items()}
    rows: list[dict[str, Any]] = []
    for name, forecasts in made.items():
        for number, (forecast, origin) in enumerate(zip(forecasts, period.origins, strict=True), start=1):
            past = np.array(series.bars[origin - task.lookback : origin])
            truth = np.array(series.bars[origin : origin + task.horizon])
            place: dict[str, Any] = {
                "model": name,
                "series": series.name,
                "asset": asset_of(series),
                "timeframe": series.timeframe,
            }
            place |= {"period": period.name, "window": number, "time": series.times[origin]}
            facts = {
                "origin": series.times[origin - 1],
                "before_cutoff": _seen(forecast, series.times[origin]),
                "calibration": forecast.meta.get("calibration"),
                "read": int(forecast.meta.get("lookback", task.lookback)),
            }
            rows.append({**place, **facts, **_figures(forecast, past, truth, walks)})
    return {name: forecasts[-1] for name, forecasts in made.items()}, rows


def _ask(model: Forecaster, task: PeriodsTask, series: Series, origins: Sequence[int]) -> list[Forecast]:
    """Forecasts of windows, from frames that hold nothing but their past."""
    pasts = [series.cut(origin - task.lookback, origin).frame() for origin in origins]
    times = [
        pd.DatetimeIndex(series.times[origin : origin + task.horizon].copy(), name="timestamp") for origin in origins
    ]
    made = model.forecast(pasts, task.horizon, samples=task.samples, seed=task.seed, y_timestamp=times)
    if len(made) != len(pasts):
        raise ConfigError(f"{model.name} gave {len(made)} forecasts of {len(pasts)} windows")
    return made


def _figures(forecast: Forecast, past: Array, truth: Array, walks: Array) -> dict[str, float]:
    """All figures of one forecast, every step of it counting alike."""
    steps = range(1, len(truth) + 1)
    found = score_forecast(forecast, past, truth, steps, wanted=_GROUPS)
    mean, came, last = forecast.paths[..., CLOSE].mean(axis=0), truth[:, CLOSE], float(past[-1, CLOSE])
    moved, true_moves = (np.sign(np.diff(np.log(path), prepend=math.log(last))) for path in (mean, came))
    return {
        **{name: found[name] for name in SCORED},
        "direction_bars": float((0.5 + 0.5 * moved * true_moves).mean()),
        "mape_still": float(100.0 * np.abs(last / came - 1.0).mean()),
        "correlation_chance": _chance(mean, walks),
    }


def _standard_walks(horizon: int) -> Array:
    """Random walks (W, H) without their means, of length one: a correlation with them is a dot product."""
    walks: Array = np.random.default_rng(0).standard_normal((_WALKS, horizon)).cumsum(axis=1)
    walks -= walks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(walks, axis=1, keepdims=True)
    found: Array = np.divide(walks, length, out=np.zeros_like(walks), where=length > 0)
    return found


def _chance(path: Array, walks: Array) -> float:
    """The root mean square correlation of a path with random walks; not a number for a path that stands still."""
    centred = path - path.mean()
    length = float(np.linalg.norm(centred))
    if length <= 1e-12 * float(np.abs(path).max()):
        return math.nan
    return float(np.sqrt(np.mean((walks @ (centred / length)) ** 2)))


def _seen(forecast: Forecast, time: np.datetime64) -> bool | None:
    """Whether the model may have seen these bars in training; None where it does not say how far it has seen."""
    if "cutoff" not in forecast.meta:
        return False  # nothing was trained
    cutoff = forecast.meta["cutoff"]
    return None if cutoff is None else bool(pd.Timestamp(time) < pd.Timestamp(cutoff) + pd.Timedelta(days=1))


def _place(series: Series, period: Period, regime: Regime, market: str, horizon: int) -> dict[str, Any]:
    """A row of the table of periods."""
    return {
        "series": series.name,
        "period": period.name,
        "first": series.times[period.first],
        "last": series.times[period.stop - 1],
        "bars": regime.bars,
        "log_return": regime.log_return,
        "volatility": regime.volatility,
        "trend": regime.trend,
        "market": market,
        "windows": len(period.origins),
        "apart": period.apart(horizon),
    }
