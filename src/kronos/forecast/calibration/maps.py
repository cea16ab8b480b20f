"""What a calibration does to the returns of a sample: arrays only, a column for every origin or step.

Every map is non-decreasing in the sample it is applied to, so no two paths ever change places at a step: whatever the
network knows of how a path hangs together, and of which series move together, stays in the ranks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SHARES = (0.5, 0.8, 0.9, 0.95)
"""Central intervals whose ends, on either side, are moved by factors of their own."""

LEAST_SLOPE = 0.1  # of the factor next to the centre: neighbours never fall together
LARGEST_SHIFT = 0.25  # of the interquartile range: how far P(up) may move a sample
_STILL = 1e-12  # a sample that is narrower is left as it is


@dataclass(frozen=True, eq=False)
class Shape:
    """A sample (S, M), column by column: its median and how far its own intervals reach from there."""

    median: Array  # (M,)
    reach: Array  # (M, 2, 4) of `SHARES`, downwards and upwards, both positive

    @classmethod
    def of(cls, moves: Array) -> "Shape":
        """Quantiles of rank p (S + 1), which the next draw falls below as often as they say."""
        tails = (1.0 - np.array(SHARES)) / 2.0
        levels = np.concatenate([[0.5], tails, 1.0 - tails])
        found = np.quantile(moves, levels, axis=0, method="weibull")  # (9, M)
        low, high = found[0] - found[1:5], found[5:] - found[0]
        return cls(found[0], np.moveaxis(np.maximum(np.stack([low, high]), 0.0), -1, 0))

    @property
    def spread(self) -> Array:
        """(M,) half the width of the central 80 %: how wide the sample is, whatever its tails do."""
        width: Array = self.reach[:, :, 1].mean(axis=1)
        return width


def stretched(moves: Array, shape: Shape, factors: Array) -> Array:
    """Deviations (S, M) from the median, stretched by factors (M, 2, 4) at the ends of the sample's own intervals.

    Straight lines between the ends, and the last factor beyond them.
    """
    away = moves - shape.median
    new = np.zeros_like(away)
    for side, sign in ((0, -1.0), (1, 1.0)):
        out = np.maximum(sign * away, 0.0)  # (S, M)
        ends, images = shape.reach[:, side], factors[:, side] * shape.reach[:, side]  # (M, 4)
        widths = np.diff(ends, prepend=0.0)
        rises = np.diff(images, prepend=0.0)
        first = factors[:, side, :1]
        slopes = np.divide(rises, widths, out=np.repeat(first, len(SHARES), axis=1), where=widths > _STILL)
        slopes = np.maximum(slopes, LEAST_SLOPE * first)
        start = np.zeros(len(ends))
        part = np.zeros_like(out)
        for k in range(len(SHARES)):
            part += slopes[:, k] * np.clip(out - start, 0.0, widths[:, k])
            start = ends[:, k]
        part += factors[:, side, -1] * np.maximum(out - start, 0.0)
        new += sign * part
    return new


def shifted(moves: Array, wanted: Array) -> Array:
    """(M,) how far to shift samples (S, M) so that a share `wanted` (M,) of the paths lies above zero, within limits.

    Not a number asks for no shift.
    """
    count = len(moves)
    low, high = np.quantile(moves, (0.25, 0.75), axis=0)
    limit = LARGEST_SHIFT * (high - low)
    rank = np.clip(np.nan_to_num((1.0 - wanted) * (count + 1), nan=1.0), 1.0, count) - 1.0
    ordered = np.sort(moves, axis=0)
    below = np.floor(rank).astype(np.int64)
    above, rest = np.minimum(below + 1, count - 1), rank - below
    columns = np.arange(moves.shape[1])
    level = (1.0 - rest) * ordered[below, columns] + rest * ordered[above, columns]
    shift: Array = np.where(np.isfinite(wanted), np.clip(-level, -limit, limit), 0.0)
    return shift


def prob_up(moves: Array) -> Array:
    """(M,) the share of a sample (S, M) above zero, as forecasts count it."""
    wins = (moves > 0).sum(axis=0) + 0.5 * (moves == 0).sum(axis=0)
    share: Array = (wins + 1.0) / (len(moves) + 2.0)
    return share


def crps(ordered: Array, truth: Array) -> Array:
    """(...) the fair CRPS of sorted samples (S, ...)."""
    count = len(ordered)
    weights = 2.0 * np.arange(1, count + 1) - count - 1.0
    away = ordered - truth
    score: Array = np.abs(away).mean(axis=0) - np.tensordot(weights, away, axes=(0, 0)) / (count * (count - 1))
    return score
