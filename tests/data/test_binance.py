"""Bars from Binance: complete, finished, in order, whatever the network and the clocks do."""

import logging
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_exchange import FakeExchange, StillClock, collect, exchange, same
from kronos.data.sources.binance import Binance
from kronos.data.sources.source import Page
from kronos.errors import ConfigError, SourceError

HOUR = pd.Timedelta(hours=1)
FIRST = pd.Timestamp("2020-01-01", tz="UTC")


@pytest.fixture(scope="module")
def calm() -> Iterator[FakeExchange]:
    """A server that nobody disturbs: 2500 hours."""
    with exchange(2500) as server:
        yield server


def spot(server: FakeExchange, **own: object) -> Binance:
    return Binance(server.url, patience=server.patience(**own))


def contracts(server: FakeExchange) -> Binance:
    return Binance(server.url, "usdm", patience=server.patience())


def pages(source: Binance, start: pd.Timestamp | None = None, end: pd.Timestamp | None = None) -> Iterator[Page]:
    return source.pages("BTC/USDT", "1h", start, end)


def test_a_hundred_thousand_bars_arrive_through_every_trouble() -> None:
    with exchange(100_000, gaps=[(0, 3), (1000, 1001), (40_000, 43_500), (99_000, 99_001)]) as server:
        clock = StillClock(server=None)
        server.fail("429", 3, path="klines", headers={"Retry-After": "20"})
        server.storm("429", "truncated", "500", "dropped", "cut", "418", "503", "html", every=4)
        found = collect(Binance(server.url, patience=clock.patience()), "BTC/USDT", "1h")
        same(found, server.truth("BTCUSDT", "1h"))
        assert len(found) == 100_000 - 3 - 1 - 3500 - 1
        assert clock.slept.count(20.0) == 3
        assert len(server.requests) > 125


def test_contracts_have_longer_pages_and_their_own_prices() -> None:
    with exchange(4000) as server:
        found = collect(contracts(server), "BTC/USDT:USDT", "1h")
        same(found, server.truth("BTC-USDT-SWAP", "1h"))
        assert not found.equals(server.truth("BTC-USDT", "1h"))
        assert [one.params["limit"] for one in server.asked("/fapi/v1/klines")] == ["1500"] * 3
        same(collect(contracts(server), "BTCUSDT_240628", "1h"), server.truth("BTC-USDT-240628", "1h"))


def test_the_amount_is_the_quote_volume(calm: FakeExchange) -> None:
    frame = collect(spot(calm), "BTC/USDT", "1h", FIRST, FIRST + 5 * HOUR)
    middle = (frame["open"] + frame["close"]) / 2
    assert frame["amount"].to_numpy() == pytest.approx((frame["volume"] * middle).to_numpy())


@pytest.mark.parametrize("bars", [1, 2, 998, 999, 1000, 1001, 1999, 2000, 2001])
def test_the_edges_of_pages_lose_nothing(bars: int) -> None:
    with exchange(bars) as server:
        same(collect(spot(server), "BTC/USDT", "1h"), server.truth("BTCUSDT", "1h"))
        assert len(server.asked("klines")) == bars // 1000 + 1


@pytest.mark.parametrize("first", ["1999-12-31", "2019-06-01", "2060-01-01"])
@pytest.mark.parametrize("late", [0.0, 0.001, 0.999])
def test_the_unfinished_bar_is_dropped_by_the_exchanges_clock(first: str, late: float) -> None:
    with exchange(30, first=first, late=late) as server:
        found = collect(spot(server), "BTC/USDT", "1h")
        assert len(found) == 30
        same(found, server.truth("BTCUSDT", "1h"))


@pytest.mark.parametrize("minutes", [1, 5, 899, 900, 901, 1500])
def test_bars_that_end_while_we_wait_are_delivered(minutes: int) -> None:
    with exchange(100, "1m") as server:
        server.fail("429", 1, path="klines", headers={"Retry-After": str(60 * minutes)})
        patience = StillClock(server=server).patience(longest=1e6)
        found = collect(Binance(server.url, patience=patience), "BTC/USDT", "1m")
        assert len(found) == 100 + minutes
        same(found, server.truth("BTCUSDT", "1m"))


