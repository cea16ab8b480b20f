"""How long a bar is: reading the name of a timeframe, learning it from time stamps, and resampling to a longer one.

Knows nothing of exchanges and holidays; `calendar` does. A day is a day of the wall clock of the index's own time
zone, so a daily bar stays a daily bar on the two days of the year that last 23 and 25 hours.
"""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.candles import COLUMNS
from kronos.errors import BarsError, ConfigError

Unit = Literal["s", "m", "h", "d", "w", "mo"]
Side = Literal["left", "right"]
Ints = NDArray[np.int64]

SECOND = 1_000_000_000  # in nanoseconds, the unit of all the arithmetic here
DAY = 86_400 * SECOND
LONGEST = 36_525 * DAY  # a hundred years; what is longer is a mistake, and soon more than 64 bits hold

_LENGTH: dict[Unit, int] = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "mo": 30 * 86_400}
_LARGER: dict[Unit, tuple[int, Unit]] = {"s": (60, "m"), "m": (60, "h"), "h": (24, "d"), "d": (7, "w")}
_SPELLINGS: dict[str, tuple[int, Unit]] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), (1, "s")),
    **dict.fromkeys(("m", "t", "min", "mins", "minute", "minutes"), (1, "m")),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "hourly"), (1, "h")),
    **dict.fromkeys(("d", "b", "day", "days", "daily"), (1, "d")),
    **dict.fromkeys(("w", "wk", "week", "weeks", "weekly"), (1, "w")),
    **dict.fromkeys(("mo", "mon", "mth", "month", "months", "monthly", "me", "ms", "bme", "bms"), (1, "mo")),
    **dict.fromkeys(("q", "qe", "qs", "quarter", "quarters", "quarterly"), (3, "mo")),
    **dict.fromkeys(("y", "ye", "ys", "yr", "year", "years", "yearly"), (12, "mo")),
}


