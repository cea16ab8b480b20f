"""The times of the next bars: round the clock, a week learned from the history, or a named exchange.

A history shows its own week: which weekdays trade and at which times of day, recent days first. What it cannot show
is a coming holiday; for those name an exchange (`calendar="SSE"`), which needs the optional pandas_market_calendars.
Sessions go by the wall clock of the index's zone, so summer time is right; bars round the clock go by real time.
"""

import difflib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.timeframe import DAY, SECOND, Ints, Timeframe, infer_timeframe, month_numbers, wall_clock
from kronos.errors import BarsError, ConfigError, KronosWarning
from kronos.extras import require

Flags = NDArray[np.bool_]

WEEK = 7 * DAY
RECENT = 13 * WEEK  # how much history is looked at
HALF_LIFE = 1.5  # weeks after which a day counts half: two weeks of a new rule outweigh all before, one does not
DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
NO_SLOTS: Ints = np.empty(0, dtype=np.int64)
LEARNED = "sessions learned from the history (holidays unknown)"


def next_times(
    times: pd.DatetimeIndex,
    horizon: int,
    *,
    timeframe: Timeframe | str | None = None,
    calendar: str | None = None,
) -> pd.DatetimeIndex:
    """The time stamps of the `horizon` bars after `times`, in its zone and unit, called "timestamp".

    `timeframe` is inferred where it is not given. `calendar` is "24/7", "24/5" or an exchange such as "SSE", "HKEX" or
    "NYSE"; without one the week is learned from `times` and holidays are unknown.
    """
    if horizon < 1:
        raise ConfigError(f"horizon is {horizon}; at least one bar must be asked for")
    plan = _plan(times, _timeframe(times, timeframe), calendar)
    stamps = plan.after(horizon)
    if plan.exchange is not None:
        plan.exchange.warn_if_unlisted(stamps)
    return stamps


def calendar_of(times: pd.DatetimeIndex, timeframe: Timeframe | str | None = None, calendar: str | None = None) -> str:
    """In words which calendar `next_times` follows: "24/7", "24/5", "weekdays", an exchange, or learned sessions."""
    return _plan(times, _timeframe(times, timeframe), calendar).says


def _timeframe(times: pd.DatetimeIndex, timeframe: Timeframe | str | None) -> Timeframe:
    if len(times) == 0:
        raise BarsError("there is no bar to start from; pass y_timestamp with the times to forecast")
    if timeframe is None and len(times) < 2:
        raise BarsError("one bar shows no timeframe; pass timeframe=, or y_timestamp with the times to forecast")
    return infer_timeframe(times) if timeframe is None else Timeframe.parse(timeframe)


@dataclass(frozen=True)
class _Plan:
    """Where the next bars come from: `walls(last, count)` gives wall-clock times after `last`, at least `count`."""

    times: pd.DatetimeIndex
    says: str
    walls: Callable[[int, int], Ints]
    exchange: "_Exchange | None" = None
    zone: Any = None  # the zone of the wall clock, with naive times read as UTC; None: the index's own, or none

    def after(self, count: int) -> pd.DatetimeIndex:
        """The next `count` stamps, as the history writes its own."""
        zone, own = self.zone or self.times.tz, self.times[-1:].as_unit("ns")
        if self.zone is not None:
            own = (own if own.tz is not None else own.tz_localize("UTC")).tz_convert(self.zone)
        last, spare = int(wall_clock(own)[0]), 0
        while True:
            naive = pd.DatetimeIndex(self.walls(last, count + spare).astype("datetime64[ns]"))
            stamps = (naive if zone is None else _localize(naive, zone)).unique()
            stamps = stamps[stamps > own[0]]
            if len(stamps) >= count:
                break
            spare += count - len(stamps)  # there were bars in the hour that the clock skips
        if self.zone is not None:
            stamps = stamps.tz_convert(self.times.tz or "UTC")
            stamps = stamps.tz_localize(None) if self.times.tz is None else stamps
        return stamps[:count].as_unit(self.times.unit).rename("timestamp")


