"""Checks that need no history: the order of the times, and each row by itself. Works on loose frames as they come.

What is an error here is what `frame.canonical` refuses, but for volume and amount: where some are missing they can be
filled, so that is a warning.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kronos.bars.candles import CLOSE, COLUMNS, HIGH, LOW, OPEN, VOLUME, Array
from kronos.bars.frame import DUST
from kronos.bars.quality.findings import Finding, Severity
from kronos.bars.sessions import Flags
from kronos.bars.timeframe import Ints, wall_clock
from kronos.errors import BarsError


@dataclass(frozen=True, eq=False)
class Usable:
    """The rows that can be reasoned about: in order, each time once, prices positive, high and low around the body."""

    times: pd.DatetimeIndex
    wall: Ints
    prices: Array  # (N, 4)
    volume: Array  # NaN where unknown
    amount: Array

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.times)


def raw_values(frame: pd.DataFrame, name: str) -> tuple[pd.DatetimeIndex, Array]:
    """The times and the six columns of a loose frame."""
    if not isinstance(frame, pd.DataFrame) or not isinstance(frame.index, pd.DatetimeIndex):
        raise BarsError(f"{name}: expected a frame over a DatetimeIndex; read yours with kronos.bars.frame.loose first")
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise BarsError(f"{name}: no column {', '.join(missing)}; read the frame with kronos.bars.frame.loose first")
    return frame.index, frame.loc[:, list(COLUMNS)].to_numpy(dtype=np.float64)


def usable(times: pd.DatetimeIndex, values: Array) -> Usable:
    """The usable rows; of several with one time the last is taken."""
    prices = values[:, :VOLUME]
    with np.errstate(invalid="ignore"):
        good = np.asarray(times.notna()) & np.isfinite(prices).all(axis=1) & (prices > 0).all(axis=1)
    rows = np.flatnonzero(good)
    rows = rows[np.argsort(times.asi8[rows], kind="stable")]
    stamps = times.asi8[rows]
    rows = rows[np.r_[stamps[1:] != stamps[:-1], True]] if len(rows) else rows
    taken = values[rows]
    taken[:, HIGH], taken[:, LOW] = taken[:, :VOLUME].max(axis=1), taken[:, :VOLUME].min(axis=1)
    with np.errstate(invalid="ignore"):
        unknown = ~np.isfinite(taken) | (taken < 0)
    taken[unknown] = np.nan
    index = times[rows]
    return Usable(index, wall_clock(index), taken[:, :VOLUME], taken[:, VOLUME], taken[:, VOLUME + 1])


def check_rows(times: pd.DatetimeIndex, values: Array, now: pd.Timestamp) -> Iterator[Finding]:
    """Everything that is wrong with the order of the rows and with single rows."""
    yield from _order(times, values)
    yield from _values(times, values)
    yield from _future(times, now)


def _order(times: pd.DatetimeIndex, values: Array) -> Iterator[Finding]:
    absent = np.asarray(times.isna())
    if absent.any():
        yield Finding("missing_value", "error", None, None, int(absent.sum()), f"{_rows(absent)} without a time")
    kept = np.flatnonzero(~absent)
    stamps = times.asi8[kept]
    back = np.r_[False, np.diff(stamps) < 0]
    if back.any():
        whole = " (newest first)" if back[1:].all() else ""
        yield _about("unsorted", "error", times[kept], back, f"{_rows(back)} earlier than the row before{whole}")
    order = kept[np.argsort(stamps, kind="stable")]
    again = np.flatnonzero(np.diff(times.asi8[order]) == 0)
    if len(again):
        first, second = values[order[again]], values[order[again + 1]]
        same = ((first == second) | (np.isnan(first) & np.isnan(second))).all(axis=1)
        stamps_again = times[order[again + 1]]
        for chosen, what in ((same, "with equal values"), (~same, "with other values")):
            if chosen.any():
                detail = f"{_rows(chosen)} repeat a time {what}"
                yield _about("duplicate", "error", stamps_again, chosen, detail)


def _values(times: pd.DatetimeIndex, values: Array) -> Iterator[Finding]:
    unknown = ~np.isfinite(values)
    for place, column in enumerate(COLUMNS):
        if place >= VOLUME and np.isnan(values[:, place]).all():
            continue  # the source has none
        price = place < VOLUME
        missing, infinite = np.isnan(values[:, place]), np.isinf(values[:, place])
        if missing.any():
            yield _about("missing_value", "error" if price else "warning", times, missing, f"{column} is missing")
        if infinite.any():
            yield _about("missing_value", "error", times, infinite, f"{column} is infinite")
        with np.errstate(invalid="ignore"):
            low = ~unknown[:, place] & (values[:, place] <= 0 if price else values[:, place] < 0)
        if low.any():
            worst = float(values[low, place].min())
            words = "not positive" if price else "negative"
            yield _about("not_positive", "error", times, low, f"{column} is {words}, the lowest {worst:.10g}")
    yield from _candles(times, values)


def _candles(times: pd.DatetimeIndex, values: Array) -> Iterator[Finding]:
    """Highs and lows that do not hold the body; only dust is no error."""
    known = np.isfinite(values[:, :VOLUME]).all(axis=1)
    high, low = values[:, HIGH], values[:, LOW]
    body = values[:, [OPEN, CLOSE]]
    with np.errstate(invalid="ignore"):
        dust = DUST * high
        cases = (
            (known & (high < low - dust), "the high is below the low", low - high),
            (known & (high >= low - dust) & (high < body.max(axis=1) - dust), "the high is below the body",
             body.max(axis=1) - high),
            (known & (high >= low - dust) & (body.min(axis=1) < low - dust), "the low is above the body",
             low - body.min(axis=1)),
        )  # fmt: skip
    for bad, words, depth in cases:
        if bad.any():
            share = float((depth[bad] / np.maximum(np.abs(body[bad, 1]), 1e-300)).max())
            yield _about("bad_candle", "error", times, bad, f"{words}, at most by {share:.2%} of the close")


def _future(times: pd.DatetimeIndex, now: pd.Timestamp) -> Iterator[Finding]:
    """Naive times may be of a zone that is ahead of UTC."""
    limit = now.tz_convert(times.tz) if times.tz is not None else now.tz_localize(None) + pd.Timedelta(hours=14)
    late = np.asarray(times > limit)
    if late.any():
        last = times[late].max()
        yield _about("future", "error", times, late, f"{_rows(late)} later than now ({now:%Y-%m-%d %H:%M} UTC): {last}")


def _rows(flags: Flags) -> str:
    count = int(flags.sum())
    return "1 row" if count == 1 else f"{count:,} rows"


def _about(kind: str, severity: Severity, times: pd.DatetimeIndex, rows: Flags, detail: str) -> Finding:
    """One finding for all the `rows`."""
    count = int(rows.sum())
    at = times[rows].dropna()
    first, last = (at.min(), at.max()) if len(at) else (None, None)
    text = detail if detail[:1].isdigit() else f"{_rows(rows)}: {detail}"
    return Finding(kind, severity, first, last, count, text, count)
