"""Sources that ask through other people's packages, and how a source is chosen.

The packages are not installed here. Stand-ins speak their shapes: those of ccxt, yfinance, akshare and baostock.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kronos.bars import Timeframe
from kronos.data.lake.lake import Lake
from kronos.data.sources.akshare_source import Akshare
from kronos.data.sources.baostock_source import Baostock
from kronos.data.sources.ccxt_source import Ccxt
from kronos.data.sources.chinese import Security, finished, starts_of
from kronos.data.sources.choosing import SOURCES, known_source, make_source
from kronos.data.sources.fetching import fetch
from kronos.data.sources.http import Patience
from kronos.data.sources.source import Source
from kronos.data.sources.yfinance_source import YFinance
from kronos.data.sources.yfinance_source import finished as yahoo_finished
from kronos.errors import ConfigError, KronosError, KronosWarning, MissingExtra, SourceError
from reference import bars_frame

HOUR = 3_600_000
COLUMNS = ["open", "high", "low", "close", "volume", "amount"]


def collect(source: Source, symbol: str, timeframe: str, start: Any = None, end: Any = None) -> pd.DataFrame:
    """All pages in one frame, their promises checked."""
    bounds = [None if one is None else pd.Timestamp(one).tz_convert("UTC") for one in (start, end)]
    frames, reached = [], None
    for page in source.pages(symbol, timeframe, *bounds):
        assert list(page.frame.columns) == COLUMNS
        assert (page.frame.dtypes == np.float64).all()
        assert page.frame.index.tz is not None
        if len(page.frame):
            assert page.frame.index.is_monotonic_increasing
            assert page.frame.index.is_unique
            assert reached is None or page.frame.index[0] >= reached
            assert page.frame.index[-1] < page.reached
            frames.append(page.frame)
        assert reached is None or page.reached >= reached
        reached = page.reached
    return pd.concat(frames) if frames else pd.DataFrame(columns=COLUMNS)


def refused(ask: Callable[[], Any], kind: type[KronosError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        ask()
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


@pytest.fixture
def patience() -> Patience:
    return Patience(attempts=4, sleep=lambda seconds: None)


# --- ccxt -------------------------------------------------------------------------------------------------------------


class FakeCcxt(ModuleType):
    """The module: exceptions, the list of exchanges, and one exchange of several habits."""

    def __init__(self) -> None:
        super().__init__("ccxt")
        self.BaseError = type("BaseError", (Exception,), {})
        self.ExchangeError = type("ExchangeError", (self.BaseError,), {})
        self.BadRequest = type("BadRequest", (self.ExchangeError,), {})
        self.OperationFailed = type("OperationFailed", (self.BaseError,), {})
        self.NetworkError = type("NetworkError", (self.OperationFailed,), {})
        self.ExchangeNotAvailable = type("ExchangeNotAvailable", (self.NetworkError,), {})
        self.RateLimitExceeded = type("RateLimitExceeded", (self.NetworkError,), {})
        self.exchanges = ["kraken", "krakenfutures", "okx", "ticks"]
        self.opens = np.arange(0)  # bars there are, in ms
        self.now = 0
        self.habit = "forward"
        self.most = 50  # bars that an answer holds at most
        self.claims = 50  # and what ccxt believes
        self.asked: list[tuple[Any, Any]] = []
        self.failures: list[Exception] = []
        module = self

        class Exchange:
            def __init__(self, config: dict[str, Any]) -> None:
                self.config, self.urls = (
                    config,
                    {"api": {"public": "https://api.kraken.com/0", "deep": {"x": "https://x.y/z"}}},
                )
                self.has = {"fetchOHLCV": True, "fetchTime": True}
                self.timeframes: dict[str, Any] = {"1m": 1, "1h": 60, "1d": 1440, "1M": "M", "odd": 7}
                self.last_http_response = "[]"

            def load_markets(self) -> dict[str, Any]:
                module.trip()
                return {"BTC/USDT": {}, "BTC/USDT:USDT": {}, "kPEPE/USDC:USDC": {}, "ETH/BTC": {}}

            def milliseconds(self) -> int:
                return module.now

            def fetch_time(self) -> int:
                module.trip()
                return module.now

            def feature_value(self, symbol: str, method: str, name: str, default: Any) -> Any:
                return module.claims

            def fetch_ohlcv(self, symbol: str, timeframe: str, since: int | None, limit: int | None) -> list[Any]:
                module.asked.append((since, limit))
                module.trip()
                return [[int(at), 1.0, 2.0, 0.5, 1.5 + at / 1e15, 10.0] for at in module.answer(since, limit)]

        self.kraken = self.okx = Exchange
        self.ticks = type("Ticks", (Exchange,), {"__init__": self._without_bars(Exchange)})

    @staticmethod
    def _without_bars(exchange: Any) -> Callable[..., None]:
        def init(self: Any, config: dict[str, Any]) -> None:
            exchange.__init__(self, config)
            self.has["fetchOHLCV"] = "emulated"

        return init

    def trip(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def answer(self, since: int | None, limit: int | None) -> Any:
        """Bars up to now, the running one included."""
        there, count = self.opens[self.opens <= self.now], min(limit or self.most, self.most)
        if since is None or self.habit == "newest":
            return there[-count:]
        if self.habit == "too early" and since < self.now - 300 * HOUR:
            raise self.BadRequest("too long ago")
        if self.habit == "exclusive":
            return there[there > since][:count] if since else there[:count]
        there = there[there >= since]
        if self.habit == "moody":
            there = there[len(self.asked) % 2 :]
        if self.habit in ("window", "newest of window"):  # like coinbase, and like okx behind ccxt
            there = there[there < since + (limit or self.most) * HOUR]
        return there[-count:] if self.habit == "newest of window" else there[:count]


@pytest.fixture
def ccxt(monkeypatch: pytest.MonkeyPatch) -> FakeCcxt:
    module = FakeCcxt()
    monkeypatch.setitem(sys.modules, "ccxt", module)
    module.opens = 1_577_836_800_000 + HOUR * np.arange(400)
    module.now = int(module.opens[-1]) + HOUR // 2
    return module


def truth(module: FakeCcxt, start: int | None = None, end: int | None = None) -> list[int]:
    done = module.opens[module.opens + HOUR <= module.now]
    return [int(at) for at in done if (start is None or at >= start) and (end is None or at < end)]


def opens_of(frame: pd.DataFrame) -> list[int]:
    return [] if not len(frame) else pd.DatetimeIndex(frame.index).as_unit("ms").asi8.tolist()


def ms(at: int) -> pd.Timestamp:
    return pd.Timestamp(at, unit="ms", tz="UTC")


HABITS = ["forward", "exclusive", "window", "newest of window"]


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize(("most", "claims"), [(50, 50), (50, None), (20, 50), (50, 20), (7, 100)])
def test_ccxt_pages_lose_nothing(ccxt: FakeCcxt, patience: Patience, habit: str, most: int, claims: int | None) -> None:
    ccxt.habit, ccxt.most, ccxt.claims = habit, most, claims
    source = Ccxt("kraken", patience=patience)
    assert opens_of(collect(source, "BTC/USDT", "1h")) == truth(ccxt)
    first, last = int(ccxt.opens[33]), int(ccxt.opens[222])
    assert opens_of(collect(source, "BTC/USDT", "1h", ms(first), ms(last))) == truth(ccxt, first, last)
    early = int(ccxt.opens[0]) - 130 * HOUR
    assert opens_of(collect(source, "BTC/USDT", "1h", ms(early), ms(last))) == truth(ccxt, None, last)


@settings(max_examples=25)
@given(
    st.sampled_from(HABITS),
    st.integers(3, 60),
    st.sampled_from([None, 3, 20, 60, 100]),
    st.lists(st.tuples(st.integers(0, 399), st.integers(1, 120)), max_size=3),
    st.integers(-200, 420),
    st.integers(-10, 500),
)
def test_ccxt_with_holes_anywhere(
    habit: str, most: int, claims: int | None, holes: list[tuple[int, int]], start: int, length: int
) -> None:
    module = FakeCcxt()
    opens = 1_577_836_800_000 + HOUR * np.arange(400)
    for at, size in holes:
        opens[at : at + size] = 0
    module.opens, module.now = opens[opens > 0], int(1_577_836_800_000 + HOUR * 399.5)
    module.habit, module.most, module.claims = habit, most, claims
    first = 1_577_836_800_000 + HOUR * start
    if habit.endswith("window"):  # an empty page of theirs says nothing of later ones, so long holes are guessed at
        longest = np.diff(module.opens).max(initial=0) // HOUR
        pages = 1 if first not in module.opens else 20
        assume(longest < pages * min(most, claims or most))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ccxt", module)
        source = Ccxt("kraken", patience=Patience(attempts=1))
        found = opens_of(collect(source, "BTC/USDT", "1h", ms(first), ms(first + length * HOUR)))
        assert found == truth(module, first, first + length * HOUR)
        assert len(module.asked) < 400


def test_ccxt_gives_what_an_exchange_keeps(ccxt: FakeCcxt, patience: Patience) -> None:
    source = Ccxt("kraken", patience=patience)
    ccxt.habit = "newest"
    assert opens_of(collect(source, "BTC/USDT", "1h")) == truth(ccxt)[-49:]
    ccxt.habit = "too early"
    found = opens_of(collect(source, "BTC/USDT", "1h"))
    assert found == truth(ccxt)[-len(found) :]
    assert len(found) >= 298


def test_ccxt_ends_for_a_symbol_that_trades_no_more(ccxt: FakeCcxt, patience: Patience) -> None:
    for ccxt.habit in HABITS:
        ccxt.now, ccxt.asked = int(ccxt.opens[-1]) + 100_000 * HOUR, []
        assert opens_of(collect(Ccxt("kraken", patience=patience), "BTC/USDT", "1h")) == truth(ccxt)
        assert len(ccxt.asked) < 80


def test_ccxt_bars(ccxt: FakeCcxt, patience: Patience) -> None:
    source = Ccxt("kraken", patience=patience)
    assert (source.name, source.market, source.calendar) == ("ccxt-kraken", "crypto", "24/7")
    frame = collect(source, "BTC/USDT", "1h")
    assert frame["amount"].isna().all()
    assert frame.iloc[0, :5].tolist() == pytest.approx([1.0, 2.0, 0.5, 1.5 + ccxt.opens[0] / 1e15, 10.0])


def test_ccxt_months_follow_the_calendar(ccxt: FakeCcxt, patience: Patience) -> None:
    months = pd.date_range("2020-01-01", "2023-05-01", freq="MS", tz="UTC")
    ccxt.opens, ccxt.most = months.as_unit("ms").asi8, 5
    ccxt.now = int(months[-1].timestamp() * 1000) + HOUR
    assert opens_of(collect(Ccxt("kraken", patience=patience), "BTC/USDT", "1mo")) == ccxt.opens[:-1].tolist()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("BTC/USDT", "BTC/USDT"), ("btcusdt", "BTC/USDT"), ("btc-usdt", "BTC/USDT"), ("BTC/USDT:USDT", "BTC/USDT:USDT"),
     ("kpepe/usdc:usdc", "kPEPE/USDC:USDC")],
)  # fmt: skip
def test_ccxt_symbols(ccxt: FakeCcxt, patience: Patience, text: str, wanted: str) -> None:
    assert Ccxt("kraken", patience=patience).symbol(text) == wanted


def test_ccxt_tries_again_and_gives_up(ccxt: FakeCcxt, patience: Patience) -> None:
    source = Ccxt("kraken", patience=patience)
    ccxt.failures = [ccxt.RateLimitExceeded("slow down"), ccxt.NetworkError("reset"), OSError("reset")]
    assert opens_of(collect(source, "BTC/USDT", "1h")) == truth(ccxt)
    ccxt.failures = [ccxt.NetworkError("connection reset")] * 4
    refused(lambda: collect(source, "BTC/USDT", "1h"), SourceError, "ccxt-kraken", "4 attempts", "connection reset")
    ccxt.failures = [ccxt.ExchangeError("x\ny" * 500)]
    refused(lambda: collect(source, "BTC/USDT", "1h"), SourceError, "ccxt-kraken", "x y")
    ccxt.failures = [KeyError("data")]
    refused(lambda: collect(source, "BTC/USDT", "1h"), SourceError, "data")


def test_ccxt_takes_a_web_page_for_no_answer(
    ccxt: FakeCcxt, patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Ccxt("kraken", patience=patience)
    exchange, plain, turns = source._exchange, source._exchange.fetch_ohlcv, iter([True, False] * 200)

    def sometimes_a_page(*asked: Any) -> list[Any]:
        exchange.last_http_response = "<html>busy</html>" if next(turns) else "[]"
        return [] if exchange.last_http_response.startswith("<") else plain(*asked)

    monkeypatch.setattr(exchange, "fetch_ohlcv", sometimes_a_page)
    assert opens_of(collect(source, "BTC/USDT", "1h")) == truth(ccxt)


def test_ccxt_refusals(ccxt: FakeCcxt, patience: Patience) -> None:
    refused(lambda: Ccxt("krakn"), ConfigError, "'krakn'", "did you mean kraken")
    refused(lambda: Ccxt("ticks"), ConfigError, "gives no bars")
    source = Ccxt("kraken", patience=patience)
    refused(lambda: source.symbol("BTC/USTD"), SourceError, "no symbol BTC/USTD", "did you mean BTC/USDT")
    refused(lambda: source.pages("BTC/USDT", "5m", None, None), ConfigError, "no 5m bars", "fetch 1m and resample")
    ccxt.habit = "moody"
    refused(lambda: collect(source, "BTC/USDT", "1h", ms(int(ccxt.opens[9]))), SourceError, "leaves out bars")


def test_ccxt_moves_to_another_host(ccxt: FakeCcxt) -> None:
    source = Ccxt("kraken", "http://127.0.0.1:8080/proxy/", timeout=5)
    assert source._exchange.urls["api"] == {
        "public": "http://127.0.0.1:8080/proxy/0",
        "deep": {"x": "http://127.0.0.1:8080/proxy/z"},
    }
    assert source._exchange.config == {"enableRateLimit": True, "timeout": 5}


def test_ccxt_into_a_lake(ccxt: FakeCcxt, patience: Patience, tmp_path: Any) -> None:
    lake = Lake.open(tmp_path / "lake", create=True)
    source = Ccxt("kraken", patience=patience)
    done = fetch(lake, source, "btcusdt", "1h", start=ms(int(ccxt.opens[100])))
    assert (str(done.key), done.rows) == ("ccxt-kraken BTC/USDT 1h", 299)
    ccxt.opens = np.append(ccxt.opens, ccxt.opens[-1] + HOUR * np.arange(1, 50))
    ccxt.now += 49 * HOUR
    assert fetch(lake, source, "BTC/USDT", "1h", start=ms(int(ccxt.opens[0]))).added == 49 + 100


REAL: dict[str, dict[str, Any]] = {
    "binance": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}},
    "okx": {"fetchMarkets": {"types": ["spot"]}},
}


@pytest.mark.parametrize("name", REAL)
def test_the_real_ccxt_against_a_local_exchange(name: str) -> None:
    pytest.importorskip("ccxt")
    from fake_exchange import exchange

    with exchange(bars=900, gaps=[(120, 150), (300, 700)]) as server:
        source = Ccxt(name, server.url, patience=server.patience(), options=REAL[name], enableRateLimit=False)
        server.storm("truncated", "500", every=5)
        wanted = server.truth("BTCUSDT", "1h").assign(amount=np.nan)
        found = collect(source, "btcusdt", "1h")
    pd.testing.assert_frame_equal(found, wanted, check_freq=False, check_index_type=False)


# --- Chinese stocks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted", "kind"),
    [
        ("600000", "600000.SH", "stock"), ("sh600000", "600000.SH", "stock"), ("sh.600000", "600000.SH", "stock"),
        ("600000.SS", "600000.SH", "stock"), ("600000.xshg", "600000.SH", "stock"), ("000001", "000001.SZ", "stock"),
        ("SZ000001", "000001.SZ", "stock"), ("300750.XSHE", "300750.SZ", "stock"), ("000300.SH", "000300.SH", "index"),
        ("sh000001", "000001.SH", "index"), ("399001", "399001.SZ", "index"), ("510300", "510300.SH", "fund"),
        ("159915", "159915.SZ", "fund"), ("830799", "830799.BJ", "stock"), ("920002", "920002.BJ", "stock"),
        ("900901", "900901.SH", "stock"), ("688981", "688981.SH", "stock"),
    ],
)  # fmt: skip
def test_codes(text: str, wanted: str, kind: str) -> None:
    security = Security.parse(text)
    assert (str(security), security.kind) == (wanted, kind)
    assert Security.parse(str(security)) == security


@pytest.mark.parametrize("text", ["", "60000", "AAPL", "600000.NY", "6000000", "sh60000", "600000SH1"])
def test_what_is_no_code(text: str) -> None:
    refused(lambda: Security.parse(text), ConfigError, "600000.SH")


def test_stamps_at_the_end_become_starts() -> None:
    def starts(timeframe: str, *stamps: str) -> list[str]:
        found = starts_of(pd.DatetimeIndex(stamps), Timeframe.parse(timeframe))
        assert str(found.tz) == "Asia/Shanghai"
        return [f"{one:%m-%d %H:%M}" for one in found]

    day = "2024-01-05 "
    assert starts("5m", day + "09:35", day + "11:30", day + "13:05") == ["01-05 09:30", "01-05 11:25", "01-05 13:00"]
    hours = [day + clock for clock in ("10:30", "11:30", "14:00", "15:00")]
    assert starts("1h", *hours) == ["01-05 09:30", "01-05 10:30", "01-05 13:00", "01-05 14:00"]
    assert starts("1d", "2024-01-05") == ["01-05 00:00"]
    assert starts("1w", "2024-01-05", "2024-01-11") == ["01-01 00:00", "01-08 00:00"]
    assert starts("1mo", "2024-01-31", "2024-02-08") == ["01-01 00:00", "02-01 00:00"]


def test_a_day_is_over_an_hour_after_the_close() -> None:
    frame = bars_frame(3, freq="1D", start="2024-03-04", tz="Asia/Shanghai")
    for clock, rows in (("15:30", 2), ("16:00", 3)):
        now = pd.Timestamp(f"2024-03-06 {clock}", tz="Asia/Shanghai").tz_convert("UTC")
        assert len(finished(frame, Timeframe.parse("1d"), now)) == rows
    weeks = bars_frame(2, freq="W-MON", start="2024-03-04", tz="Asia/Shanghai")
    assert len(finished(weeks, Timeframe.parse("1w"), pd.Timestamp("2024-03-17 15:59", tz="UTC"))) == 1
    assert len(finished(weeks, Timeframe.parse("1w"), pd.Timestamp("2024-03-17 16:00", tz="UTC"))) == 2


# --- akshare ----------------------------------------------------------------------------------------------------------


class FakeAkshare(ModuleType):
    """Functions that note how they were called and answer with Eastmoney's columns."""

    DAILY = "日期 股票代码 开盘 收盘 最高 最低 成交量 成交额 振幅 涨跌幅 涨跌额 换手率"
    MINUTE = "时间 开盘 收盘 最高 最低 成交量 成交额 均价"

    def __init__(self) -> None:
        super().__init__("akshare")
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[list[Any]] = []
        self.failures: list[Exception] = []
        for name in ("stock_zh_a_hist", "fund_etf_hist_em", "index_zh_a_hist"):
            setattr(self, name, self._function(name, self.DAILY, "adjust" if "index" not in name else ""))
        for name in ("stock_zh_a_hist_min_em", "fund_etf_hist_min_em", "index_zh_a_hist_min_em"):
            setattr(self, name, self._function(name, self.MINUTE, "adjust" if "index" not in name else ""))

    def _function(self, name: str, titles: str, last: str) -> Callable[..., pd.DataFrame]:
        columns = titles.split()

        def function(**asked: Any) -> pd.DataFrame:
            assert set(asked) == {"symbol", "period", "start_date", "end_date"} | ({last} if last else set())
            self.calls.append((name, asked))
            if self.failures:
                raise self.failures.pop(0)
            if not self.rows:
                return pd.DataFrame()
            table = pd.DataFrame(self.rows, columns=[one for one in columns[:8] if one not in ("股票代码", "均价")])
            return table.reindex(columns=columns)

        return function


