"""Checks of increasing times against each other: gaps, times off the grid, another timeframe, another zone."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from kronos.bars.candles import COLUMNS
from kronos.bars.frame import canonical
from kronos.bars.quality.checks_rows import Usable
from kronos.bars.quality.clocks import check_clock
from kronos.bars.quality.expected import wall_in
from kronos.bars.quality.findings import SHOWN, Finding, capped
from kronos.bars.quality.gaps import Gaps
from kronos.bars.sessions import Flags
from kronos.bars.timeframe import DAY, Timeframe, infer_timeframe
from kronos.errors import BarsError

RARE = 0.02  # a grid that fewer of the bars keep is no grid


def check_times(times: pd.DatetimeIndex, timeframe: Timeframe, found: Gaps) -> Iterator[Finding]:
    """Everything that the times of at least two bars show, `found` being their gaps."""
    for holiday in (False, True):
        yield from _gaps(times, found, found.holiday == holiday, "likely_holiday" if holiday else "gap")
    yield from _off_grid(times, timeframe, found)
    yield from check_clock(times, timeframe)
    usual = infer_timeframe(times)
    if usual != timeframe:
        detail = f"said to be {timeframe}, but most bars are {usual} apart"
        yield Finding("mixed_timeframe", "warning", times[0], times[-1], len(times), detail)


def _gaps(times: pd.DatetimeIndex, found: Gaps, chosen: Flags, kind: str) -> list[Finding]:
    rows, missing = found.after[chosen], found.missing[chosen]
    pairs = zip(rows[:SHOWN].tolist(), missing[:SHOWN].tolist(), strict=True)
    words = "1 bar is missing", "{:,} bars are missing"
    findings = [
        Finding(
            kind,
            "note" if kind == "likely_holiday" else "warning",
            times[row],
            times[row + 1],
            count,
            words[count > 1].format(count),
        )
        for row, count in pairs
    ]
    return capped(findings, len(rows), int(missing.sum()))


def _off_grid(times: pd.DatetimeIndex, timeframe: Timeframe, found: Gaps) -> Iterator[Finding]:
    """Times at a distance from the others that hardly any other bar has."""
    if not (timeframe.intraday or timeframe.unit == "d"):
        return
    size = min(timeframe.nanoseconds, DAY)
    clock = np.asarray(times.as_unit("ns").asi8) if found.zone is None else wall_in(times, found.zone)
    if found.zone is None and not (found.says == "24/7" and timeframe.intraday):
        clock = wall_in(times, None)
    phases, place, counts = np.unique(clock % size, return_inverse=True, return_counts=True)
    rare = counts[place] < RARE * len(times)
    if rare.any() and len(times) >= 20:
        at = times[rare]
        usual = pd.Timedelta(int(phases[counts.argmax()]))
        detail = f"{len(at):,} times off the grid of {timeframe} (as {at[0]}); most are {usual} past it"
        yield Finding("off_grid", "warning", at[0], at[-1], len(at), detail, len(at))


def check_mixture(bars: Usable) -> Iterator[Finding]:
    """Stretches of another timeframe, by the rule that `frame.canonical` has for them."""
    columns = [*bars.prices.T, bars.volume, bars.amount]
    if not len(bars):
        return
    frame = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=bars.times)
    try:
        canonical(frame, volume_rule="fill", min_rows=1)
    except BarsError as error:
        head, _, what = str(error).partition("): ")
        row = re.search(r"row (\d+)", head)
        at = bars.times[int(row[1])] if row else bars.times[0]
        count = re.search(r"(\d+) rows? (?:is|are) affected", what)
        yield Finding("mixed_timeframe", "error", at, at, int(count[1]) if count else 1, what)
