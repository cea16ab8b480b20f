"""The client that asks exchanges: patient with what passes, quick with what does not, and silent about secrets."""

import itertools
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any
from urllib.error import URLError

import pytest

from fake_exchange import FakeExchange, StillClock, exchange
from kronos.data.sources.http import Budget, BusyError, Client, Patience, RefusedError, checked_url
from kronos.errors import ConfigError, SourceError

TIME = "/api/v3/time"
ADVICE = "set KRONOS_SOME_URL"


def accept(status: int, body: Any) -> None:
    """The judge of an exchange without error codes."""


def client_of(
    server: FakeExchange, clock: StillClock, judge: Callable[[int, Any], None] = accept, **own: Any
) -> Client:
    options = {"advice": ADVICE, "patience": clock.patience(), **own}
    return Client(server.url, judge, **options)


@pytest.fixture
def server() -> Iterator[FakeExchange]:
    with exchange() as running:
        yield running


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


def test_an_answer_comes_back_and_empty_parameters_stay_away(server: FakeExchange, clock: StillClock) -> None:
    assert client_of(server, clock).get(TIME, {"a": 1, "b": None, "c": "ä&"}) == {"serverTime": server.now}
    assert server.requests[-1].params == {"a": "1", "c": "ä&"}
    assert clock.slept == []


@pytest.mark.parametrize("kind", ["dropped", "truncated", "cut", "html", "500", "502", "503", "408", "429", "418"])
def test_what_may_pass_is_tried_again(server: FakeExchange, clock: StillClock, kind: str) -> None:
    server.fail(kind, 3)
    assert client_of(server, clock).get(TIME) == {"serverTime": server.now}
    assert len(server.requests) == 4
    for number, slept in enumerate(clock.slept):
        assert 0.5 * 2**number <= slept <= 2**number  # twice as long each time, with jitter


def test_the_waits_stop_growing_after_a_minute() -> None:
    assert all(30 <= Patience().pause(attempt) <= 60 for attempt in (7, 8, 20))


def test_a_server_that_never_recovers_ends_in_an_error_without_the_query(
    server: FakeExchange, clock: StillClock
) -> None:
    server.fail("500", 99)
    with pytest.raises(SourceError) as caught:
        client_of(server, clock).get(TIME, {"apiKey": "hush"})
    message = str(caught.value)
    assert message == f"{server.url[7:]}{TIME}: no usable answer after 8 attempts, the last: HTTP 500"
    assert caught.value.__cause__ is None
    assert len(server.requests) == 8


def test_a_server_that_was_never_reached_is_given_up_sooner(clock: StillClock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{taken.getsockname()[1]}", accept, advice=ADVICE, patience=clock.patience())
        with pytest.raises(
            SourceError, match=r"after 4 attempts.*refused.*is the network up\? Else set KRONOS_SOME_URL"
        ):
            client.get(TIME)


def test_a_slow_answer_is_a_failed_attempt(server: FakeExchange, clock: StillClock) -> None:
    server.fail("slow", seconds=5)
    patient = clock.patience(timeout=0.1)
    assert client_of(server, clock, patience=patient).get(TIME) == {"serverTime": server.now}
    assert len(server.requests) == 2


def test_an_answer_that_trickles_in_is_given_up(server: FakeExchange, clock: StillClock) -> None:
    clocked = itertools.count(0, 100)  # every look at the clock finds it 100 s later
    patience = clock.patience(clock=lambda: next(clocked), timeout=10, attempts=2)
    with pytest.raises(SourceError, match="the answer takes too long"):
        client_of(server, clock, patience=patience).get(TIME)


@pytest.mark.parametrize("kind", ["429", "418", "503"])
def test_the_wait_that_a_server_asks_for_is_kept(server: FakeExchange, clock: StillClock, kind: str) -> None:
    server.fail(kind, 1, headers={"Retry-After": "37"})
    server.fail(kind, 1, headers={"Retry-After": formatdate(server.now / 1000 + 90, usegmt=True)})
    server.fail(kind, 1, headers={"Retry-After": formatdate(server.now / 1000 - 90, usegmt=True)})
    server.fail(kind, 1, headers={"Retry-After": "soon"})
    client_of(server, clock).get(TIME)
    assert clock.slept[:2] == [37.0, 90.0]  # a date is one of the server's clock, not of ours
    assert 2 <= clock.slept[2] <= 4 <= clock.slept[3] <= 8  # and a moment ago is no reason to hammer


def test_a_ban_is_not_waited_out(server: FakeExchange, clock: StillClock) -> None:
    server.fail("418", 1, headers={"Retry-After": "7200"})
    with pytest.raises(SourceError, match=r"HTTP 418, too many requests; the server asks to wait 7200 s, longer than"):
        client_of(server, clock).get(TIME)
    assert clock.slept == []
    assert len(server.requests) == 1


def test_only_long_waits_are_warned_of(
    server: FakeExchange, clock: StillClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kronos.data")
    server.fail("429", 1, headers={"Retry-After": "2"})
    server.fail("429", 1, headers={"Retry-After": "45"})
    client_of(server, clock).get(TIME)
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.INFO, logging.WARNING]
    assert "HTTP 429, too many requests; waiting 45.0 s before attempt 3 of 8" in caplog.text


def test_requests_keep_their_distance(server: FakeExchange, clock: StillClock) -> None:
    client = client_of(server, clock, interval=0.5)
    for _ in range(4):
        client.get(TIME)
    assert clock.slept == [0.5, 0.5, 0.5]
    clock.now += 10
    client.get(TIME)
    assert len(clock.slept) == 3


def test_a_used_up_budget_waits_for_the_servers_next_minute(server: FakeExchange, clock: StillClock) -> None:
    server.now = 1_700_000_000_000 // 60_000 * 60_000 + 42_000
    clock.server = server
    client = client_of(server, clock, budget=Budget("X-MBX-USED-WEIGHT-1M", 5))
    for _ in range(5):
        client.get(TIME)
    assert clock.slept == []
    client.get(TIME)
    assert clock.slept == [19.0]
    assert server.used == 1  # a new minute


@pytest.mark.parametrize("status", ["301", "302", "307"])
def test_redirects_are_not_followed(server: FakeExchange, clock: StillClock, status: str) -> None:
    server.fail(status, 1, headers={"Location": f"{server.url}/elsewhere"})
    with pytest.raises(
        SourceError, match=f"HTTP {status}: the server sends elsewhere, which is not followed; {ADVICE}"
    ):
        client_of(server, clock).get(TIME, sign=lambda target: {"X-Secret": "hush"})
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "words"), [("403", "network or region"), ("451", "network or region"), ("404", "refuses")]
)
def test_a_refusal_is_final_and_says_what_to_do(
    server: FakeExchange, clock: StillClock, status: str, words: str
) -> None:
    server.fail(status)
    with pytest.raises(SourceError, match=f"{TIME}: HTTP {status}: .*{words}.*{ADVICE}"):
        client_of(server, clock).get(TIME)
    assert len(server.requests) == 1


