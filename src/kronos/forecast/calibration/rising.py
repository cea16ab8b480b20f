"""What P(up) has meant: a non-decreasing map from the probability said to the one that came true."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kronos.forecast.calibration.maps import prob_up
from kronos.forecast.calibration.samples import Samples
from kronos.forecast.calibration.tables import DIGITS, Table

Array = NDArray[np.float64]

BINS = 10
LEAST_IN_BIN = 40  # origins
PRIOR = 50.0  # origins that rose in half of all cases, put into every bin: nobody is sure of a direction
EDGE = 0.02  # no probability is nearer to 0 or 1
_NEAR = 0.05  # how far a slope is taken over


def rising_map(samples: Samples) -> tuple[tuple[float, float], ...]:
    """Knots of the map, of all steps together; none where there are too few origins for two of them.

    Probabilities are put into bins of equally many, how often the close was higher in each is drawn to a half, and
    neighbours that fall are pooled until none does.
    """
    few = len(samples.steps)
    count = min(BINS, len(samples) // LEAST_IN_BIN)
    if count < 2:
        return ()
    said = prob_up(samples.ordered.reshape(len(samples.ordered), -1))
    came = rose(samples.came).reshape(-1)
    order = np.argsort(said, kind="stable")
    bins = np.array_split(order, count)
    sizes = np.array([len(one) for one in bins]) / few  # origins: the steps of one rise and fall together
    middles = np.array([said[one].mean() for one in bins])
    means = np.array([came[one].mean() for one in bins])
    means = (means * sizes + 0.5 * PRIOR) / (sizes + PRIOR)
    level = np.clip(pooled(means, sizes + PRIOR), EDGE, 1.0 - EDGE)
    knots: dict[float, float] = {}
    for x, y in zip(
        np.round(np.clip(middles, EDGE, 1 - EDGE), DIGITS).tolist(), np.round(level, DIGITS).tolist(), strict=True
    ):
        knots[x] = y  # of equal probabilities the last, which is not the lowest
    return tuple(knots.items()) if len(knots) > 1 else ()


def pooled(values: Array, weights: Array) -> Array:
    """The non-decreasing sequence nearest to `values` in weighted squares (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, many = value, weight, 1
        while blocks and blocks[-1][0] >= mean:
            last, heavy, more = blocks.pop()
            mean = (mean * total + last * heavy) / (total + heavy)
            total, many = total + heavy, many + more
        blocks.append((mean, total, many))
    return np.concatenate([np.full(many, mean) for mean, _, many in blocks])


def rose(came: NDArray[Any]) -> Array:
    """1 where the close was higher, .5 where it was the same, 0 where it was lower."""
    found: Array = np.where(came == 0, 0.5, came > 0)
    return found


def brier_of_law(samples: Samples, table: Table) -> Array:
    """The Brier score (N,) of P(up) under a table, the mean over steps, less what it owes to counting on few paths."""
    moves, flat = samples.changed(table), samples.ordered.reshape(len(samples.ordered), -1)
    said = prob_up(moves.reshape(len(moves), -1)).reshape(samples.came.shape)
    raw = prob_up(flat)
    slope = np.ones(raw.shape)
    if table.up:
        x, y = np.array(table.up).T
        slope = (np.interp(raw + _NEAR, x, y) - np.interp(raw - _NEAR, x, y)) / (2.0 * _NEAR)
    unsure = (slope**2 * raw * (1.0 - raw) / (len(flat) - 1)).reshape(samples.came.shape)
    found: Array = (np.square(said - rose(samples.came)) - unsure).mean(axis=1)
    return found
