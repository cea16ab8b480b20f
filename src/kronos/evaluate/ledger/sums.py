"""Means over forecasts, and how sure they are. Numbers only."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.evaluate.metrics.uncertainty import standard_error

Array = NDArray[np.float64]


def ratio(ours: Array, theirs: Array, assets: NDArray[Any], times: NDArray[Any]) -> tuple[float, float]:
    """The mean of ours by the mean of theirs, and its standard error (of the ratio's linear part)."""
    there = np.isfinite(ours) & np.isfinite(theirs)
    if not there.any() or not theirs[there].mean() > 0:
        return math.nan, math.nan
    ours, theirs = ours[there], theirs[there]
    value = float(ours.mean() / theirs.mean())
    return value, standard_error((ours - value * theirs) / theirs.mean(), assets[there], times[there])


def mean(values: Array, assets: NDArray[Any], times: NDArray[Any]) -> tuple[float, float]:
    """The mean of what is a number, and its standard error."""
    there = np.isfinite(values)
    if not there.any():
        return math.nan, math.nan
    return float(values[there].mean()), standard_error(values[there], assets[there], times[there])


def column(rows: pd.DataFrame, name: str) -> Array:
    """A figure as numbers; not a number where no forecast has it."""
    if name not in rows:
        return np.full(len(rows), np.nan)
    return np.asarray(rows[name].to_numpy(dtype=np.float64))
