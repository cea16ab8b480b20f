"""Splits: parts never share a row or touch, and what cannot be split says why."""

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.data import Series, WindowSampler
from kronos.data.sets.series import Timeline
from kronos.data.sets.splits import Split, cut_rows, split_by_dates, split_by_ratio, walk_forward
from kronos.errors import BarsError, ConfigError
from reference import bars_frame

DAY = np.timedelta64(1, "D")


@lru_cache
def series(rows: int, name: str = "x", freq: str = "1D", start: str = "2020-01-01", seed: int = 0) -> Series:
    return Series.of(bars_frame(rows, seed=seed, freq=freq, start=start), name)


def market() -> list[Series]:
    return [
        series(900, "crypto/BTCUSDT_1d"),
        series(2400, "crypto/BTCUSDT_1h", freq="1h", start="2021-06-01", seed=1),
        series(700, "crypto/ETHUSDT_1d", start="2020-07-01", seed=2),
        series(30, "us/NEW_1d", start="2022-01-01", seed=3),
        series(500, "us/AAPL_1d", start="2019-01-01", seed=4),
    ]


Splitter = Callable[[Sequence[Timeline], int, int, int | None], list[Split]]
SPLITTERS: dict[str, Splitter] = {
    "ratio": lambda s, a, b, e: [split_by_ratio(s, a, b, embargo=e)],
    "ratio, common": lambda s, a, b, e: [split_by_ratio(s, a, b, embargo=e, common=True)],
    "ratio, two parts": lambda s, a, b, e: [split_by_ratio(s, a, b, embargo=e, ratios=(0.6, 0, 0.4))],
    "ratio, held out": lambda s, a, b, e: [split_by_ratio(s, a, b, embargo=e, hold_out=["AAPL"])],
    "dates": lambda s, a, b, e: [
        split_by_dates(
            s, a, b, {"train": (None, "2021-07-20"), "val": ("2021-07-20", "2021-08-20"), "test": ("2021-08-25", None)},
            embargo=e,
        )
    ],
    "walk": lambda s, a, b, e: walk_forward(s, a, b, folds=3, embargo=e),
    "walk, rolling": lambda s, a, b, e: walk_forward(s, a, b, folds=3, embargo=e, expanding=False, validation=0.3),
    "walk, by rows": lambda s, a, b, e: walk_forward(s, a, b, folds=2, embargo=e, common=False),
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(SPLITTERS)),
    st.integers(1, 12),
    st.integers(0, 5),
    st.sampled_from([None, 0, 1, 7]),
    st.lists(st.tuples(st.integers(1, 500), st.integers(0, 600), st.sampled_from(["1D", "1h", "1W"])), max_size=4),
)
def test_parts_share_no_row_and_keep_the_embargo(
    way: str, lookback: int, horizon: int, embargo: int | None, more: list[tuple[int, int, str]]
) -> None:
    start = pd.Timestamp("2021-01-01")
    own = [
        series(max(rows, 2), f"y/{i}", freq=freq, start=str(start + pd.Timedelta(days=late)))
        for i, (rows, late, freq) in enumerate(more)
    ]
    for split in SPLITTERS[way]([*market(), *own], lookback, horizon, embargo):
        wanted = lookback + horizon if embargo is None else embargo
        assert split.embargo == wanted
        for which, one in enumerate(split.series):
            stop = None
            for name in split.parts:
                first, end = split.rows(name)[which].tolist()
                assert 0 <= first <= end <= len(one)
                if end > first:
                    assert stop is None or first - stop >= wanted
                    stop = end
        for name in split.parts:
            windows = split.windows(name)
            assert len(windows) == split.summary()["parts"][name]["windows"] > 0
            for index in {0, len(windows) // 2, len(windows) - 1}:
                which, row = windows.place(index)
                first, end = split.rows(name)[which].tolist()
                assert first <= row
                assert row + lookback + horizon <= end


LENGTHS = {"1h": np.timedelta64(1, "h"), "4h": np.timedelta64(4, "h"), "1d": DAY, "1mo": np.timedelta64(31, "D")}


def line(asset: str, place: int, timeframe: str, start: str, rows: int) -> Timeline:
    freq = {"1h": "1h", "4h": "4h", "1d": "1D", "1mo": "MS"}[timeframe]
    index = pd.date_range(start, periods=rows, freq=freq)
    return Timeline.of_times(index, f"m/{asset}#{place}", symbol=asset, timeframe=timeframe)


def assert_apart(split: Split) -> None:
    """Of an asset, all that an earlier part has ends before a later part has anything, the embargo before it."""
    names = list(split.parts)
    symbols = {"".join(filter(str.isalnum, one.symbol)).lower() for one in split.series}
    for symbol in symbols:
        mine = [i for i, one in enumerate(split.series) if "".join(filter(str.isalnum, one.symbol)).lower() == symbol]
        for number, name in enumerate(names):
            begins = [
                split.series[i].times[split.rows(later)[i, 0]]
                for later in names[number + 1 :]
                for i in mine
                if split.rows(later)[i, 1] > split.rows(later)[i, 0]
            ]
            for i in mine:
                first, stop = split.rows(name)[i].tolist()
                if stop > first and begins:
                    one = split.series[i]
                    if len(mine) > 1 or one.timeframe != "1mo":  # one series is counted in rows alone
                        assert one.times[stop - 1] + (1 + split.embargo) * LENGTHS[one.timeframe] <= min(begins)
    assert not any(fact["same_symbol"] for fact in split.summary()["overlaps"])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(set(SPLITTERS) - {"ratio, held out"})),
    st.integers(1, 12),
    st.integers(0, 5),
    st.sampled_from([None, 0, 1, 40]),
    st.lists(
        st.tuples(
            st.sampled_from(["BTC/USDT", "btc-usdt", "ETH/USDT"]),
            st.sampled_from(sorted(LENGTHS)),
            st.integers(0, 900),
            st.integers(1, 900),
        ),
        min_size=1,
        max_size=7,
    ),
)
def test_parts_of_one_asset_lie_apart_over_all_its_timeframes_and_pieces(
    way: str, lookback: int, horizon: int, embargo: int | None, made: list[tuple[str, str, int, int]]
) -> None:
    start = pd.Timestamp("2020-09-01")
    made = [*made, ("ETH/USDT", "1h", 200, 3000)]
    lines = [
        line(asset, i, timeframe, str(start + pd.Timedelta(days=late)), rows if timeframe != "1mo" else 1 + rows // 30)
        for i, (asset, timeframe, late, rows) in enumerate(made)
    ]
    # other assets, so that every part has a window
    more = [line("LONG", 90, "1d", "2019-01-01", 2500), line("PLAIN", 91, "1h", "2021-01-01", 9000)]
    for split in SPLITTERS[way]([*lines, *more], lookback, horizon, embargo):
        assert_apart(split)


def pieces() -> list[Timeline]:
    """A year of hours in three pieces, with holes of half an hour and of ten days, and its days."""
    return [
        line("BTC/USDT", 1, "1h", "2021-01-01", 5000),
        line("BTC/USDT", 2, "1h", "2021-07-28 08:30", 1000),
        line("BTC/USDT", 3, "1h", "2021-09-18", 2500),
        line("BTC/USDT", 4, "1d", "2021-01-01", 365),
    ]


def test_all_series_of_an_asset_are_cut_at_the_same_moments() -> None:
    split = split_by_ratio(pieces(), 20, 5, ratios=(0.6, 0.2, 0.2))
    assert_apart(split)
    rows = {name: int((each[:, 1] - each[:, 0]).sum()) for name, each in split.parts.items()}
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert rows[name] / sum(rows.values()) == pytest.approx(share, abs=0.01)
    assert sum(rows.values()) >= 8865 - 2 * 2 * 25 - 4  # two timeframes lose the embargo at two cuts
    for name in ("train", "test"):
        assert (np.diff(split.rows(name))[:, 0] > 0).sum() >= 2  # hours and days
    # an asset of its own beside it is cut by its own rows, as it is alone
    alone, beside = series(1000, "m/ETH"), split_by_ratio([*pieces(), series(1000, "m/ETH")], 20, 5)
    for name in split.parts:
        np.testing.assert_array_equal(beside.rows(name)[4], split_by_ratio([alone], 20, 5).rows(name)[0])


def test_the_embargo_is_kept_in_time_between_pieces() -> None:
    lines = [line("BTC", 1, "1h", "2022-01-01", 500), line("BTC", 2, "1h", "2022-01-21 21:00", 500)]
    for split in (
        split_by_ratio(lines, 8, 2, ratios=(0.5, 0, 0.5), embargo=100),
        split_by_dates(lines, 8, 2, {"train": (None, "2022-01-21 21:00"), "test": ("2022-01-21 21:00", None)},
                       embargo=100),
    ):  # fmt: skip
        assert_apart(split)
    assert split.rows("train").tolist() == [[0, 401], [0, 0]]  # the first ends at 20:00, an hour before the second
    assert split.rows("test").tolist() == [[0, 0], [0, 500]]


def test_a_short_piece_is_trained_on_only_before_the_first_cut_of_its_asset() -> None:
    lines = [line("BTC", 1, "1d", "2020-01-01", 1000), line("BTC", 2, "1h", "2022-09-01", 20),
             line("BTC", 3, "1h", "2020-02-01", 20)]  # fmt: skip
    split = split_by_ratio(lines, 20, 5)
    assert_apart(split)
    assert [split.rows(name)[1].tolist() for name in split.parts] == [[0, 0], [0, 0], [0, 20]]
    assert [split.rows(name)[2].tolist() for name in split.parts] == [[0, 20], [0, 0], [0, 0]]


def test_the_summary_tells_a_leak_within_a_symbol_from_an_overlap_of_several() -> None:
    lines = pieces()
    rows = {"train": np.array([[0, 5000], [0, 0], [0, 0], [0, 250]]),
            "test": np.array([[0, 0], [0, 1000], [0, 2500], [280, 365]])}  # fmt: skip
    (fact,) = Split(lines, 20, 5, 25, rows).summary()["overlaps"]
    assert (fact["in_time"], fact["same_symbol"]) == (True, True)  # days of August are trained on, its hours tested
    early, late = series(400, "a/EARLY_1d"), series(400, "a/LATE_1d", start="2020-09-01")
    overlaps = split_by_ratio([early, late], 8, 4).summary()["overlaps"]
    assert any(fact["in_time"] for fact in overlaps)
    assert not any(fact["same_symbol"] for fact in overlaps)


@pytest.mark.parametrize("way", sorted(SPLITTERS))
def test_later_parts_change_nothing_in_training_batches(way: str) -> None:
    plain = market()
    for split in SPLITTERS[way](plain, 8, 4, None):
        names = list(split.parts)
        changed = []
        for which, one in enumerate(plain):
            bars = one.bars.copy()
            for name in names[1:]:
                first, stop = split.rows(name)[which].tolist()
                bars[first:stop] = np.nan
            changed.append(Series(one.name, one.timeframe, one.times, bars, one.stamps))
        first, second = (WindowSampler(split.windows(names[0], each), 64, 1) for each in (plain, changed))
        for step in range(3):
            np.testing.assert_array_equal(first(step).bars, second(step).bars)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 3000),
    st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.5), (1.0,), (0.1, 0.2, 0.3, 0.4)]),
    st.integers(0, 90),
)
def test_rows_are_cut_by_ratio_with_the_embargo_between(rows: int, ratios: tuple[float, ...], embargo: int) -> None:
    cuts = cut_rows(rows, ratios, embargo)
    usable = rows - embargo * (len(ratios) - 1)
    assert all(0 <= first <= stop <= rows for first, stop in cuts)
    if usable > 0:
        sizes = [stop - first for first, stop in cuts]
        assert sum(sizes) == usable
        assert all(abs(size - usable * ratio) <= 1 for size, ratio in zip(sizes, ratios, strict=True))
        assert all(b[0] - a[1] == embargo for a, b in pairwise(cuts))
        assert cuts[-1][1] == rows
    else:
        assert all(first == stop for first, stop in cuts)


