"""What the sources of Chinese stocks share: codes, the clock, and stamps that carry the end of a bar.

Such sources stamp a bar of five minutes with its end and a week with its last trading day. A bar's time is its start
here, on the clock of Shanghai: 09:30, the day, the Monday, the first of the month.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from kronos.bars import Timeframe
from kronos.data.sources.packages import bar_ends
from kronos.errors import ConfigError

ZONE = "Asia/Shanghai"
CALENDAR = "SSE"
ADJUSTMENTS = ("", "qfq", "hfq")  # as traded; adjusted to the last price; adjusted to the first

_CLOSED = pd.Timedelta(hours=16)  # an hour after the last trade, when a day's numbers stand still
_SUFFIXES = {
    "SH": "SH", "SS": "SH", "XSHG": "SH", "SSE": "SH", "SZ": "SZ", "XSHE": "SZ", "SZSE": "SZ", "BJ": "BJ", "XBSE": "BJ",
}  # fmt: skip


@dataclass(frozen=True)
class Security:
    """A stock, fund or index of Shanghai (SH), Shenzhen (SZ) or Beijing (BJ)."""

    code: str
    exchange: str

    @classmethod
    def parse(cls, text: str) -> "Security":
        """Read 600000.SH, sh600000, sh.600000, 600000.SS, 600000.XSHG, or 600000 alone, which is then no index."""
        plain = text.strip().upper()
        if re.fullmatch(r"\d{6}", plain):
            return cls(plain, _exchange_of(plain))
        found = re.fullmatch(r"(?:([A-Z]{2,4})\.?(\d{6})|(\d{6})\.([A-Z]{2,4}))", plain)
        exchange = _SUFFIXES.get((found[1] or found[4]) if found else "")
        if found is None or exchange is None:
            raise ConfigError(f"{text!r} is no code of a Chinese stock; write one such as 600000.SH or 000001.SZ")
        return cls(found[2] or found[3], exchange)

    @property
    def kind(self) -> Literal["stock", "fund", "index"]:
        """What the first digits say: 000300 is an index in Shanghai and a stock in Shenzhen."""
        indices = {"SH": ("000",), "SZ": ("399",), "BJ": ("899",)}
        funds = {"SH": ("5",), "SZ": ("15", "16", "18"), "BJ": ()}
        if self.code.startswith(indices[self.exchange]):
            return "index"
        return "fund" if self.code.startswith(funds[self.exchange]) else "stock"

    def __str__(self) -> str:
        """As a lake's key spells it."""
        return f"{self.code}.{self.exchange}"


def checked_adjustment(adjust: str) -> str:
    """One of ADJUSTMENTS, or an error."""
    if adjust not in ADJUSTMENTS:
        raise ConfigError(f"adjust is {adjust!r}; known are '' (as traded), 'qfq' and 'hfq'")
    return adjust


def starts_of(stamps: pd.DatetimeIndex, timeframe: Timeframe) -> pd.DatetimeIndex:
    """Where bars begin whose naive stamps are their ends, their day, or the last trading day of their week or month."""
    if timeframe.intraday:
        begins = stamps - timeframe.delta
    elif timeframe.unit == "w":
        begins = stamps.normalize() - pd.to_timedelta(stamps.day_of_week, unit="D")
    elif timeframe.unit == "mo":
        begins = stamps.normalize() - pd.to_timedelta(stamps.day - 1, unit="D")
    else:
        begins = stamps.normalize()
    return pd.DatetimeIndex(begins).tz_localize(ZONE, ambiguous=np.ones(len(begins), dtype=bool))


def finished(frame: pd.DataFrame, timeframe: Timeframe, now: pd.Timestamp) -> pd.DataFrame:
    """The bars that will not change any more; a day is over an hour after the close."""
    starts = pd.DatetimeIndex(frame.index)
    if timeframe == Timeframe(1, "d"):
        return frame[starts + _CLOSED <= now]
    return frame[bar_ends(starts, timeframe) <= now]


def local_day(moment: pd.Timestamp) -> pd.Timestamp:
    """The date in Shanghai, as a naive midnight."""
    return moment.tz_convert(ZONE).tz_localize(None).normalize()


def _exchange_of(code: str) -> str:
    if code.startswith(("4", "8", "92")):
        return "BJ"
    return "SH" if code.startswith(("5", "6", "9")) else "SZ"
