"""What a history shows of its own calendar: its week of sessions, the weekday or the place in the month of longer bars.

A `Week` is learned from wall-clock times: which weekdays trade and at which times of day, recent days first. A `Rule`
goes on from there. Times are nanoseconds of one wall clock. Holidays are not known here; `exchange` knows them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.timeframe import DAY, SECOND, Ints, Timeframe, month_numbers, wall_clock

Flags = NDArray[np.bool_]
Rule: TypeAlias = Callable[[int, int], Ints]  # (last, count) -> wall-clock times after `last`, at least `count`

WEEK = 7 * DAY
RECENT = 13 * WEEK  # how much history is looked at
HALF_LIFE = 1.5  # weeks after which a day counts half: two weeks of a new rule outweigh all before, one does not
DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
NO_SLOTS: Ints = np.empty(0, dtype=np.int64)
LEARNED = "sessions learned from the history (holidays unknown)"


def recent(wall: Ints) -> Ints:
    """The part of a history that the week is learned from."""
    return wall[np.searchsorted(wall, wall[-1] - RECENT) :]


@dataclass(frozen=True)
class Week:
    """The times of day (nanoseconds) of the bars of each weekday, Monday first."""

    slots: tuple[Ints, ...]
    pooled: Ints  # of a usual day, for days of the week that have not been seen
    says: str
    learned: bool = True  # at least one whole day was seen

    def trading(self, weekdays: Iterable[int], says: str) -> "Week":
        """The usual day on these weekdays and nothing on the others."""
        slots = tuple(self.pooled if day in set(weekdays) else NO_SLOTS for day in range(7))
        return replace(self, slots=slots, says=says)

    def after(self, last: int, count: int) -> Ints:
        """The next `count` wall-clock times after `last`."""
        day, found, total = last // DAY, [], 0
        while total < count:
            stamps = day * DAY + self.slots[weekday_of(day)]
            stamps = stamps[stamps > last]
            found.append(stamps)
            total += len(stamps)
            day += 1
        return np.concatenate(found)[:count]


def weekday_of(day: int) -> int:
    """Monday is 0; day 0, 1970-01-01, was a Thursday."""
    return (day + 3) % 7


def learn(wall: Ints, timeframe: Timeframe) -> Week:
    """Learn the week from (recent) wall-clock times."""
    step = timeframe.nanoseconds
    if timeframe.intraday and wall[-1] - wall[0] < DAY and bool((wall[1:] - wall[:-1] <= step).all()):
        slots = _grid(int(wall[-1] % DAY), step)  # nothing ever closed, as far as one can see
        return Week((slots,) * 7, slots, "24/7", learned=False)
    table = _Table.of(wall, timeframe)
    pooled = table.usual_day()
    full = timeframe.intraday and len(pooled) * step >= 0.95 * DAY and not table.has_break(pooled, step)
    pooled = _grid(int(wall[-1] % DAY), step) if full else pooled
    trading = _trading_weekdays(table.days, whole_week=full)
    week = tuple(table.slots_on(weekday, pooled) if trading[weekday] else NO_SLOTS for weekday in range(7))
    if not any(len(slots) for slots in week):  # pragma: no cover - the last day always trades on its weekday
        week = (pooled,) * 7
    return Week(week, pooled, _says(trading, full, timeframe), learned=len(table.days) > 2)


def _grid(phase: int, step: int) -> Ints:
    """All times of day at `step` that `phase` lies on."""
    return np.arange(phase % step, DAY, step, dtype=np.int64)


def _says(trading: Flags, full: bool, timeframe: Timeframe) -> str:
    five = bool(trading[:5].all()) and not trading[5]
    if trading.all() and (full or not timeframe.intraday):
        return "24/7"
    if timeframe.intraday:
        return "24/5" if full and five else LEARNED
    if five and not trading[6]:
        return "weekdays"
    return f"{', '.join(name for name, open_ in zip(DAY_NAMES, trading, strict=True) if open_)} (holidays unknown)"


def _trading_weekdays(days: Ints, *, whole_week: bool) -> Flags:
    """Which weekdays trade; weeks without any bar are gaps and say nothing."""
    dates = np.arange(days[0], days[-1] + 1)
    week, weekday = (dates - 4) // 7, (dates + 3) % 7
    traded = np.isin(dates, days)
    counts = np.isin(week, (days - 4) // 7)
    weight = 0.5 ** ((week[-1] - week) / 4) * counts
    seen = np.bincount(weekday, weights=counts, minlength=7)
    hits = np.bincount(weekday, weights=weight * traded, minlength=7)
    share = hits / np.maximum(np.bincount(weekday, weights=weight, minlength=7), 1e-9)
    weekend_closed = bool(((share[5:] < 0.5) & (seen[5:] > 0)).any())
    trading = share >= np.where(np.arange(7) < 5, 0.3, 0.5)
    trading[5:] |= (seen[5:] == 0) & (whole_week and not weekend_closed)
    # a working day that was never seen, or missed once, trades; unless the week runs from Sunday, as in Riyadh
    trading[:5] |= (seen[:5] == 0) | ((seen[:5] == 1) & (not trading[5:].any()))
    return trading


@dataclass(frozen=True)
class _Table:
    """Which times of day had a bar on which day, and which cells the history covers at all."""

    days: Ints  # (D,) the days with bars
    clock: Ints  # (K,) the times of day
    seen: Flags  # (D, K)
    known: Flags  # (D, K) false before the first bar and after the last one

    @classmethod
    def of(cls, wall: Ints, timeframe: Timeframe) -> "_Table":
        days, row = np.unique(wall // DAY, return_inverse=True)
        clock = np.unique(wall % DAY)
        begin, end = int(wall[0] % DAY), int(wall[-1] % DAY)
        if timeframe.intraday and len(days) == 2 and end < begin:
            # from yesterday noon to this morning: the hours between were not covered, and are taken to trade
            grid = _grid(end, timeframe.nanoseconds)
            clock = np.union1d(clock, grid[(grid > end) & (grid < begin)])
        seen = np.zeros((len(days), len(clock)), dtype=bool)
        seen[row, np.searchsorted(clock, wall % DAY)] = True
        known = np.ones_like(seen)
        known[0, clock < begin] = False
        known[-1, clock > end] = False
        return cls(days, clock, seen, known)

    def share(self, rows: Any) -> NDArray[np.float64]:
        """How often each time of day had a bar, newer days first; 1 where no day could show it."""
        weight = 0.5 ** ((self.days[-1] - self.days[rows]) / (7 * HALF_LIFE))
        known = (weight[:, None] * self.known[rows]).sum(axis=0)
        seen = (weight[:, None] * self.seen[rows]).sum(axis=0)
        return np.where(known > 0, seen / np.maximum(known, 1e-12), 1.0)

    def usual_day(self) -> Ints:
        """The times of day of a usual day: of the last 60, or of fewer where the last two days agree on a new rule."""
        usual = self._usual_rows()
        long = self._most(usual[-60:])
        recent = [row for row in usual if self.known[row].mean() >= 0.75][-2:]
        known, differ = self.known[recent], (self.seen[recent] != long) & self.known[recent]
        moved = (differ == known).all(axis=0) & known.any(axis=0)
        if len(recent) < 2 or moved.sum() < 2 or not differ.all(axis=0).any() or self._never_closes():
            return np.asarray(self.clock[long], dtype=np.int64)
        days = [self._most(usual[-length:]) for length in (20, 10, 5, 3)]
        best = min(days, key=lambda day: int(((self.seen[recent] != day) & known).sum()))
        return np.asarray(self.clock[best], dtype=np.int64)

    def _never_closes(self) -> bool:
        """True where some day had every bar: two days with holes at one hour are then an outage, not a new rule."""
        step = int((self.clock[1:] - self.clock[:-1]).min()) if len(self.clock) > 1 else DAY
        return int(self.seen.sum(axis=1).max()) * step >= DAY

    def _most(self, rows: Ints) -> Flags:
        """Which times of day most of the days `rows` have; newer days decide where old and new are even."""
        weight = np.linspace(1.0, 1.5, len(rows)) if len(rows) > 5 else np.arange(1.0, len(rows) + 1)
        known = weight @ self.known[rows]
        share = np.where(known > 0, weight @ self.seen[rows] / np.maximum(known, 1e-9), 1.0)
        return np.asarray(share >= 0.5 * share.max(), dtype=np.bool_)  # relative: all bars may be missing often

    def has_break(self, pooled: Ints, step: int) -> bool:
        """True where the missing times of day are a daily break, such as an hour or two days alike, and no outage."""
        missing = np.setdiff1d(_grid(int(pooled[-1]), step), pooled)
        covered = (self.days[-1] - self.days[0]) * DAY + self.clock[-1] - self.clock[0] >= 3 * DAY
        return len(missing) > 0 and (bool(covered) or (len(missing) > 1 and len(missing) * step >= 3600 * SECOND))

    def _usual_rows(self) -> Ints:
        """Days that are about as full as most, of weekdays like most: no half days, Friday nights or Sundays."""
        full = self.seen.sum(axis=1)
        usual = (full >= 0.6 * np.median(full)) | ~self.known.all(axis=1)
        alike = [weekday for weekday in range(7) if self._exceptions(weekday)[0].sum() < 2]
        regular = usual & np.isin((self.days + 3) % 7, alike)
        rows = np.flatnonzero(regular if regular.sum() >= 2 else usual)
        return rows if len(rows) else np.arange(len(self.days))

    def _exceptions(self, weekday: int) -> tuple[Flags, NDArray[np.float64]]:
        """Where a weekday steadily differs from the other days of its weeks, and how often it has a bar there."""
        own_rows = np.flatnonzero((self.days + 3) % 7 == weekday)
        if not len(own_rows):
            return np.zeros(len(self.clock), dtype=bool), np.zeros(len(self.clock))
        others = np.flatnonzero((self.days + 3) % 7 != weekday)
        near = (self.days[others] >= self.days[own_rows[0]] - 3) & (self.days[others] <= self.days[own_rows[-1]] + 3)
        others = others[near]  # of the same weeks, lest a new rule of this week looks like an exception of the others
        own = self.share(own_rows[-12:])
        typical = self.share(others) if len(others) else own
        # in less than five weeks two missing bars could look like a rule: there it must hold without exception
        needed = np.where((own == 0) | (own == 1), 0.5, 0.75 if len(own_rows) >= 5 else 2.0)
        steady = (np.abs(own - typical) >= needed) & self.known[own_rows].any(axis=0)
        whole = own_rows[self.known[own_rows].all(axis=1)]
        for row in (whole if len(whole) else own_rows)[-2:]:  # the last two must show it, not today's first half
            steady &= (self.seen[row] == (own >= 0.5)) | ~self.known[row]
        if len(own_rows) == 1 and steady.sum() < 2:
            steady[:] = False  # one odd bar
        return steady, own

    def slots_on(self, weekday: int, pooled: Ints) -> Ints:
        """The times of day on one weekday: those of the usual day, but for steady exceptions such as Friday night."""
        if not ((self.days + 3) % 7 == weekday).any():
            return pooled
        steady, own = self._exceptions(weekday)
        return self.clock[np.where(steady, own >= 0.5, np.isin(self.clock, pooled))]


def week_of_24_5(times: pd.DatetimeIndex, wall: Ints, timeframe: Timeframe) -> Week:
    """Open from one weekly stamp to another: those of the last weekends, else Sunday to Friday 22:00 UTC."""
    step = timeframe.nanoseconds
    ends = np.flatnonzero(wall[1:] - wall[:-1] >= max(DAY, 2 * step))
    pairs = [((int(wall[i]) + 3 * DAY) % WEEK, (int(wall[i + 1]) + 3 * DAY) % WEEK) for i in ends]
    pairs = [(close, open_) for close, open_ in pairs if close // DAY in (3, 4, 5) and open_ // DAY in (6, 0)][-4:]
    if pairs:
        close, open_ = max(reversed(pairs), key=pairs.count)
    else:
        offset = int(wall_clock(times[-1:])[0]) - int(times[-1:].as_unit("ns").asi8[0])
        evening = 22 * 3600 * SECOND + offset
        phase = int(wall[-1]) % step
        open_ = (6 * DAY + evening - phase) // step * step + phase
        close = -(-(4 * DAY + evening - phase) // step) * step + phase - step
    length = (close - open_) % WEEK
    stamps = (open_ + np.arange(0, length + 1, step)) % WEEK
    slots = tuple(np.sort(stamps[stamps // DAY == weekday]) % DAY for weekday in range(7))
    return Week(slots, slots[1], "24/5")


# --- days, weeks and months -------------------------------------------------------------------------------------------


def every(after: Rule, timeframe: Timeframe) -> Rule:
    """Bars of several days: every so many trading days."""
    size = timeframe.nanoseconds // DAY
    return after if size == 1 else lambda last, count: after(last, count * size)[size - 1 :: size]


def long_rule(wall: Ints, timeframe: Timeframe) -> Rule:
    """Weekly bars keep their weekday, monthly ones their place in the month."""
    if timeframe.unit == "w":
        weekday = int(np.bincount((wall // DAY + 3) % 7, minlength=7).argmax())

        def weeks(last: int, count: int) -> Ints:
            shift = (weekday - weekday_of(last // DAY) + 3) % 7 - 3  # a holiday may have moved the last one
            return last + shift * DAY + WEEK * timeframe.count * np.arange(1, count + 1)

        return weeks
    place = _place_in_month(wall // DAY)

    def months(last: int, count: int) -> Ints:
        first = int(month_numbers(dates_of(np.array([last // DAY])))[0])
        coming: Ints = first + timeframe.count * np.arange(1, count + 1)
        return place(coming) * DAY + last % DAY

    return months


def dates_of(days: Ints) -> pd.DatetimeIndex:
    """Day numbers since 1970 as dates."""
    return pd.DatetimeIndex(days.astype("datetime64[D]").astype("datetime64[ns]"))


def _first_of_month(months: Ints) -> Ints:
    """The day number of the first of each month."""
    return (months - 1970 * 12).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _first_weekday(months: Ints) -> Ints:
    first = _first_of_month(months)
    return np.asarray(first + np.array([0, 0, 0, 0, 0, 2, 1])[(first + 3) % 7], dtype=np.int64)


def _last_weekday(months: Ints) -> Ints:
    last = _first_of_month(months + 1) - 1
    return np.asarray(last - np.array([0, 0, 0, 0, 0, 1, 2])[(last + 3) % 7], dtype=np.int64)


def _place_in_month(days: Ints) -> Callable[[Ints], Ints]:
    """The rule that most of the `days` follow, from the month to the day."""
    months = month_numbers(dates_of(days))
    place = int(np.bincount(days - _first_of_month(months)).argmax())
    rules: tuple[Callable[[Ints], Ints], ...] = (
        _first_of_month,
        lambda months: _first_of_month(months + 1) - 1,
        _first_weekday,
        _last_weekday,
        lambda months: np.minimum(_first_of_month(months) + place, _first_of_month(months + 1) - 1),
    )
    return max(rules, key=lambda rule: int((rule(months) == days).sum()))