@pytest.fixture
def akshare(monkeypatch: pytest.MonkeyPatch) -> FakeAkshare:
    module = FakeAkshare()
    monkeypatch.setitem(sys.modules, "akshare", module)
    return module


def test_akshare_days(akshare: FakeAkshare, patience: Patience) -> None:
    import datetime as dt

    akshare.rows = [
        [dt.date(2024, 1, 4), 10.0, 10.5, 10.6, 9.9, 1000, 1_020_000.0],
        [dt.date(2024, 1, 5), 10.5, 10.4, 10.6, 10.2, 1200, 1_250_000.5],
        [dt.date(2024, 1, 8), 10.4, 10.3, 10.5, 10.2, 900, 930_000.0],
    ]
    source = Akshare(patience=patience)
    assert (source.name, source.market, source.calendar, source.symbol("sh600000")) == (
        "akshare", "cn", "SSE", "600000.SH",
    )  # fmt: skip
    shanghai = "Asia/Shanghai"
    frame = collect(
        source, "600000.SH", "1d", pd.Timestamp("2024-01-04", tz=shanghai), pd.Timestamp("2024-01-08", tz=shanghai)
    )
    assert frame.index.tolist() == [pd.Timestamp(f"2024-01-0{day}", tz=shanghai) for day in (4, 5)]
    assert frame.iloc[0].tolist() == [10.0, 10.6, 9.9, 10.5, 100_000.0, 1_020_000.0]  # lots of 100 shares
    name, asked = akshare.calls[0]
    assert (name, asked["symbol"], asked["period"], asked["adjust"]) == ("stock_zh_a_hist", "600000", "daily", "")
    assert asked["start_date"] == "20240104"
    assert asked["end_date"] >= "20240108"


