"""Measuring drift: the same origins, forecast from look-backs of every length, each beside the trend and the truth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars import Forecast, Forecaster
from kronos.bars.candles import CLOSE
from kronos.data import Series, Windows
from kronos.errors import BarsError, ConfigError
from kronos.evaluate.protocols.drift import PLACE, DriftTask, trends_of, unit_of
from kronos.evaluate.rollouts import Trials, choose_origins


@dataclass(frozen=True)
class DriftResults:
    """What came out: a row for every model, length of the look-back and origin.

    Columns are `model lookback read series asset time before_cutoff calibration`, the trends `trend_5 ... trend_z`,
    and for each step h, in u: `mean_h` and `median_h` of the paths, and `came_h`.
    """

    task: DriftTask
    rows: pd.DataFrame
    left_out: Mapping[str, str] = field(default_factory=dict)
    still: int = 0
    """Origins left out because the price did not move before them."""

    @property
    def models(self) -> list[str]:
        """Whom it was about, in the order given."""
        return list(dict.fromkeys(self.rows["model"]))

    @property
    def trends(self) -> list[str]:
        """The names of the trends."""
        return [*(str(bars) for bars in self.task.trends), PLACE]


@dataclass(frozen=True)
class _Origin:
    """An origin as the judge knows it, before anybody forecasts."""

    number: int
    past: pd.DataFrame
    times: pd.DatetimeIndex
    closes: Any
    unit: float


def run_drift(
    task: DriftTask,
    series: Sequence[Series],
    models: Mapping[str, Forecaster],
    *,
    left_out: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> DriftResults:
    """Forecast every origin with every model from every length of the look-back; `say` hears of progress."""
    task.check()
    if not models:
        raise ConfigError("no model is to be judged; name at least one")
    windows = Windows(series, task.known, task.horizon, since=task.since, before=task.until)
    trials = Trials(windows, choose_origins(windows, task.origins))
    origins = [_origin(trials, number) for number in range(len(trials))]
    moving = [one for one in origins if np.isfinite(one.unit)]
    if not moving:
        raise BarsError(f"in none of {len(origins)} windows did the price move; there is no unit to measure drift in")
    places = trials.places()
    rows: list[dict[str, Any]] = []
    for name, model in models.items():
        for lookback in task.lookbacks:
            if say is not None:
                say(f"{name}: {len(moving)} forecasts from {lookback} bars")
            for first in range(0, len(moving), task.together):
                some = moving[first : first + task.together]
                for one, forecast in zip(some, _ask(model, task, some, lookback), strict=True):
                    place = {key: places[key][one.number] for key in places}
                    facts = {"model": name, "lookback": lookback, **place}
                    rows.append({**facts, **_row(task, one, forecast, lookback, trials.truth(one.number)[:, CLOSE])})
    return DriftResults(task, pd.DataFrame(rows), dict(left_out or {}), len(origins) - len(moving))


def _origin(trials: Trials, number: int) -> _Origin:
    closes = trials.past_closes(number)
    return _Origin(number, trials.past(number), trials.future_times(number), closes, unit_of(closes))


def _ask(model: Forecaster, task: DriftTask, origins: Sequence[_Origin], lookback: int) -> list[Forecast]:
    """Forecasts from frames that are cut to the look-back, so that every kind of forecaster obeys."""
    pasts = [one.past.iloc[-lookback:].copy() for one in origins]
    times = [one.times for one in origins]
    made = model.forecast(pasts, task.horizon, samples=task.samples, seed=task.seed, y_timestamp=times)
    if len(made) != len(pasts):
        raise ConfigError(f"{model.name} gave {len(made)} forecasts of {len(pasts)} series")
    return made


def _row(task: DriftTask, origin: _Origin, forecast: Forecast, lookback: int, truth: Any) -> dict[str, Any]:
    """Trends, what the forecast said, and what came."""
    last = float(origin.closes[-1])
    at = np.array(task.at) - 1
    units = origin.unit * np.sqrt(at + 1.0)
    moves = (forecast.returns()[:, at] + np.log(forecast.last_close / last)) / units  # (S, K)
    came = np.log(truth[at] / last) / units
    cutoff = forecast.meta.get("cutoff")
    day_after = None if cutoff is None else pd.Timestamp(cutoff) + pd.Timedelta(days=1)
    found: dict[str, Any] = {
        "calibration": forecast.meta.get("calibration"),
        "read": int(forecast.meta.get("lookback", lookback)),
        "before_cutoff": bool(day_after is not None and origin.times[0] < day_after),
    }
    trends = trends_of(origin.closes, lookback, task.trends)
    found |= {f"trend_{name}": value for name, value in trends.items()}
    for i, step in enumerate(task.at):
        found[f"mean_{step}"] = float(moves[:, i].mean())
        found[f"median_{step}"] = float(np.median(moves[:, i]))
        found[f"came_{step}"] = float(came[i])
    return found
