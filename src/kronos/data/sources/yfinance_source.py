"""Bars from Yahoo Finance, through the optional package yfinance.

Yahoo's prices are adjusted for splits, and by default for dividends too; a new one changes the whole history, which
`fetching` notices. It has no amounts, keeps minutes for some weeks, and delivers the running bar, which is left out: a
day is over when the date has changed where the symbol trades. yfinance hides failures and answers with nothing, which
would look like "up to date"; here it is told to raise them.
"""

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars import Timeframe
from kronos.data.sources.http import Patience
from kronos.data.sources.packages import STRANGE, bar_ends, between, frame_from, patiently
from kronos.data.sources.rows import native_name
from kronos.data.sources.source import Page
from kronos.errors import ConfigError, KronosWarning, SourceError
from kronos.extras import require

_INTERVALS = {
    "1m": "1m", "2m": "2m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1h", "90m": "90m", "1d": "1d", "1w": "1wk",
    "1mo": "1mo", "3mo": "3mo",
}  # fmt: skip
_DEPTHS = {"1m": 29, "1h": 729}  # days that Yahoo keeps, less one for the way; other bars within the day
_DEPTH = 59
_MINUTES_AT_ONCE = pd.Timedelta(days=7)
_COLUMNS = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}


class YFinance:
    """A `Source` named "yfinance" with adjusted prices, or "yfinance-raw" without dividends; symbols as at Yahoo."""

    market, calendar = "us", None

    def __init__(self, adjust: bool = True, *, patience: Patience | None = None) -> None:
        """With or without the adjustment for dividends; splits are always adjusted for."""
        self._package = require("yfinance", extra="yahoo")
        self._errors = require("yfinance.exceptions", extra="yahoo")
        self._adjust, self._patience = adjust, patience or Patience(attempts=5)
        self.name = "yfinance" if adjust else "yfinance-raw"

    def symbol(self, text: str) -> str:
        """As Yahoo spells it: AAPL, BRK-B, 600000.SS, EURUSD=X, ^GSPC, BTC-USD."""
        plain = text.strip().upper()
        if not re.fullmatch(r"[A-Z0-9.^=&_-]+", plain):
            raise ConfigError(f"{text!r} is no symbol of Yahoo; write one such as AAPL, BRK-B, 600000.SS or ^GSPC")
        return plain

    def pages(
        self, symbol: str, timeframe: str, start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> Iterator[Page]:
        """Finished bars whose start lies in [start, end), oldest first."""
        length = Timeframe.parse(timeframe)
        interval = native_name(length, _INTERVALS, self.name)
        return self._pages(self.symbol(symbol), length, interval, start, end)

    def _pages(
        self,
        symbol: str,
        length: Timeframe,
        interval: str,
        start: pd.Timestamp | None,
        end: pd.Timestamp | None,
    ) -> Iterator[Page]:
        now = pd.Timestamp.now("UTC")
        stop = now if end is None else min(end, now)
        at = self._first(symbol, length, start, now)
        if at is None:
            table = self._history(symbol, length, period="max", interval=interval)
            yield Page(between(finished(table, length, now), None, end), stop)
            return
        while at < stop:
            until = min(at + _MINUTES_AT_ONCE, stop) if interval == "1m" else stop
            # a week or month is asked for from before its beginning, or Yahoo would begin it in the middle
            begin = at if length.unit not in ("w", "mo") else at - length.delta - pd.Timedelta(days=3)
            table = self._history(symbol, length, start=begin, end=until, interval=interval)
            yield Page(between(finished(table, length, now), at, until if until < stop else end), until)
            at = until

    def _first(
        self, symbol: str, length: Timeframe, start: pd.Timestamp | None, now: pd.Timestamp
    ) -> pd.Timestamp | None:
        """Where to begin; within the day not before what Yahoo keeps. None: with the first bar there is."""
        if not length.intraday:
            return start
        depth = _DEPTHS.get(str(length), _DEPTH)
        floor = (now - pd.Timedelta(days=depth)).ceil("min")
        if start is not None and start < floor:
            warnings.warn(
                f"{self.name} {symbol}: Yahoo keeps {length} bars for {depth + 1} days; asked for bars from "
                f"{start:%Y-%m-%d}, it begins at {floor:%Y-%m-%d}",
                KronosWarning,
                stacklevel=2,
            )
        return floor if start is None else max(start, floor)

    def _history(self, symbol: str, length: Timeframe, **asked: Any) -> pd.DataFrame:
        """Yahoo's answer as our frame."""

        def once() -> pd.DataFrame | None:
            try:
                with self._loud() as more:
                    ticker = self._package.Ticker(symbol)
                    answer: pd.DataFrame = ticker.history(
                        auto_adjust=self._adjust, actions=False, prepost=False, **asked, **more
                    )
                    return answer
            except self._errors.YFPricesMissingError as error:
                if "doesn't exist for startdate" in str(error).lower():  # a span without trading
                    return None
                raise

        where = f"{self.name} {symbol} {length}"
        busy = (self._errors.YFRateLimitError, OSError)
        refusals = (self._errors.YFException, *STRANGE)
        table = patiently(once, where, self._patience, busy=busy, no=refusals)
        return _frame(table, length, where)

    @contextlib.contextmanager
    def _loud(self) -> Iterator[dict[str, bool]]:
        """Failures are raised: by a setting of yfinance, or in older versions by an argument."""
        debug = getattr(getattr(self._package, "config", None), "debug", None)
        if debug is None:
            yield {"raise_errors": True}
            return
        before = debug.hide_exceptions
        debug.hide_exceptions = False
        try:
            yield {}
        finally:
            debug.hide_exceptions = before


def finished(frame: pd.DataFrame, length: Timeframe, now: pd.Timestamp) -> pd.DataFrame:
    """The bars that will not change any more."""
    return frame[bar_ends(pd.DatetimeIndex(frame.index), length) <= now]


def _frame(table: pd.DataFrame | None, length: Timeframe, where: str) -> pd.DataFrame:
    """Yahoo's columns as ours; a volume that is zero throughout (currencies) is unknown."""
    if table is None or not len(table):
        return frame_from(pd.DatetimeIndex([], tz="UTC"), {})
    if table.columns.nlevels > 1:  # (Open, AAPL), as `download` gives
        table = table.droplevel([level for level in range(table.columns.nlevels) if level != _level(table)], axis=1)
    index = pd.DatetimeIndex(table.index)
    lacking = [name for name in _COLUMNS.values() if name not in table.columns]
    if lacking or index.tz is None:
        what = f"lacks {', '.join(lacking)}" if lacking else "has times without a zone"
        raise SourceError(f"{where}: the answer {what}; yfinance has changed, and needs a change here")
    values = {name: table[column].to_numpy(dtype=np.float64, na_value=np.nan) for name, column in _COLUMNS.items()}
    if not np.nan_to_num(values["volume"]).any():
        del values["volume"]
    return frame_from(_starts(index, length), values)


def _level(table: pd.DataFrame) -> int:
    return next(level for level in range(table.columns.nlevels) if "Open" in table.columns.get_level_values(level))


def _starts(index: pd.DatetimeIndex, length: Timeframe) -> pd.DatetimeIndex:
    """Days at midnight, weeks on Monday, months on the first, where the symbol trades."""
    if length.intraday:
        return index
    days = index.tz_localize(None).normalize()
    if length.unit == "w":
        days = days - pd.to_timedelta(days.day_of_week, unit="D")
    elif length.unit == "mo":
        days = days - pd.to_timedelta(days.day - 1, unit="D")
    return pd.DatetimeIndex(days).tz_localize(
        index.tz, ambiguous=np.ones(len(days), dtype=bool), nonexistent="shift_forward"
    )
