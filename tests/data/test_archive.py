"""Binance's archive zips: months and days, milliseconds and microseconds, with and without a header, damaged ones."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kronos.data.sources.archive import Archived, read_archive, split_symbol
from kronos.errors import SourceError
from reference import bars_frame

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)  # fmt: skip


def klines(frame: pd.DataFrame, *, unit: str = "ms", header: bool = False) -> str:
    """The text of one archive file."""
    opens = pd.DatetimeIndex(frame.index).as_unit(unit).asi8
    length = opens[1] - opens[0] if len(opens) > 1 else 1
    lines = [HEADER] if header else []
    for at, (_, row) in zip(opens, frame.iterrows(), strict=True):
        prices = ",".join(repr(float(row[name])) for name in ("open", "high", "low", "close", "volume"))
        lines.append(f"{at},{prices},{at + length - 1},{float(row['amount'])!r},321,1.5,2.5,0")
    return "\n".join(lines) + "\n"


def pack(folder: Path, name: str, content: str | bytes, *, inside: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(inside or f"{name}.csv", content)
    return path


def year(*, freq: str = "1h", start: str = "2024-01-01", end: str = "2025-03-01") -> pd.DataFrame:
    rows = len(pd.date_range(start, end, freq=freq, inclusive="left"))
    frame = bars_frame(rows, start=start, freq=freq, tz="UTC")
    return frame.set_axis(pd.DatetimeIndex(frame.index).as_unit("ns"))


def only(place: Path, **how: Any) -> Archived:
    (one,) = read_archive(place, **how)
    return one


def same(now: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(now, wanted, check_freq=False, check_exact=True)


def test_months_in_milliseconds_then_microseconds_are_one_series(tmp_path: Path) -> None:
    whole = year(start="2024-11-01")
    for month in ("2024-11", "2024-12", "2025-01", "2025-02"):
        unit = "ms" if month < "2025" else "us"
        pack(tmp_path, f"BTCUSDT-1h-{month}", klines(whole.loc[month], unit=unit))
    one = only(tmp_path)
    assert (one.source, one.symbol, one.timeframe, one.notes) == ("binance", "BTC/USDT", "1h", ())
    assert [path.name[-11:-4] for path in one.files] == ["2024-11", "2024-12", "2025-01", "2025-02"]
    same(one.frame, whole)


def test_days_fill_up_the_months_and_months_win(tmp_path: Path) -> None:
    whole = year(start="2024-01-01", end="2024-02-04")
    pack(tmp_path / "monthly", "BTCUSDT-1h-2024-01", klines(whole.loc["2024-01"]))
    other = whole.copy()
    other["volume"] += 1
    for day in ("2024-01-31", "2024-02-01", "2024-02-02", "2024-02-03"):
        pack(tmp_path / "daily", f"BTCUSDT-1h-{day}", klines(other.loc[day]))
    wanted = whole.copy()
    wanted.loc["2024-02":, "volume"] += 1
    one = only(tmp_path)
    same(one.frame, wanted)
    assert one.notes == ()


def test_what_is_missing_is_noted(tmp_path: Path) -> None:
    whole = year(start="2023-01-01", end="2024-02-08")
    for month in ("2023-01", "2023-02", "2023-06"):
        pack(tmp_path, f"BTCUSDT-1h-{month}", klines(whole.loc[month]))
    for day in ("2024-02-02", "2024-02-03", "2024-02-05", "2024-02-07"):
        pack(tmp_path, f"BTCUSDT-1h-{day}", klines(whole.loc[day]))
    assert only(tmp_path).notes == (
        "10 months are missing: 2023-03, 2023-04, 2023-05, ... 2024-01",
        "3 days are missing: 2024-02-01, 2024-02-04, 2024-02-06",
    )


def test_symbols_and_timeframes_are_told_apart_and_chosen(tmp_path: Path) -> None:
    frame, daily = year(end="2024-02-01"), year(freq="1D", end="2024-02-01")
    pack(tmp_path, "BTCUSDT-1h-2024-01", klines(frame))
    pack(tmp_path, "BTCUSDT-1d-2024-01", klines(daily))
    pack(tmp_path / "deep", "ETHBTC-1h-2024-01", klines(frame))
    (tmp_path / "BTCUSDT-trades-2024-01.zip").write_bytes(b"something else")
    (tmp_path / "notes.txt").write_text("")
    found = [(one.symbol, one.timeframe, len(one.frame)) for one in read_archive(tmp_path)]
    assert found == [("BTC/USDT", "1h", 744), ("BTC/USDT", "1d", 31), ("ETH/BTC", "1h", 744)]
    for symbol in ("BTC/USDT", "btcusdt", "BTC-USDT"):
        assert [one.timeframe for one in read_archive(tmp_path, symbol=symbol)] == ["1h", "1d"]
    assert only(tmp_path, symbol="BTCUSDT", timeframe="60m").timeframe == "1h"
    assert only(tmp_path / "deep" / "ETHBTC-1h-2024-01.zip").symbol == "ETH/BTC"


def test_contracts_have_headers_and_another_name(tmp_path: Path) -> None:
    frame = year(end="2024-02-01")
    pack(tmp_path / "a", "BTCUSDT-1h-2021-12", klines(year(start="2021-12-01", end="2022-01-01")))
    pack(tmp_path / "a", "BTCUSDT-1h-2024-01", klines(frame, header=True))
    one = only(tmp_path / "a")
    assert (one.source, one.symbol) == ("binance-usdm", "BTC/USDT:USDT")
    same(one.frame.loc["2024"], frame)
    folders = tmp_path / "b" / "data"
    pack(folders / "spot" / "monthly" / "klines", "BTCUSDT-1h-2024-01", klines(frame))
    pack(folders / "futures" / "um" / "monthly" / "klines", "BTCUSDT-1h-2024-01", klines(frame))
    pack(folders / "futures" / "um" / "monthly" / "klines", "BTCUSDT_240628-1h-2024-01", klines(frame))
    found = [(one.source, one.symbol) for one in read_archive(tmp_path / "b")]
    assert found == [("binance", "BTC/USDT"), ("binance-usdm", "BTC/USDT:USDT"), ("binance-usdm", "BTCUSDT_240628")]
    assert only(folders / "spot", market="usdm").source == "binance"  # the folder knows better
    pack(tmp_path / "c", "BTCUSD_PERP-1h-2024-01", klines(frame))
    with pytest.raises(SourceError, match="coin-margined"):
        only(tmp_path / "c")


def test_long_bars_that_begin_in_the_month_before(tmp_path: Path) -> None:
    weekly = year(freq="W-MON", start="2023-12-04", end="2024-03-20")
    for month, first, last in (("2024-01", "2024-01-01", "2024-02-05"), ("2024-02", "2024-01-29", "2024-03-01")):
        pack(tmp_path, f"BTCUSDT-1w-{month}", klines(weekly.loc[first:last]))
    same(only(tmp_path).frame, weekly.loc["2024-01-01":"2024-02-26"])
    monthly = year(freq="MS", start="2024-01-01", end="2024-03-01")
    for at, month in enumerate(("2024-01", "2024-02")):
        pack(tmp_path / "mo", f"BTCUSDT-1mo-{month}", klines(monthly.iloc[at : at + 1]))
    assert only(tmp_path / "mo").timeframe == "1mo"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("BTCUSDT", "BTC/USDT"), ("ETHBTC", "ETH/BTC"), ("BNBFDUSD", "BNB/FDUSD"), ("DOGETRY", "DOGE/TRY"),
        ("USDCUSDT", "USDC/USDT"), ("1000SATSUSDT", "1000SATS/USDT"), ("BTCEUR", "BTC/EUR"), ("USDT", "USDT"),
        ("BTTCBUSD", "BTTC/BUSD"), ("BNBETH", "BNB/ETH"), ("XYZ", "XYZ"),
    ],
)  # fmt: skip
def test_quotes(name: str, wanted: str) -> None:
    assert split_symbol(name) == wanted


# What is refused ------------------------------------------------------------------------------------------------------


def refused(place: Path, *words: str, **how: Any) -> None:
    with pytest.raises(SourceError) as caught:
        list(read_archive(place, **how))
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


def test_a_checksum_is_verified_where_it_is(tmp_path: Path) -> None:
    path = pack(tmp_path, "BTCUSDT-1h-2024-01", klines(year(end="2024-02-01")))
    beside = tmp_path / f"{path.name}.CHECKSUM"
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert len(only(tmp_path).frame) == 744
    beside.write_text(f"{'0' * 64}  {path.name}\n")
    refused(tmp_path, str(path), "checksum", "download it again")
    beside.write_text("<html>")
    refused(tmp_path, str(beside), "no SHA-256")


def test_damaged_zips_are_named(tmp_path: Path) -> None:
    path = pack(tmp_path, "BTCUSDT-1h-2024-01", klines(year(end="2024-02-01")))
    whole = path.read_bytes()
    for broken in (b"", b"<html>busy</html>", whole[: len(whole) // 2], whole[:-4]):
        path.write_bytes(broken)
        refused(tmp_path, str(path), "damaged", "download it again")
    path.write_bytes(whole[:200] + bytes(byte ^ 255 for byte in whole[200:260]) + whole[260:])
    refused(tmp_path, str(path), "damaged")


def test_what_a_zip_holds_is_never_unpacked_to_disk(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    pack(folder, "BTCUSDT-1h-2024-01", klines(year(end="2024-02-01")), inside="../../evil.csv")
    assert len(only(folder).frame) == 744
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["BTCUSDT-1h-2024-01.zip", "in"]


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = pack(tmp_path, "BTCUSDT-1h-2024-01", b"0" * 50_000_000)
    assert path.stat().st_size < 100_000
    refused(tmp_path, str(path), "unpacks to more than", "no 1h bars")


def test_other_contents(tmp_path: Path) -> None:
    path = pack(tmp_path, "BTCUSDT-1h-2024-01", "hello", inside="readme.txt")
    refused(tmp_path, str(path), "'readme.txt'", "one CSV")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    refused(tmp_path, "'a.csv', 'b.csv'")
    pack(tmp_path, "BTCUSDT-1h-2024-01", "")
    refused(tmp_path, str(path))
    pack(tmp_path, "BTCUSDT-1h-2024-01", HEADER + "\n")
    refused(tmp_path, str(path))


@pytest.mark.parametrize("header", [False, True])
def test_a_bad_line_is_named(tmp_path: Path, header: bool) -> None:
    lines = klines(year(end="2024-02-01"), header=header).splitlines()

    def broken(number: int, line: str, *words: str) -> None:
        changed = [*lines[: number - 1], line, *lines[number:]]
        path = pack(tmp_path, "BTCUSDT-1h-2024-01", "\n".join(changed))
        refused(tmp_path, str(path), f"line {number}", *words)

    cells = lines[9].split(",")
    broken(10, ",".join(cells[:7]), "7 fields")
    broken(10, ",".join([*cells, "1"]), "13 fields")
    broken(10, ",".join([*cells[:3], "abc", *cells[4:]]), "field 4", "'abc'")
    broken(10, ",".join([*cells[:5], "", *cells[6:]]), "field 6", "''")
    broken(10, ",".join([*cells[:4], "nan", *cells[5:]]), "field 5", "'nan'")
    broken(10, ",".join(["12.5", *cells[1:]]), "field 1", "'12.5'")
    broken(10, ",".join(["1000", *cells[1:]]), "1000 ms", "2024-01")
    broken(len(lines), lines[-1][:30], "fields")


def test_places_without_an_archive(tmp_path: Path) -> None:
    refused(tmp_path / "absent", "no such file or folder")
    (tmp_path / "BTCUSDT-1h-2024-13.zip").write_bytes(b"")
    refused(tmp_path, "no archive of Binance")
    pack(tmp_path, "BTCUSDT-1h-2024-01", klines(year(end="2024-02-01")))
    refused(tmp_path, "holds no BTC/USTD, but BTCUSDT 1h", "did you mean BTCUSDT?", symbol="BTC/USTD")
    refused(tmp_path, "holds no 5m, but BTCUSDT 1h", timeframe="5m")


def test_exact_numbers_of_other_spellings(tmp_path: Path) -> None:
    row = "1704067200000,0.00001234,0.00001240,0.00001230,0.00001239,1E+3,1704070799999,12390000.5,9,1,1,0\n"
    pack(tmp_path, "SHIBUSDT-1h-2024-01", row)
    frame = only(tmp_path).frame
    assert frame.index[0] == pd.Timestamp("2024-01-01", tz="UTC")
    np.testing.assert_array_equal(
        frame.to_numpy(), [[0.00001234, 0.0000124, 0.0000123, 0.00001239, 1000.0, 12390000.5]]
    )
