"""Windows: an index is always the same window, parts in time never overlap, and batches follow the step alone."""

from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars import COLUMNS, KINDS, time_stamps
from kronos.data import Series, Windows, WindowSampler, load_series
from kronos.data.keys import Key
from kronos.data.lake.lake import Lake, Origin
from kronos.data.sets.augment import Augmentation
from kronos.data.sets.epochs import Epoch, permuted
from kronos.data.sets.pack import pack
from kronos.data.sets.series import plain_symbol
from kronos.errors import BarsError, ConfigError, SourceError
from reference import bars_frame

CUT = "2024-01-20"


@lru_cache
def series(rows: int, name: str = "x", start: str = "2024-01-01", freq: str = "1D", seed: int = 0) -> Series:
    return Series.of(bars_frame(rows, seed=seed, freq=freq, start=start), name)


def several() -> list[Series]:
    return [
        series(40, "a/one"),
        series(9, "a/short"),
        series(30, "b/late", start="2024-01-25"),
        series(25, "b/early", start="2023-12-01"),
        series(900, "c/hours", freq="1h"),
    ]


def times_of(windows: Windows, index: int) -> np.ndarray:
    which, row = windows.place(index)
    return windows.series[which].times[row : row + windows.length]


def test_a_series_is_its_frame() -> None:
    frame = bars_frame(30, tz="Asia/Shanghai")
    one = Series.of(frame, "sz/000001")
    utc = frame.index.tz_convert("UTC")
    assert (one.name, one.timeframe) == ("sz/000001", "1h")
    np.testing.assert_array_equal(one.bars, frame[list(COLUMNS)].to_numpy())
    np.testing.assert_array_equal(one.times, utc.tz_localize(None).as_unit("ns").to_numpy())
    np.testing.assert_array_equal(one.stamps, time_stamps(utc))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 6),
    st.sampled_from([None, "2024-01-10"]),
    st.sampled_from([None, CUT, "2024-02-10"]),
)
def test_windows_are_all_that_fit_and_nothing_else(lookback: int, horizon: int, since: str, before: str) -> None:
    windows = Windows(several(), lookback, horizon, since=since, before=before)
    wanted = []
    for which, one in enumerate(windows.series):
        for row in range(len(one.times) - lookback - horizon + 1):
            first, last = one.times[row + lookback], one.times[row + lookback + horizon - 1]
            if (since is None or first >= np.datetime64(since)) and (before is None or last < np.datetime64(before)):
                wanted.append((which, row))
    assert [windows.place(index) for index in range(len(windows))] == wanted


def test_training_and_validation_never_share_a_predicted_bar() -> None:
    for lookback, horizon in ((3, 1), (8, 4), (1, 7)):
        train = Windows(several(), lookback, horizon, before=CUT)
        held = Windows(several(), lookback, horizon, since=CUT)
        assert max(times_of(train, i)[-1] for i in range(len(train))) < np.datetime64(CUT)
        assert min(times_of(held, i)[lookback] for i in range(len(held))) >= np.datetime64(CUT)


def test_a_batch_holds_the_windows_asked_for() -> None:
    windows = Windows(several(), 5, 3)
    indices = np.array([0, len(windows) - 1, 40, 40])
    batch = windows.batch(indices)
    assert batch.bars.shape == (4, 8, 6)
    assert batch.stamps.shape == (4, 8, 5)
    assert batch.lookback == 5
    for number, index in enumerate(indices):
        which, row = windows.place(index)
        np.testing.assert_array_equal(batch.bars[number], windows.series[which].bars[row : row + 8])
        np.testing.assert_array_equal(batch.stamps[number], windows.series[which].stamps[row : row + 8])
        assert 0 <= row <= len(windows.series[which].bars) - 8


def test_a_batch_is_a_copy() -> None:
    windows = Windows(several(), 5, 3)
    before = windows.series[0].bars.copy()
    windows.batch([0]).bars[:] = -1
    np.testing.assert_array_equal(windows.series[0].bars, before)


