"""Bars of Chinese stocks and indices from baostock.com, through the optional package baostock.

Numbers come as text, volume in shares, the amount in yuan. The package talks to standard output and keeps one session
for the whole process; both stay in here. Of an answer of several pages it may lose one without a word, so no question
is asked whose answer has two.
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from kronos.bars import Timeframe
from kronos.data.sources.chinese import CALENDAR, ZONE, Security, checked_adjustment, finished, local_day, starts_of
from kronos.data.sources.http import Patience
from kronos.data.sources.packages import STRANGE, between, frame_from, patiently
from kronos.data.sources.rows import native_name
from kronos.data.sources.source import Page
from kronos.errors import ConfigError, SourceError
from kronos.extras import require

_FREQUENCIES = {"5m": "5", "15m": "15", "30m": "30", "1h": "60", "1d": "d", "1w": "w", "1mo": "m"}
_FLAGS = {"hfq": "1", "qfq": "2", "": "3"}
_NUMBERS = ["open", "high", "low", "close", "volume", "amount"]
_PAGE = 2000  # rows
_DAYS = {"5": 31, "15": 93, "30": 187, "60": 375}  # of a question, so that 1500 rows are its answer at most; else:
_MANY_DAYS = 1500
_BEGINNINGS = {True: "1999-07-26", False: "1990-12-19"}
_OK, _NETWORK, _NO_LOGIN = "0", "10002", "10001001"


class _LostError(Exception):
    """The connection or the session was lost; asking again may help."""


class Baostock:
    """A `Source` named "baostock", or "baostock-qfq" and "baostock-hfq" with adjusted prices; symbols as 600000.SH."""

    market, calendar, zone = "cn", CALENDAR, ZONE

    def __init__(self, adjust: str = "", *, patience: Patience | None = None) -> None:
        """Prices as traded, or with adjust="qfq" or "hfq" adjusted to the last or the first price."""
        self._flag = _FLAGS[checked_adjustment(adjust)]
        self._package = require("baostock", extra="cn")
        self._patience = patience or Patience(attempts=5)
        self.name = f"baostock-{adjust}" if adjust else "baostock"

    def symbol(self, text: str) -> str:
        """600000.SH for sh.600000 and the like."""
        security = Security.parse(text)
        if security.exchange == "BJ":
            raise ConfigError(f"{self.name} has no securities of Beijing ({security}); take them from akshare")
        return str(security)

    def pages(
        self, symbol: str, timeframe: str, start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> Iterator[Page]:
        """Finished bars whose start lies in [start, end), oldest first."""
        security, length = Security.parse(self.symbol(symbol)), Timeframe.parse(timeframe)
        frequency = native_name(length, _FREQUENCIES, self.name)
        if length.intraday and security.kind == "index":
            raise ConfigError(f"{self.name} has no {length} bars of indices ({security}); only 1d, 1w and 1mo")
        return self._pages(security, length, frequency, start, end)

    def _pages(
        self,
        security: Security,
        length: Timeframe,
        frequency: str,
        start: pd.Timestamp | None,
        end: pd.Timestamp | None,
    ) -> Iterator[Page]:
        now = pd.Timestamp.now("UTC")
        stop = now if end is None else min(end, now)
        # a week and a month carry the date of their last day: ask on, and cut afterwards
        last = local_day(stop) if length.intraday else local_day(stop + length.delta)
        try:
            self._login()
            day = local_day(start) if start is not None else self._listed(security, length)
            while day <= last:
                until = min(day + pd.Timedelta(days=_DAYS.get(frequency, _MANY_DAYS) - 1), last)
                frame = finished(self._ask(security, length, frequency, day, until), length, now)
                day = until + pd.Timedelta(days=1)
                reached = stop if day > last else min(starts_of(pd.DatetimeIndex([day]), Timeframe(1, "d"))[0], stop)
                yield Page(between(frame, start, end), reached)
        finally:
            with contextlib.redirect_stdout(io.StringIO()):
                self._package.logout()

    def _login(self) -> None:
        def once() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                self._check(self._package.login())

        patiently(once, f"{self.name} login", self._patience, busy=(_LostError, OSError), no=STRANGE)

    def _listed(self, security: Security, length: Timeframe) -> pd.Timestamp:
        """The day from which to ask where nobody says: that of the listing, or of the first bars there are."""
        beginning = pd.Timestamp(_BEGINNINGS[length.intraday])
        rows, fields = self._answer(
            f"{self.name} {security}", lambda: self._package.query_stock_basic(code=_native(security))
        )
        if not rows or "ipoDate" not in fields or not rows[0][fields.index("ipoDate")]:
            return beginning
        return max(beginning, pd.Timestamp(rows[0][fields.index("ipoDate")]))

    def _ask(
        self, security: Security, length: Timeframe, frequency: str, first: pd.Timestamp, last: pd.Timestamp
    ) -> pd.DataFrame:
        """The bars of the days from `first` to `last`."""
        fields = ["date", *(["time"] if length.intraday else []), *_NUMBERS]
        if length == Timeframe(1, "d") and security.kind != "index":
            fields.append("tradestatus")
        where = f"{self.name} {security} {length}"
        rows, _ = self._answer(
            where,
            lambda: self._package.query_history_k_data_plus(
                _native(security),
                ",".join(fields),
                start_date=f"{first:%Y-%m-%d}",
                end_date=f"{last:%Y-%m-%d}",
                frequency=frequency,
                adjustflag=self._flag,
            ),
        )
        if len(rows) >= _PAGE:
            raise SourceError(f"{where}: the answer has {len(rows)} rows, more than one page; some may be lost")
        return _frame(pd.DataFrame(rows, columns=fields, dtype=str), length)

    def _answer(self, where: str, ask: Callable[[], Any]) -> tuple[list[list[str]], list[str]]:
        """Rows and their fields."""

        def once() -> tuple[list[list[str]], list[str]]:
            with contextlib.redirect_stdout(io.StringIO()):
                answer = ask()
                self._check(answer)
                rows: list[list[str]] = []
                while answer.next():
                    rows.append(answer.get_row_data())
                self._check(answer)
            return rows, list(answer.fields)

        return patiently(once, where, self._patience, busy=(_LostError, OSError), no=STRANGE)

    def _check(self, answer: Any) -> None:
        """Read error_code and error_msg; a lost session is renewed on the way."""
        code = getattr(answer, "error_code", None)
        if code == _OK:
            return
        text = f"{getattr(answer, 'error_msg', '')} (code {code})"
        if code == _NO_LOGIN:
            self._package.login()
        if code is None or code == _NO_LOGIN or code.startswith(_NETWORK):
            raise _LostError(text)
        raise SourceError(f"{self.name}: {text}")


def _native(security: Security) -> str:
    return f"{security.exchange.lower()}.{security.code}"


def _frame(table: pd.DataFrame, length: Timeframe) -> pd.DataFrame:
    """Text as numbers and times; days on which the stock did not trade are no bars."""
    if "tradestatus" in table:
        table = table[table["tradestatus"] == "1"]
    if length.intraday:
        stamps = pd.to_datetime(table["time"].str[:14], format="%Y%m%d%H%M%S")
    else:
        stamps = pd.to_datetime(table["date"], format="%Y-%m-%d")
    values = {name: pd.to_numeric(table[name], errors="coerce").to_numpy() for name in _NUMBERS}
    return frame_from(starts_of(pd.DatetimeIndex(stamps), length), values)
