"""The times of the next bars: learned weeks, weeks round the clock, exchanges, and what real series show."""

import importlib.util
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars.calendar import calendar_of, next_times
from kronos.errors import BarsError, ConfigError, KronosWarning

A_SHARE = ("09:30-11:30", "13:00-15:00")
NEW_YORK = ("09:30-16:00",)


def sessions(days, hours, freq: str, *, ends: bool = False) -> pd.DatetimeIndex:  # type: ignore[no-untyped-def]
    """Bars of `freq` in the `hours` of all `days`, stamped with their starts or ends."""
    stamps: list[pd.Timestamp] = []
    for day in days:
        for part in hours:
            start, end = (day + pd.Timedelta(f"{clock}:00") for clock in part.split("-"))
            whole = pd.date_range(start, end, freq=freq)
            stamps += list(whole[1:] if ends else whole[whole < end])
    return pd.DatetimeIndex(stamps)


def clocks(times: pd.DatetimeIndex) -> list[str]:
    return times.strftime("%a %d %H:%M").tolist()


# --- round the clock --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("freq", ["1min", "5min", "1h", "4h", "1D"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_round_the_clock(freq: str, zone: str | None) -> None:
    whole = pd.date_range("2024-02-20", periods=900, freq=freq, tz=zone).as_unit("ms")
    past, future = whole[:600], whole[600:]
    assert calendar_of(past) == "24/7"
    result = next_times(past, 300)
    assert (result == future).all()
    assert result.dtype == past.dtype
    assert result.name == "timestamp"
    assert (next_times(past, 300, calendar="24/7") == future).all()
    assert (next_times(past[:20], 580, calendar="24/7") == whole[20:600]).all()


def test_missing_bars_do_not_close_a_market() -> None:
    whole = pd.date_range("2024-02-20", periods=2400, freq="15min")
    keep = np.random.default_rng(0).random(2000) < 0.97
    keep[1000:1060] = False
    past = whole[:2000][keep]
    expected = pd.date_range(past[-1], periods=401, freq="15min")[1:]
    assert (next_times(past, 400) == expected).all()


def test_one_bar_and_a_timeframe() -> None:
    one = pd.DatetimeIndex(["2024-02-20 10:00"])
    assert clocks(next_times(one, 2, timeframe="1h")) == ["Tue 20 11:00", "Tue 20 12:00"]
    assert clocks(next_times(one.normalize(), 5, timeframe="1d"))[-2:] == ["Mon 26 00:00", "Tue 27 00:00"]
    with pytest.raises(BarsError, match="timeframe="):
        next_times(one, 2)
    with pytest.raises(BarsError, match="y_timestamp"):
        next_times(one[:0], 2, timeframe="1h")
    with pytest.raises(ConfigError, match="horizon"):
        next_times(one, 0, timeframe="1h")


def test_clock_changes_round_the_clock_and_daily() -> None:
    zone = "Europe/Berlin"
    hourly = pd.date_range("2024-10-20", "2024-10-29", freq="1h", tz=zone)
    assert (next_times(hourly[:150], 60) == hourly[150:210]).all()
    daily = pd.date_range("2024-03-01", "2024-04-20", tz=zone)
    assert (next_times(daily[:25], 20) == daily[25:45]).all()
    skipped = pd.date_range("2024-03-01 02:30", periods=29, freq="1D", tz=zone)
    assert len(next_times(skipped, 5)) == 5


# --- learned weeks ----------------------------------------------------------------------------------------------


