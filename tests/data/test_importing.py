"""Importing: what files say becomes series; order and doubles are mended, the rest is named by line or refused."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kronos.data import Imported, ImportOptions, Key, Lake, Refused, Skipped, import_bars, write_pickles, write_qlib
from kronos.errors import BarsError, ConfigError, SourceError
from reference import bars_frame

FRAME = bars_frame(60, freq="1h")
KEY = Key("files", "BTC", "1h")


def brought(lake: Lake, place: Path, **options: object) -> list[Imported]:
    done = list(import_bars(lake, place, ImportOptions(**options)))  # type: ignore[arg-type]
    for one in done:
        assert isinstance(one, Imported), one
    return [one for one in done if isinstance(one, Imported)]


def refused(lake: Lake, place: Path, **options: object) -> str:
    done = list(import_bars(lake, place, ImportOptions(**options)))  # type: ignore[arg-type]
    assert len(done) == 1
    assert isinstance(done[0], Refused), done
    assert "\n" not in done[0].reason
    return done[0].reason


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake", create=True)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def equal(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    np.testing.assert_array_equal(found.to_numpy(), wanted.to_numpy())
    assert found.index.equals(pd.DatetimeIndex(wanted.index).as_unit("ns"))


def test_names_say_what_a_file_holds(lake: Lake, files: Path) -> None:
    (files / "us").mkdir()
    FRAME.to_parquet(files / "crypto_BTC_1h.parquet")
    FRAME.to_csv(files / "us" / "AAPL_60min.csv")
    FRAME.to_csv(files / "ETH-USDT.csv")
    brought(lake, files)
    found = {entry.key: entry.market for entry in lake.entries()}
    assert found == {
        KEY: "crypto",
        Key("files", "AAPL", "1h"): "us",
        Key("files", "ETH/USDT", "1h"): "",
    }
    equal(lake.read(KEY), FRAME)
    assert lake.entry(KEY).origins[0].place == str(files / "crypto_BTC_1h.parquet")


def test_options_say_it_better(lake: Lake, files: Path) -> None:
    FRAME.to_csv(files / "x.csv")
    options = {"symbol": "X/Y", "timeframe": "60m", "market": "fx", "calendar": "24/5", "source": "mine"}
    done = brought(lake, files / "x.csv", **options, zone="Asia/Shanghai")
    assert done[0].key == Key("mine", "X/Y", "1h")
    entry = lake.entry(done[0].key)
    assert (entry.market, entry.calendar, entry.zone) == ("fx", "24/5", "Asia/Shanghai")
    assert str(entry.first) == str(FRAME.index[0].tz_localize("Asia/Shanghai"))


def test_again_adds_nothing_and_a_grown_file_adds_its_end(lake: Lake, files: Path) -> None:
    FRAME[:40].to_csv(files / "BTC_1h.csv")
    assert brought(lake, files)[0].written.added == 40
    version = lake.entry(KEY).version
    assert brought(lake, files)[0].written.same == 40
    assert lake.entry(KEY).version == version
    FRAME.to_csv(files / "BTC_1h.csv")
    assert brought(lake, files)[0].written.added == 20
    equal(lake.read(KEY), FRAME)


def test_several_files_of_one_series_are_joined(lake: Lake, files: Path) -> None:
    FRAME[:25].to_csv(files / "BTC_1h_2023.csv")
    FRAME[20:].to_csv(files / "BTC_1h_2024.csv")
    brought(lake, files)
    equal(lake.read(KEY), FRAME)


def test_a_symbol_column_makes_one_series_each(lake: Lake, files: Path) -> None:
    both = pd.concat([FRAME.assign(symbol="BTC"), (FRAME * 2).assign(symbol="ETH")])
    both.to_csv(files / "all_1h.csv")
    assert sorted(one.key.symbol for one in brought(lake, files)) == ["BTC", "ETH"]
    equal(lake.read(KEY), FRAME)


def test_order_and_repetition_are_mended_and_counted(lake: Lake, files: Path) -> None:
    mixed = pd.concat([FRAME[30:], FRAME[:31]])
    mixed.to_csv(files / "BTC_1h.csv")
    assert brought(lake, files)[0].notes == {"unsorted": 1, "duplicate": 1}
    equal(lake.read(KEY), FRAME)
    assert lake.entry(KEY).notes == {"unsorted": 1, "duplicate": 1}


def test_newest_first_is_no_disorder(lake: Lake, files: Path) -> None:
    FRAME[::-1].to_csv(files / "BTC_1h.csv")
    assert brought(lake, files)[0].notes == {}
    equal(lake.read(KEY), FRAME)


def test_rows_without_any_price_are_left_out_and_holes_in_volume_kept(lake: Lake, files: Path) -> None:
    holes = FRAME.copy()
    holes.iloc[5] = np.nan
    holes.iloc[9, 4] = np.nan
    holes.to_csv(files / "BTC_1h.csv")
    assert brought(lake, files)[0].notes == {"blank": 1, "volume_unknown": 1}
    assert np.isnan(lake.read_raw(KEY).loc[FRAME.index[9], "volume"])
    assert len(lake.read(KEY)) == 59


def test_impossible_candles_are_kept_for_the_check(lake: Lake, files: Path) -> None:
    FRAME.assign(high=FRAME["high"].where(FRAME.index != FRAME.index[3], 1.0)).to_csv(files / "BTC_1h.csv")
    assert brought(lake, files)[0].notes == {"bad_candle": 1}
    with pytest.raises(BarsError, match="kronos data clean"):
        lake.read(KEY)
    brought(lake, files, repair=True, source="mended")
    assert len(lake.read(Key("mended", "BTC", "1h"))) == 60


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [("close", -1.0, "close is -1"), ("open", np.inf, "open is inf"), ("low", np.nan, "low is nan")],
)
def test_what_is_no_price_refuses_its_file_by_line(
    lake: Lake, files: Path, column: str, value: float, says: str
) -> None:
    bad = FRAME.copy()
    bad.loc[bad.index[7], column] = value
    bad.to_csv(files / "BTC_1h.csv")
    reason = refused(lake, files)
    assert reason.startswith("line 9 ")
    assert says in reason
    assert "--repair" in reason
    assert lake.entries() == []
    done = brought(lake, files, repair=True)
    assert done[0].written.added == 59


def test_a_time_with_two_values_refuses_its_file_by_line(lake: Lake, files: Path) -> None:
    bad = pd.concat([FRAME[:10], FRAME[9:] * 1.5])
    bad.to_csv(files / "BTC_1h.csv")
    assert refused(lake, files).startswith("line 12 ")
    assert brought(lake, files, repair=True)[0].notes["conflicting"] == 1
    assert lake.read(KEY)["close"].iloc[9] == pytest.approx(FRAME["close"].iloc[9] * 1.5)


def test_one_bad_file_does_not_stop_the_others(lake: Lake, files: Path) -> None:
    FRAME.to_csv(files / "A_1h.csv")
    (files / "B_1h.csv").write_text("timestamp,open,high,low,close\n2024-01-01,1,1,1,one\n")
    FRAME.to_csv(files / "C_1h.csv")
    done = list(import_bars(lake, files))
    assert [type(one) for one in done] == [Imported, Refused, Imported]
    assert isinstance(done[1], Refused)
    assert "line 2" in done[1].reason
    assert [entry.key.symbol for entry in lake.entries()] == ["A", "C"]


def test_tables_that_hold_no_bars_are_passed_over_in_a_folder_and_refused_alone(lake: Lake, files: Path) -> None:
    FRAME.to_csv(files / "A_1h.csv")
    (files / "MANIFEST.csv").write_text("file,rows\nA_1h.csv,60\n")
    (files / "notes.txt").write_text("bars of A\n")
    pd.DataFrame({"file": ["x"], "rows": [3]}).to_parquet(files / "index.parquet")
    found = {Path(one.place).name: type(one) for one in import_bars(lake, files)}
    assert found == {"A_1h.csv": Imported, "MANIFEST.csv": Skipped, "notes.txt": Skipped, "index.parquet": Skipped}
    assert "open" in refused(lake, files / "MANIFEST.csv")
    assert "open" in refused(lake, files / "index.parquet")


def test_a_name_that_contradicts_the_times(lake: Lake, files: Path) -> None:
    FRAME.to_csv(files / "BTC_15m.csv")
    reason = refused(lake, files)
    assert "15m" in reason
    assert "1h" in reason
    assert brought(lake, files, timeframe="1h")[0].key == KEY
    FRAME.iloc[::4].to_csv(files / "BTC_15m.csv")  # hours of a series with holes
    assert brought(lake, files, timeframe="15m", source="sparse")[0].key.timeframe == "15m"


def test_what_cannot_be_named(lake: Lake, files: Path) -> None:
    FRAME.to_csv(files / "1h.csv")
    assert "--symbol" in refused(lake, files)
    FRAME[:1].to_csv(files / "BTC.csv")
    assert "--timeframe" in refused(lake, files / "BTC.csv")
    FRAME.to_csv(files / "2h.csv")
    with pytest.raises(ConfigError, match="--symbol BTC names one series"):
        list(import_bars(lake, files, ImportOptions(symbol="BTC")))
    with pytest.raises(SourceError, match="no such file"):
        list(import_bars(lake, files / "absent"))
    assert "Mars/Crater" in refused(lake, files / "2h.csv", symbol="BTC", zone="Mars/Crater")


def test_other_kinds_of_places(lake: Lake, files: Path, tmp_path: Path) -> None:
    daily = bars_frame(50, freq="1D")
    write_qlib(tmp_path / "qlib", {"SH600000": daily})
    write_pickles({"BTC_1h": bars_frame(400, freq="1h")}, tmp_path / "pickles")
    other = Lake.open(tmp_path / "other", create=True)
    FRAME.to_csv(files / "BTC_1h.csv")
    brought(other, files)
    rows = "\n".join(
        f"{1704067200000 + i * 3600000},1,2,0.5,1.5,10,{1704070799999 + i * 3600000},15,3,1,1,0" for i in range(744)
    )
    (tmp_path / "zips").mkdir()
    with zipfile.ZipFile(tmp_path / "zips" / "BTCUSDT-1h-2024-01.zip", "w") as archive:
        archive.writestr("BTCUSDT-1h-2024-01.csv", rows)
    for place in ("qlib", "other", "zips"):
        brought(lake, tmp_path / place)
    brought(lake, tmp_path / "pickles" / "train_data.pkl")
    found = {str(entry.key): entry.rows for entry in lake.entries()}
    assert found == {
        "binance BTC/USDT 1h": 744,
        "files BTC 1h": 280,  # of the pickle; the other lake's sixty are among its times and were there first
        "qlib SH600000 1d": 50,
    }
    assert lake.entry(Key("binance", "BTC/USDT", "1h")).calendar == "24/7"


def test_every_market_file_imports(lake: Lake, shared: Path) -> None:
    """A sample of the real files, the five with holes in their volume among them; the benchmark imports all."""
    places = sorted((shared / "market" / "eval").rglob("*.parquet"))
    chosen = [path for path in places if path.parent.name == "futures"] + places[::12]
    for path in chosen:
        done = brought(lake, path)
        assert lake.read(done[0].key).shape[0] == done[0].written.rows


def test_newest_first_on_the_night_the_clocks_go_back(lake: Lake, files: Path) -> None:
    aware = bars_frame(48, freq="1h", start="2024-11-02", tz="America/New_York")
    naive = aware.set_axis(pd.DatetimeIndex(aware.index).tz_localize(None).rename("timestamp"))
    naive[::-1].to_csv(files / "BTC_1h.csv")
    assert brought(lake, files, zone="America/New_York")[0].notes == {}
    assert lake.read(KEY).index.equals(pd.DatetimeIndex(aware.index).as_unit("ns"))
    np.testing.assert_array_equal(lake.read(KEY).to_numpy(), aware.to_numpy())
    FRAME.set_axis(pd.date_range("2024-03-10", periods=60, freq="15min", name="timestamp")).to_csv(files / "X_15m.csv")
    assert "never was on its clocks" in refused(lake, files / "X_15m.csv", zone="America/New_York")


def test_a_file_of_blank_rows_is_refused_and_stops_no_other(lake: Lake, files: Path) -> None:
    (FRAME * np.nan).to_csv(files / "A_1h.csv")
    FRAME.to_csv(files / "BTC_1h.csv")
    done = list(import_bars(lake, files))
    assert [type(one) for one in done] == [Refused, Imported]


def test_a_lake_in_the_folder_is_no_bars(lake: Lake, tmp_path: Path, files: Path) -> None:
    FRAME.to_csv(files / "BTC_1h.csv")
    for _ in range(2):
        brought(lake, tmp_path)  # the lake itself lies in there
    assert [entry.key for entry in lake.entries()] == [KEY]


def test_one_symbol_is_not_given_to_several(lake: Lake, files: Path) -> None:
    pd.concat([FRAME.assign(symbol="A"), FRAME.assign(symbol="B")]).to_csv(files / "many_1h.csv")
    assert "A, B" in refused(lake, files / "many_1h.csv", symbol="Q")


def test_bars_shorter_than_said_are_refused(lake: Lake, files: Path) -> None:
    FRAME.to_csv(files / "BTC_1h.csv")
    assert "step by 1h" in refused(lake, files / "BTC_1h.csv", timeframe="4h")


def test_a_lake_that_cannot_be_written_ends_the_import(
    lake: Lake, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    for name in "ABC":
        FRAME.to_csv(files / f"{name}_1h.csv")
    monkeypatch.setattr("kronos.data.lake.store._write_through", full)
    with pytest.raises(SourceError, match="No space left"):
        list(import_bars(lake, files))


def test_an_unknown_calendar_is_refused_before_anything_is_stored(lake: Lake, files: Path) -> None:
    FRAME.to_csv(files / "BTC_1h.csv")
    with pytest.raises(ConfigError, match="NYSF"):
        list(import_bars(lake, files, ImportOptions(calendar="NYSF")))
    assert lake.entries() == []
