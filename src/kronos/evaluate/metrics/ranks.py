"""Does a signal order the assets rightly: scores of frames (date x asset) of a signal and of the returns that came.

A return of a date is the one that is earned after it: `forward_returns` puts it there. An asset counts on a date where
both its signal and its return are numbers.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.errors import ConfigError
from kronos.evaluate.metrics.laws import two_sided_t
from kronos.evaluate.metrics.long_run import long_run_variance, overlapping_variance

Array = NDArray[np.float64]

FEWEST = 3  # assets that make a correlation worth the name


class Skill(NamedTuple):
    """Information coefficients of many dates, put together."""

    mean: float
    deviation: float
    ratio: float  # mean / deviation: ICIR
    annual_ratio: float  # times the root of the periods in a year; not a number if these are not known
    error: float  # as for a series that remembers
    t: float
    p: float  # two-sided
    positive: float  # share of dates above 0
    dates: int


def information_coefficients(signal: pd.DataFrame, returns: pd.DataFrame, *, ranked: bool = True) -> "pd.Series[float]":
    """For every date the correlation over assets of signal and return: of their ranks (RankIC), or of themselves (IC).

    Not a number on dates with fewer than 3 assets, or where either is the same for all.
    """
    a, b = _paired(signal, returns)
    if ranked:
        a, b = a.rank(axis=1), b.rank(axis=1)
    return _row_correlation(a, b).rename("rank_ic" if ranked else "ic")


def skill(
    coefficients: "pd.Series[float]", *, periods: float | None = None, overlap: int = 1, lags: int | None = None
) -> Skill:
    """Mean, ICIR and t of coefficients, date by date; dates without a number are left out.

    `periods` is how many dates there are in a year (252 of trading days, 365 x 24 of hours that never close). The t is
    Newey and West's with floor(4 (n / 100)^(2/9)) lags, or with as many as are given; returns over h dates overlap, and
    an `overlap` of h takes `overlapping_variance` instead.
    """
    values = coefficients.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    count = len(values)
    if count < 2:
        raise ConfigError(f"{count} dates with a coefficient; at least 2 are needed")
    if periods is not None and not periods > 0:
        raise ConfigError(f"periods is {periods!r}; a year has more")
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    variance = overlapping_variance(values, overlap) if lags is None else long_run_variance(values, lags)
    error = sqrt(variance / count)
    ratio = mean / deviation if deviation > 0 else float("nan")
    t = mean / error if error > 0 else float("nan")
    return Skill(
        mean=mean,
        deviation=deviation,
        ratio=ratio,
        annual_ratio=float("nan") if periods is None else ratio * sqrt(periods),
        error=error,
        t=t,
        p=two_sided_t(t, count - 1),
        positive=float((values > 0).mean()),
        dates=count,
    )


def forward_returns(closes: pd.DataFrame, horizon: int = 1) -> pd.DataFrame:
    """Simple returns from the close of a date to that `horizon` dates later, put at the former."""
    if horizon < 1:
        raise ConfigError(f"a horizon of {horizon} dates; at least 1 lies ahead")
    return closes.shift(-horizon) / closes - 1.0


def decay(
    signal: pd.DataFrame,
    closes: pd.DataFrame,
    horizons: Sequence[int] = (1, 2, 3, 5, 10, 20),
    *,
    delay: int = 0,
    ranked: bool = True,
) -> pd.DataFrame:
    """How long a signal is good for: a row for every horizon, with mean, ratio, error, t and number of dates.

    The error knows that returns over h dates overlap. `delay` uses the signal so many dates late.
    """
    if delay < 0:
        raise ConfigError(f"a delay of {delay} dates would look ahead")
    rows = {}
    for horizon in horizons:
        found = information_coefficients(signal.shift(delay), forward_returns(closes, horizon), ranked=ranked)
        count = int(found.notna().sum())
        if count <= max(1, horizon):
            raise ConfigError(f"{count} dates have returns over {horizon} dates; give more dates or a shorter horizon")
        rows[horizon] = skill(found, overlap=horizon)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(Skill._fields))
    return table[["mean", "ratio", "error", "t", "dates"]].rename_axis("horizon")


def rank_autocorrelation(signal: pd.DataFrame, lag: int = 1) -> "pd.Series[float]":
    """For every date the rank correlation over assets of the signal with itself `lag` dates before: near 1 it is slow
    and cheap to follow, near 0 everything is traded anew."""
    if lag < 1:
        raise ConfigError(f"a lag of {lag} dates; at least 1 lies back")
    now, before = _paired(signal, signal.shift(lag))
    return _row_correlation(now.rank(axis=1), before.rank(axis=1)).rename("rank_autocorrelation")


def bucket_returns(signal: pd.DataFrame, returns: pd.DataFrame, count: int = 5) -> pd.DataFrame:
    """For every date the mean return of assets in `count` buckets by signal: columns 1 (lowest) to `count`.

    Equal signals go into one bucket; a bucket that is empty on a date has no number.
    """
    if count < 2:
        raise ConfigError(f"{count} buckets; at least 2 are needed")
    told, came = _paired(signal, returns)
    places = told.rank(axis=1).to_numpy() - 1.0  # from 0
    last = np.maximum(told.notna().sum(axis=1).to_numpy() - 1, 1)[:, None]
    buckets = np.maximum(np.ceil(places * count / last), 1.0)
    values = came.to_numpy()
    found = {}
    for bucket in range(1, count + 1):
        inside = buckets == bucket
        held = inside.sum(axis=1)
        total = np.where(inside, values, 0.0).sum(axis=1)
        found[bucket] = np.divide(total, held, out=np.full(len(held), np.nan), where=held > 0)
    return pd.DataFrame(found, index=told.index).rename_axis(columns="bucket")


def _paired(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both as numbers, without what has no partner in the other."""
    if not (a.index.equals(b.index) and a.columns.equals(b.columns)):
        raise ConfigError("signal and returns are frames of the same dates and assets, in the same order")
    if a.empty:
        raise ConfigError("signal and returns are empty; there is no date or no asset")
    left, right = a.astype(np.float64), b.astype(np.float64)
    left, right = left.where(np.isfinite(left)), right.where(np.isfinite(right))
    return left.where(right.notna()), right.where(left.notna())


def _row_correlation(a: pd.DataFrame, b: pd.DataFrame) -> "pd.Series[float]":
    left, right = a.to_numpy(), b.to_numpy()
    held = np.isfinite(left).sum(axis=1)
    x, y = _centred(left, held), _centred(right, held)
    spread = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
    good = (held >= FEWEST) & (spread > 0)
    found = np.divide((x * y).sum(axis=1), spread, out=np.full(len(held), np.nan), where=good)
    return pd.Series(found.clip(-1.0, 1.0), index=a.index)


def _centred(values: Array, held: NDArray[np.int64]) -> Array:
    """Rows less their means, 0 where there is no number; a row that is constant but for rounding becomes all 0."""
    filled = np.nan_to_num(values)
    means = filled.sum(axis=1) / np.maximum(held, 1)
    away = np.where(np.isfinite(values), values - means[:, None], 0.0)
    flat = np.abs(away).max(axis=1) <= 1e-12 * np.abs(filled).max(axis=1)
    away[flat] = 0.0
    return away