def test_a_ratio_split_of_one_series_is_this() -> None:
    split = split_by_ratio([series(1000)], 20, 5)
    assert {name: rows[0].tolist() for name, rows in split.parts.items()} == {
        "train": [0, 665],  # of 1000 - 2 * 25 rows
        "validation": [690, 833],
        "test": [858, 1000],
    }


def test_a_series_too_short_for_every_part_is_trained_on_whole() -> None:
    split = split_by_ratio([series(1000), series(150, "short")], 20, 5)
    assert [split.rows(name)[1].tolist() for name in split.parts] == [[0, 150], [0, 0], [0, 0]]


def test_common_moments_cut_all_series_alike_and_hold_the_ratios_together() -> None:
    parts = market()
    split = split_by_ratio(parts, 8, 4, common=True, embargo=0)
    spans = {}
    for name in split.parts:
        cut = list(split.cut(name, parts))
        ends = [one.times[-1] + (DAY if one.timeframe == "1d" else DAY / 24) for one in cut]
        spans[name] = min(one.times[0] for one in cut), max(ends)
    assert spans["train"][1] <= spans["validation"][0]
    assert spans["validation"][1] <= spans["test"][0]
    total = sum(map(len, parts))
    for name, ratio in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        assert sum(len(one) for one in split.cut(name, parts)) / total == pytest.approx(ratio, abs=0.01)
    assert not any(fact["in_time"] for fact in split.summary()["overlaps"])


