"""The gaps of a history: bars that should exist between its first and its last and do not, and which may be holidays.

A history cannot show its holidays. What it can show is how a hole looks: a holiday or a half day begins or ends when
the market is closed anyway, lasts no longer than two days unless a long holiday of the world falls into it, and comes
a few times in a quarter. Such holes are told apart from bars that were lost within a session. A named exchange knows
its holidays, a market round the clock has none: there every hole is a gap.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kronos.bars.quality.expected import Owed, owed, wall_in
from kronos.bars.sessions import Flags, dates_of
from kronos.bars.timeframe import DAY, SECOND, Ints, Timeframe, infer_timeframe, wall_clock

HOUR = 3600 * SECOND
SHORTEST = 1.5 * HOUR  # half days leave out at least this much
QUARTER = 91 * DAY
MOST = 9  # holidays and half days in a quarter; where there are more, bars are lost in another way
LONG_HOLIDAYS = ((1, 1), (4, 13), (5, 1), (5, 3), (10, 1), (12, 25))  # month and day


@dataclass(frozen=True)
class Gap:
    """`missing` bars between two neighbours that both exist."""

    after: pd.Timestamp
    before: pd.Timestamp
    missing: int
    holiday: bool = False  # looks like a holiday or a half day, no loss


def gaps(
    times: pd.DatetimeIndex, *, timeframe: Timeframe | str | None = None, calendar: str | None = None
) -> list[Gap]:
    """The gaps in `times`, whatever their order; the calendar is learned where none is named.

    `calendar` is "24/7", "24/5" or an exchange such as "SSE", "HKEX" or "NYSE"; `timeframe` is inferred by default.
    """
    ordered = ordered_times(times)
    if len(ordered) < 2:
        return []
    frame = infer_timeframe(ordered) if timeframe is None else Timeframe.parse(timeframe)
    return list_gaps(ordered, find_gaps(ordered, frame, calendar))


@dataclass(frozen=True)
class Gaps:
    """All gaps as arrays: row `after[i]` is followed by `missing[i]` bars that do not exist."""

    says: str
    zone: str | None
    after: Ints
    missing: Ints
    holiday: Flags

    @property
    def lost(self) -> int:
        """How many bars are missing, those of likely holidays left out."""
        return int(self.missing[~self.holiday].sum())


def find_gaps(times: pd.DatetimeIndex, timeframe: Timeframe, calendar: str | None = None) -> Gaps:
    """The gaps in increasing `times` without repetitions, as arrays."""
    found = owed(times, timeframe, calendar)
    named = calendar is not None and calendar.strip() not in ("24/7", "24/5")
    known = named or found.never_closes
    holiday = np.zeros(len(found.after), dtype=bool) if known else _likely_holidays(times, timeframe, found)
    return Gaps(found.says, found.zone, found.after, found.missing, holiday)


def ordered_times(times: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The times in order, each once, none missing."""
    if times.is_monotonic_increasing and times.is_unique and not times.hasnans:
        return times
    return times.dropna().unique().sort_values()


def list_gaps(times: pd.DatetimeIndex, found: Gaps) -> list[Gap]:
    """The gaps one by one."""
    starts, stops = times[found.after], times[found.after + 1]
    rows = zip(starts, stops, found.missing.tolist(), found.holiday.tolist(), strict=True)
    return [Gap(after, before, missing, holiday) for after, before, missing, holiday in rows]


def _likely_holidays(times: pd.DatetimeIndex, timeframe: Timeframe, found: Owed) -> Flags:
    """Holes that look like holidays, as far as there are no more of them than a market has."""
    length = found.missing * timeframe.nanoseconds
    long = length >= SHORTEST
    short = long & (length <= 8 * HOUR) & ~found.at_edge
    edge = found.at_edge | _at_one_time(wall_in(times, found.zone)[found.after + 1], short)
    if not timeframe.intraday:
        edge[:] = True
    edge &= long & (found.missing <= 2.5 * max(found.usual, 1.0))
    rest = np.flatnonzero(~edge & long & (found.missing <= 9 * max(found.usual, 1.0)))
    wall = wall_clock(times)
    holiday = edge.copy()
    rest = rest[: len(rest) if len(rest) <= 1000 else 0]  # no market has so many: do not look at each
    holiday[rest] = [_long_holiday(int(wall[row]), int(wall[row + 1])) for row in found.after[rest]]
    holiday[holiday] = ~_crowded(wall[found.after[holiday]])
    moved = found.at_edge & (length <= HOUR) & _between_clock_changes(times[found.after])
    return np.asarray(holiday | moved, dtype=np.bool_)


def _crowded(moments: Ints) -> Flags:
    """Those of which more than `MOST` lie in one quarter."""
    crowded = np.zeros(len(moments), dtype=bool)
    for first in np.flatnonzero(moments[MOST:] - moments[:-MOST] <= QUARTER):
        crowded[first : first + MOST + 1] = True
    return crowded


def _at_one_time(ends: Ints, among: Flags) -> Flags:
    """Those `among` the holes that end at one time of the day, if most do: the market opens again at that time.

    Bars of four hours do not show the hour in which a market of 23 hours rests; its holidays do.
    """
    clock = ends % DAY
    values, counts = np.unique(clock[among], return_counts=True)
    if not len(counts) or counts.max() < max(5, 0.5 * among.sum()):
        return np.zeros(len(ends), dtype=bool)
    return np.asarray(among & (clock == values[counts.argmax()]), dtype=np.bool_)


def _between_clock_changes(times: pd.DatetimeIndex) -> Flags:
    """The weeks in which America has changed its clocks and Europe has not, or the other way round."""
    day = times.month * 100 + times.day
    return np.asarray(((day >= 307) & (day <= 408)) | ((day >= 1024) & (day <= 1108)), dtype=np.bool_)


def _long_holiday(start: int, stop: int) -> bool:
    """True where a hole between two wall-clock times spans one of the holidays that may last a week or more."""
    days = np.arange(start // DAY, stop // DAY + 1)
    if len(days) > 20:
        return False
    dates = dates_of(days)
    fixed = any((month, day) in LONG_HOLIDAYS for month, day in zip(dates.month, dates.day, strict=True))
    return fixed or bool(_lunar_new_year(days).any())


def _lunar_new_year(days: Ints) -> Flags:
    """The new moons from 21 January to 20 February, to a day: the Spring Festival begins with one."""
    age = (days - 10962.76) % 29.530589  # since the new moon of 2000-01-06
    dates = dates_of(days)
    season = ((dates.month == 1) & (dates.day >= 20)) | ((dates.month == 2) & (dates.day <= 21))
    return np.asarray(season & (np.minimum(age, 29.530589 - age) <= 1.0), dtype=np.bool_)
