"""The drift report, as data: which way forecasts lean, by how much they read and by what the price just did.

A model that measures prices from their mean over the look-back is drawn back to it: after a rise it says fall, after a
fall rise, and how strongly depends on how far back it looks. Forecasts are made from look-backs of several lengths at
the same origins; their drift is set beside the recent trend, and so is what the market did.

Everything is in u: log returns over h bars are divided by the deviation of the last 100 one-bar log returns times
sqrt(h), for all lengths of the look-back by the same one.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kronos.config import Settings
from kronos.errors import ConfigError

Array = NDArray[np.float64]

UNIT_BARS = 100
LEAST_LOOKBACK = 8  # networks read no fewer
PLACE = "z"  # the trend that is a place: how many deviations the last close lies above the look-back's mean


class DriftTask(Settings):
    """What is measured."""

    lookbacks: tuple[int, ...] = (64, 128, 256, 400)
    horizon: int = Field(default=24, ge=1)
    steps: tuple[int, ...] = (1, 6, 24)
    """Steps of the horizon whose drift is measured; one beyond it becomes the horizon."""
    trends: tuple[int, ...] = (5, 20, 100)
    """Bars whose return is a recent trend."""
    origins: int = Field(default=200, ge=10)
    since: str | None = None
    until: str | None = None
    samples: int = Field(default=50, ge=2)
    seed: int = 0
    together: int = Field(default=32, ge=1)
    """Windows that are forecast in one call."""

    @property
    def known(self) -> int:
        """Bars that the judge looks back on, for the unit and the trends; a forecaster sees its look-back only."""
        return max(*self.lookbacks, *self.trends, UNIT_BARS) + 1

    @property
    def at(self) -> tuple[int, ...]:
        """The steps, in order, none beyond the horizon."""
        return tuple(sorted({min(step, self.horizon) for step in self.steps}))

    def check(self) -> None:
        """Refuse what cannot be measured."""
        for name, numbers, least in (
            ("lookbacks", self.lookbacks, LEAST_LOOKBACK),
            ("steps", self.steps, 1),
            ("trends", self.trends, 1),
        ):
            if not numbers or min(numbers) < least:
                raise ConfigError(f"{name} {list(numbers)}: give at least one number, none below {least}")
            if len(set(numbers)) < len(numbers):
                raise ConfigError(f"{name} {list(numbers)}: a number is given twice")


def unit_of(closes: Array) -> float:
    """The deviation of the last 100 one-bar log returns of closes (L,); not a number where they did not move."""
    deviation = float(np.diff(np.log(closes))[-UNIT_BARS:].std())
    return deviation if deviation > 1e-9 else float("nan")


def trends_of(closes: Array, lookback: int, bars: tuple[int, ...]) -> dict[str, float]:
    """Trends by name: `5` for the return of the last 5 bars in u, ..., and `z` for the place in the look-back."""
    logs, unit = np.log(closes), unit_of(closes)
    found = {str(n): float((logs[-1] - logs[-1 - n]) / (unit * np.sqrt(n))) for n in bars}
    seen = closes[-lookback:]
    deviation = float(seen.std())
    # a price scale that barely moved gives no place in it
    found[PLACE] = float((seen[-1] - seen.mean()) / deviation) if deviation > 1e-9 * seen[-1] else float("nan")
    return found
