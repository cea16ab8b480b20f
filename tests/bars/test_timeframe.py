"""Timeframes: their names, learning them from time stamps, and resampling."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars.candles import COLUMNS, invalid
from kronos.bars.timeframe import Timeframe, infer_timeframe, resample
from kronos.errors import BarsError, ConfigError


def bars(index: pd.DatetimeIndex, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(index))))
    open_ = close * np.exp(rng.normal(0, 0.005, len(index)))
    high = np.maximum(open_, close) * (1 + rng.random(len(index)) * 0.01)
    low = np.minimum(open_, close) * (1 - rng.random(len(index)) * 0.01)
    volume = rng.random(len(index)) * 1000
    columns = dict(zip(COLUMNS, (open_, high, low, close, volume, volume * close), strict=True))
    return pd.DataFrame(columns, index=index.rename("timestamp"))


def a_share(days: pd.DatetimeIndex, freq: str) -> pd.DatetimeIndex:
    stamps = []
    for day in days:
        for start, hours in ((9.5, 2), (13, 2)):
            begin = day + pd.Timedelta(hours=start)
            stamps += list(pd.date_range(begin, begin + pd.Timedelta(hours=hours), freq=freq)[1:])
    return pd.DatetimeIndex(stamps)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("5m", "5m"), ("15min", "15m"), ("60m", "1h"), ("1H", "1h"), ("90m", "90m"), ("24h", "1d"), ("D", "1d"),
        ("7d", "1w"), ("1w", "1w"), ("W-FRI", "1w"), ("1M", "1mo"), ("1mo", "1mo"), ("3mo", "3mo"), ("Q", "3mo"),
        ("1Y", "12mo"), ("ME", "1mo"), ("5T", "5m"), ("30s", "30s"), (" 4 hours ", "4h"), ("daily", "1d"),
    ],
)  # fmt: skip
def test_spellings(text: str, canonical: str) -> None:
    assert str(Timeframe.parse(text)) == canonical


@pytest.mark.parametrize("text", ["", "0m", "m5x", "5", "5 parsecs", "-1h", "1.5h", None])
def test_no_timeframe(text: str) -> None:
    with pytest.raises(ConfigError, match="timeframe"):
        Timeframe.parse(text)


@given(st.integers(1, 1200), st.sampled_from(["s", "m", "h", "d", "w", "mo"]))
def test_parse_reads_what_str_writes(count: int, unit: str) -> None:
    frame = Timeframe(count, unit)  # type: ignore[arg-type]
    assert Timeframe.parse(str(frame)) == frame
    assert hash(Timeframe.parse(str(frame))) == hash(frame)


def test_order_delta_offset() -> None:
    names = ["30s", "1m", "5m", "1h", "4h", "1d", "1w", "1mo", "3mo"]
    frames = [Timeframe.parse(name) for name in names]
    backwards = frames[::-1]
    assert sorted(backwards) == frames
    assert Timeframe.parse("1mo").delta == pd.Timedelta(days=30)
    assert pd.Timestamp("2024-01-31") + Timeframe.parse("1mo").offset == pd.Timestamp("2024-02-29")
    assert pd.Timestamp("2024-01-31") + Timeframe.parse("1h").offset == pd.Timestamp("2024-01-31 01:00")
    assert Timeframe.parse("5m").intraday
    assert not Timeframe.parse("1d").intraday


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (pd.date_range("2024-01-01", periods=50, freq="5min"), "5m"),
        (a_share(pd.bdate_range("2024-01-01", periods=8), "60min"), "1h"),
        (a_share(pd.bdate_range("2024-01-01", periods=8), "5min"), "5m"),
        (pd.bdate_range("2024-01-01", periods=9), "1d"),
        (pd.DatetimeIndex(["2024-01-05", "2024-01-08"]), "1d"),
        (pd.date_range("2024-01-01", periods=2, freq="3D"), "3d"),
        (pd.date_range("2024-01-05", periods=9, freq="W-FRI"), "1w"),
        (pd.date_range("2024-01-05", periods=9, freq="MS"), "1mo"),
        (pd.date_range("2024-01-05", periods=9, freq="ME"), "1mo"),
        (pd.date_range("2024-01-05", periods=24, freq="BME"), "1mo"),
        (pd.date_range("2024-01-05", periods=9, freq="QS"), "3mo"),
        (pd.date_range("2024-03-05", periods=9, tz="Europe/Berlin"), "1d"),
        (pd.date_range("2024-03-30", periods=2, tz="Europe/Berlin") + pd.Timedelta(0), "1d"),
        (pd.date_range("2024-03-30", periods=90, freq="1h", tz="Europe/Berlin"), "1h"),
        (pd.date_range("2024-03-30", periods=90, freq="90s"), "90s"),
    ],
)
def test_infer(index: pd.DatetimeIndex, expected: str) -> None:
    assert str(infer_timeframe(index)) == expected


def test_infer_with_many_bars_missing() -> None:
    whole = pd.date_range("2024-01-01", periods=3000, freq="5min")
    some = whole[np.random.default_rng(1).random(3000) < 0.5]
    assert str(infer_timeframe(some)) == "5m"


def test_infer_refuses() -> None:
    with pytest.raises(BarsError, match="timeframe="):
        infer_timeframe(pd.DatetimeIndex(["2024-01-01"]))
    with pytest.raises(BarsError, match=r"row 1 .*increase"):
        infer_timeframe(pd.DatetimeIndex(["2024-01-02", "2024-01-01"]))
    with pytest.raises(BarsError, match="less than a second"):
        infer_timeframe(pd.date_range("2024-01-01", periods=9, freq="100ms"))


def test_hours_of_a_share_bars() -> None:
    frame = bars(a_share(pd.bdate_range("2024-01-01", periods=3), "5min"))
    hours = resample(frame, "1h", label="right", align="session")
    clocks = ["10:30", "11:30", "14:00", "15:00"]
    assert hours.index.strftime("%H:%M").tolist() == clocks * 3
    assert hours["volume"].iloc[0] == pytest.approx(frame["volume"].iloc[:12].sum())
    starts = resample(frame, "1h", label="left", closed="right", align="session")
    assert starts.index.strftime("%H:%M").tolist() == ["09:30", "10:30", "13:00", "14:00"] * 3
    by_clock = resample(frame, "1h", label="right")
    assert by_clock.index.strftime("%H:%M").tolist()[:5] == ["10:00", "11:00", "12:00", "14:00", "15:00"]
    days = resample(frame, "1d", label="right")
    assert days.index.tolist() == list(pd.bdate_range("2024-01-01", periods=3))
    pd.testing.assert_frame_equal(days, resample(frame, "1d"), check_freq=False)


def test_rules_of_a_bin() -> None:
    frame = bars(pd.date_range("2024-01-01", periods=12, freq="5min"))
    hour = resample(frame, "1h").iloc[0]
    expected = [frame["open"].iloc[0], frame["high"].max(), frame["low"].min(), frame["close"].iloc[-1]]
    assert hour.tolist()[:4] == expected
    assert hour.tolist()[4:] == pytest.approx([frame["volume"].sum(), frame["amount"].sum()])


def test_weeks_and_months() -> None:
    frame = bars(pd.bdate_range("2024-01-01", "2024-03-29"))
    weeks = resample(frame, "1w")
    assert set(weeks.index.day_of_week) == {0}
    assert len(weeks) == 13
    assert set(resample(frame, "1w", label="right").index.day_of_week) == {6}
    assert resample(frame, "1mo").index.tolist() == list(pd.date_range("2024-01-01", periods=3, freq="MS"))
    assert resample(frame, "1mo", label="right").index.tolist() == list(
        pd.date_range("2024-01-01", periods=3, freq="ME")
    )
    assert resample(frame, "3mo").index.tolist() == [pd.Timestamp("2024-01-01")]


def test_incomplete_last_bin() -> None:
    frame = bars(pd.date_range("2024-01-01", periods=30, freq="5min"))
    assert len(resample(frame, "1h")) == 3
    assert len(resample(frame, "1h", incomplete="drop")) == 2
    assert len(resample(frame.iloc[:24], "1h", incomplete="drop")) == 2
    session = bars(a_share(pd.bdate_range("2024-01-01", periods=5), "5min"))
    assert len(resample(session, "1d", label="right", incomplete="drop")) == 5
    assert len(resample(session.iloc[:-1], "1d", label="right", incomplete="drop")) == 4
    weekly = bars(pd.bdate_range("2024-01-01", periods=15))
    assert len(resample(weekly, "1w", incomplete="drop")) == 3
    assert len(resample(weekly.iloc[:-1], "1w", incomplete="drop")) == 2


def test_clock_changes_keep_their_hours() -> None:
    index = pd.date_range("2024-10-26 22:00", periods=40, freq="15min", tz="UTC").tz_convert("Europe/Berlin")
    hours = resample(bars(index), "1h")
    assert len(hours) == 10
    assert hours.index.tz is not None
    assert (np.diff(hours.index.asi8) == np.diff(hours.index.asi8)[0]).all()
    days = resample(bars(pd.date_range("2024-10-26", periods=72, freq="1h", tz="Europe/Berlin")), "1d")
    assert days.index.strftime("%d %H").tolist() == ["26 00", "27 00", "28 00"]


def test_refused_targets() -> None:
    frame = bars(pd.date_range("2024-01-01", periods=30, freq="15min"))
    with pytest.raises(ConfigError, match="only lengthens"):
        resample(frame, "5m")
    with pytest.raises(ConfigError, match="evenly"):
        resample(frame, "40m")
    with pytest.raises(ConfigError, match="evenly"):
        resample(bars(pd.date_range("2024-01-01", periods=9, freq="W-FRI")), "1mo")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 400), st.integers(0, 10_000), st.sampled_from(["5m", "15m", "1h", "4h", "1d", "1w", "1mo"]),
    st.sampled_from(["left", "right"]), st.sampled_from(["clock", "session"]),
    st.sampled_from([None, "UTC", "America/New_York"]),
)  # fmt: skip
def test_resample_conserves(count, seed, target, label, align, zone) -> None:  # type: ignore[no-untyped-def]
    day = "2024-03-07 03:10" if seed % 2 else "2024-10-31 03:10"  # the clocks of New York change a few days later
    index = pd.date_range(day, periods=2 * count, freq="5min", tz=zone)
    keep = np.random.default_rng(seed).random(2 * count) < 0.9
    keep[:2] = True
    frame = bars(index[keep], seed)
    result = resample(frame, target, label=label, align=align)
    assert result["volume"].sum() == pytest.approx(frame["volume"].sum())
    assert result["amount"].sum() == pytest.approx(frame["amount"].sum())
    assert result["high"].max() == frame["high"].max()
    assert result["low"].min() == frame["low"].min()
    assert not invalid(result.to_numpy()).any()
    assert result.index.is_monotonic_increasing
    assert result.index.is_unique
    assert result.index.dtype == frame.index.dtype
    assert list(result.columns) == list(COLUMNS)


@pytest.mark.parametrize("text", ["99999999999999999999h", "36526d", "1218mo", "9" * 5000 + "m", "3155760001s"])
def test_no_bar_lasts_longer_than_a_hundred_years(text: str) -> None:
    with pytest.raises(ConfigError, match="timeframe"):
        Timeframe.parse(text)
    assert str(Timeframe.parse("36525d")) == "36525d"
    assert Timeframe.parse("100y").delta < Timeframe.parse("36525d").delta


def test_two_bars_of_different_centuries_show_no_timeframe() -> None:
    with pytest.raises(BarsError, match="more than 100 years apart"):
        infer_timeframe(pd.DatetimeIndex(["1800-01-01", "2000-01-01"]))
