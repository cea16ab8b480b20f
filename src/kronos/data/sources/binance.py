"""Bars from Binance: the spot market and the USD-margined contracts, over their public addresses.

Pages are asked for forward, each from one millisecond after the last bar's opening, so a gap of any length costs
nothing and loses nothing. Whether a bar is finished is decided by the exchange's clock, never by this machine's.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from kronos.data.sources.http import Budget, BusyError, Client, Patience, RefusedError
from kronos.data.sources.rows import (
    Floats,
    Ints,
    frame_of,
    milliseconds,
    moment_of,
    native_name,
    nearest,
    numbers,
    whole_times,
)
from kronos.data.sources.source import Page
from kronos.errors import ConfigError, SourceError


@dataclass(frozen=True)
class _Market:
    name: str
    url: str
    variable: str
    api: str
    limit: int  # bars a page
    weight: int  # a minute, of which a fifth is left to the user's other programs
    mirror: str


_MARKETS = {
    "spot": _Market(
        "binance", "https://api.binance.com", "KRONOS_BINANCE_URL", "/api/v3", 1000, 4800,
        "an address of Binance that serves you, such as https://data-api.binance.vision",
    ),
    "usdm": _Market(
        "binance-usdm", "https://fapi.binance.com", "KRONOS_BINANCE_USDM_URL", "/fapi/v1", 1500, 1920,
        "an address of Binance that serves you",
    ),
}  # fmt: skip

_INTERVALS = {
    "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m",
    "1h": "1h", "2h": "2h", "4h": "4h", "6h": "6h", "8h": "8h", "12h": "12h",
    "1d": "1d", "3d": "3d", "1w": "1w", "1mo": "1M",
}  # fmt: skip

_FIELDS = (
    "open time", "open", "high", "low", "close", "volume", "close time", "quote volume",
    "trades", "taker volume", "taker quote volume", "unused",
)  # fmt: skip
_WANTED = ("open time", "close time", "open", "high", "low", "close", "volume", "quote volume")

_BUSY = (-1000, -1001, -1003, -1006, -1007, -1008, -1016)
_NO_SYMBOL = (-1121, -1122)

_PAIR = re.compile(r"([^\W_]+)[/_-]([^\W_]+)(?::([^\W_]+))?(?:-(\d{6}))?")
_DATED = re.compile(r"[^\W_]+_\d{6}")


class Binance:
    """Binance's bars; a `Source` named "binance" (spot) or "binance-usdm" (USD-margined contracts).

    A spot pair is spelt "BTC/USDT". A perpetual contract is spelt as ccxt does, "BTC/USDT:USDT" (what it is settled in
    comes last), because it is not the pair: other prices, another volume. Dated contracts keep Binance's own name,
    "BTCUSDT_240628". The amount of a bar is its quote volume.
    """

    def __init__(
        self,
        base_url: str | None = None,
        market: Literal["spot", "usdm"] = "spot",
        *,
        patience: Patience | None = None,
    ) -> None:
        """The address is `base_url`, else KRONOS_BINANCE_URL (KRONOS_BINANCE_USDM_URL), else Binance's own."""
        if market not in _MARKETS:
            raise ConfigError(f"Binance has no market {market!r} here; known are {', '.join(_MARKETS)}")
        self._market = _MARKETS[market]
        self._client = Client(
            base_url or os.environ.get(self._market.variable) or self._market.url,
            self._judge,
            advice=f"set {self._market.variable} (or base_url) to {self._market.mirror}",
            interval=0.05,
            budget=Budget("X-MBX-USED-WEIGHT-1M", self._market.weight),
            patience=patience,
        )

    @property
    def name(self) -> str:
        """The source's part of a lake's key."""
        return self._market.name

    @property
    def market(self) -> str:
        """The market that its series belong to."""
        return "crypto"

    @property
    def calendar(self) -> str:
        """Round the clock."""
        return "24/7"

    def symbol(self, text: str) -> str:
        """As a key spells it; a name without a sign between its parts (btcusdt) is looked up at the exchange."""
        plain, contracts = text.strip().upper(), self._market is _MARKETS["usdm"]
        if contracts and _DATED.fullmatch(plain):
            return plain
        if found := _PAIR.fullmatch(plain):
            base, quote, settled, date = found.groups()
            if not contracts and (settled or date):
                raise ConfigError(f"{text!r} is a contract, not a spot pair; use the source binance-usdm")
            if settled not in (None, quote):
                raise ConfigError(f"{text!r}: contracts settled in {settled} are not on this market of Binance")
            if date:
                return f"{base}{quote}_{date}"
            return f"{base}/{quote}:{quote}" if contracts else f"{base}/{quote}"
        if not plain.isalnum():
            raise ConfigError(f"{text!r} is no symbol of {self.name}; write one such as BTC/USDT or BTCUSDT")
        listed = self._listed()
        if plain not in listed:
            raise SourceError(f"{self.name} has no symbol {text}{nearest(plain, listed)}")
        return listed[plain]

    def pages(
        self, symbol: str, timeframe: str, start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> Iterator[Page]:
        """Finished bars whose start lies in [start, end), oldest first."""
        contract = self._contract(symbol)
        interval = native_name(timeframe, _INTERVALS, self.name)
        first = 0 if start is None else milliseconds(start)
        return self._pages(contract, interval, first, None if end is None else milliseconds(end))

    def _pages(self, contract: str, interval: str, first: int, stop: int | None) -> Iterator[Page]:
        if stop is not None and first >= stop:
            return
        now = self._time()
        position = reached = first
        while True:
            opens, closes, values = self._bars(contract, interval, position, stop)
            done = int(np.searchsorted(closes, now))
            unfinished = len(opens) - done
            if done:
                position, reached = int(opens[done - 1]) + 1, int(closes[done - 1]) + 1
            if unfinished:
                reached = int(opens[done])
            last = not len(opens) or unfinished == 1 or (stop is not None and reached >= stop)
            if unfinished > 1:  # at most one can be: some have ended since the clock was read
                now = self._time()
                last = int(np.searchsorted(closes, now)) <= done
            if last and not unfinished and stop is not None and stop <= now:
                reached = stop
            if done or last:
                yield Page(frame_of(opens[:done], values[:done]), moment_of(reached))
            if last:
                return

    def _bars(self, contract: str, interval: str, first: int, stop: int | None) -> tuple[Ints, Ints, Floats]:
        """One page: opening times, closing times and values of bars that open in [first, stop), oldest first."""
        params = {
            "symbol": contract,
            "interval": interval,
            "startTime": first,
            "endTime": None if stop is None else stop - 1,
            "limit": self._market.limit,
        }
        try:
            rows = self._client.get(f"{self._market.api}/klines", params)
        except RefusedError as error:
            if error.code not in _NO_SYMBOL:
                raise
            raise SourceError(f"{self.name} has no symbol {contract}{self._near(contract)}") from None
        where = f"{self.name} {contract} {interval}"
        table = numbers(rows, _FIELDS, _WANTED, where)
        opens = whole_times(table[:, 0], first, stop, where)
        closes = whole_times(table[:, 1], first, None, where)
        return opens, closes, table[:, 2:]

    def _time(self) -> int:
        """The exchange's clock."""
        body = self._client.get(f"{self._market.api}/time")
        now = body.get("serverTime") if isinstance(body, dict) else None
        if not isinstance(now, int):
            raise SourceError(f"{self.name}: the answer to the question for its time holds no serverTime")
        return now

    def _listed(self) -> dict[str, str]:
        """Every symbol of the exchange, with its key spelling."""
        body = self._client.get(f"{self._market.api}/exchangeInfo")
        symbols = body.get("symbols") if isinstance(body, dict) else None
        if not isinstance(symbols, list):
            raise SourceError(f"{self.name}: the list of its symbols has another shape than expected")
        return {str(one.get("symbol")): _spelling(one) for one in symbols if isinstance(one, dict)}

    def _contract(self, symbol: str) -> str:
        """The exchange's own name of a symbol in any spelling, without asking it."""
        plain = symbol.strip().upper()
        if not plain.isalnum():  # else it is the exchange's own name already
            plain = self.symbol(plain)
        return plain if _DATED.fullmatch(plain) else plain.partition(":")[0].replace("/", "")

    def _near(self, contract: str) -> str:
        try:
            return nearest(contract, self._listed())
        except SourceError:  # the hint is a courtesy; that the symbol is unknown is sure
            return ""

    def _judge(self, status: int, body: Any) -> None:
        """Read Binance's {"code": -1121, "msg": "Invalid symbol."}."""
        code = body.get("code") if status >= 400 and isinstance(body, dict) else None
        if not isinstance(code, int) or code == 0:
            return
        said = f"{' '.join(str(body.get('msg')).split())[:200]} (code {code})"
        if code in _BUSY:
            raise BusyError(f"HTTP {status}, {said}")
        raise RefusedError(f"{self.name} refuses the request: {said}", code)


def _spelling(listed: Mapping[str, Any]) -> str:
    """The key spelling of one entry of the exchange's list."""
    pair = f"{listed.get('baseAsset')}/{listed.get('quoteAsset')}"
    kind = listed.get("contractType")
    if kind is None:
        return pair
    # "PERPETUAL", "TRADIFI_PERPETUAL"; the dated ones are called after their quarters
    return f"{pair}:{listed.get('marginAsset')}" if str(kind).endswith("PERPETUAL") else str(listed.get("symbol"))