@pytest.mark.parametrize(
    ("symbol", "timeframe", "adjust", "function", "period"),
    [
        ("600000.SH", "1w", "qfq", "stock_zh_a_hist", "weekly"),
        ("600000.SH", "1mo", "hfq", "stock_zh_a_hist", "monthly"),
        ("000001.SZ", "5m", "qfq", "stock_zh_a_hist_min_em", "5"),
        ("000001.SZ", "60m", "", "stock_zh_a_hist_min_em", "60"),
        ("510300.SH", "1d", "", "fund_etf_hist_em", "daily"),
        ("510300.SH", "15m", "", "fund_etf_hist_min_em", "15"),
        ("000300.SH", "1d", "", "index_zh_a_hist", "daily"),
        ("000300.SH", "30m", "", "index_zh_a_hist_min_em", "30"),
    ],
)
def test_akshare_asks_the_right_function(
    akshare: FakeAkshare, symbol: str, timeframe: str, adjust: str, function: str, period: str
) -> None:
    collect(Akshare(adjust), symbol, timeframe)
    name, asked = akshare.calls[0]
    assert (name, asked["period"], asked["symbol"]) == (function, period, symbol[:6])
    assert asked.get("adjust", adjust) == adjust


def test_akshare_minutes(akshare: FakeAkshare) -> None:
    akshare.rows = [
        ["2024-01-05 09:30:00", 10.0, 10.0, 10.0, 10.0, 50, 50_000.0],
        ["2024-01-05 09:31:00", 10.1, 10.2, 10.3, 9.8, 100, 101_000.0],
        ["2024-01-05 09:32:00", 0.0, 10.2, 10.3, 10.1, 10, 10_200.0],  # Eastmoney has no open of older minutes
        ["2024-01-05 09:33:00", 10.2, 10.1, 10.2, 10.0, 20, 20_200.0],
    ]
    frame = collect(Akshare(), "000001.SZ", "1m")
    assert [f"{at:%H:%M}" for at in frame.index] == ["09:30", "09:32"]
    assert frame.iloc[0].tolist() == [10.0, 10.3, 9.8, 10.2, 15_000.0, 151_000.0]  # the auction is in the first minute
    longer = collect(Akshare(), "000001.SZ", "5m")
    assert len(longer) == 3