def test_nothing_fits() -> None:
    with pytest.raises(BarsError, match=r"no window of 30 \+ 20 bars fits into any of 1 series"):
        Windows([series(40)], 30, 20)
    with pytest.raises(BarsError, match="between 2030-01-01 and the end"):
        Windows([series(40)], 3, 2, since="2030-01-01")
    with pytest.raises(BarsError, match="between the beginning and 2020-01-01"):
        Windows([series(40)], 3, 2, before="2020-01-01")
    with pytest.raises(BarsError, match="0 series"):
        Windows([], 3, 2)


@pytest.mark.parametrize("index", [-1, 33, 10**9])
def test_a_number_that_no_window_has_is_refused(index: int) -> None:
    windows = Windows([series(40)], 5, 3)
    assert len(windows) == 33
    for ask in (windows.place, lambda number: windows.batch([0, number])):
        with pytest.raises(IndexError, match=f"no window {index}; they are numbered from 0 to 32"):
            ask(index)
    with pytest.raises(ConfigError, match="at least one number"):
        windows.batch([])


def test_bad_shapes_and_dates_are_refused() -> None:
    for shape in ((0, 1), (1, -1), (2**63, 1), (10**30, 0), (1, 2**64)):
        with pytest.raises(ConfigError, match="lookback"):
            Windows([series(40)], *shape)
    with pytest.raises(BarsError, match="no window of"):
        Windows([series(40)], 2**62 - 1, 1, since="2024-01-10")
    for name in ("since", "before"):
        for moment in ("x", "", "NaT", 2024, "3000-01-01"):
            bad: dict[str, Any] = {name: moment}
            with pytest.raises(ConfigError, match=f"{name}: '?{moment}'? is no date"):
                Windows([series(40)], 3, 2, **bad)


def test_batches_are_a_function_of_seed_and_step() -> None:
    windows = Windows(several(), 5, 3)
    first, second = WindowSampler(windows, 16, seed=4), WindowSampler(windows, 16, seed=4)
    later = second(9)
    for step in (0, 1, 9):
        np.testing.assert_array_equal(first(step).bars, second(step).bars)
    np.testing.assert_array_equal(first(9).bars, later.bars)
    assert not np.array_equal(first(0).bars, first(1).bars)
    assert not np.array_equal(first(0).bars, WindowSampler(windows, 16, seed=5)(0).bars)


def test_groups_weigh_by_the_root_of_their_windows() -> None:
    parts = [series(104, "few/a", seed=1), series(1604, "many/a", seed=2), series(1604, "many/b", seed=3)]
    windows = Windows(parts, 3, 2)
    assert windows.counts.tolist() == [100, 1600, 1600]
    drawn = WindowSampler(windows, 8000, seed=1)(0)
    first_opens = {one.name: set(one.bars[:, 0]) for one in parts}
    share = np.mean([bars[0, 0] in first_opens["few/a"] for bars in drawn.bars])
    assert share == pytest.approx(100**0.5 / (100**0.5 + 3200**0.5), abs=0.03)


def test_series_without_a_window_are_never_drawn_from() -> None:
    parts = [series(4, "short/a"), series(60, "long/a", seed=1), series(4, "short/b")]
    drawn = WindowSampler(Windows(parts, 5, 3), 500, seed=0)(0)
    assert set(drawn.bars[:, 0, 0]) <= set(parts[1].bars[:, 0])


def test_every_window_can_be_drawn() -> None:
    windows = Windows([series(12, "a/x"), series(10, "b/x", seed=1)], 3, 2)
    drawn = WindowSampler(windows, 3000, seed=0)(0)
    assert len({bars.tobytes() for bars in drawn.bars}) == len(windows) == 14