def test_a_share_minutes() -> None:
    days = pd.bdate_range("2024-03-04", periods=20)
    for freq, ends in (("5min", True), ("15min", False), ("60min", True)):
        whole = sessions(days, A_SHARE, freq, ends=ends)
        for cut in (len(whole) // 2, len(whole) // 2 + 3, len(whole) // 3 + 1):
            assert (next_times(whole[:cut], 50 if cut + 50 < len(whole) else 20)[:20] == whole[cut : cut + 20]).all()
    assert calendar_of(whole) == "sessions learned from the history (holidays unknown)"


def test_a_few_days_are_enough() -> None:
    whole = sessions(pd.bdate_range("2024-03-05", periods=9), NEW_YORK, "30min")
    for cut in (14, 20, 26, 30):  # the Friday, the weekend and the Monday have not been seen
        assert (next_times(whole[:cut], 40) == whole[cut : cut + 40]).all()


def test_one_odd_bar_one_missing_bar_and_a_half_day() -> None:
    days = pd.bdate_range("2024-03-04", periods=20)
    whole = sessions(days, NEW_YORK, "30min")
    odd = whole[:160].append(pd.DatetimeIndex([whole[159] + pd.Timedelta(minutes=7)]))
    assert (next_times(odd, 30, timeframe="30m") == whole[160:190]).all()
    assert (next_times(whole[:182].delete([150, 171, 175]), 60) == whole[182:242]).all()
    half = whole[:182].delete(range(176, 182))  # the last day closed early
    assert (next_times(half, 60)[-50:] == next_times(whole[:182], 60)[-56:-6]).all()


def test_the_clock_change_of_a_naive_utc_history() -> None:
    days = pd.bdate_range("2024-02-12", "2024-04-05")
    whole = sessions(days, NEW_YORK, "1h").tz_localize("America/New_York").tz_convert("UTC").tz_localize(None)
    cut = int(np.searchsorted(whole, pd.Timestamp("2024-03-13")))  # two days after
    assert (next_times(whole[:cut], 50) == whole[cut : cut + 50]).all()


def test_aware_sessions_follow_the_wall_clock() -> None:
    whole = sessions(pd.bdate_range("2024-02-12", "2024-04-05"), NEW_YORK, "1h").tz_localize("America/New_York")
    cut = int(np.searchsorted(whole, pd.Timestamp("2024-03-07", tz="America/New_York")))
    result = next_times(whole[:cut], 50)
    assert (result == whole[cut : cut + 50]).all()
    assert str(result.tz) == "America/New_York"


def test_a_week_from_sunday_to_thursday() -> None:
    days = pd.date_range("2024-03-03", periods=40)
    days = days[~days.day_of_week.isin([4, 5])]
    assert (next_times(days[:15], 10) == days[15:25]).all()
    assert calendar_of(days).startswith("Mon, Tue, Wed, Thu, Sun")
    bars = sessions(days, ("10:00-15:00",), "1h")
    assert (next_times(bars[:60], 40) == bars[60:100]).all()


def test_currencies() -> None:
    hours = pd.date_range("2024-01-07 22:00", "2024-02-10", freq="1h")
    wall = hours.day_of_week * 24 + hours.hour
    whole = hours[(wall < 4 * 24 + 22) | (wall >= 6 * 24 + 22)]
    for cut in (240, 250, 300, 350):
        assert (next_times(whole[:cut], 150) == whole[cut : cut + 150]).all()
        assert (next_times(whole[:cut], 150, calendar="24/5") == whole[cut : cut + 150]).all()
        assert calendar_of(whole[:cut]) == "24/5"
    assert (next_times(whole[:30], 200, calendar="24/5") == whole[30:230]).all()  # no weekend has been seen
    daily = pd.bdate_range("2024-01-01", periods=40)
    assert (next_times(daily[:3], 20, calendar="24/5") == daily[3:23]).all()


@pytest.mark.parametrize("freq", ["W-FRI", "W-MON", "MS", "ME", "BME", "BMS", "QE"])
def test_weeks_and_months(freq: str) -> None:
    whole = pd.date_range("2022-01-01", periods=40, freq=freq)
    assert (next_times(whole[:25], 15) == whole[25:]).all()
    moved = whole[:24].append(whole[24:25] - pd.Timedelta(days=1))  # a holiday moved the last one
    if freq.startswith("W"):
        assert (next_times(moved, 15, timeframe="1w") == whole[25:]).all()


def test_daily_bars_on_weekdays() -> None:
    days = pd.bdate_range("2024-03-04", periods=40)
    for cut in (2, 3, 7, 20):
        assert (next_times(days[:cut], 20) == days[cut : cut + 20]).all()
    assert calendar_of(days) == "weekdays"
    assert (next_times(days[:21:3], 3, timeframe="3d") == days[21:30:3]).all()


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(0, 40), length=st.integers(3, 40), step=st.sampled_from([5, 15, 30, 60]),
    weekdays=st.sampled_from([(0, 1, 2, 3, 4), (6, 0, 1, 2, 3), (0, 1, 2, 3, 4, 5), tuple(range(7))]),
    cut=st.floats(0.6, 0.99), missing=st.integers(0, 10_000), zone=st.sampled_from([None, "UTC", "Asia/Tokyo"]),
)  # fmt: skip
def test_the_learned_template(start, length, step, weekdays, cut, missing, zone) -> None:  # type: ignore[no-untyped-def]
    days = pd.date_range("2024-05-06", periods=42, tz=zone)
    days = days[days.day_of_week.isin(weekdays)]
    open_ = pd.Timedelta(minutes=start * step)
    slots = [open_ + pd.Timedelta(minutes=step * i) for i in range(length) if (start + i) * step < 23 * 60]
    if len(slots) < 3:
        return
    whole = pd.DatetimeIndex([day + slot for day in days for slot in slots])
    place = int(len(whole) * cut)
    keep = np.ones(place, dtype=bool)
    keep[np.random.default_rng(missing).integers(5, place - 1, place // 100)] = False
    count = min(100, len(whole) - place)
    result = next_times(whole[:place][keep], 100)
    assert len(result) == 100
    assert result.is_monotonic_increasing
    assert result.is_unique
    assert (result[:count] == whole[place : place + count]).all()


# --- exchanges --------------------------------------------------------------------------------------------------

calendars = pytest.mark.skipif(
    importlib.util.find_spec("pandas_market_calendars") is None,
    reason="the extra 'calendars' is not installed",
)


@calendars
def test_an_unknown_exchange() -> None:
    with pytest.raises(ConfigError, match=r"NYZE.*NYSE"):
        next_times(pd.bdate_range("2024-01-01", periods=9), 3, calendar="NYZE")


@calendars
def test_shanghai_spring_festival() -> None:
    days = pd.bdate_range("2025-01-06", "2025-01-24")
    daily = next_times(days, 3, calendar="sse")
    assert clocks(daily) == ["Mon 27 00:00", "Wed 05 00:00", "Thu 06 00:00"]
    assert calendar_of(days, calendar="sse") == "SSE"
    five = sessions(days, A_SHARE, "5min", ends=True)
    naive = next_times(five, 60, calendar="XSHG")
    assert clocks(naive[[0, 23, 24, 47, 48]]) == [
        "Mon 27 09:35", "Mon 27 11:30", "Mon 27 13:05", "Mon 27 15:00", "Wed 05 09:35",
    ]  # fmt: skip
    aware = five.tz_localize("Asia/Shanghai")
    assert (next_times(aware, 60, calendar="SSE") == naive.tz_localize("Asia/Shanghai")).all()
    utc = aware.tz_convert("UTC")
    assert (next_times(utc, 60, calendar="SSE") == naive.tz_localize("Asia/Shanghai")).all()
    bare = next_times(utc.tz_localize(None), 60, calendar="SSE")
    assert (bare == naive.tz_localize("Asia/Shanghai").tz_convert("UTC").tz_localize(None)).all()
    labels = days.tz_localize("Asia/Shanghai").tz_convert("UTC")
    assert (next_times(labels, 3, calendar="SSE").tz_convert("Asia/Shanghai").tz_localize(None) == daily).all()


@calendars
@pytest.mark.parametrize(("freq", "ends"), [("5min", True), ("5min", False), ("60min", True), ("30min", False)])
def test_a_short_history_takes_the_hours_of_the_exchange(freq: str, ends: bool) -> None:
    whole = sessions(pd.bdate_range("2025-03-03", periods=8), A_SHARE, freq, ends=ends)
    past = whole[: max(1, len(whole) // 40)]  # a fifth of a day; what starts at 9:30 can only be stamped by its start
    result = next_times(past, 20, timeframe=freq, calendar="SSE")
    assert (result == whole[len(past) : len(past) + 20]).all()


@calendars
def test_new_york_half_day_and_clock_change() -> None:
    days = pd.bdate_range("2024-10-21", "2024-11-27")
    bars = sessions(days, NEW_YORK, "30min")
    result = next_times(bars, 20, calendar="NYSE")
    assert clocks(result[[0, 6, 7]]) == ["Fri 29 09:30", "Fri 29 12:30", "Mon 02 09:30"]
    aware = bars[bars < "2024-11-01"].tz_localize("America/New_York")
    after = next_times(aware.tz_convert("UTC"), 30, calendar="NYSE").tz_convert("America/New_York")
    assert clocks(after[[0, 13]]) == ["Fri 01 09:30", "Mon 04 09:30"]
    months = pd.date_range("2023-01-01", "2025-04-30", freq="BME")
    assert clocks(next_times(months, 2, calendar="NYSE")) == ["Fri 30 00:00", "Mon 30 00:00"]


@calendars
def test_a_session_that_spans_midnight() -> None:
    hours = pd.date_range("2025-05-04 17:00", "2025-05-23 15:00", freq="1h")
    wall = hours.day_of_week * 24 + hours.hour
    history = hours[(hours.hour != 16) & ((wall < 4 * 24 + 16) | (wall >= 6 * 24 + 17))]
    result = next_times(history, 40, calendar="CME_Equity")
    assert clocks(result[[0, 6, 7]]) == ["Sun 25 17:00", "Sun 25 23:00", "Mon 26 00:00"]
    assert "Mon 26 12:00" not in clocks(result)  # Memorial Day closes at noon


@calendars
@pytest.mark.parametrize("name", ["XSHG", "XNSE"])
def test_past_the_end_of_the_holiday_table(name: str) -> None:
    days = pd.bdate_range("2033-11-01", "2033-12-20")
    with pytest.warns(KronosWarning, match="holidays of 2033 are not known") as caught:
        result = next_times(days, 30, calendar=name)
    assert len(caught) == 1
    assert (result == pd.bdate_range("2033-12-21", periods=30)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next_times(pd.bdate_range("2024-01-01", "2024-01-12"), 30, calendar=name)


# --- imports, real series --------------------------------------------------------------------------------------


def test_nothing_optional_is_imported() -> None:
    code = (
        "import sys, kronos.bars.calendar, kronos.bars.frame;"
        "print([m for m in ('torch', 'pandas_market_calendars', 'exchange_calendars') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


MARKET = Path(__file__).resolve().parents[2].parent / "shared" / "market"


@pytest.mark.skipif(not (MARKET / "MANIFEST.csv").exists(), reason="the market working data is not beside the project")
def test_real_series_until_their_first_gap() -> None:
    """The last 30 stamps of real series, up to the first that is missing there (a holiday or a hole)."""
    manifest = pd.read_csv(MARKET / "MANIFEST.csv")
    right: dict[str, list[float]] = defaultdict(list)
    for (market, interval), group in manifest.groupby(["market", "interval"]):
        for row in group.iloc[:: max(1, len(group) // 3)].itertuples():
            times = pd.DatetimeIndex(pd.read_parquet(MARKET / str(row.file), columns=["timestamp"])["timestamp"])
            past, truth = times[:-30][-5000:], times[-30:]
            result = next_times(past, 30)
            assert result.is_monotonic_increasing
            wrong = np.flatnonzero(result != truth)
            # a predicted bar that never came is a gap of the truth; a true one that was not predicted is our mistake
            first = int(wrong[0]) if len(wrong) else 30
            ours = first < 30 and truth[first] < result[first]
            right[f"{market} {interval}"].append(first / 30 if ours else 1.0)
    shares = {name: float(np.mean(values)) for name, values in right.items()}
    assert min(shares.values()) >= 0.9, shares
    assert np.mean(list(shares.values())) >= 0.98, shares