@pytest.mark.parametrize("timeframe", ["1m", "3m", "2h", "8h", "12h", "1d", "3d", "1w", "1mo"])
def test_every_length_of_bars(timeframe: str) -> None:
    with exchange(1500, "1m" if timeframe in ("1m", "3m") else "1d", gaps=[(3, 10)]) as server:
        found = collect(spot(server), "ETH/USDT", timeframe)
        assert len(found) > 30
        same(found, server.truth("ETHUSDT", timeframe))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (FIRST, FIRST + HOUR),
        (FIRST + 7 * HOUR, FIRST + 1007 * HOUR),
        (FIRST + 7 * HOUR, FIRST + 1008 * HOUR),
        (FIRST + 30 * pd.Timedelta(minutes=1), FIRST + 90 * pd.Timedelta(minutes=1)),
        (FIRST + pd.Timedelta(1, "ns"), FIRST + HOUR + pd.Timedelta(1, "ns")),
        (None, FIRST + 2 * HOUR),
        (FIRST + 2490 * HOUR, None),
        (FIRST + 2490 * HOUR, FIRST + 9000 * HOUR),
        (FIRST - 5000 * HOUR, FIRST - 4000 * HOUR),
        ((FIRST + 3 * HOUR).tz_convert("Asia/Shanghai"), (FIRST + 5 * HOUR).tz_localize(None)),
    ],
)
def test_the_start_is_inside_and_the_end_is_not(
    calm: FakeExchange, start: pd.Timestamp | None, end: pd.Timestamp | None
) -> None:
    same(collect(spot(calm), "BTC/USDT", "1h", start, end), calm.truth("BTCUSDT", "1h", start, end))


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, 2500), st.integers(1, 1500)), max_size=3),
    st.one_of(st.none(), st.integers(-100, 2600)),
    st.one_of(st.none(), st.integers(-100, 2600)),
    st.integers(400, 1000),
)
def test_gaps_and_spans_of_every_kind(
    calm: FakeExchange, holes: list[tuple[int, int]], start: int | None, end: int | None, most: int
) -> None:
    hour = 3_600_000
    market, calm.most = calm.market, most
    gaps = [(market.first + place * hour, market.first + (place + length) * hour) for place, length in holes]
    calm.market = type(market)("2020-01-01", gaps)
    span = [None if place is None else FIRST + place * HOUR for place in (start, end)]
    try:
        same(collect(spot(calm), "BTC/USDT", "1h", *span), calm.truth("BTCUSDT", "1h", *span))
    finally:
        calm.market, calm.most = market, None


def test_a_host_with_shorter_pages_loses_nothing() -> None:
    with exchange(1700) as server:
        server.most = 500
        same(collect(spot(server), "BTC/USDT", "1h"), server.truth("BTCUSDT", "1h"))


def test_what_is_no_longer_traded_ends_where_it_ended() -> None:
    with exchange(1500) as server:
        server.last = server.market.first + 1000 * 3_600_000
        *_, last = pages(spot(server))
        assert last.reached == FIRST + 1000 * HOUR
        assert len(collect(spot(server), "BTC/USDT", "1h")) == 1000
        *_, last = pages(spot(server), FIRST, FIRST + 1200 * HOUR)
        assert last.reached == FIRST + 1200 * HOUR


def test_nothing_is_asked_before_the_first_page_and_no_more_than_is_read(calm: FakeExchange) -> None:
    before = len(calm.requests)
    walk = pages(spot(calm))
    assert len(calm.requests) == before
    assert len(next(walk).frame) == 1000
    assert [one.path for one in calm.requests[before:]] == ["/api/v3/time", "/api/v3/klines"]
    next(walk)
    assert len(calm.requests) == before + 3


def test_each_page_says_how_far_it_reached(calm: FakeExchange) -> None:
    reached = [page.reached for page in pages(spot(calm))]
    assert reached == [FIRST + 1000 * HOUR, FIRST + 2000 * HOUR, FIRST + 2500 * HOUR]
    (only,) = pages(spot(calm), FIRST, FIRST + 10 * HOUR)
    assert only.reached == FIRST + 10 * HOUR


