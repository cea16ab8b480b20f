"""The canonical frame: what is understood, what is computed, and what is refused with which words."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars.candles import COLUMNS, invalid
from kronos.bars.frame import canonical, loose
from kronos.bars.stamps import parse_times
from kronos.errors import BarsError

PRICES = ("open", "high", "low", "close")


def raw(rows: int = 8, freq: str = "5min", **extra: object) -> pd.DataFrame:
    base = 100.0 + np.arange(rows)
    frame = pd.DataFrame({"open": base, "high": base + 2, "low": base - 2, "close": base + 1})
    frame.insert(0, "timestamp", pd.date_range("2024-01-05 09:30", periods=rows, freq=freq))
    return frame.assign(volume=10.0, amount=1000.0, **extra)


def refused(df: object, *words: str, **how: object) -> None:
    with pytest.raises(BarsError) as caught:
        canonical(df, **how)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_what_comes_out() -> None:
    frame = raw()
    before = frame.copy(deep=True)
    result = canonical(frame[["close", "amount", "low", "timestamp", "volume", "open", "high"]])
    assert list(result.columns) == list(COLUMNS)
    assert (result.dtypes == np.float64).all()
    assert result.index.name == "timestamp"
    assert result.index.dtype == "datetime64[ns]"
    result.iloc[:, :] = 0.0
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(canonical(canonical(frame)), canonical(frame))


@pytest.mark.parametrize(
    "names",
    [
        ["Open", "High", "Low", "Close", "Volume", "Amount"],
        ["OPEN", "HIGH", "LOW", "CLOSE", "VOL", "AMT"],
        [" open ", "high", "low", "close", "vol", "Quote Volume"],
        ["o", "h", "l", "c", "v", "quote_asset_volume"],
        ["开盘", "最高", "最低", "收盘", "成交量", "成交额"],
        ["开盘价", "最高价", "最低价", "收盘价", "成交量(手)", "成交金额"],
        ["<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<TICKVOL>", "money"],
        ["$open", "$high", "$low", "$close", "$volume", "$amount"],
        ["open", "high", "low", "close", "vol", "volCcyQuote"],
        ["open", "high", "low", "close", "base_volume", "currency-volume"],
    ],
)
def test_column_spellings(names: list[str]) -> None:
    frame = raw()
    renamed = frame.rename(columns=dict(zip(COLUMNS, names, strict=True)))
    pd.testing.assert_frame_equal(canonical(renamed), canonical(frame))


@pytest.mark.parametrize(
    "name", ["timestamps", "time", "date", "Datetime", "open_time", "日期", "时间", "交易时间", "ts", "Date"]
)
def test_time_columns(name: str) -> None:
    frame = raw()
    pd.testing.assert_frame_equal(canonical(frame.rename(columns={"timestamp": name})), canonical(frame))


def test_which_column_wins() -> None:
    frame = raw()
    assert canonical(frame.assign(vol=1.0))["volume"].iloc[0] == 10
    assert canonical(frame.assign(**{"Adj Close": 1.0}))["close"].iloc[0] == 101
    assert canonical(frame.assign(turnover=1.0))["amount"].iloc[0] == 1000
    assert canonical(frame.assign(Close=1.0))["close"].iloc[0] == 101
    refused(frame.drop(columns="volume").assign(vol=1.0, v=2.0), "'vol' and 'v'", "volume")
    refused(frame.drop(columns="close").assign(Close=1.0, CLOSE=2.0), "'Close' and 'CLOSE'")
    refused(frame.drop(columns="timestamp").assign(datetime=1, open_time=2), "'datetime' and 'open_time'")
    only_adjusted = frame.rename(columns={"close": "Adj Close"})
    assert canonical(only_adjusted)["close"].iloc[0] == 101


def test_columns_of_one_downloaded_symbol() -> None:
    frame = raw().set_index("timestamp")
    frame.columns = pd.MultiIndex.from_product([frame.columns, ["AAPL"]])
    assert canonical(frame)["close"].iloc[0] == 101
    two = pd.concat([frame, frame.rename(columns={"AAPL": "MSFT"})], axis=1)
    refused(two, "one instrument at a time")


def test_missing_columns() -> None:
    refused(raw()[["timestamp", "open", "close"]], "no column for high, low", "'timestamp', 'open', 'close'")


TIMES = pd.date_range("2024-01-05 09:30", periods=8, freq="5min")
EPOCH = np.asarray(TIMES.as_unit("ns").asi8)


@pytest.mark.parametrize(
    "times",
    [
        TIMES, TIMES.as_unit("s"), TIMES.as_unit("ms"), TIMES.to_series(), list(TIMES), TIMES.to_pydatetime(),
        TIMES.to_period("5min"), pd.Series(TIMES.to_period("5min")), TIMES.to_numpy(),
        TIMES.strftime("%Y-%m-%d %H:%M:%S"), TIMES.strftime("%Y/%m/%d %H:%M"), TIMES.strftime("%Y.%m.%d %H:%M"),
        [f"2024/1/5 {t.hour}:{t.minute:02d}" for t in TIMES], [f"2024年1月5日 {t:%H:%M}" for t in TIMES],
        TIMES.strftime("%Y-%m-%dT%H:%M:%S.000"), TIMES.strftime("%Y%m%d%H%M%S"), TIMES.strftime("%Y%m%d%H%M"),
        [int(t) for t in TIMES.strftime("%Y%m%d%H%M")], [int(t) for t in TIMES.strftime("%Y%m%d%H%M%S")],
        TIMES.strftime("%Y%m%d%H%M%S") + "000", [f" {t} " for t in TIMES],
        EPOCH, EPOCH // 10**3, EPOCH // 10**6, EPOCH // 10**9, EPOCH / 1e9, EPOCH / 1e6, (EPOCH // 10**6).astype(str),
        [f"{t:.3f}" for t in EPOCH / 1e9], pd.Series(EPOCH // 10**6, dtype="Int64"), list(EPOCH // 10**6),
        TIMES.strftime("%d.%m.2024 %H:%M").str.replace("05.01", "13.01").tolist(),
        TIMES.strftime("Jan %d, 2024 %H:%M"),
    ],
)  # fmt: skip
def test_writings_of_time(times: object) -> None:
    parsed = parse_times(times)
    assert parsed.dtype == "datetime64[ns]"
    assert parsed.name == "timestamp"
    shift = parsed[0] - TIMES[0]
    assert shift in (pd.Timedelta(0), pd.Timedelta(days=8))
    assert ((parsed - shift) == TIMES).all()


def test_days() -> None:
    days = pd.date_range("2024-01-05", periods=5)
    compact = days.strftime("%Y%m%d")
    for times in (compact, compact.astype(int), compact.astype(int).astype(float), [d.date() for d in days]):
        assert (parse_times(times) == days).all()
    old = pd.date_range("1961-10-18", "2025-06-30", freq="30D")
    assert (parse_times(old.as_unit("s").asi8) == old).all()
    american = ["01/05/2024", "01/08/2024", "01/15/2024"]
    assert parse_times(american).strftime("%d").tolist() == ["05", "08", "15"]
    with pytest.raises(BarsError, match="cannot be told apart"):
        parse_times(["01/02/2024", "02/03/2024"])


def test_zones() -> None:
    aware = TIMES.tz_localize("Asia/Shanghai")
    assert str(canonical(raw(), times=aware).index.tz) == "Asia/Shanghai"
    text = aware.strftime("%Y-%m-%dT%H:%M:%S%z")
    assert (parse_times(text) == aware).all()
    assert parse_times(["2024-01-05T09:30:00Z", "2024-01-05T09:35:00Z"]).tz is not None
    changing = ["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"]
    assert str(parse_times(changing).tz) == "UTC"
    with pytest.raises(BarsError, match="zone"):
        parse_times(["2024-01-05T09:30:00Z", "2024-01-05T09:35:00"])
    with pytest.raises(BarsError, match="zone"):
        parse_times([aware[0], TIMES[1]])
    with pytest.raises(BarsError, match=r"row 1: the time '2024-01-05 09:3\+05' cannot be read"):
        parse_times(["2024-01-05 09:30", "2024-01-05 09:3+05"])


def test_date_and_time_columns() -> None:
    frame = raw().drop(columns="timestamp")
    for date, time in (("date", "time"), ("<DATE>", "<TIME>"), ("日期", "时间")):
        pair = frame.assign(**{date: TIMES.strftime("%Y.%m.%d"), time: TIMES.strftime("%H:%M")})
        assert (canonical(pair).index == TIMES).all()
    clocks = frame.assign(date=[t.date() for t in TIMES], time=[t.time() for t in TIMES])
    assert (canonical(clocks).index == TIMES).all()
    whole = frame.assign(date=TIMES.strftime("%Y-%m-%d"), time=TIMES.strftime("%Y%m%d%H%M%S") + "000")
    assert (canonical(whole).index == TIMES).all()


def test_where_times_come_from() -> None:
    frame = raw()
    plain = frame.drop(columns="timestamp")
    later = TIMES + pd.Timedelta(days=1)
    assert (canonical(frame.set_index(later)).index == TIMES).all()
    assert (canonical(plain.set_index(TIMES)).index == TIMES).all()
    assert (canonical(plain.set_index(TIMES.strftime("%Y-%m-%d %H:%M"))).index == TIMES).all()
    assert (canonical(frame, times=later).index == later).all()
    assert (canonical(frame.assign(other=later), times="other").index == later).all()
    refused(plain, "no times", "times=")
    refused(plain.set_index(pd.Index(range(5, 13))), "no times")
    refused(frame, "3 times were given for 8 rows", times=later[:3])
    refused(frame, "no column", times="nothing")
    refused(plain.set_index([TIMES, TIMES]), "one instrument")


@pytest.mark.parametrize(
    ("value", "words"),
    [("soon", ["row 3", "'soon'"]), (None, ["row 3", "missing"]), ("2024-13-05", ["row 3", "2024-13-05"])],
)
def test_bad_times(value: object, words: list[str]) -> None:
    text = TIMES.strftime("%Y-%m-%d %H:%M").astype(object).tolist()
    text[3] = value
    refused(raw(), *words, times=text)


def test_other_bad_times() -> None:
    refused(raw(), "no date", times=np.arange(8))
    refused(raw(), "true and false", times=[True] * 8)
    refused(raw(), "another kind", times=[*TIMES[:7], "2024-01-05 10:05"])
    refused(raw(2), "1678", times=[dt.datetime(2500, 1, 1), dt.datetime(2500, 1, 2)])


def test_disorder() -> None:
    frame = raw()
    refused(frame.iloc[[0, 1, 1, 2, 2, 3]], "bars: row 2", "twice", "2 rows are affected")
    refused(frame.iloc[[0, 2, 1, 3]], "row 2", "earlier", "2024-01-05 09:35")
    refused(frame.iloc[::-1], "newest first", "sort")


def test_not_enough() -> None:
    refused([1, 2], "list")
    refused(pd.DataFrame(), "empty")
    refused(raw().iloc[:0], "empty")
    refused(raw().iloc[:1], "1 rows are too few")
    refused(raw(), "at least 20", min_rows=20)
    assert len(canonical(raw().iloc[:1], min_rows=1)) == 1


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("close", np.nan, ["close", "NaN"]),
        ("volume", np.nan, ["volume", "NaN"]),
        ("high", np.inf, ["high", "infinite"]),
        ("low", 0.0, ["low 0", "not positive"]),
        ("open", -3.0, ["open -3", "not positive"]),
        ("volume", -1.0, ["volume -1", "negative"]),
        ("amount", -1.0, ["amount -1", "negative"]),
        ("high", 90.0, ["high 90 is below low"]),
        ("high", 104.5, ["high 104.5 is below open"]),
        ("close", 110.0, ["is below close 110"]),
        ("low", 105.5, ["open 105 is below low 105.5"]),
        ("close", 102.0, ["close 102 is below low"]),
    ],
)
def test_no_candle(column: str, value: float, words: list[str]) -> None:
    frame = raw()
    frame.loc[5:6, column] = value
    refused(frame, "BTC: row 5 (2024-01-05 09:55:00)", "affected", *words, name="BTC")


def test_numbers_as_text() -> None:
    frame = raw()
    text = frame.astype(dict.fromkeys(COLUMNS, str))
    pd.testing.assert_frame_equal(canonical(text), canonical(frame))
    for bad in ("1,000", "1_000", "abc", "", True):
        text = frame.astype({"close": object})
        text.loc[2, "close"] = bad
        refused(text, "row 2", "'close'", repr(bad))


def test_dust_is_widened_in_silence() -> None:
    frame = raw().set_index("timestamp")
    frame["high"] = frame[["open", "close"]].max(axis=1) * (1 - 1e-7)
    frame["low"] = frame[["open", "close"]].min(axis=1).astype(np.float32)
    assert not invalid(canonical(frame).to_numpy()).any()
    frame["high"] = frame[["open", "close"]].max(axis=1) * (1 - 1e-5)
    refused(frame, "high")


def test_volume_and_amount() -> None:
    frame = raw()
    mean = frame[list(PRICES)].mean(axis=1).to_numpy()
    neither, only_volume, only_amount = (frame.drop(columns=c) for c in (["volume", "amount"], "amount", "volume"))
    assert (canonical(neither)[["volume", "amount"]] == 0).all(axis=None)
    assert canonical(only_volume)["amount"].to_numpy() == pytest.approx(10 * mean)
    assert canonical(only_amount)["volume"].to_numpy() == pytest.approx(1000 / mean)
    assert (canonical(only_amount, volume_rule="reference")[["volume", "amount"]] == 0).all(axis=None)
    assert canonical(only_volume, volume_rule="reference")["amount"].to_numpy() == pytest.approx(10 * mean)
    empty = frame.assign(amount=np.nan)
    pd.testing.assert_frame_equal(canonical(empty), canonical(only_volume))


def on(times: object) -> pd.DatetimeIndex:
    index = pd.DatetimeIndex(times)  # type: ignore[call-overload]
    return canonical(raw(len(index)), times=index).index  # type: ignore[return-value]


def test_one_timeframe() -> None:
    five = pd.date_range("2024-01-01", periods=40, freq="5min")
    hours = pd.date_range(five[-1], periods=8, freq="1h")[1:]
    days = pd.date_range("2024-01-03", periods=20)
    for mixture, row in ((five.append(hours), 40), (hours - pd.Timedelta(days=9), None), (five.append(days), 41)):
        if row is None:
            mixture = mixture.append(five)
            row = 1
        with pytest.raises(BarsError, match=f"row {row} .*one timeframe"):
            on(mixture)
    with pytest.raises(BarsError, match="one timeframe"):
        on(pd.date_range("2024-01-01", periods=60).append(pd.date_range("2024-03-10", periods=9, freq="W")))


def test_gaps_are_one_timeframe() -> None:
    days = pd.bdate_range("2024-01-01", periods=30)
    on([d + pd.Timedelta(t) for d in days for t in ("10:30:00", "11:30:00", "14:00:00", "15:00:00")])
    on([d + pd.Timedelta(t) for d in days for t in ("9:30:00", "10:00:00", "11:00:00", "12:00:00", "13:00:00")])
    on([d + pd.Timedelta(t) for d in days for t in ("9:30:00", "13:30:00")])
    on(days.delete([3, 4, 5, 6, 7, 11]))
    on(pd.date_range("2024-03-25", periods=20, tz="Europe/Berlin"))
    on(pd.date_range("2024-01-01", periods=40, freq="BME"))
    on(pd.date_range("2024-01-01", periods=10, freq="W-FRI").append(pd.DatetimeIndex(["2024-03-14", "2024-03-22"])))
    whole = pd.date_range("2024-01-01", periods=5000, freq="5min")
    on(whole[np.random.default_rng(0).random(5000) < 0.35])
    on(whole[:100].append(whole[4000:]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1e-6, 1e7), min_size=2, max_size=40), st.sampled_from([np.float32, np.float64, str]),
    st.sampled_from(["5min", "1h", "1D"]), st.booleans(),
)  # fmt: skip
def test_every_candle_passes_in_every_dress(prices, dtype, freq, with_volume) -> None:  # type: ignore[no-untyped-def]
    close = np.array(prices)
    frame = pd.DataFrame({"Open": close[::-1], "Close": close})
    frame["High"], frame["Low"] = frame.max(axis=1), frame.min(axis=1)
    frame = frame.astype(dtype)
    if with_volume:
        frame["vol"] = 1
    result = canonical(frame, times=pd.date_range("2020-01-01", periods=len(close), freq=freq))
    assert not invalid(result.to_numpy()).any()
    assert result["close"].to_numpy() == pytest.approx(close, rel=1e-6)
    assert (result["amount"] > 0).all() == with_volume


# Loose frames ---------------------------------------------------------------------------------------------------------


def test_loose_reads_what_canonical_reads() -> None:
    frame = raw()
    before = frame.copy(deep=True)
    pd.testing.assert_frame_equal(loose(frame), canonical(frame))
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(loose(frame.astype(dict.fromkeys(COLUMNS, str))), canonical(frame))
    assert (loose(frame, times=TIMES + pd.Timedelta(days=1)).index == TIMES + pd.Timedelta(days=1)).all()
    assert str(loose(frame, times=TIMES.tz_localize("Asia/Tokyo")).index.tz) == "Asia/Tokyo"


def test_loose_refuses_no_value_and_no_order() -> None:
    frame = raw().iloc[[3, 1, 1, 0]].drop(columns="amount")
    frame.iloc[0, 1:] = [np.nan, np.inf, -1.0, 0.0, -5.0]
    result = loose(frame)
    assert list(result.index) == [TIMES[i] for i in (3, 1, 1, 0)]
    assert result.index.name == "timestamp"
    np.testing.assert_array_equal(result.iloc[0], [np.nan, np.inf, -1.0, 0.0, -5.0, np.nan])
    assert result["amount"].isna().all()
    assert (result.dtypes == np.float64).all()
    assert len(loose(raw(1))) == 1


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (raw().drop(columns="low"), ["no column for low"]),
        (raw().drop(columns="timestamp"), ["no times"]),
        (raw().assign(close="abc"), ["row 0, line 11", "'close' is 'abc'"]),
        (raw().assign(timestamp="soon"), ["row 0, line 11", "'soon'"]),
        (raw().assign(timestamp=None), ["row 0, line 11", "missing"]),
        (raw().iloc[:0], ["empty"]),
        ([1, 2], ["list"]),
    ],
)
def test_loose_refuses_what_cannot_be_read(frame: object, words: list[str]) -> None:
    with pytest.raises(BarsError) as caught:
        loose(frame, name="x", lines=np.arange(11, 19))  # type: ignore[arg-type]
    assert str(caught.value).startswith("x: ")
    for word in words:
        assert word in str(caught.value)


def test_lines_stand_beside_rows_in_every_refusal() -> None:
    lines = np.arange(100, 108)
    frame = raw()
    refused(
        frame.assign(close=[101.0, 102, -3, *range(104, 109)]), "row 2, line 102 (2024", "not positive", lines=lines
    )
    refused(frame.iloc[[0, 1, 1, 2]], "row 2, line 102", "twice", lines=lines)
    refused(frame.iloc[[0, 2, 1]], "row 2, line 102", "earlier", lines=lines)
    mixed = TIMES[:1].append(pd.date_range("2024-02-01", periods=60, freq="1h")).append(
        pd.date_range("2024-03-01", periods=20, freq="1min"))  # fmt: skip
    refused(raw(81), "line ", "one timeframe", times=mixed, lines=np.arange(81))


def test_a_long_value_is_not_quoted_in_full() -> None:
    with pytest.raises(BarsError) as caught:
        loose(raw().assign(close="9x" * 10_000))
    assert len(str(caught.value)) < 300


def test_holes_in_volume_and_amount_are_filled_row_by_row() -> None:
    frame = raw()
    mean = frame[list(PRICES)].mean(axis=1).to_numpy()
    frame.loc[1:2, "volume"] = np.nan
    frame.loc[2:3, "amount"] = np.nan
    refused(frame, "volume", "NaN")
    result = canonical(frame, volume_rule="fill")
    assert result["volume"].to_numpy() == pytest.approx([10, 1000 / mean[1], 0, 10, 10, 10, 10, 10])
    assert result["amount"].to_numpy() == pytest.approx([1000, 1000, 0, 10 * mean[3], 1000, 1000, 1000, 1000])
    only = canonical(frame.drop(columns="amount"), volume_rule="fill")
    assert only["volume"].tolist() == [10, 0, 0, 10, 10, 10, 10, 10]
    assert only["amount"].to_numpy() == pytest.approx(only["volume"].to_numpy() * mean)
    neither = frame.drop(columns=["volume", "amount"])
    assert (canonical(neither, volume_rule="fill")[["volume", "amount"]] == 0).all(axis=None)
    pd.testing.assert_frame_equal(canonical(raw(), volume_rule="fill"), canonical(raw()))
    frame.loc[0, "volume"] = np.inf
    refused(frame, "row 0", "infinite", volume_rule="fill")
    frame.loc[0, "volume"] = -1.0
    refused(frame, "row 0", "negative", volume_rule="fill")


# More writings of time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "writing",
    [
        "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S.%f", "%m-%d-%Y %I:%M %p", "%d/%m/%y %H:%M",
        "%m/%d/%y %H:%M", "%y/%m/%d %H:%M", "%d.%m.%Y %H:%M:%S GMT", "%d-%b-%Y %H:%M", "%d-%b-%y %H:%M",
        "%Y/%m/%d %I:%M:%S %p", "%Y-%m-%d %I-%p", "%Y%m%d %H%M%S", "%Y%m%d %H:%M", "%m/%d/%Y, %H:%M", "%d/%m/%Y %H%M",
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", [1, -1])
def test_one_writing_throughout_is_read_oldest_or_newest_first(writing: str, way: int) -> None:
    times = pd.date_range("2023-11-27 01:00", periods=400, freq="4h", unit="ns")[::way]
    parsed = parse_times(list(times.strftime(writing)))
    expected = times.tz_localize("UTC") if "GMT" in writing else times
    assert (parsed == expected).all()


@settings(max_examples=60, deadline=None)
@given(
    st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2068, 1, 1)), st.integers(1, 40), st.sampled_from(["dmy", "mdy"]),
    st.sampled_from("-/."), st.sampled_from(["1D", "7D", "1h", "5min"]),
)  # fmt: skip
def test_day_and_month_are_never_taken_for_each_other(start, rows, order, sign, freq) -> None:  # type: ignore[no-untyped-def]
    times = pd.date_range(start.replace(second=0, microsecond=0), periods=rows, freq=freq, unit="ns")
    text = times.strftime(sign.join(f"%{part}" for part in order.replace("y", "Y")) + " %H:%M")
    try:
        parsed = parse_times(list(text))
    except BarsError as error:
        refusal = str(error)
    else:
        assert (parsed == times).all()
        return
    assert "told apart" in refusal
    assert (times.day <= 12).all()


def test_days_of_excel() -> None:
    assert (parse_times([45296.395833333336, 45296.399305555555]) == TIMES[:2]).all()
    assert (parse_times(["45296.39583", "45296.39931"]) == TIMES[:2]).all()
    assert (parse_times([45296, 45299]) == pd.DatetimeIndex(["2024-01-05", "2024-01-08"])).all()
    refused(raw(2), "no date", times=[19_999, 20_000])
    refused(raw(2), "no date", times=[80_000, 80_001])


def test_counts_whose_unit_changes_on_the_way() -> None:
    nano = EPOCH.copy()
    for smaller, larger in ((10**9, 10**6), (10**6, 10**3), (10**9, 10**3), (10**3, 1)):
        mixed = np.r_[nano[:4] // smaller, nano[4:] // larger]
        assert (parse_times(mixed) == TIMES).all()
    old = pd.date_range("1970-01-05", "2024-01-05", freq="7D")
    assert (parse_times(old.as_unit("ms").asi8) == old).all()


def test_clocks_without_colons() -> None:
    frame = raw().drop(columns="timestamp").assign(date=20240105)
    for clock in (
        TIMES.strftime("%H%M%S").astype(int), TIMES.strftime("%H%M%S"), TIMES.strftime("%H%M"),
        TIMES.strftime("%H%M").astype(int), TIMES.strftime("%H%M").astype(float), TIMES.strftime("%I:%M %p"),
        TIMES.strftime("%I:%M:%S%p"),
    ):  # fmt: skip
        assert (canonical(frame.assign(time=clock)).index == TIMES).all()
    night = pd.date_range("2024-01-05", periods=8, freq="1min")
    assert (canonical(frame.assign(time=night.strftime("%H%M%S"))).index == night).all()
    assert (canonical(frame.assign(date=TIMES, time=TIMES.strftime("%H:%M"))).index == TIMES).all()
    refused(frame.assign(time=range(9, 17)), "hour or a minute")
    refused(frame.assign(time=[930, 935, 940, 945, 950, 955, 960, 965]), "row 6", "960", "time of day")
    refused(frame.assign(time=[*TIMES.strftime("%H:%M")[:7], "25:00"]), "row 7", "'25:00'", "time of day")


@pytest.mark.parametrize(
    "word", ["now", "today", "09:30", "Jan 05", "Monday", "nat", "31/02/2024", "99/99/99", "9" * 400]
)
def test_what_says_no_date_is_no_time(word: str) -> None:
    with pytest.raises(BarsError, match="row 0"):
        parse_times([word, word])


def test_no_times_are_no_times() -> None:
    assert len(parse_times([])) == 0
    assert parse_times([]).dtype == "datetime64[ns]"


MARKET = Path(__file__).resolve().parents[2].parent / "shared" / "market"


@pytest.mark.skipif(not (MARKET / "MANIFEST.csv").exists(), reason="the market working data is not beside the project")
def test_real_series_pass() -> None:
    manifest = pd.read_csv(MARKET / "MANIFEST.csv")
    for row in manifest.groupby(["market", "interval", "source"]).first().itertuples():
        bars = pd.read_parquet(MARKET / str(row.file)).iloc[-3000:]
        assert not invalid(canonical(bars, name=str(row.file), volume_rule="fill").to_numpy()).any()


@pytest.mark.parametrize(
    ("times", "word"),
    [
        (["٢٠٢٤٠١٠٤", "٢٠٢٤٠١٠٥"], "row 0.*digits other than 0 to 9"),
        (["2024-01-04", "2024-01-0٥"], "row 1.*digits other than 0 to 9"),
        (["２０２４-01-04", "2024-01-05"], "row 0.*digits other than 0 to 9"),
        (["1704447000000000000", "99999999999999999999"], "row 1.*no date and no count"),
        (["9" * 30, "1704447000"], "row 0.*no date and no count"),
        (["1704447000", "-9999999999999999999"], "row 1.*no date and no count"),
        ([1704447000, 10**400], "row 1.*no date and no count"),
        ([1704447000, 10**19], "row 1.*no date and no count"),
        (np.array([2**63, 2**63 + 5], dtype=np.uint64), "row 0.*no date and no count"),
        ([1704447000, 10**10], "row 1.*1678 to 2261"),
        ([1704447000.5, 1e10], "row 1.*1678 to 2261"),
        (["1704447000", "10000000000"], "row 1.*1678 to 2261"),
        ([1704447000000, 10**13], "row 1.*1678 to 2261"),
        ([-(10**10), 0], "row 0.*1678 to 2261"),
        (pd.period_range("2261-12-31", periods=2, freq="D"), "row 1.*1678 to 2261"),
        (list(pd.period_range("2261-12-31", periods=2, freq="D")), "row 1.*1678 to 2261"),
        ([pd.Period("2024-01-01", "D"), dt.datetime(2024, 1, 2)], "cannot be read|another kind"),
    ],
)
def test_digits_and_counts_that_show_no_time_are_refused_with_their_row(times: object, word: str) -> None:
    with pytest.raises(BarsError, match=f"times: .*{word}" if "row" in word else word) as caught:
        parse_times(times)
    assert str(caught.value).count("times: ") == 1
