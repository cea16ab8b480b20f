"""How much the mean of a series that remembers may vary: Newey and West's variance. Arrays only."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError

Array = NDArray[np.float64]


def automatic_lag(count: int) -> int:
    """The usual number of lags for so many values: floor(4 (n / 100)^(2/9)), less than n."""
    return max(0, min(int(4.0 * (count / 100.0) ** (2.0 / 9.0)), count - 1))


def long_run_variance(values: ArrayLike, lags: int | None = None) -> float:
    """Newey-West variance of a stationary series (T,): autocovariances weighted 1 - k / (lags + 1), never negative.

    The mean of T values varies by this over T. `lags` is `automatic_lag` by default. Of values that overlap it finds
    too little: see `overlapping_variance`.
    """
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1 or not len(series):
        raise ConfigError(f"a long-run variance is of one row of numbers; the shape is {series.shape}")
    if not np.isfinite(series).all():
        raise ConfigError("a long-run variance is of numbers; leave out what is none")
    most = automatic_lag(len(series)) if lags is None else lags
    if not 0 <= most < len(series):
        raise ConfigError(f"{most} lags of {len(series)} values; give 0 to {len(series) - 1}")
    return max(_summed(series, most, falling=True), 0.0) / len(series)


def overlapping_variance(values: ArrayLike, overlap: int = 1) -> float:
    """The same for values of which `overlap` in a row look at a common bar: they remember overlap - 1 steps at least.

    The greater of Newey and West's, with no fewer lags than that, and of Hansen and Hodrick's, whose autocovariances up
    to there weigh in full. The first alone would find two thirds of the variance of a moving sum; the second alone
    misses what lasts longer, and may be negative. Without overlap it is Newey and West's.
    """
    series = np.asarray(values, dtype=np.float64)
    if not 1 <= overlap <= max(1, len(series) - 1):
        raise ConfigError(f"{overlap} of {len(series)} values in a row overlap; give 1 (none) to {len(series) - 1}")
    found = long_run_variance(series, max(overlap - 1, automatic_lag(len(series))))
    return found if overlap == 1 else max(found, _summed(series, overlap - 1, falling=False) / len(series))


def _summed(series: Array, lags: int, *, falling: bool) -> float:
    """Products of errors with those up to `lags` steps away, in full or falling with the distance."""
    errors = series - series.mean()
    total = float(errors @ errors)
    for lag in range(1, lags + 1):
        total += 2.0 * (1.0 - lag / (lags + 1.0) if falling else 1.0) * float(errors[lag:] @ errors[:-lag])
    return total
