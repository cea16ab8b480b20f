"""Mending: every change is recorded, nothing is invented, a second time changes nothing; and cutting into segments."""

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars import COLUMNS, canonical
from kronos.bars.quality.cleaning import Segment, clean, segments
from kronos.bars.quality.gaps import gaps
from kronos.bars.quality.inspection import inspect
from kronos.bars.quality.limits import Limits
from kronos.errors import BarsError, ConfigError
from reference import bars_frame

PRICES = list(COLUMNS[:4])


def frame(rows: int = 300, **how: Any) -> pd.DataFrame:
    return bars_frame(rows, **how)


def test_clean_bars_stay_as_they_are() -> None:
    bars = frame()
    cleaned = clean(bars)
    pd.testing.assert_frame_equal(cleaned.frame, canonical(bars))
    assert cleaned.changes == ()
    assert list(cleaned.changes_frame().columns) == ["time", "column", "old", "new", "reason"]
    assert cleaned.changes_frame().empty


def test_rows_that_are_no_bars_are_dropped_and_recorded() -> None:
    bars = frame()
    bars.iloc[10, 0], bars.iloc[20, 1], bars.iloc[30, 2] = np.nan, np.inf, -1.0
    whole = bars.copy()
    cleaned = clean(bars)
    pd.testing.assert_frame_equal(bars, whole)
    assert list(cleaned.frame.index) == list(bars.index.delete([10, 20, 30]))
    assert [(c.time, c.column, c.reason) for c in cleaned.changes] == [
        (bars.index[10], "row", "dropped: a price is missing"),
        (bars.index[20], "row", "dropped: a price is infinite"),
        (bars.index[30], "row", "dropped: a price is not positive"),
    ]
    assert cleaned.changes[1].old == bars.iloc[20, 3]
    assert cleaned.counts()["dropped: a price is missing"] == 1


def test_disorder_and_repetitions() -> None:
    bars = frame(20)
    later = bars.iloc[[5]] * 1.01
    raw = pd.concat([bars.iloc[10:], bars.iloc[:10], bars.iloc[[3]], later])
    cleaned = clean(raw)
    expected = bars.copy()
    expected.iloc[5] = later.iloc[0]  # the last one wins
    pd.testing.assert_frame_equal(cleaned.frame, canonical(expected), check_freq=False)
    assert [(c.time, c.column, c.reason) for c in cleaned.changes] == [
        (bars.index[0], "order", "sorted: 2 rows were earlier than the row before"),
        (bars.index[3], "row", "dropped: repeats a row"),
        (bars.index[5], "row", "dropped: a later row has the same time"),
    ]
    assert (cleaned.changes[-1].old, cleaned.changes[-1].new) == (bars.iloc[5, 3], later.iloc[0, 3])


def test_of_repeated_rows_the_last_one_that_is_a_bar_is_kept() -> None:
    bars = frame(20)
    broken = bars.iloc[[5]].assign(close=np.nan)
    cleaned = clean(pd.concat([bars, broken]).sort_index(kind="stable"))
    pd.testing.assert_frame_equal(cleaned.frame, canonical(bars), check_freq=False)


def test_highs_and_lows_are_exchanged_and_widened() -> None:
    bars = frame()
    high, low = bars["high"].iloc[10], bars["low"].iloc[10]
    bars.iloc[10, [1, 2]] = low, high
    bars.iloc[20, 1] = bars.iloc[20][["open", "close"]].max() * 0.999
    cleaned = clean(bars)
    assert cleaned.frame.iloc[10][["high", "low"]].tolist() == [high, low]
    assert cleaned.frame["high"].iloc[20] == bars.iloc[20][["open", "close"]].max()
    assert [(c.column, c.old, c.new) for c in cleaned.changes[:2]] == [("high", low, high), ("low", high, low)]
    assert cleaned.changes[2].reason == "raised to the body"


def test_volume_and_amount_complete_each_other_and_what_nobody_knows_is_zero() -> None:
    bars = frame()
    bars.iloc[10, 4], bars.iloc[20, 5], bars.iloc[30, 4:] = np.nan, -5.0, np.nan
    cleaned = clean(bars)
    mean = bars[PRICES].mean(axis=1)
    assert cleaned.frame["volume"].iloc[10] == pytest.approx(bars["amount"].iloc[10] / mean.iloc[10])
    assert cleaned.frame["amount"].iloc[20] == pytest.approx(bars["volume"].iloc[20] * mean.iloc[20])
    assert cleaned.frame.iloc[30, 4:].tolist() == [0.0, 0.0]
    assert cleaned.counts() == {
        "computed from amount": 1,
        "computed from volume": 1,
        "unknown, taken as zero": 2,
    }


