"""Bars from any exchange that the optional package ccxt knows.

ccxt's own pagination loses rows, so pages are asked for here, each from the last bar of the one before: a page that
does not begin with that bar has left something out. Two limits are ccxt's or the exchange's own. Its bars carry no
quote volume, so the amount is unknown. And some exchanges (Kraken) give only their newest bars, whatever is asked.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import pandas as pd

from kronos.bars import Timeframe
from kronos.data.sources.http import Patience, checked_url
from kronos.data.sources.packages import STRANGE, frame_from, patiently, said
from kronos.data.sources.rows import milliseconds, moment_of, native_name
from kronos.data.sources.source import Page
from kronos.errors import ConfigError, SourceError
from kronos.extras import require

_EARLIEST = 1_230_940_800_000  # 2009-01-03, the first block of Bitcoin
_PAGES_ACROSS = 20  # a hole is crossed page by page so far, and then by halving what is left

Rows = list[list[Any]]


class TooEarlyError(SourceError):
    """The exchange refuses the request, and perhaps only because the time asked for is too long ago."""


class Ccxt:
    """One exchange through ccxt; a `Source` named "ccxt-kraken" and the like. Symbols are spelt as ccxt does."""

    def __init__(
        self, exchange: str, base_url: str | None = None, *, patience: Patience | None = None, **options: Any
    ) -> None:
        """`base_url` replaces the exchange's host; `options` go to ccxt (`options={"defaultType": "swap"}`)."""
        self._ccxt = require("ccxt", extra="exchange")
        if exchange not in self._ccxt.exchanges:
            near = difflib.get_close_matches(exchange.lower(), self._ccxt.exchanges, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"ccxt knows no exchange {exchange!r}{hint}")
        self.name, self.market, self.calendar = f"ccxt-{exchange}", "crypto", "24/7"
        self._patience = patience or Patience()
        self._exchange = getattr(self._ccxt, exchange)({"enableRateLimit": True, **options})
        if base_url is not None:
            self._exchange.urls["api"] = _moved(self._exchange.urls["api"], checked_url(base_url))
        if self._exchange.has.get("fetchOHLCV") is not True:
            raise ConfigError(f"{self.name}: the exchange gives no bars (ccxt: fetchOHLCV); choose another one")

    def symbol(self, text: str) -> str:
        """As ccxt spells it (BTC/USDT, BTC/USDT:USDT), looked up at the exchange without regard to case and signs."""
        markets: Mapping[str, Any] = self._patiently(self._exchange.load_markets, "its symbols")
        if text in markets:
            return text
        known: dict[str, str] = {}
        for name in sorted(markets, key=len, reverse=True):  # where two look alike, the shorter is the spot pair
            known[_plain(name)] = name
        if _plain(text) in known:
            return known[_plain(text)]
        near = [known[name] for name in difflib.get_close_matches(_plain(text), known, n=3)]
        raise SourceError(
            f"{self.name} has no symbol {text}" + (f"; did you mean {' or '.join(near)}?" if near else "")
        )

    def pages(
        self, symbol: str, timeframe: str, start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> Iterator[Page]:
        """Finished bars whose start lies in [start, end), oldest first."""
        series = _Series(self, self.symbol(symbol), Timeframe.parse(timeframe), self._native(timeframe))
        first = _EARLIEST if start is None else milliseconds(start)
        return series.pages(first, None if end is None else milliseconds(end))

    def now(self) -> int:
        """The exchange's clock, or this machine's where it shows none."""
        if self._exchange.has.get("fetchTime") is not True:
            return int(self._exchange.milliseconds())

        def asked() -> int:
            self._refuse_other_than_json(now := self._exchange.fetch_time())
            return int(now)

        return int(self._patiently(asked, "its time"))

    def ask(self, symbol: str, native: str, since: int | None, limit: int | None) -> Rows:
        """Bars from `since` on, or the newest."""
        what = f"{symbol} {native}"
        before = None if since is None else since - 1  # for some exchanges `since` itself is not meant

        def asked() -> Rows:
            try:
                rows: Rows = self._exchange.fetch_ohlcv(symbol, native, before, limit) or []
            except self._ccxt.BadRequest as error:
                raise TooEarlyError(f"{self.name} {what}: {said(error)}") from error
            self._refuse_other_than_json(rows)
            return rows

        rows = self._patiently(asked, what)
        return sorted((row for row in rows if since is None or row[0] >= since), key=lambda row: row[0])

    def limit(self, symbol: str) -> int | None:
        """The longest page of bars that ccxt knows of."""
        try:
            found = self._exchange.feature_value(symbol, "fetchOHLCV", "limit", None)
        except (self._ccxt.BaseError, *STRANGE):
            return None
        return found if isinstance(found, int) and found > 0 else None

    def _native(self, timeframe: str) -> str:
        names: dict[str, str] = {}
        for native in self._exchange.timeframes or {}:
            try:
                names.setdefault(str(Timeframe.parse(native)), native)
            except ConfigError:  # a spelling that only this exchange has
                continue
        return native_name(timeframe, names, self.name)

    def _refuse_other_than_json(self, answer: object) -> None:
        """ccxt reads a web page ("busy, come back later") as an empty answer, which would look like no bars."""
        text = getattr(self._exchange, "last_http_response", None)
        if not answer and isinstance(text, str) and text.lstrip()[:1] not in ("{", "["):
            raise self._ccxt.ExchangeNotAvailable(f"the answer is no JSON: {text[:40]!r}")

    def _patiently(self, ask: Any, what: str) -> Any:
        busy = (getattr(self._ccxt, "OperationFailed", self._ccxt.NetworkError), OSError)
        return patiently(ask, f"{self.name} {what}", self._patience, busy=busy, no=(self._ccxt.BaseError, *STRANGE))


class _Series:
    """One symbol in bars of one length; times in milliseconds."""

    def __init__(self, source: Ccxt, symbol: str, timeframe: Timeframe, native: str) -> None:
        self.source, self.symbol, self.native, self.timeframe = source, symbol, native, timeframe
        self.step = timeframe.nanoseconds // 1_000_000
        self.limit = source.limit(symbol) or 100

    def pages(self, first: int, stop: int | None) -> Iterator[Page]:
        """Forward from `first` to `stop` or to the last finished bar."""
        now = self.source.now()
        end = now if stop is None else min(stop, now)
        at, last = first, None
        while at < end:
            rows = self.rows_from(at, last, end)
            done = [row for row in rows if row[0] < end and self.next_open(row[0]) <= now]
            if not done:
                break
            last = int(done[-1][0])
            at = self.next_open(last)
            yield Page(_frame(done), moment_of(min(at, end)))
            if len(done) < len(rows):
                break
        yield Page(_frame([]), moment_of(max(end, first)))

    def rows_from(self, at: int, last: int | None, end: int) -> Rows:
        """The next rows from `at` on, none left out; `last` is the bar before, which the answer should begin with."""
        while True:
            asked = at if last is None else last
            answer = (self.early(at) or []) if last is None else self.ask(last)
            rows = [row for row in answer if row[0] >= at]
            if rows and (rows[0][0] == at or answer[0][0] == last):
                return rows
            pages = 0 if last is None else _PAGES_ACROSS
            if not rows and (found := self.next_bar(asked, at, end, pages)) is not None:
                rows = self.ask(found)
            if not rows or not self.leaves_out(at, rows):
                return rows
            if self.limit == 1:
                raise SourceError(
                    f"{self.source.name} {self.symbol} {self.native}: asked for the bars from {moment_of(at)}, the "
                    f"exchange goes on at {moment_of(rows[0][0])} and leaves out bars that it has; it cannot be read"
                )
            # it gives the newest of a window that is longer than its page: ask for less
            self.limit = max(1, min(len(rows), self.limit // 2))

    def leaves_out(self, at: int, rows: Rows) -> bool:
        """True where there is a bar right before an answer that should have begun earlier."""
        first = int(rows[0][0])
        count = min(-(-(first - at) // self.step), self.limit)
        before = self.early(max(at, first - count * self.step), limit=count) or []
        return any(row[0] < first for row in before)

    def next_bar(self, asked: int, at: int, end: int, pages: int) -> int | None:
        """The first bar in [at, end), where the page at `asked` had none or was refused; None where there is none.

        Many exchanges answer for one page's time only, so an empty answer says nothing of later bars. The first
        `pages` pages are asked one by one; in what is left, all bars are taken to be younger than all emptiness.
        """
        newest = [row for row in self.ask(None) if row[0] >= at]
        if not newest:
            return None
        window = self.limit * self.step
        edge, high = asked, int(newest[0][0])
        for _ in range(pages):
            edge += window
            if edge >= min(high, end):
                break
            if near := self.ask(edge):
                return int(near[0][0])
        edge, high = self.narrowed(edge, high, 2 * window)
        while edge < high:  # two pages at most
            rows = self.early(edge)
            if rows:
                high = min(high, int(rows[0][0]))
                break
            if rows is None:
                _, high = self.narrowed(edge, high, self.step - 1)
                break
            edge += window
        return high if at <= high < end else None

    def narrowed(self, edge: int, high: int, width: int) -> tuple[int, int]:
        """Nothing lies before `edge` and there is a bar at `high`: the same, at most `width` apart."""
        while high - edge > width:
            middle = (edge + high) // 2
            rows = self.early(middle)
            edge, high = (edge, int(rows[0][0])) if rows and rows[0][0] < high else (middle + (rows is None), high)
        return edge, high

    def ask(self, since: int | None, limit: int | None = None) -> Rows:
        return self.source.ask(self.symbol, self.native, since, limit or self.limit)

    def early(self, since: int, limit: int | None = None) -> Rows | None:
        """None where the exchange refuses to say: some do for what is long ago."""
        try:
            return self.ask(since, limit)
        except TooEarlyError:
            return None

    def next_open(self, start: int) -> int:
        """Where the bar after the one at `start` begins."""
        return milliseconds(moment_of(start) + self.timeframe.offset)


def _frame(rows: Rows) -> pd.DataFrame:
    table = np.array([row[:6] for row in rows], dtype=np.float64).reshape(len(rows), 6)
    times = pd.DatetimeIndex(table[:, 0].astype("datetime64[ms]"), tz="UTC")
    return frame_from(times, dict(zip(("open", "high", "low", "close", "volume"), table[:, 1:].T, strict=True)))


def _plain(symbol: str) -> str:
    return re.sub(r"[\W_]", "", symbol).upper()


def _moved(urls: Any, base: str) -> Any:
    """The same paths at another host."""
    if isinstance(urls, Mapping):
        return {name: _moved(url, base) for name, url in urls.items()}
    there, path = urlsplit(base), urlsplit(str(urls)).path
    return urlunsplit((there.scheme, there.netloc, there.path.rstrip("/") + path, "", ""))
