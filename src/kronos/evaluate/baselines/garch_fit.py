"""GARCH(1,1) with a constant mean and Student-t innovations by maximum likelihood, for many series at once.

Our own, in numpy: the search runs over all series together, so a hundred fits cost little more than ten. Parameters are
looked for as logarithms and logits, which keeps variances positive and alpha + beta below 1. Every series begins at
two places, the most likely of a grid of calm and of one of persistent volatility, and the better end is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kronos.evaluate.baselines.filters import DECAY
from kronos.evaluate.baselines.minimising import Function, Minima, minimise
from kronos.evaluate.baselines.student import Parameters, loss, variance_before, variances

Array = NDArray[np.float64]

LEAST_NU, MOST_NU = 2.05, 500.0  # below 2 there is no variance, 500 is as good as normal
BOUND = 12.0  # of logarithms and logits
CALM, PERSISTENT = (0.3, 0.7, 0.9), (0.95, 0.98, 0.995)  # alpha + beta, where the search may begin
SHARES, TAILS = (0.02, 0.1, 0.4, 0.9), (4.0, 12.0)  # alpha's share of it, and nu
TOGETHER = 48  # series: more do not fit into the processor's cache and are no faster
EWMA_NU = 5.0  # where nothing was fitted: the tails of most markets' one-bar returns
MOST_ZEROS = 0.5  # the likelihood has no maximum where most returns are exactly nought


@dataclass(frozen=True)
class Garch:
    """A fit in units of `unit`: r[t] = mean + e[t], e[t] / sqrt(h[t]) ~ t(nu) of variance 1, and

    h[t] = omega + alpha e[t - 1]^2 + beta h[t - 1].
    """

    mean: float
    omega: float
    alpha: float
    beta: float
    nu: float
    unit: float  # the deviation of the returns
    variance: float  # of the next return
    likelihood: float  # log, of the returns in units
    fallback: str = ""  # why maximum likelihood would not do, and the EWMA's recursion stands here


def fit_garch(series: Sequence[Array]) -> list[Garch]:
    """The fits of the returns (T,) of every series, of any lengths; none of them stands still."""
    found: dict[int, Garch] = {}
    for length in {len(one) for one in series}:
        places = [i for i, one in enumerate(series) if len(one) == length]
        for first in range(0, len(places), TOGETHER):
            some = places[first : first + TOGETHER]
            found |= dict(zip(some, _fit_together(np.stack([series[i] for i in some])), strict=True))
    return [found[i] for i in range(len(series))]


def ewma_instead(returns: Array, why: str) -> Garch:
    """The exponentially weighted recursion as a fit: no omega, and alpha + beta = 1."""
    unit = float(returns.std())
    mean = float(returns.mean()) / unit
    at = Parameters(*(np.array([value]) for value in (mean, 0.0, 1.0 - DECAY, DECAY, EWMA_NU)))
    return _fits((returns / unit)[None], np.array([unit]), at, [why])[0]


def standardised(returns: Array, fit: Garch) -> Array:
    """(T,) the returns without the mean, each over the deviation that the fit expected of it."""
    scaled = (returns / fit.unit)[None]
    at = Parameters(*(np.array([value]) for value in (fit.mean, fit.omega, fit.alpha, fit.beta, fit.nu)))
    expected = variances(scaled, at, variance_before(scaled))[0, :-1]
    left: Array = (scaled[0] - fit.mean) / np.sqrt(expected)
    return left


def _fit_together(returns: Array) -> list[Garch]:
    """The fits of returns (N, T)."""
    units = returns.std(axis=1)
    scaled = returns / units[:, None]
    best = _best(scaled)
    why = np.where(best.converged, "", "the search for the likeliest parameters did not settle")
    why = np.where((returns == 0).mean(axis=1) > MOST_ZEROS, "most returns are nought", why)
    fits = _fits(scaled, units, _parameters(best.points), [""] * len(returns))
    return [
        ewma_instead(one, str(reason)) if reason else fit for one, fit, reason in zip(returns, fits, why, strict=True)
    ]


def _fits(scaled: Array, units: Array, at: Parameters, why: Sequence[str]) -> list[Garch]:
    before = variance_before(scaled)
    likelihood = -scaled.shape[1] * loss(scaled, at, before)[0]
    columns = np.stack([*at, units, variances(scaled, at, before)[:, -1], likelihood], axis=1).tolist()
    return [replace(Garch(*values), fallback=reason) for values, reason in zip(columns, why, strict=True)]


def _best(scaled: Array) -> Minima:
    """The likeliest point of every series, of the ends of both searches."""
    before, count = variance_before(scaled), len(scaled)

    def losses(points: Array, rows: NDArray[np.int64]) -> tuple[Array, Array]:
        which = rows % count
        at = _parameters(points)
        value, slope = loss(scaled[which], at, before[which])
        return value, _slopes(points, at, slope)

    start = np.concatenate([_begin(losses, scaled, sums) for sums in (CALM, PERSISTENT)])
    both = minimise(losses, start, BOUND)
    ends = np.where(np.isfinite(both.values), both.values, np.inf).reshape(2, count)
    rows = ends.argmin(axis=0) * count + np.arange(count)
    return Minima(both.points[rows], both.values[rows], both.converged[rows])


def _begin(losses: Function, scaled: Array, sums: Sequence[float]) -> Array:
    """(N, 5) the best point of a grid."""
    means = np.median(scaled, axis=1)
    grid = [
        (np.log(1.0 - s), _logit(s), _logit(a), np.log(nu - LEAST_NU)) for s in sums for a in SHARES for nu in TAILS
    ]
    points = np.stack([np.column_stack([means, np.tile(one, (len(means), 1))]) for one in grid])  # (G, N, 5)
    values = np.stack([losses(some, np.arange(len(means)))[0] for some in points])
    best: Array = points[values.argmin(axis=0), np.arange(len(means))]
    return best


def _parameters(points: Array) -> Parameters:
    """From the coordinates of the search: mean, log omega, logit of the sum, logit of alpha's share, log of nu."""
    mean, log_omega, total, share, tail = points.T
    both, part = _logistic(total), _logistic(share)
    nu = np.minimum(LEAST_NU + np.exp(tail), MOST_NU)
    return Parameters(mean, np.exp(log_omega), both * part, both * (1.0 - part), nu)


def _slopes(points: Array, at: Parameters, by: Parameters) -> Array:
    """(n, 5) the gradient in the coordinates of the search."""
    both, part = _logistic(points[:, 2]), _logistic(points[:, 3])
    by_total = both * (1.0 - both) * (part * by.alpha + (1.0 - part) * by.beta)
    by_share = both * part * (1.0 - part) * (by.alpha - by.beta)
    by_tail = np.where(at.nu < MOST_NU, (at.nu - LEAST_NU) * by.nu, 0.0)
    return np.stack([by.mean, at.omega * by.omega, by_total, by_share, by_tail], axis=1)


def _logistic(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def _logit(share: float) -> float:
    return float(np.log(share / (1.0 - share)))
