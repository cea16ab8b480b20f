"""Is one forecaster really better: tests of the mean difference of two losses of the same events."""

from collections.abc import Mapping
from math import nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError
from kronos.evaluate.metrics.laws import t_quantile, two_sided_t
from kronos.evaluate.metrics.long_run import long_run_variance, overlapping_variance
from kronos.evaluate.metrics.uncertainty import BLOCKS, paired


class Comparison(NamedTuple):
    """The mean of our loss less theirs, and how likely one as large is where neither is better."""

    difference: float  # below 0: ours is the smaller loss
    error: float
    statistic: float
    p: float  # two-sided, by Student's t
    freedom: float
    observations: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval of the difference by the same t."""
        if not self.error >= 0:
            return nan, nan
        reach = t_quantile(level, self.freedom) * self.error
        return self.difference - reach, self.difference + reach


def diebold_mariano(ours: ArrayLike, theirs: ArrayLike, horizon: int = 1, lags: int | None = None) -> Comparison:
    """Diebold and Mariano's test of two rows of losses (T,) of one series, in order of time.

    `horizon` counts in rows: how many forecasts in a row look at a common bar (1: they do not overlap; forecasts of 24
    bars made every 6 bars: 4). The variance is that of `overlapping_variance`, or Newey and West's with `lags`; then
    Harvey, Leybourne and Newbold's correction for few rows, and t with T - 1 degrees of freedom. Losses that are the
    same everywhere differ by 0 with p = 1.
    """
    loss = _difference(ours, theirs)
    count = len(loss)
    if not 1 <= horizon < count:
        raise ConfigError(f"a horizon of {horizon} rows, of which there are {count}")
    variance = overlapping_variance(loss, horizon) if lags is None else long_run_variance(loss, lags)
    shrunk = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    if shrunk <= 0:
        raise ConfigError(f"{count} rows are too few for a horizon of {horizon}; about twice the horizon are needed")
    error = sqrt(variance / count / shrunk)
    return _compared(float(loss.mean()), error, count - 1, count)


def diebold_mariano_panel(
    ours: Mapping[str, NDArray[Any]],
    theirs: Mapping[str, NDArray[Any]],
    name: str = "crps",
    against: str | None = None,
) -> Comparison:
    """The same for figures of `score_windows`: many series at many times, judged by `paired`'s clustered error.

    Degrees of freedom are the blocks of time less one, of which there are at most 20; with fewer than two moments there
    is no test, and its figures are not numbers.
    """
    difference, error = paired(ours, theirs, name, against)
    losses = ours[name] - theirs[name if against is None else against]
    there = np.isfinite(losses)
    freedom = min(max(BLOCKS), len(np.unique(ours["time"][there]))) - 1
    return _compared(difference, error, freedom, int(there.sum()))


def _compared(difference: float, error: float, freedom: float, observations: int) -> Comparison:
    if freedom < 1 or not np.isfinite(error):
        return Comparison(difference, nan, nan, nan, freedom, observations)
    if error == 0.0:
        statistic = 0.0 if difference == 0.0 else float(np.copysign(np.inf, difference))
    else:
        statistic = difference / error
    return Comparison(difference, error, statistic, two_sided_t(statistic, freedom), freedom, observations)


def _difference(ours: ArrayLike, theirs: ArrayLike) -> NDArray[np.float64]:
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ConfigError(f"two rows of losses of the same length, at least 2, are compared; got {a.shape}, {b.shape}")
    if not (np.isfinite(a) & np.isfinite(b)).all():
        raise ConfigError("losses are numbers; leave out the rows at which either is none")
    return a - b
