"""Which bars a history owes: those between its first and its last that its habit, or an exchange, has and it has not.

A market that never closes is a ruler: steps longer than a bar are counted. Any other is a table of weeks by times of
the week, in which a time is expected where nearly all weeks around have a bar at it: a window, because sessions change
over the years. The table is laid out by the clock that the sessions keep, so summer time in UTC stamps moves nothing.
Knows nothing of holidays but those of a named exchange; what the holes may mean is decided in `gaps`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kronos.bars.calendar import calendar_of
from kronos.bars.exchange import Exchange, OpenTimes, open_times
from kronos.bars.sessions import WEEK, Flags, Week, learn, recent, week_of_24_5
from kronos.bars.timeframe import DAY, Ints, Timeframe, month_numbers, wall_clock

MONDAY = 4 * DAY  # 1970-01-05 began the first whole week
CLOCKS = ("America/New_York", "Europe/London", "Australia/Sydney")  # one of each way to change to summer time
NEAR = 6  # weeks before and after that say what a week should hold
STEADY = 0.7  # of them must have the bar, ...
OFTEN, MOSTLY = 0.8, 0.4  # ... or so many of all working days there and so many of this weekday's
FEWEST = 5  # weeks, below which the window says little and the whole week is learned at once
NONE: Ints = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Owed:
    """The holes of a history: row `after[i]` is followed by `missing[i]` bars that should be there and are not."""

    says: str  # the calendar in words
    zone: str | None  # whose clock the sessions keep, where it is not that of the index
    after: Ints
    missing: Ints
    at_edge: Flags  # the hole begins or ends at a time when the market is closed
    usual: float  # bars of a usual day
    never_closes: bool = False


def owed(times: pd.DatetimeIndex, timeframe: Timeframe, calendar: str | None = None) -> Owed:
    """The holes in increasing `times` without repetitions; `calendar` as `calendar.next_times` takes it."""
    name = None if calendar is None else calendar.strip()
    exchange = None if name is None or name.upper() in ("24/7", "24/5") else Exchange.named(name)
    if len(times) < 2:
        return Owed(name or "unknown", None, NONE, NONE, NONE > 0, 1.0)
    if not timeframe.intraday and timeframe != Timeframe(1, "d"):
        return _long(times, timeframe, exchange)
    if exchange is not None:
        return _of_exchange(times, timeframe, exchange)
    if name == "24/7":
        return _round_the_clock(times, timeframe)
    zone = steady_clock(times) if timeframe.intraday else None
    wall = wall_in(times, zone)
    table = _Table.of(wall if timeframe.intraday else wall // DAY * DAY)
    if name is not None:
        history = _History(times, timeframe, zone, "24/5")
        return history.owed(table.with_habit(_five_days(times, wall, timeframe), timeframe))
    if wall[-1] - wall[0] >= 2 * WEEK + DAY and never_closes(times, timeframe):
        return _round_the_clock(times, timeframe)
    week = learn(recent(wall), timeframe)
    if week.says == "24/7" and len(table.weeks) < FEWEST:
        return _round_the_clock(times, timeframe)
    history = _History(times, timeframe, zone, week.says)
    if len(table.weeks) < FEWEST:
        table = table.with_habit(week, timeframe)
    return history.owed(table)


def never_closes(times: pd.DatetimeIndex, timeframe: Timeframe) -> bool:
    """True where some weeks of bars come at all times of the week alike, whatever share of them is missing."""
    moments = np.asarray(times.as_unit("ns").asi8, dtype=np.int64) if timeframe.intraday else wall_clock(times)
    size = min(max(timeframe.nanoseconds, WEEK // 168), DAY)
    if WEEK % size:
        size = DAY
    counts = np.bincount((moments - MONDAY) % WEEK // size, minlength=WEEK // size)
    return bool(counts.min() >= 0.5 * counts.mean())


def steady_clock(times: pd.DatetimeIndex) -> str | None:
    """The zone by whose clock the bars come at the same times of the week; None where the index's own does as well."""
    best, chosen = _steadiness(wall_clock(times)) + 0.002, None
    for zone in CLOCKS:
        value = _steadiness(wall_in(times, zone))
        if value > best:
            best, chosen = value, zone
    return chosen


def _steadiness(wall: Ints) -> float:
    """How many of the weeks have a bar at the time of the week of a bar, on average."""
    counts = np.unique((wall - MONDAY) % WEEK, return_counts=True)[1].astype(np.float64)
    weeks = max((wall[-1] - wall[0]) / WEEK, 1.0)
    return float((counts**2).sum() / (len(wall) * weeks))


def wall_in(times: pd.DatetimeIndex, zone: str | None) -> Ints:
    """The clock on the wall in `zone`, naive times being UTC; the clock of `times` themselves where it is None."""
    if zone is None:
        return wall_clock(times)
    return wall_clock((times if times.tz is not None else times.tz_localize("UTC")).tz_convert(zone))


