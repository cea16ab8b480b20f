"""Bars that should be there: against slow counting, over clock changes, changed sessions, holidays, and real files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars.quality.gaps import Gap, find_gaps, gaps
from kronos.bars.timeframe import Timeframe

NEW_YORK = ("America/New_York", ("09:30", "16:00"))
SHANGHAI = ("Asia/Shanghai", ("09:30", "11:30"), ("13:00", "15:00"))


def sessions(first: str, last: str, freq: str, market, closed=()) -> pd.DatetimeIndex:  # type: ignore[no-untyped-def]
    """UTC stamps, naive, of a market's bars on all its weekdays but the `closed` ones."""
    zone, *parts = market
    days = pd.bdate_range(first, last)
    clock = [pd.date_range(f"1970-01-01 {a}", f"1970-01-01 {b}", freq=freq, inclusive="left") for a, b in parts]
    offsets = np.concatenate([part.as_unit("ns").asi8 for part in clock])
    open_days = days[~days.isin(pd.DatetimeIndex(closed))].as_unit("ns").asi8
    walls = pd.DatetimeIndex((open_days[:, None] + offsets).ravel().astype("datetime64[ns]"))
    return walls.tz_localize(zone).tz_convert("UTC").tz_localize(None)


def slow_holes(whole: pd.DatetimeIndex, kept: pd.DatetimeIndex) -> list[tuple[pd.Timestamp, pd.Timestamp, int]]:
    """Walk through all bars that ever were and note each run that was taken out."""
    found, before, missing, there = [], -1, 0, set(kept.asi8.tolist())
    for row, stamp in enumerate(whole.asi8.tolist()):
        if stamp not in there:
            missing += 1
            continue
        if before >= 0 and missing:
            found.append((whole[before], whole[row], missing))
        before, missing = row, 0
    return found


def as_tuples(found: list[Gap]) -> list[tuple[pd.Timestamp, pd.Timestamp, int]]:
    return [(gap.after, gap.before, gap.missing) for gap in found]


def without(times: pd.DatetimeIndex, rows) -> pd.DatetimeIndex:  # type: ignore[no-untyped-def]
    return times.delete([row for row in rows if 0 < row < len(times) - 1])


@given(
    rows=st.lists(st.integers(1, 2998), max_size=60),
    freq=st.sampled_from(["1min", "5min", "1h", "4h", "1D"]),
    zone=st.sampled_from([None, "UTC", "America/New_York"]),
)
@settings(max_examples=25)
def test_round_the_clock_every_missing_bar_is_counted(rows: list[int], freq: str, zone: str | None) -> None:
    whole = pd.date_range("2023-01-10", periods=3000, freq=freq, tz=zone)
    kept = without(whole, set(rows))
    found = gaps(kept)
    assert as_tuples(found) == slow_holes(whole, kept)
    assert not any(gap.holiday for gap in found)


def test_an_outage_over_a_clock_change_is_counted_in_real_time() -> None:
    whole = pd.date_range("2024-03-01", periods=1000, freq="1h", tz="America/New_York")
    kept = whole[(whole < "2024-03-09") | (whole >= "2024-03-12")]
    assert as_tuples(gaps(kept)) == slow_holes(whole, kept)
    assert gaps(kept)[0].missing == 71


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York", "Europe/Berlin"])
def test_new_york_over_two_years_of_clock_changes_has_no_false_gap(zone: str | None) -> None:
    times = sessions("2022-01-03", "2023-12-29", "15min", NEW_YORK)
    times = times if zone is None else times.tz_localize("UTC").tz_convert(zone)
    assert gaps(times) == []


@given(days=st.sets(st.integers(5, 240), max_size=12), slot=st.integers(3, 20))
@settings(max_examples=15)
def test_bars_lost_within_sessions_are_found_and_nothing_else(days: set[int], slot: int) -> None:
    whole = sessions("2022-06-01", "2023-06-01", "15min", NEW_YORK)
    kept = without(whole, [day * 26 + slot for day in days])
    found = gaps(kept)
    assert as_tuples(found) == slow_holes(whole, kept)
    assert not any(gap.holiday for gap in found)


def test_a_short_history_loses_bars_too() -> None:
    whole = sessions("2024-05-06", "2024-05-17", "15min", NEW_YORK)
    kept = without(whole, [30, 31, 100])
    assert as_tuples(gaps(kept)) == slow_holes(whole, kept)


