"""Paths for forecasters that only give quantiles of every step."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def paths_of_quantiles(values: Array, levels: Sequence[float], samples: int, random: np.random.Generator) -> Array:
    """(S, H) paths whose every step has the quantiles `values` (H, Q) at increasing `levels` (Q,).

    What ties the steps together is not known, and taken from a random walk (a Gaussian copula: the correlation of
    steps i < j is the root of i / j). Between levels quantiles go by straight lines over normal scores; beyond the
    outermost they go on as a normal distribution would. Quantiles that cross are put in order.
    """
    horizon = len(values)
    walk = random.standard_normal((samples, horizon)).cumsum(axis=1) / np.sqrt(np.arange(1, horizon + 1))
    scores = np.array([NormalDist().inv_cdf(level) for level in levels])
    ordered = np.sort(values, axis=1)
    paths = np.empty((samples, horizon))
    for step in range(horizon):
        paths[:, step] = _line(walk[:, step], scores, ordered[step])
    return paths


def _line(at: Array, known: Array, values: Array) -> Array:
    """Straight lines through points, and on beyond them."""
    place = np.clip(np.searchsorted(known, at) - 1, 0, len(known) - 2)
    slope = np.diff(values) / np.diff(known)
    found: Array = values[place] + slope[place] * (at - known[place])
    return found