def test_common_moments_make_room_for_the_embargo_as_single_series_do() -> None:
    alike = [series(1000, f"m/{i}", seed=i) for i in range(3)]
    alone, together = (split_by_ratio(alike, 20, 5, common=common) for common in (False, True))
    for name in alone.parts:
        np.testing.assert_array_equal(alone.rows(name), together.rows(name))
    few = [*alike, *(series(30, f"m/short{i}") for i in range(5))]  # a few rows more, and no room that they would need
    sizes = {name: part["rows"] for name, part in split_by_ratio(few, 20, 5, common=True).summary()["parts"].items()}
    assert [size / sum(sizes.values()) for size in sizes.values()] == pytest.approx([0.7, 0.15, 0.15], abs=0.02)


def test_a_bar_that_lasts_over_the_cut_belongs_to_neither_part() -> None:
    weeks, hours = (
        series(60, "a/weeks_1w", freq="7D", start="2022-01-03"),
        series(9000, "a/hours", freq="1h", start="2022-01-03"),
    )
    split = split_by_dates(
        [weeks, hours], 3, 1, {"train": (None, "2022-06-01"), "test": ("2022-06-01", None)}, embargo=0
    )
    (_, stop), (first, _) = split.rows("train")[0].tolist(), split.rows("test")[0].tolist()
    assert weeks.times[stop] == np.datetime64("2022-05-30")  # a Monday; its week ends after the cut
    assert first == stop + 1
    (_, stop), (first, _) = split.rows("train")[1].tolist(), split.rows("test")[1].tolist()
    assert first == stop
    assert hours.times[first] == np.datetime64("2022-06-01")