def test_loading_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cn").mkdir()
    bars_frame(20).to_csv(tmp_path / "cn" / "b.csv")
    bars_frame(24, seed=1).to_parquet(tmp_path / "cn" / "a.parquet")
    bars_frame(12, seed=2).to_csv(tmp_path / "z.tsv", sep="\t")
    (tmp_path / "notes.md").write_text("no bars")
    loaded = load_series(tmp_path)
    assert [(one.name, len(one.bars)) for one in loaded] == [("cn/a", 24), ("cn/b", 20), ("z", 12)]
    np.testing.assert_allclose(loaded[1].bars, bars_frame(20).to_numpy(), rtol=1e-12)
    (alone,) = load_series(tmp_path / "cn" / "b.csv")
    assert alone.name == "b"
    with pytest.raises(SourceError, match="absent"):
        load_series(tmp_path / "absent")
    pd.DataFrame({"timestamp": ["2024-01-01"], "open": [1.0]}).to_csv(tmp_path / "z.tsv", sep="\t")
    with pytest.raises(BarsError, match=r"z\.tsv"):
        load_series(tmp_path)


# Where a series lies and what it is called ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "market", "symbol"),
    [
        ("crypto/BTCUSDT_1h", "crypto", "BTCUSDT"),
        ("cn/sse/600000.SH_15m", "cn", "600000.SH"),
        ("BTC_USDT_1d", "", "BTC_USDT"),
        ("AAPL", "", "AAPL"),
        ("us/BRK_B", "us", "BRK_B"),
        ("_1h", "", "_1h"),
    ],
)
def test_a_name_tells_market_and_symbol(name: str, market: str, symbol: str) -> None:
    one = Series.of(bars_frame(20), name)
    assert (one.market, one.symbol) == (market, symbol)
    own = Series.of(bars_frame(20), name, market="here", symbol="BTC/USDT", timeframe="60m")
    assert (own.market, own.symbol, own.timeframe) == ("here", "BTC/USDT", "1h")


def test_a_single_bar_needs_its_timeframe_told() -> None:
    assert len(Series.of(bars_frame(1), "x", timeframe="1h")) == 1
    with pytest.raises(BarsError, match="one bar shows no timeframe"):
        Series.of(bars_frame(1), "x")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    lake = Lake.open(folder, create=True)
    for source, symbol, freq, market in (
        ("binance", "BTC/USDT", "1h", "crypto"),
        ("binance", "BTC/USDT", "1D", "crypto"),
        ("files", "600000.SH", "1h", ""),
    ):
        frame = bars_frame(50, freq=freq, tz="Asia/Shanghai" if source == "files" else "UTC")
        lake.write(Key(source, symbol, freq), frame, Origin("import", "here"), market=market)
    return folder


def test_loading_a_lake(lake: Path) -> None:
    series = load_series(lake)
    assert [(one.name, one.market, one.symbol, one.timeframe) for one in series] == [
        ("binance BTC/USDT 1d", "crypto", "BTC/USDT", "1d"),
        ("binance BTC/USDT 1h", "crypto", "BTC/USDT", "1h"),
        ("files 600000.SH 1h", "files", "600000.SH", "1h"),
    ]
    np.testing.assert_array_equal(series[1].bars, bars_frame(50).to_numpy())
    shown = bars_frame(50, tz="Asia/Shanghai").index.tz_convert("UTC").tz_localize(None).as_unit("ns")
    np.testing.assert_array_equal(series[2].times, shown.to_numpy())


def test_files_tell_their_symbols_and_holes_in_volume_are_filled(tmp_path: Path) -> None:
    (tmp_path / "coins").mkdir()
    frame = bars_frame(20)
    frame.assign(volume=frame["volume"].where(frame.index != frame.index[3])).to_csv(
        tmp_path / "coins" / "crypto_BTC_1h.csv.gz"
    )
    frame.to_csv(tmp_path / "600000.SH.csv")
    series = load_series(tmp_path)
    assert [(one.name, one.market, one.symbol) for one in series] == [
        ("600000.SH", "", "600000.SH"),
        ("coins/crypto_BTC_1h", "coins", "BTC"),
    ]
    volume = frame["amount"].iloc[3] / frame[["open", "high", "low", "close"]].iloc[3].mean()
    assert series[1].bars[3, 4] == pytest.approx(volume)


