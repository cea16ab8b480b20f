"""Bars of Chinese stocks, funds and indices from Eastmoney, through the optional package akshare.

Volume comes in lots of 100 shares and is kept in shares; the amount comes in yuan. Days go back to the listing, minutes
only some weeks (one-minute bars five days), and one answer holds all of them.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from kronos.bars import Timeframe
from kronos.data.sources.chinese import CALENDAR, ZONE, Security, checked_adjustment, finished, local_day, starts_of
from kronos.data.sources.http import Patience
from kronos.data.sources.packages import STRANGE, between, frame_from, patiently
from kronos.data.sources.rows import native_name
from kronos.data.sources.source import Page
from kronos.errors import ConfigError, SourceError
from kronos.extras import require

LOT = 100.0

_PERIODS = {
    "1m": "1", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "1d": "daily", "1w": "weekly", "1mo": "monthly",
}  # fmt: skip
_COLUMNS = {"open": "开盘", "high": "最高", "low": "最低", "close": "收盘", "volume": "成交量", "amount": "成交额"}
_FUNCTIONS = {
    "stock": ("stock_zh_a_hist", "stock_zh_a_hist_min_em"),
    "fund": ("fund_etf_hist_em", "fund_etf_hist_min_em"),
    "index": ("index_zh_a_hist", "index_zh_a_hist_min_em"),
}
_BEGINNING = pd.Timestamp("1990-01-01", tz=ZONE)


class Akshare:
    """A `Source` named "akshare", or "akshare-qfq" and "akshare-hfq" with adjusted prices; symbols as 600000.SH."""

    market, calendar, zone = "cn", CALENDAR, ZONE

    def __init__(self, adjust: str = "", *, patience: Patience | None = None) -> None:
        """Prices as traded, or with adjust="qfq" or "hfq" adjusted to the last or the first price."""
        self._adjust = checked_adjustment(adjust)
        self._package = require("akshare", extra="cn")
        self._patience = patience or Patience(attempts=5)
        self.name = f"akshare-{adjust}" if adjust else "akshare"

    def symbol(self, text: str) -> str:
        """600000.SH for sh600000 and the like."""
        return str(Security.parse(text))

    def pages(
        self, symbol: str, timeframe: str, start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> Iterator[Page]:
        """All finished bars whose start lies in [start, end), in one page."""
        security, length = Security.parse(symbol), Timeframe.parse(timeframe)
        period = native_name(length, _PERIODS, self.name)
        if period == "1" and self._adjust:
            raise ConfigError(f"{self.name} has no adjusted 1m bars; take them from akshare, or 5m bars")
        return self._pages(security, length, period, start, end)

    def _pages(
        self,
        security: Security,
        length: Timeframe,
        period: str,
        start: pd.Timestamp | None,
        end: pd.Timestamp | None,
    ) -> Iterator[Page]:
        now = pd.Timestamp.now("UTC")
        last = now if end is None else min(end, now)
        # a week and a month carry the date of their last day: ask on, and cut afterwards
        first, until = start if start is not None else _BEGINNING, last + length.delta
        function = getattr(self._package, _FUNCTIONS[security.kind][length.intraday])
        clock = "%Y-%m-%d %H:%M:%S" if length.intraday else "%Y%m%d"
        asked: dict[str, str] = {
            "symbol": security.code,
            "period": period,
            "start_date": local_day(first).strftime(clock),
            "end_date": (local_day(until) + pd.Timedelta(days=1)).strftime(clock),
        }
        if security.kind != "index":
            asked["adjust"] = self._adjust
        where = f"{self.name} {security} {length}"
        hint = "; Eastmoney answers so where it does not know the symbol"
        table = patiently(lambda: function(**asked), where, self._patience, busy=(OSError,), no=STRANGE, hint=hint)
        frame = finished(_frame(table, length, where), length, now)
        yield Page(between(frame, start, end), last)


def _frame(table: pd.DataFrame, length: Timeframe, where: str) -> pd.DataFrame:
    """Eastmoney's columns as ours."""
    stamp = "时间" if length.intraday else "日期"
    if not len(table):
        return frame_from(pd.DatetimeIndex([], tz=ZONE), {})
    lacking = [name for name in (stamp, *_COLUMNS.values()) if name not in table.columns]
    if lacking:
        raise SourceError(
            f"{where}: the answer lacks {', '.join(lacking)}; akshare has changed, and needs a change here"
        )
    stamps = pd.DatetimeIndex(pd.to_datetime(table[stamp]))
    values = pd.DataFrame(
        {name: pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64) for name, column in _COLUMNS.items()},
        index=stamps,
    )
    values["volume"] *= LOT
    values = values[values["open"] > 0]  # Eastmoney has no opening price of older minutes, and says 0
    if length == Timeframe(1, "m"):
        values = _with_the_auction(values)
    return frame_from(starts_of(pd.DatetimeIndex(values.index), length), {name: values[name] for name in _COLUMNS})


def _with_the_auction(values: pd.DataFrame) -> pd.DataFrame:
    """The opening auction, stamped 09:30, as part of the first minute, which ends at 09:31; as longer bars hold it."""
    stamps = pd.DatetimeIndex(values.index)
    auction = (stamps.hour == 9) & (stamps.minute == 30)
    minutes = stamps.where(~auction, stamps + pd.Timedelta(minutes=1))
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "amount": "sum"}
    return values.groupby(minutes).agg(how)
