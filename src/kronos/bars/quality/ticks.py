"""Bad ticks: prices of one bar that stand far beyond both neighbours, and are gone at once.

A price is measured against the neighbours' whole range and in units of what a bar moves around there, so a storm hides
nothing in calm times and calm times blame no storm. What moved for a reason also traded: with a volume to speak for it
a wick must stand out several times as far. The first and the last bar are never called bad: nothing shows that they
return.
"""

import numpy as np
import pandas as pd

from kronos.bars.candles import CLOSE, HIGH, LOW, OPEN, Array
from kronos.bars.sessions import Flags
from kronos.bars.timeframe import DAY, Ints, Timeframe

WINDOW = 51  # bars that say what is usual
RANGE = 1.6  # a random walk's range is so many of its standard deviations
BACKED = 4.0  # a volume of so many usual ones speaks for a price ...
PATIENCE = 3.0  # ... which then may stand out so many times as far
MOVED = 0.15  # a body of this share of the wick speaks for the wick


def true_ranges(prices: Array) -> Array:
    """(N,) the log range of every bar (N, 4), the step from the close before it included."""
    before = np.r_[prices[:1, CLOSE], prices[:-1, CLOSE]]
    return np.asarray(np.log(np.maximum(prices[:, HIGH], before) / np.minimum(prices[:, LOW], before)))


def local_scale(prices: Array, wall: Ints, timeframe: Timeframe) -> Array:
    """(N,) the standard deviation of a bar around here, at this time of the day; robust against single bars."""
    ranges = true_ranges(prices)
    season = _season(ranges, wall, timeframe)
    scale = rolling_median(ranges / season) / RANGE
    typical = max(float(np.median(ranges)), float(np.minimum(ranges, np.quantile(ranges, 0.95)).mean())) / RANGE
    return np.maximum(scale, max(0.25 * typical, 1e-6)) * season


def rolling_median(values: Array, width: int = WINDOW) -> Array:
    """The median of the bars around, which at the ends are those on one side."""
    return np.asarray(pd.Series(values).rolling(width, center=True, min_periods=1).median(), dtype=np.float64)


def _season(ranges: Array, wall: Ints, timeframe: Timeframe) -> Array:
    """How much more bars move at some times of the day than at others, never less than one."""
    if not timeframe.intraday or len(wall) < 10 * DAY // timeframe.nanoseconds // 4 or wall[-1] - wall[0] < 10 * DAY:
        return np.ones(len(ranges))
    clock = wall % DAY
    order = np.lexsort((ranges, clock))
    _, first, place, size = np.unique(clock[order], return_index=True, return_inverse=True, return_counts=True)
    middle = ranges[order[first + size // 2]] / max(float(np.median(ranges)), 1e-9)
    factor = np.empty(len(ranges))
    factor[order] = np.where(size >= 8, np.clip(middle, 1.0, 10.0), 1.0)[place]
    return factor


def bad_ticks(
    prices: Array, volume: Array, wall: Ints, timeframe: Timeframe, limit: float, scale: Array | None = None
) -> Flags:
    """(N, 4) which of the positive `prices` are bad ticks, `limit` being in standard deviations of a bar."""
    bad = np.zeros(prices.shape, dtype=bool)
    if len(prices) < 5:
        return bad
    scale = local_scale(prices, wall, timeframe) if scale is None else scale
    reach = limit * scale[1:-1] * np.where(_backed(volume)[1:-1], PATIENCE, 1.0)
    top = np.maximum(prices[:-2, HIGH], prices[2:, HIGH])
    bottom = np.minimum(prices[:-2, LOW], prices[2:, LOW])
    logs = np.log(prices[1:-1])
    beyond = np.maximum(logs - np.log(top)[:, None], np.log(bottom)[:, None] - logs)
    far = beyond > reach[:, None]
    # a bar that went far with its body, too, moved for a reason; its wick may be long
    body = np.abs(logs[:, CLOSE] - logs[:, OPEN])
    moved = (body > 0.3 * reach) & (body > MOVED * beyond.max(axis=1))
    far &= ~(moved & ~far[:, [OPEN, CLOSE]].any(axis=1))[:, None]
    step = timeframe.nanoseconds
    apart = np.diff(wall) > max(20 * step, 4 * DAY)  # after a long silence a price may be anywhere
    bad[1:-1] = far & ~(apart[:-1] | apart[1:])[:, None]
    return bad


def _backed(volume: Array) -> Flags:
    """Where far more than usual was traded."""
    known = np.where(np.isfinite(volume) & (volume > 0), volume, 0.0)
    usual = rolling_median(known)
    return np.asarray((usual > 0) & (known > BACKED * usual), dtype=np.bool_)


def mended(prices: Array, bad: Flags) -> Array:
    """A copy of `prices` (N, 4) without the `bad` ones, made of prices that are there; nothing else changes.

    A bad open becomes the close before, a bad close the next open, or the other of the two where that one is bad
    itself. A bad high is cut to the highest price of the bar's own body and the two neighbours, a bad low likewise; a
    bar of four bad prices becomes the line from its open to its close.
    """
    clean = prices.copy()
    rows = np.flatnonzero(bad.any(axis=1))
    before, after = clean[rows - 1], clean[rows + 1]
    own, wrong = clean[rows], bad[rows]
    near, next_ = before[:, CLOSE], after[:, OPEN]
    no_near, no_next = bad[rows - 1, CLOSE], bad[rows + 1, OPEN]
    own[:, OPEN] = np.where(wrong[:, OPEN], np.where(no_near & ~no_next, next_, near), own[:, OPEN])
    own[:, CLOSE] = np.where(wrong[:, CLOSE], np.where(no_next & ~no_near, near, next_), own[:, CLOSE])
    top, bottom = own[:, [OPEN, CLOSE]].max(axis=1), own[:, [OPEN, CLOSE]].min(axis=1)
    whole = wrong.all(axis=1)
    highest, lowest = np.maximum(before[:, HIGH], after[:, HIGH]), np.minimum(before[:, LOW], after[:, LOW])
    high = np.where(wrong[:, HIGH], np.minimum(own[:, HIGH], highest), own[:, HIGH])
    low = np.where(wrong[:, LOW], np.maximum(own[:, LOW], lowest), own[:, LOW])
    own[:, HIGH] = np.where(whole, top, np.maximum(high, top))
    own[:, LOW] = np.where(whole, bottom, np.minimum(low, bottom))
    clean[rows] = own
    return clean
