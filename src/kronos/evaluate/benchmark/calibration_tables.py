"""Does a model mean what it says? Coverage, PIT, reliability of probabilities, and whether wide bands miss by more.

The PIT of a forecast of S paths is known to one part in S + 1; it is spread evenly over that part, so that bins hold
what they should whatever S is. Steps of the horizon are pooled; the errors know that those of one origin go together.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.evaluate.benchmark.panel import LEVELS, Array, Estimate, Panel
from kronos.evaluate.metrics.probability import uniformity

BINS = 10
FEWEST_IN_BIN = 40  # where bins are made equally full
CURVE = tuple(range(5, 100, 5))
"""Shares, in per cent, at which the calibration curve is known."""

CHANCE = 1.358
"""What the distance of Kolmogorov and Smirnov, times the root of the count, stays below in 95 of 100 trials."""

ACROSS = 2.0 * 1.6448536269514722
"""How many deviations of a Gaussian its central 90 % band is wide."""

EVENTS = ("up", "touch up", "touch down")
"""What is said with a probability: to close higher, at any scored step; to move by u one way or the other."""

Owners = NDArray[np.intp]


def coverage(panel: Panel) -> pd.DataFrame:
    """How often the truth lay inside each band, and how wide that band is in u (mean over the steps)."""
    return pd.DataFrame(
        [
            {
                "model": name,
                "level": level / 100.0,
                **panel.mean(name, f"cover{level}").named("covered"),
                **panel.mean(name, f"width{level}").named("width"),
            }
            for name in panel.order
            for level in LEVELS
        ]
    )


def calibration(panel: Panel) -> pd.DataFrame:
    """Of central bands of every size, the share of truths inside: from the PIT, so for all sizes at once."""
    rows = []
    for name in panel.order:
        ranks, owners = _pooled(panel, name, "pit")
        for percent in CURVE:
            half = percent / 200.0
            inside = panel.estimate_at(_overlap(panel, name, ranks, 0.5 - half, 0.5 + half), owners)
            rows.append({"model": name, "level": percent / 100.0, **inside.named("covered")})
    return pd.DataFrame(rows)


def pit(panel: Panel) -> pd.DataFrame:
    """The share of truths in each tenth of what was said; .1 each where the law is right."""
    rows = []
    for name in panel.order:
        ranks, owners = _pooled(panel, name, "pit")
        for place in range(BINS):
            low, high = place / BINS, (place + 1) / BINS
            share = panel.estimate_at(_overlap(panel, name, ranks, low, high), owners)
            rows.append({"model": name, "low": low, "high": high, **share.named("share")})
    return pd.DataFrame(rows)


def pit_distance(panel: Panel, name: str) -> tuple[float, float]:
    """How far the PIT is from uniform (the largest gap of the distribution functions), and how far by chance.

    Ranks of one origin, and of origins that share their luck, are worth fewer independent ones: as many as would give
    the errors of the PIT's mean and of its mean square that are found.
    """
    ranks, owners = _pooled(panel, name, "pit")
    if not len(ranks):
        return float("nan"), float("nan")
    distance = uniformity(ranks).distance
    worth = [float(len(ranks))]
    for values in (ranks, np.square(ranks - 0.5)):
        error, spread = panel.estimate_at(values, owners).error, float(values.var())
        if not np.isfinite(error):
            return distance, float("nan")
        if error > 0:
            worth.append(spread / error**2)
    return distance, CHANCE / min(worth) ** 0.5


def reliability(panel: Panel) -> pd.DataFrame:
    """What was said to happen with some probability, and how often it did: in bins that are equally full."""
    rows = []
    for name in panel.order:
        for event in EVENTS:
            said, happened, owners = _event(panel, name, event)
            for place in _bins(said):
                came = panel.estimate_at(happened[place], owners[place])
                row = {"model": name, "event": event, "count": int(place.sum()), "said": float(said[place].mean())}
                rows.append(row | {"least": float(said[place].min()), "most": float(said[place].max())})
                rows[-1] |= came.named("happened")
    columns = ["model", "event", "count", "said", "least", "most", "happened", "happened_se"]
    return pd.DataFrame(rows, columns=columns)


def spread(panel: Panel) -> pd.DataFrame:
    """Whether forecasts that are unsure miss by more: `said` is the deviation that the 90 % band at the end stands for,
    `missed` the root mean square of the error of the mean, both in u, in bins that are equally full.
    """
    rows = []
    last = max(panel.steps, default=0)
    for name in panel.order:
        unit = panel.values(name, "volatility_unit") * np.sqrt(panel.horizon)
        apart = panel.values(name, "said_return") - panel.values(name, "came_return")
        with np.errstate(divide="ignore", invalid="ignore"):
            missed = apart / unit
        wide = panel.values(name, f"width90_{last}") / ACROSS
        there = np.flatnonzero(np.isfinite(missed) & np.isfinite(wide))
        for place in _bins(wide[there]):
            square = panel.estimate_at(np.square(missed[there][place]), there[place])
            root = square.value**0.5
            error = Estimate(root, square.error / (2.0 * root) if root > 0 else float("nan"))
            row = {"model": name, "count": int(place.sum()), "said": float(wide[there][place].mean())}
            rows.append(row | error.named("missed"))
    return pd.DataFrame(rows, columns=["model", "count", "said", "missed", "missed_se"])


# Parts ----------------------------------------------------------------------------------------------------------------


def _pooled(panel: Panel, name: str, figure: str) -> tuple[Array, Owners]:
    """The figure at all steps, and the origin (by row) that each is of."""
    if not panel.steps:
        return np.empty(0), np.empty(0, dtype=np.intp)
    values = np.stack([panel.values(name, f"{figure}_{step}") for step in panel.steps], axis=1)  # (N, K)
    owners, _ = np.nonzero(np.isfinite(values))
    return values[np.isfinite(values)], owners


def _overlap(panel: Panel, name: str, ranks: Array, low: float, high: float) -> Array:
    """Which part of each rank's own place lies between `low` and `high`."""
    half = 0.5 / (panel.samples[name] + 1.0) if name in panel.samples else 1e-9
    inside = np.minimum(ranks + half, high) - np.maximum(ranks - half, low)
    found: Array = np.clip(inside / (2.0 * half), 0.0, 1.0)
    return found


def _event(panel: Panel, name: str, event: str) -> tuple[Array, Array, Owners]:
    """What was said, whether it happened, and of which origin that is."""
    if event == "up":
        said, owners = _pooled(panel, name, "up")
        happened, others = _pooled(panel, name, "rose")
        if np.array_equal(owners, others):
            return said, happened, owners
        return np.empty(0), np.empty(0), np.empty(0, dtype=np.intp)
    way = event.removeprefix("touch ")
    said, happened = panel.values(name, f"touch_{way}"), panel.values(name, f"touched_{way}")
    there = np.flatnonzero(np.isfinite(said) & np.isfinite(happened))
    return said[there], happened[there], there


def _bins(values: Array) -> Iterator[NDArray[np.bool_]]:
    """Which values lie in each of some bins, equally full and at most ten; equal values stay together."""
    count = min(max(len(values) // FEWEST_IN_BIN, 1), BINS)
    edges = np.unique(np.quantile(values, np.arange(1, count) / count)) if len(values) else np.empty(0)
    places = np.searchsorted(edges, values, side="left")
    for place in range(len(edges) + 1):
        if (places == place).any():
            yield places == place
