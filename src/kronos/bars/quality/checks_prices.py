"""Checks of what the prices and volumes say: bad ticks, jumps and splits, silence, amounts that do not fit, outliers.

Works on usable rows. Whether a jump is right nobody can see from bars; what is reported is what forecasts suffer from.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from kronos.bars.candles import CLOSE, HIGH, LOW, OPEN, Array
from kronos.bars.quality.checks_rows import Usable
from kronos.bars.quality.findings import SHOWN, Finding, Severity, capped
from kronos.bars.quality.limits import Limits
from kronos.bars.quality.ticks import bad_ticks, local_scale, mended
from kronos.bars.sessions import Flags
from kronos.bars.timeframe import Ints, Timeframe

SPLITS = (2.0, 3.0, 1.5, 4.0, 5.0, 7.0, 10.0, 20.0)
EXCITED = 2.5  # so many times the usual turnover goes with news


def check_prices(bars: Usable, timeframe: Timeframe, limits: Limits) -> Iterator[Finding]:
    """Everything that the values of the usable rows show."""
    if len(bars) < 2:
        return
    scale = local_scale(bars.prices, bars.wall, timeframe)
    bad = bad_ticks(bars.prices, bars.volume, bars.wall, timeframe, limits.tick, scale)
    clean = mended(bars.prices, bad)
    yield from _mixed(bars, bad_ticks(bars.prices, bars.volume, bars.wall, timeframe, 0.4 * limits.tick, scale))
    yield from _ticks(bars, bad)
    yield from _jumps(bars, clean, scale, limits)
    yield from _silence(bars, limits)
    yield from _outliers(bars, clean, limits)


def _mixed(bars: Usable, odd: Flags) -> Iterator[Finding]:
    """A single bad tick may happen; where whole bars stand apart again and again, two series were joined by time."""
    rows = np.flatnonzero(odd.all(axis=1))
    if len(rows) >= max(10, 0.003 * len(bars)):
        detail = f"{len(rows):,} bars stand wholly beyond both neighbours: two instruments or contracts in one series?"
        yield Finding("mixed_series", "error", bars.times[rows[0]], bars.times[rows[-1]], len(rows), detail)


def _ticks(bars: Usable, bad: Flags) -> Iterator[Finding]:
    rows = np.flatnonzero(bad.any(axis=1))

    def say(row: int) -> str:
        before, after = bars.prices[row - 1, CLOSE], bars.prices[row + 1, OPEN]
        places = [("open", "high", "low", "close")[i] for i in np.flatnonzero(bad[row])]
        values = ", ".join(f"{bars.prices[row, ('open', 'high', 'low', 'close').index(p)]:.6g}" for p in places)
        return f"{' '.join(places)} {values} between {before:.6g} and {after:.6g}"

    yield from each("bad_tick", "warning", bars.times, rows, rows, say)


def steps_between(prices: Array) -> Array:
    """(N,) the larger of the log steps from the close before to the open and to the close of a bar; the first has 0."""
    before = prices[:-1, CLOSE]
    steps = np.log(prices[1:, [OPEN, CLOSE]] / before[:, None])
    larger = np.where(np.abs(steps[:, 0]) > np.abs(steps[:, 1]), steps[:, 0], steps[:, 1])
    return np.asarray(np.r_[0.0, larger], dtype=np.float64)


def _jumps(bars: Usable, prices: Array, scale: Array, limits: Limits) -> Iterator[Finding]:
    steps = steps_between(prices)
    rows = np.flatnonzero(np.abs(steps) > np.log1p(limits.jump))
    worth = bars.volume * prices[:, CLOSE]  # what news moves is traded many times as much; a split changes no worth
    ratios = {}
    for row in rows.tolist():
        around = worth[max(row - 20, 0) : row]
        ratio = split_ratio(prices, row, float(scale[row]))
        if ratio is not None and not worth[row] > EXCITED * np.median(around):
            ratios[row] = ratio

    def say(row: int) -> str:
        before, now = prices[row - 1, CLOSE], prices[row, OPEN]
        text = f"{before:.6g} to {now:.6g} ({now / before - 1:+.1%}"
        if abs(np.log(now / before)) < 0.9 * abs(steps[row]):
            text += f", closing at {prices[row, CLOSE]:.6g}"
        text += ")"
        return f"{text}: like a split of {_fraction(ratios[row])}" if row in ratios else text

    split = np.array([row for row in rows if int(row) in ratios], dtype=np.int64)
    jump = np.array([row for row in rows if int(row) not in ratios], dtype=np.int64)
    yield from each("split", "warning", bars.times, split, split, say)
    yield from each("jump", "warning", bars.times, jump, jump, say)


def split_ratio(prices: Array, row: int, scale: float) -> float | None:
    """Old price / new price where the step into `row` looks like a share split; None where it does not.

    A split is by a usual ratio, comes in a calm bar, and stays.
    """
    before, after = prices[max(row - 5, 0) : row], prices[row : row + 5]
    step = float(np.log(before[-1, CLOSE] / after[0, OPEN]))
    if abs(step) < np.log(1.2):
        return None
    usual = np.log(np.array(SPLITS)) * np.sign(step)
    nearest = int(np.abs(usual - step).argmin())
    off = abs(usual[nearest] - step)
    stayed = abs(np.log(np.median(before[:, CLOSE]) / np.median(after[:, CLOSE])) - usual[nearest])
    calm = np.log(after[0, HIGH] / after[0, LOW]) <= 8 * scale
    if off > min(max(3 * scale, 0.01), 0.05) or stayed > max(0.05, 6 * scale) or not calm:
        return None
    return float(np.exp(usual[nearest]))


def _fraction(ratio: float) -> str:
    up = max(ratio, 1 / ratio)
    words = "3:2" if abs(up - 1.5) < 0.1 else f"{round(up)}:1"
    return words if ratio > 1 else ":".join(reversed(words.split(":")))


def _silence(bars: Usable, limits: Limits) -> Iterator[Finding]:
    traded = np.isfinite(bars.volume)
    if not traded.any() or not (bars.volume[traded] > 0).any():
        detail = "there is no volume" if not traded.any() else "every volume is zero"
        yield Finding("zero_volume", "note", bars.times[0], bars.times[-1], len(bars), detail)
    else:
        silent = bars.volume == 0
        first, last = long_runs(silent, silent, limits.illiquid)
        yield from each(
            "zero_volume", "warning", bars.times, first, last, lambda row: f"{_count(first, last, row)} without volume"
        )
    start, stop = long_runs(*still(bars.prices), limits.stagnant)
    yield from each(
        "stagnant", "warning", bars.times, start, stop,
        lambda row: f"{_count(start, stop, row)} at {bars.prices[row, CLOSE]:.6g}",
    )  # fmt: skip


def still(prices: Array) -> tuple[Flags, Flags]:
    """(N,) bars of one price, and whether it is the price of the bar before."""
    flat = (prices[:, HIGH] == prices[:, LOW]) & (prices[:, OPEN] == prices[:, CLOSE])
    same = np.r_[True, prices[1:, CLOSE] == prices[:-1, CLOSE]]
    return np.asarray(flat, dtype=np.bool_), np.asarray(same, dtype=np.bool_)


def long_runs(flags: Flags, joined: Flags, least: int) -> tuple[Ints, Ints]:
    """First and last row of every run of at least `least` true `flags`; a run goes on only where `joined` is true."""
    on = flags & np.r_[False, flags[:-1]] & joined  # this row continues the run of the row before
    begins = np.flatnonzero(flags & ~on)
    ends = np.flatnonzero(flags & ~np.r_[on[1:], False])
    keep = ends - begins + 1 >= least
    return begins[keep], ends[keep]


def _count(first: Ints, last: Ints, row: int) -> str:
    count = int(last[np.searchsorted(first, row)]) - row + 1
    return "1 bar" if count == 1 else f"{count:,} bars"


def _outliers(bars: Usable, prices: Array, limits: Limits) -> Iterator[Finding]:
    returns = np.diff(np.log(prices[:, CLOSE]))
    known = bars.volume > 0
    cases = (
        ("log return", returns, bars.times[1:], limits.outlier),
        ("log volume", np.log(bars.volume[known]), bars.times[known], limits.outlier / 2),
    )
    for name, values, times, limit in cases:
        if len(values) < 30:
            continue
        middle, spread = middle_and_spread(values)
        far = np.abs(values - middle) > limit * spread
        if spread > 0 and far.any():
            at = np.flatnonzero(far)
            worst = at[np.abs(values[at] - middle).argmax()]
            detail = (
                f"{len(at):,} of {len(values):,} {name}s lie beyond {limit:g} MAD deviations of {spread:.3g}; "
                f"the farthest is {values[worst]:+.3g} at {times[worst]}"
            )
            places = len(at)
            if places > 0.05 * len(values):  # so many are no outliers
                detail, places = f"{detail}: it seems to change its unit or its source", 1
            yield Finding("outlier", "note", times[at[0]], times[at[-1]], len(at), detail, places)


def middle_and_spread(values: Array) -> tuple[float, float]:
    """The median, and the standard deviation as the median absolute deviation tells it."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def each(
    kind: str,
    severity: Severity,
    times: pd.DatetimeIndex,
    first: Ints,
    last: Ints,
    say: Callable[[int], str],
) -> list[Finding]:
    """One finding for each stretch of rows, as far as they are shown one by one."""
    pairs = zip(first[:SHOWN].tolist(), last[:SHOWN].tolist(), strict=True)
    found = [Finding(kind, severity, times[a], times[b], b - a + 1, say(a)) for a, b in pairs]
    return capped(found, len(first), int((last - first + 1).sum()))