def _round_the_clock(times: pd.DatetimeIndex, timeframe: Timeframe) -> Owed:
    step = timeframe.nanoseconds
    steps = np.diff(times.as_unit("ns").asi8) if timeframe.intraday else np.diff(wall_clock(times))
    return _counted("24/7", np.rint(steps / step).astype(np.int64) - 1, DAY / step)


def _counted(says: str, missing: Ints, usual: float) -> Owed:
    """Holes that are as long as the steps say."""
    after = np.flatnonzero(missing > 0)
    return Owed(says, None, after, missing[after], np.zeros(len(after), dtype=bool), usual, never_closes=True)


def _long(times: pd.DatetimeIndex, timeframe: Timeframe, exchange: Exchange | None) -> Owed:
    """Bars of several days, weeks or months."""
    says = exchange.name if exchange is not None else calendar_of(times, timeframe)
    days = wall_clock(times) // DAY
    if timeframe.unit == "mo":
        return _counted(says, np.diff(month_numbers(times)) // timeframe.count - 1, 1 / 30)
    size = timeframe.nanoseconds // DAY
    if timeframe.unit == "w":
        return _counted(says, np.rint(np.diff(days) / size).astype(np.int64) - 1, 1 / 7)
    if ((days + 3) % 7 == 5).any():  # Saturdays
        return _counted(says, np.rint(np.diff(days) / size).astype(np.int64) - 1, 1 / size)
    dates = days.astype("datetime64[D]")
    return _counted(says, np.busday_count(dates[:-1], dates[1:]) // timeframe.count - 1, 1 / timeframe.count)


# --- the table of weeks -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Table:
    """Which times of the day had a bar on which days; weeks without a bar, and times hardly ever seen, are left out."""

    weeks: Ints  # (W,) since the first Monday of 1970
    clock: Ints  # (K,) nanoseconds since midnight
    wall: Ints
    habit: Flags | None = None  # (7, K) what is expected of every week, where that was learned at once

    @classmethod
    def of(cls, wall: Ints) -> "_Table":
        """The table of a history's wall-clock times."""
        wall = np.unique(wall)
        clock, counts = np.unique(wall % DAY, return_counts=True)
        weeks = np.unique((wall - MONDAY) // WEEK)
        return cls(weeks, clock[counts >= min(4, len(weeks))], wall)

    def with_habit(self, week: Week, timeframe: Timeframe) -> "_Table":
        """The same weeks and the times of a learned week."""
        slots = [own if timeframe.intraday else own[:1] * 0 for own in week.slots]
        clock = np.unique(np.concatenate(slots))
        return _Table(self.weeks, clock, self.wall, np.array([np.isin(clock, own) for own in slots]))

    def blocks(self) -> Iterator[tuple[Ints, Flags, Flags]]:
        """Some times of the day at once: all their times (W, 7, k), which have a bar, and which should have one."""
        width = max(1, 300_000 // len(self.weeks))
        days = MONDAY + self.weeks[:, None] * WEEK + np.arange(7) * DAY
        for start in range(0, len(self.clock), width):
            part = slice(start, start + width)
            walls = days[..., None] + self.clock[part]
            place = np.minimum(np.searchsorted(self.wall, walls), len(self.wall) - 1)
            seen, known = self.wall[place] == walls, (walls >= self.wall[0]) & (walls <= self.wall[-1])
            expected = _expected(seen, known) if self.habit is None else self.habit[:, part] & known
            yield walls, seen, expected


def _expected(seen: Flags, known: Flags) -> Flags:
    """(W, 7, k) True where a bar is usual at this time on this weekday in the weeks around.

    Usual is what nearly all of them have; of a working day also what most of its like have, as far as nearly all the
    other working days have it: a few losses on one weekday make no rule.
    """
    weeks = len(seen)
    low, high = np.maximum(np.arange(weeks) - NEAR, 0), np.minimum(np.arange(weeks) + NEAR + 1, weeks)

    def around(flags: Flags) -> Ints:
        total = np.concatenate([np.zeros((1, *flags.shape[1:]), dtype=np.int64), flags.cumsum(axis=0)])
        return np.asarray(total[high] - total[low], dtype=np.int64)

    hits, chances = around(seen & known), around(known)
    usual = hits >= STEADY * np.maximum(chances, 1)
    others = hits[:, :5].sum(axis=1, keepdims=True) >= OFTEN * np.maximum(chances[:, :5].sum(axis=1, keepdims=True), 1)
    usual[:, :5] |= others & (hits[:, :5] >= MOSTLY * np.maximum(chances[:, :5], 1))
    return np.asarray(usual & known, dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class _History:
    """The times of a history, and the clock that its table goes by."""

    times: pd.DatetimeIndex
    timeframe: Timeframe
    zone: str | None
    says: str
    market: OpenTimes | None = None

    @property
    def moments(self) -> Ints:
        """Nanoseconds of real time; of the calendar for daily bars."""
        if self.timeframe.intraday:
            return np.asarray(self.times.as_unit("ns").asi8, dtype=np.int64)
        return wall_clock(self.times) // DAY * DAY

    def owed(self, table: _Table) -> Owed:
        """What the table expects and the history lacks."""
        absent, per_day = [NONE], np.zeros((len(table.weeks), 7), dtype=np.int64)
        for walls, seen, expected in table.blocks():
            if self.market is not None:
                expected &= self.market.open_at(walls.ravel()).reshape(walls.shape)
            per_day += expected.sum(axis=2)
            absent.append(walls[expected & ~seen])
        usual = float(np.median(per_day[per_day > 0])) if per_day.any() else 1.0
        return self.gathered(np.sort(np.concatenate(absent)), self._silent(table.weeks, per_day.sum(axis=1)), usual)

    def _silent(self, weeks: Ints, sizes: Ints) -> tuple[Ints, Ints]:
        """Rows that are followed by whole weeks without a bar, and how many bars those weeks owe."""
        jumps = np.flatnonzero(np.diff(weeks) > 1)
        if not len(jumps):
            return NONE, NONE
        number = (wall_in(self.times, self.zone) - MONDAY) // WEEK
        rows = np.searchsorted(number, weeks[jumps], side="right") - 1
        if self.market is None:
            return rows, (weeks[jumps + 1] - weeks[jumps] - 1) * np.maximum(sizes[jumps], sizes[jumps + 1])
        first, stop = ((weeks[jumps + ahead] + 1 - ahead) * 7 + 4 for ahead in (0, 1))
        sessions = np.searchsorted(self.market.hours.days, stop) - np.searchsorted(self.market.hours.days, first)
        return rows, sessions * int(np.median(sizes)) // 5

    def gathered(self, walls: Ints, silent: tuple[Ints, Ints], usual: float) -> Owed:
        """One hole for every step between two bars that owes any."""
        own, step = self.moments, self.timeframe.nanoseconds
        absent, rows = self._rows_before(walls, own)
        after = np.unique(np.r_[rows, silent[0]])
        count = np.bincount(np.searchsorted(after, rows), minlength=len(after))
        count[np.searchsorted(after, silent[0])] += silent[1]
        # a bar that came at another time than usual is not absent: no step owes more bars than fit into it
        count = np.minimum(count, np.rint((own[after + 1] - own[after]) / step).astype(np.int64) - 1)
        at_edge = np.ones(len(after), dtype=bool)
        place, stop = np.searchsorted(rows, after), np.searchsorted(rows, after, side="right")
        has = stop > place
        start, end = absent[place[has]], absent[stop[has] - 1]
        at_edge[has] = (start - own[after[has]] > 1.5 * step) | (own[after[has] + 1] - end > 1.5 * step)
        keep = count > 0
        return Owed(self.says, self.zone, after[keep], count[keep], at_edge[keep], usual)

    def _rows_before(self, walls: Ints, own: Ints) -> tuple[Ints, Ints]:
        """The real times of absent bars, and for each the row before it. What the clock skips never existed."""
        zone = self.zone or self.times.tz
        if self.timeframe.intraday and zone is not None:
            naive = pd.DatetimeIndex(walls.astype("datetime64[ns]"))
            local = naive.tz_localize(zone, ambiguous=np.ones(len(naive), dtype=bool), nonexistent="NaT")
            walls = np.asarray(local[local.notna()].as_unit("ns").asi8, dtype=np.int64)
        rows = np.searchsorted(own, walls, side="right") - 1
        inside = (rows >= 0) & (rows < len(own) - 1)
        inside[inside] = own[rows[inside]] != walls[inside]
        return walls[inside], rows[inside]


def _five_days(times: pd.DatetimeIndex, wall: Ints, timeframe: Timeframe) -> Week:
    """The week of a market that is open from Sunday or Monday to Friday."""
    if timeframe.intraday:
        return week_of_24_5(times, recent(wall), timeframe)
    week = learn(recent(wall), timeframe)
    return week.trading([*range(5), *([6] if len(week.slots[6]) else [])], "24/5")


def _of_exchange(times: pd.DatetimeIndex, timeframe: Timeframe, exchange: Exchange) -> Owed:
    """Days from the exchange's table, times of day from the history."""
    market = open_times(times, timeframe, exchange)
    history = _History(times, timeframe, market.zone, exchange.name, market)
    if not timeframe.intraday:
        days, seen = market.hours.days, market.wall // DAY
        lost = np.setdiff1d(days[(days > seen[0]) & (days < seen[-1])], seen)
        rows = np.searchsorted(seen, lost, side="right") - 1
        after, count = np.unique(rows, return_counts=True)
        return Owed(exchange.name, market.zone, after, count, np.ones(len(after), dtype=bool), 1.0)
    table = _Table.of(market.wall)
    if len(table.weeks) < FEWEST:
        table = table.with_habit(learn(recent(market.wall), timeframe), timeframe)
    return history.owed(table)
