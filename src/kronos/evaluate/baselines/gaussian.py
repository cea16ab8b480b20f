"""Random walks with Gaussian steps: what is left to say when only volatility, or drift, is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kronos.errors import ConfigError
from kronos.evaluate.baselines.asking import Past
from kronos.evaluate.baselines.base import Fitted
from kronos.evaluate.baselines.filters import ewma_variances

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """A random walk's steps."""

    deviation: float
    mean: float = 0.0
    mean_error: float = 0.0  # how unsure the mean is: every path draws its own


class _GaussianWalk(Fitted[Gaussian]):
    """Independent normal steps."""

    def draw(self, past: Past, fit: Gaussian, samples: int, random: np.random.Generator) -> Array:
        """Cumulated steps, with a drift of each path's own where one was fitted."""
        steps = fit.deviation * random.standard_normal((samples, past.horizon))
        if fit.mean or fit.mean_error:
            steps += fit.mean + fit.mean_error * random.standard_normal((samples, 1))
        return steps.cumsum(axis=1)


@dataclass(frozen=True)
class HistoricalVolatility(_GaussianWalk):
    """The last value with the deviation of the last `bars` log returns (about their mean); no drift."""

    bars: int = 20

    def __post_init__(self) -> None:
        """Refuse what has no deviation."""
        if self.bars < 2:
            raise ConfigError(f"bars is {self.bars}; a deviation needs at least 2")

    @property
    def name(self) -> str:
        """hv and the number of bars."""
        return f"hv{self.bars}"

    @property
    def least(self) -> int:  # type: ignore[override]  # how many it needs follows from its setting
        """One more bar than returns."""
        return self.bars + 1

    def fit(self, pasts: Sequence[Past]) -> list[Gaussian]:
        """The deviation of the last returns."""
        return [Gaussian(float(past.changes[-self.bars :].std())) for past in pasts]


@dataclass(frozen=True)
class Ewma(_GaussianWalk):
    """Exponentially weighted volatility (.94, as RiskMetrics has it); no drift."""

    @property
    def name(self) -> str:
        """ewma."""
        return "ewma"

    def fit(self, pasts: Sequence[Past]) -> list[Gaussian]:
        """The root of the weighted mean of squares after the last bar."""
        return [Gaussian(float(np.sqrt(ewma_variances(past.changes)[-1]))) for past in pasts]


@dataclass(frozen=True)
class Drift(_GaussianWalk):
    """The look-back's mean return and deviation go on; that the mean is an estimate is counted in."""

    @property
    def name(self) -> str:
        """drift."""
        return "drift"

    def fit(self, pasts: Sequence[Past]) -> list[Gaussian]:
        """Mean, deviation, and the mean's standard error."""
        found = []
        for past in pasts:
            deviation = float(past.changes.std(ddof=1))
            error = deviation / np.sqrt(len(past.changes))
            found.append(Gaussian(deviation, float(past.changes.mean()), float(error)))
        return found