def test_akshare_leaves_out_the_running_bar(akshare: FakeAkshare) -> None:
    now = pd.Timestamp.now("Asia/Shanghai").tz_localize(None).floor("5min")
    ends = [now - pd.Timedelta(minutes=5), now, now + pd.Timedelta(minutes=5)]
    akshare.rows = [[str(end), 10.0, 10.5, 10.6, 9.9, 10, 10_000.0] for end in ends]
    frame = collect(Akshare(), "000001.SZ", "5m", pd.Timestamp.now("UTC") - pd.Timedelta(days=1))
    assert len(frame) >= 2
    assert frame.index[-1] + pd.Timedelta(minutes=5) <= pd.Timestamp.now("UTC")


def test_akshare_failures(akshare: FakeAkshare, patience: Patience) -> None:
    source = Akshare(patience=patience)
    akshare.failures = [ConnectionError("reset"), TimeoutError("slow")]
    assert len(collect(source, "600000.SH", "1d")) == 0
    akshare.failures = [ConnectionError("reset")] * 9
    refused(lambda: collect(source, "600000.SH", "1d"), SourceError, "akshare 600000.SH 1d", "4 attempts", "reset")
    akshare.failures = [TypeError("'NoneType' object is not subscriptable")]
    refused(lambda: collect(source, "600000.SH", "5m"), SourceError, "does not know the symbol")
    akshare.failures, akshare.rows = [], [["2024-01-05", 1.0, 1.0, 1.0, 1.0, 1, 1.0]]
    akshare.stock_zh_a_hist = lambda **asked: pd.DataFrame({"日期": ["2024-01-05"], "开盘": [1.0]})
    refused(lambda: collect(source, "600000.SH", "1d"), SourceError, "lacks 最高, 最低, 收盘")
    refused(lambda: Akshare("front"), ConfigError, "'front'", "qfq")
    refused(lambda: collect(source, "600000.SH", "4h"), ConfigError, "no 4h bars")
    refused(lambda: collect(Akshare("qfq"), "600000.SH", "1m"), ConfigError, "no adjusted 1m bars")