def test_choosing_series(lake: Path, tmp_path: Path) -> None:
    assert [one.timeframe for one in load_series(lake, symbols=["btc-usdt"])] == ["1d", "1h"]
    assert [one.symbol for one in load_series(lake, timeframes=["60m"])] == ["BTC/USDT", "600000.SH"]
    with pytest.raises(SourceError, match=r"holds no series of symbol DOGE and timeframe 1h"):
        load_series(lake, symbols=["DOGE"], timeframes=["1h"])
    pack(load_series(lake), tmp_path / "pack")
    assert [one.name for one in load_series(tmp_path / "pack", timeframes=["1d"])] == ["binance BTC/USDT 1d"]
    bars_frame(20).to_csv(tmp_path / "BTC_1h.csv")
    (tmp_path / "ETH_1h.csv").write_text("broken")  # never looked at
    assert [one.symbol for one in load_series(tmp_path, symbols=["BTC"])] == ["BTC"]


@pytest.mark.parametrize("threads", [1, 4, 0])
def test_threads_keep_the_order_and_name_the_first_bad_file(tmp_path: Path, threads: int) -> None:
    for i in range(30):
        bars_frame(20 + i, seed=i).to_csv(tmp_path / f"s{i:02}.csv")
    assert [len(one) for one in load_series(tmp_path, threads=threads)] == [20 + i for i in range(30)]
    for bad in ("s25", "s11"):
        (tmp_path / f"{bad}.csv").write_text("timestamp,open\n2024-01-01,1\n")
    with pytest.raises(BarsError, match=r"s11\.csv: no column for high"):
        load_series(tmp_path, threads=threads)


# Windows in the rows of a part ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=5, max_size=5),
)
def test_windows_lie_whole_in_the_rows_given(lookback: int, horizon: int, rows: list[tuple[int, int]]) -> None:
    pairs = [(first, min(first + more, len(one))) for (first, more), one in zip(rows, several(), strict=True)]
    wanted = [
        (which, row) for which, (first, stop) in enumerate(pairs) for row in range(first, stop - lookback - horizon + 1)
    ]
    if not wanted:
        with pytest.raises(BarsError, match="in the rows given"):
            Windows(several(), lookback, horizon, rows=pairs)
    else:
        windows = Windows(several(), lookback, horizon, rows=np.array(pairs))
        assert [windows.place(index) for index in range(len(windows))] == wanted


def test_rows_and_shapes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="for 1 series and there are 5"):
        Windows(several(), 3, 2, rows=[(0, 9)])
    with pytest.raises(ConfigError, match=r"rows \[0, 99\] do not lie in the 40 of a/one"):
        Windows(several(), 3, 2, rows=[(0, 99), (0, 1), (0, 1), (0, 1), (0, 1)])
    for shape in ((0, 3), (3, -1)):
        with pytest.raises(ConfigError, match="lookback >= 1"):
            Windows(several(), *shape)
    assert len(Windows([series(10)], 4, 0)) == 7


# Batches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_horizon_changes_no_input_of_the_lookback(kind: str) -> None:
    batch = WindowSampler(Windows(several(), 12, 6), 20, 1)(0)
    changed = batch.bars.copy()
    changed[:, 12:] *= np.random.default_rng(0).uniform(0.01, 100, changed[:, 12:].shape)
    before, after = batch.inputs(kind), batch._replace(bars=changed).inputs(kind)
    assert before.shape == batch.bars.shape
    np.testing.assert_array_equal(before[:, :12], after[:, :12])
    assert not np.array_equal(before[:, 12:], after[:, 12:])
    assert np.abs(batch.inputs(kind, clip=0.5)).max() == 0.5