def test_a_column_that_the_source_lacks_is_one_change() -> None:
    bars = frame().assign(amount=np.nan)
    (change,) = clean(bars).changes
    assert (change.column, change.reason) == ("amount", "computed from volume: the source has none")
    assert change.time is pd.NaT
    both = clean(frame().assign(amount=np.nan, volume=np.nan))
    assert [c.reason for c in both.changes] == ["taken as zero: the source has none"] * 2
    assert not both.frame[["volume", "amount"]].to_numpy().any()


def test_bad_ticks_are_mended_kept_or_dropped() -> None:
    bars = frame()
    bars.iloc[50, 1] *= 2
    bars.iloc[100, :4] *= 0.1
    mended = clean(bars)
    assert inspect(mended.frame, now=pd.Timestamp("2026-01-01", tz="UTC")).findings == ()
    near = bars.iloc[[49, 51]]["high"].max()
    assert mended.frame["high"].iloc[50] == max(near, bars.iloc[50][["open", "close"]].max())
    assert mended.frame["open"].iloc[100] == bars["close"].iloc[99]
    assert mended.frame["close"].iloc[100] == bars["open"].iloc[101]
    assert {(c.time, c.column) for c in mended.changes if c.reason == "bad tick"} == {
        (bars.index[50], "high"),
        *((bars.index[100], column) for column in PRICES),
    }
    others = np.delete(np.arange(300), [50, 100])
    pd.testing.assert_frame_equal(mended.frame.iloc[others], canonical(bars).iloc[others], check_freq=False)
    pd.testing.assert_frame_equal(clean(bars, bad_ticks="keep").frame, canonical(bars))
    dropped = clean(bars, bad_ticks="drop")
    assert list(dropped.frame.index) == list(bars.index.delete([50, 100]))
    assert dropped.counts() == {"dropped: a bad tick": 2}


def test_missing_bars_stay_missing() -> None:
    bars = frame().drop(frame().index[[40, 41]])
    cleaned = clean(bars)
    assert list(cleaned.frame.index) == list(bars.index)
    assert cleaned.changes == ()


def test_what_cannot_be_mended_is_refused() -> None:
    with pytest.raises(BarsError, match=r"x\.csv: no row is left"):
        clean(frame(5).assign(close=np.nan), name="x.csv")
    with pytest.raises(ConfigError, match="bad_ticks"):
        clean(frame(), bad_ticks="hide")  # type: ignore[arg-type]
    bars = frame()
    index = bars.index[:200].append(pd.date_range(bars.index[200], periods=100, freq="5min"))
    with pytest.raises(BarsError, match="resample"):
        clean(bars.set_axis(index))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_few_rows(rows: int) -> None:
    assert len(clean(frame(rows), timeframe="1h").frame) == rows
    assert len(clean(frame(rows)).frame) == rows


@st.composite
def damaged(draw: st.DrawFn) -> pd.DataFrame:
    """Rows enough for bad ticks, damaged in many ways at once."""
    bars = bars_frame(120, seed=draw(st.integers(0, 999)), freq=draw(st.sampled_from(["5min", "1h", "1D"])))
    values = bars.to_numpy().copy()
    if draw(st.booleans()):
        values[:, draw(st.integers(4, 5))] = np.nan
    places = st.tuples(st.integers(0, 119), st.integers(0, 5))
    for row, column in draw(st.lists(places, max_size=6)):
        values[row, column] = draw(st.sampled_from([np.nan, np.inf, -1.0, 0.0]))
    for row, column in draw(st.lists(places, max_size=12)):
        values[row, column] *= draw(st.sampled_from([0.01, 0.3, 0.8, 1.2, 3.0, 50.0]))
    for row in draw(st.lists(st.integers(0, 119), max_size=8)):
        values[row, :4] *= draw(st.sampled_from([0.1, 0.7, 1.3, 9.0]))
    order = list(range(120))
    for row in draw(st.lists(st.integers(0, 119), max_size=4)):
        order.append(row)
    return pd.DataFrame(values[order], index=bars.index[order], columns=list(COLUMNS))


