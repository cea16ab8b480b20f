"""Are probabilities kept: of events that were said to happen, and of ranks that ought to be uniform. Arrays only."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError
from kronos.evaluate.metrics.laws import kolmogorov

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reliability:
    """What was said and what happened, bin by bin (B,); bins without a case are not there."""

    said: Array  # the mean probability
    happened: Array  # how often it came true
    count: NDArray[np.int64]


class Uniformity(NamedTuple):
    """Kolmogorov's distance of numbers from the uniform law, and how likely one as large is."""

    distance: float
    p: float


def brier(said: ArrayLike, came: ArrayLike) -> Array:
    """(probability - outcome)^2, element by element; an outcome is 1, 0, or between (.5 for a tie)."""
    probability, outcome = _pairs(said, came)
    return np.square(probability - outcome)


def reliability(said: ArrayLike, came: ArrayLike, bins: int = 10, *, equal: str = "width") -> Reliability:
    """Probabilities (N,) and outcomes (N,) in bins of equal `width`, or of equal `count`; each bin is [low, high).

    With `count`, equal probabilities share a bin, so bins are only about as full as each other.
    """
    probability, outcome = _pairs(said, came)
    if probability.ndim != 1 or not len(probability):
        raise ConfigError(f"probabilities are one row of numbers; the shape is {probability.shape}")
    if bins < 1 or equal not in ("width", "count"):
        raise ConfigError(f"{bins} bins of equal '{equal}': give at least one, of equal 'width' or 'count'")
    if equal == "width":
        which = np.minimum((probability * bins).astype(np.int64), bins - 1)
    else:
        below = np.searchsorted(np.sort(probability), probability)  # equal ones get the same place
        which = below * bins // len(probability)
    numbers = np.unique(which, return_inverse=True)[1]
    count = np.bincount(numbers)
    return Reliability(
        np.bincount(numbers, weights=probability) / count, np.bincount(numbers, weights=outcome) / count, count
    )


def expected_calibration_error(said: ArrayLike, came: ArrayLike, bins: int = 10, *, equal: str = "width") -> float:
    """Mean over all cases of |said - happened| of their bin; of few cases it is too large, as chance moves bins."""
    found = reliability(said, came, bins, equal=equal)
    return float(np.average(np.abs(found.said - found.happened), weights=found.count))


def uniformity(values: ArrayLike) -> Uniformity:
    """Kolmogorov-Smirnov test of numbers (N,) between 0 and 1, such as PITs, against the uniform law.

    `p` supposes independent numbers: PITs of forecasts that overlap in time, or of assets that move together, look
    less uniform than it believes. Mid-ranks of S paths are never nearer to the law than .5 / (S + 1).
    """
    numbers = np.sort(np.asarray(values, dtype=np.float64))
    if numbers.ndim != 1 or not len(numbers):
        raise ConfigError(f"a uniform law is tested on one row of numbers; the shape is {numbers.shape}")
    if not (numbers[0] >= 0 and numbers[-1] <= 1):  # not-a-number is sorted to the end
        raise ConfigError("a uniform law is tested on numbers from 0 to 1; leave out what is none")
    count = len(numbers)
    steps = np.arange(count + 1) / count
    distance = float(max((steps[1:] - numbers).max(), (numbers - steps[:-1]).max()))
    return Uniformity(distance, kolmogorov(distance, count))


def _pairs(said: ArrayLike, came: ArrayLike) -> tuple[Array, Array]:
    probability, outcome = np.asarray(said, dtype=np.float64), np.asarray(came, dtype=np.float64)
    if probability.shape != outcome.shape:
        raise ConfigError(f"probabilities of shape {probability.shape}, outcomes of shape {outcome.shape}")
    for values, what in ((probability, "a probability"), (outcome, "an outcome")):
        wrong = values[~((values >= 0) & (values <= 1))]
        if len(wrong):
            raise ConfigError(f"{what} lies between 0 and 1, not {wrong[0]}")
    return probability, outcome
