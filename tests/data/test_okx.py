"""Bars from OKX: oldest first out of pages that come newest first; and signed requests that betray nothing."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_exchange import HONG_KONG, KEY, PASSPHRASE, SECRET, FakeExchange, StillClock, collect, exchange, same
from kronos.data.sources.credentials import VARIABLES, Credentials
from kronos.data.sources.okx import Okx
from kronos.data.sources.source import Page
from kronos.errors import ConfigError, SourceError

HOUR = pd.Timedelta(hours=1)
FIRST = pd.Timestamp("2020-01-01", tz="UTC")
BALANCE = "/api/v5/account/balance"


@pytest.fixture(scope="module")
def calm() -> Iterator[FakeExchange]:
    """A server that nobody disturbs: 2500 hours."""
    with exchange(2500) as server:
        yield server


def okx(server: FakeExchange, **own: object) -> Okx:
    return Okx(server.url, patience=server.patience(), **own)  # type: ignore[arg-type]


def pages(source: Okx, start: pd.Timestamp | None = None, end: pd.Timestamp | None = None) -> Iterator[Page]:
    return source.pages("BTC/USDT", "1h", start, end)


def test_forty_thousand_bars_arrive_through_every_trouble() -> None:
    with exchange(40_000, gaps=[(0, 3), (100, 101), (20_000, 23_500), (38_000, 38_700)]) as server:
        clock = StillClock()
        server.fail("429", 2, path="candles", headers={"Retry-After": "20"})
        for code in ("50011", "50001", "50013", "50026"):
            server.fail("okx", 2, path="candles", code=code)
        server.storm("429", "truncated", "500", "okx", "dropped", "cut", "503", "html", every=9)
        found = collect(Okx(server.url, patience=clock.patience(attempts=12)), "BTC/USDT", "1h")
        same(found, server.truth("BTC-USDT", "1h"))
        assert len(found) == 40_000 - 3 - 1 - 3500 - 700
        assert clock.slept.count(20.0) == 2
        assert len(server.requests) > 400


@pytest.mark.parametrize("bars", [1, 99, 100, 101, 299, 300, 301, 999, 1000, 1001, 1100, 1101])
def test_the_edges_of_pages_lose_nothing(bars: int) -> None:
    with exchange(bars) as server:
        same(collect(okx(server), "BTC/USDT", "1h"), server.truth("BTC-USDT", "1h"))
        same(collect(okx(server), "BTC/USDT", "1h", FIRST), server.truth("BTC-USDT", "1h"))


def test_old_bars_come_from_the_history_and_new_ones_in_few_requests(calm: FakeExchange) -> None:
    before = len(calm.requests)
    walk = list(pages(okx(calm), FIRST))
    asked = [(one.path.rpartition("/")[2], one.params) for one in calm.requests[before:]]
    assert [name for name, _ in asked] == ["time"] + ["history-candles"] * 16 + ["candles"] * 4
    assert {params["limit"] for name, params in asked if name == "history-candles"} == {"100"}
    assert [len(page.frame) for page in walk] == [100] * 16 + [300] * 3 + [0]
    before = len(calm.requests)
    (page,) = pages(okx(calm), FIRST + 2400 * HOUR)
    assert len(page.frame) == 100
    assert len(calm.requests) == before + 2  # the time and one page


@pytest.mark.parametrize("first", ["2013-12-31", "2019-06-01", "2060-01-01"])
@pytest.mark.parametrize("late", [0.0, 0.001, 0.999])
def test_the_unfinished_bar_is_dropped(first: str, late: float) -> None:
    with exchange(130, first=first, late=late) as server:
        found = collect(okx(server), "BTC/USDT", "1h")
        assert len(found) == 130
        same(found, server.truth("BTC-USDT", "1h"))


@pytest.mark.parametrize("minutes", [5, 199, 200, 201, 250])
def test_bars_that_end_while_we_wait_are_delivered(minutes: int) -> None:
    with exchange(100, "1m") as server:
        server.fail("429", 1, path="candles", headers={"Retry-After": str(60 * minutes)})
        patience = StillClock(server=server).patience(longest=1e6)
        found = collect(Okx(server.url, patience=patience), "BTC/USDT", "1m", FIRST)
        assert len(found) == 100 + minutes
        same(found, server.truth("BTC-USDT", "1m"))


def test_a_mark_that_was_forgotten_holds_nothing_up() -> None:
    with exchange(500) as server:
        server.mode = "stale mark"
        same(collect(okx(server), "BTC/USDT", "1h"), server.truth("BTC-USDT", "1h"))


@pytest.mark.parametrize(
    "timeframe", ["1m", "3m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "2d", "3d", "1w", "1mo", "3mo"]
)
@pytest.mark.parametrize("boundary", ["utc", "hongkong"])
def test_every_length_of_bars(timeframe: str, boundary: str) -> None:
    step = {"1m": "1m", "3m": "1m", "30m": "1h", "1h": "1h", "2h": "1h", "4h": "1h"}.get(timeframe, "1d")
    with exchange(700, step, gaps=[(3, 10)]) as server:
        found = collect(okx(server, boundary=boundary), "ETH/USDT", timeframe)
        assert len(found) > 5
        long = timeframe not in ("1m", "3m", "30m", "1h", "2h", "4h")
        truth = server.truth("ETH-USDT", timeframe, shift=HONG_KONG if boundary == "hongkong" and long else 0)
        same(found, truth)
        if long:
            assert set(found.index.hour) <= ({16, 22, 4, 10} if boundary == "hongkong" else {0, 6, 12, 18})


def test_the_two_boundaries_are_two_sources() -> None:
    assert (Okx().name, Okx(boundary="hongkong").name) == ("okx", "okx-hk")
    assert (Okx().market, Okx().calendar) == ("crypto", "24/7")
    with pytest.raises(ConfigError, match="is utc or hongkong, not 'paris'"):
        Okx(boundary="paris")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["BTC-USDT", "BTC-USDT-SWAP", "BTC-USD-SWAP", "BTC-USDT-240628"])
def test_volume_is_in_the_base_and_amount_in_the_quote_currency(calm: FakeExchange, name: str) -> None:
    found = collect(okx(calm), name, "1h", FIRST, FIRST + 150 * HOUR)
    same(found, calm.truth(name, "1h", FIRST, FIRST + 150 * HOUR))
    middle = (found["open"] + found["close"]) / 2
    assert found["amount"].to_numpy() == pytest.approx((found["volume"] * middle).to_numpy())


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (FIRST, FIRST + HOUR),
        (FIRST + 7 * HOUR, FIRST + 107 * HOUR),
        (FIRST + 7 * HOUR, FIRST + 108 * HOUR),
        (FIRST + pd.Timedelta(30, "min"), FIRST + pd.Timedelta(90, "min")),
        (FIRST + pd.Timedelta(1, "ns"), FIRST + HOUR + pd.Timedelta(1, "ns")),
        (None, FIRST + 2 * HOUR),
        (None, FIRST),
        (FIRST + 2490 * HOUR, None),
        (FIRST + 2490 * HOUR, FIRST + 9000 * HOUR),
        (FIRST - 5000 * HOUR, FIRST - 4000 * HOUR),
        (FIRST - 5000 * HOUR, FIRST + 4 * HOUR),
        (pd.Timestamp(0, tz="UTC"), pd.Timestamp("1999-01-01", tz="UTC")),
        ((FIRST + 3 * HOUR).tz_convert("Asia/Shanghai"), (FIRST + 5 * HOUR).tz_localize(None)),
    ],
)
def test_the_start_is_inside_and_the_end_is_not(
    calm: FakeExchange, start: pd.Timestamp | None, end: pd.Timestamp | None
) -> None:
    same(collect(okx(calm), "BTC/USDT", "1h", start, end), calm.truth("BTC-USDT", "1h", start, end))


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, 2500), st.integers(1, 1500)), max_size=3),
    st.one_of(st.none(), st.integers(-100, 2600)),
    st.one_of(st.none(), st.integers(-100, 2600)),
    st.integers(60, 300),
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
        same(collect(okx(calm), "BTC/USDT", "1h", *span), calm.truth("BTC-USDT", "1h", *span))
    finally:
        calm.market, calm.most = market, None


def test_years_without_a_bar_cost_few_requests() -> None:
    with exchange(150_000, "1m", gaps=[(300, 148_400)]) as server:
        found = collect(okx(server), "BTC/USDT", "1m")
        same(found, server.truth("BTC-USDT", "1m"))
        assert len(found) == 1900
        assert len(server.requests) < 90  # page by page it would be 40,000


def test_what_is_no_longer_traded_ends_where_it_ended() -> None:
    with exchange(6000) as server:
        server.last = server.market.first + 1000 * 3_600_000
        walk = list(pages(okx(server), FIRST))
        same(pd.concat([page.frame for page in walk]), server.truth("BTC-USDT", "1h"))
        assert walk[-1].reached == FIRST + 1000 * HOUR
        assert len(server.requests) < 40
        *_, last = pages(okx(server), FIRST, FIRST + 1200 * HOUR)
        assert last.reached == FIRST + 1200 * HOUR


def test_nothing_is_asked_before_the_first_page_and_no_more_than_is_read(calm: FakeExchange) -> None:
    before = len(calm.requests)
    walk = pages(okx(calm), FIRST)
    assert len(calm.requests) == before
    assert len(next(walk).frame) == 100
    assert [one.path for one in calm.requests[before:]] == ["/api/v5/public/time", "/api/v5/market/history-candles"]
    next(walk)
    assert len(calm.requests) == before + 3


def test_each_page_says_how_far_it_reached(calm: FakeExchange) -> None:
    reached = [page.reached for page in pages(okx(calm), FIRST)]
    steps = [*range(100, 1700, 100), 1900, 2200, 2500, 2500]
    assert reached == [FIRST + step * HOUR for step in steps]
    (only,) = pages(okx(calm), FIRST, FIRST + 10 * HOUR)
    assert only.reached == FIRST + 10 * HOUR


def test_a_run_that_broke_goes_on_where_it_stopped() -> None:
    with exchange(3200, gaps=[(90, 300), (1999, 2000)]) as server:
        walk = pages(okx(server))
        got = [next(walk) for _ in range(4)]
        server.fail("okx", 99)
        with pytest.raises(
            SourceError, match=r"no usable answer after 8 attempts, the last: trouble 50011 .code 50011"
        ):
            next(walk)
        server.calm()
        got.extend(pages(okx(server), got[-1].reached))
        same(pd.concat([page.frame for page in got]), server.truth("BTC-USDT", "1h"))


def test_being_up_to_date_is_an_empty_page(calm: FakeExchange) -> None:
    (page,) = pages(okx(calm), FIRST + 2500 * HOUR)
    assert page.frame.empty
    assert page.reached == FIRST + 2500 * HOUR
    assert str(page.frame.index.dtype) == "datetime64[ns, UTC]"
    assert list(pages(okx(calm), FIRST + HOUR, FIRST + HOUR)) == []
    (page,) = pages(okx(calm), FIRST + 9000 * HOUR)
    assert page.frame.empty


def test_requests_keep_okx_pace(calm: FakeExchange) -> None:
    clock = StillClock()
    collect(Okx(calm.url, patience=clock.patience()), "BTC/USDT", "1h", FIRST, FIRST + 500 * HOUR)
    assert clock.slept == pytest.approx([0.11] * 5)  # 20 requests in 2 seconds are allowed


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("BTC/USDT", "BTC/USDT"),
        ("btc-usdt", "BTC/USDT"),
        (" BTC_USDT ", "BTC/USDT"),
        ("btcusdt", "BTC/USDT"),
        ("ETHBTC", "ETH/BTC"),
        ("btc-usd-swap", "BTC-USD-SWAP"),
        ("BTC/USDT:USDT", "BTC-USDT-SWAP"),
        ("BTC/USD:BTC", "BTC-USD-SWAP"),
        ("BTC-USDT-240628", "BTC-USDT-240628"),
        ("BTC/USDT:USDT-240628", "BTC-USDT-240628"),
    ],
)
def test_the_spellings_of_a_symbol(calm: FakeExchange, text: str, name: str) -> None:
    source = okx(calm)
    assert source.symbol(text) == name
    assert source.symbol(name) == name
    assert len(collect(source, text, "1h", FIRST, FIRST + 3 * HOUR)) == 3


@pytest.mark.parametrize("text", ["", "BTC-USD-240628-50000-C", "BTC USDT", "/", "BTC-", "BTC/USDT:XYZ", "../time"])
def test_what_can_be_no_symbol(calm: FakeExchange, text: str) -> None:
    with pytest.raises(ConfigError, match="is no symbol of OKX; write one such as BTC/USDT"):
        okx(calm).symbol(text)
    with pytest.raises(ConfigError, match="is no symbol of OKX"):
        okx(calm).pages(text, "1h", None, None)


def test_an_unknown_symbol_is_said_with_its_neighbours(calm: FakeExchange) -> None:
    with pytest.raises(SourceError, match=r"^okx has no instrument BTC-USDC-SWAP; did you mean BTC-USD-SWAP or"):
        next(okx(calm).pages("BTC-USDC-SWAP", "1h", None, None))
    with pytest.raises(SourceError, match=r"^okx has no pair dogusdt; did you mean DOGE/USDT\?$"):
        okx(calm).symbol("dogusdt")
    with pytest.raises(SourceError, match=r"^okx has no instrument XYZ-240628$|^okx has no instrument XYZ-QQQ$"):
        next(okx(calm).pages("XYZ/QQQ", "1h", None, None))


def test_the_hint_may_fail_without_hiding_the_reason() -> None:
    with exchange(5) as server:
        server.fail("500", 99, path="instruments")
        with pytest.raises(SourceError, match=r"^okx has no instrument DOG-USDT$"):
            next(okx(server).pages("DOG/USDT", "1h", None, None))


def test_a_length_that_is_not_sold_is_refused_at_once(calm: FakeExchange) -> None:
    before = len(calm.requests)
    with pytest.raises(ConfigError, match=r"okx has no 8h bars, only 1m, .*3mo; fetch 4h and resample it to 8h"):
        okx(calm).pages("BTC/USDT", "8h", None, None)
    assert len(calm.requests) == before


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("eight fields", "row 0 has 8 fields, expected the 9 fields ts, o, h, l, c, .* has changed its answer"),
        ("odd confirm", "a bar's confirm is neither 0 nor 1|confirm: 'yes' is no finite number"),
        ("oldest first", "is out of order or comes twice"),
    ],
)
def test_an_answer_of_another_shape_is_refused(mode: str, words: str) -> None:
    with exchange(20) as server:
        server.mode = mode
        with pytest.raises(SourceError, match="^okx BTC-USDT 1H: .*(" + words + ")"):
            next(pages(okx(server), FIRST))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("51000", r"^okx refuses the request: trouble 51000 \(code 51000\)$"),
        ("50047", r"^okx refuses the request: trouble 50047"),
        ("51008_1000", r"\(code 51008_1000\)$"),
        ("soon", r"\(code soon\)$"),
    ],
)
def test_other_codes_are_final(code: str, words: str) -> None:
    with exchange(20) as server:
        server.fail("okx", 1, path="candles", code=code)
        with pytest.raises(SourceError, match=words):
            next(pages(okx(server)))
        assert len(server.requests) == 2


def test_a_server_that_is_not_okx_is_noticed(calm: FakeExchange) -> None:
    with pytest.raises(SourceError, match=r"not the usual \{code, msg, data\}; is the base URL that of OKX"):
        okx(calm)._client.get("/api/v3/time")


def test_the_address_comes_from_the_argument_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Okx()._client.host == "www.okx.com"
    monkeypatch.setenv("KRONOS_OKX_URL", "https://my.okx.com")
    assert Okx()._client.host == "my.okx.com"
    assert Okx("https://eea.okx.com")._client.host == "eea.okx.com"
    with exchange(5) as server:
        server.fail("403", 1)
        with pytest.raises(SourceError, match=r"HTTP 403: .*region; set KRONOS_OKX_URL"):
            next(pages(okx(server)))


# --- signed requests --------------------------------------------------------------------------------------------------

KEYS = Credentials(KEY, SECRET, PASSPHRASE)


@pytest.mark.parametrize("params", [None, {"ccy": "BTC"}, {"ccy": "BTC,ETH", "x": "a b/ü"}])
def test_a_signed_request_is_accepted(calm: FakeExchange, params: dict[str, object] | None) -> None:
    (data,) = okx(calm, credentials=KEYS).private(BALANCE, params)
    assert data["asked"] == (params or {})
    assert data["totalEq"] == "41624.32"


def test_the_signature_follows_the_exchanges_clock_and_every_attempt() -> None:
    with exchange(5, first="2041-01-01") as server:
        server.fail("429", 1, path="balance", headers={"Retry-After": "120"})
        server.fail("okx", 1, path="balance")
        source = Okx(server.url, credentials=KEYS, patience=StillClock(server=server).patience())
        assert source.private(BALANCE)
        stamps = [one.headers["ok-access-timestamp"] for one in server.asked("balance")]
        assert len(set(stamps)) == 3
        assert all(stamp.startswith("2041-01-01T") and stamp.endswith("Z") for stamp in stamps)


def test_keys_come_from_the_environment_and_bars_never_ask(
    calm: FakeExchange, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert len(collect(okx(calm), "BTC/USDT", "1h", FIRST, FIRST + HOUR)) == 1
    before = len(calm.requests)
    with pytest.raises(ConfigError, match="OKX_API_KEY, OKX_API_SECRET, OKX_API_PASSPHRASE are missing"):
        okx(calm).private(BALANCE)
    assert len(calm.requests) == before
    (tmp_path / ".env").write_text(f"{VARIABLES[0]}={KEY}\n{VARIABLES[1]}={SECRET}\n{VARIABLES[2]}='{PASSPHRASE}'\n")
    assert okx(calm).private(BALANCE)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (Credentials("hush-key", SECRET, PASSPHRASE), r"Invalid OK-ACCESS-KEY\. \(code 50111\)"),
        (Credentials(KEY, "hush-secret", PASSPHRASE), r"Invalid signature\. \(code 50113\)"),
        (Credentials(KEY, SECRET, "hush-phrase"), r"PASSPHRASE\" incorrect\. \(code 50105\)"),
    ],
)
def test_a_wrong_key_is_final_and_stays_secret(calm: FakeExchange, keys: Credentials, words: str) -> None:
    with pytest.raises(SourceError, match="okx refuses the request: .*" + words) as caught:
        okx(calm, credentials=keys).private(BALANCE)
    assert "hush" not in str(caught.value)


def test_no_secret_is_logged_or_raised(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    with exchange(5) as server:
        source = okx(server, credentials=KEYS)
        source.private(BALANCE, {"ccy": "hush"})
        for kind in ("500", "404", "403", "dropped", "html", "302", "429", "okx"):
            server.calm()
            server.fail(kind, 99, path="balance", headers={"Location": "http://127.0.0.1:1/"})
            with pytest.raises(SourceError) as caught:
                source.private(BALANCE, {"ccy": "hush"})
            error: BaseException | None = caught.value
            while error is not None:
                texts.append(repr(error))
                error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        signs = [one.headers["ok-access-sign"] for one in server.asked("balance")]
    assert len(texts) == 8
    everything = caplog.text + "".join(texts) + repr(source.__dict__)
    assert BALANCE in everything
    for secret in (KEY, SECRET, PASSPHRASE, "hush", *signs):
        assert secret not in everything


@pytest.mark.parametrize("path", ["", "api", "//evil.com/x", "/api?x=1", "http://evil.com", "/a/../b", "/ü"])
def test_a_private_path_stays_with_okx(calm: FakeExchange, path: str) -> None:
    with pytest.raises(ConfigError, match="is no path of OKX's"):
        okx(calm, credentials=KEYS).private(path)
