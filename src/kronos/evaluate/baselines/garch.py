"""GARCH(1,1) as a forecaster: volatility that clusters, with Student-t steps or with the look-back's own shocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kronos.evaluate.baselines.asking import Past
from kronos.evaluate.baselines.base import Fitted
from kronos.evaluate.baselines.garch_fit import Garch, ewma_instead, fit_garch, standardised

Array = NDArray[np.float64]

WIDEST = 10.0  # x the look-back's deviation: a simulation wider than that has exploded


class _GarchWalk(Fitted[Garch]):
    """Paths through the variance's recursion."""

    least = 60

    def fit(self, pasts: Sequence[Past]) -> list[Garch]:
        """All look-backs together; where a fit would send paths anywhere, the EWMA's recursion."""
        return [
            fit if _tame(fit, past.horizon) else ewma_instead(past.changes, "the fitted volatility explodes")
            for past, fit in zip(pasts, fit_garch([past.changes for past in pasts]), strict=True)
        ]


@dataclass(frozen=True)
class GarchT(_GarchWalk):
    """GARCH(1,1) with Student-t innovations, fitted to the look-back; without drift, which only costs."""

    drift: bool = False

    @property
    def name(self) -> str:
        """garch, and whether the mean return is left in."""
        return "garch-drift" if self.drift else "garch"

    def draw(self, past: Past, fit: Garch, samples: int, random: np.random.Generator) -> Array:
        """Student-t shocks of variance 1, carried through the recursion."""
        shocks = random.standard_t(fit.nu, (samples, past.horizon)) * np.sqrt(1.0 - 2.0 / fit.nu)
        return _carried(fit, shocks, fit.mean if self.drift else 0.0)


@dataclass(frozen=True)
class FilteredHistorical(_GarchWalk):
    """Filtered historical simulation: the same fit, whose standardised residuals are drawn again.

    Without drift the residuals are centred; with it they stay as they are, and the mean return is added.
    """

    drift: bool = False

    @property
    def name(self) -> str:
        """fhs, and whether the mean return is left in."""
        return "fhs-drift" if self.drift else "fhs"

    def draw(self, past: Past, fit: Garch, samples: int, random: np.random.Generator) -> Array:
        """The look-back's shocks in any order, carried through the recursion."""
        left = standardised(past.changes, fit)
        left = left if self.drift else left - left.mean()
        shocks = left[random.integers(0, len(left), (samples, past.horizon))]
        return _carried(fit, shocks, fit.mean if self.drift else 0.0)


def _carried(fit: Garch, shocks: Array, mean: float) -> Array:
    """(S, H) log returns since the last close: each path's variance follows its own moves."""
    steps = np.empty_like(shocks)
    variance = np.full(len(shocks), fit.variance)
    for step in range(shocks.shape[1]):
        moves = np.sqrt(variance) * shocks[:, step]
        steps[:, step] = mean + moves
        variance = fit.omega + fit.alpha * moves**2 + fit.beta * variance
    return fit.unit * steps.cumsum(axis=1)


def _tame(fit: Garch, horizon: int) -> bool:
    """Whether the expected variance of the whole horizon stays below `WIDEST`^2 times the look-back's."""
    total, variance = 0.0, fit.variance
    for _ in range(horizon):
        total += variance
        variance = fit.omega + (fit.alpha + fit.beta) * variance
    return bool(total <= WIDEST**2 * horizon)  # false where it is not a number