def test_a_run_that_broke_goes_on_where_it_stopped() -> None:
    with exchange(3200, gaps=[(900, 1100), (1999, 2000)]) as server:
        got = []
        walk = pages(spot(server))
        got.append(next(walk))
        got.append(next(walk))
        server.fail("500", 99)
        with pytest.raises(SourceError, match="no usable answer after 8 attempts"):
            next(walk)
        server.calm()
        got.extend(pages(spot(server), got[-1].reached))
        same(pd.concat([page.frame for page in got]), server.truth("BTCUSDT", "1h"))


def test_being_up_to_date_is_an_empty_page(calm: FakeExchange) -> None:
    (page,) = pages(spot(calm), FIRST + 2500 * HOUR)
    assert page.frame.empty
    assert page.reached == FIRST + 2500 * HOUR
    assert str(page.frame.index.dtype) == "datetime64[ns, UTC]"
    assert list(pages(spot(calm), FIRST + HOUR, FIRST + HOUR)) == []
    (page,) = pages(spot(calm), FIRST + 9000 * HOUR)
    assert page.frame.empty


def test_the_used_weight_is_watched() -> None:
    with exchange(3000, "1m", late=0.1) as server:
        clock = StillClock(server=server)
        server.used = 4797
        collect(Binance(server.url, patience=clock.patience()), "BTC/USDT", "1m", FIRST)
        assert max(clock.slept) == pytest.approx(55, abs=1)
        assert server.used < 100


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("BTC/USDT", "BTC/USDT"),
        ("btc-usdt", "BTC/USDT"),
        (" BTC_USDT ", "BTC/USDT"),
        ("btcusdt", "BTC/USDT"),
        ("ETHBTC", "ETH/BTC"),
        ("1000SHIB/USDT", "1000SHIB/USDT"),
        ("币安人生/usdt", "币安人生/USDT"),
    ],
)
def test_the_spellings_of_a_pair(calm: FakeExchange, text: str, name: str) -> None:
    assert spot(calm).symbol(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("BTC/USDT", "BTC/USDT:USDT"),
        ("BTC/USDT:USDT", "BTC/USDT:USDT"),
        ("btc-usdt", "BTC/USDT:USDT"),
        ("btcusdt", "BTC/USDT:USDT"),
        ("btcusdt_240628", "BTCUSDT_240628"),
        ("BTC/USDT:USDT-240628", "BTCUSDT_240628"),
    ],
)
def test_the_spellings_of_a_contract(calm: FakeExchange, text: str, name: str) -> None:
    source = contracts(calm)
    assert source.symbol(text) == name
    assert source.symbol(name) == name
    assert len(collect(source, text, "1h", FIRST, FIRST + 3 * HOUR)) == 3


def test_a_spelling_with_a_sign_needs_no_request(calm: FakeExchange) -> None:
    before = len(calm.requests)
    spot(calm).symbol("BTC/USDT")
    contracts(calm).symbol("BTC/USDT:USDT")
    assert len(calm.requests) == before


@pytest.mark.parametrize("text", ["", "BTC/USDT/X", "BTC USDT", "/", "BTC/", "BTC?x=1", "../time"])
def test_what_can_be_no_symbol(calm: FakeExchange, text: str) -> None:
    with pytest.raises(ConfigError, match="is no symbol of binance; write one such as BTC/USDT"):
        spot(calm).symbol(text)
    with pytest.raises(ConfigError, match="is no symbol of binance"):
        spot(calm).pages(text, "1h", None, None)


def test_contracts_are_not_looked_for_on_the_wrong_market(calm: FakeExchange) -> None:
    with pytest.raises(ConfigError, match="is a contract, not a spot pair; use the source binance-usdm"):
        spot(calm).symbol("BTC/USDT:USDT")
    with pytest.raises(ConfigError, match="contracts settled in BTC are not on this market"):
        contracts(calm).symbol("BTC/USD:BTC")


