"""Realised variance from prices, and scores of a volatility that was said against the one that came. Arrays only."""

from math import log
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.bars.candles import CLOSE, HIGH, LOW, OPEN
from kronos.errors import BarsError, ConfigError
from kronos.evaluate.metrics.points import mae, rmse

Array = NDArray[np.float64]


class Line(NamedTuple):
    """A regression of what came on what was said (Mincer and Zarnowitz): perfect is 0, 1, and any share."""

    intercept: float
    slope: float
    r2: float


# From prices ----------------------------------------------------------------------------------------------------------


def realised_variance(closes: ArrayLike) -> Array:
    """The sum of squared log returns (...) of closes (..., T + 1), the one before the first return included."""
    prices = _prices(closes, 2, "closes")
    found: Array = np.square(np.diff(np.log(prices), axis=-1)).sum(axis=-1)
    return found


def realised_volatility(closes: ArrayLike) -> Array:
    """The root of `realised_variance`: of the whole stretch, not of one bar."""
    return np.sqrt(realised_variance(closes))


def parkinson(candles: ArrayLike) -> Array:
    """Variance (...) over candles (..., T, 6) from highs and lows: sum of log(high / low)^2 / (4 log 2).

    Of a walk without drift or gaps it is right in the mean and five times surer than squared returns; gaps between
    candles it does not see.
    """
    prices = _candles(candles)
    found: Array = np.square(np.log(prices[..., HIGH] / prices[..., LOW])).sum(axis=-1) / (4.0 * log(2.0))
    return found


def garman_klass(candles: ArrayLike) -> Array:
    """Variance (...) over candles (..., T, 6) from all four prices: log(high / low)^2 / 2 - (2 log 2 - 1) log(c / o)^2.

    Surer still than `parkinson` under the same conditions.
    """
    prices = _candles(candles)
    reach = np.square(np.log(prices[..., HIGH] / prices[..., LOW]))
    body = np.square(np.log(prices[..., CLOSE] / prices[..., OPEN]))
    found: Array = (0.5 * reach - (2.0 * log(2.0) - 1.0) * body).sum(axis=-1)
    return found


# Scores ---------------------------------------------------------------------------------------------------------------


def qlike(said: ArrayLike, came: ArrayLike) -> Array:
    """QLIKE loss of variances: r - log r - 1 with r = came / said. 0 where they agree; saying too little costs most.

    Not a number where nothing came (its logarithm has no end), infinite where nothing was said and something came.
    """
    told, seen = np.broadcast_arrays(_variances(said), _variances(came))
    there = (told > 0) & (seen > 0)
    ratio = np.divide(seen, told, out=np.ones(told.shape), where=there)
    loss: Array = np.where(there, ratio - np.log(ratio) - 1.0, np.where(seen > 0, np.inf, np.nan))
    return loss


def r2(said: ArrayLike, came: ArrayLike) -> float:
    """1 - squared errors over the squared deviations of what came (N,): below 0 where its mean would have done better.

    Not a number where what came is constant.
    """
    told, seen = _rows(said, came)
    spread = float(np.square(seen - seen.mean()).sum())
    return 1.0 - float(np.square(told - seen).sum()) / spread if spread > 0 else float("nan")


def mincer_zarnowitz(said: ArrayLike, came: ArrayLike) -> Line:
    """The least-squares line of what came (N,) on what was said (N,); its r2 forgives a wrong level and scale.

    Not numbers where what was said is constant.
    """
    told, seen = _rows(said, came)
    away, other = told - told.mean(), seen - seen.mean()
    spread, total = float(away @ away), float(other @ other)
    if spread <= 0:
        return Line(float("nan"), float("nan"), float("nan"))
    slope = float(away @ other) / spread
    explained = slope**2 * spread / total if total > 0 else float("nan")
    return Line(float(seen.mean()) - slope * float(told.mean()), slope, explained)


def volatility_scores(said: ArrayLike, came: ArrayLike) -> dict[str, float]:
    """Scores of variances (N,) that were said against those that came: `mae rmse r2 qlike`, and the regression's
    `intercept slope regression_r2`. QLIKE is the mean where something came."""
    told, seen = _rows(_variances(said), _variances(came))
    line, losses = mincer_zarnowitz(told, seen), qlike(told, seen)
    there = ~np.isnan(losses)
    return {
        "mae": float(mae(told, seen)),
        "rmse": float(rmse(told, seen)),
        "r2": r2(told, seen),
        "qlike": float(losses[there].mean()) if there.any() else float("nan"),
        "intercept": line.intercept,
        "slope": line.slope,
        "regression_r2": line.r2,
    }


def _variances(values: ArrayLike) -> Array:
    numbers = np.asarray(values, dtype=np.float64)
    if (numbers < 0).any():
        raise ConfigError(f"a variance is at least 0, not {numbers.min()}")
    return numbers


def _rows(said: ArrayLike, came: ArrayLike) -> tuple[Array, Array]:
    told, seen = np.asarray(said, dtype=np.float64), np.asarray(came, dtype=np.float64)
    if told.ndim != 1 or told.shape != seen.shape or not len(told):
        raise ConfigError(f"what was said and what came are rows of equal length, not {told.shape} and {seen.shape}")
    if not (np.isfinite(told) & np.isfinite(seen)).all():
        raise ConfigError("what was said and what came are numbers; leave out what is none")
    return told, seen


def _prices(values: ArrayLike, least: int, what: str) -> Array:
    prices = np.asarray(values, dtype=np.float64)
    if not prices.ndim or prices.shape[-1] < least:
        raise BarsError(f"{what}: at least {least} are needed along the last axis; the shape is {prices.shape}")
    if not (np.isfinite(prices) & (prices > 0)).all():
        raise BarsError(f"{what}: a price is not a positive number, and has no logarithm")
    return prices


def _candles(values: ArrayLike) -> Array:
    candles = np.asarray(values, dtype=np.float64)
    if candles.ndim < 2 or candles.shape[-1] != 6 or not candles.shape[-2]:
        raise BarsError(f"candles are (..., bars, 6), at least one bar; the shape is {candles.shape}")
    return _prices(candles[..., : CLOSE + 1], 4, "candles")
