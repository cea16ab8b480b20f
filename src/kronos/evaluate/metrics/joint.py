"""Scores of whole paths at once: they see how the steps hang together, which scores of single steps cannot."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError
from kronos.evaluate.metrics.distribution import matched

Array = NDArray[np.float64]

ROWS = 128  # of a table of distances between paths, at a time


def energy_score(paths: ArrayLike, truth: ArrayLike) -> float:
    """Fair energy score of paths (S, D), S >= 2, against one truth (D,): the CRPS of vectors, lower is better.

    The mean Euclidean distance to the truth, less half of the mean distance of two different paths. Its expectation
    does not depend on how many paths there are. Of one dimension it is the fair CRPS.
    """
    samples, seen = _vectors(paths, truth)
    away = samples - seen  # of differences: large levels would cost digits
    count = len(away)
    near = float(np.sqrt(np.square(away).sum(axis=1)).mean())
    return near - 0.5 * _distances(away) / (count * (count - 1))


def variogram_score(paths: ArrayLike, truth: ArrayLike, order: float = 0.5, *, fair: bool = True) -> float:
    """Variogram score (Scheuerer and Hamill 2015) of paths (S, D) against one truth (D,), lower is better.

    Over all pairs of steps i < j the mean of (|y_i - y_j|^order - mean over paths of |x_i - x_j|^order)^2: wrong
    dependence between steps costs here what the energy score hardly feels. Being about differences, it does not see a
    shift of the whole path. The square of a mean of few samples is too large by its variance; the fair score takes that
    away, so that its expectation is the same for any S. One step has no pair, and the score is not a number.
    """
    samples, seen = _vectors(paths, truth)
    if not order > 0:
        raise ConfigError(f"the order of a variogram is positive, not {order!r}")
    by_step = np.ascontiguousarray(samples.T)  # (D, S)
    count, steps = len(samples), len(by_step)
    if steps < 2:
        return float("nan")
    total = 0.0
    for first in range(steps - 1):  # a row of the table of pairs at a time: all of them at once would be large
        said: Array = np.abs(by_step[first + 1 :] - by_step[first]) ** order  # (D - first - 1, S)
        means = said.mean(axis=1)
        total += float(np.square(np.abs(seen[first + 1 :] - seen[first]) ** order - means).sum())
        if fair:
            said -= means[:, None]
            total -= float(np.vdot(said, said)) / (count * (count - 1))
    return 2.0 * total / (steps * (steps - 1))


def _distances(vectors: Array) -> float:
    """The sum of the distances of all ordered pairs, by |a|^2 + |b|^2 - 2ab, from the middle of them all."""
    centred = vectors - vectors.mean(axis=0)
    squares = np.square(centred).sum(axis=1)
    total = 0.0
    for first in range(0, len(centred), ROWS):
        later = centred[first:]  # pairs with earlier ones have been counted
        apart = (-2.0 * later[:ROWS]) @ later.T
        apart += squares[first : first + ROWS, None]
        apart += squares[first:]
        np.maximum(apart, 0.0, out=apart)
        np.fill_diagonal(apart, 0.0)  # of a path to itself, where rounding would leave its root
        np.sqrt(apart, out=apart)
        total += 2.0 * float(apart.sum()) - float(apart[:, :ROWS].sum())
    return total


def _vectors(paths: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    samples, seen = matched(paths, truth)
    if samples.ndim != 2 or not samples.shape[1]:
        raise ConfigError(f"paths are (samples, steps) and a truth (steps,); the paths' shape is {samples.shape}")
    return samples, seen
