"""Volatility by the clock: the opening hour is wilder than lunch, Monday carries a weekend."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Timeframe
from kronos.evaluate.baselines.asking import Past
from kronos.evaluate.baselines.base import Fitted
from kronos.evaluate.baselines.filters import ewma_variances

Array = NDArray[np.float64]
Groups = NDArray[np.int64]

ROUNDS = 3  # seasons are seen better once the level is free of them, and the level once they are known
FEWEST_DAYS = 3  # a reading of the clock that was seen on fewer says nothing
LEAST_LEVEL = 1e-3  # of the overall volatility: a long standstill is no unit
LEAST_FACTOR = 0.1
DAYS = 1_000_000  # more than a day's number ever is


@dataclass(frozen=True)
class Season:
    """How wide every step is."""

    deviation: float  # the level now, free of seasons
    steps: tuple[float, ...]  # (H,) the deviation of each step


@dataclass(frozen=True)
class Clock:
    """What one clock read at the known bars (L - 1,), their days, and what it will read at those to come (H,)."""

    then: Groups
    days: Groups
    soon: Groups
    readings: int


@dataclass(frozen=True)
class SeasonalVolatility(Fitted[Season]):
    """Gaussian steps at the EWMA's level times the factors of the step's hour, time of day and weekday; no drift.

    A factor is the mean size of the moves at that reading of the clock over the mean size of all, taken back towards 1
    as far as the differences between readings could be chance (empirical Bayes, a day being one observation). The
    clock is that of the bars' own index. Daily bars have weekdays alone, longer ones no season.
    """

    least = 30

    @property
    def name(self) -> str:
        """seasonal."""
        return "seasonal"

    def fit(self, pasts: Sequence[Past]) -> list[Season]:
        """Factors and level by turns."""
        return [_season(past) for past in pasts]

    def draw(self, past: Past, fit: Season, samples: int, random: np.random.Generator) -> Array:
        """Normal steps, each as wide as its time."""
        steps = np.array(fit.steps) * random.standard_normal((samples, past.horizon))
        return steps.cumsum(axis=1)


def _season(past: Past) -> Season:
    clocks = _clocks(past.times[1:], past.future, past.timeframe)
    least = LEAST_LEVEL * float(past.changes.std())
    factors = [np.ones(clock.readings) for clock in clocks]
    known = np.ones(len(past.changes))
    for _ in range(ROUNDS):
        for place, clock in enumerate(clocks):
            level = np.maximum(np.sqrt(ewma_variances(past.changes / known)[:-1]), least)
            others = known / factors[place][clock.then]
            factors[place] = _factors(np.abs(past.changes) / (others * level), clock)
            known = others * factors[place][clock.then]
    deviation = float(np.sqrt(ewma_variances(past.changes / known)[-1]))
    ahead = np.ones(past.horizon)
    for clock, factor in zip(clocks, factors, strict=True):
        ahead *= factor[clock.soon]
    return Season(deviation, tuple((deviation * ahead).tolist()))


def _clocks(past: pd.DatetimeIndex, future: pd.DatetimeIndex, timeframe: Timeframe) -> list[Clock]:
    """The coarse clock before the fine one, which then has less left to say."""
    both = pd.DatetimeIndex(past.append(future.as_unit(past.unit)))
    minutes = np.asarray(both.hour * 60 + both.minute, dtype=np.int64)
    weekdays = np.asarray(both.day_of_week, dtype=np.int64)
    days = np.asarray(both.year * 400 + both.day_of_year, dtype=np.int64)[: len(past)]
    if timeframe.intraday:
        kinds = [minutes // 60, minutes, weekdays] if timeframe < Timeframe(1, "h") else [minutes, weekdays]
    else:
        kinds = [weekdays] if timeframe.unit == "d" else []
    known = len(past)
    return [Clock(reading[:known], days, reading[known:], int(reading.max()) + 1) for reading in kinds]


def _factors(sizes: Array, clock: Clock) -> Array:
    """The factor of every reading: of the mean sizes of days, an analysis of variance and its shrinkage."""
    labels, place = np.unique(clock.then * DAYS + clock.days, return_inverse=True)
    seen = np.bincount(place, weights=sizes) / np.bincount(place)  # one for each reading and day
    reading = labels // DAYS
    count = np.bincount(reading, minlength=clock.readings).astype(np.float64)
    kept = (count >= FEWEST_DAYS)[reading]
    seen, reading, count = seen[kept], reading[kept], np.where(count >= FEWEST_DAYS, count, 0.0)
    groups, total = int((count > 0).sum()), len(seen)
    if groups < 2:
        return np.ones(clock.readings)
    overall = seen.mean()
    means = np.bincount(reading, weights=seen, minlength=clock.readings) / np.maximum(count, 1.0)
    within = np.square(seen - means[reading]).sum() / (total - groups)
    excess = (count * np.square(means - overall)).sum() - (groups - 1) * within
    between = max(excess / (total - np.square(count).sum() / total), 0.0)
    told = between * count
    trust = np.divide(told, told + within, out=np.zeros_like(told), where=told > 0)
    factors: Array = np.maximum(1.0 + trust * (means / overall - 1.0), LEAST_FACTOR)
    return factors
