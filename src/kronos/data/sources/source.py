"""What every source of bars over a network speaks: pages of finished bars, oldest first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pandas as pd


@dataclass(frozen=True)
class Page:
    """Some finished bars, and how far the asking has come."""

    frame: pd.DataFrame
    """COLUMNS as float64 (volume and amount all-NaN where the source has none) over increasing times, each the start
    of its bar, in UTC or the exchange's zone (then a `zone` of the source names it); may be empty."""
    reached: pd.Timestamp
    """Every finished bar that starts before this moment has been delivered, by this page or those before it."""


class Source(Protocol):
    """Where bars come from. A source keeps no state between calls but its pace."""

    @property
    def name(self) -> str:
        """The source's part of a lake's key: "binance", "binance-usdm", "okx", "ccxt-kraken", "yfinance"."""
        ...

    @property
    def market(self) -> str:
        """The market that its series belong to by default: "crypto", "cn", "us"."""
        ...

    @property
    def calendar(self) -> str | None:
        """The calendar of its bars ("24/7", "SSE"), None where it depends on the symbol."""
        ...

    def symbol(self, text: str) -> str:
        """The symbol as a key spells it ("BTC/USDT" for btcusdt or BTC-USDT), or an error where it cannot be one."""
        ...

    def pages(
        self, symbol: str, timeframe: str, start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> Iterator[Page]:
        """Finished bars whose start lies in [start, end), oldest first; None means the first and the last there are.

        The first request is made when the first page is asked for. A page that cannot be had after all retries is a
        `SourceError`; what was delivered before it stays good.
        """
        ...
