"""Whose clock the times are on: what sessions and daily stamps say of their zone, and whether bars carry their ends.

A handful of large markets is known by their hours. A history that keeps one market's hours exactly, by the market's own
clock or read as UTC, is on that clock; one that keeps nobody's hours says nothing, and nothing is guessed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from kronos.bars.candles import Array
from kronos.bars.quality.expected import steady_clock, wall_in
from kronos.bars.quality.findings import Finding, Severity
from kronos.bars.timeframe import DAY, SECOND, Ints, Timeframe, wall_clock

MINUTE = 60 * SECOND


@dataclass(frozen=True)
class Market:
    """The regular hours of a market in minutes of its own clock, and a break in which nothing trades."""

    name: str
    zone: str
    opens: int
    closes: tuple[int, ...]
    pause: tuple[int, int] | None = None


def _at(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


# those with a break first: they are told from the others by it
MARKETS = (
    Market("Shanghai", "Asia/Shanghai", _at("09:30"), (_at("15:00"),), (_at("11:30"), _at("13:00"))),
    Market("Hong Kong", "Asia/Hong_Kong", _at("09:30"), (_at("16:00"),), (_at("12:00"), _at("13:00"))),
    Market("Tokyo", "Asia/Tokyo", _at("09:00"), (_at("15:00"), _at("15:30")), (_at("11:30"), _at("12:30"))),
    Market("New York", "America/New_York", _at("09:30"), (_at("16:00"),)),
    Market("New York with extended hours", "America/New_York", _at("04:00"), (_at("20:00"),)),
    Market("London", "Europe/London", _at("08:00"), (_at("16:30"),)),
    Market("Frankfurt", "Europe/Berlin", _at("09:00"), (_at("17:30"),)),
    Market("Mumbai", "Asia/Kolkata", _at("09:15"), (_at("15:30"),)),
    Market("Seoul", "Asia/Seoul", _at("09:00"), (_at("15:30"),)),
    Market("Sydney", "Australia/Sydney", _at("10:00"), (_at("16:00"),)),
    Market("Taipei", "Asia/Taipei", _at("09:00"), (_at("13:30"),)),
)


def check_clock(times: pd.DatetimeIndex, timeframe: Timeframe) -> Iterator[Finding]:
    """At most one finding about the zone of increasing `times`."""
    if len(times) < 10:
        return
    words: tuple[Severity, str] | None = None
    if timeframe.intraday:
        words = _sessions(times, timeframe)
    elif timeframe.unit == "d":
        words = _daily(times)
    if words is not None:
        yield Finding("time_zone", words[0], times[0], times[-1], len(times), words[1])


def _sessions(times: pd.DatetimeIndex, timeframe: Timeframe) -> tuple[Severity, str] | None:
    if timeframe.nanoseconds > 2 * 60 * MINUTE:
        return None
    late = times[times >= times[-1] - timedelta(days=370)]
    # by its own zone a market is as it should be; by another clock, or by none, that is worth a word
    own = _fits(wall_clock(late), timeframe, None if times.tz is None else str(times.tz))
    abroad = [(market, how) for market in MARKETS if (how := _fit(wall_in(late, market.zone), timeframe, market))]
    if times.tz is None:
        if own:
            return "note", f"the times have no zone and keep the clock of {own[0][0].zone} ({_say(*own[0])})"
        if abroad:
            return "note", f"the times have no zone and look like UTC of {abroad[0][0].zone} ({_say(*abroad[0])})"
        zone = steady_clock(times)
        return None if zone is None else ("note", f"the times have no zone and look like UTC: sessions go by {zone}")
    if abroad:
        return ("note", f"the bars carry their ends ({_say(*abroad[0])})") if abroad[0][1] == "end" else None
    if own:
        market, how = own[0]
        return "warning", f"labelled {times.tz}, but the clock is that of {market.zone} ({_say(market, how)})"
    return None


def _say(market: Market, how: str) -> str:
    opens, closes = (f"{minute // 60:02d}:{minute % 60:02d}" for minute in (market.opens, market.closes[-1]))
    return f"{market.name}, {opens} to {closes}{', bars stamped with their ends' if how == 'end' else ''}"


def _fits(wall: Ints, timeframe: Timeframe, zone: str | None) -> list[tuple[Market, str]]:
    """The markets, but for those of `zone` itself, whose hours this wall clock keeps."""
    found = ((market, _fit(wall, timeframe, market)) for market in MARKETS if market.zone != zone)
    return [(market, how) for market, how in found if how]


def _fit(wall: Ints, timeframe: Timeframe, market: Market) -> str:
    """ "start" or "end" of a bar, where this wall clock keeps the market's hours that way; else nothing."""
    days, row = np.unique(wall // DAY, return_inverse=True)
    minutes = wall % DAY // MINUTE
    first, last = np.full(len(days), 24 * 60), np.zeros(len(days), dtype=np.int64)
    np.minimum.at(first, row, minutes)
    np.maximum.at(last, row, minutes)
    step = timeframe.nanoseconds // MINUTE
    if step < 1 or (wall % MINUTE).any():
        return ""
    if market.pause is not None and ((minutes > market.pause[0]) & (minutes < market.pause[1])).any():
        return ""
    opens = {market.opens, market.opens // step * step}
    for close in market.closes:
        ends = {close, -(-close // step) * step}
        starts = {opening + (close - opening - 1) // step * step for opening in opens}
        if _mostly(first, opens) and _mostly(last, starts | {close}):
            return "start"
        if _mostly(first, {opening + step for opening in opens}) and _mostly(last, ends):
            return "end"
    return ""


def _mostly(values: Ints, among: set[int]) -> bool:
    return bool(np.isin(values, list(among)).mean() >= 0.8)


def _daily(times: pd.DatetimeIndex) -> tuple[Severity, str] | None:
    """Daily bars whose stamps are no plain dates."""
    wall = wall_clock(times)
    minutes = wall % DAY // MINUTE
    weekdays = _weekdays(wall)
    if minutes.any():
        own = _usual(minutes)
        for market in MARKETS:
            there = wall_in(times, market.zone)
            if _weekdays(there)[5:].sum() > 0.02 and weekdays[5:].sum() < 0.25:
                continue  # by that clock it would have traded on Saturdays or Sundays
            for name, clock in (("midnight", {0}), ("the close", _closes(market))):
                if np.isin(there % DAY // MINUTE, list(clock)).mean() >= 0.98:
                    return "note", f"daily bars are stamped {own} as UTC of {name} in {market.zone}: no plain dates"
        closing = [market.name for market in MARKETS if _mostly(minutes, _closes(market))]
        hint = f", the close of {' or '.join(closing)}" if closing else ""
        return "note", f"daily bars are stamped {own}{hint}: no plain dates"
    if weekdays[6] > 0.1 and weekdays[4:6].max() < 0.02:
        return "note", "the days run from Sunday to Thursday: are the dates shifted by one day?"
    return None


def _weekdays(wall: Ints) -> Array:
    """The share of the bars on each weekday, Monday first."""
    return np.bincount((wall // DAY + 3) % 7, minlength=7) / len(wall)


def _closes(market: Market) -> set[int]:
    return {*market.closes, *(close - 1 for close in market.closes)}


def _usual(minutes: Ints) -> str:
    values, counts = np.unique(minutes, return_counts=True)
    often = values[counts >= 0.1 * counts.max()][:3]
    return " and ".join(f"{minute // 60:02d}:{minute % 60:02d}" for minute in often)