@total_ordering
@dataclass(frozen=True)
class Timeframe:
    """The length of a bar, such as 5 minutes; equal lengths are equal objects (60m is 1h, 24h is 1d, 7d is 1w)."""

    count: int
    unit: Unit

    def __post_init__(self) -> None:
        """Refuse what is no length, and write every length in its largest unit."""
        if self.unit not in _LENGTH or self.count < 1:
            raise ConfigError(f"a timeframe is a positive count of one of {', '.join(_LENGTH)}: not {self}")
        if self.nanoseconds > LONGEST:
            raise ConfigError(f"a timeframe lasts at most 100 years: not {self}")
        while self.unit in _LARGER and self.count % _LARGER[self.unit][0] == 0:
            size, unit = _LARGER[self.unit]
            object.__setattr__(self, "count", self.count // size)
            object.__setattr__(self, "unit", unit)

    @classmethod
    def parse(cls, text: "str | Timeframe") -> "Timeframe":
        """Read "5m", "15min", "60m", "1H", "D", "1w", "1mo"; a capital M is a month, a small one a minute."""
        if isinstance(text, Timeframe):
            return text
        found = (
            re.fullmatch(r"\s*(\d{0,100})[\s_-]*([A-Za-z]+)(-[A-Za-z]{3})?\s*", text) if isinstance(text, str) else None
        )
        if found:
            word = "mo" if found[2] == "M" else found[2].lower()
            if word in _SPELLINGS:
                size, unit = _SPELLINGS[word]
                return cls(int(found[1] or 1) * size, unit)
        raise ConfigError(f"{text!r} is not a timeframe; write a count and a unit, such as 5m, 1h, 1d, 1w or 1mo")

    @property
    def delta(self) -> pd.Timedelta:
        """The nominal length; a month counts as 30 days."""
        return pd.Timedelta(seconds=self.count * _LENGTH[self.unit])

    @property
    def nanoseconds(self) -> int:
        """The nominal length in nanoseconds."""
        return self.count * _LENGTH[self.unit] * SECOND

    @property
    def offset(self) -> pd.Timedelta | pd.DateOffset:
        """What to add to a time stamp to get the next one, months by the calendar."""
        return pd.DateOffset(months=self.count) if self.unit == "mo" else self.delta

    @property
    def intraday(self) -> bool:
        """True where several bars fit into a day."""
        return self.unit in ("s", "m", "h") and self.nanoseconds < DAY

    def __str__(self) -> str:
        """The canonical spelling, which `parse` reads back."""
        return f"{self.count}{self.unit}"

    def __lt__(self, other: "Timeframe") -> bool:
        """Order by nominal length."""
        if not isinstance(other, Timeframe):
            return NotImplemented
        order = list(_LENGTH)
        return (self.delta, order.index(self.unit)) < (other.delta, order.index(other.unit))


def wall_clock(times: pd.DatetimeIndex) -> Ints:
    """Nanoseconds since 1970 as the clock on the wall shows them, which is what sessions and days go by."""
    return np.asarray(times.tz_localize(None).as_unit("ns").asi8, dtype=np.int64)


def steps_of(times: pd.DatetimeIndex) -> Ints:
    """Nanoseconds between neighbours: real time within a day, wall-clock time where the step is a day or more."""
    real = _gaps(np.asarray(times.as_unit("ns").asi8, dtype=np.int64))
    if times.tz is None:
        return real
    return np.where(real >= 20 * 3600 * SECOND, _gaps(wall_clock(times)), real)


def _gaps(moments: Ints) -> Ints:
    return moments[1:] - moments[:-1]


def month_numbers(times: pd.DatetimeIndex) -> Ints:
    """Months since the year 0, so that neighbouring months differ by one."""
    return np.asarray(times.year, dtype=np.int64) * 12 + np.asarray(times.month, dtype=np.int64) - 1


def infer_timeframe(times: pd.DatetimeIndex) -> Timeframe:
    """Learn the timeframe from the commonest step; gaps, sessions, weekends and clock changes do not disturb it."""
    if len(times) < 2:
        raise BarsError("one bar shows no timeframe: give at least two bars, or pass timeframe=")
    steps = steps_of(times)
    if steps.min() <= 0:
        row = int(steps.argmin()) + 1
        raise BarsError(f"row {row} ({times[row]}): times must increase to show a timeframe; sort the bars first")
    usual = _usual(steps)
    if usual < SECOND:
        raise BarsError(f"row 1 ({times[1]}): the bars are less than a second apart; resample ticks to bars first")
    if usual > LONGEST:
        raise BarsError(f"row 1 ({times[1]}): the bars are more than 100 years apart; check the times")
    days = round(usual / DAY)
    if days and abs(usual - days * DAY) <= 3600 * SECOND:
        return _infer_days(times, np.rint(steps / DAY).astype(np.int64))
    return Timeframe(round(usual / SECOND), "s")


def _usual(steps: Ints) -> int:
    """The commonest step, or a divisor of it that is at least half as common: many bars may be missing."""
    values, counts = np.unique(steps, return_counts=True)
    top = int(values[counts.argmax()])
    return int(values[(2 * counts >= counts.max()) & (top % np.maximum(values, 1) == 0)].min())


def _infer_days(times: pd.DatetimeIndex, days: Ints) -> Timeframe:
    """Tell days, weeks and months apart."""
    if float(np.median(days)) >= 27 and _at_one_place_of_the_month(times):
        return Timeframe(max(1, _usual(np.diff(month_numbers(times)))), "mo")
    if len(days) == 1 and days[0] <= 4 and times[0].day_of_week + days[0] >= 7 and times[1].day_of_week < 5:
        return Timeframe(1, "d")  # two bars with a weekend between them, and perhaps a holiday
    return Timeframe(max(1, _usual(days)), "d")


def _at_one_place_of_the_month(times: pd.DatetimeIndex) -> bool:
    """True where the dates sit at the start, at the end or on one day of the month, as monthly bars do."""
    day = np.asarray(times.day)
    left = np.asarray(times.days_in_month) - day
    return bool(max(np.mean(day <= 4), np.mean(left <= 4), np.mean(day == day[-1])) >= 0.9)


def resample(
    frame: pd.DataFrame,
    timeframe: Timeframe | str,
    *,
    label: Side = "left",
    closed: Side | None = None,
    align: Literal["clock", "session"] = "clock",
    incomplete: Literal["keep", "drop"] = "keep",
) -> pd.DataFrame:
    """Longer bars out of a canonical `frame`: first open, highest high, lowest low, last close, sums of the rest.

    - `closed` says what the stamps of `frame` mean: "left" the start of a bar, "right" its end. By default as `label`.
    - `label` says what the new stamps mean. Bars of a day and longer carry a date: the first or the last of the bin.
    - `align="clock"` starts the bins at midnight; "session" at the first bar of the usual day and jumps breaks, so
      that 5-minute A-share bars with end stamps give hours at 10:30, 11:30, 14:00 and 15:00. No bin spans two days.
    - `incomplete="drop"` leaves out a last bin that ends earlier than its like did before. Empty bins never appear.
    """
    target, source = Timeframe.parse(timeframe), infer_timeframe(pd.DatetimeIndex(frame.index))
    closed = closed or label
    _refuse_bad_target(source, target)
    times = pd.DatetimeIndex(frame.index)
    bins = _Bins.by_date if not target.intraday else (_Bins.by_clock if align == "clock" else _Bins.by_session)
    cut = bins(times, source, target, closed)
    first = np.flatnonzero(np.r_[True, np.diff(cut.key) != 0])
    values = frame.loc[:, list(COLUMNS)].to_numpy(dtype=np.float64)
    last = np.r_[first[1:], len(values)] - 1
    columns = [
        values[first, 0],
        np.maximum.reduceat(values[:, 1], first),
        np.minimum.reduceat(values[:, 2], first),
        values[last, 3],
        np.add.reduceat(values[:, 4], first),
        np.add.reduceat(values[:, 5], first),
    ]
    wall = (cut.start if label == "left" else cut.end)[first]
    if not target.intraday and label == "right":
        wall = wall - DAY
    index = _stamps(wall, cut.offset[first], times, target)
    result = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=index)
    if incomplete == "drop" and _last_is_short(cut, first, last, source, closed):
        return result.iloc[:-1]
    return result


