"""Scores of a distribution against what came: of samples along axis 0, or of a Gaussian in closed form. Arrays only."""

from collections.abc import Sequence
from math import erf, pi, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError

Array = NDArray[np.float64]

_erf = np.frompyfunc(erf, 1, 1)  # numpy has none


def crps(paths: ArrayLike, truth: ArrayLike) -> Array:
    """Fair CRPS (...) of samples (S, ...), S >= 2, against `truth` (...): in the units of the samples, lower is better.

    The mean of |x - truth| less half of the mean of |x - x'| over pairs of different samples. Its expectation is the
    CRPS of the distribution that the samples come from, whatever their number; a single score may lie below zero.
    """
    samples, seen = matched(paths, truth)
    count = len(samples)
    ordered = np.sort(samples - seen, axis=0)  # of differences: large levels would cost digits
    weights = 2.0 * np.arange(1, count + 1) - count - 1.0  # how often each is the larger less the smaller of a pair
    spread = np.tensordot(weights, ordered, axes=(0, 0)) / (count * (count - 1))
    scores: Array = np.abs(ordered).mean(axis=0) - spread
    return scores


def crps_gaussian(mean: ArrayLike, deviation: ArrayLike, truth: ArrayLike) -> Array:
    """CRPS of normal distributions; with a deviation of 0 the distance from the mean."""
    width = np.asarray(deviation, dtype=np.float64)
    if (width < 0).any():
        raise ConfigError(f"a deviation is at least 0, not {width.min()}")
    away = np.asarray(truth, dtype=np.float64) - np.asarray(mean, dtype=np.float64)
    away, width = np.broadcast_arrays(away, width)
    z = np.divide(away, width, out=np.zeros_like(away), where=width > 0)
    below = np.asarray(_erf(z / sqrt(2.0)), dtype=np.float64)  # 2 Phi(z) - 1
    density = np.exp(-0.5 * z**2) / sqrt(2.0 * pi)
    scores: Array = np.where(width > 0, width * (z * below + 2.0 * density - 1.0 / sqrt(pi)), np.abs(away))
    return scores


def coverage(paths: ArrayLike, truth: ArrayLike, share: float) -> NDArray[np.bool_]:
    """Whether `truth` (...) lies in the central interval of samples (S, ...) that holds this `share` of them."""
    samples, seen = matched(paths, truth)
    low, high = interval(samples, share)
    inside: NDArray[np.bool_] = (low <= seen) & (seen <= high)
    return inside


def interval(paths: ArrayLike, share: float) -> tuple[Array, Array]:
    """The ends (...) of the central interval that one more draw from the distribution falls into so often.

    The quantile p is the sample of rank p (S + 1). (The usual (S - 1) p + 1 makes intervals too narrow: the .9 of fifty
    samples would hold .865.) Samples so few that the rank lies outside them give the least and the largest of them.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the share of an interval lies between 0 and 1, not {share!r}")
    tail = (1.0 - share) / 2.0
    low, high = quantiles(paths, (tail, 1.0 - tail))
    return low, high


def quantiles(paths: ArrayLike, levels: Sequence[float]) -> Array:
    """Quantiles (Q, ...) of samples (S, ...): that of level p is the sample of rank p (S + 1), as in `interval`."""
    if not all(0 < level < 1 for level in levels):
        raise ConfigError(f"the level of a quantile lies between 0 and 1; got {tuple(levels)}")
    found: Array = np.quantile(np.asarray(paths, dtype=np.float64), tuple(levels), axis=0, method="weibull")
    return found


def width(paths: ArrayLike, share: float) -> Array:
    """How wide (...) the central interval of samples (S, ...) is that holds this `share`."""
    low, high = interval(paths, share)
    return high - low


def pinball(paths: ArrayLike, truth: ArrayLike, level: float) -> Array:
    """Quantile loss (...) of the samples' (S, ...) quantile, by the rank rule of `quantiles`; lower is better."""
    samples, seen = matched(paths, truth)
    return pinball_of(quantiles(samples, (level,))[0], seen, level)


def pinball_of(quantile: ArrayLike, truth: ArrayLike, level: float | Array) -> Array:
    """Quantile loss of quantiles that are known: `level` a unit where the truth lies above, 1 - `level` below."""
    above = np.asarray(truth, dtype=np.float64) - np.asarray(quantile, dtype=np.float64)
    loss: Array = np.maximum(level * above, (np.asarray(level) - 1.0) * above)
    return loss


def pit(paths: ArrayLike, truth: ArrayLike, rng: np.random.Generator | None = None) -> Array:
    """Where `truth` (...) lies among samples (S, ...), 0 to 1: uniform over forecasts whose law is the true one.

    The mid-rank (below + equal / 2 + .5) / (S + 1), which takes S + 1 values only where there are no ties. With `rng`
    a point drawn inside that step, (below + U (equal + 1)) / (S + 1): uniform exactly, however few the samples are and
    however many of them agree.
    """
    samples, seen = matched(paths, truth)
    below, equal = (samples < seen).sum(axis=0), (samples == seen).sum(axis=0)
    inside = (equal + 1) * (0.5 if rng is None else rng.random(seen.shape))
    found: Array = (below + inside) / (len(samples) + 1.0)
    return found


def matched(paths: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    """Samples (S, ...), at least two, and a truth (...) of their shape, as arrays."""
    samples, seen = np.asarray(paths, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if samples.ndim < 1 or len(samples) < 2:
        raise ConfigError(f"at least two samples are needed along axis 0; the shape is {samples.shape}")
    if samples.shape[1:] != seen.shape:
        raise ConfigError(f"samples of shape {samples.shape} say nothing about a truth of shape {seen.shape}")
    return samples, seen