# --- baostock ---------------------------------------------------------------------------------------------------------


class Answer:
    """A result as baostock gives it: rows of text, read one by one."""

    def __init__(self, fields: list[str], rows: list[list[str]], code: str = "0", text: str = "success") -> None:
        self.error_code, self.error_msg, self.fields, self.rows, self.at = code, text, fields, rows, -1

    def next(self) -> bool:
        self.at += 1
        return self.at < len(self.rows)

    def get_row_data(self) -> list[str]:
        return self.rows[self.at]


class FakeBaostock(ModuleType):
    def __init__(self) -> None:
        super().__init__("baostock")
        self.calls: list[dict[str, str]] = []
        self.log: list[str] = []
        self.codes: list[str] = []
        self.listed = "2023-06-01"

    def login(self) -> Answer:
        print("login success!")
        self.log.append("in")
        return Answer([], [], *self._code())

    def logout(self) -> None:
        print("logout success!")
        self.log.append("out")

    def _code(self) -> tuple[str, str]:
        code = self.codes.pop(0) if self.codes else "0"
        return code, "success" if code == "0" else "网络接收错误。"

    def query_stock_basic(self, code: str = "") -> Answer:
        return Answer(["code", "code_name", "ipoDate"], [[code, "x", self.listed]])

    def query_history_k_data_plus(
        self, code: str, fields: str, start_date: str, end_date: str, frequency: str, adjustflag: str
    ) -> Answer:
        names = fields.split(",")
        self.calls.append(
            {"code": code, "from": start_date, "to": end_date, "frequency": frequency, "flag": adjustflag}
        )
        rows = []
        first = max(pd.Timestamp(start_date), pd.Timestamp(self.listed))
        for day in pd.bdate_range(first, end_date):
            row = {"date": f"{day:%Y-%m-%d}", "open": "10.1", "high": "10.5", "low": "10.0", "close": "10.2"}
            row |= {"volume": "123400", "amount": "1255000.5", "tradestatus": "1", "adjustflag": adjustflag}
            if day == pd.Timestamp("2024-01-03"):
                row |= {"volume": "", "amount": "", "tradestatus": "0", "open": "10.2", "high": "10.2", "low": "10.2"}
            for clock in ("0935", "1130", "1305", "1500") if frequency.isdigit() else ("",):
                rows.append([(row | {"time": f"{day:%Y%m%d}{clock}00000"})[name] for name in names])
        return Answer(names, rows, *self._code())