def _refuse_bad_target(source: Timeframe, target: Timeframe) -> None:
    if target < source:
        raise ConfigError(f"cannot make {target} bars from {source} bars: resampling only lengthens bars")
    parts = target.intraday and target.nanoseconds % source.nanoseconds
    if parts or (source.unit == "w" and target.unit == "mo"):
        raise ConfigError(f"cannot make {target} bars from {source} bars: the shorter do not fill the longer evenly")


@dataclass(frozen=True)
class _Bins:
    """For every source bar the bin it falls into, in wall-clock nanoseconds."""

    key: Ints  # changes where a new bin starts
    start: Ints
    end: Ints
    wall: Ints  # the source bar's own stamp
    offset: Ints  # of the wall clock from UTC, at the source bar

    @classmethod
    def by_clock(cls, times: pd.DatetimeIndex, source: Timeframe, target: Timeframe, closed: Side) -> "_Bins":
        wall = wall_clock(times)
        inside = wall - (closed == "right")  # an end stamp on the edge belongs to the bin before
        midnight = inside // DAY * DAY
        start = midnight + (inside - midnight) // target.nanoseconds * target.nanoseconds
        offset = wall - np.asarray(times.as_unit("ns").asi8, dtype=np.int64)
        # where the clock is set back an hour comes twice; bins of up to an hour must stay two
        key = start - offset if target.nanoseconds <= 3600 * SECOND else start
        return cls(key, start, np.minimum(start + target.nanoseconds, midnight + DAY), wall, offset)

    @classmethod
    def by_session(cls, times: pd.DatetimeIndex, source: Timeframe, target: Timeframe, closed: Side) -> "_Bins":
        wall = wall_clock(times)
        inside = wall - (closed == "right")
        midnight = inside // DAY * DAY
        clock = wall - midnight
        slots, seen = np.unique(clock, return_counts=True)
        slots = slots[2 * seen >= np.median(seen)]  # a few odd stamps must not shift all bins after them
        ratio = target.nanoseconds // source.nanoseconds
        place = np.maximum(np.searchsorted(slots, clock, side="right") - 1, 0) // ratio
        width = source.nanoseconds
        start = slots[place * ratio] - (width if closed == "right" else 0)
        end = slots[np.minimum(place * ratio + ratio, len(slots)) - 1] + (width if closed == "left" else 0)
        offset = wall - np.asarray(times.as_unit("ns").asi8, dtype=np.int64)
        return cls(midnight + start, midnight + start, midnight + end, wall, offset)

    @classmethod
    def by_date(cls, times: pd.DatetimeIndex, source: Timeframe, target: Timeframe, closed: Side) -> "_Bins":
        wall = wall_clock(times)
        # a daily stamp is a date already; only stamps within a day can lie on the edge to the day before
        date = (wall - (closed == "right" and source.intraday)) // DAY
        if target.unit == "mo":
            dates = pd.DatetimeIndex(date.astype("datetime64[D]").astype("datetime64[ns]"))
            months = (month_numbers(dates) - 1970 * 12) // target.count * target.count
            start, end = (m.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for m in
                          (months, months + target.count))  # fmt: skip
        else:
            days = target.nanoseconds // DAY
            monday = 4 if target.unit == "w" else 0  # 1970-01-01 was a Thursday
            start = (date - monday) // days * days + monday
            end = start + days
        offset = wall - np.asarray(times.as_unit("ns").asi8, dtype=np.int64)
        return cls(start, start * DAY, end * DAY, wall, offset)


def _stamps(wall: Ints, offset: Ints, times: pd.DatetimeIndex, target: Timeframe) -> pd.DatetimeIndex:
    """The index of the new bars, in the time zone and unit of the old."""
    if times.tz is None:
        index = pd.DatetimeIndex(wall.astype("datetime64[ns]"))
    elif target.intraday:
        index = pd.DatetimeIndex((wall - offset).astype("datetime64[ns]")).tz_localize("UTC").tz_convert(times.tz)
    else:
        naive = pd.DatetimeIndex(wall.astype("datetime64[ns]"))
        index = naive.tz_localize(times.tz, ambiguous=np.ones(len(naive), dtype=bool), nonexistent="shift_forward")
    return index.as_unit(times.unit).rename("timestamp")


def _last_is_short(cut: _Bins, first: Ints, last: Ints, source: Timeframe, closed: Side) -> bool:
    """True where the last bin stops farther from its end than nine in ten of its like before it."""
    reach = cut.wall[last] + (source.nanoseconds if closed == "left" or not source.intraday else 0)
    missing = cut.end[first] - reach
    clock = cut.start[first] % DAY
    like = missing[:-1][clock[:-1] == clock[-1]][-40:]
    usual = float(np.quantile(like, 0.9)) if len(like) else 0.0
    return bool(missing[-1] > max(usual, 0.0))
