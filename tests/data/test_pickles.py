"""The guides' pickle data sets: written so that every pandas reads them, read so that nothing in them runs."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kronos.data import Series
from kronos.data.pickles.check import Validation, validate
from kronos.data.pickles.frames import ALLOWED
from kronos.data.pickles.pickles import FILES, SUMMARY, read_pickle, write_pickles
from kronos.errors import BarsError, ConfigError, KronosError, SourceError
from reference import bars_frame

COLUMNS = ["open", "high", "low", "close", "vol", "amt"]


def frames() -> dict[str, pd.DataFrame]:
    return {
        "BTC-USD-SWAP_1H": bars_frame(1000),
        "BTC-USD-SWAP_1D": bars_frame(900, freq="1D", seed=1),
        "ETH-USD-SWAP_1H": bars_frame(1000, seed=2),
        "ETH-USD-SWAP_1D": bars_frame(900, freq="1D", seed=3),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pickles(frames(), tmp_path / "set")
    return tmp_path / "set"


# Writing --------------------------------------------------------------------------------------------------------------


def test_a_data_set_is_three_files_and_a_summary(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, SUMMARY])
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    assert summary.pop("created_at")[:2] == "20"
    assert summary == {
        "train_symbols": 4, "val_symbols": 4, "test_symbols": 4,
        "train_records": 2660, "val_records": 570, "test_records": 570,
        "symbols": list(frames()),
    }  # fmt: skip


def test_plain_pickle_reads_the_frames_of_the_guide(folder: Path) -> None:
    parts = [pickle.loads((folder / file).read_bytes()) for file in FILES]
    for key, frame in frames().items():
        whole = pd.concat([part[key] for part in parts])
        assert list(whole.columns) == COLUMNS
        assert whole.index.name == "datetime"
        assert str(whole.index.dtype) == "datetime64[ns]"
        assert [len(part[key]) / len(frame) for part in parts] == pytest.approx([0.7, 0.15, 0.15])
        np.testing.assert_array_equal(whole.to_numpy(), frame.to_numpy())
        assert (whole.index == frame.index).all()
        parts[0][key]["vol"] += 1  # they can be changed
        parts[0][key].iloc[0, 0] = 1.0


def test_what_is_written_names_public_things_only(folder: Path) -> None:
    """Names inside pandas move from version to version; an older one must find all of them."""
    content = (folder / FILES[0]).read_bytes()
    assert content[:2] == b"\x80\x04"
    named = {name for name in ALLOWED if all(part.encode() in content for part in name.rsplit(".", 1))}
    assert {"pandas.DataFrame", "pandas.DatetimeIndex", "numpy.frombuffer"} <= named
    for inside in (b"_mgr", b"BlockManager", b"_libs", b"multiarray", b"StringDtype", b"pyarrow"):
        assert inside not in content


def test_reading_gives_what_plain_pickle_gives(folder: Path) -> None:
    for file in FILES:
        for (key, found), (other, wanted) in zip(
            read_pickle(folder / file).items(), pickle.loads((folder / file).read_bytes()).items(), strict=True
        ):
            assert key == other
            pd.testing.assert_frame_equal(found, wanted)


def test_series_are_written_under_symbol_and_timeframe(tmp_path: Path) -> None:
    series = [
        Series.of(bars_frame(300, freq="4h"), "crypto/BTCUSDT_4h"),
        Series.of(bars_frame(300, tz="UTC"), "binance BTC/USDT 1h", symbol="BTC/USDT"),
    ]
    assert write_pickles(series, tmp_path / "set")["symbols"] == ["BTCUSDT_4h", "BTC-USDT_1h"]
    found = read_pickle(tmp_path / "set" / FILES[2])["BTC-USDT_1h"]
    np.testing.assert_array_equal(found.to_numpy(), series[1].bars[255:])


def test_times_with_a_zone_are_written_as_their_clock_shows(tmp_path: Path) -> None:
    write_pickles({"600000.SH_1D": bars_frame(300, freq="1D", tz="Asia/Shanghai")}, tmp_path / "set")
    index = read_pickle(tmp_path / "set" / FILES[0])["600000.SH_1D"].index
    assert index[0] == pd.Timestamp("2024-03-04")
    with pytest.raises(BarsError, match="clock is set back"):
        write_pickles({"X_1h": bars_frame(300, start="2024-10-25", tz="Europe/Berlin")}, tmp_path / "other")


def test_an_embargo_lies_between_the_parts(tmp_path: Path) -> None:
    write_pickles({"X_1h": bars_frame(1000)}, tmp_path / "set", ratios=(0.6, 0.2, 0.2), embargo=50)
    train, val, test = (read_pickle(tmp_path / "set" / file)["X_1h"].index for file in FILES)
    assert [len(train), len(val), len(test)] == [540, 180, 180]
    assert val[0] - train[-1] == test[0] - val[-1] == pd.Timedelta(hours=51)


@pytest.mark.parametrize(
    ("given", "options", "kind", "words"),
    [
        ({}, {}, BarsError, "no frame to write"),
        ({"X_1h": bars_frame(3)}, {}, BarsError, "X_1h: 3 rows make parts of 2, 1, 0 rows"),
        ({"X_1h": bars_frame(300)}, {"embargo": 200}, BarsError, "smaller embargo"),
        ({"X_1h": bars_frame(300)}, {"ratios": (0.5, 0.5)}, BarsError, "every part needs some"),
        ({"X_1h": bars_frame(300)}, {"ratios": (0.5, 0.5, 0.5)}, ConfigError, "add up to 1"),
        ({"X": bars_frame(300)}, {}, ConfigError, "a key is SYMBOL_TIMEFRAME"),
        ({"X_soon": bars_frame(300)}, {}, ConfigError, "'soon' is not a timeframe"),
        ({"X_1h": bars_frame(300).iloc[::-1]}, {}, BarsError, "X_1h: row 1"),
        ([Series.of(bars_frame(300), "a/X_1h"), Series.of(bars_frame(300), "b/X_1h")], {}, ConfigError, "two series"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, given: Any, options: dict[str, Any], kind: type[KronosError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        write_pickles(given, tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("fails_at", [*range(5)])
def test_a_killed_run_leaves_the_old_set_or_none(folder: Path, fails_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed while it writes (4) or before each of the four files takes its place."""
    (folder / "notes.txt").write_text("mine")
    old = {file: (folder / file).read_bytes() for file in (*FILES, SUMMARY)}
    real, calls = os.replace, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls > fails_at:
            raise KeyboardInterrupt
        real(source, target)

    def text(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    if fails_at == 4:
        monkeypatch.setattr(Path, "write_text", text)
    else:
        monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_pickles({"X_1h": bars_frame(400)}, folder)
    monkeypatch.undo()
    left = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "notes.txt"}
    if fails_at == 4:
        assert left == old
    else:
        assert SUMMARY not in left
        assert not any(left[file] == old[file] for file in left)  # never a mixture
        assert not validate(folder).ok
    assert (folder / "notes.txt").read_text() == "mine"
    write_pickles(frames(), folder)
    assert validate(folder).ok