@pytest.fixture
def baostock(monkeypatch: pytest.MonkeyPatch) -> FakeBaostock:
    module = FakeBaostock()
    monkeypatch.setitem(sys.modules, "baostock", module)
    return module


def shanghai(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="Asia/Shanghai")


def test_baostock_days(baostock: FakeBaostock, patience: Patience, capsys: pytest.CaptureFixture[str]) -> None:
    source = Baostock("hfq", patience=patience)
    assert (source.name, source.symbol("sh.600000")) == ("baostock-hfq", "600000.SH")
    frame = collect(source, "600000.SH", "1d", shanghai("2024-01-01"), shanghai("2024-01-06"))
    assert [f"{at:%m-%d %H:%M}" for at in frame.index] == ["01-01 00:00", "01-02 00:00", "01-04 00:00", "01-05 00:00"]
    assert frame.iloc[0].tolist() == [10.1, 10.5, 10.0, 10.2, 123_400.0, 1_255_000.5]
    assert baostock.calls[0]["code"] == "sh.600000"
    assert (baostock.calls[0]["from"], baostock.calls[0]["flag"]) == ("2024-01-01", "1")
    assert baostock.log == ["in", "out"]
    assert capsys.readouterr().out == ""  # the package talks


def test_baostock_minutes_in_small_questions(baostock: FakeBaostock) -> None:
    source = Baostock()
    frame = collect(source, "600000.SH", "5m", shanghai("2024-01-02"), shanghai("2024-05-01"))
    days = len(pd.bdate_range("2024-01-02", "2024-04-30"))
    assert len(frame) == 4 * days
    assert [f"{at:%H:%M}" for at in frame.index[:4]] == ["09:30", "11:25", "13:00", "14:55"]
    spans = [(pd.Timestamp(one["from"]), pd.Timestamp(one["to"])) for one in baostock.calls]
    assert all(to - since <= pd.Timedelta(days=30) for since, to in spans)  # 33 days of 48 bars fit into a page
    assert all(later[0] == earlier[1] + pd.Timedelta(days=1) for earlier, later in pairwise(spans))


def test_baostock_begins_with_the_listing(baostock: FakeBaostock) -> None:
    baostock.listed = "2025-03-03"
    frame = collect(Baostock(), "600000.SH", "1h", None, shanghai("2025-03-05"))
    assert frame.index[0] == shanghai("2025-03-03 08:35")  # the stand-in's bar ends at 9:35
    assert baostock.calls[0]["from"] == "2025-03-03"
    baostock.listed = ""
    collect(Baostock(), "000300.SH", "1d", None, shanghai("1991-01-05"))
    assert baostock.calls[-1]["from"] == "1990-12-19"


def test_baostock_weeks_begin_on_monday(baostock: FakeBaostock) -> None:
    frame = collect(Baostock(), "600000.SH", "1w", shanghai("2024-01-08"), shanghai("2024-01-29"))
    assert [f"{at:%m-%d}" for at in frame.index] == ["01-08", "01-15", "01-22"]


def test_baostock_failures(baostock: FakeBaostock, patience: Patience) -> None:
    source = Baostock(patience=patience)
    span = (shanghai("2024-01-01"), shanghai("2024-01-06"))
    baostock.codes = ["10002007", "0", "10002007", "10001001", "0", "0"]  # network, network, session lost
    assert len(collect(source, "600000.SH", "1d", *span)) == 4
    assert baostock.log.count("out") == 1
    baostock.codes = ["10002007"] * 9
    refused(
        lambda: collect(source, "600000.SH", "1d", *span), SourceError, "baostock login", "网络接收错误", "10002007"
    )
    baostock.codes = ["0", "10004012"]
    refused(lambda: collect(source, "600000.SH", "1d", *span), SourceError, "10004012")
    assert baostock.log[-1] == "out"
    refused(lambda: collect(source, "000300.SH", "5m"), ConfigError, "no 5m bars of indices")
    refused(lambda: source.symbol("830799"), ConfigError, "Beijing")


