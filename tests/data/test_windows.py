"""Windows: an index is always the same window, parts in time never overlap, and batches follow the step alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars import COLUMNS, time_stamps
from kronos.data import Series, Windows, WindowSampler, load_series
from kronos.errors import BarsError, SourceError
from reference import bars_frame

CUT = "2024-01-20"


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
