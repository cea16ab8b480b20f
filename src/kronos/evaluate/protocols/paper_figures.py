"""The paper's measures with standard errors: values of a cell, of a class, of all classes, and differences of entrants.

A correlation over samples, or an R2, is no mean, so that the error of a mean does not apply. But to first order its
error is a mean: that of the *influences*, how much each sample moves the measure. With influences every measure here
has the same clustered standard error as a plain mean (`metrics.uncertainty`), cells can be averaged with any weights,
and two entrants can be compared on the same origins: the influences of a difference are the difference of theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from kronos.evaluate.metrics.points import ranks
from kronos.evaluate.metrics.uncertainty import standard_error

Array = NDArray[np.float64]

FEWEST_ORIGINS = 30  # of a cell: a correlation over fewer says nothing
ALL = "all"


class Measured(NamedTuple):
    """A measure over samples, and how much each moves it (N,); the influences have mean 0."""

    value: float
    influence: Array


def mean_of(values: ArrayLike) -> Measured:
    """The mean of numbers (N,); those that are none are left out and move nothing."""
    numbers = np.asarray(values, dtype=np.float64)
    there = np.isfinite(numbers)
    if not there.any():
        return Measured(float("nan"), np.zeros(len(numbers)))
    mean = float(numbers[there].mean())
    share = there.mean()  # what is there stands for what is not
    return Measured(mean, np.where(there, numbers - mean, 0.0) / share)


def pearson_of(said: ArrayLike, came: ArrayLike) -> Measured:
    """The correlation of two columns (N,): IC."""
    x, y = (np.asarray(one, dtype=np.float64) for one in (said, came))
    if not (x.std() > 0 and y.std() > 0):
        return Measured(float("nan"), np.zeros(len(x)))
    x, y = ((one - one.mean()) / one.std() for one in (x, y))
    value = float((x * y).mean())
    return Measured(value, x * y - 0.5 * value * (x**2 + y**2))


def spearman_of(said: ArrayLike, came: ArrayLike) -> Measured:
    """The correlation of the ranks of two columns (N,): RankIC.

    A sample moves it by its own ranks, and by pushing the ranks of all that lie above it.
    """
    x, y = (np.asarray(one, dtype=np.float64) for one in (said, came))
    if not (x.std() > 0 and y.std() > 0):
        return Measured(float("nan"), np.zeros(len(x)))
    u, v = ((ranks(one) - 0.5) / len(x) for one in (x, y))
    a, b = ((one - one.mean()) for one in (u, v))
    scale = float(np.sqrt((a**2).mean() * (b**2).mean()))
    moved = u * v + _mean_above(u, v) + _mean_above(v, u)
    return Measured(float((a * b).mean()) / scale, (moved - moved.mean()) / scale)


def r2_of(said: ArrayLike, came: ArrayLike) -> Measured:
    """1 - (squared errors) / (squared distances of what came from its mean); below 0 their mean would do better."""
    x, y = (np.asarray(one, dtype=np.float64) for one in (said, came))
    away = (y - y.mean()) ** 2
    if not away.any():
        return Measured(float("nan"), np.zeros(len(x)))
    missed = (x - y) ** 2
    value = float(1.0 - missed.mean() / away.mean())
    return Measured(value, -(missed - (1.0 - value) * away) / away.mean())


def _mean_above(u: Array, v: Array) -> Array:
    """For every sample the sum over those whose u is no less (ties half) of their v, over N."""
    order = np.argsort(u, kind="stable")
    sorted_u, sums = u[order], np.concatenate([[0.0], np.cumsum(v[order])])
    low, high = np.searchsorted(sorted_u, u, side="left"), np.searchsorted(sorted_u, u, side="right")
    above: Array = (sums[-1] - 0.5 * (sums[low] + sums[high])) / len(u)
    return above


Measure = Callable[[pd.DataFrame], Measured]

MEASURES: Mapping[str, Mapping[str, Measure]] = {
    "price": {
        "ic": lambda rows: mean_of(rows["path_ic"]),
        "rank_ic": lambda rows: mean_of(rows["path_rank_ic"]),
    },
    "return": {
        "ic": lambda rows: pearson_of(rows["said_return"], rows["came_return"]),
        "rank_ic": lambda rows: spearman_of(rows["said_return"], rows["came_return"]),
    },
    "volatility": {
        "mae": lambda rows: mean_of(1e4 * (rows["said_variance"] - rows["came_variance"]).abs()),
        "r2": lambda rows: r2_of(rows["said_variance"], rows["came_variance"]),
        "correlation": lambda rows: pearson_of(rows["said_variance"], rows["came_variance"]),
    },
}
"""Of each task, the measures over the rows of a cell; errors of variances are in units of 1e-4."""

LOWER_IS_BETTER = ("mae",)
LEADING = {
    "price": "rank_ic",
    "return": "rank_ic",
    "volatility": "r2",
    "generation": "discriminative",
    "signals": "rank_ic",
}
"""The measure that the verdict on a task speaks of."""


@dataclass(frozen=True)
class Panel:
    """One measure of one entrant: the value of every cell, and the influences of its rows."""

    values: Mapping[tuple[str, str], float]  # (market, timeframe)
    influences: Mapping[tuple[str, str], Array]
    rows: Mapping[tuple[str, str], pd.DataFrame]

    @classmethod
    def of(cls, rows: pd.DataFrame, measure: Measure) -> "Panel":
        """Measure every cell; one with too few rows, or without a value, is left out."""
        values, influences, kept = {}, {}, {}
        for (market, timeframe), cell in rows.groupby(["market", "timeframe"], sort=True):
            if len(cell) < FEWEST_ORIGINS:
                continue
            found = measure(cell)
            if np.isfinite(found.value):
                key = (str(market), str(timeframe))
                values[key], influences[key], kept[key] = found.value, found.influence, cell
        return cls(values, influences, kept)

    def less(self, other: "Panel") -> "Panel":
        """How much greater it is than another entrant's, in the cells of both."""
        both = [key for key in self.values if key in other.values]
        return Panel(
            {key: self.values[key] - other.values[key] for key in both},
            {key: self.influences[key] - other.influences[key] for key in both},
            {key: self.rows[key] for key in both},
        )

    def total(self, keys: Sequence[tuple[str, str]]) -> dict[str, float]:
        """The mean over the classes of the means over the timeframes of each: value, error, origins, cells."""
        weights = class_weights(keys)
        count = sum(len(self.influences[key]) for key in keys)
        value = sum(weights[key] * self.values[key] for key in keys)
        parts = [count * weights[key] / len(self.influences[key]) * self.influences[key] for key in keys]
        places = pd.concat([self.rows[key][["asset", "time"]] for key in keys])
        error = standard_error(np.concatenate(parts), places["asset"].to_numpy(), places["time"].to_numpy())
        return {"value": float(value), "se": error, "origins": float(count), "cells": float(len(keys))}