def plain_draw(windows: Windows, batch: int, seed: int, step: int) -> list[tuple[int, int]]:
    """Which windows a step draws by default, spelled out: runs that were begun must find theirs again."""
    groups = [(one.timeframe, one.name.split("/")[0]) for one in windows.series]
    weights = []
    for group, count in zip(groups, windows.counts.tolist(), strict=True):
        total = sum(c for g, c in zip(groups, windows.counts.tolist(), strict=True) if g == group)
        weights.append(count / total**0.5 if total else 0.0)
    edges = np.cumsum(weights) / np.sum(weights)
    random = np.random.default_rng([seed, step])
    which, along = random.random(batch), random.random(batch)
    drawn = []
    for one, share in zip(which, along, strict=True):
        place = min(int(np.searchsorted(edges, one, side="right")), len(edges) - 1)
        drawn.append((place, int(windows.firsts[place] + int(share * windows.counts[place]))))
    return drawn


@pytest.mark.parametrize("since", [None, "2024-01-20"])
def test_the_default_draw_is_what_it_always_was(since: str | None) -> None:
    windows = Windows(several(), 5, 3, since=since)
    for step in range(5):
        batch = WindowSampler(windows, 32, seed=9)(step)
        for bars, (which, row) in zip(batch.bars, plain_draw(windows, 32, 9, step), strict=True):
            np.testing.assert_array_equal(bars, windows.series[which].bars[row : row + 8])


def test_augmenting_draws_the_same_windows() -> None:
    windows = Windows(several(), 5, 3)
    plain = WindowSampler(windows, 64, 3)
    treated = WindowSampler(windows, 64, 3, augment=[Augmentation("noise", 0.5)], without_volume=0.25)
    shares = []
    for step in range(6):
        before, after = plain(step), treated(step)
        np.testing.assert_array_equal(before.stamps, after.stamps)
        np.testing.assert_allclose(after.bars[..., :4], before.bars[..., :4], rtol=0.01)
        np.testing.assert_array_equal(after.bars, treated(step).bars)
        same = (after.bars[..., :4] == before.bars[..., :4]).all(axis=(1, 2))
        shares.append([1 - same.mean(), (after.bars[..., 4:] == 0).all(axis=(1, 2)).mean()])
    assert np.mean(shares, axis=0) == pytest.approx([0.5, 0.25], abs=0.1)
    with pytest.raises(ConfigError, match=r"without_volume is 1\.5"):
        WindowSampler(windows, 4, 0, without_volume=1.5)


