"""How much drift follows the trend: a regression whose errors know that neighbouring origins share their shocks.

The slope's error is that of a mean: each origin pulls the slope by (trend - mean trend) x residual / variance of the
trend, and the standard error of the mean of these pulls, in clusters of time and of assets, is the slope's
(Cameron, Gelbach and Miller, 2011; `metrics.uncertainty`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from kronos.evaluate.metrics.uncertainty import standard_error
from kronos.evaluate.protocols.drift_run import DriftResults

Array = NDArray[np.float64]

FEWEST = 20  # origins that a slope is taken from
BINS = 7


@dataclass(frozen=True)
class Slope:
    """A line through drift over trend: its slope with a standard error, and its mean level."""

    slope: float
    error: float
    mean: float
    mean_error: float
    origins: int


def fit_slope(trend: ArrayLike, drift: ArrayLike, assets: ArrayLike, times: ArrayLike) -> Slope:
    """Least squares of `drift` on `trend` with an intercept; what is not a number is left out.

    Too few origins, or a trend that never changes, give a slope that is not a number.
    """
    x, y = np.asarray(trend, dtype=np.float64), np.asarray(drift, dtype=np.float64)
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if len(x) < FEWEST or float(x.std()) < 1e-9:
        return Slope(math.nan, math.nan, math.nan, math.nan, len(x))
    owners, moments = np.asarray(assets)[there], np.asarray(times)[there]
    away = x - x.mean()
    variance = float(np.mean(away**2))
    slope = float(np.mean(away * y)) / variance
    pulls = away * (y - y.mean() - slope * away) / variance
    return Slope(
        slope,
        standard_error(pulls, owners, moments),
        float(y.mean()),
        standard_error(y, owners, moments),
        len(x),
    )


def slopes(results: DriftResults) -> pd.DataFrame:
    """A row for every model, length, trend and step: the slope of what was said, of what came, and of the difference.

    `said`, `came`, `excess` are the slopes in u per u (of the mean of the paths; `said_median` of their median), `_se`
    their errors; `drift` and `market` are the means of what was said and came, `drift_excess` their difference.
    """
    rows = []
    for (model, lookback), mine in results.rows.groupby(["model", "lookback"], sort=False):
        for trend in results.trends:
            for step in results.task.at:
                row = {"model": model, "lookback": lookback, "read": int(mine["read"].max())}
                rows.append({**row, "trend": trend, "step": step, **_of(mine, trend, step)})
    return pd.DataFrame(rows)


def length_effect(results: DriftResults, model: str, trend: str, step: int) -> Slope:
    """How the slope differs between the shortest and the longest look-back, at the same origins: longest less shortest.

    For the place in the look-back, which is another for each length, the slopes are on the longest one's.
    """
    mine = results.rows[results.rows["model"] == model]
    lengths = (min(results.task.lookbacks), max(results.task.lookbacks))
    keys = ["series", "time"]
    short, long = (mine[mine["lookback"] == length].set_index(keys) for length in lengths)
    difference = long[f"mean_{step}"] - short[f"mean_{step}"].reindex(long.index)
    return fit_slope(long[f"trend_{trend}"], difference, long["asset"], _moments(long.reset_index()))


def binned(trend: ArrayLike, values: ArrayLike, bins: int = BINS) -> tuple[Array, Array, Array]:
    """Mean trend, mean value, and its error in bins of about as many origins each, sorted by trend."""
    x, y = np.asarray(trend, dtype=np.float64), np.asarray(values, dtype=np.float64)
    there = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[there], kind="stable")
    parts = [part for part in np.array_split(order, min(bins, max(len(order) // 3, 1))) if len(part)]
    x, y = x[there], y[there]
    errors = [float(y[part].std(ddof=1)) / math.sqrt(len(part)) if len(part) > 1 else math.nan for part in parts]
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts]), np.array(errors)


def _of(mine: pd.DataFrame, trend: str, step: int) -> dict[str, float]:
    x, times = mine[f"trend_{trend}"], _moments(mine)
    said, median, came = (mine[f"{what}_{step}"] for what in ("mean", "median", "came"))
    found: dict[str, float] = {}
    parts: Sequence[tuple[str, str, ArrayLike]] = (
        ("said", "drift", said),
        ("came", "market", came),
        ("excess", "drift_excess", said - came),
        ("said_median", "drift_median", median),
    )
    for name, level, values in parts:
        line = fit_slope(x, values, mine["asset"], times)
        found |= {name: line.slope, f"{name}_se": line.error, level: line.mean, f"{level}_se": line.mean_error}
        found["origins"] = line.origins
    return found


def _moments(rows: pd.DataFrame) -> NDArray[np.int64]:
    found: NDArray[np.int64] = rows["time"].to_numpy().astype("datetime64[ns]").astype(np.int64)
    return found