def _localize(naive: pd.DatetimeIndex, zone: Any) -> pd.DatetimeIndex:
    return naive.tz_localize(zone, ambiguous=np.ones(len(naive), dtype=bool), nonexistent="shift_forward")


def _plan(times: pd.DatetimeIndex, timeframe: Timeframe, calendar: str | None) -> _Plan:
    """Choose the rule that the next times follow."""
    name = None if calendar is None else calendar.strip()
    if name is not None and name.upper() not in ("24/7", "24/5"):
        return _exchange_plan(times, timeframe, _Exchange.named(name))
    if timeframe.unit in ("w", "mo"):
        says = "one day of the month" if timeframe.unit == "mo" else "one day of the week"
        return _Plan(times, says, _long_rule(wall_clock(times)[-60:], timeframe))
    wall = _recent(wall_clock(times))
    if timeframe.intraday:
        if name == "24/7":
            return _round_the_clock(times, timeframe)
        week = _week_of_24_5(times, wall, timeframe) if name == "24/5" else _learn(wall, timeframe)
        return _round_the_clock(times, timeframe) if week.says == "24/7" else _Plan(times, week.says, week.after)
    week = _learn(wall, timeframe)
    if name is not None:
        sunday = [6] if len(week.slots[6]) else []
        week = week.trading(range(7) if name == "24/7" else [*range(5), *sunday], name)
    elif timeframe.count > 1:  # every other day shows no weekday often enough to be learned
        seen = set(((wall // DAY + 3) % 7).tolist())
        week = week.trading(range(7), "24/7") if 5 in seen else week.trading(range(5), "weekdays")
    return _Plan(times, week.says, _every(week.after, timeframe))


def _recent(wall: Ints) -> Ints:
    return wall[np.searchsorted(wall, wall[-1] - RECENT) :]


def _round_the_clock(times: pd.DatetimeIndex, timeframe: Timeframe) -> _Plan:
    step = timeframe.nanoseconds
    return _Plan(times, "24/7", lambda last, count: last + step * np.arange(1, count + 1), zone="UTC")


def _every(after: Callable[[int, int], Ints], timeframe: Timeframe) -> Callable[[int, int], Ints]:
    """Bars of several days: every so many trading days."""
    size = timeframe.nanoseconds // DAY
    return after if size == 1 else lambda last, count: after(last, count * size)[size - 1 :: size]


# --- a week of sessions -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Week:
    """The times of day (nanoseconds) of the bars of each weekday, Monday first."""

    slots: tuple[Ints, ...]
    pooled: Ints  # of a usual day, for days of the week that have not been seen
    says: str
    learned: bool = True  # at least one whole day was seen

    def trading(self, weekdays: Iterable[int], says: str) -> "_Week":
        """The usual day on these weekdays and nothing on the others."""
        slots = tuple(self.pooled if day in set(weekdays) else NO_SLOTS for day in range(7))
        return replace(self, slots=slots, says=says)

    def after(self, last: int, count: int) -> Ints:
        """The next `count` wall-clock times after `last`."""
        day, found, total = last // DAY, [], 0
        while total < count:
            stamps = day * DAY + self.slots[_weekday(day)]
            stamps = stamps[stamps > last]
            found.append(stamps)
            total += len(stamps)
            day += 1
        return np.concatenate(found)[:count]


def _weekday(day: int) -> int:
    """Monday is 0; day 0, 1970-01-01, was a Thursday."""
    return (day + 3) % 7


def _learn(wall: Ints, timeframe: Timeframe) -> _Week:
    """Learn the week from (recent) wall-clock times."""
    step = timeframe.nanoseconds
    if timeframe.intraday and wall[-1] - wall[0] < DAY and bool((wall[1:] - wall[:-1] <= step).all()):
        slots = _grid(int(wall[-1] % DAY), step)  # nothing ever closed, as far as one can see
        return _Week((slots,) * 7, slots, "24/7", learned=False)
    table = _Table.of(wall, timeframe)
    pooled = table.usual_day()
    full = timeframe.intraday and len(pooled) * step >= 0.95 * DAY and not table.has_break(pooled, step)
    pooled = _grid(int(wall[-1] % DAY), step) if full else pooled
    trading = _trading_weekdays(table.days, whole_week=full)
    week = tuple(table.slots_on(weekday, pooled) if trading[weekday] else NO_SLOTS for weekday in range(7))
    if not any(len(slots) for slots in week):  # pragma: no cover - the last day always trades on its weekday
        week = (pooled,) * 7
    return _Week(week, pooled, _says(trading, full, timeframe), learned=len(table.days) > 2)


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
        if len(recent) < 2 or moved.sum() < 2 or not differ.all(axis=0).any() or self._never_closes(long):
            return np.asarray(self.clock[long], dtype=np.int64)
        days = [self._most(usual[-length:]) for length in (20, 10, 5, 3)]
        best = min(days, key=lambda day: int(((self.seen[recent] != day) & known).sum()))
        return np.asarray(self.clock[best], dtype=np.int64)

    def _never_closes(self, day: Flags) -> bool:
        """True where `day` has no break at all: two days with holes at one hour are an outage, not a new rule."""
        clock = self.clock[day]
        step = int((clock[1:] - clock[:-1]).min()) if len(clock) > 1 else DAY
        return len(clock) * step >= DAY

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
        steady = (np.abs(own - typical) >= 0.5) & self.known[own_rows].any(axis=0)
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


def _week_of_24_5(times: pd.DatetimeIndex, wall: Ints, timeframe: Timeframe) -> _Week:
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
    return _Week(slots, slots[1], "24/5")


# --- weeks and months -------------------------------------------------------------------------------------------


def _long_rule(wall: Ints, timeframe: Timeframe) -> Callable[[int, int], Ints]:
    """Weekly bars keep their weekday, monthly ones their place in the month."""
    if timeframe.unit == "w":
        weekday = int(np.bincount((wall // DAY + 3) % 7, minlength=7).argmax())

        def weeks(last: int, count: int) -> Ints:
            shift = (weekday - _weekday(last // DAY) + 3) % 7 - 3  # a holiday may have moved the last one
            return last + shift * DAY + WEEK * timeframe.count * np.arange(1, count + 1)

        return weeks
    place = _place_in_month(wall // DAY)

    def months(last: int, count: int) -> Ints:
        first = int(month_numbers(_dates(np.array([last // DAY])))[0])
        coming: Ints = first + timeframe.count * np.arange(1, count + 1)
        return place(coming) * DAY + last % DAY

    return months


def _dates(days: Ints) -> pd.DatetimeIndex:
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
    months = month_numbers(_dates(days))
    place = int(np.bincount(days - _first_of_month(months)).argmax())
    rules: tuple[Callable[[Ints], Ints], ...] = (
        _first_of_month,
        lambda months: _first_of_month(months + 1) - 1,
        _first_weekday,
        _last_weekday,
        lambda months: np.minimum(_first_of_month(months) + place, _first_of_month(months + 1) - 1),
    )
    return max(rules, key=lambda rule: int((rule(months) == days).sum()))


# --- exchanges --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Hours:
    """The sessions of an exchange, in nanoseconds of its own wall clock; breaks split a session into two segments."""

    days: Ints
    opens: Ints
    closes: Ints
    breaks: Ints  # (n, 2), zeros where there is none
    known: bool = True  # false: holidays are unknown, all usual weekdays are taken

    def between(self, first: int, last: int) -> "_Hours":
        """The sessions of the days from `first` to `last`."""
        keep = slice(*np.searchsorted(self.days, [first, last + 1]))
        return _Hours(self.days[keep], self.opens[keep], self.closes[keep], self.breaks[keep], self.known)

    def joined(self, other: "_Hours") -> "_Hours":
        """These sessions and then the `other`."""
        return _Hours(
            np.r_[self.days, other.days],
            np.r_[self.opens, other.opens],
            np.r_[self.closes, other.closes],
            np.r_[self.breaks, other.breaks],
            known=self.known and other.known,
        )

    def inside(self, wall: Ints, *, ends: bool) -> Flags:
        """Which stamps lie in a segment: after its start and up to its end where bars carry their ends."""
        split = self.breaks[:, 1] > 0
        starts = np.sort(np.r_[self.opens, self.breaks[split, 1]])
        stops = np.sort(np.r_[self.closes, self.breaks[split, 0]])
        if not len(starts):
            return np.zeros(len(wall), dtype=bool)
        place = np.searchsorted(starts, wall, side="left" if ends else "right") - 1
        reach = stops[np.maximum(place, 0)]
        return (place >= 0) & ((wall <= reach) if ends else (wall < reach))

    def usual(self) -> tuple[Ints, Ints, Ints]:
        """Opening, closing and break of the commonest session, relative to its day; the break is empty or a pair."""
        rows = np.c_[self.opens, self.closes, self.breaks] - self.days[:, None] * DAY
        rows[:, 2:][self.breaks == 0] = 0
        kinds, counts = np.unique(rows, axis=0, return_counts=True)
        best = kinds[counts.argmax()]
        return best[:1], best[1:2], best[2:] if best[3] else NO_SLOTS

    def on(self, days: Ints) -> "_Hours":
        """The commonest session on other `days`, whose holidays are unknown."""
        opens, closes, break_ = self.usual()
        base = days[:, None] * DAY
        breaks = base + break_ if len(break_) else np.zeros((len(days), 2), dtype=np.int64)
        return _Hours(days, (base + opens)[:, 0], (base + closes)[:, 0], breaks, known=False)


@lru_cache(maxsize=32)
def _calendar(name: str) -> Any:
    return require("pandas_market_calendars", extra="calendars").get_calendar(name)


@lru_cache(maxsize=512)
def _listed_hours(name: str, year: int) -> _Hours | None:
    """The sessions that the table of an exchange lists for a year; None where it does not reach."""
    calendar = _calendar(name)
    try:
        schedule = calendar.schedule(f"{year}-01-01", f"{year}-12-31")
    except ValueError:  # the tables end at a bound
        return None
    if not len(schedule):
        return None

    def local(column: str) -> Ints:
        return wall_clock(pd.DatetimeIndex(schedule[column]).tz_convert(str(calendar.tz)))

    days = wall_clock(pd.DatetimeIndex(schedule.index)) // DAY
    breaks = np.zeros((len(days), 2), dtype=np.int64)
    if "break_start" in schedule:
        has = (schedule["break_start"].notna() & (schedule["break_end"] > schedule["break_start"])).to_numpy()
        breaks[has] = np.c_[local("break_start"), local("break_end")][has]
    return _Hours(days, local("market_open"), local("market_close"), breaks)


@lru_cache(maxsize=512)
def _hours(name: str, year: int) -> _Hours:
    """The sessions of a year. Where the holidays are not listed, all weekdays that trade in the years before.

    Tables end silently as well: a year with far fewer holidays than any of the ten before it is past the end.
    """
    listed = _listed_hours(name, year)
    past = [hours for back in range(1, 11) if (hours := _listed_hours(name, year - back)) is not None]
    if listed is not None and not past:
        return listed
    if not past:
        raise ConfigError(f"calendar {name!r} has no sessions near the year {year}; leave calendar= out")
    share = np.mean([np.bincount((hours.days + 3) % 7, minlength=7) / 52 for hours in past], axis=0)
    trading = share > 0.5
    most = max(_holidays(hours.days, trading) for hours in past)
    if listed is not None and (most < 4 or _holidays(listed.days, trading) >= 0.4 * most):
        return listed
    dates = wall_clock(pd.date_range(f"{year}-01-01", f"{year}-12-31", unit="ns")) // DAY
    return past[0].on(dates[trading[(dates + 3) % 7]])


def _holidays(days: Ints, trading: Flags) -> int:
    """How many days of usually `trading` weekdays have no session in the year of `days`."""
    dates = np.arange(days[0], days[-1] + 1)
    return int(trading[(dates + 3) % 7].sum() - trading[(days + 3) % 7].sum())


@dataclass(frozen=True)
class _Exchange:
    """A named exchange: its zone and its sessions."""

    name: str
    zone: str

    @classmethod
    def named(cls, name: str) -> "_Exchange":
        """Look up `name` without regard to case, or say which names come near."""
        package = require("pandas_market_calendars", extra="calendars")
        names = {known.upper(): known for known in package.get_calendar_names()}
        found = names.get(name.upper())
        if found is None:
            near = difflib.get_close_matches(name.upper(), names, n=5, cutoff=0.4)
            hint = ", ".join(names[key] for key in near) or "24/7, 24/5, SSE, HKEX, NYSE"
            raise ConfigError(f"calendar {name!r} is unknown; near it: {hint}")
        return cls(found, str(_calendar(found).tz))

    def hours(self, first: int, last: int) -> _Hours:
        """The sessions of the days from `first` to `last`."""
        years = _dates(np.array([first, last])).year
        tables = [_hours(self.name, year) for year in range(int(years[0]), int(years[1]) + 1)]
        joined = tables[0]
        for table in tables[1:]:
            joined = joined.joined(table)
        return joined.between(first, last)

    def warn_if_unlisted(self, stamps: pd.DatetimeIndex) -> None:
        """Say so once where `stamps` run past the last year whose holidays are listed."""
        for year in range(stamps[0].year, stamps[-1].year + 1):
            if not _hours(self.name, year).known:
                warnings.warn(
                    f"calendar {self.name}: the holidays of {year} are not known; its usual weekdays were taken",
                    KronosWarning,
                    stacklevel=3,
                )
                return


def _exchange_plan(times: pd.DatetimeIndex, timeframe: Timeframe, exchange: _Exchange) -> _Plan:
    """Follow an exchange: times of day from the history, days from its table."""
    late = times[-20_000:] if timeframe.intraday else times[-400:]
    own = wall_clock(late)
    there = wall_clock((late if late.tz is not None else late.tz_localize("UTC")).tz_convert(exchange.zone))
    if not timeframe.intraday:
        days = exchange.hours(int(own[0] // DAY) - 1, int(own[-1] // DAY) + 1).days
        abroad = np.isin(there // DAY, days).mean() > np.isin(own // DAY, days).mean()
        wall = there if abroad else own
        rule = _exchange_dates(wall, timeframe, exchange)
        return _Plan(times, exchange.name, rule, exchange, exchange.zone if abroad else None)
    own, there = _recent(own), _recent(there)
    hours = exchange.hours(int(own[0] // DAY) - 2, int(own[-1] // DAY) + 2)
    if times.tz is None and _fit(hours, own) >= _fit(hours, there) - 0.05:
        return _Plan(times, exchange.name, _exchange_bars(own, timeframe, exchange, hours), exchange)
    rule = _exchange_bars(there, timeframe, exchange, hours)
    return _Plan(times, exchange.name, rule, exchange, exchange.zone)


def _fit(hours: _Hours, wall: Ints) -> float:
    """The share of stamps inside the sessions, by the better of the two ways to stamp a bar."""
    return max(float(hours.inside(wall, ends=ends).mean()) for ends in (False, True))


def _exchange_bars(wall: Ints, timeframe: Timeframe, exchange: _Exchange, hours: _Hours) -> Callable[[int, int], Ints]:
    """Bars within the day, on the days of the exchange, cut off where a session ends early."""
    week = _learn(wall, timeframe)
    ends = bool(hours.inside(wall, ends=True).mean() > hours.inside(wall, ends=False).mean())
    opens, closes, _ = hours.usual()
    if not week.learned and len(grid := _session_grid(wall, timeframe, exchange, hours)):
        ends = bool(grid[-1] >= closes[0])
        week = _Week((grid,) * 7, grid, exchange.name)
    overnight = bool(opens[0] < 0 or closes[0] > DAY)
    late = bool((week.pooled > closes[0]).any())  # bars after hours are not cut where a session ends early

    def stamps(first: int, last: int) -> Ints:
        sessions = exchange.hours(first, last + 1) if overnight else exchange.hours(first, last)
        if overnight:
            walls = np.concatenate([day * DAY + week.slots[_weekday(day)] for day in range(first, last + 1)])
            return walls[sessions.inside(walls, ends=ends)]
        found = [NO_SLOTS]
        for row, day in enumerate(sessions.days.tolist()):
            slots = week.slots[_weekday(day)]
            walls = day * DAY + (slots if len(slots) else week.pooled)
            short = sessions.closes[row] - day * DAY < closes[0] and not late
            found.append(walls[sessions.inside(walls, ends=ends)] if short else walls)
        return np.concatenate(found)

    return lambda last, count: _collect(stamps, last, count, exchange)


def _collect(stamps: Callable[[int, int], Ints], last: int, count: int, exchange: _Exchange) -> Ints:
    """Ask for the `stamps` of more and more days until there are `count` after `last`."""
    day, found, total = last // DAY, [NO_SLOTS], 0
    while total < count:
        span = 14 if not total else int(min(400, 10 + 8 * (count - total) / max(total, 1)))
        batch = stamps(day, day + span)
        batch = batch[batch > last]
        found.append(batch)
        total += len(batch)
        day += span + 1
        if not total and day > last // DAY + 60:
            raise BarsError(f"no bar of this kind falls into the sessions of {exchange.name}; leave calendar= out")
    return np.concatenate(found)[:count]


def _session_grid(wall: Ints, timeframe: Timeframe, exchange: _Exchange, hours: _Hours) -> Ints:
    """The times of day of a usual session for a history too short to show them; empty where none fits."""
    opens, closes, break_ = hours.usual()
    step = timeframe.nanoseconds
    cuts = np.r_[opens, break_, closes]
    pieces = [(int(cuts[i]), int(cuts[i + 1])) for i in range(0, len(cuts), 2)]
    starts = np.concatenate([np.arange(a, b, step) for a, b in pieces])
    stops = np.concatenate([np.minimum(np.arange(a, b, step) + step, b) for a, b in pieces])
    clock = [np.r_[a, np.arange(a // step * step + step, b, step)] for a, b in pieces]  # 9:30, 10:00, 11:00
    # data vendors of mainland China stamp bars with their ends, most others with their starts
    grids = [stops, starts] if exchange.name in ("SSE", "XSHG") else [starts, stops]
    grids.append(np.concatenate(clock))
    fits = [float(np.isin(wall % DAY, grid).mean()) for grid in grids]
    return grids[int(np.argmax(fits))] if max(fits) >= 0.8 else NO_SLOTS


def _exchange_dates(wall: Ints, timeframe: Timeframe, exchange: _Exchange) -> Callable[[int, int], Ints]:
    """Daily bars on the days of sessions; weekly and monthly ones on the first or last session if they were so far."""
    if timeframe.unit == "d":
        return _every(
            lambda last, count: _collect(
                lambda first, end: exchange.hours(first, end).days * DAY + last % DAY, last, count, exchange
            ),
            timeframe,
        )
    plain = _long_rule(wall[-60:], timeframe)
    days = wall[-60:] // DAY
    past = exchange.hours(int(days[0]) - 40, int(days[-1]) + 40).days
    for take in (0, -1):
        if timeframe.count == 1 and np.isin(days, _edge_sessions(past, timeframe, take)).mean() >= 0.9:

            def edges(last: int, count: int, take: int = take) -> Ints:
                size = 8 if timeframe.unit == "w" else 32
                coming = exchange.hours(last // DAY - 40, last // DAY + (count + 2) * size).days
                found = _edge_sessions(coming, timeframe, take)[:-1] * DAY + last % DAY
                return found[found > last][:count]

            return edges
    return plain


def _edge_sessions(days: Ints, timeframe: Timeframe, take: int) -> Ints:
    """The first (0) or last (-1) session of each week or month."""
    period = (days - 4) // 7 if timeframe.unit == "w" else month_numbers(_dates(days))
    edge = np.flatnonzero(np.diff(period))
    return days[np.r_[0, edge + 1] if take == 0 else np.r_[edge, len(days) - 1]]
