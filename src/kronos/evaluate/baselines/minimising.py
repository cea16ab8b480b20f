"""Many small smooth minimisations at once: BFGS over rows, each with its own curvature and its own step."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

Function: TypeAlias = Callable[[Array, Rows], tuple[Array, Array]]
"""Values (n,) and gradients (n, P) at points (n, P), of the functions with these numbers (n,)."""

LONGEST_STEP = 1.5  # in any one coordinate; these are logarithms and logits
ARMIJO = 1e-4  # the share of the promised fall that must come
HALVINGS = 25
FLAT = 3e-5  # a gradient below it is a minimum's
SETTLED = 1e-8  # falls below it, so many times one after the other, end the search
PATIENCE = 3


class Minima(NamedTuple):
    """What was found, a row for each function."""

    points: Array  # (N, P)
    values: Array  # (N,)
    converged: NDArray[np.bool_]  # (N,)


def minimise(function: Function, start: Array, bound: float, steps: int = 200) -> Minima:
    """Local minima within [-bound, bound], each begun at its own row of `start` (N, P)."""
    points = start.copy()
    values, slopes = function(points, np.arange(len(points)))
    inverses = np.tile(np.eye(points.shape[1]), (len(points), 1, 1))
    calm = np.zeros(len(points), dtype=np.int64)  # small falls in a row
    done = ~np.isfinite(values)
    for _ in range(steps):
        rows = np.flatnonzero(~done)
        if not len(rows):
            break
        moves = _directions(slopes[rows], inverses[rows])
        reached, found, slope = _search(function, points[rows], values[rows], slopes[rows], moves, rows, bound)
        inverses[rows] = _curved(inverses[rows], reached - points[rows], slope - slopes[rows])
        fall = values[rows] - found
        stuck = (fall <= 0) & (calm[rows] > 0)  # twice without a step, the second time straight down
        inverses[rows[fall <= 0]] = np.eye(points.shape[1])
        calm[rows] = np.where(fall < SETTLED, calm[rows] + 1, 0)
        points[rows], values[rows], slopes[rows] = reached, found, slope
        done[rows] = stuck | (calm[rows] >= PATIENCE) | (np.abs(slope).max(axis=1) < FLAT)
    return Minima(points, values, done & np.isfinite(values))


def _directions(slopes: Array, inverses: Array) -> Array:
    """Downhill, and not too far."""
    moves = -np.einsum("nij,nj->ni", inverses, slopes)
    uphill = np.einsum("ni,ni->n", moves, slopes) >= 0
    moves[uphill] = -slopes[uphill]
    moves *= np.minimum(1.0, LONGEST_STEP / np.maximum(np.abs(moves).max(axis=1), 1e-300))[:, None]
    return np.asarray(moves, dtype=np.float64)


def _search(
    function: Function, points: Array, values: Array, slopes: Array, moves: Array, rows: Rows, bound: float
) -> tuple[Array, Array, Array]:
    """Where the first step that falls enough leads: half as long at every try. Without one the point stays."""
    reached, found, slope = points.copy(), values.copy(), slopes.copy()
    promised = np.einsum("ni,ni->n", moves, slopes)
    open_, share = np.arange(len(rows)), 1.0
    for _ in range(HALVINGS):
        tried = np.clip(points[open_] + share * moves[open_], -bound, bound)
        value, gradient = function(tried, rows[open_])
        good = value <= values[open_] + ARMIJO * share * promised[open_]  # false where it is not a number
        taken = open_[good]
        reached[taken], found[taken], slope[taken] = tried[good], value[good], gradient[good]
        open_, share = open_[~good], share / 2.0
        if not len(open_):
            break
    return reached, found, slope


def _curved(inverses: Array, moved: Array, turned: Array) -> Array:
    """The inverse Hessians after one more step; where the curvature is not positive they stay."""
    along = np.einsum("ni,ni->n", moved, turned)
    good = along > 1e-12 * np.sqrt(np.square(moved).sum(axis=1) * np.square(turned).sum(axis=1)) + 1e-300
    rate = np.where(good, 1.0 / np.where(good, along, 1.0), 0.0)[:, None, None]
    left = np.eye(moved.shape[1]) - rate * moved[:, :, None] * turned[:, None, :]
    updated: Array = left @ inverses @ left.transpose(0, 2, 1) + rate * moved[:, :, None] * moved[:, None, :]
    return updated
