"""Every defect that an inspection names is planted and found; whatever else comes, it is looked through and agrees
with what `canonical` takes."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kronos.bars import COLUMNS, canonical
from kronos.bars.quality.findings import KINDS, SHOWN
from kronos.bars.quality.health import health
from kronos.bars.quality.inspection import inspect
from kronos.bars.quality.limits import Limits, limits_for
from kronos.bars.quality.ticks import bad_ticks, mended
from kronos.bars.timeframe import Timeframe, wall_clock
from kronos.errors import BarsError
from reference import bars_frame

NOW = pd.Timestamp("2026-01-01", tz="UTC")
PRICES = list(COLUMNS[:4])


def frame(rows: int = 600, **how: Any) -> pd.DataFrame:
    return bars_frame(rows, **how)


def found(bars: pd.DataFrame, **how: Any) -> dict[str, int]:
    return inspect(bars, now=NOW, **how).counts()


def serious(bars: pd.DataFrame, **how: Any) -> dict[str, int]:
    return {f.kind: f.rows for f in inspect(bars, now=NOW, **how).findings if f.severity != "note"}


@pytest.mark.parametrize("freq", ["5min", "15min", "1h", "4h", "1D"])
def test_good_bars_have_no_finding(freq: str) -> None:
    inspection = inspect(frame(freq=freq, seed=3), now=NOW)
    assert inspection.findings == ()
    assert inspection.ok
    assert (inspection.score, inspection.coverage, inspection.calendar) == (100.0, 1.0, "24/7")
    assert inspection.timeframe == Timeframe.parse(freq)


# --- what canonical refuses -------------------------------------------------------------------------------------------


def nan(bars: pd.DataFrame) -> pd.DataFrame:
    bars.iloc[50, 3] = np.nan
    return bars


def infinite(bars: pd.DataFrame) -> pd.DataFrame:
    bars.iloc[50, 4] = np.inf
    return bars


def negative(bars: pd.DataFrame) -> pd.DataFrame:
    bars.iloc[[50, 60], 5] = -1.0
    return bars


def zero_price(bars: pd.DataFrame) -> pd.DataFrame:
    bars.iloc[50, 2] = 0.0
    return bars


def low_high(bars: pd.DataFrame) -> pd.DataFrame:
    bars.iloc[50, 1] = bars.iloc[50][PRICES].min() * 0.99
    return bars


def short_high(bars: pd.DataFrame) -> pd.DataFrame:
    bars.iloc[50, 1] = bars.iloc[50][["open", "close"]].mean()
    return bars


def swapped(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.iloc[[*range(50), 51, 50, *range(52, len(bars))]]


def newest_first(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.iloc[::-1]


def twice(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.iloc[[*range(51), 50, *range(51, len(bars))]]


def other_values(bars: pd.DataFrame) -> pd.DataFrame:
    again = twice(bars).copy()
    again.iloc[51] *= 1.001
    return again


def joined(bars: pd.DataFrame) -> pd.DataFrame:
    index = bars.index[:500].append(pd.date_range(bars.index[500], periods=100, freq="5min"))
    return bars.set_axis(index)


def one_row(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.iloc[:1]


REFUSED: list[tuple[Callable[[pd.DataFrame], pd.DataFrame], str, int]] = [
    (nan, "missing_value", 1),
    (infinite, "missing_value", 1),
    (negative, "not_positive", 2),
    (zero_price, "not_positive", 1),
    (low_high, "bad_candle", 1),
    (short_high, "bad_candle", 1),
    (swapped, "unsorted", 1),
    (newest_first, "unsorted", 599),
    (twice, "duplicate", 1),
    (other_values, "duplicate", 1),
    (joined, "mixed_timeframe", 100),
    (one_row, "too_few", 1),
]


@pytest.mark.parametrize(("plant", "kind", "rows"), REFUSED)
def test_what_canonical_refuses_is_an_error(
    plant: Callable[[pd.DataFrame], pd.DataFrame], kind: str, rows: int
) -> None:
    bars = plant(frame())
    with pytest.raises(BarsError):
        canonical(bars, volume_rule="fill")
    inspection = inspect(bars, now=NOW)
    errors = [finding for finding in inspection.findings if finding.severity == "error"]
    assert [finding.kind for finding in errors] == [kind]
    assert abs(errors[0].rows - rows) <= (1 if kind == "mixed_timeframe" else 0)
    assert not inspection.ok
    assert inspection.score <= 80


def test_duplicates_are_told_apart_by_their_values() -> None:
    (same,) = inspect(twice(frame()), now=NOW).findings
    (other,) = inspect(other_values(frame()), now=NOW).findings
    assert "equal values" in same.detail
    assert "other values" in other.detail
    assert same.first == other.first == frame().index[50]


@st.composite
def loose_frames(draw: st.DrawFn) -> pd.DataFrame:
    """Frames with any sort of damage in them."""
    rows = draw(st.integers(1, 40))
    bars = bars_frame(rows, seed=draw(st.integers(0, 99)), freq=draw(st.sampled_from(["1h", "1D", "15min"])))
    values = bars.to_numpy().copy()
    if draw(st.booleans()):
        values[:, 5] = np.nan
    wild = st.sampled_from([np.nan, np.inf, 0.0, -1.0, 1e-9, 1e9, 50.0])
    for row, column, value in draw(st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, 5), wild), max_size=5)):
        values[row, column] = value
    order = draw(st.one_of(st.just(list(range(rows))), st.lists(st.integers(0, rows - 1), min_size=1, max_size=50)))
    zone = draw(st.sampled_from([None, "UTC", "America/New_York"]))
    index = bars.index[order]
    index = index if zone is None else index.tz_localize("UTC").tz_convert(zone)
    return pd.DataFrame(values[order], index=index, columns=list(COLUMNS))


@given(bars=loose_frames())
@settings(max_examples=100)
def test_any_frame_is_looked_through_and_is_ok_exactly_where_canonical_takes_it(bars: pd.DataFrame) -> None:
    before = bars.copy()
    inspection = inspect(bars, now=NOW)
    pd.testing.assert_frame_equal(bars, before)
    try:
        canonical(bars, volume_rule="fill")
        refused = False
    except BarsError:
        refused = True
    more = {"mixed_series", "future"}
    assert refused <= (not inspection.ok)
    assert inspection.ok or refused or {f.kind for f in inspection.findings if f.severity == "error"} <= more
    text = json.loads(json.dumps(inspection.to_dict(), allow_nan=False))
    assert text["counts"] == inspection.counts()
    assert set(text["counts"]) <= set(KINDS)
    assert 0 <= inspection.score <= 100
    assert 0 <= inspection.coverage <= 1
    assert all(isinstance(line, str) and "\n" not in line for line in inspection.lines())
    assert 0 <= health(bars).score <= 1


def test_no_row_at_all_and_a_frame_of_another_kind() -> None:
    empty = frame().iloc[:0]
    inspection = inspect(empty, now=NOW)
    assert [f.kind for f in inspection.findings] == ["too_few"]
    assert (inspection.first, inspection.rows, inspection.ok) == (None, 0, False)
    assert health(empty).score == 0.0
    with pytest.raises(BarsError, match="loose"):
        inspect(frame().reset_index())
    with pytest.raises(BarsError, match="amount"):
        inspect(frame().drop(columns="amount"))


def test_rows_without_a_time() -> None:
    bars = frame()
    bars.index = bars.index.where(np.arange(len(bars)) != 7)
    errors = [f.detail for f in inspect(bars, now=NOW).findings if f.severity == "error"]
    assert errors == ["1 row without a time"]


# --- times ------------------------------------------------------------------------------------------------------------


def test_missing_bars_are_gaps_and_lower_the_coverage() -> None:
    bars = frame().drop(frame().index[[100, 101, 300]])
    inspection = inspect(bars, now=NOW)
    assert inspection.counts() == {"gap": 2}
    assert sum(f.rows for f in inspection.findings) == 3
    assert inspection.coverage == pytest.approx(597 / 600)
    assert inspection.ok
    assert inspection.findings[0].first == frame().index[99]


def test_bars_that_have_not_happened() -> None:
    bars = frame(freq="1D")
    assert found(bars, calendar="24/7") == {}
    early = inspect(bars, now=pd.Timestamp("2025-01-01", tz="UTC"))
    assert early.counts() == {"future": int((bars.index > "2025-01-01 14:00").sum())}
    assert not early.ok


def test_times_off_the_grid() -> None:
    bars = frame()
    bars.index = bars.index.where(np.arange(len(bars)) != 300, bars.index + pd.Timedelta("7min"))
    assert serious(bars) == {"off_grid": 1}


def test_another_timeframe_than_was_said() -> None:
    assert "mixed_timeframe" in serious(frame(freq="4h"), timeframe="1h")


def sessions(zone: str, hours: list[tuple[str, str]], freq: str = "15min", days: int = 60) -> pd.DatetimeIndex:
    parts = [
        pd.date_range(f"{day:%Y-%m-%d} {a}", f"{day:%Y-%m-%d} {b}", freq=freq, inclusive="left")
        for day in pd.bdate_range("2024-02-19", periods=days)
        for a, b in hours
    ]
    return parts[0].append(parts[1:]).tz_localize(zone)


def clock_of(times: pd.DatetimeIndex) -> tuple[str, str]:
    """Severity and words of the one finding about the clock; empty where there is none."""
    bars = frame(len(times)).set_axis(times)
    own = [f for f in inspect(bars, now=NOW).findings if f.kind == "time_zone"]
    assert len(own) <= 1
    return (own[0].severity, own[0].detail) if own else ("", "")


def test_the_clock_of_sessions_is_recognised() -> None:
    new_york = sessions("America/New_York", [("09:30", "16:00")])
    shanghai = sessions("Asia/Shanghai", [("09:30", "11:30"), ("13:00", "15:00")])
    hong_kong = sessions("Asia/Hong_Kong", [("09:30", "12:00"), ("13:00", "16:00")])
    london = sessions("Europe/London", [("08:00", "16:30")])
    assert clock_of(new_york) == ("", "")
    assert clock_of(new_york.tz_convert("UTC")) == ("", "")
    for times, zone in ((new_york, "America/New_York"), (shanghai, "Asia/Shanghai"), (hong_kong, "Asia/Hong_Kong")):
        naive_utc, naive_own = times.tz_convert("UTC").tz_localize(None), times.tz_localize(None)
        assert clock_of(naive_utc)[0] == "note"
        assert f"look like UTC of {zone}" in clock_of(naive_utc)[1]
        assert f"keep the clock of {zone}" in clock_of(naive_own)[1]
        severity, words = clock_of(naive_own.tz_localize("UTC"))
        assert severity == "warning"
        assert f"labelled UTC, but the clock is that of {zone}" in words
    assert "UTC of Europe/London" in clock_of(london.tz_convert("UTC").tz_localize(None))[1]


def test_bars_stamped_with_their_ends_are_recognised() -> None:
    times = sessions("Asia/Shanghai", [("09:30", "11:30"), ("13:00", "15:00")]) + pd.Timedelta("15min")
    assert "stamped with their ends" in clock_of(times.tz_convert("UTC").tz_localize(None))[1]
    assert "carry their ends" in clock_of(times)[1]


@pytest.mark.parametrize(
    ("clock", "zone", "words"),
    [
        ("00:00", None, ""),
        ("15:59", None, "15:59, the close of Hong Kong or New York"),
        ("16:00", None, "the close of Hong Kong or New York"),
        ("15:00", None, "the close of Shanghai"),
        ("00:00", "America/New_York", "UTC of midnight in America/New_York"),
        ("16:00", "America/New_York", "UTC of the close in America/New_York"),
    ],
)
def test_daily_stamps_that_are_no_dates(clock: str, zone: str | None, words: str) -> None:
    times = pd.bdate_range("2023-01-02", periods=300) + pd.Timedelta(f"{clock}:00")
    times = times if zone is None else times.tz_localize(zone).tz_convert("UTC").tz_localize(None)
    assert words in clock_of(times)[1]
    assert bool(words) == bool(clock_of(times)[1])


def test_daily_bars_a_day_early() -> None:
    assert "shifted by one day" in clock_of(pd.bdate_range("2023-01-02", periods=300) - pd.Timedelta("1D"))[1]


# --- prices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.1, 0.7, 1.4, 100.0])
@pytest.mark.parametrize("columns", [["high"], ["low"], ["close"], ["open"], PRICES])
def test_prices_of_one_bar_that_return_are_bad_ticks(columns: list[str], factor: float) -> None:
    bars = frame(seed=5)
    bars.iloc[200, [COLUMNS.index(c) for c in columns]] *= factor
    bars["high"], bars["low"] = bars[PRICES].max(axis=1), bars[PRICES].min(axis=1)
    if (columns, factor < 1) in ((["high"], True), (["low"], False)):
        return  # that is no wick
    own = [f for f in inspect(bars, now=NOW).findings if f.kind == "bad_tick"]
    assert [f.first for f in own] == [bars.index[200]]
    assert serious(bars) == {"bad_tick": 1}
    for name in columns:
        assert name in own[0].detail


def test_a_storm_that_comes_and_goes_is_no_bad_tick() -> None:
    rng = np.random.default_rng(1)
    size = np.where((np.arange(2000) > 900) & (np.arange(2000) < 1000), 0.05, 0.004)
    close = 100 * np.exp((rng.standard_t(4, 2000) * size).cumsum())
    open_ = np.r_[100.0, close[:-1]]
    wick = np.exp(np.abs(rng.standard_t(4, (2000, 2))) * size[:, None])
    bars = pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) * wick[:, 0],
            "low": np.minimum(open_, close) / wick[:, 1],
            "close": close,
            "volume": 1.0,
            "amount": close,
        },
        index=pd.date_range("2024-01-01", periods=2000, freq="1h"),
    )
    assert "bad_tick" not in found(bars)


def test_a_wick_with_volume_behind_it_is_believed() -> None:
    bars = frame(seed=5)
    bars.iloc[200, 1] *= 1.25
    assert "bad_tick" in found(bars)
    bars.iloc[200, 4:] *= 20
    assert "bad_tick" not in found(bars)


def test_two_series_in_one() -> None:
    bars = frame(2000)
    bars.iloc[100:1900:17, :4] *= 1.3
    inspection = inspect(bars, now=NOW)
    assert "mixed_series" in inspection.counts()
    assert not inspection.ok


@pytest.mark.parametrize(
    ("factor", "kind"),
    [(1 / 2, "split"), (1 / 7, "split"), (3, "split"), (1.5, "split"), (0.55, "jump"), (1.27, "jump")],
)
def test_levels_that_change_for_good_are_jumps_and_by_a_usual_ratio_splits(factor: float, kind: str) -> None:
    bars = frame(seed=2)
    bars.iloc[300:, :4] *= factor
    bars.iloc[300:, 4] /= factor
    inspection = inspect(bars, now=NOW)
    assert [(f.kind, f.first) for f in inspection.findings if f.severity != "note"] == [(kind, bars.index[300])]


def test_a_crash_on_heavy_turnover_is_a_jump_though_its_ratio_is_usual() -> None:
    bars = frame(seed=2)
    bars.iloc[300:, :4] /= 2
    bars.iloc[300, 4:] *= 30
    assert "jump" in serious(bars)
    assert "split" not in serious(bars)


@pytest.mark.parametrize(("freq", "run"), [("5min", 3), ("15min", 2), ("1h", 1), ("1D", 1)])
def test_runs_without_volume(freq: str, run: int) -> None:
    bars = frame(freq=freq)
    bars.iloc[100 : 100 + run, 4:] = 0.0
    bars.iloc[200 : 200 + run - 1, 4:] = 0.0
    assert serious(bars) == {"zero_volume": run}


@pytest.mark.parametrize(("freq", "run"), [("5min", 10), ("15min", 5), ("1h", 3), ("4h", 3)])
def test_runs_that_stand_still(freq: str, run: int) -> None:
    bars = frame(freq=freq)
    for start, length in ((100, run), (200, run - 1), (300, run), (300 + run, run)):
        bars.iloc[start : start + length, :4] = bars.iloc[start, 3]
    bars["amount"] = bars["volume"] * bars["close"]
    own = [f for f in inspect(bars, now=NOW).findings if f.kind == "stagnant"]
    assert [(f.first, f.rows) for f in own] == [(bars.index[row], run) for row in (100, 300, 300 + run)]


def test_no_volume_is_a_note() -> None:
    bars = frame()
    bars[["volume", "amount"]] = np.nan
    assert serious(bars) == {}
    assert found(bars) == {"zero_volume": 1}
    bars[["volume", "amount"]] = 0.0
    assert serious(bars) == {}


def test_some_unknown_volumes_are_a_warning() -> None:
    bars = frame()
    bars.iloc[50:60, 4] = np.nan
    assert serious(bars) == {"missing_value": 10}


# --- amounts ----------------------------------------------------------------------------------------------------------


def words(bars: pd.DataFrame) -> list[tuple[str, str]]:
    return [(f.severity, f.detail) for f in inspect(bars, now=NOW).findings if f.kind == "vwap"]


def test_units_of_volume_are_said_once() -> None:
    bars = frame(2000)
    bars["volume"] /= 100
    assert words(bars) == [("note", "amount / (volume x price) is 100: volume counts lots")]
    bars["volume"] *= 7.3
    ((severity, detail),) = words(bars)
    assert severity == "note"
    assert "is 13.7" in detail


def test_amounts_in_coins() -> None:
    bars = frame(2000)
    bars["amount"] = bars["volume"] * 0.01
    assert "does not grow with the price" in words(bars)[0][1]
    bars["amount"] = bars["volume"] * 100 / bars["close"]
    assert "paid in coins" in words(bars)[0][1]


def test_amounts_outside_their_bars() -> None:
    bars = frame(2000)
    bars.iloc[500, 5] *= 1.2
    ((severity, detail),) = words(bars)
    assert severity == "note"
    assert "1 of 2,000 bars" in detail
    bars.iloc[500:600, 5] *= 1.2
    assert words(bars)[0][0] == "warning"


def test_prices_that_were_adjusted_and_amounts_that_were_not() -> None:
    bars = frame(2000)
    bars.iloc[:900, :4] *= 0.96
    ((severity, detail),) = words(bars)
    assert severity == "warning"
    assert "adjusted" in detail


def test_volume_in_whole_units_is_rounded_and_no_error() -> None:
    bars = frame(2000)
    bars["amount"] = (bars["volume"].round() * bars[["open", "close"]].mean(axis=1)).round(2)
    bars["volume"] = bars["volume"].round()
    assert words(bars) == []


# --- the whole --------------------------------------------------------------------------------------------------------


def test_outliers_are_counted_in_a_note() -> None:
    bars = frame()
    close = bars["close"].to_numpy().copy()
    close[300:] *= 1.18  # below the limit of a jump, far beyond the usual
    bars[PRICES] = bars[PRICES].to_numpy() * (close / bars["close"].to_numpy())[:, None]
    inspection = inspect(bars, now=NOW, limits=Limits(outlier=10))
    assert inspection.counts()["outlier"] == 1


def test_many_findings_are_counted_exactly_and_listed_in_part() -> None:
    bars = frame(12_000)
    bars.iloc[2:-2:4, 4:] = 0.0
    inspection = inspect(bars, now=NOW)
    assert inspection.counts()["zero_volume"] == 2999
    assert sum(f.rows for f in inspection.findings if f.kind == "zero_volume") == 2999
    assert len(inspection.findings) <= SHOWN + 5
    text = inspection.lines(3)
    assert sum("zero_volume" in line for line in text) == 4
    assert any("2,996 more" in line for line in text)


def test_limits_are_the_papers_and_between_them_the_nearest() -> None:
    assert (limits_for("5m").rows, limits_for("5m").jump, limits_for("5m").illiquid) == (1024, 0.15, 3)
    assert limits_for("1m") == limits_for("5m")
    assert limits_for("30m") in (limits_for("15m"), limits_for("1h"))
    assert limits_for("2h") in (limits_for("1h"), limits_for("4h"))
    assert limits_for("1w") == limits_for("1d")
    assert [limits_for(t).stagnant for t in ("5m", "15m", "1h", "4h", "1d")] == [10, 5, 3, 3, 3]
    assert [limits_for(t).rows for t in ("15m", "1h", "4h", "1d")] == [512, 256, 128, 128]


@given(
    seed=st.integers(0, 50),
    rows=st.lists(st.integers(5, 290), max_size=6, unique=True),
    factors=hnp.arrays(np.float64, (6, 4), elements=st.sampled_from([1.0, 1.0, 0.5, 0.01, 2.0, 30.0])),
)
def test_mended_bars_are_candles_within_their_neighbours(seed: int, rows: list[int], factors: Any) -> None:
    bars = frame(300, seed=seed)
    prices = bars[PRICES].to_numpy().copy()
    for row, factor in zip(rows, factors, strict=False):
        prices[row] *= factor
    prices[:, 1], prices[:, 2] = prices.max(axis=1), prices.min(axis=1)
    bad = bad_ticks(prices, bars["volume"].to_numpy(), wall_clock(bars.index), Timeframe.parse("1h"), 15.0)
    clean = mended(prices, bad)
    assert (clean[~bad.any(axis=1)] == prices[~bad.any(axis=1)]).all()
    assert (clean[:, 1] >= clean[:, [0, 3]].max(axis=1)).all()
    assert (clean[:, 2] <= clean[:, [0, 3]].min(axis=1)).all()
    assert np.isin(clean, prices).all()
    assert not bad[[0, -1]].any()


# --- health -----------------------------------------------------------------------------------------------------------


def test_a_good_window_is_healthy() -> None:
    assert health(frame(400)).score == 1.0
    assert health(frame(400)).reasons == ()
    assert health(frame(20)).score < 0.7


DEFECTS: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {}


def defect(plant: Callable[[pd.DataFrame, int], pd.DataFrame]) -> Callable[[pd.DataFrame, int], pd.DataFrame]:
    DEFECTS[plant.__name__] = plant
    return plant


@defect
def lost_bar(bars: pd.DataFrame, row: int) -> pd.DataFrame:
    return bars.drop(bars.index[row])


@defect
def lost_price(bars: pd.DataFrame, row: int) -> pd.DataFrame:
    bars.iloc[row, row % 4] = np.nan
    return bars


@defect
def repeated(bars: pd.DataFrame, row: int) -> pd.DataFrame:
    return bars.iloc[[*range(row + 1), *range(row, len(bars))]]


@defect
def spike(bars: pd.DataFrame, row: int) -> pd.DataFrame:
    bars.iloc[row, :4] *= 3.0
    return bars


@defect
def long_wick(bars: pd.DataFrame, row: int) -> pd.DataFrame:
    bars.iloc[row, 2] *= 0.5
    return bars


@defect
def silence(bars: pd.DataFrame, row: int) -> pd.DataFrame:
    bars.iloc[row, 4:] = 0.0
    return bars


@defect
def standstill(bars: pd.DataFrame, row: int) -> pd.DataFrame:
    bars.iloc[row, :4] = bars.iloc[row - 1, 3]
    return bars


@defect
def step(bars: pd.DataFrame, row: int) -> pd.DataFrame:
    bars.iloc[row:, :4] *= 1.6
    return bars


@given(
    seed=st.integers(0, 100),
    plan=st.lists(
        st.tuples(st.sampled_from(sorted(DEFECTS)), st.integers(1, 38)), max_size=8, unique_by=lambda p: p[1]
    ),
)
@settings(max_examples=50)
def test_no_defect_ever_raises_the_health(seed: int, plan: list[tuple[str, int]]) -> None:
    bars = frame(400, seed=seed)
    scores = [health(bars).score]
    for name, place in sorted(plan, key=lambda entry: -entry[1]):  # from the end, so that rows keep their places
        bars = DEFECTS[name](bars.copy(), 10 * place)
        scores.append(health(bars).score)
    assert all(later <= earlier for earlier, later in pairwise(scores))
    assert len(plan) == 0 or scores[-1] < 1.0


@pytest.mark.parametrize(
    ("name", "row", "closed"),
    [("step", 397, True), ("step", 20, False), ("lost_price", 200, True), ("spike", 200, False), ("spike", 399, True)],
)
def test_half_closes_the_gate(name: str, row: int, closed: bool) -> None:
    checked = health(DEFECTS[name](frame(400), row))
    assert (checked.score < 0.5) is closed
    assert len(checked.reasons) >= 1


def test_overdue_bars_close_the_gate() -> None:
    bars = frame(400)
    last = bars.index[-1].tz_localize("UTC")
    assert health(bars, now=last + pd.Timedelta("100min")).score == 1.0
    assert health(bars, now=last + pd.Timedelta("6h")).score < 0.5
    assert "overdue" in health(bars, now=last + pd.Timedelta("6h")).reasons[0]
    with pytest.raises(BarsError, match="time zone"):
        health(bars, now=bars.index[-1])
    aware = bars.set_axis(bars.index.tz_localize("Asia/Tokyo"))
    assert health(aware, now=aware.index[-1].tz_convert("UTC") + pd.Timedelta("90min")).score == 1.0


def test_bars_without_volume_are_no_less_healthy() -> None:
    bars = frame(400)
    bars[["volume", "amount"]] = 0.0
    assert health(bars).score == 1.0
