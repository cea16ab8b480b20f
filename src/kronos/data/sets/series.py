"""Series of bars as arrays.

A `Timeline` is a series without its bars: all that planning a split needs. Times are UTC where the source says which
zone they are in, and as they stand where it does not; whoever compares series of several sources has to know that.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import COLUMNS, Timeframe, infer_timeframe, time_stamps
from kronos.data.keys import without_piece
from kronos.errors import ConfigError


@dataclass(frozen=True)
class Timeline:
    """The times of one series, and what it is called."""

    name: str
    timeframe: str
    times: NDArray[np.datetime64]  # (T,) naive, ns
    market: str = field(default="", kw_only=True)
    symbol: str = field(default="", kw_only=True)

    @classmethod
    def of_times(
        cls, index: pd.DatetimeIndex, name: str, *, market: str = "", symbol: str = "", timeframe: str | None = None
    ) -> "Timeline":
        """From the index of a canonical frame; market, symbol and timeframe are read from name and index by default."""
        timeframe = str(infer_timeframe(index) if timeframe is None else Timeframe.parse(timeframe))
        market, symbol = market or market_of(name), symbol or symbol_of(name)
        return Timeline(name, timeframe, _naive(index).to_numpy(), market=market, symbol=symbol)

    def __len__(self) -> int:
        """How many bars there are."""
        return len(self.times)


@dataclass(frozen=True)
class Series(Timeline):
    """One series of bars as arrays."""

    bars: NDArray[np.float64]  # (T, 6)
    stamps: NDArray[np.int8]  # (T, 5)

    @classmethod
    def of(
        cls, frame: pd.DataFrame, name: str, *, market: str = "", symbol: str = "", timeframe: str | None = None
    ) -> "Series":
        """From a canonical frame."""
        index = frame.index
        assert isinstance(index, pd.DatetimeIndex)
        line = Timeline.of_times(index, name, market=market, symbol=symbol, timeframe=timeframe)
        return cls(
            name=name,
            timeframe=line.timeframe,
            times=line.times,
            bars=np.ascontiguousarray(frame[list(COLUMNS)].to_numpy(dtype=np.float64)),
            stamps=time_stamps(_naive(index)).astype(np.int8),
            market=line.market,
            symbol=line.symbol,
        )

    def cut(self, first: int, stop: int) -> Self:
        """The rows [first, stop) as a series of their own; the arrays are views."""
        rows = slice(first, stop)
        return replace(self, times=self.times[rows], bars=self.bars[rows], stamps=self.stamps[rows])

    def frame(self) -> pd.DataFrame:
        """The canonical frame over naive times."""
        index = pd.DatetimeIndex(self.times, name="timestamp")
        return pd.DataFrame(np.array(self.bars), index=index, columns=list(COLUMNS))


def market_of(name: str) -> str:
    """The market that a name tells: its top folder, or nothing where it has none."""
    return name.partition("/")[0] if "/" in name else ""


def symbol_of(name: str) -> str:
    """The symbol that a name tells: what follows its folders, without a timeframe at the end (crypto/BTC#2_1h)."""
    last = name.rpartition("/")[2]
    symbol, _, end = last.rpartition("_")
    if not symbol or not (end[:1].isdigit() or len(end) > 2):  # BRK_B is no symbol of business days
        return without_piece(last)
    try:
        Timeframe.parse(end)
    except ConfigError:
        return without_piece(last)
    return without_piece(symbol)


def plain_symbol(symbol: str) -> str:
    """What spellings of one thing have in common, so that it is held out whole however it is written.

    BTC/USDT, BTC-USDT and btcusdt are one, with the swaps on it (BTC/USDT:USDT, BTC-USDT-SWAP); so are 600000.SH and
    sh.600000.
    """
    text = symbol.casefold().partition(":")[0].removesuffix("-swap")
    if found := re.fullmatch(r"(\d{6})\.(sh|ss|sz|bj)", text):
        text = found[2].replace("ss", "sh") + found[1]
    return "".join(sign for sign in text if sign.isalnum()) or symbol


def _naive(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    naive = index.tz_convert("UTC").tz_localize(None) if index.tz is not None else index
    return naive.as_unit("ns")