def test_baostock_refuses_an_answer_of_several_pages(baostock: FakeBaostock, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ["2024-01-05", "1", "1", "1", "1", "1", "1", "1"]
    monkeypatch.setattr(baostock, "query_history_k_data_plus", lambda *_, **__: Answer(["date"], [row] * 2000))
    refused(lambda: collect(Baostock(), "600000.SH", "1d", shanghai("2024-01-01")), SourceError, "more than one page")


# --- Yahoo ------------------------------------------------------------------------------------------------------------


class FakeYahoo(ModuleType):
    """yfinance: `Ticker(...).history(...)` over a New York index; failures are hidden unless it is told otherwise."""

    def __init__(self) -> None:
        super().__init__("yfinance")
        self.exceptions = ModuleType("yfinance.exceptions")
        base = type("YFException", (Exception,), {})
        self.exceptions.YFException = base  # type: ignore[attr-defined]
        self.exceptions.YFPricesMissingError = type("YFPricesMissingError", (base,), {})  # type: ignore[attr-defined]
        self.exceptions.YFRateLimitError = type("YFRateLimitError", (base,), {})  # type: ignore[attr-defined]
        self.config = SimpleNamespace(debug=SimpleNamespace(hide_exceptions=True))
        self.asked: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.times = pd.DatetimeIndex([])
        self.volume = 1000
        self.multi = False
        module = self

        class Ticker:
            def __init__(self, symbol: str) -> None:
                self.symbol = symbol

            def history(self, **asked: Any) -> pd.DataFrame:
                return module.history(self.symbol, asked)

        self.Ticker = Ticker

    def history(self, symbol: str, asked: dict[str, Any]) -> pd.DataFrame:
        self.asked.append(asked)
        assert asked["actions"] is False
        if self.failures:
            error = self.failures.pop(0)
            if asked.get("raise_errors") or not self.config.debug.hide_exceptions:
                raise error
            return pd.DataFrame()
        times = self.times
        if "start" in asked:
            times = times[(times >= asked["start"]) & (times < asked["end"])]
        n = len(times)
        names = ["Open", "High", "Low", "Close", "Volume"]
        names = names if asked["auto_adjust"] else [*names[:4], "Adj Close", "Volume"]
        table = pd.DataFrame({name: np.full(n, 100.0) for name in names}, index=times.rename("Date"))
        table["High"], table["Low"], table["Volume"] = 101.0, 99.0, np.full(n, self.volume)
        if self.multi:
            table.columns = pd.MultiIndex.from_product([table.columns, [symbol]], names=["Price", "Ticker"])
        return table


@pytest.fixture
def yahoo(monkeypatch: pytest.MonkeyPatch) -> FakeYahoo:
    module = FakeYahoo()
    monkeypatch.setitem(sys.modules, "yfinance", module)
    monkeypatch.setitem(sys.modules, "yfinance.exceptions", module.exceptions)
    module.times = pd.bdate_range("2023-12-01", "2024-04-01", tz="America/New_York")
    return module


def utc(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def test_yahoo_days(yahoo: FakeYahoo, patience: Patience) -> None:
    source = YFinance(patience=patience)
    assert (source.name, source.market, source.calendar, source.symbol(" brk-b ")) == ("yfinance", "us", None, "BRK-B")
    frame = collect(source, "AAPL", "1d", utc("2024-03-07"), utc("2024-03-13"))
    assert [f"{at:%m-%d %H:%M}" for at in frame.index] == ["03-07 00:00", "03-08 00:00", "03-11 00:00", "03-12 00:00"]
    assert str(pd.DatetimeIndex(frame.index).tz) == "America/New_York"
    assert frame.iloc[0, :5].tolist() == [100.0, 101.0, 99.0, 100.0, 1000.0]
    assert frame["amount"].isna().all()
    assert yahoo.asked[0]["auto_adjust"] is True
    whole = collect(source, "AAPL", "1d")
    assert len(whole) == len(yahoo.times)
    assert yahoo.asked[-1]["period"] == "max"


def test_yahoo_without_dividends_and_with_other_columns(yahoo: FakeYahoo) -> None:
    source = YFinance(adjust=False)
    assert source.name == "yfinance-raw"
    yahoo.multi, yahoo.volume = True, 0
    frame = collect(source, "EURUSD=X", "1d")
    assert yahoo.asked[0]["auto_adjust"] is False
    assert frame["volume"].isna().all()  # currencies have none
    assert len(frame) == len(yahoo.times)


def test_yahoo_weeks_are_asked_for_from_before_their_beginning(yahoo: FakeYahoo) -> None:
    yahoo.times = yahoo.times[yahoo.times.day_of_week == 0]
    frame = collect(YFinance(), "AAPL", "1w", utc("2024-03-06"), utc("2024-03-26"))
    assert [f"{at:%m-%d}" for at in frame.index] == ["03-11", "03-18", "03-25"]
    assert yahoo.asked[0]["start"] < utc("2024-02-28")


def test_yahoo_minutes_in_pieces_of_a_week_and_only_what_there_is(yahoo: FakeYahoo) -> None:
    now = pd.Timestamp.now("UTC").floor("min")
    yahoo.times = pd.date_range(now - pd.Timedelta(days=20), now, freq="min").tz_convert("America/New_York")
    frame = collect(YFinance(), "AAPL", "1m", now - pd.Timedelta(days=15))
    assert len(yahoo.asked) == 3
    assert frame.index[0] == now - pd.Timedelta(days=15)
    assert len(frame) == (frame.index[-1] - frame.index[0]) / pd.Timedelta(minutes=1) + 1
    assert frame.index[-1] + pd.Timedelta(minutes=1) <= pd.Timestamp.now("UTC")  # the running bar is left out
    with pytest.warns(KronosWarning, match="Yahoo keeps 5m bars for 60 days"):
        collect(YFinance(), "AAPL", "5m", utc("2020-01-01"))
    assert yahoo.asked[-1]["start"] > now - pd.Timedelta(days=60)


def test_a_yahoo_day_is_over_when_the_date_has_changed() -> None:
    frame = bars_frame(2, freq="1D", start="2024-03-09", tz="America/New_York")  # the clock jumps on the 10th
    day = Timeframe.parse("1d")
    assert len(yahoo_finished(frame, day, utc("2024-03-11 03:59"))) == 1
    assert len(yahoo_finished(frame, day, utc("2024-03-11 04:00"))) == 2


def test_yahoo_failures_are_not_mistaken_for_no_news(yahoo: FakeYahoo, patience: Patience) -> None:
    source = YFinance(patience=patience)
    errors = yahoo.exceptions
    yahoo.failures = [errors.YFRateLimitError("Too Many Requests"), ConnectionError("reset")]  # type: ignore[attr-defined]
    assert len(collect(source, "AAPL", "1d")) == len(yahoo.times)
    assert yahoo.config.debug.hide_exceptions is True  # as it was
    yahoo.failures = [ConnectionError("reset")] * 9
    refused(lambda: collect(source, "AAPL", "1d"), SourceError, "yfinance AAPL 1d", "4 attempts", "reset")
    gone = errors.YFPricesMissingError  # type: ignore[attr-defined]
    yahoo.failures = [gone("$AAPL: No data found, symbol may be delisted")]
    refused(lambda: collect(source, "AAPL", "1d"), SourceError, "may be delisted")
    yahoo.failures = [gone("Data doesn't exist for startDate = 1, endDate = 2")]
    assert len(collect(source, "AAPL", "1d")) == 0
    yahoo.failures = [KeyError("timestamp")]
    refused(lambda: collect(source, "AAPL", "1d"), SourceError, "timestamp")
    yahoo.config = None  # as in older versions
    yahoo.failures = [gone("No data found")]
    refused(lambda: collect(source, "AAPL", "1d"), SourceError, "No data found")


def test_yahoo_refusals(yahoo: FakeYahoo) -> None:
    source = YFinance()
    refused(lambda: source.symbol("A B"), ConfigError, "'A B'")
    refused(lambda: source.pages("AAPL", "4h", None, None), ConfigError, "no 4h bars", "fetch 1h and resample")
    yahoo.times = yahoo.times.tz_localize(None)
    refused(lambda: collect(source, "AAPL", "1d"), SourceError, "times without a zone")


def test_a_split_at_yahoo_renews_the_series_in_the_lake(yahoo: FakeYahoo, tmp_path: Any) -> None:
    lake, source = Lake.open(tmp_path / "lake", create=True), YFinance()
    whole = yahoo.times
    yahoo.times = whole[:50]
    assert fetch(lake, source, "aapl", "1d").added == 50
    yahoo.times = whole
    plain = yahoo.history

    def halved(symbol: str, asked: dict[str, Any]) -> pd.DataFrame:
        table = plain(symbol, asked)
        return table.assign(**{name: table[name] / 2 for name in ("Open", "High", "Low", "Close")})

    yahoo.history = halved  # type: ignore[method-assign]
    done = fetch(lake, source, "AAPL", "1d")
    stored = lake.read_raw(done.key)
    assert (len(stored), done.added, done.revised) == (len(whole), len(whole) - 50, 50)
    assert (stored["close"] == 50).all()
    assert lake.entry(done.key).zone == "America/New_York"


# --- choosing ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def packages(ccxt: FakeCcxt, yahoo: FakeYahoo, akshare: FakeAkshare, baostock: FakeBaostock) -> None:
    """All of them are there."""


def test_every_listed_source_is_made_and_found_again_by_its_key(packages: None) -> None:
    for name in SOURCES:
        source = make_source(name.replace("NAME", "kraken"))
        assert source.name == name.replace(":NAME", "-kraken")
        again = make_source(source.name)
        assert (type(again), again.name) == (type(source), source.name)
        assert source.market in ("crypto", "us", "cn")
        assert known_source(source.name)
    assert not known_source("file")


def test_names_without_regard_to_case(packages: None) -> None:
    assert make_source(" Binance-USDM ").name == "binance-usdm"
    assert make_source("CCXT:Kraken").name == "ccxt-kraken"


def test_options_pass_through(packages: None) -> None:
    assert make_source("binance", base_url="http://127.0.0.1:1", patience=None).name == "binance"
    moved = make_source("ccxt:kraken", base_url="http://127.0.0.1:1")
    assert isinstance(moved, Ccxt)
    assert moved._exchange.urls["api"]["public"] == "http://127.0.0.1:1/0"
    refused(lambda: make_source("yfinance", base_url="http://127.0.0.1:1"), ConfigError, "takes no base_url")
    refused(lambda: make_source("akshare-qfq", adjust="hfq"), ConfigError, "takes no adjust")
    refused(lambda: make_source("binance", base_url="nonsense"), ConfigError, "web address")


def test_unknown_names(packages: None) -> None:
    refused(lambda: make_source("kraken"), ConfigError, "write ccxt:kraken")
    refused(lambda: make_source("binnance"), ConfigError, "'binnance'", "did you mean binance")
    refused(lambda: make_source("krakn"), ConfigError, "did you mean ccxt:kraken")
    refused(lambda: make_source("zzzzzz"), ConfigError, "known are binance, ")
    refused(lambda: make_source("ccxt:krakn"), ConfigError, "did you mean kraken")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("ccxt:kraken", "ccxt", "exchange"), ("yfinance", "yfinance", "yahoo"), ("akshare", "akshare", "cn"),
     ("baostock", "baostock", "cn")],
)  # fmt: skip
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    class Absent:
        @staticmethod
        def find_spec(wanted: str, *_: Any) -> None:
            if wanted.partition(".")[0] == module:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    with suppress(KeyError):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])
    refused(lambda: make_source(name), MissingExtra, f"kronos-candles[{extra}]")
    refused(lambda: make_source("nonsuch"), ConfigError, "known are")