@given(bars=damaged(), bad_ticks=st.sampled_from(["mend", "keep", "drop"]))
@settings(max_examples=80)
def test_cleaning_twice_changes_nothing_and_every_change_is_on_record(bars: pd.DataFrame, bad_ticks: Any) -> None:
    once = clean(bars, bad_ticks=bad_ticks)
    pd.testing.assert_frame_equal(once.frame, canonical(once.frame))
    twice = clean(once.frame, bad_ticks=bad_ticks)
    assert twice.changes == ()
    pd.testing.assert_frame_equal(once.frame, twice.frame)
    # whatever differs from the row that was kept is on record, and so is every row that is gone
    last = bars[np.isfinite(bars[PRICES]).all(axis=1) & (bars[PRICES] > 0).all(axis=1)]
    last = last[~last.index.duplicated(keep="last")].sort_index()
    record = {(c.time, c.column) for c in once.changes}
    gone = last.index.difference(once.frame.index)
    assert all((time, "row") in record for time in gone)
    assert once.frame.index.isin(last.index).all()
    before, after = last.loc[once.frame.index], once.frame
    for column in PRICES:
        for time in after.index[before[column].to_numpy() != after[column].to_numpy()]:
            assert (time, column) in record
    for column in ("volume", "amount"):
        known = np.isfinite(before[column]) & (before[column] >= 0)
        assert (before[column][known] == after[column][known]).all()
        assert before[column].isna().all() or all((time, column) in record for time in after.index[~known])
    rows = sum(c.column == "row" for c in once.changes)
    assert len(bars) - rows == len(once.frame)
    prices = set(before[PRICES].to_numpy().ravel().tolist())
    assert set(after[PRICES].to_numpy().ravel().tolist()) <= prices  # nothing is invented


# --- segments ---------------------------------------------------------------------------------------------------------


def slow_segments(bars: pd.DataFrame, limits: Limits) -> list[tuple[int, int]]:
    """The same rules, row by row."""
    rows = bars[list(COLUMNS)].to_numpy()
    times = list(bars.index)
    holes = {gap.before for gap in gaps(bars.index) if not gap.holiday and gap.missing >= limits.gap}
    n = len(rows)

    def sound(i: int) -> bool:
        return all(np.isfinite(p) and p > 0 for p in rows[i][:4])

    def flat(i: int) -> bool:
        return len(set(rows[i][:4].tolist())) == 1

    out = [not sound(i) for i in range(n)]
    traded = any(v > 0 for v in rows[:, 4])
    i = 0
    while traded and i < n:  # runs without volume
        j = i
        while j < n and rows[j][4] == 0:
            j += 1
        if j - i >= limits.illiquid:
            out[i:j] = [True] * (j - i)
        i = max(j, i + 1)
    i = 0
    while i < n:  # runs of one price
        j = i
        while j < n and flat(j) and rows[j][3] == rows[i][3]:
            j += 1
        if j - i >= limits.stagnant:
            out[i:j] = [True] * (j - i)
        i = max(j, i + 1)
    found, start = [], None
    for i in range(n + 1):
        broken = i == n or out[i]
        if not broken and start is not None:
            steps = [abs(np.log(rows[i][c] / rows[i - 1][3])) for c in (0, 3)]
            broken = times[i] in holes or max(steps) > np.log(1 + limits.jump)
        if broken and start is not None:
            found += [(start, i)] if i - start >= limits.rows else []
            start = None
        if i < n and not out[i] and start is None:
            start = i
    return found


@st.composite
def eventful(draw: st.DrawFn) -> pd.DataFrame:
    bars = bars_frame(150, seed=draw(st.integers(0, 999)), freq="1h")
    values = bars.to_numpy().copy()
    for row in draw(st.lists(st.integers(1, 148), max_size=4)):
        kind = draw(st.sampled_from(["price", "volume", "still", "jump", "open", "wick"]))
        length = draw(st.integers(1, 5))
        if kind == "price":
            values[row, draw(st.integers(0, 3))] = draw(st.sampled_from([np.nan, np.inf, 0.0, -2.0]))
        elif kind == "volume":
            values[row : row + length, 4:] = 0.0
        elif kind == "still":
            values[row : row + length, :4] = values[row, 3]
        elif kind == "jump":
            values[row:, :4] *= draw(st.sampled_from([0.5, 1.3, 1.1]))
        elif kind == "open":
            values[row, 0] *= 1.4
        else:
            values[row, 1] *= 2.0
    keep = np.setdiff1d(np.arange(150), draw(st.lists(st.integers(1, 148), max_size=4)))
    return pd.DataFrame(values[keep], index=bars.index[keep], columns=list(COLUMNS))