def test_holidays_half_days_and_outages_are_told_apart() -> None:
    closed = ["2023-07-04", "2023-09-04", "2023-11-23"]
    times = sessions("2023-03-01", "2024-02-01", "15min", NEW_YORK, closed)
    half = (times >= "2023-11-24 18:00") & (times < "2023-11-25")
    outage = (times >= "2023-08-08 15:00") & (times < "2023-08-08 17:00")
    found = gaps(times[~half & ~outage])
    assert [gap.missing for gap in found if gap.holiday] == [26, 26, 26, 12]
    assert as_tuples([gap for gap in found if not gap.holiday]) == [
        (pd.Timestamp("2023-08-08 14:45"), pd.Timestamp("2023-08-08 17:00"), 8)
    ]


def test_the_long_chinese_holidays_are_holidays_and_a_suspension_is_a_gap() -> None:
    spring, golden = pd.bdate_range("2024-02-09", "2024-02-16"), pd.bdate_range("2023-09-29", "2023-10-06")
    halt = pd.bdate_range("2023-11-13", "2023-11-20")
    times = sessions("2023-06-01", "2024-06-01", "15min", SHANGHAI, [*spring, *golden, *halt])
    found = gaps(times)
    assert [(gap.missing // 16, gap.holiday) for gap in found] == [(6, True), (6, False), (6, True)]
    days = times.normalize().unique()
    assert [(gap.missing, gap.holiday) for gap in gaps(days)] == [(6, True), (6, False), (6, True)]


def test_so_many_holidays_cannot_be() -> None:
    days = pd.bdate_range("2022-01-03", periods=500)
    found = gaps(days.delete(range(200, 300, 4)))
    assert len(found) == 25
    assert not any(gap.holiday for gap in found)


def test_sessions_that_change_for_good_are_no_gaps() -> None:
    early = ("America/New_York", ("09:00", "15:00"))
    times = sessions("2020-01-01", "2021-06-30", "30min", early).append(
        sessions("2021-07-01", "2022-12-30", "30min", ("America/New_York", ("09:30", "17:30")))
    )
    assert gaps(times) == []


def test_whole_weeks_without_a_bar_are_counted_by_the_weeks_around() -> None:
    whole = sessions("2022-01-03", "2022-12-30", "1h", ("America/New_York", ("10:00", "16:00")))
    kept = whole[(whole < "2022-05-02") | (whole >= "2022-06-13")]
    (found,) = gaps(kept)
    assert found.missing == len(whole) - len(kept) == 180
    assert not found.holiday


def fx_week(first: str, weeks: int, freq: str) -> pd.DatetimeIndex:
    starts = pd.date_range(f"{first} 17:00", periods=weeks, freq="7D")
    walls = [pd.date_range(start, start + pd.Timedelta("5D"), freq=freq, inclusive="left") for start in starts]
    whole = walls[0].append(walls[1:])
    return whole.tz_localize("America/New_York").tz_convert("UTC").tz_localize(None)


@pytest.mark.parametrize("freq", ["15min", "1h"])
def test_a_week_of_five_days_has_no_gap_at_its_weekends(freq: str) -> None:
    whole = fx_week("2022-01-02", 60, freq)
    assert gaps(whole) == []
    rows = [len(whole) // 3 + 40, len(whole) // 2 + 41]
    kept = without(whole, rows)
    assert as_tuples(gaps(kept)) == slow_holes(whole, kept)
    assert as_tuples(gaps(kept, calendar="24/5")) == slow_holes(whole, kept)


def test_christmas_of_a_week_of_five_days_is_a_likely_holiday() -> None:
    whole = fx_week("2023-10-01", 20, "1h")
    kept = whole[(whole < "2023-12-24") | (whole >= "2023-12-25 23:00")]
    assert [gap.holiday for gap in gaps(kept)] == [True]


def test_a_market_said_to_be_round_the_clock_owes_its_weekends() -> None:
    times = pd.bdate_range("2024-01-01", "2024-01-31")
    assert [gap.missing for gap in gaps(times, calendar="24/7")] == [2, 2, 2, 2]
    assert gaps(times) == []


@pytest.mark.parametrize(("freq", "expected"), [("2D", 1), ("W-FRI", 1), ("MS", 1), ("QS", 1), ("YS", 1)])
def test_bars_of_several_days(freq: str, expected: int) -> None:
    times = pd.date_range("2000-01-01", periods=20, freq=freq)
    assert gaps(times) == []
    assert [gap.missing for gap in gaps(times.delete(9))] == [expected]


def test_disorder_and_repetition_change_nothing() -> None:
    times = pd.date_range("2024-01-01", periods=800, freq="1h").delete([100, 101, 300])
    shuffled = times.append(times[40:90])[np.random.default_rng(0).permutation(len(times) + 50)]
    assert gaps(shuffled) == gaps(times)
    assert [gap.missing for gap in gaps(shuffled)] == [2, 1]
    assert gaps(shuffled.append(pd.DatetimeIndex([pd.NaT]))) == gaps(times)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_bars_have_no_gap(rows: int) -> None:
    assert gaps(pd.date_range("2024-01-01", periods=rows, freq="1h")) == []


def test_a_stamp_of_1970_costs_no_memory() -> None:
    times = pd.DatetimeIndex(["1970-01-01"]).append(pd.date_range("2024-01-01", periods=90_000, freq="1s"))
    (found,) = gaps(times, timeframe="1s")
    assert found.missing == int((times[1] - times[0]).total_seconds()) - 1


def test_half_a_million_bars() -> None:
    whole = sessions("2018-01-01", "2023-01-01", "1min", NEW_YORK)
    assert len(whole) > 500_000
    kept = without(whole, range(1000, 400_000, 4321))
    assert as_tuples(gaps(kept)) == slow_holes(whole, kept)


def test_a_named_exchange_knows_its_holidays_and_half_days() -> None:
    pytest.importorskip("pandas_market_calendars")
    closed = ["2023-09-04", "2023-11-23", "2023-12-25", "2024-01-01", "2024-01-15", "2024-02-19"]
    times = sessions("2023-08-01", "2024-03-01", "15min", NEW_YORK, closed)
    times = times[~((times >= "2023-11-24 18:00") & (times < "2023-11-25"))]
    assert gaps(times, calendar="NYSE") == []
    lost = times[(times < "2023-10-10") | (times >= "2023-10-11")]
    assert [(gap.missing, gap.holiday) for gap in gaps(lost, calendar="nyse")] == [(26, False)]
    aware = lost.tz_localize("UTC").tz_convert("Asia/Tokyo")
    assert [gap.missing for gap in gaps(aware, calendar="NYSE")] == [26]
    days = pd.DatetimeIndex(times.normalize().unique())
    assert gaps(days, calendar="NYSE") == []
    assert [gap.missing for gap in gaps(days.delete([30, 31]), calendar="NYSE")] == [2]


def test_bars_stamped_with_their_ends_follow_the_exchange() -> None:
    pytest.importorskip("pandas_market_calendars")
    golden = pd.bdate_range("2023-09-29", "2023-10-06")
    times = sessions("2023-08-01", "2023-12-29", "15min", SHANGHAI, golden) + pd.Timedelta("15min")
    assert gaps(times, calendar="SSE") == []
    assert gaps(times.tz_localize("UTC").tz_convert("Asia/Shanghai"), calendar="SSE") == []
    assert [gap.missing for gap in gaps(times.delete(600), calendar="SSE")] == [1]


@pytest.mark.parametrize(
    ("file", "most", "holidays"),
    [
        ("train/crypto/BTCUSDT_1h", 24, 0),
        ("train/crypto/BTCUSDT_5m", 0, 0),
        ("eval/us/AAPL_15m", 0, 20),
        ("eval/us/QQQ_1h", 5, 120),
        ("train/cn/000001.SZ_15m", 0, 4),
        ("train/fx/AUDJPY_1h", 6, 40),
        ("eval/index/SPX_5m", 2, 25),
        ("eval/futures/CL1_4h", 2, 90),
        ("eval/us/QQQ_1d", 1, 240),
        ("eval/cn/000001.SZ_1d", 1, 40),
    ],
)
def test_real_files_have_few_gaps(shared: Path, file: str, most: int, holidays: int) -> None:
    path = shared / "market" / f"{file}.parquet"
    if not path.is_file():
        pytest.skip("the market files are not beside this checkout (../shared/market)")
    times = pd.DatetimeIndex(pd.read_parquet(path, columns=["timestamp"])["timestamp"])
    found = find_gaps(times, Timeframe.parse(file.rpartition("_")[2]))
    assert int((~found.holiday).sum()) <= most
    assert int(found.holiday.sum()) <= holidays