def class_weights(keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """What each cell weighs: classes alike, and the cells of a class alike."""
    cells = pd.Series([market for market, _ in keys]).value_counts()
    return {key: 1.0 / (len(cells) * cells[key[0]]) for key in keys}


def table_of(task: str, rows: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every measure of every entrant, for each cell, each class and all: a tidy frame.

    `rows` are the entrants' at the same origins. The market "all" is the mean over classes, the timeframe "all" that
    over the cells of a class.
    """
    found = []
    for model, own in rows.items():
        for name, measure in MEASURES[task].items():
            panel = Panel.of(own, measure)
            for market, timeframe, keys in _slices(list(panel.values)):
                place = {"task": task, "model": model, "market": market, "timeframe": timeframe, "measure": name}
                found.append(place | panel.total(keys))
    columns = ["task", "model", "market", "timeframe", "measure", "value", "se", "origins", "cells"]
    return pd.DataFrame(found, columns=columns)


def difference(task: str, name: str, ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, float]:
    """How much greater a measure of ours is than theirs at the same origins, over all classes, with its error."""
    measure = MEASURES[task][name]
    panel = Panel.of(ours, measure).less(Panel.of(theirs, measure))
    if not panel.values:
        return {"value": float("nan"), "se": float("nan"), "origins": 0.0, "cells": 0.0}
    return panel.total(list(panel.values))


def _slices(keys: Sequence[tuple[str, str]]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What is summed up: all, every class, every cell."""
    if not keys:
        return []
    classes = sorted({market for market, _ in keys})
    by_class = [(market, ALL, [key for key in keys if key[0] == market]) for market in classes]
    return [
        (ALL, ALL, list(keys)),
        *by_class,
        *((market, timeframe, [(market, timeframe)]) for market, timeframe in keys),
    ]