@given(
    bars=eventful(),
    rows=st.sampled_from([1, 5, 20]),
    illiquid=st.integers(1, 3),
    stagnant=st.integers(2, 4),
    gap=st.integers(1, 3),
)
@settings(max_examples=80)
def test_segments_are_those_of_a_walk_row_by_row(
    bars: pd.DataFrame, rows: int, illiquid: int, stagnant: int, gap: int
) -> None:
    limits = Limits(rows=rows, jump=0.2, illiquid=illiquid, stagnant=stagnant, gap=gap)
    found = segments(bars, timeframe="1h", limits=limits)
    assert [(part.start, part.stop) for part in found] == slow_segments(bars, limits)


def test_segments_say_why_they_end() -> None:
    bars = frame(1000)
    bars.iloc[100, 3] = np.nan
    bars.iloc[200, 4:] = 0.0
    bars.iloc[300:304, :4] = bars.iloc[300, 3]
    bars.iloc[400:, :4] *= 1.5
    bars = bars.drop(bars.index[500])
    found = segments(bars, limits=Limits(rows=50))
    assert found == [
        Segment(0, 100, "missing price"),
        Segment(101, 200, "no volume"),
        Segment(201, 300, "stagnant"),
        Segment(304, 400, "jump"),
        Segment(400, 500, "gap"),
        Segment(500, 999, "end"),
    ]


def test_segments_take_the_limits_of_the_timeframe() -> None:
    assert segments(frame(255)) == []
    assert segments(frame(256)) == [Segment(0, 256, "end")]
    assert segments(frame(128, freq="1D")) == [Segment(0, 128, "end")]
    assert segments(frame(1)) == []


def test_a_series_without_volume_is_not_cut_for_that() -> None:
    assert len(segments(frame(300).assign(volume=0.0, amount=0.0))) == 1
    assert len(segments(frame(300).assign(volume=np.nan, amount=np.nan))) == 1


def test_holidays_do_not_cut_and_lost_bars_do() -> None:
    days = pd.bdate_range("2023-01-02", periods=400)
    bars = frame(400, freq="1D").set_axis(days).drop(pd.DatetimeIndex(["2023-07-04"]))
    assert len(segments(bars)) == 1
    lost = bars.drop(days[200:212])
    assert [part.ends for part in segments(lost)] == ["gap", "end"]


def test_segments_want_order() -> None:
    with pytest.raises(BarsError, match="clean the bars first"):
        segments(frame().iloc[::-1])


# --- the record -------------------------------------------------------------------------------------------------------


@given(bars=damaged(), zone=st.sampled_from([None, "UTC", "Asia/Shanghai"]))
@settings(max_examples=30)
def test_the_record_is_a_sequence_of_changes_and_a_table_of_the_same(bars: pd.DataFrame, zone: str | None) -> None:
    cleaned = clean(bars.tz_localize(zone))
    changes = list(cleaned.changes)
    assert len(cleaned.changes) == len(changes) == sum(cleaned.counts().values())
    shown = [repr(change) for change in changes]  # some values are NaN, which equals nothing
    assert [repr(cleaned.changes[row]) for row in range(-len(changes), 0)] == shown
    assert [repr(change) for change in cleaned.changes[3::-2]] == shown[3::-2]
    assert list(cleaned.counts()) == list(dict.fromkeys(change.reason for change in changes))
    with pytest.raises(IndexError):
        cleaned.changes[len(changes)]
    table = cleaned.changes_frame()
    assert table["reason"].tolist() == [change.reason for change in changes]
    assert table["column"].tolist() == [change.column for change in changes]
    np.testing.assert_array_equal(table[["old", "new"]], np.array([change[2:4] for change in changes]).reshape(-1, 2))
    if changes:
        times = pd.DatetimeIndex([change.time for change in changes], dtype=table["time"].dtype)
        assert pd.DatetimeIndex(table["time"]).equals(times)
        assert str(pd.DatetimeIndex(table["time"]).tz) == str(zone)


def test_the_record_of_many_changes_takes_little_memory() -> None:
    bars = bars_frame(100_000, freq="1min")
    bars.iloc[1:, 4] = np.nan
    tracemalloc.start()
    try:
        cleaned = clean(bars, bad_ticks="keep")
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(cleaned.changes) == 99_999
    assert held < 16e6  # the frame takes 6 of them
    assert cleaned.counts() == {"computed from amount": 99_999}
    assert cleaned.changes[-1].time == bars.index[-1]
