"""Bars from OKX: spot pairs, swaps and dated futures, over its public addresses; signed requests with a key.

OKX gives the newest bars first and cannot be asked for what comes next, so time is walked in windows of one page,
forward, and a run that stops can be taken up where it stopped. A stretch without bars (before a listing, a halt) is
crossed in steps that double, then halve, instead of page by page.
"""

import base64
import hmac
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from kronos.bars import Timeframe
from kronos.data.sources.credentials import Credentials
from kronos.data.sources.http import BusyError, Client, Patience, RefusedError
from kronos.data.sources.rows import (
    Flags,
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

_URL, _VARIABLE = "https://www.okx.com", "KRONOS_OKX_URL"
_INTERVAL = 0.11  # the tightest limit is 20 requests in 2 seconds
_BEGINNING = 1_325_376_000_000  # 2012: before the exchange. An instrument's listTime is often later than its first bar.

_SHORT = {"1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1H", "2h": "2H", "4h": "4H"}
_LONG = {"6h": "6H", "12h": "12H", "1d": "1D", "2d": "2D", "3d": "3D", "1w": "1W", "1mo": "1M", "3mo": "3M"}

_FIELDS = ("ts", "o", "h", "l", "c", "vol", "volCcy", "volCcyQuote", "confirm")

_BUSY = (50001, 50004, 50011, 50013, 50026, 50040, 50061)
_NO_INSTRUMENT = 51001

_PAIR = re.compile(r"([^\W_]+)[/_-]([^\W_]+)")
_CCXT = re.compile(r"([^\W_]+)/([^\W_]+):([^\W_]+?)(?:-(\d{6}))?")
_CONTRACT = re.compile(r"[^\W_]+-\w+-(SWAP|\d{6})")


class _Endpoint(NamedTuple):
    path: str
    limit: int  # bars a page


_HISTORY = _Endpoint("/api/v5/market/history-candles", 100)  # newer pages of OKX's say 300; every host gives 100
_RECENT = _Endpoint("/api/v5/market/candles", 300)
_RECENT_BARS = 1000  # the recent ones are the last 1440; leave room for what is added while we ask


@dataclass(frozen=True)
class _Series:
    """What is asked for: one instrument in bars of one length."""

    instrument: str
    bar: str
    timeframe: Timeframe

    @property
    def length(self) -> int:
        return self.timeframe.nanoseconds // 1_000_000

    @property
    def wanted(self) -> tuple[str, ...]:
        """In the order of COLUMNS. `vol` counts contracts for a contract, whose base currency is in volCcy."""
        return ("ts", "confirm", "o", "h", "l", "c", "vol" if self.kind == "SPOT" else "volCcy", "volCcyQuote")

    @property
    def kind(self) -> str:
        return _kind(self.instrument)

    def __str__(self) -> str:
        return f"okx {self.instrument} {self.bar}"


class Okx:
    """OKX's bars; a `Source` named "okx".

    A spot pair is spelt "BTC/USDT", as elsewhere; swaps and dated futures keep OKX's own name, "BTC-USD-SWAP" and
    "BTC-USDT-240628". The volume of a bar is in its base currency (BTC) and the amount in its quote currency, for
    spot pairs, linear and inverse contracts alike; OKX's count of contracts is not kept.

    Bars of six hours and longer begin at midnight UTC. With boundary="hongkong" they begin at midnight in Hong Kong,
    as on OKX's own charts; the source is then called "okx-hk", because the two must not be mixed in one series.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        boundary: Literal["utc", "hongkong"] = "utc",
        credentials: Credentials | None = None,
        patience: Patience | None = None,
    ) -> None:
        """The address is `base_url`, else KRONOS_OKX_URL, else OKX's own; `credentials` are for `private` alone."""
        if boundary not in ("utc", "hongkong"):
            raise ConfigError(f"the boundary of OKX's days is utc or hongkong, not {boundary!r}")
        self._boundary, self._credentials = boundary, credentials
        tail = "utc" if boundary == "utc" else ""
        self._bars = {**_SHORT, **{name: bar + tail for name, bar in _LONG.items()}}
        self._client = Client(
            base_url or os.environ.get(_VARIABLE) or _URL,
            _judge,
            advice=f"set {_VARIABLE} (or base_url) to an address of OKX that serves you",
            interval=_INTERVAL,
            patience=patience,
        )

    @property
    def name(self) -> str:
        """The source's part of a lake's key."""
        return "okx" if self._boundary == "utc" else "okx-hk"

    @property
    def market(self) -> str:
        """The market that its series belong to."""
        return "crypto"

    @property
    def calendar(self) -> str:
        """Round the clock."""
        return "24/7"

    def symbol(self, text: str) -> str:
        """As a key spells it; a pair without a sign between its parts (btcusdt) is looked up at the exchange."""
        plain = text.strip().upper()
        if _CONTRACT.fullmatch(plain):
            return plain
        if found := _CCXT.fullmatch(plain):
            base, quote, settled, date = found.groups()
            if settled in (base, quote):
                return f"{base}-{quote}-{date or 'SWAP'}"
        if found := _PAIR.fullmatch(plain):
            return f"{found[1]}/{found[2]}"
        if not plain.isalnum():
            raise ConfigError(f"{text!r} is no symbol of OKX; write one such as BTC/USDT, BTC-USDT or BTC-USD-SWAP")
        pairs = {name.replace("-", ""): name.replace("-", "/") for name in self._listed("SPOT")}
        if plain not in pairs:
            raise SourceError(f"okx has no pair {text}{nearest(plain, pairs)}")
        return pairs[plain]

    def pages(
        self, symbol: str, timeframe: str, start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> Iterator[Page]:
        """Finished bars whose start lies in [start, end), oldest first."""
        bar = native_name(timeframe, self._bars, self.name)
        series = _Series(self._instrument(symbol), bar, Timeframe.parse(timeframe))
        first = _BEGINNING if start is None else milliseconds(start)
        return self._pages(series, first, None if end is None else milliseconds(end))

    def private(self, path: str, params: Mapping[str, object] | None = None) -> list[Any]:
        """The data of a signed GET, such as private("/api/v5/account/balance", {"ccy": "BTC"})."""
        if not re.fullmatch(r"(/[A-Za-z0-9_-]+)+", path):
            raise ConfigError(f"{path!r} is no path of OKX's, such as /api/v5/account/balance")
        credentials = self._credentials or Credentials.find()

        def sign(target: str) -> dict[str, str]:
            moment = datetime.fromtimestamp(self._time() / 1000, UTC)
            stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            mark = hmac.digest(credentials.secret.encode(), f"{stamp}GET{target}".encode(), "sha256")
            return {
                "OK-ACCESS-KEY": credentials.key,
                "OK-ACCESS-SIGN": base64.b64encode(mark).decode(),
                "OK-ACCESS-TIMESTAMP": stamp,
                "OK-ACCESS-PASSPHRASE": credentials.passphrase,
            }

        return list(self._client.get(path, params, sign)["data"])

    def _pages(self, series: _Series, first: int, stop: int | None) -> Iterator[Page]:
        position = reached = max(first, _BEGINNING)
        if stop is not None and position >= stop:
            return
        now = self._time()
        while True:
            recent = position >= now - _RECENT_BARS * series.length
            endpoint = _RECENT if recent else _HISTORY
            until = position + endpoint.limit * series.length
            until = until if stop is None else min(until, stop)
            times, values, finished = self._window(series, endpoint, position, until, now)
            done = len(times) if finished.all() else int(finished.argmin())
            last = done < len(times) or until == stop
            if not last and until > now:  # nothing says that it is unfinished: halted, or the clock was read long ago
                now = self._time()
                last = until > now
            if done < len(times):
                reached = int(times[done])
            elif until <= now:
                reached = until if done or last else reached
            elif done:
                reached = milliseconds(moment_of(int(times[-1])) + series.timeframe.offset)
            if done or last:
                yield Page(frame_of(times[:done], values[:done]), moment_of(reached))
            if last:
                return
            position = until if done or recent else self._next_bars(series, until, now, stop)

    def _window(
        self, series: _Series, endpoint: _Endpoint, first: int, stop: int, now: int
    ) -> tuple[Ints, Floats, Flags]:
        """All bars that start in [first, stop), oldest first: times, values, and which are finished."""
        tables = []
        top = stop
        while True:
            table = self._candles(series, endpoint, first, top)
            tables.append(table)
            if not len(table) or table[0, 0] - series.length < first:  # no room for an earlier one
                break
            top = int(table[0, 0])
        whole = np.concatenate(tables[::-1])
        times = whole[:, 0].astype(np.int64)
        # A bar that ended a whole bar ago is over, whatever its mark says: it must not hold up all that follow.
        finished = (whole[:, 1] == 1) | (times + 2 * series.length <= now)
        return times, whole[:, 2:], finished

    def _next_bars(self, series: _Series, position: int, now: int, stop: int | None) -> int:
        """The start of a window of one page, at or after `position`, that has a bar; where none has, the end."""
        edge = now - _RECENT_BARS * series.length
        end = max(position, edge if stop is None else min(edge, stop))
        one = step = _HISTORY.limit * series.length
        probe = _HISTORY._replace(limit=1)
        while True:
            if position >= end:
                return end
            if len(self._candles(series, probe, position, min(position + step, end))):
                break
            position, step = position + step, step * 2
        while step > one:
            step //= 2
            if not len(self._candles(series, probe, position, min(position + step, end))):
                position += step
        return position

    def _candles(self, series: _Series, endpoint: _Endpoint, first: int, stop: int) -> Floats:
        """The newest bars that start in [first, stop), turned oldest first: (N, 8), the fields of `series.wanted`."""
        params = {
            "instId": series.instrument,
            "bar": series.bar,
            "after": stop,  # both bounds are exclusive
            "before": first - 1,
            "limit": endpoint.limit,
        }
        try:
            rows = self._client.get(endpoint.path, params)["data"]
        except RefusedError as error:
            if error.code != _NO_INSTRUMENT:
                raise
            raise SourceError(f"okx has no instrument {series.instrument}{self._near(series)}") from None
        table = numbers(rows, _FIELDS, series.wanted, str(series))[::-1]
        whole_times(table[:, 0], first, stop, str(series))
        if not np.isin(table[:, 1], (0, 1)).all():
            raise SourceError(f"{series}: a bar's confirm is neither 0 nor 1; OKX has changed its answer")
        return table

    def _time(self) -> int:
        """The exchange's clock."""
        data = self._client.get("/api/v5/public/time")["data"]
        stamp = data[0].get("ts") if data and isinstance(data[0], dict) else None
        if not isinstance(stamp, str) or not stamp.isdecimal():
            raise SourceError("okx: the answer to the question for its time holds no ts")
        return int(stamp)

    def _listed(self, kind: str) -> list[str]:
        """The names of all instruments of a kind."""
        data = self._client.get("/api/v5/public/instruments", {"instType": kind})["data"]
        return [str(one.get("instId")) for one in data if isinstance(one, dict)]

    def _near(self, series: _Series) -> str:
        try:
            return nearest(series.instrument, {name: name for name in self._listed(series.kind)})
        except SourceError:  # the hint is a courtesy; that the instrument is unknown is sure
            return ""

    def _instrument(self, symbol: str) -> str:
        """OKX's own name of a symbol."""
        return self.symbol(symbol).replace("/", "-")


def _kind(instrument: str) -> str:
    if instrument.count("-") < 2:
        return "SPOT"
    return "SWAP" if instrument.endswith("-SWAP") else "FUTURES"


def _judge(status: int, body: Any) -> None:
    """Read OKX's {"code": "51001", "msg": "...", "data": []}; a code may have a part behind a low line."""
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        if status < 300:
            raise SourceError("okx: the answer is not the usual {code, msg, data}; is the base URL that of OKX?")
        return
    number = body["code"].partition("_")[0]
    code = int(number) if number.isdecimal() else -1
    if code == 0 and status < 300:
        if not isinstance(body.get("data"), list):
            raise SourceError("okx: the answer holds no list called data; OKX has changed it")
        return
    said = f"{' '.join(str(body.get('msg')).split())[:200]} (code {body['code'][:20]})"
    if code in _BUSY:
        raise BusyError(said)
    if code != 0:
        raise RefusedError(f"okx refuses the request: {said}", code)
