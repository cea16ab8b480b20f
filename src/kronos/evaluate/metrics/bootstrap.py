"""Intervals for means over many moments, by drawing blocks of time again and again.

Whole moments are drawn, with everything that happened in them, so that assets which move together stay together; and
whole stretches of moments, so that what lasts for some time stays in one piece. A stretch is as long as the series
themselves ask for (Politis and White 2004, with the correction of Patton, Politis and White 2009).
"""

from collections.abc import Callable
from math import ceil, floor, log10, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError
from kronos.evaluate.metrics.laws import t_quantile

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Statistic = Callable[[Array], Array]
"""From means of the columns (..., K) to a figure (...)."""

AT_ONCE = 2_000_000  # numbers held in memory while drawing
KINDS = ("stationary", "circular")


class Interval(NamedTuple):
    """A figure with the interval that holds the middle of its draws, and the deviation of these."""

    estimate: float
    low: float
    high: float
    error: float
    block: float  # the mean length of a stretch, in moments
    moments: int


def mean(means: Array) -> Array:
    """The first column's mean."""
    return means[..., 0]


def difference(means: Array) -> Array:
    """The first column's mean less the second's."""
    less: Array = means[..., 0] - means[..., 1]
    return less


def ratio(means: Array) -> Array:
    """The first column's mean over the second's: a skill is 1 less this."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = means[..., 0] / means[..., 1]
    return found


def block_bootstrap(
    values: ArrayLike,
    times: ArrayLike,
    statistic: Statistic = mean,
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    block: float | None = None,
    kind: str = "stationary",
) -> Interval:
    """The interval of `statistic` of the means of `values` (N,) or (N, K), each row of a time; equal times are drawn
    together.

    Rows need no order. What is not a number is left out of its column's mean, and draws whose figure is none of the
    interval. `stationary` stretches have random
    lengths of mean `block` (Politis and Romano 1994), `circular` ones all have it; in both the end is followed by the
    beginning. By default `block` is what `block_length` says of the columns, the longest of them, which is at most
    min(3 sqrt T, T / 3) of T moments: where shocks last longer, the interval is too narrow (of 250 moments with a
    memory of .6 a step, one of .9 holds about .85). Of one moment there is none, and its ends are not numbers.
    """
    rows = _rows(values, times)
    _check(draws, level, kind)
    sums, counts = _moments(rows, np.asarray(times))  # (T, K) each
    with np.errstate(invalid="ignore"):
        means = sums.sum(axis=0) / counts.sum(axis=0)
    estimate, moments = float(statistic(means)), len(sums)
    if moments < 2 or not np.isfinite(estimate):
        return Interval(estimate, float("nan"), float("nan"), float("nan"), 1.0, moments)
    if block is None:
        residuals = sums - counts * means
        block = max(block_length(column, kind) for column in residuals.T)
    if not 1 <= block <= moments:
        raise ConfigError(f"stretches of {block} moments, of which there are {moments}")
    rng, found = np.random.default_rng(seed), np.empty(draws)
    together = max(1, AT_ONCE // sums.size)
    for first in range(0, draws, together):
        picked = _indices(rng, min(together, draws - first), moments, block, kind)  # (D, T)
        with np.errstate(invalid="ignore"):
            drawn = sums[picked].sum(axis=1) / counts[picked].sum(axis=1)  # (D, K)
        found[first : first + together] = statistic(drawn)
    found = found[np.isfinite(found)]
    if len(found) < 2:
        return Interval(estimate, float("nan"), float("nan"), float("nan"), float(block), moments)
    few, wide = _factors(moments / block, level)
    low, high = estimate + wide * (np.quantile(found, (0.5 - 0.5 * level, 0.5 + 0.5 * level)) - estimate)
    return Interval(estimate, float(low), float(high), few * float(found.std(ddof=1)), float(block), moments)


def block_length(series: ArrayLike, kind: str = "stationary") -> float:
    """How long stretches of a series (T,) ought to be, so that the error of its mean is judged best: 1 or more.

    From the autocovariances up to where they are lost in noise, under a flat-top window; never more than
    min(3 sqrt T, T / 3). A constant series, and one of fewer than 8 values, asks for 1.
    """
    numbers = np.asarray(series, dtype=np.float64)
    _check_kind(kind)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise ConfigError("the length of stretches is asked of one row of numbers")
    count, errors = len(numbers), numbers - numbers.mean() if len(numbers) else numbers
    if count < 8 or float(errors @ errors) <= 1e-24 * count * float(np.abs(numbers).max()) ** 2:
        return 1.0
    run = max(5, floor(log10(count)))
    most = min(ceil(sqrt(count)) + run, count - 1)
    products = np.array([float(errors[lag:] @ errors[: count - lag]) for lag in range(most + 1)])
    window = min(2 * _where_noise_begins(_correlations(errors, most), run, count), most)
    lags = np.arange(1, window + 1)
    weights = np.minimum(1.0, 2.0 * (1.0 - lags / window))
    covariances = products / count
    spectrum = covariances[0] + 2.0 * float((weights * covariances[lags]).sum())
    slope = 2.0 * float((weights * lags * covariances[lags]).sum())
    spread = (2.0 if kind == "stationary" else 4.0 / 3.0) * spectrum**2
    longest = ceil(min(3.0 * sqrt(count), count / 3.0))
    best = (2.0 * slope**2 / spread * count) ** (1.0 / 3.0) if spread > 0 else longest
    return float(min(max(best, 1.0), longest))


def _factors(stretches: float, level: float) -> tuple[float, float]:
    """By how much the deviation of draws from so many stretches is too small, and their interval too narrow."""
    count = max(stretches, 2.0)
    few = sqrt(count / (count - 1.0))
    return few, few * t_quantile(level, count - 1.0) / NormalDist().inv_cdf(0.5 + 0.5 * level)


def _correlations(errors: Array, most: int) -> Array:
    """Of the series with itself 1 to `most` steps later, each over the two parts that are compared."""
    pairs = ((errors[lag:], errors[:-lag]) for lag in range(1, most + 1))
    spreads = [(float(a @ b), float(a @ a) * float(b @ b)) for a, b in pairs]
    return np.array([shared / sqrt(both) if both > 0 else 0.0 for shared, both in spreads], dtype=np.float64)


def _where_noise_begins(correlations: Array, run: int, count: int) -> int:
    """The first lag of `run` in a row whose correlations are lost in noise; or else the last that is not."""
    counts = np.abs(correlations) > 2.0 * sqrt(log10(count) / count)
    for first in range(len(counts) - run + 1):
        if not counts[first : first + run].any():
            return first + 1
    return int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 1


def _moments(rows: Array, times: NDArray[Any]) -> tuple[Array, Array]:
    """Sums and numbers of values (T, K) of every moment, in order of time."""
    which = np.unique(times, return_inverse=True)[1].reshape(-1)
    there = np.isfinite(rows)
    filled = np.where(there, rows, 0.0)

    def by_moment(table: Array) -> Array:
        return np.array([np.bincount(which, weights=column) for column in table.T], dtype=np.float64).T

    return by_moment(filled), by_moment(there.astype(np.float64))


def _indices(rng: np.random.Generator, draws: int, count: int, block: float, kind: str) -> Numbers:
    """Which moments (D, T) every draw is made of: stretches that begin anywhere, put one behind the other."""
    at = np.arange(count)
    if kind == "circular":
        length = round(block)
        begins = rng.integers(0, count, (draws, -(-count // length)))
        stretches: Numbers = (begins[:, :, None] + np.arange(length)).reshape(draws, -1)[:, :count] % count
        return stretches
    fresh = rng.random((draws, count)) < 1.0 / block
    fresh[:, 0] = True
    begins = rng.integers(0, count, (draws, count))
    since = np.maximum.accumulate(np.where(fresh, at, 0), axis=1)  # where the stretch that one is in began
    picked: Numbers = (np.take_along_axis(begins, since, axis=1) + at - since) % count
    return picked


def _rows(values: ArrayLike, times: ArrayLike) -> Array:
    rows, moments = np.asarray(values, dtype=np.float64), np.asarray(times)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not rows.size or moments.shape != rows.shape[:1]:
        raise ConfigError(f"values (N,) or (N, K) and times (N,) are needed, not {rows.shape} and {moments.shape}")
    return rows


def _check(draws: int, level: float, kind: str) -> None:
    if draws < 2:
        raise ConfigError(f"{draws} draws make no interval; at least 2 are needed, a thousand are usual")
    if not 0 < level < 1:
        raise ConfigError(f"the level of an interval lies between 0 and 1, not {level!r}")
    _check_kind(kind)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ConfigError(f"there are no '{kind}' stretches; there are {' and '.join(KINDS)} ones")
