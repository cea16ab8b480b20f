"""How far the look-back of one forecast can be trusted, as one number: a gate that is asked before every trade.

Every defect takes its share and none gives any back, so that a window with one more defect never scores higher.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kronos.bars.calendar import next_times
from kronos.bars.candles import CLOSE, HIGH, LOW, OPEN, VOLUME, Array
from kronos.bars.frame import DUST
from kronos.bars.quality.checks_prices import steps_between, still
from kronos.bars.quality.checks_rows import Usable, raw_values, usable
from kronos.bars.quality.gaps import find_gaps, ordered_times
from kronos.bars.quality.limits import Limits, limits_for
from kronos.bars.quality.ticks import bad_ticks, mended
from kronos.bars.timeframe import Timeframe, infer_timeframe
from kronos.errors import BarsError

FEW = 32  # bars below which a look-back shows little


@dataclass(frozen=True)
class Health:
    """1 where nothing is wrong, 0 where the bars say nothing; below 0.5 a forecast should not be traded on."""

    score: float
    reasons: tuple[str, ...] = ()
    """What was taken off and for what, the most first."""


def health(
    window: pd.DataFrame,
    *,
    timeframe: Timeframe | str | None = None,
    calendar: str | None = None,
    now: pd.Timestamp | None = None,
    limits: Limits | None = None,
) -> Health:
    """The health of one look-back, canonical or loose.

    The score is a product of what these leave: rows that are no candles, repeat a time or are out of order; fewer than
    32 bars; missing bars; bad ticks; jumps, the nearer to the end the worse; bars that stand still or have no volume
    (unless none has any); and with `now` (bars' own zone, or UTC where they are naive) bars that are overdue. Without
    a named `calendar` a holiday cannot be told from an outage there.
    """
    times, values = raw_values(window, "window")
    ordered = ordered_times(times)
    try:
        length = infer_timeframe(ordered) if timeframe is None else Timeframe.parse(timeframe)
    except BarsError as error:
        return Health(0.0, (str(error),))
    own = limits or limits_for(length)
    bars = usable(times, values)
    broken = _broken(times, values)
    parts = [*_rows(bars, broken, len(times)), *_time(ordered, length, calendar, now)]
    if len(bars) >= 2:
        parts += _prices(bars, length, own, broken)
    score, reasons = 1.0, []
    for left, reason in sorted(parts):
        if left < 1.0:
            score *= max(left, 0.0)
            reasons.append(f"{reason} (x {max(left, 0.0):.2f})")
    return Health(score, tuple(reasons))


def _broken(times: pd.DatetimeIndex, values: Array) -> int:
    """Rows that `frame.canonical` refuses."""
    stamps = times.asi8
    seen = np.maximum.accumulate(stamps)
    with np.errstate(invalid="ignore"):
        prices = values[:, :VOLUME]
        body, dust = prices[:, [OPEN, CLOSE]], DUST * prices[:, HIGH]
        bad = ~(np.isfinite(prices) & (prices > 0)).all(axis=1)
        bad |= (prices[:, HIGH] < body.max(axis=1) - dust) | (prices[:, LOW] > body.min(axis=1) + dust)
        bad |= np.isinf(values[:, VOLUME:]).any(axis=1) | (values[:, VOLUME:] < 0).any(axis=1)
    bad |= np.r_[False, stamps[1:] <= seen[:-1]]
    return int(bad.sum())


def _rows(bars: Usable, broken: int, rows: int) -> Iterator[tuple[float, str]]:
    if broken:
        yield 0.5 * max(0.0, 1 - 4 * broken / rows), f"{broken} of {rows} rows are no candles or out of order"
    yield min(1.0, len(bars) / FEW), f"{len(bars)} bars are few"


def _time(
    times: pd.DatetimeIndex, timeframe: Timeframe, calendar: str | None, now: pd.Timestamp | None
) -> Iterator[tuple[float, str]]:
    if len(times) < 2:
        return
    lost = find_gaps(times, timeframe, calendar).lost
    yield max(0.0, 1 - 5 * lost / (len(times) + lost)), f"{lost} bars are missing"
    if now is not None:
        late = _overdue(times, timeframe, calendar, now)
        yield 1 / (1 + 0.5 * max(0, late - 1)), f"{late} bars are overdue"


def _overdue(times: pd.DatetimeIndex, timeframe: Timeframe, calendar: str | None, now: pd.Timestamp) -> int:
    """Bars that should have ended by now, at most 50."""
    if now.tz is None:
        raise BarsError("health: now has no time zone; pass pd.Timestamp.now('UTC')")
    moment = now.tz_convert(times.tz) if times.tz is not None else now.tz_convert("UTC").tz_localize(None)
    coming = next_times(times, 50, timeframe=timeframe, calendar=calendar)
    return int((coming + timeframe.offset <= moment).sum())


def _prices(bars: Usable, timeframe: Timeframe, limits: Limits, broken: int) -> Iterator[tuple[float, str]]:
    bad = bad_ticks(bars.prices, bars.volume, bars.wall, timeframe, limits.tick)
    # a broken row may have hidden a defect of any kind, and its neighbours'
    ticks = int(bad.any(axis=1).sum()) + 3 * broken
    yield 1 / (1 + 0.25 * ticks), f"{ticks} bars have bad ticks"
    prices = mended(bars.prices, bad)
    jumps = np.flatnonzero(np.abs(steps_between(prices)) > np.log1p(limits.jump))
    if len(jumps):
        age = len(bars) - 1 - int(jumps[-1])
        left = (1 - 0.55 * float(np.exp(-10 * age / len(bars)))) * 0.94 ** len(jumps)
        yield left, f"{len(jumps)} jumps, the last {age} bars before the end"
    flat, same = still(bars.prices)
    rows = len(bars) + broken
    share = (int((flat & same)[1:].sum()) + 2 * broken) / rows
    yield max(0.0, 1 - 1.25 * share), f"{share:.1%} of the bars stand still"
    if (bars.volume > 0).any():
        share = (int((bars.volume == 0).sum()) + broken) / rows
        yield 1 - 0.6 * share, f"{share:.1%} of the bars have no volume"
