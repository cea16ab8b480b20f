"""Named exchanges: their sessions, breaks and holidays, and the bars that fall into them.

The tables are those of the optional pandas_market_calendars; it is imported when an exchange is looked up. Times of day
come from the history where it shows them, days from the table, and past its end from the usual weekdays. Times are
nanoseconds of one wall clock, of the exchange or of the history; `calendar` makes time stamps of them.
"""

import difflib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars.sessions import NO_SLOTS, Flags, Rule, Week, dates_of, every, learn, long_rule, recent, weekday_of
from kronos.bars.timeframe import DAY, Ints, Timeframe, month_numbers, wall_clock
from kronos.errors import BarsError, ConfigError, KronosWarning
from kronos.extras import require, without_its_deprecations


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
    with without_its_deprecations():
        return require("pandas_market_calendars", extra="calendars").get_calendar(name)


@lru_cache(maxsize=512)
def _listed_hours(name: str, year: int) -> _Hours | None:
    """The sessions that the table of an exchange lists for a year; None where it does not reach."""
    calendar = _calendar(name)
    try:
        with without_its_deprecations():
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
class Exchange:
    """A named exchange: its zone and its sessions."""

    name: str
    zone: str

    @classmethod
    def named(cls, name: str) -> "Exchange":
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
        years = dates_of(np.array([first, last])).year
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


def exchange_rule(times: pd.DatetimeIndex, timeframe: Timeframe, exchange: Exchange) -> tuple[Rule, str | None]:
    """Follow an exchange: times of day from the history, days from its table.

    With the rule goes the zone of its wall clock, naive times being UTC; None where it is the clock of `times` itself.
    """
    late = times[-20_000:] if timeframe.intraday else times[-400:]
    own, there = wall_clock(late), _clock_there(late, exchange)
    if not timeframe.intraday:
        days = exchange.hours(int(own[0] // DAY) - 1, int(own[-1] // DAY) + 1).days
        abroad = np.isin(there // DAY, days).mean() > np.isin(own // DAY, days).mean()
        rule = _exchange_dates(there if abroad else own, timeframe, exchange)
        return rule, exchange.zone if abroad else None
    own, there = recent(own), recent(there)
    hours = exchange.hours(int(own[0] // DAY) - 2, int(own[-1] // DAY) + 2)
    if times.tz is None and _fit(hours, own) >= _fit(hours, there) - 0.05:
        return _exchange_bars(own, timeframe, exchange, hours), None
    return _exchange_bars(there, timeframe, exchange, hours), exchange.zone


@dataclass(frozen=True)
class OpenTimes:
    """When an exchange was open, by the wall clock `wall` of a whole history: of `zone`, or of its index where None."""

    wall: Ints
    zone: str | None
    hours: _Hours
    ends: bool

    def open_at(self, wall: Ints) -> Flags:
        """Which times belong to a session, or come before or after the hours of a day that closes as usual."""
        hours = self.hours
        inside = hours.inside(wall, ends=self.ends)
        opens, closes, _ = hours.usual()
        if opens[0] < 0 or closes[0] > DAY:
            return inside
        whole = hours.days[hours.closes - hours.days * DAY >= closes[0]]
        clock = wall % DAY
        early, late = (clock <= opens[0], clock > closes[0]) if self.ends else (clock < opens[0], clock >= closes[0])
        return np.asarray(inside | (np.isin(wall // DAY, whole) & (early | late)), dtype=np.bool_)


def open_times(times: pd.DatetimeIndex, timeframe: Timeframe, exchange: Exchange) -> OpenTimes:
    """The sessions of an exchange over a whole history, whose clock is told as `exchange_rule` tells it."""
    own, there = wall_clock(times), _clock_there(times, exchange)
    hours = exchange.hours(int(min(own[0], there[0]) // DAY) - 15, int(max(own[-1], there[-1]) // DAY) + 15)
    if not timeframe.intraday:
        abroad = bool(np.isin(there // DAY, hours.days).mean() > np.isin(own // DAY, hours.days).mean())
    else:
        abroad = times.tz is not None or _fit(hours, own[-20_000:]) < _fit(hours, there[-20_000:]) - 0.05
    wall = there if abroad else own
    whole = hours.closes - hours.days * DAY >= hours.usual()[1][0]  # half days may well have a bar after their end
    ends = bool(np.isin(wall, hours.closes[whole]).sum() > np.isin(wall, hours.opens[whole]).sum())
    return OpenTimes(wall, exchange.zone if abroad else None, hours, ends)


def _clock_there(times: pd.DatetimeIndex, exchange: Exchange) -> Ints:
    """The wall clock of the exchange, naive times being UTC."""
    return wall_clock((times if times.tz is not None else times.tz_localize("UTC")).tz_convert(exchange.zone))


def _fit(hours: _Hours, wall: Ints) -> float:
    """The share of stamps inside the sessions, by the better of the two ways to stamp a bar."""
    return max(float(hours.inside(wall, ends=ends).mean()) for ends in (False, True))


def _exchange_bars(wall: Ints, timeframe: Timeframe, exchange: Exchange, hours: _Hours) -> Rule:
    """Bars within the day, on the days of the exchange, cut off where a session ends early."""
    week = learn(wall, timeframe)
    ends = bool(hours.inside(wall, ends=True).mean() > hours.inside(wall, ends=False).mean())
    opens, closes, _ = hours.usual()
    if not week.learned and len(grid := _session_grid(wall, timeframe, exchange, hours)):
        ends = bool(grid[-1] >= closes[0])
        week = Week((grid,) * 7, grid, exchange.name)
    overnight = bool(opens[0] < 0 or closes[0] > DAY)
    late = bool((week.pooled > closes[0]).any())  # bars after hours are not cut where a session ends early

    def stamps(first: int, last: int) -> Ints:
        sessions = exchange.hours(first, last + 1) if overnight else exchange.hours(first, last)
        if overnight:
            walls = np.concatenate([day * DAY + week.slots[weekday_of(day)] for day in range(first, last + 1)])
            return walls[sessions.inside(walls, ends=ends)]
        found = [NO_SLOTS]
        for row, day in enumerate(sessions.days.tolist()):
            slots = week.slots[weekday_of(day)]
            walls = day * DAY + (slots if len(slots) else week.pooled)
            short = sessions.closes[row] - day * DAY < closes[0] and not late
            found.append(walls[sessions.inside(walls, ends=ends)] if short else walls)
        return np.concatenate(found)

    return lambda last, count: _collect(stamps, last, count, exchange)


def _collect(stamps: Callable[[int, int], Ints], last: int, count: int, exchange: Exchange) -> Ints:
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


def _session_grid(wall: Ints, timeframe: Timeframe, exchange: Exchange, hours: _Hours) -> Ints:
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


def _exchange_dates(wall: Ints, timeframe: Timeframe, exchange: Exchange) -> Rule:
    """Daily bars on the days of sessions; weekly and monthly ones on the first or last session if they were so far."""
    if timeframe.unit == "d":
        return every(
            lambda last, count: _collect(
                lambda first, end: exchange.hours(first, end).days * DAY + last % DAY, last, count, exchange
            ),
            timeframe,
        )
    plain = long_rule(wall[-60:], timeframe)
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
    period = (days - 4) // 7 if timeframe.unit == "w" else month_numbers(dates_of(days))
    edge = np.flatnonzero(np.diff(period))
    return days[np.r_[0, edge + 1] if take == 0 else np.r_[edge, len(days) - 1]]
