"""Where is forecast from: spread evenly, inside the dates, always the same, and nothing is passed over in silence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contenders import bars, put, walk
from kronos.data import Key, Lake, Origin, load_series, pack
from kronos.errors import ConfigError
from kronos.evaluate.benchmark.finding import choose_rows, find_origins
from kronos.evaluate.benchmark.origins import regimes
from kronos.evaluate.benchmark.task import Task


def task(place: Path, **settings: object) -> Task:
    return Task.of({"data": [str(place)], "lookback": 110, "horizon": 24, **settings})


@settings(max_examples=50)
@given(
    low=st.integers(0, 1000),
    total=st.integers(1, 2000),
    count=st.integers(1, 60),
    horizon=st.integers(1, 50),
    name=st.text(max_size=5),
)
def test_rows_are_spread_and_share_no_predicted_bar_where_there_is_room(
    low: int, total: int, count: int, horizon: int, name: str
) -> None:
    rows = choose_rows(name, low, low + total, count, horizon)
    assert len(rows) == min(count, total)
    assert low <= rows[0]
    assert rows[-1] < low + total
    apart = np.diff(rows)
    assert (apart > 0).all()
    if (count - 1) * horizon < total:
        assert (apart >= horizon).all()
    if len(apart):
        assert apart.max() - apart.min() <= 1 or (apart >= horizon).all()
        assert apart.max() <= -(-total // len(rows)) + horizon


def test_series_begin_at_different_shares_of_their_history() -> None:
    firsts = np.array([choose_rows(f"m/S{i}", 0, 1000, 1, 24)[0] for i in range(300)])
    counts, _ = np.histogram(firsts, bins=5, range=(0, 1000))
    assert counts.min() > 30


def test_a_window_gives_what_was_known_and_what_came(tmp_path: Path) -> None:
    frame = walk(600, 1)
    place = put(tmp_path, crypto__AA_1h=frame)
    found = find_origins(task(place, origins=5))
    (series,) = load_series(place)
    assert (series.name, series.market, series.symbol) == ("crypto/AA_1h", "crypto", "AA")
    for number, one in enumerate(found.origins):
        at = frame.index.get_loc(pd.Timestamp(one.time))
        assert isinstance(at, int)
        assert (one.number, one.series, one.market, one.asset, one.timeframe) == (
            number,
            series.name,
            "crypto",
            "aa",
            "1h",
        )
        pd.testing.assert_frame_equal(one.past(), frame.iloc[at - 110 : at], check_freq=False)
        np.testing.assert_array_equal(one.truth(), frame.iloc[at : at + 24].to_numpy())
        assert one.future_times().equals(frame.index[at : at + 24])
        assert pd.Timestamp(one.last_known) == frame.index[at - 1]
        early = one.earlier(24)
        if at - 24 - 110 < 0:
            assert early is None
        else:
            pd.testing.assert_frame_equal(early, frame.iloc[at - 24 - 110 : at - 24], check_freq=False)
            assert one.earlier_times(24).equals(frame.index[at - 24 : at])
        seen = one.past()
        seen["close"] = 0.0
        assert one.truth().base is None
        assert one.past()["close"].iloc[0] > 0, "a copy each time"


def test_dates_bound_the_predicted_bars(tmp_path: Path) -> None:
    place = put(tmp_path, a=walk(1200, 1), b=walk(1300, 2))
    since, until = pd.Timestamp("2024-02-01"), pd.Timestamp("2024-02-20 07:00")
    found = find_origins(task(place, origins=30, since=str(since), until=str(until)))
    assert len(found.origins) == 60
    for one in found.origins:
        assert since <= one.future_times()[0]
        assert one.future_times()[-1] < until
    later = find_origins(task(place, origins=3, since=str(since)), after="2024-02-10")
    assert all(one.time >= np.datetime64("2024-02-11") for one in later.origins)
    again = find_origins(task(place, origins=3, since=str(since)), after="2024-02-10")
    assert later.table().equals(again.table())


def test_a_series_more_changes_no_other_s_origins(tmp_path: Path) -> None:
    place = put(tmp_path, a=walk(900, 1), c=walk(900, 2))
    before = find_origins(task(place)).table().drop(columns=["number", "regime"])
    put(tmp_path, b=walk(900, 3))
    after = find_origins(task(place)).table().drop(columns=["number", "regime"])
    assert after[after["series"] != "b"].reset_index(drop=True).equals(before)


def test_what_gives_no_origin_is_told_by_name(tmp_path: Path) -> None:
    two = walk(900, 5)
    two.iloc[50:850:17, :4] *= 1.5  # another contract's prices now and then
    still = bars(np.r_[np.random.default_rng(6).normal(0, 0.01, 200), np.zeros(700)])
    put(
        tmp_path,
        m__good_1h=walk(900, 1),
        m__short_1h=walk(130, 2),
        m__two_1h=two,
        m__still_1h=still,
        n__old_1h=walk(300, 3),
    )
    put(tmp_path, m__unwanted_1h=walk(900, 4))
    (tmp_path / "m" / "bad_1h.csv").write_text(
        "timestamp,open,high,low,close\n2024-01-01,1,2,3,4\n2024-01-02,1,2,3,x\n"
    )
    found = find_origins(task(tmp_path, origins=3, exclude=["unwanted"]), after="2024-01-12")
    assert {one.series for one in found.origins} - {"m/still_1h"} == {"m/good_1h"}
    told = found.left_out()
    assert told["excluded"] == ["m/unwanted_1h"]
    assert told["short"] == ["m/short_1h"]
    assert told["mixed"] == ["m/two_1h"]
    assert told["before_cutoff"] == ["n/old_1h"]
    assert told["still"] >= 2
    assert len(told["refused"]) == 1
    assert told["refused"][0].startswith("m/bad_1h: ")
    assert "bad_1h.csv" in told["refused"][0]


def test_a_look_into_the_bars_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, known = put(tmp_path, a=walk(300, 1)), dict[str, bool]()
    find_origins(task(place), inspected=known)
    assert list(known.values()) == [False]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("looked twice")

    monkeypatch.setattr("kronos.evaluate.benchmark.finding.inspect", never)
    find_origins(task(place), inspected=known)
    put(tmp_path, a=walk(300, 2))
    with pytest.raises(AssertionError, match="looked twice"):
        find_origins(task(place), inspected=known)


def test_choices(tmp_path: Path) -> None:
    put(tmp_path, crypto__BTC_1h=walk(300, 1), us__AAPL_1h=walk(300, 2))
    put(tmp_path, us__AAPL_1d=walk(300, 3, freq="1D"), us__MSFT_1d=walk(300, 4, freq="1D"))

    def names(**settings: object) -> set[str]:
        return {one.series for one in find_origins(task(tmp_path, **settings)).origins}

    assert names(symbols=["aapl"]) == {"us/AAPL_1h", "us/AAPL_1d"}
    assert names(timeframes=["60m"]) == {"us/AAPL_1h", "crypto/BTC_1h"}
    assert names(markets=["us"], timeframes=["1d"]) == {"us/AAPL_1d", "us/MSFT_1d"}
    spread = find_origins(task(tmp_path, most=5)).origins
    assert len(spread) == 5
    assert len({one.series for one in spread}) == 4
    assert [one.number for one in spread] == list(range(5))
    with pytest.raises(ConfigError, match="no series is of the symbols, markets and timeframes"):
        names(symbols=["nobody"])
    with pytest.raises(ConfigError, match=r"no window of 5000 \+ 24 bars .*\(left out: short 4\)"):
        names(lookback=5000)


def test_lakes_and_packs_and_several_places(tmp_path: Path) -> None:
    frame = walk(300, 1)
    lake = Lake.open(tmp_path / "lake", create=True)
    lake.write(Key("binance", "BTC/USDT", "1h"), frame, Origin("import", "x"), market="crypto")
    put(tmp_path / "files", a=frame)
    pack(load_series(tmp_path / "files"), tmp_path / "pack")
    put(tmp_path / "more", a=walk(300, 2))
    tables = []
    for name in ("lake", "files", "pack"):
        (one,) = find_origins(
            task(tmp_path / name, origins=1, since="2024-01-12 11:00", until="2024-01-13 11:00")
        ).origins
        tables.append(one)
    assert [(one.series, one.market) for one in tables] == [
        ("binance BTC/USDT 1h", "crypto"), ("a", "unnamed"), ("a", "unnamed"),
    ]  # fmt: skip
    assert len({one.digest for one in tables}) == 1, "the same bars wherever they lie"
    both = Task.of({"data": [str(tmp_path / "files"), str(tmp_path / "more")], "lookback": 110, "origins": 1})
    assert [one.series for one in find_origins(both).origins] == ["a", "more/a"]
    with pytest.raises(ConfigError, match="there are no bars to judge on"):
        find_origins(Task())


def test_a_damaged_series_of_a_lake_does_not_stop_the_others(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", create=True)
    for seed, name in enumerate(("A", "B")):
        lake.write(Key("x", name, "1h"), walk(300, seed), Origin("import", "x"))
    part = next((tmp_path / "lake").rglob("*B*/**/parts/*"))
    part.write_bytes(b"no bars")
    found = find_origins(task(tmp_path / "lake", origins=1))
    assert [one.series for one in found.origins] == ["x A 1h"]
    assert list(found.refused) == ["x B 1h"]


def test_a_third_of_the_origins_is_calm_and_a_third_wild() -> None:
    ratios = np.random.default_rng(0).lognormal(0, 0.4, 300)
    found = np.array(regimes(ratios))
    assert {name: int((found == name).sum()) for name in ("calm", "usual", "wild")} == {
        "calm": 100,
        "usual": 100,
        "wild": 100,
    }
    assert ratios[found == "calm"].max() < ratios[found == "usual"].min() < ratios[found == "wild"].min()
    assert regimes(np.array([1.0])) == ["calm"]
