"""Scores of one line against what came, along the last axis: (..., H) and (..., H) give (...). Arrays only."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError

Array = NDArray[np.float64]

STILL = 1e-12  # a line whose deviation is less than this of its level is constant but for rounding


def mae(said: ArrayLike, came: ArrayLike) -> Array:
    """Mean absolute error."""
    lines = _lines(said, came)
    found: Array = np.abs(lines[0] - lines[1]).mean(axis=-1)
    return found


def rmse(said: ArrayLike, came: ArrayLike) -> Array:
    """Root mean square error."""
    lines = _lines(said, came)
    found: Array = np.sqrt(np.square(lines[0] - lines[1]).mean(axis=-1))
    return found


def mape(said: ArrayLike, came: ArrayLike) -> Array:
    """Mean absolute error in percent of what came."""
    line, truth = _lines(said, came)
    if (truth == 0).any():
        raise ConfigError("what came is 0 somewhere; an error has no percentage of it")
    found: Array = 100.0 * np.abs((line - truth) / truth).mean(axis=-1)
    return found


def correlation(said: ArrayLike, came: ArrayLike) -> Array:
    """Pearson correlation; not a number where either line is constant. Of closes along a path: its IC."""
    line, truth = _lines(said, came)
    still = _still(line) | _still(truth)
    found: Array = np.where(still, np.nan, _pearson(line, truth))
    return found


def rank_correlation(said: ArrayLike, came: ArrayLike) -> Array:
    """Spearman correlation, ties sharing their mean rank; not a number where either line is constant: RankIC."""
    line, truth = _lines(said, came)
    still = _still(line) | _still(truth)  # before ranking, which would make an order of rounding
    found: Array = np.where(still, np.nan, _pearson(ranks(line), ranks(truth)))
    return found


def direction(said: ArrayLike, came: ArrayLike, last: ArrayLike = 0.0) -> Array:
    """Whether (...) each value lies on the side of `last` where the true one does: 1, 0, or .5 where either ties."""
    start = np.asarray(last, dtype=np.float64)
    line, truth = np.asarray(said, dtype=np.float64), np.asarray(came, dtype=np.float64)
    found: Array = 0.5 + 0.5 * np.sign(line - start) * np.sign(truth - start)
    return found


def ranks(values: ArrayLike) -> Array:
    """Ranks from 1 along the last axis; equal values share the mean of theirs."""
    numbers = np.asarray(values, dtype=np.float64)
    count = numbers.shape[-1]
    order = np.argsort(numbers, axis=-1, kind="stable")
    sorted_ = np.take_along_axis(numbers, order, axis=-1)
    starts = np.ones(numbers.shape, dtype=bool)  # of runs of equal values
    starts[..., 1:] = sorted_[..., 1:] != sorted_[..., :-1]
    stops = np.ones(numbers.shape, dtype=bool)
    stops[..., :-1] = starts[..., 1:]
    at = np.arange(count)
    first = np.maximum.accumulate(np.where(starts, at, 0), axis=-1)
    last = np.minimum.accumulate(np.where(stops, at, count)[..., ::-1], axis=-1)[..., ::-1]
    found = np.empty(numbers.shape)
    np.put_along_axis(found, order, 0.5 * (first + last) + 1.0, axis=-1)
    return found


def _pearson(a: Array, b: Array) -> Array:
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    spread = np.asarray(np.sqrt(np.square(a).sum(axis=-1) * np.square(b).sum(axis=-1)))
    found: Array = np.divide((a * b).sum(axis=-1), spread, out=np.full(spread.shape, np.nan), where=spread > 0)
    return found.clip(-1.0, 1.0)


def _still(line: Array) -> NDArray[np.bool_]:
    level = np.abs(line).max(axis=-1)
    still: NDArray[np.bool_] = line.std(axis=-1) <= STILL * level
    return still


def _lines(said: ArrayLike, came: ArrayLike) -> tuple[Array, Array]:
    line, truth = np.asarray(said, dtype=np.float64), np.asarray(came, dtype=np.float64)
    if line.shape != truth.shape or not line.ndim or not line.shape[-1]:
        raise ConfigError(f"a line of shape {line.shape} is not compared with what came, of shape {truth.shape}")
    return line, truth
