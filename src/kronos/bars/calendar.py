"""The times of the next bars: round the clock, a week learned from the history, or a named exchange.

A history shows its own week (`sessions`); what it cannot show is a coming holiday. For those name an exchange
(`calendar="SSE"`), which `exchange` reads from the optional pandas_market_calendars. Sessions go by the wall clock of
the index's zone, so summer time is right; bars round the clock go by real time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars.exchange import Exchange, exchange_rule
from kronos.bars.sessions import Rule, every, learn, long_rule, recent, week_of_24_5
from kronos.bars.timeframe import DAY, Timeframe, infer_timeframe, wall_clock
from kronos.errors import BarsError, ConfigError


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


def check_calendar(name: str) -> None:
    """Refuse what is no calendar's name, before anything is stored or forecast by it."""
    if name.strip().upper() not in ("24/7", "24/5"):
        Exchange.named(name.strip())


def zone_of_calendar(name: str) -> str | None:
    """The time zone of an exchange; None for 24/7 and 24/5, which have none."""
    plain = name.strip()
    return None if plain.upper() in ("24/7", "24/5") else Exchange.named(plain).zone


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
    walls: Rule
    exchange: Exchange | None = None
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
        exchange = Exchange.named(name)
        rule, zone = exchange_rule(times, timeframe, exchange)
        return _Plan(times, exchange.name, rule, exchange, zone)
    if timeframe.unit in ("w", "mo"):
        says = "one day of the month" if timeframe.unit == "mo" else "one day of the week"
        return _Plan(times, says, long_rule(wall_clock(times)[-60:], timeframe))
    wall = recent(wall_clock(times))
    if timeframe.intraday:
        if name == "24/7":
            return _round_the_clock(times, timeframe)
        week = week_of_24_5(times, wall, timeframe) if name == "24/5" else learn(wall, timeframe)
        return _round_the_clock(times, timeframe) if week.says == "24/7" else _Plan(times, week.says, week.after)
    week = learn(wall, timeframe)
    if name is not None:
        sunday = [6] if len(week.slots[6]) else []
        week = week.trading(range(7) if name == "24/7" else [*range(5), *sunday], name)
    elif timeframe.count > 1:  # every other day shows no weekday often enough to be learned
        seen = set(((wall // DAY + 3) % 7).tolist())
        week = week.trading(range(7), "24/7") if 5 in seen else week.trading(range(5), "weekdays")
    return _Plan(times, week.says, every(week.after, timeframe))


def _round_the_clock(times: pd.DatetimeIndex, timeframe: Timeframe) -> _Plan:
    step = timeframe.nanoseconds
    return _Plan(times, "24/7", lambda last, count: last + step * np.arange(1, count + 1), zone="UTC")