def test_markets_weigh_what_they_are_given() -> None:
    parts = [series(104, "a/x", seed=1), series(804, "a/y", seed=2), series(1604, "b/z", seed=3), series(3, "c/w")]
    windows = Windows(parts, 3, 2)
    drawn = WindowSampler(windows, 8000, 1, weights={"a": 3, "b": 1, "c": 5})(0)
    opens = [set(one.bars[:, 0]) for one in parts]
    shares = [np.mean([bars[0, 0] in each for bars in drawn.bars]) for each in opens]
    assert shares == pytest.approx([0.75 * 100 / 900, 0.75 * 800 / 900, 0.25, 0], abs=0.03)
    (alone,) = {
        bars[0, 0] in opens[2] for bars in WindowSampler(windows, 200, 1, weights={"a": 0, "b": 1, "c": 0})(0).bars
    }
    assert alone


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": 1}, "no weight for b, c; the markets are a, b, c"),
        ({"a": 1, "b": 1, "c": 1, "d": 1}, "no series of d"),
        ({"a": 1, "b": -1, "c": 0}, "b has -1"),
        ({"a": 1, "b": float("nan"), "c": 0}, "b has nan"),
        ({"a": 0, "b": 0, "c": 0}, "no market with a window"),
    ],
)
def test_bad_weights_are_refused(weights: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        WindowSampler(Windows(several(), 5, 3), 4, 0, weights=weights)


# Epochs ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**31), st.integers(0, 50))
def test_a_permutation_is_one(count: int, seed: int, epoch: int) -> None:
    whole = permuted(np.arange(count), count, [seed, epoch])
    assert sorted(whole.tolist()) == list(range(count))
    some = np.arange(count)[:: max(count // 7, 1)]
    np.testing.assert_array_equal(permuted(some, count, [seed, epoch]), whole[some])


def test_permutations_are_as_likely_as_each_other() -> None:
    firsts = np.zeros((5, 5))
    for epoch in range(1000):
        firsts[np.arange(5), permuted(np.arange(5), 5, [1, epoch])] += 1
    chi = ((firsts - 200) ** 2 / 200).sum()
    assert chi < 45  # 16 degrees of freedom: one in 7000
    long = permuted(np.arange(50_000), 50_000, [1, 0])
    assert abs(np.corrcoef(long[1:], long[:-1])[0, 1]) < 0.02
    assert abs(np.corrcoef(long, np.arange(50_000))[0, 1]) < 0.02


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 5), st.booleans(), st.integers(0, 9))
def test_an_epoch_visits_every_window_once(batch: int, ranks: int, shuffle: bool, epoch: int) -> None:
    windows = Windows([series(40, "a/x"), series(30, "b/y", seed=1), series(4, "c/z")], 5, 3)
    order = Epoch(windows, batch, 7, epoch, shuffle=shuffle)
    seen = [order.numbers(number).tolist() for number in range(len(order))]
    assert sorted(chain(*seen)) == list(range(len(windows)))
    assert all(len(one) == batch for one in seen[:-1])
    shares = [[b.bars.tobytes() for b in order.share(rank, ranks)] for rank in range(ranks)]
    assert sorted(chain(*shares)) == sorted(windows.batch(one).bars.tobytes() for one in seen)
    even = [len([*order.share(rank, ranks, even=True)]) for rank in range(ranks)]
    assert even == [len(order) // ranks] * ranks
    assert [b.bars.tobytes() for b in order.share(0, ranks, start=1)] == shares[0][1:]
    assert (seen == [list(range(len(windows)))[i : i + batch] for i in range(0, len(windows), batch)]) or shuffle


def test_epochs_differ_and_repeat() -> None:
    windows = Windows([series(60)], 5, 3)
    orders = {tuple(Epoch(windows, 100, seed, epoch).numbers(0).tolist()) for seed in range(3) for epoch in range(4)}
    assert len(orders) == 12
    treated = Epoch(windows, 16, 1, augment=[Augmentation("scale", 1.0)], without_volume=0.5)
    np.testing.assert_array_equal(treated[2].bars, treated[2].bars)
    assert not np.array_equal(treated[0].bars, Epoch(windows, 16, 1)[0].bars)
    assert len(list(treated)) == len(treated) == 4


def test_bad_epochs_are_refused() -> None:
    windows = Windows([series(60)], 5, 3)
    with pytest.raises(ConfigError, match="batch is 0"):
        Epoch(windows, 0)
    with pytest.raises(ConfigError, match="rank is 2 of 2"):
        list(Epoch(windows, 4).share(2, 2))
    with pytest.raises(IndexError):
        Epoch(windows, 4)[99]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("BTC/USDT", "btcusdt", True),
        ("BTC/USDT", "BTC/USDT:USDT", True),
        ("BTC-USDT", "BTC-USDT-SWAP", True),
        ("600000.SH", "sh.600000", True),
        ("600000.SS", "SH600000", True),
        ("000001.SZ", "000001.SH", False),
        ("BTC/USDT", "BTC/USDC", False),
    ],
)
def test_spellings_of_one_thing(one: str, other: str, alike: bool) -> None:
    assert (plain_symbol(one) == plain_symbol(other)) is alike