def test_an_unknown_symbol_is_said_with_its_neighbours(calm: FakeExchange) -> None:
    with pytest.raises(SourceError, match=r"^binance has no symbol DOGUSDT; did you mean DOGE/USDT\?$"):
        next(spot(calm).pages("DOG/USDT", "1h", None, None))
    with pytest.raises(SourceError, match=r"^binance has no symbol dogusdt; did you mean DOGE/USDT"):
        spot(calm).symbol("dogusdt")
    with pytest.raises(SourceError, match=r"^binance-usdm has no symbol XYZQ$"):
        contracts(calm).symbol("XYZQ")


def test_the_hint_may_fail_without_hiding_the_reason() -> None:
    with exchange(5) as server:
        server.fail("500", 99, path="exchangeInfo")
        with pytest.raises(SourceError, match=r"^binance has no symbol DOGUSDT$"):
            next(spot(server).pages("DOG/USDT", "1h", None, None))


def test_a_length_that_is_not_sold_is_refused_at_once(calm: FakeExchange) -> None:
    before = len(calm.requests)
    with pytest.raises(ConfigError, match=r"binance has no 10m bars, only 1m, .*1mo; fetch 5m and resample it to 10m"):
        spot(calm).pages("BTC/USDT", "10m", None, None)
    with pytest.raises(ConfigError, match="fetch 1mo and resample it to 3mo"):
        spot(calm).pages("BTC/USDT", "3mo", None, None)
    with pytest.raises(ConfigError, match=r"has no 1s bars, only [^;]*$"):
        spot(calm).pages("BTC/USDT", "1s", None, None)
    assert len(calm.requests) == before


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("eight fields", "row 0 has 8 fields, expected the 12 fields open time, open, .* has changed its answer"),
        ("not a number", "row 10, close: 'n/a' is no finite number"),
        ("twice", r"row 2 \(2020-01-01 01:00:00\+00:00\) is out of order or comes twice"),
    ],
)
def test_an_answer_of_another_shape_is_refused(mode: str, words: str) -> None:
    with exchange(20) as server:
        server.mode = mode
        with pytest.raises(SourceError, match="^binance BTCUSDT 1h: " + words):
            next(pages(spot(server)))


def test_a_server_that_does_not_go_on_is_noticed() -> None:
    with exchange(2500) as server:
        server.mode = "stuck"
        walk = pages(spot(server))
        next(walk)
        with pytest.raises(SourceError, match="row 0 has the time 1577836800000 ms, which is outside what was asked"):
            next(walk)


def test_a_banned_region_is_told_where_to_go() -> None:
    with exchange(5) as server:
        server.fail("451", 99)
        with pytest.raises(SourceError, match=r"HTTP 451: .*region; set KRONOS_BINANCE_URL .*binance\.vision$"):
            next(pages(spot(server)))
        with pytest.raises(SourceError, match="set KRONOS_BINANCE_USDM_URL"):
            next(contracts(server).pages("BTC/USDT", "1h", None, None))


def test_the_address_comes_from_the_argument_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Binance()._client.host == "api.binance.com"
    assert Binance(market="usdm")._client.host == "fapi.binance.com"
    monkeypatch.setenv("KRONOS_BINANCE_URL", "https://one.example.com")
    monkeypatch.setenv("KRONOS_BINANCE_USDM_URL", "https://two.example.com")
    assert Binance()._client.host == "one.example.com"
    assert Binance(market="usdm")._client.host == "two.example.com"
    assert Binance("https://three.example.com")._client.host == "three.example.com"
    with pytest.raises(ConfigError, match="no market 'margin' here; known are spot, usdm"):
        Binance(market="margin")  # type: ignore[arg-type]


def test_what_the_source_says_of_itself(calm: FakeExchange) -> None:
    assert (spot(calm).name, contracts(calm).name) == ("binance", "binance-usdm")
    assert (spot(calm).market, spot(calm).calendar) == ("crypto", "24/7")


def test_the_log_follows_the_requests(calm: FakeExchange, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kronos.data")
    collect(spot(calm), "BTC/USDT", "1h", FIRST, FIRST + HOUR)
    assert "/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=1577836800000&endTime=1577840399999" in caplog.text