def test_dates_begin_where_they_are_said_to_and_the_embargo_comes_before() -> None:
    one = series(1000)
    split = split_by_dates([one], 20, 5, {"train": ("2020-02-01", "2021-01-01"), "test": ("2021-01-01", "2022-01-01")})
    (first, stop), (begin, end) = split.rows("train")[0].tolist(), split.rows("test")[0].tolist()
    assert one.times[first] == np.datetime64("2020-02-01")
    assert one.times[begin] == np.datetime64("2021-01-01")
    assert begin - stop == 25
    assert one.times[end - 1] == np.datetime64("2021-12-31")


@pytest.mark.parametrize("moment", ["2021-01-01", pd.Timestamp("2021-01-01").date(), pd.Timestamp("2021-01-01"),
                                    "2021-01-01T08:00+08:00"])  # fmt: skip
def test_dates_are_texts_or_dates(moment: Any) -> None:
    split = split_by_dates([series(1000)], 20, 5, {"train": (None, moment), "test": (moment, None)})
    assert split.series[0].times[split.rows("test")[0, 0]] == np.datetime64("2021-01-01")


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        ({"train": (None, 2021)}, "2021 is no date"),
        ({"train": (None, "soon")}, "'soon' is no date"),
        ({"train": (None, "NaT")}, "'NaT' is no date"),
        ({"train": (None, "3000-01-01")}, "is no date"),
        ({"train": (None, "2021"), "test": ("2020-06-01", None)}, "'test' begins at 2020-06-01.*before 'train' ends"),
        ({"train": ("2022", "2021")}, "must not overlap"),
        ({"train": (None, None), "test": (None, None)}, "must not overlap"),
        ({}, "no part"),
    ],
)
def test_bad_dates_are_refused(dates: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split_by_dates([series(1000)], 20, 5, dates)


def test_folds_walk_forward() -> None:
    one = series(600)
    expanding = walk_forward([one], 20, 5, folds=5)
    assert [fold.rows("test")[0].tolist() for fold in expanding] == [[100 * i, 100 * i + 100] for i in range(1, 6)]
    assert [fold.rows("train")[0].tolist() for fold in expanding] == [[0, 100 * i - 25] for i in range(1, 6)]
    rolling = walk_forward([one], 20, 5, folds=5, expanding=False)
    assert [fold.rows("train")[0].tolist() for fold in rolling] == [[100 * i - 100, 100 * i - 25] for i in range(1, 6)]
    both = walk_forward([one], 20, 5, folds=2, validation=0.3, embargo=0, common=False)
    assert [[*fold.parts] for fold in both] == [["train", "validation", "test"]] * 2
    assert [rows[0].tolist() for rows in both[1].parts.values()] == [[0, 280], [280, 400], [400, 600]]


def test_held_out_symbols_are_only_tested_at_every_timeframe() -> None:
    parts = market()
    for text in ("BTC/USDT", "btcusdt", "BTC-USDT", "crypto/BTCUSDT_1h"):
        split = split_by_ratio(parts, 8, 4, hold_out=[text])
        assert split.held_out == ("BTCUSDT",)
        for which in (0, 1):
            assert split.rows("train")[which].tolist() == split.rows("validation")[which].tolist() == [0, 0]
            assert split.rows("test")[which].tolist() == [0, len(parts[which])]
        assert split.rows("train")[2, 1] > 0
    common = split_by_ratio(parts, 8, 4, hold_out=["BTC/USDT"], common=True)
    assert common.rows("train")[0].tolist() == [0, 0]
    assert 0 < common.rows("test")[0, 0] < common.rows("test")[0, 1] == 900
    assert all(fact["symbols_in_both"] == 0 or fact["parts"] == ["train", "validation"] or "test" in fact["parts"]
               for fact in common.summary()["overlaps"])  # fmt: skip


def test_a_share_of_the_symbols_is_held_out_by_the_seed() -> None:
    parts = [series(400, f"m/S{i}_1d", seed=i) for i in range(10)]
    held = [split_by_ratio(parts, 8, 4, hold_out=0.3, seed=seed).held_out for seed in range(8)]
    assert {len(one) for one in held} == {3}
    assert len(set(held)) > 3
    assert split_by_ratio(parts, 8, 4, hold_out=0.3, seed=5).held_out == held[5]
    assert split_by_ratio(parts, 8, 4, hold_out=0.0).held_out == ()


@pytest.mark.parametrize(
    ("hold_out", "words"),
    [
        (["DOGE/USDT"], "no series of 'DOGE/USDT'"),
        (["AAPLE"], "did you mean 'AAPL'"),
        (1.0, "up to 1"),
        (-0.1, "share"),
    ],
)
def test_unknown_symbols_and_shares_are_refused(hold_out: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split_by_ratio(market(), 8, 4, hold_out=hold_out)


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (lambda: split_by_ratio([series(300)], 90, 10),
         ["'validation' is empty", "90 [+] 10 rows fits, with 100 left", "x has 300 rows", "a series of 874 rows has"]),
        (lambda: split_by_ratio([series(300)], 90, 10, common=True),
         ["'train' is empty", "70 of them here", "change ratios, or"]),
        (lambda: split_by_dates([series(300)], 9, 1, {"a": (None, "2020-06-01"), "b": ("2030", None)}),
         ["'b' is empty", "0 of them here", "change the dates"]),
        (lambda: walk_forward([series(100)], 9, 1, folds=20), ["folds .this is fold 1 of 20.", "100 rows"]),
        (lambda: split_by_ratio([series(400), series(300, "y")], 9, 1, hold_out=["x", "y"]),
         ["'train' is empty", "2 of the series held out"]),
        (lambda: split_by_ratio([series(20 + i, f"s{i}") for i in range(9)], 90, 10),
         ["s8 has 28 rows", "and 6 more", "a series of 874 rows"]),
    ],
)  # fmt: skip
def test_an_empty_part_says_why(split: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(BarsError) as caught:
        split()
    assert "\n" not in str(caught.value)
    for word in words:
        assert re.search(word, str(caught.value)), (word, str(caught.value))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"ratios": (0.7, 0.3)}, "give one each"),
        ({"ratios": (0.7, 0.3, 0)}, "test and another"),
        ({"ratios": (0, 0, 1)}, "test and another"),
        ({"ratios": (0.7, 0.2, 0.2)}, "add up to 1"),
        ({"ratios": (1.2, -0.4, 0.2)}, "above 0"),
        ({"embargo": -1}, "embargo is -1"),
        ({"embargo": 10**30}, "no series has more"),
    ],
)
def test_bad_settings_are_refused(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split_by_ratio(market(), 8, 4, **bad)
    with pytest.raises(ConfigError, match="lookback >= 1"):
        split_by_ratio(market(), 0, 4)
    with pytest.raises(ConfigError, match="longer than any series"):
        split_by_ratio(market(), 10**20, 4)
    with pytest.raises(BarsError, match="'train' is empty"):
        split_by_ratio(pieces(), 8, 4, embargo=2**62)
    with pytest.raises(ConfigError, match="folds >= 1"):
        walk_forward(market(), 8, 4, folds=0)
    with pytest.raises(BarsError, match="no series"):
        split_by_ratio([], 8, 4)
    for common in (False, True):
        with pytest.raises(BarsError, match="'train' is empty"):
            split_by_ratio([line("A", i, "1d", "2020", 0) for i in range(2)], 8, 4, common=common)


def test_the_summary_states_what_is_where_and_what_overlaps() -> None:
    early, late = series(400, "a/EARLY_1d"), series(400, "a/LATE_1d", start="2020-09-01")
    summary = split_by_ratio([early, late], 8, 4).summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["parts"]["train"] == {
        "series": 2,
        "rows": 2 * 263,
        "windows": 2 * 252,
        "first": "2020-01-01T00:00:00",
        "last": str(np.datetime64(late.times[262], "s")),
    }
    (fact,) = (fact for fact in summary["overlaps"] if fact["parts"] == ["train", "test"])
    assert fact["in_time"]
    assert fact["symbols_in_both"] == 2
    test_begins = early.times[400 - 57 + 1]
    assert fact["first"] == str(np.datetime64(test_begins, "s"))
    assert fact["rows"] == int((early.times[:263] >= test_begins).sum() + (late.times[:263] >= test_begins).sum()) > 0
    common = split_by_ratio([early, late], 8, 4, common=True).summary()
    assert [(fact["in_time"], fact["rows"]) for fact in common["overlaps"]] == [(False, 0)] * 3


def test_planning_needs_times_only() -> None:
    full = market()
    lines = [Timeline.of_times(pd.DatetimeIndex(one.times), one.name) for one in full]
    plan, same = (split_by_ratio(each, 8, 4, common=True, hold_out=["AAPL"]) for each in (lines, full))
    for name in same.parts:
        np.testing.assert_array_equal(plan.rows(name), same.rows(name))
    assert plan.summary() == same.summary()
    assert len(plan.windows("train", full)) == len(same.windows("train"))
    with pytest.raises(ConfigError, match="planned over"):
        plan.windows("train")
    with pytest.raises(ConfigError, match="no part is called 'dev'; there are train, validation, test"):
        plan.rows("dev")


def test_parts_can_be_cut_out_without_copying() -> None:
    parts = market()
    split = split_by_ratio(parts, 8, 4)
    for name in split.parts:
        for one in split.cut(name, parts):
            (whole,) = (each for each in parts if each.name == one.name)
            assert np.shares_memory(one.bars, whole.bars)
            np.testing.assert_array_equal(one.frame().to_numpy(), one.bars)
            assert (one.symbol, one.market) == (whole.symbol, whole.market)
