"""Fetching into a lake: whatever stops it and whenever, the same call goes on; nothing is lost, nothing asked twice."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.data.keys import Key
from kronos.data.lake.commits import Origin
from kronos.data.lake.lake import Lake
from kronos.data.sources.fetching import Failed, Fetched, fetch, update
from kronos.data.sources.source import Page
from kronos.errors import ConfigError, KronosWarning, SourceError
from reference import bars_frame

HOUR = pd.Timedelta(hours=1)


class Market:
    """A source over a frame: pages of some rows, oldest first, and a note of everything that was asked and given."""

    market = "crypto"

    def __init__(self, frame: pd.DataFrame, *, page: int = 10, calendar: str | None = "24/7", name: str = "fake"):
        self.frame, self.page, self.calendar, self.name = frame, page, calendar, name
        self.asked: list[tuple[pd.Timestamp | None, pd.Timestamp | None]] = []
        self.given: list[pd.Timestamp] = []
        self.requests = 0
        self.stop: tuple[int, BaseException] | None = None  # at this request, with this

    def symbol(self, text: str) -> str:
        return text.upper()

    def pages(
        self, symbol: str, timeframe: str, start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> Iterator[Page]:
        assert symbol == "BTC/USDT"
        assert all(moment is None or str(moment.tzinfo) == "UTC" for moment in (start, end))
        self.asked.append((start, end))
        at = start
        while True:
            self.requests += 1
            if self.stop is not None and self.requests >= self.stop[0]:
                raise self.stop[1]
            rest = self.frame if at is None else self.frame[self.frame.index >= at]
            rest = rest if end is None else rest[rest.index < end]
            part = rest.iloc[: self.page]
            self.given += list(part.index)
            at = part.index[-1] + pd.Timedelta(1) if len(part) else (end or pd.Timestamp("2024-06-01", tz="UTC"))
            yield Page(part, at)
            if len(part) < self.page:
                return


def hours(rows: int, *, seed: int = 0, start: str = "2024-03-04") -> pd.DataFrame:
    frame = bars_frame(rows, seed=seed, start=start, tz="UTC")
    return frame.set_axis(pd.DatetimeIndex(frame.index).as_unit("ns"))


def sessions(days: int, *, zone: str = "Asia/Shanghai") -> pd.DataFrame:
    """Four hours on every weekday."""
    walls = [
        day + pd.Timedelta(hours=h) for day in pd.bdate_range("2024-03-04", periods=days) for h in (10, 11, 13, 14)
    ]
    index = pd.DatetimeIndex(walls, name="timestamp").tz_localize(zone).as_unit("ns")
    return bars_frame(len(index)).set_axis(index)


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kronos.data.lake.store.os.fsync", lambda file: None)
        yield


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake", create=True)


def get(lake: Lake, source: Market, **how: Any) -> Fetched:
    return fetch(lake, source, "btc/usdt", "1h", **{"flush": 20, **how})


def content(lake: Lake, source: Market) -> pd.DataFrame:
    return lake.read_raw(Key(source.name, "BTC/USDT", "1h"))


def same(now: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(now, wanted, check_freq=False)


# New series and their continuation ------------------------------------------------------------------------------------


def test_a_new_series_arrives_complete(lake: Lake) -> None:
    source = Market(hours(95))
    done = get(lake, source)
    same(content(lake, source), source.frame)
    assert (done.added, done.revised, done.rows, done.up_to_date) == (95, 0, 95, False)
    assert (done.first, done.last) == (source.frame.index[0], source.frame.index[-1])
    assert done.key == Key("fake", "BTC/USDT", "1h")
    assert source.requests == done.pages == 10
    entry = lake.entry(done.key)
    assert (entry.market, entry.calendar, entry.zone) == ("crypto", "24/7", "UTC")
    assert {(origin.kind, origin.place) for origin in entry.origins} == {("fetch", "fake")}


def test_only_the_end_is_asked_again(lake: Lake) -> None:
    whole = hours(120)
    get(lake, Market(whole[:80]))
    source = Market(whole)
    done = get(lake, source)
    same(content(lake, source), whole)
    assert source.asked == [(whole.index[77], None)]  # three bars that are stored, to see whether they were revised
    assert (done.added, done.revised, done.rows) == (40, 0, 120)
    again = get(lake, source)
    assert again.up_to_date
    assert again.rows == 120


def test_the_span_that_is_asked_for(lake: Lake) -> None:
    source = Market(hours(100))
    done = get(lake, source, start="2024-03-05", end="2024-03-06")
    assert (done.first, done.last) == (pd.Timestamp("2024-03-05", tz="UTC"), pd.Timestamp("2024-03-05 23:00", tz="UTC"))
    source.asked.clear()
    assert get(lake, source, start="2024-03-05", end="2024-03-06").up_to_date
    assert source.asked == []  # all of it is there


def test_a_time_without_a_zone_is_on_the_clock_of_the_series(lake: Lake) -> None:
    source = Market(sessions(5), calendar=None)
    source.zone = "Asia/Shanghai"  # type: ignore[attr-defined]
    done = get(lake, source, start="2024-03-05 00:00", end="2024-03-06")
    assert (done.first, done.last) == (source.frame.index[4], source.frame.index[7])
    assert str(done.first.tz) == "Asia/Shanghai"
    more = get(lake, Market(sessions(5), calendar=None), end="2024-03-07")
    assert more.added == 4


def test_revised_bars_are_replaced_and_counted(lake: Lake) -> None:
    whole = hours(60)
    get(lake, Market(whole[:50]))
    revised = whole.copy()
    revised.iloc[[47, 49], 4] *= 2
    revised.iloc[10, 4] *= 2  # too far back to be seen
    source = Market(revised)
    done = get(lake, source)
    assert (done.added, done.revised, done.up_to_date) == (10, 2, False)
    wanted = revised.copy()
    wanted.iloc[10] = whole.iloc[10]
    same(content(lake, source), wanted)


def test_a_short_series_is_not_reached_behind(lake: Lake) -> None:
    whole = hours(60)
    get(lake, Market(whole), bars=1, end=whole.index[50])
    source = Market(whole, page=1)
    source.stop = (2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        get(lake, source)
    assert source.given == [whole.index[49]]
    same(content(lake, source), whole[49:50])


def test_a_revision_alone_is_no_standstill(lake: Lake) -> None:
    whole = hours(30)
    get(lake, Market(whole))
    changed = whole.copy()
    changed.iloc[-1, 3] *= 1.0001
    done = get(lake, Market(changed))
    assert (done.added, done.revised, done.up_to_date) == (0, 1, False)


# What is missing before the first bar ---------------------------------------------------------------------------------


@pytest.mark.parametrize("flush", [7, 20, 1000])
def test_an_earlier_start_fetches_the_head_and_not_the_middle(lake: Lake, flush: int) -> None:
    whole = hours(200)
    get(lake, Market(whole), start=whole.index[120])
    source = Market(whole)
    done = get(lake, source, start=whole.index[0], flush=flush)
    same(content(lake, source), whole)
    assert done.added == 120
    counts = pd.Series(source.given).value_counts()
    assert counts.max() == 1
    assert set(counts.index) == {*whole.index[:120], *whole.index[197:]}


def test_years_before_the_listing_cost_two_questions(lake: Lake) -> None:
    whole = hours(50)
    get(lake, Market(whole))
    source = Market(whole)
    assert get(lake, source, start="2010-01-01").up_to_date
    assert len(source.asked) == 3
    assert source.given == list(whole.index[-3:])


def test_a_long_hole_before_the_listing_is_crossed(lake: Lake) -> None:
    old, new = hours(33, start="2020-01-01"), hours(50)
    get(lake, Market(new))
    source = Market(pd.concat([old, new]))
    done = get(lake, source, start="2019-01-01", flush=10)
    same(content(lake, source), source.frame)
    assert done.added == 33
    assert pd.Series(source.given).value_counts().max() == 1
    assert len(source.asked) < 20


def test_a_series_stays_in_one_piece(lake: Lake) -> None:
    whole = hours(200)
    get(lake, Market(whole), start=whole.index[100], end=whole.index[150])
    source = Market(whole)
    get(lake, source, start=whole.index[10], end=whole.index[20])  # before what is there
    same(content(lake, source), whole[10:150])
    get(lake, source, start=whole.index[190])  # behind it
    same(content(lake, source), whole[10:])


# A number of bars -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bars", [1, 3, 19, 20, 21, 77, 200])
def test_the_last_bars_round_the_clock(lake: Lake, bars: int) -> None:
    source = Market(hours(200))
    end = source.frame.index[-1] + HOUR
    assert get(lake, source, bars=bars, end=end).rows == bars
    same(content(lake, source), source.frame[-bars:])
    assert pd.Series(source.given).value_counts().max() == 1


@pytest.mark.parametrize("bars", [1, 4, 5, 41, 160])
def test_the_last_bars_of_a_market_with_sessions(lake: Lake, bars: int) -> None:
    source = Market(sessions(40), calendar=None)
    sunday = pd.Timestamp("2024-04-28 12:00", tz="Asia/Shanghai")
    assert get(lake, source, bars=bars, end=sunday).rows == bars
    same(content(lake, source), source.frame[-bars:])


def test_the_last_bars_of_a_symbol_that_trades_no_more(lake: Lake) -> None:
    source = Market(hours(200))
    assert get(lake, source, bars=50).rows == 50
    same(content(lake, source), source.frame[-50:])


def test_more_bars_than_there_are(lake: Lake) -> None:
    source = Market(hours(70))
    done = get(lake, source, bars=500, end="2024-03-08")
    assert done.rows == 70
    assert get(lake, source, bars=500, end="2024-03-08").up_to_date


def test_more_bars_of_a_stored_series(lake: Lake) -> None:
    whole = hours(200)
    end = whole.index[-1] + HOUR
    get(lake, Market(whole[:150]), bars=20, end=whole.index[150])
    source = Market(whole)
    done = get(lake, source, bars=100, end=end)
    same(content(lake, source), whole[-100:])
    assert done.added == 80
    assert pd.Series(source.given).value_counts().max() == 1
    assert get(lake, source, bars=30, end=end).up_to_date  # more are there already


def test_the_last_bars_before_an_earlier_end(lake: Lake) -> None:
    whole = hours(200)
    get(lake, Market(whole), start=whole.index[150])
    source = Market(whole)
    get(lake, source, bars=30, end=whole.index[100])
    same(content(lake, source), whole[70:])
    get(lake, source, bars=40, end=whole.index[100])
    same(content(lake, source), whole[60:])


# Whatever stops it ----------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[pd.DataFrame], dict[str, Any]]] = {
    "new": lambda frame: {},
    "from a start": lambda frame: {"start": frame.index[5]},
    "with a head": lambda frame: {"start": frame.index[0] - 40 * HOUR},
    "a number": lambda frame: {"bars": 93, "end": frame.index[-1] + HOUR},
}


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("stored", [None, (50, 80)])
def test_a_stop_at_any_request_loses_nothing(tmp_path: Path, how: str, stored: tuple[int, int] | None) -> None:
    whole = hours(110)
    arguments = CALLS[how](whole)

    def filled(name: str) -> Lake:
        lake = Lake.open(tmp_path / name, create=True)
        if stored is not None:
            get(lake, Market(whole[: stored[1]]), start=whole.index[stored[0]])
        return lake

    calm = Market(whole)
    undisturbed = filled("undisturbed")
    get(undisturbed, calm, **arguments)
    wanted = content(undisturbed, calm)
    assert len(wanted) >= 60
    for at in range(1, calm.requests + 1):
        lake, source = filled(f"at{at}"), Market(whole)
        kind = KeyboardInterrupt if at % 2 else SourceError
        source.stop = (at, kind("no answer"))
        with pytest.raises(kind):
            get(lake, source, **arguments)
        received, before = set(source.given), lake.last(Key("fake", "BTC/USDT", "1h"))
        if before is not None:  # in one piece at any moment: what lies between first and last is there
            now = content(lake, source)
            same(now, whole[now.index[0] : now.index[-1]])
            received -= set(now.index)
        assert len(received) <= 20, "more than a block is lost"
        source.stop = None
        source.given.clear()
        get(lake, source, **arguments)
        same(content(lake, source), wanted)


def test_control_c_keeps_what_came(lake: Lake) -> None:
    source = Market(hours(95))
    source.stop = (5, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        get(lake, source, flush=1000)
    same(content(lake, source), source.frame[:40])
    source.stop, source.asked = None, []
    get(lake, source, flush=1000)
    assert source.asked == [(source.frame.index[37], None)]
    same(content(lake, source), source.frame)


def test_an_error_says_what_is_safe(lake: Lake) -> None:
    source = Market(hours(95))
    source.stop = (5, SourceError("fake: no answer after 6 tries"))
    with pytest.raises(SourceError) as caught:
        get(lake, source)
    text = str(caught.value)
    assert text.startswith("fake: no answer after 6 tries; 40 new bars are safe in the lake (40 in all)")
    assert "the same command goes on" in text
    source.stop = (source.requests + 1, SourceError("no answer"))
    with pytest.raises(SourceError, match=r"^no answer$"):
        get(lake, source)


@settings(max_examples=25)
@given(st.data())
def test_any_history_of_calls_and_stops_leaves_one_whole_piece(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = hours(300).drop(hours(300).index[[7, 8, 90, *range(150, 190)]])
    lake = Lake.open(tmp_path_factory.mktemp("lake"), create=True)
    for rows in sorted(data.draw(st.lists(st.integers(60, len(whole)), min_size=1, max_size=4))):
        source = Market(whole[:rows], page=data.draw(st.integers(1, 40)))
        source.stop = (data.draw(st.integers(1, 40)), SourceError("no answer"))
        moments = st.none() | st.integers(-20, 320).map(lambda at: hours(1).index[0] + at * HOUR)
        how: dict[str, Any] = {"start": data.draw(moments), "end": data.draw(moments)}
        if how["start"] is None and data.draw(st.booleans()):
            how["bars"] = data.draw(st.integers(1, 100))
        try:
            get(lake, source, flush=data.draw(st.integers(1, 60)), **how)
        except (SourceError, ConfigError):
            pass
        except KronosWarning:
            pytest.fail("a source that forgets was not meant here")
        if lake.last(Key("fake", "BTC/USDT", "1h")) is not None:
            now = content(lake, source)
            same(now, whole[now.index[0] : now.index[-1]])


# New adjustments ------------------------------------------------------------------------------------------------------


def adjusted(frame: pd.DataFrame, factor: float) -> pd.DataFrame:
    changed = frame.copy()
    changed[["open", "high", "low", "close"]] *= factor
    return changed


def test_a_split_fetches_the_series_anew(lake: Lake) -> None:
    whole = sessions(30)
    get(lake, Market(whole[:100], calendar=None))
    halved = adjusted(whole, 0.5)
    source = Market(halved, calendar=None)
    done = get(lake, source)
    same(content(lake, source), halved)
    assert (done.added, done.revised) == (20, 100)


def test_a_stop_amid_a_new_adjustment_leaves_the_old_one_whole(lake: Lake) -> None:
    whole = sessions(30)
    get(lake, Market(whole[:100], calendar=None))
    source = Market(adjusted(whole, 0.997), calendar=None)
    source.stop = (5, SourceError("no answer"))
    with pytest.raises(SourceError):
        get(lake, source)
    same(content(lake, source), whole[:100])
    source.stop = None
    get(lake, source)
    same(content(lake, source), source.frame)


def test_a_split_where_the_source_no_longer_reaches_back_is_refused(lake: Lake) -> None:
    whole = sessions(30)
    get(lake, Market(whole[:100], calendar=None))
    source = Market(adjusted(whole, 0.5)[50:], calendar=None)
    with pytest.raises(SourceError, match="re-adjusted all prices"):
        get(lake, source)
    same(content(lake, source), whole[:100])


def test_bars_that_a_source_has_forgotten_are_warned_of(lake: Lake) -> None:
    whole = hours(100)
    get(lake, Market(whole[:30]))
    with pytest.warns(KronosWarning, match="no longer has the last stored bar"):
        get(lake, Market(whole[60:]))


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"start": "2024-03-05", "bars": 3}, "start= and bars="),
        ({"bars": 0}, "bars is 0"),
        ({"flush": 0}, "flush is 0"),
        ({"start": "2024-03-05", "end": "2024-03-05"}, "not before end"),
        ({"start": "yesterday morning"}, "start is 'yesterday morning'"),
        ({"end": "NaT"}, "end is 'NaT'"),
    ],
)
def test_arguments_that_make_no_sense(lake: Lake, how: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        get(lake, Market(hours(10)), **how)


@pytest.mark.parametrize("how", [{}, {"start": "2030-01-01"}, {"end": "2020-01-01"}, {"bars": 5, "end": "2020-01-01"}])
def test_a_new_series_without_bars_is_an_error(lake: Lake, how: dict[str, Any]) -> None:
    source = Market(hours(10) if how else hours(10)[:0])
    with pytest.raises(SourceError, match="fake has no 1h bars of BTC/USDT"):
        get(lake, source, **how)
    assert lake.entries() == []


def test_nothing_is_joined_to_times_without_a_zone(lake: Lake) -> None:
    naive = hours(30)
    lake.write(Key("fake", "BTC/USDT", "1h"), naive.set_axis(naive.index.tz_localize(None)), Origin("import", "x.csv"))
    with pytest.raises(SourceError, match="the stored times have no zone"):
        get(lake, Market(hours(60)))


def test_pages_out_of_order_are_refused(lake: Lake) -> None:
    class Confused(Market):
        def pages(self, *asked: Any) -> Iterator[Page]:
            first, *rest = super().pages(*asked)
            yield from [first, *rest[::-1]]

    with pytest.raises(SourceError, match="sent 2024-"):
        get(lake, Confused(hours(50)), flush=1000)


# Progress -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"start": "2024-03-04"}, {}, {"bars": 80}])
def test_progress_rises_to_the_end(lake: Lake, how: dict[str, Any]) -> None:
    source, told = Market(hours(95)), []
    end = source.frame.index[-1] + HOUR
    get(lake, source, end=end, progress=lambda *said: told.append(said), **how)
    shares = [share for share, _, _ in told]
    assert shares == sorted(shares)
    assert 0 < shares[0] <= 0.2
    assert shares[-1] == pytest.approx(1, abs=0.02)
    assert told[-1][1] == how.get("bars", 95)
    assert told[-1][2] >= source.frame.index[-1]


def test_progress_of_a_head(lake: Lake) -> None:
    whole, told = hours(200), []
    get(lake, Market(whole), start=whole.index[180])
    end = whole.index[-1] + HOUR
    get(lake, Market(whole), start=whole.index[0], end=end, progress=lambda *said: told.append(said))
    assert [round(share, 2) for share, _, _ in told] == [round(1 - at / 180, 2) for at in range(160, -1, -20)]
    assert told[-1][2] == whole.index[0]


# Many series ----------------------------------------------------------------------------------------------------------


def test_one_failing_series_stops_no_other(lake: Lake) -> None:
    whole = hours(60)
    names = ["a", "b", "broken", "z"]
    for name in names:
        get(lake, Market(whole[:50], name=name))
    lake.write(Key("file", "BTC", "1h"), whole, Origin("import", "btc.csv"))
    made: list[str] = []

    def make(name: str) -> Market:
        made.append(name)
        if name == "file":
            raise ConfigError("there is no source 'file'")
        source = Market(whole, name=name)
        if name == "broken":
            source.stop = (1, SourceError("no answer"))
        return source

    told: list[Key] = []
    done = update(lake, lake.entries(), make, progress=lambda key, *_: told.append(key))
    assert [one.key.source for one in done] == ["a", "b", "broken", "file", "z"]
    failed = [one for one in done if isinstance(one, Failed)]
    assert [(one.key.source, str(one.error)) for one in failed] == [
        ("broken", "no answer"),
        ("file", "there is no source 'file'"),
    ]
    assert all(one.added == 10 for one in done if isinstance(one, Fetched))
    assert {key.source for key in told} == {"a", "b", "z"}
    assert sorted(made) == ["a", "b", "broken", "file", "z"]


def test_control_c_stops_an_update(lake: Lake) -> None:
    get(lake, Market(hours(50)))
    source = Market(hours(60))
    source.stop = (1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        update(lake, lake.entries(), lambda name: source)


def test_unknown_amounts_stay_unknown(lake: Lake) -> None:
    source = Market(hours(30).assign(amount=np.nan))
    get(lake, source)
    assert content(lake, source)["amount"].isna().all()


def test_holes_between_imported_bars_are_filled_and_those_of_the_exchange_left(lake: Lake) -> None:
    source = Market(hours(300).drop(hours(300).index[40:45]))
    frame = source.frame
    imported = frame.drop(frame.index[100:180])
    lake.write(Key("fake", "BTC/USDT", "1h"), imported, Origin("import", "archive"), market="crypto", calendar="24/7")
    assert get(lake, source).added == 80
    same(content(lake, source), frame)
    before = len(source.asked)
    assert update(lake, lake.entries(), lambda name: source)[0].added == 0  # type: ignore[union-attr]
    assert len(source.asked) - before <= 2  # an update asks for the end alone
