"""Evaluation by market period, as data: which stretches of which series are judged, and what the market did in each.

A period is a calendar month (or week, quarter, year), or a span that somebody named. In each one a window of `bars`
bars is taken; the first `share` of it is known, the rest is to be predicted. A single window says little, so several
may be taken per period.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from kronos.bars import inspect
from kronos.bars.candles import CLOSE
from kronos.config import Settings
from kronos.data import Series, load_series
from kronos.data.sets.windows import nanoseconds_of
from kronos.errors import BarsError, ConfigError

LEAST_LOOKBACK = 24  # bars: fewer have no volatility to measure anything in
MIXED = "mixed_series"  # what the inspection calls bars of two contracts in one series

_LETTERS = {"week": "W", "month": "M", "quarter": "Q", "year": "Y"}


class Span(Settings):
    """A period with a name; bars from `since` on, up to `until`, which is not in it."""

    name: str = Field(min_length=1)
    since: date | str
    until: date | str


class PeriodsTask(Settings):
    """What is judged; the defaults are the guide's: 600 bars of each month, the last fifth of them predicted."""

    every: Literal["week", "month", "quarter", "year"] = "month"
    periods: tuple[Span, ...] = ()
    """Spans instead of the calendar's periods."""
    since: date | str | None = None
    until: date | str | None = None
    bars: int = Field(default=600, ge=2)
    share: float = Field(default=0.8, gt=0, lt=1)
    windows: int = Field(default=1, ge=1)
    """Windows in each period, spread evenly; one alone is the last that fits."""
    history: Literal["inside", "before"] = "inside"
    """Whether all of a window lies in its period, or the known part may begin before it."""
    samples: int = Field(default=100, ge=2)
    seed: int = 0

    @property
    def lookback(self) -> int:
        """How many bars are known."""
        return self.bars - self.horizon

    @property
    def horizon(self) -> int:
        """How many bars are to be predicted."""
        return max(self.bars - round(self.bars * self.share), 1)

    def check(self) -> None:
        """Refuse windows that cannot be judged, and names that cannot be told apart."""
        if self.lookback < LEAST_LOOKBACK:
            raise ConfigError(
                f"bars {self.bars} and share {self.share:g} leave {self.lookback} bars of history; "
                f"at least {LEAST_LOOKBACK} are needed"
            )
        names = [one.name for one in self.periods]
        if len(set(names)) < len(names):
            raise ConfigError("two periods have the same name; every period needs its own")
        for one in self.periods:
            if nanoseconds_of(one.since, one.name) >= nanoseconds_of(one.until, one.name):
                raise ConfigError(f"period '{one.name}': {one.until} does not lie after {one.since}")


@dataclass(frozen=True)
class Period:
    """A stretch of a series: its rows [first, stop), and the rows at which its windows begin to be predicted."""

    name: str
    first: int
    stop: int
    origins: tuple[int, ...] = ()

    def apart(self, horizon: int) -> float:
        """As how many windows they count that share no predicted bar: 3 windows moved by half a horizon are 2."""
        return 1 + sum(min(1.0, (b - a) / horizon) for a, b in zip(self.origins, self.origins[1:], strict=False))


@dataclass(frozen=True)
class Regime:
    """What the market did in a period: log return, volatility of a bar, and the trend in units of a random walk."""

    bars: int
    log_return: float
    volatility: float
    trend: float
    """The return over volatility x sqrt(bars): beyond -2 and 2 a random walk goes one time in twenty."""


def usable_series(
    place: str | Path, symbols: Collection[str] | None = None, timeframes: Collection[str] | None = None
) -> tuple[list[Series], dict[str, str]]:
    """The series at a place, and the names of those left out with the reason: two contracts mixed are no market."""
    kept: list[Series] = []
    left_out: dict[str, str] = {}
    for one in load_series(place, symbols=symbols, timeframes=timeframes):
        if inspect(one.frame(), timeframe=one.timeframe, name=one.name).counts().get(MIXED):
            left_out[one.name] = "bars of two series are mixed in it"
        else:
            kept.append(one)
    if not kept:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise BarsError(f"{place}: no series is left to judge ({reasons})")
    return kept, left_out


def find_periods(series: Series, task: PeriodsTask) -> tuple[list[Period], dict[str, str]]:
    """The periods of a series with the origins of their windows, and those left out with the reason."""
    kept: list[Period] = []
    left_out: dict[str, str] = {}
    for period in _periods(series, task):
        origins = _origins(period, task)
        if origins:
            kept.append(Period(period.name, period.first, period.stop, origins))
        else:
            wanted = f"{task.bars} are needed" if task.history == "inside" else f"{task.horizon} after {task.lookback}"
            left_out[period.name] = f"{period.stop - period.first} bars, {wanted}"
    return kept, left_out


def regime_of(series: Series, first: int, stop: int) -> Regime:
    """What the market did in the rows [first, stop), the step from the bar before included."""
    closes = series.bars[max(first - 1, 0) : stop, CLOSE]
    changes = np.diff(np.log(closes))
    if len(changes) < 2:
        return Regime(stop - first, math.nan, math.nan, math.nan)
    total, deviation = float(changes.sum()), float(changes.std())
    trend = total / (deviation * math.sqrt(len(changes))) if deviation > 0 else math.nan
    return Regime(stop - first, total, deviation, trend)


def describe(regimes: Sequence[Regime]) -> list[str]:
    """Two words on each regime: where it went, and how wild it was beside the median of them all."""
    usual = float(np.nanmedian([one.volatility for one in regimes])) if regimes else math.nan
    words = []
    for one in regimes:
        way = "rising" if one.trend > 0.5 else "falling" if one.trend < -0.5 else "sideways"
        ratio = one.volatility / usual if usual > 0 else math.nan
        words.append(f"{way}, {'wild' if ratio > 4 / 3 else 'calm' if ratio < 3 / 4 else 'usual'}")
    return words


def _periods(series: Series, task: PeriodsTask) -> Iterator[Period]:
    """All periods of a series that hold a bar, in the order of time or as they were named."""
    low = 0 if task.since is None else _row(series.times, task.since, "since")
    high = len(series) if task.until is None else _row(series.times, task.until, "until")
    if task.periods:
        for span in task.periods:
            rows = (_row(series.times, moment, span.name) for moment in (span.since, span.until))
            first, stop = (min(max(row, low), high) for row in rows)
            yield Period(span.name, first, stop)
        return
    if high <= low:
        return
    labels = pd.DatetimeIndex(series.times[low:high]).to_period(_LETTERS[task.every])
    numbers = labels.asi8
    starts = np.concatenate([[0], np.flatnonzero(np.diff(numbers)) + 1, [len(numbers)]])
    for first, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        name = f"{labels[first].start_time:%Y-%m-%d}" if task.every == "week" else str(labels[first])
        yield Period(name, low + first, low + stop)


def _origins(period: Period, task: PeriodsTask) -> tuple[int, ...]:
    """The rows of the first predicted bars, as far as there is room for different ones."""
    earliest = period.first + task.lookback if task.history == "inside" else max(period.first, task.lookback)
    latest = period.stop - task.horizon
    if latest < earliest:
        return ()
    if task.windows == 1:
        return (latest,)
    spread = np.linspace(earliest, latest, min(task.windows, latest - earliest + 1))
    return tuple(np.unique(spread.round().astype(np.int64)).tolist())


def _row(times: NDArray[np.datetime64], moment: str | date, what: str) -> int:
    return int(np.searchsorted(times, np.datetime64(nanoseconds_of(moment, what), "ns")))
