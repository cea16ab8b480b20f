"""A local server that speaks as Binance and OKX do, over a market made by formula, with faults on demand.

    with exchange(bars=100_000, timeframe="1h", gaps=[(500, 620)]) as server:
        server.storm("429", "truncated", "500", every=5)
        source = Binance(server.url, patience=server.patience())
        frame = collect(source, "BTC/USDT", "1h")
        same(frame, server.truth("BTCUSDT", "1h"))

Shapes, limits, order and error codes are those that the exchanges document. Its clock stands still (`server.now`) and
has nothing to do with this machine's; the last bar of every answer is unfinished and holds other numbers than it will.
"""

import base64
import hmac
import json
import os
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd

from kronos.bars import COLUMNS, Timeframe
from kronos.data.sources.http import Patience
from kronos.data.sources.source import Source

KEY, SECRET, PASSPHRASE = "test-api-key-31415", "test-secret-27182", "test passphrase 16180"

BINANCE_INTERVALS = ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]
OKX_BARS = ["1m", "3m", "5m", "15m", "30m", "1H", "2H", "4H"]
OKX_LONG_BARS = ["6H", "12H", "1D", "2D", "3D", "1W", "1M", "3M"]
LIMITS = {"/api/v3/klines": 1000, "/fapi/v1/klines": 1500, "history-candles": 100, "candles": 300}
HONG_KONG = -8 * 3_600_000


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    path: str
    params: dict[str, str]
    headers: dict[str, str]
    target: str = ""  # path and query as they were sent


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose path holds `path`."""

    kind: str
    times: int = 1
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    code: str = "50011"
    seconds: float = 0.0


@dataclass
class StillClock:
    """Time for a client that passes only while it sleeps."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)
    server: "FakeExchange | None" = None

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if self.server is not None:
            self.server.pass_time(seconds)

    def __call__(self) -> float:
        return self.now

    def patience(self, **own: Any) -> Patience:
        return Patience(**{"sleep": self.sleep, "clock": self, **own})


def collect(source: Source, symbol: str, timeframe: str, start: Any = None, end: Any = None) -> pd.DataFrame:
    """All pages of a source in one frame; their promises are checked on the way."""
    frames, before = [], None
    for page in source.pages(symbol, timeframe, _stamp(start), _stamp(end)):
        assert list(page.frame.columns) == list(COLUMNS)
        assert str(page.frame.index.tz) == "UTC"
        assert page.reached.tz is not None
        if len(page.frame):
            assert before is None or page.frame.index[0] >= before, "a bar lies before what was already reached"
            assert page.frame.index[-1] < page.reached
        before = page.reached
        frames.append(page.frame)
    nothing = pd.DataFrame(columns=list(COLUMNS), index=pd.DatetimeIndex([], tz="UTC"), dtype=float)
    return pd.concat(frames) if frames else nothing


def same(found: pd.DataFrame, truth: pd.DataFrame) -> None:
    """Equal to the last bit, bar by bar."""
    np.testing.assert_array_equal(*(frame.index.as_unit("ns").asi8 for frame in (found, truth)))
    np.testing.assert_array_equal(found.to_numpy(), truth.to_numpy())


def _stamp(moment: Any) -> pd.Timestamp | None:
    if moment is None:
        return None
    stamp = pd.Timestamp(moment)
    return stamp if stamp.tzinfo is not None else stamp.tz_localize("UTC")


@dataclass(frozen=True)
class Bars:
    """Bars of one instrument, as numbers and as the exchanges write them."""

    times: np.ndarray  # (N,) the opening, in ms
    ends: np.ndarray  # (N,) exclusive
    values: np.ndarray  # (N, 6)
    texts: list[list[str]]

    def part(self, begin: int, stop: int) -> "Bars":
        one = slice(begin, stop)
        return Bars(self.times[one], self.ends[one], self.values[one], self.texts[one])