def test_the_judge_decides_what_is_tried_again(server: FakeExchange, clock: StillClock) -> None:
    seen = []

    def judge(status: int, body: Any) -> None:
        seen.append((status, body["msg"] if status > 200 else "fine"))
        if len(seen) == 1:
            raise BusyError("later", 3.0)
        if len(seen) == 2:
            raise RefusedError("never", -7)

    server.fail("400")
    with pytest.raises(RefusedError, match="never") as caught:
        client_of(server, clock, judge).get(TIME)
    assert caught.value.code == -7
    assert seen == [(400, "trouble 400"), (200, "fine")]
    assert clock.slept == [3.0]


def test_a_certificate_that_is_not_trusted_is_final(
    server: FakeExchange, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(server, clock)

    def refuse(*args: object, **own: object) -> None:
        raise URLError(ssl.SSLCertVerificationError(1, "self-signed certificate"))

    monkeypatch.setattr(client._opener, "open", refuse)
    with pytest.raises(SourceError, match=r"certificate is not trusted .*self-signed"):
        client.get(TIME)


def test_the_environments_proxy_is_used(
    server: FakeExchange, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("http_proxy", server.url)
    client = Client("http://exchange.invalid", accept, advice=ADVICE, patience=clock.patience())
    assert client.get(TIME) == {"serverTime": server.now}
    assert server.requests[0].headers["host"] == "exchange.invalid"


def test_the_log_holds_the_query_of_open_requests_only(
    server: FakeExchange, clock: StillClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kronos.data")
    client = client_of(server, clock)
    client.get(TIME, {"symbol": "BTCUSDT"})
    client.get(TIME, {"account": "hush"}, lambda target: {"X-Secret": "hush"})
    first, second = (record.getMessage() for record in caplog.records)
    assert f"GET {server.url[7:]}{TIME}?symbol=BTCUSDT: HTTP 200," in first
    assert f"GET {server.url[7:]}{TIME}: HTTP 200," in second
    assert "hush" not in caplog.text


def test_every_attempt_is_signed_anew(server: FakeExchange, clock: StillClock) -> None:
    count = itertools.count()
    server.fail("500", 2)
    client_of(server, clock).get(TIME, {"a": "b c"}, lambda target: {"X-Sign": f"{target} {next(count)}"})
    assert [one.headers["x-sign"] for one in server.requests] == [f"{TIME}?a=b+c {n}" for n in range(3)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.binance.com",
        "file:///etc/passwd",
        "ftp://host",
        "http://",
        "http://h:port",
        "http://h:0",
        "http://bücher.example",
    ],
)
def test_a_base_url_must_be_a_web_address(text: str) -> None:
    with pytest.raises(ConfigError, match="no web address"):
        checked_url(text)


@pytest.mark.parametrize(
    "text", ["https://me:hush@host", "https://host/?key=hush", "https://host/#hush", "http://h/a hush"]
)
def test_a_base_url_holds_no_more_than_an_address_and_its_error_repeats_nothing(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_url(text)
    assert "hush" not in str(caught.value)


def test_a_base_url_may_have_a_path() -> None:
    assert checked_url(" https://gate.example.com:8443/binance/ ") == "https://gate.example.com:8443/binance"