def sample(value: Any, path: Path, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


class Calls:
    """Pickled, it is a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


# Checking a folder ----------------------------------------------------------------------------------------------------


def rewrite(folder: Path, part: int, change: Any) -> None:
    """Write one of the files again, changed, as any other program would."""
    content = pickle.loads((folder / FILES[part]).read_bytes())
    changed = change(content)
    (folder / FILES[part]).write_bytes(pickle.dumps(content if changed is None else changed))


def found(validation: Validation) -> list[str]:
    lines = validation.lines()
    assert validation.ok == (len(lines) == 1)
    assert len(lines) == len(validation.problems) + 1
    assert json.loads(json.dumps(validation.to_dict()))["ok"] == validation.ok
    return [line.removeprefix("problem: ") for line in lines[1:]]


def test_a_good_folder_is_ok(folder: Path) -> None:
    validation = validate(folder)
    assert validation.ok
    assert validation.lines() == [
        f"{folder}: ok (train symbols 4, val symbols 4, test symbols 4, train records 2,660, val records 570, "
        "test records 570)"
    ]
    assert validation.to_dict()["problems"] == []
    assert validate(folder, timeframes=["1h", "1D"]).ok


def test_the_pickles_of_the_reference_are_ok(tmp_path: Path) -> None:
    """As the guide's own script makes them: by plain pandas."""
    for file, (low, high) in zip(FILES, ((0, 0.7), (0.7, 0.85), (0.85, 1)), strict=True):
        part = {
            key: frame.iloc[int(low * len(frame)) : int(high * len(frame))]
            .rename(columns={"volume": "vol", "amount": "amt"})
            .rename_axis("datetime")
            for key, frame in frames().items()
        }
        sample(part, tmp_path / file)
    summary = write_pickles(frames(), tmp_path / "other")
    (tmp_path / SUMMARY).write_text(json.dumps(summary))
    assert found(validate(tmp_path)) == []


def drop(key: str) -> Any:
    return lambda content: content.pop(key) is None


def edit(**changes: Any) -> Any:
    def change(content: dict[str, pd.DataFrame]) -> None:
        for key, how in changes.items():
            content[key.replace("__", "-USD-SWAP_")] = how(content[key.replace("__", "-USD-SWAP_")])

    return change


BROKEN: dict[str, tuple[int, Any, list[str]]] = {
    "a timeframe is missing": (
        1,
        lambda c: {k: v for k, v in c.items() if k != "ETH-USD-SWAP_1D"},
        ["val_data.pkl: ETH-USD-SWAP lacks the timeframe 1d", "says val_symbols 4 and the file holds 3", "val_records"],
    ),
    "a column is misnamed": (
        0,
        edit(BTC__1H=lambda f: f.rename(columns={"vol": "volume"})),
        ["train_data.pkl: BTC-USD-SWAP_1H: has the columns open, high, low, close, volume, amt instead of"],
    ),
    "columns are swapped": (
        0,
        edit(BTC__1H=lambda f: f[["open", "low", "high", "close", "vol", "amt"]]),
        ["has the columns"],
    ),
    "a column is gone": (0, edit(BTC__1H=lambda f: f.drop(columns="low")), ["has the columns", "no column for low"]),
    "the index is misnamed": (
        2,
        edit(BTC__1H=lambda f: f.rename_axis("timestamps")),
        ["called 'timestamps' instead of 'datetime'"],
    ),
    "the index is a count": (
        2,
        edit(BTC__1H=lambda f: f.reset_index(drop=True)),
        ["called None", "is a RangeIndex instead"],
    ),
    "times go back": (0, edit(BTC__1D=lambda f: f.iloc[::-1]), ["times do not increase"]),
    "times come twice": (0, edit(BTC__1D=lambda f: f.iloc[[0, 0, *range(2, len(f))]]), ["times do not increase"]),
    "few rows": (
        2,
        edit(ETH__1H=lambda f: f.iloc[:40]),
        ["has 40 rows; at least 100", "holds 4% of the rows", "test_records"],
    ),
    "bars are missing": (
        0,
        edit(BTC__1H=lambda f: f.drop(f.index[[100, 101, 300]])),
        ["3 bars of 1h are missing in 2 places, the first after 2024-03-08 03:00:00", "train_records"],
    ),
    "a price is missing": (
        0,
        edit(ETH__1H=lambda f: f.assign(close=f.close.where(f.index != f.index[7]))),
        ["row 7", "close nan is missing"],
    ),
    "a candle is none": (0, edit(ETH__1H=lambda f: f.assign(high=f.low * 0.5)), ["high", "is below low"]),
    "parts overlap": (
        1,
        edit(BTC__1H=lambda f: f.set_axis(f.index - pd.Timedelta(hours=2))),
        ["BTC-USD-SWAP_1H: begins at 2024-04-02 02:00:00, before train_data.pkl ends at 2024-04-02 03:00:00"],
    ),
    "a key is none": (
        1,
        lambda c: {**c, "BTC": c["BTC-USD-SWAP_1H"]},
        ["val_data.pkl: BTC: is no SYMBOL_TIMEFRAME", "list of symbols"],
    ),
    "it is empty": (1, lambda c: {}, ["val_data.pkl: holds no frame", "lacks the timeframe 1h, 1d"]),
    "the wrong timeframe": (
        0,
        lambda c: {("BTC-USD-SWAP_15m" if k == "BTC-USD-SWAP_1H" else k): v for k, v in c.items()},
        ["BTC-USD-SWAP lacks the timeframe 1h", "BTC-USD-SWAP lacks the timeframe 15m", "bars of 15m are missing"],
    ),
    "it is poisoned": (
        0,
        lambda c: Calls(os.system, "true"),
        ["train_data.pkl: refused: byte", "system is not a part"],
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_every_problem_is_listed_with_file_and_key(folder: Path, what: str) -> None:
    part, change, words = BROKEN[what]
    rewrite(folder, part, change)
    problems = found(validate(folder))
    for word in words:
        assert any(word in problem for problem in problems), (word, problems)
    assert all("\n" not in problem for problem in problems)


def test_files_that_are_missing_or_broken(folder: Path) -> None:
    (folder / FILES[1]).unlink()
    (folder / FILES[2]).write_bytes(b"nothing")
    (folder / SUMMARY).write_text("{")
    problems = found(validate(folder))
    assert problems[0] == "val_data.pkl: is missing"
    assert problems[1].startswith("test_data.pkl: refused: ")
    assert problems[2:] == ["dataset_summary.json: is no JSON"]
    (folder / SUMMARY).unlink()
    assert found(validate(folder))[2:] == ["dataset_summary.json: is missing"]
    with pytest.raises(SourceError, match="no such folder"):
        validate(folder / "absent")


def test_a_summary_that_does_not_agree(folder: Path) -> None:
    good = json.loads((folder / SUMMARY).read_text())
    (folder / SUMMARY).write_text(json.dumps(good | {"train_records": 1, "symbols": ["X_1h"], "created_at": "soon"}))
    assert found(validate(folder)) == [
        "dataset_summary.json: says train_records 1 and the file holds 2660",
        "dataset_summary.json: its list of symbols is not that of the files (BTC-USD-SWAP_1D, BTC-USD-SWAP_1H, "
        "ETH-USD-SWAP_1D, ETH-USD-SWAP_1H)",
        "dataset_summary.json: says created_at 'soon', which is no time",
    ]
    (folder / SUMMARY).write_text("[]")
    assert found(validate(folder)) == ["dataset_summary.json: holds no keys and values"]


def test_timeframes_and_rows_that_are_asked_for(folder: Path) -> None:
    problems = found(validate(folder, timeframes=["1h", "4h"]))
    assert problems == [f"{file}: {coin}-USD-SWAP lacks the timeframe 4h" for file in FILES for coin in ("BTC", "ETH")]
    assert len(found(validate(folder, min_rows=140))) == 4
    with pytest.raises(ConfigError, match="'soon' is not a timeframe"):
        validate(folder, timeframes=["soon"])


def test_sessions_and_weekends_are_no_gaps(tmp_path: Path) -> None:
    index = pd.bdate_range("2020-01-01", periods=1500, name="timestamp")
    stock = bars_frame(1500).set_axis(index)
    write_pickles({"AAPL_1D": stock}, tmp_path / "set")
    assert found(validate(tmp_path / "set")) == []


@pytest.mark.parametrize("depth", [10, 500, 2_000, 100_000])
def test_a_summary_nested_to_any_depth_is_a_problem(folder: Path, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for text in (deep, f'{{"symbols": {deep}, "created_at": {deep}, "train_records": {deep}}}'):
        (folder / SUMMARY).write_text(text)
        problems = validate(folder).problems
        assert SUMMARY in {problem.file for problem in problems}
        assert max(len(str(problem)) for problem in problems) < 400