class Market:
    """Bars by formula: of any instrument, in any timeframe, at any time."""

    def __init__(self, first: str, gaps: list[tuple[int, int]]) -> None:
        self.first = _ms(first)
        self.gaps = gaps  # in milliseconds, [from, to)
        self._made: dict[tuple[str, str, int, int], Bars] = {}

    def bars(self, name: str, timeframe: str, now: int, shift: int = 0) -> "Bars":
        """All bars that have begun by `now`; the last may be unfinished."""
        asked = (name, timeframe, now, shift)
        if asked not in self._made:
            times = self._times(timeframe, now, shift)
            values = _values(name, times, Timeframe.parse(timeframe), now)
            self._made[asked] = Bars(times, ends(times, timeframe), values, _texts(values))
        return self._made[asked]

    def _times(self, timeframe: str, now: int, shift: int) -> np.ndarray:
        length = Timeframe.parse(timeframe)
        if length.unit == "mo":
            span = (pd.Timestamp(t - shift, unit="ms") for t in (self.first, now))
            months = pd.date_range(*span, freq="MS", normalize=True).as_unit("ms").asi8 + shift
            times = months[(months >= self.first) & (months <= now)]
        else:
            step = length.nanoseconds // 1_000_000
            grid = (4 * 86_400_000 if length.unit == "w" else 0) + shift  # weeks begin on Monday, 1970 on a Thursday
            begin = -(-(self.first - grid) // step) * step + grid
            times = np.arange(begin, now + 1, step, dtype=np.int64)
        for low, high in self.gaps:
            times = times[(times < low) | (times >= high)]
        return times


def ends(times: np.ndarray, timeframe: str) -> np.ndarray:
    """The end of every bar, exclusive."""
    length = Timeframe.parse(timeframe)
    if length.unit == "mo":
        stamps = pd.DatetimeIndex(times.astype("datetime64[ms]"))
        middle = stamps + pd.Timedelta(hours=12)  # in Hong Kong a month begins on the last day of the one before
        shift = stamps - middle.normalize()
        return ((middle.normalize() + pd.DateOffset(months=length.count)) + shift).as_unit("ms").asi8
    return times + length.nanoseconds // 1_000_000


def _values(name: str, times: np.ndarray, length: Timeframe, now: int) -> np.ndarray:
    phase = zlib.crc32(name.encode()) % 1000
    hours = times / 3_600_000 + phase
    step = length.nanoseconds / 3.6e12

    def price(at: np.ndarray) -> np.ndarray:
        return 100 * np.exp(0.4 * np.sin(at / 701) + 0.05 * np.sin(at / 17.3) + 0.01 * np.sin(at * 1.7))

    opened, closed = price(hours), price(hours + step)
    volume = 50 + 40 * np.sin(hours / 5.1) + 5 * np.cos(hours * 2.3)
    values = np.c_[
        opened,
        np.maximum(opened, closed) * (1.002 + 0.001 * np.sin(hours)),
        np.minimum(opened, closed) * (0.998 - 0.001 * np.sin(hours)),
        closed,
        volume,
        volume * (opened + closed) / 2,
    ]
    unfinished = ends(times, str(length)) > now
    values[unfinished, 3:] *= 0.5
    values[unfinished, 2] = values[unfinished, 3]
    return np.round(values, 6)


def _ms(moment: Any) -> int:
    stamp = _stamp(moment)
    assert stamp is not None
    return -(-stamp.as_unit("ns").value // 1_000_000)


@dataclass(frozen=True)
class Listing:
    """An instrument of the market, as the exchanges call it."""

    base: str
    quote: str
    kind: str = "spot"  # or "swap", "future"
    settled: str = ""
    date: str = ""

    @property
    def binance(self) -> str:
        return self.base + self.quote + (f"_{self.date}" if self.date else "")

    @property
    def okx(self) -> str:
        tail = {"spot": "", "swap": "-SWAP", "future": f"-{self.date}"}[self.kind]
        return f"{self.base}-{self.quote}{tail}"

    @property
    def inverse(self) -> bool:
        return self.settled == self.base


LISTINGS = [
    Listing("BTC", "USDT"),
    Listing("ETH", "USDT"),
    Listing("ETH", "BTC"),
    Listing("DOGE", "USDT"),
    Listing("BTC", "USDT", "swap", "USDT"),
    Listing("ETH", "USDT", "swap", "USDT"),
    Listing("BTC", "USD", "swap", "BTC"),
    Listing("BTC", "USDT", "future", "USDT", "240628"),
]


class FakeExchange:
    """The server's state. Everything here may be changed while it runs."""

    def __init__(self, first: str, now: int, gaps: list[tuple[int, int]]) -> None:
        self.market = Market(first, gaps)
        self.now = now
        self.last: int | None = None  # nothing is traded from this moment on
        self.url = ""
        self.requests: list[Asked] = []
        self.crashes: list[BaseException] = []
        self.weight_limit = 6000
        self.used = 0
        self.mode = ""  # "stuck", "eight fields", "odd confirm", ...: see the answers below
        self.most: int | None = None  # a host that gives fewer bars a page
        self._faults: list[Fault] = []
        self._storm: tuple[tuple[str, ...], int] | None = None
        self._lock = threading.Lock()
        self.closing = threading.Event()

    # --- what a test sets and reads -------------------------------------------------------------------------------

    def fail(self, kind: str, times: int = 1, *, path: str = "", **own: Any) -> None:
        """The next requests (whose path holds `path`) fail in this way."""
        self._faults.append(Fault(kind, times, path, **own))

    def storm(self, *kinds: str, every: int) -> None:
        """From now on every so many requests one fails, in turn in each of these ways."""
        self._storm = (kinds, every)

    def calm(self) -> None:
        """Nothing fails any more."""
        self._faults.clear()
        self._storm = None

    def pass_time(self, seconds: float) -> None:
        """Let the server's clock run, and with a new minute forget the used weight."""
        with self._lock:
            minute = self.now // 60_000
            self.now += round(seconds * 1000)
            if self.now // 60_000 > minute:
                self.used = 0

    def truth(self, name: str, timeframe: str, start: Any = None, end: Any = None, shift: int = 0) -> pd.DataFrame:
        """The finished bars of an instrument, by either exchange's name for it, that start in [start, end)."""
        listing = next(one for one in LISTINGS if name in (one.binance, one.okx))
        bars = self.bars(listing, timeframe, shift)
        keep = bars.ends <= self.now
        keep &= bars.times >= (_ms(start) if start is not None else 0)
        keep &= bars.times < (_ms(end) if end is not None else 1 << 62)
        index = pd.DatetimeIndex(bars.times[keep].astype("datetime64[ms]"), tz="UTC", name="timestamp")
        return pd.DataFrame(bars.values[keep], index=index, columns=list(COLUMNS))

    def patience(self, **own: Any) -> Patience:
        """Patience that waits without waiting."""
        return StillClock().patience(**own)

    def asked(self, path: str) -> list[Asked]:
        """The requests whose path holds `path`."""
        return [one for one in self.requests if path in one.path]

    # --- what the handler calls -----------------------------------------------------------------------------------

    def fault(self, asked: Asked) -> Fault | None:
        with self._lock:
            self.requests.append(asked)
            for fault in self._faults:
                if fault.times > 0 and fault.path in asked.path:
                    fault.times -= 1
                    return fault
            if self._storm is not None:
                kinds, every = self._storm
                turn, rest = divmod(len(self.requests), every)
                if rest == 0:
                    return Fault(kinds[turn % len(kinds)])
        return None

    def answer(self, asked: Asked) -> tuple[int, Any, dict[str, str]]:
        if asked.path.startswith("/api/v5/"):
            return (*Okx(self, asked).answer(), {})
        status, body = Binance(self, asked).answer()
        headers = {"X-MBX-USED-WEIGHT-1M": str(self.used)}
        if status == 429:
            headers["Retry-After"] = str(60 - self.now // 1000 % 60)
        return status, body, headers

    def spend(self, weight: int) -> bool:
        with self._lock:
            self.used += weight
            return self.used <= self.weight_limit

    def bars(self, listing: Listing, timeframe: str, shift: int = 0) -> Bars:
        bars = self.market.bars(listing.okx, timeframe, self.now, shift)
        return bars if self.last is None else bars.part(0, int(np.searchsorted(bars.times, self.last)))


class Binance:
    """One answer of Binance's, spot below /api/v3 and USD-margined below /fapi/v1."""

    def __init__(self, server: FakeExchange, asked: Asked) -> None:
        self.server, self.asked = server, asked
        self.spot = asked.path.startswith("/api/v3/")
        self.listings = [one for one in LISTINGS if (one.kind == "spot") == self.spot and not one.inverse]

    def answer(self) -> tuple[int, Any]:
        ends = {"time": (self._time, 1), "exchangeInfo": (self._info, 20), "klines": (self._klines, 2)}
        name = self.asked.path.rpartition("/")[2]
        if self.asked.path not in (f"/api/v3/{name}", f"/fapi/v1/{name}") or name not in ends:
            return 404, {"code": -5000, "msg": f"Path {self.asked.path}, Method GET is invalid"}
        call, weight = ends[name]
        if not self.server.spend(weight):
            return 429, {"code": -1003, "msg": "Too much request weight used; current limit is 6000 per 1 MINUTE."}
        return call()

    def _time(self) -> tuple[int, Any]:
        return 200, {"serverTime": self.server.now}

    def _info(self) -> tuple[int, Any]:
        symbols = []
        for one in self.listings:
            symbols.append({"symbol": one.binance, "baseAsset": one.base, "quoteAsset": one.quote, "status": "TRADING"})
            if not self.spot:
                kind = "CURRENT_QUARTER" if one.date else "PERPETUAL"
                symbols[-1] |= {"contractType": kind, "marginAsset": one.settled}
        return 200, {"timezone": "UTC", "serverTime": self.server.now, "symbols": symbols}

    def _klines(self) -> tuple[int, Any]:
        params = dict(self.asked.params)
        symbol, interval = params.pop("symbol", ""), params.pop("interval", "")
        limit, most = int(params.pop("limit", "500")), LIMITS[self.asked.path]
        low, high = params.pop("startTime", None), params.pop("endTime", None)
        if params:
            return 400, {"code": -1104, "msg": "Not all sent parameters were read."}
        listing = next((one for one in self.listings if one.binance == symbol), None)
        if listing is None:
            return 400, {"code": -1121, "msg": "Invalid symbol."}
        if interval not in BINANCE_INTERVALS:
            return 400, {"code": -1120, "msg": "Invalid interval."}
        if limit < 1 or (limit > most and not self.spot):
            return 400, {"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."}
        if int(low or 0) < 0 or int(high or 0) < 0:
            return 400, {"code": -1100, "msg": "Illegal characters found in parameter 'startTime'."}
        bars = self.server.bars(listing, interval.replace("M", "mo"))
        limit = min(limit, most, self.server.most or most)
        begin = 0 if low is None else int(np.searchsorted(bars.times, int(low)))
        stop = len(bars.times) if high is None else int(np.searchsorted(bars.times, int(high), side="right"))
        begin, stop = (max(begin, stop - limit), stop) if low is None else (begin, min(begin + limit, stop))
        if self.server.mode == "stuck":
            begin, stop = 0, limit
        page = bars.part(begin, stop)
        rows = [
            [int(time), *texts[:5], int(end) - 1, texts[5], 308, "1.5", "150.1", "0"]
            for time, texts, end in zip(page.times, page.texts, page.ends, strict=True)
        ]
        if self.server.mode == "eight fields":
            rows = [row[:8] for row in rows]
        if self.server.mode == "not a number" and rows:
            rows[len(rows) // 2][4] = "n/a"
        if self.server.mode == "twice" and len(rows) > 2:
            rows[2] = rows[1]
        return 200, rows


class Okx:
    """One answer of OKX's version 5."""

    def __init__(self, server: FakeExchange, asked: Asked) -> None:
        self.server, self.asked = server, asked

    def answer(self) -> tuple[int, Any]:
        path = self.asked.path.removeprefix("/api/v5")
        if path == "/public/time":
            return _envelope([{"ts": str(self.server.now)}])
        if path == "/public/instruments":
            return self._instruments()
        if path in ("/market/candles", "/market/history-candles"):
            return self._candles(path.rpartition("/")[2])
        if path == "/account/balance":
            return self._balance()
        return 404, {"code": "404", "msg": "Not Found", "data": []}

    def _instruments(self) -> tuple[int, Any]:
        kind = self.asked.params.get("instType", "").lower()
        if kind not in ("spot", "swap", "futures"):
            return _wrong(400, "51000", "Parameter instType error")
        return _envelope(
            [
                {
                    "instId": one.okx,
                    "instType": kind.upper(),
                    "listTime": str(self.server.market.first),
                    "state": "live",
                }
                for one in LISTINGS
                if one.kind == kind.removesuffix("s")
            ]
        )

    def _candles(self, endpoint: str) -> tuple[int, Any]:
        params = dict(self.asked.params)
        name, bar = params.pop("instId", ""), params.pop("bar", "1m")
        after, before = params.pop("after", None), params.pop("before", None)
        limit = min(int(params.pop("limit", "100")), LIMITS[endpoint], self.server.most or 300)
        if params or limit < 1 or int(after or 0) < 0 or int(before or 0) < 0:
            return _wrong(400, "51000", f"Parameter {next(iter(params), 'limit')} error")
        listing = next((one for one in LISTINGS if one.okx == name), None)
        if listing is None:
            return _wrong(200, "51001", "Instrument ID, Instrument ID code or Spread ID doesn't exist.")
        if bar not in OKX_BARS + OKX_LONG_BARS + [f"{one}utc" for one in OKX_LONG_BARS]:
            return _wrong(400, "51000", "Parameter bar error")
        timeframe = bar.removesuffix("utc").replace("M", "mo").lower()
        bars = self.server.bars(listing, timeframe, HONG_KONG if bar in OKX_LONG_BARS else 0)
        low = 0 if before is None else int(np.searchsorted(bars.times, int(before), side="right"))
        high = len(bars.times) if after is None else int(np.searchsorted(bars.times, int(after)))
        if endpoint == "candles":
            low = max(low, len(bars.times) - 1440)
        page = bars.part(max(low, high - limit), max(high, low))
        rows = [
            _okx_row(listing, int(time), texts, numbers, bool(end <= self.server.now))
            for time, end, texts, numbers in zip(page.times, page.ends, page.texts, page.values, strict=True)
        ][::-1]
        return _envelope(self._spoilt(rows))

    def _spoilt(self, rows: list[list[str]]) -> list[list[str]]:
        mode = self.server.mode
        if mode == "eight fields":
            return [row[:8] for row in rows]
        if mode == "odd confirm":
            return [[*row[:8], "yes" if number else "2"] for number, row in enumerate(rows)]
        if mode == "stale mark" and len(rows) > 50:
            rows[50][8] = "0"
        if mode == "oldest first":
            return rows[::-1]
        return rows

    def _balance(self) -> tuple[int, Any]:
        headers, params = self.asked.headers, self.asked.params
        stamp = headers.get("ok-access-timestamp", "")
        mark = hmac.digest(SECRET.encode(), f"{stamp}GET{self.asked.target}".encode(), "sha256")
        if headers.get("ok-access-key") != KEY:
            return _wrong(401, "50111", "Invalid OK-ACCESS-KEY.")
        if headers.get("ok-access-passphrase") != PASSPHRASE:
            return _wrong(401, "50105", 'Request header "OK-ACCESS-PASSPHRASE" incorrect.')
        if not stamp.endswith("Z") or abs(datetime.fromisoformat(stamp).timestamp() * 1000 - self.server.now) > 30_000:
            return _wrong(401, "50102", "Timestamp request expired.")
        if headers.get("ok-access-sign") != base64.b64encode(mark).decode():
            return _wrong(401, "50113", "Invalid signature.")
        return _envelope([{"totalEq": "41624.32", "asked": params}])


def _okx_row(listing: Listing, time: int, texts: list[str], numbers: np.ndarray, done: bool) -> list[str]:
    volume, amount = texts[4], texts[5]
    if listing.kind == "spot":
        volumes = [volume, amount, amount]
    else:  # contracts of 100 USD where inverse, of a hundredth of the base where not
        contracts = numbers[5] / 100 if listing.inverse else numbers[4] / 0.01
        volumes = [f"{contracts:.0f}", volume, amount]
    return [str(time), *texts[:4], *volumes, "1" if done else "0"]


def _texts(values: np.ndarray) -> list[list[str]]:
    return [[f"{value:.8f}" for value in row] for row in values.tolist()]


def _envelope(data: list[Any]) -> tuple[int, Any]:
    return 200, {"code": "0", "msg": "", "data": data}


def _wrong(status: int, code: str, message: str) -> tuple[int, Any]:
    return status, {"code": code, "msg": message, "data": []}


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    timeout = 10

    def do_GET(self) -> None:
        state, parts = self.server.state, urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(parts.path, dict(parse_qsl(parts.query)), headers, self.path)
        fault = state.fault(asked)
        if fault is None:
            status, body, extra = state.answer(asked)
            self._reply(status, json.dumps(body).encode(), extra)
        else:
            self._fail(state, asked, fault)

    def _fail(self, state: FakeExchange, asked: Asked, fault: Fault) -> None:
        kind = fault.kind
        if kind == "dropped":
            return
        if kind == "okx":
            body = {"code": fault.code, "msg": f"trouble {fault.code}", "data": []}
            self._reply(200, json.dumps(body).encode(), fault.headers)
        elif kind == "html":
            self._reply(200, b"<!DOCTYPE html><title>hello</title>", fault.headers, "text/html")
        elif kind.isdigit():
            body = {"code": -1003 if kind in ("418", "429") else 0, "msg": f"trouble {kind}"}
            self._reply(int(kind), json.dumps(body).encode(), fault.headers)
        else:
            status, body, extra = state.answer(asked)
            data = json.dumps(body).encode()
            if kind == "slow":
                state.closing.wait(fault.seconds)
            length = len(data)
            if kind in ("truncated", "cut"):  # cut off on the way, or at the source
                data = data[: len(data) // 2]
                length = length if kind == "truncated" else len(data)
            self._reply(status, data, extra, length=length)

    def _reply(
        self,
        status: int,
        data: bytes,
        headers: dict[str, str],
        kind: str = "application/json",
        length: int | None = None,
    ) -> None:
        self.send_response_only(status)
        self.send_header("Date", formatdate(self.server.state.now / 1000, usegmt=True))
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    state: FakeExchange
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            self.state.crashes.append(error)


@contextmanager
def exchange(
    bars: int = 2500,
    timeframe: str = "1h",
    *,
    first: str = "2020-01-01",
    gaps: list[tuple[int, int]] | None = None,
    late: float = 0.5,
) -> Iterator[FakeExchange]:
    """A running server whose instruments have this many finished bars of this timeframe and one unfinished.

    `gaps` are pairs of bar numbers [from, to) that are missing; `late` says how much of the unfinished bar is over.
    """
    step, begin = Timeframe.parse(timeframe).nanoseconds // 1_000_000, _ms(first)
    missing = [(begin + low * step, begin + high * step) for low, high in gaps or []]
    state = FakeExchange(first, begin + bars * step + int(late * step), missing)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.state = state
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    kept = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    os.environ.update(dict.fromkeys(kept, "*"))
    try:
        yield state
    except BaseException as error:
        for crash in state.crashes:
            error.add_note(f"the fake exchange itself failed: {crash!r}")
        raise
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
    assert not state.crashes, f"the fake exchange itself failed: {state.crashes}"
