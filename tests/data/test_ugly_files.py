"""Files as vendors, terminals and spreadsheets write them, and those that no reader should accept."""

import bz2
import csv
import datetime as dt
import gzip
import logging
import lzma
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars.candles import COLUMNS
from kronos.data.files import opening
from kronos.data.files.numerals import to_numbers
from kronos.data.files.reading import Found, bar_files, read_bars, read_loose
from kronos.errors import BarsError, KronosError, MissingExtra, SourceError
from reference import bars_frame

MINUTES = ("2024-01-05 09:30", "2024-01-05 09:35")
DAYS = ("2024-01-05", "2024-01-08")
HEADER = "time,open,high,low,close,volume\n"
ROWS = "2024-01-05 09:30,1,3,0.5,2,10\n2024-01-05 09:35,2,3,1,2.5,20\n"
DAILY = ROWS.replace(" 09:30", "").replace("01-05 09:35", "01-08")
PLAIN = np.array([[1, 3, 0.5, 2, 10, np.nan], [2, 3, 1, 2.5, 20, np.nan]])
WITH_AMOUNT = np.column_stack([PLAIN[:, :5], [15.0, 45.0]])
WITHOUT_VOLUME = np.column_stack([PLAIN[:, :4], [np.nan] * 2, [np.nan] * 2])


def write(folder: Path, content: str | bytes, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def only(path: Path) -> Found:
    (found,) = read_loose(path)
    return found


def holds(found: Found, times: Sequence[str], values: np.ndarray = PLAIN, symbol: str | None = None) -> None:
    assert found.symbol == symbol
    assert list(found.frame.columns) == list(COLUMNS)
    assert found.frame.index.name == "timestamp"
    assert found.frame.index.dtype == "datetime64[ns]"
    assert list(found.frame.index) == [pd.Timestamp(time) for time in times]
    np.testing.assert_array_equal(found.frame.to_numpy(), values)


def refused(path: Path, kind: type[KronosError], *words: str) -> None:
    for read in (read_loose, read_bars):
        with pytest.raises(kind) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert "\n" not in message
        for word in words:
            assert word in message, message


# What is around the bars ----------------------------------------------------------------------------------------------

FRAMED: Mapping[str, tuple[str, list[int]]] = {
    "titles above": ("My vendor, export of 2024\nAll prices in USD\n\n" + HEADER + ROWS, [5, 6]),
    "comments anywhere": ("# a\n// b\n" + HEADER + ROWS.replace("\n", "\n# c\n", 1) + "# end\n", [4, 6]),
    "a header in a comment": ("# time,open,high,low,close,volume\n" + ROWS, [2, 3]),
    "units below the header": (HEADER + "yyyy-mm-dd hh:mm,USD,USD,USD,USD,shares\n" + ROWS, [3, 4]),
    "a total and a source below": (HEADER + ROWS + "\nTotal,,,,,30\nSource: a vendor\n", [2, 3]),
    "a source in Chinese": (HEADER + ROWS + "数据来源:通达信\n", [2, 3]),
    "empty lines and lines of separators": ("\n" + HEADER + "\n" + ROWS.replace("\n", "\n,,,,,\n"), [4, 6]),
    "separators at the end of all lines": ((HEADER + ROWS).replace("\n", ",\n"), [2, 3]),
    "separators at the end of the rows": (HEADER + ROWS.replace("\n", ",,\n"), [2, 3]),
    "a header of two lines in quotes": ((HEADER + ROWS).replace("volume", '"vol\nume"', 1), [3, 4]),
    "line breaks in a remark": (
        HEADER.replace("\n", ",note\n") + ROWS.replace("\n", ',"two\nlines, ""quoted"""\n'), [2, 4]
    ),
    "old line ends": ((HEADER + ROWS).replace("\n", "\r"), [2, 3]),
    "no line end at the end": (HEADER + ROWS.rstrip(), [2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMED)
def test_what_is_around_the_bars_is_left_out_and_every_row_knows_its_line(tmp_path: Path, name: str) -> None:
    content, lines = FRAMED[name]
    found = only(write(tmp_path, content))
    holds(found, MINUTES)
    assert found.lines is not None
    assert found.lines.tolist() == lines


def test_joined_files_bring_their_titles_and_headers(tmp_path: Path) -> None:
    found = only(write(tmp_path, "Title\n" + HEADER + ROWS + "Title\n" + HEADER + ROWS.replace("01-05", "01-06")))
    later = [time.replace("01-05", "01-06") for time in MINUTES]
    holds(found, [*MINUTES, *later], np.r_[PLAIN, PLAIN])
    assert found.lines is not None
    assert found.lines.tolist() == [3, 4, 7, 8]


def test_what_was_left_out_at_the_end_is_counted_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="kronos.data"):
        found = only(write(tmp_path, HEADER + ROWS + "Total,,,,,30\nSource\n"))
    assert found.footer == 2
    assert "2 line(s) at the end" in caplog.text
    assert "Total" in caplog.text
    assert only(write(tmp_path, HEADER + ROWS)).footer == 0


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom", "gbk"])
def test_separators_and_encodings(tmp_path: Path, separator: str, encoding: str) -> None:
    content = "行情数据\n" + HEADER.replace("time", "时间").replace("volume", "成交量(股)") + ROWS
    text = content.replace(",", separator)
    mark = "\ufeff" if encoding.endswith("-bom") else ""
    raw = (mark + text).encode(encoding.removesuffix("-bom"))
    holds(only(write(tmp_path, raw)), MINUTES)


def test_western_windows_text(tmp_path: Path) -> None:
    text = "Börsenkurse in £ und €\n" + HEADER + ROWS
    holds(only(write(tmp_path, text.encode("cp1252"))), MINUTES)


# Numbers --------------------------------------------------------------------------------------------------------------

NUMBERS: Mapping[str, tuple[str, list[str], float, float]] = {
    "English groups in quotes": (",", ['"1,001.5"', '"1,234,567"'], 1001.5, 1234567),
    "groups that say nothing in a comma file": (",", ['"1,001"', '"1,234"'], 1001, 1234),
    "Indian groups": (",", ['"1,001.50"', '"12,34,567"'], 1001.5, 1234567),
    "German": (";", ["1.001,5", "1.234.567"], 1001.5, 1234567),
    "German volume that looks like a price": (";", ["1.001,5", "1.234"], 1001.5, 1234),
    "French with narrow blanks": (";", ["1\u202f001,5", "1\u202f234\u202f567"], 1001.5, 1234567),
    "blanks": (";", ["1 001,5", "1 234 567"], 1001.5, 1234567),
    "Swiss": (",", ["1'001.50", "1'234'567"], 1001.5, 1234567),
    "a decimal comma between tabs": ("\t", ["1001,5", "1234567"], 1001.5, 1234567),
    "English groups between tabs": ("\t", ["1,001.5", "1,234,567"], 1001.5, 1234567),
    "a decimal comma in quotes": (",", ['"1001,5"', '"1234567"'], 1001.5, 1234567),
    "exponents": (",", ["1.0015E+03", "1.234567e6"], 1001.5, 1234567),
    "blanks around": (",", [" 1001.5 ", "1234567\t"], 1001.5, 1234567),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_writings_of_numbers(tmp_path: Path, name: str) -> None:
    separator, (price, volume), expected, count = NUMBERS[name]
    lines = [separator.join(["date", "open", "high", "low", "close", "volume"])]
    lines += [separator.join([day, price, price, price, price, volume]) for day in DAYS]
    holds(only(write(tmp_path, "\n".join(lines))), DAYS, np.array([[*[expected] * 4, count, np.nan]] * 2))


@pytest.mark.parametrize("word", ["", "-", "--", "N/A", "null", "NaN", "None", "n/a ", "#N/A", "—"])
def test_words_for_no_value(tmp_path: Path, word: str) -> None:
    found = only(write(tmp_path, HEADER + ROWS.replace(",20", f",{word}")))
    assert np.isnan(found.frame["volume"].iloc[1])
    assert found.frame["volume"].iloc[0] == 10
    prices = only(write(tmp_path, HEADER + ROWS + f"2024-01-05 09:40,{word},{word},{word},{word},{word}\n" + DAILY))
    assert prices.frame.iloc[2].isna().all()


@pytest.mark.parametrize("cell", ["5%", "$ 5", "5€", "$$5", "1_000", "5 USD", "1.2k", "K", "0x10", "1,23,4.5.6", "yes"])
def test_what_is_no_number_is_refused_with_line_and_column(tmp_path: Path, cell: str) -> None:
    path = write(tmp_path, "Title\n" + HEADER + ROWS + f'2024-01-05 09:40,1,3,0.5,"{cell}",10\n')
    refused(path, BarsError, "row 2, line 5", "'close'", repr(cell), "no plain number")


def test_a_comma_that_may_mean_either_is_refused(tmp_path: Path) -> None:
    rows = ["\t".join([day, *["1,234"] * 4, "1,500"]) for day in DAYS]
    refused(write(tmp_path, HEADER.replace(",", "\t") + "\n".join(rows)), BarsError, "row 0, line 2", "'1,234'")


def test_the_minority_of_a_mixture_is_refused(tmp_path: Path) -> None:
    rows = "2024-01-05;1,5;2,5;1,25;1,5;1\n2024-01-08;1,5;2,5;1.25;1,5;1\n"
    refused(write(tmp_path, HEADER.replace(",", ";") + rows), BarsError, "line 3", "'low'", "'1.25'")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1e-4, 1e9).map(lambda value: round(value, 4)), min_size=1, max_size=20),
    st.sampled_from([(".", ","), (",", "."), (",", " "), (".", "'"), (",", "\u202f"), (".", "")]),
)
def test_numbers_written_in_any_style_come_back(values: list[float], style: tuple[str, str]) -> None:
    decimal, group = style
    signs = str.maketrans({",": group, ".": decimal})
    cells = pd.Series([f"{value:,.4f}".translate(signs) for value in values])
    ((read, bad),) = to_numbers([cells], ";")
    assert not bad.any()
    assert read.tolist() == values


# What vendors write ---------------------------------------------------------------------------------------------------

VENDORS: Mapping[str, tuple[str | bytes, Sequence[str], np.ndarray, str | None]] = {
    "Yahoo": (
        "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-05,1,3,0.5,2,1.9,10\n2024-01-08,2,3,1,2.5,2.4,20\n",
        DAYS, PLAIN, None,
    ),
    "yfinance": (
        "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,\n"
        "2024-01-05,2,3,0.5,1,10\n2024-01-08,2.5,3,1,2,20\n",
        DAYS, PLAIN, "AAPL",
    ),
    "yfinance by ticker": (
        "Ticker,AAPL,AAPL,AAPL,AAPL,AAPL\nPrice,Open,High,Low,Close,Volume\nDate,,,,,\n" + DAILY, DAYS, PLAIN, "AAPL",
    ),
    "MetaTrader 5, volume in ticks": (
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        "2024.01.05\t09:30:00\t1\t3\t0.5\t2\t10\t0\t5\n2024.01.05\t09:35:00\t2\t3\t1\t2.5\t20\t0\t5\n".encode("utf-16"),
        MINUTES, PLAIN, None,
    ),
    "MetaTrader 4, no header": (
        "2024.01.05,09:30,1,3,0.5,2,10\n2024.01.05,09:35,2,3,1,2.5,20\n", MINUTES, PLAIN, None
    ),
    "HistData, no header": (
        "20240105 093000;1;3;0.5;2;10\n20240105 093500;2;3;1;2.5;20\n", MINUTES, PLAIN, None
    ),
    "Finam": (
        "<TICKER>;<PER>;<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>\n"
        "SBER;5;20240105;93000;1;3;.5;2;10\nSBER;5;20240105;93500;2;3;1;2.5;20\n",
        MINUTES, PLAIN, "SBER",
    ),
    "TradingView": (
        "time,open,high,low,close,Volume,Volume MA\n1704447000,1,3,0.5,2,10,NaN\n1704447300,2,3,1,2.5,20,15\n",
        MINUTES, PLAIN, None,
    ),
    "Binance, no header": (
        "1704447000000,1.0,3.0,0.50,2.0,10,1704447299999,15,7,5,7.5,0\n"
        "1704447300000,2.0,3.0,1.00,2.5,20,1704447599999,45,7,5,7.5,0\n",
        MINUTES, WITH_AMOUNT, None,
    ),
    "CryptoDataDownload, newest first": (
        "https://www.CryptoDataDownload.com\n"
        "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount\n"
        "1704447300000,2024-01-05 09:35:00,BTCUSDT,2,3,1,2.5,20,45,7\n"
        "1704447000000,2024-01-05 09:30:00,BTCUSDT,1,3,0.5,2,10,15,7\n",
        MINUTES[::-1], WITH_AMOUNT[::-1], "BTCUSDT",
    ),
    "CryptoDataDownload of old, quote volume first": (
        "Date,Symbol,Open,High,Low,Close,Volume USD,Volume BTC\n"
        "2024-01-05 11-AM,BTC/USD,1,3,.5,2,15,10\n2024-01-05 12-PM,BTC/USD,2,3,1,2.5,45,20\n",
        ("2024-01-05 11:00", "2024-01-05 12:00"), WITH_AMOUNT, "BTC/USD",
    ),
    "Dukascopy": (
        "Gmt time,Open,High,Low,Close,Volume\n05.01.2024 09:30:00.000,1,3,.5,2,10\n"
        "05.01.2024 09:35:00.000,2,3,1,2.5,20\n13.01.2024 09:35:00.000,2,3,1,2.5,20\n",
        (*MINUTES, "2024-01-13 09:35"), PLAIN[[0, 1, 1]], None,
    ),
    "NSE": (
        '"Date ","series ","OPEN ","HIGH ","LOW ","PREV. CLOSE ","close ","VOLUME "\n'
        '"05-Jan-2024","EQ","1.00","3.00","0.50","1,000.00","2.00","10"\n'
        '"08-Jan-2024","EQ","2.00","3.00","1.00","1,000.00","2.50","20"\n',
        DAYS, PLAIN, None,
    ),
    "通达信 daily": (
        "000001 平安银行 日线 不复权\n      日期\t    开盘\t    最高\t    最低\t    收盘\t    成交量\t    成交额\n"
        "2024/01/05\t1.00\t3.00\t0.50\t2.00\t10\t15.00\n2024/01/08\t2.00\t3.00\t1.00\t2.50\t20\t45.00\n"
        "数据来源:通达信\n".encode("gbk"),
        DAYS, WITH_AMOUNT, None,
    ),
    "通达信 minutes": (
        "000001 平安银行 5分钟线\n日期,时间,开盘,最高,最低,收盘,成交量,成交额\n"
        "2024/01/05,0930,1,3,.5,2,10,15\n2024/01/05,0935,2,3,1,2.5,20,45\n#数据来源:通达信\n".encode("gbk"),
        MINUTES, WITH_AMOUNT, None,
    ),
    "Wind, amount in millions": (
        "代码,简称,日期,前收盘价(元),开盘价(元),最高价(元),最低价(元),收盘价(元),成交额(百万),成交量(股)\n"
        "000001.SZ,平安银行,2024-01-05,1,1,3,0.5,2,0.000015,10\n000001.SZ,平安银行,2024-01-08,2,2,3,1,2.5,0.000045,20\n"
        ",,,,,,,,,\n数据来源：Wind,,,,,,,,,\n".encode("gbk"),
        DAYS, WITH_AMOUNT, "000001.SZ",
    ),
    "东方财富": (
        "日期,股票代码,开盘,收盘,最高,最低,成交量,成交额,振幅,涨跌幅,涨跌额,换手率\n"
        "2024-01-05,000001,1,2,3,0.5,10,15,1,1,1,1\n2024-01-08,000001,2,2.5,3,1,20,45,1,1,1,1\n",
        DAYS, WITH_AMOUNT, "000001",
    ),
    "同花顺": (
        "时间\t开盘\t最高\t最低\t收盘\t涨幅\t振幅\t总手\t金额\n2024-01-05\t1\t3\t0.5\t2\t1%\t2%\t10\t15\n"
        "2024-01-08\t2\t3\t1\t2.5\t1%\t2%\t20\t45\n",
        DAYS, WITH_AMOUNT, None,
    ),
    "Excel's day numbers": (
        "date,open,high,low,close\n45296.39583,1,3,.5,2\n45296.39931,2,3,1,2.5\n", MINUTES, WITHOUT_VOLUME, None
    ),
    "R's row names": (
        '"open","high","low","close"\n"2024-01-05",1,3,0.5,2\n"2024-01-08",2,3,1,2.5\n', DAYS, WITHOUT_VOLUME, None
    ),
    "R's row numbers": (
        '"date";"open";"high";"low";"close"\n"1";"2024-01-05";1;3;0.5;2\n"2";"2024-01-08";2;3;1;2.5\n',
        DAYS, WITHOUT_VOLUME, None,
    ),
    "pandas' index": (
        ",open,high,low,close\n2024-01-05,1,3,0.5,2\n2024-01-08,2,3,1,2.5\n", DAYS, WITHOUT_VOLUME, None
    ),
    "pandas' row count": (
        ",date,open,high,low,close\n0,2024-01-05,1,3,0.5,2\n1,2024-01-08,2,3,1,2.5\n", DAYS, WITHOUT_VOLUME, None
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VENDORS)
def test_vendors(tmp_path: Path, name: str) -> None:
    content, times, values, symbol = VENDORS[name]
    found = only(write(tmp_path, content))
    holds(found, times, values, symbol)


# Several symbols ------------------------------------------------------------------------------------------------------

LONG = "date,{},open,high,low,close,volume\n2024-01-05,{},1,3,0.5,2,10\n2024-01-05,{},1,3,0.5,2,10\n"


@pytest.mark.parametrize(
    "column", ["symbol", "Ticker", "code", "instrument", "代码", "股票代码", "ts_code", "tic", "asset", "pair"]
)
def test_a_symbol_column_gives_one_series_each(tmp_path: Path, column: str) -> None:
    text = LONG.format(column, "NAN", "000001") + "2024-01-08,NAN,2,3,1,2.5,20\n2024-01-08,000001,2,3,1,2.5,20\n"
    first, second = read_loose(path := write(tmp_path, text))
    holds(first, DAYS, symbol="NAN")
    holds(second, DAYS, symbol="000001")
    assert first.lines is not None
    assert second.lines is not None
    assert (first.lines.tolist(), second.lines.tolist()) == ([2, 4], [3, 5])
    with pytest.raises(BarsError, match=r"holds 2 symbols \(NAN, 000001\)"):
        read_bars(path)


def test_one_symbol_in_a_column_is_one_series(tmp_path: Path) -> None:
    path = write(tmp_path, "date,symbol,open,high,low,close,volume\n" + DAILY.replace("5,", "5,TRUE,", 1).replace(
        "8,", "8,TRUE,", 1))  # fmt: skip
    assert only(path).symbol == "TRUE"
    assert len(read_bars(path)) == 2


def test_a_name_is_a_symbol_only_where_it_names_series(tmp_path: Path) -> None:
    text = "date,open,high,low,close,volume,Name\n"
    rows = [f"{day},1,3,0.5,2,10,{name}\n" for name in ("AAL", "AAPL") for day in DAYS]
    assert [found.symbol for found in read_loose(write(tmp_path, text + "".join(rows)))] == ["AAL", "AAPL"]
    remarks = [f"{day},1,3,0.5,2,10,{name}\n" for name, day in (("split", DAYS[0]), ("dividend", DAYS[1]))]
    assert only(write(tmp_path, text + "".join(remarks))).symbol is None
    company = [f"{day},1,3,0.5,2,10,Apple Inc.\n" for day in DAYS]
    assert only(write(tmp_path, text + "".join(company))).symbol is None


def test_a_row_without_a_symbol_is_refused(tmp_path: Path) -> None:
    refused(write(tmp_path, LONG.format("symbol", "A", "")), BarsError, "row 1, line 3", "'symbol' is missing")


def test_tickers_side_by_side(tmp_path: Path) -> None:
    text = (
        "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\n"
        + "Ticker"
        + ",AAPL,MSFT" * 5
        + "\nDate,,,,,,,,,,\n"
        "2024-01-05,2,2,3,3,0.5,0.5,1,1,10,10\n2024-01-08,2.5,2.5,3,3,1,1,2,2,20,20\n"
    )
    first, second = read_loose(path := write(tmp_path, text))
    holds(first, DAYS, symbol="AAPL")
    holds(second, DAYS, symbol="MSFT")
    with pytest.raises(BarsError, match="AAPL, MSFT"):
        read_bars(path)


def test_many_symbols_are_listed_in_part(tmp_path: Path) -> None:
    rows = [f"2024-01-05,S{i},1,3,0.5,2,10\n" for i in range(30)]
    path = write(tmp_path, "date,symbol,open,high,low,close,volume\n" + "".join(rows))
    with pytest.raises(BarsError, match=r"holds 30 symbols \(S0, .*S9, \.\.\.\)"):
        read_bars(path)


def test_symbols_in_stored_frames(tmp_path: Path) -> None:
    bars = bars_frame(3)
    both = {"AAPL": bars, "MSFT": 2 * bars}
    frames = {
        "columns": pd.concat(both, axis=1),
        "columns the other way": pd.concat(both, axis=1).swaplevel(axis=1),
        "index": pd.concat(both, names=["instrument", "datetime"]),
        "index without names": pd.concat(both).swaplevel().rename_axis([None, None]),
        "column": pd.concat([one.assign(code=name) for name, one in both.items()]).reset_index(),
        "category": pd.concat([one.assign(code=name) for name, one in both.items()]).astype({"code": "category"}),
    }
    for name, frame in frames.items():
        frame.to_parquet(tmp_path / "x.parquet")
        found = read_loose(tmp_path / "x.parquet")
        assert [one.symbol for one in found] == ["AAPL", "MSFT"], name
        for one, expected in zip(found, both.values(), strict=True):
            assert one.lines is None
            pd.testing.assert_frame_equal(one.frame, expected, check_freq=False, check_index_type=False)


# Packed files and places ----------------------------------------------------------------------------------------------


def zipped(folder: Path, members: Mapping[str, str], name: str = "x.zip") -> Path:
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return folder / name


def test_packed_text(tmp_path: Path) -> None:
    raw = (HEADER + ROWS).encode()
    for suffix, pack in ((".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)):
        holds(only(write(tmp_path, pack(raw), f"X.CSV{suffix}")), MINUTES)
        refused(write(tmp_path, pack(raw)[:-9], f"cut.csv{suffix}"), SourceError, "cannot be read")
        refused(write(tmp_path, raw, f"plain.csv{suffix}"), SourceError, "cannot be read")
    holds(only(zipped(tmp_path, {"a.csv": HEADER + ROWS, "__MACOSX/._a.csv": "x"})), MINUTES)


def test_archives_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(zipped(tmp_path, {"a.csv": HEADER, "b.csv": HEADER}), SourceError, "holds 2 files", "unpack")
    refused(zipped(tmp_path, {"a.exe": "x"}), SourceError, "'a.exe'")
    refused(zipped(tmp_path, {}), SourceError, "holds 0 files")
    refused(write(tmp_path, b"PK\x03\x04 and no more", "x.zip"), SourceError, "cannot be read")
    monkeypatch.setattr(opening, "MOST_BYTES", 1 << 20)
    bomb = HEADER + " " * (1 << 20)
    refused(zipped(tmp_path, {"a.csv": bomb}), SourceError, "more than 1 MiB")
    refused(write(tmp_path, gzip.compress(bomb.encode()), "x.csv.gz"), SourceError, "more than 1 MiB")


def test_places_list_what_can_be_read(tmp_path: Path) -> None:
    good = ["a.csv", "a.csv.gz", "b.pq", "c.TSV", "d.txt.xz", "e.xlsx", "sub/f.feather", "sub/g.parquet"]
    hidden = [".a.csv", "._a.csv", ".git/a.csv", "sub/.cache/a.csv", "~$e.xlsx", "__MACOSX/a.csv", "x.json", "x.gz"]
    for name in (*good, *hidden):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    zipped(tmp_path, {"a.csv": HEADER}, "bars.zip")
    zipped(tmp_path, {"a.jpg": "x", "notes.txt": "y"}, "photos.zip")
    write(tmp_path, b"broken", "broken.zip")
    found = [path.relative_to(tmp_path).as_posix() for path in bar_files(tmp_path)]
    assert found == sorted(found)
    assert set(found) == {*good, "bars.zip", "broken.zip"}
    assert bar_files(tmp_path / ".a.csv") == [tmp_path / ".a.csv"]


# Excel ----------------------------------------------------------------------------------------------------------------

NAMES = ["Date", "Open", "High", "Low", "Close", "Volume"]
CELLS: list[list[Any]] = [
    [dt.datetime(2024, 1, 5), 1, 3, 0.5, 2, 10],
    [dt.datetime(2024, 1, 8), 2, 3, 1, 2.5, 20],
]


def book(folder: Path, **sheets: list[list[Any]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    workbook.save(folder / "x.xlsx")
    workbook.close()
    return folder / "x.xlsx"


def test_a_sheet_with_titles_and_totals(tmp_path: Path) -> None:
    rows = [[], ["My title"], [], NAMES, *CELLS, [None] * 6, ["Total", None, None, None, None, 30]]
    found = only(path := book(tmp_path, Sheet1=rows, Sheet2=[["notes"]]))
    holds(found, DAYS)
    assert found.lines is not None
    assert found.lines.tolist() == [5, 6]
    assert found.footer == 1
    assert len(read_bars(path)) == 2


def test_sheets_named_like_symbols(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_loose(path := book(tmp_path, AAPL=[NAMES, *CELLS], MSFT=[["Title"], NAMES, *CELLS], notes=[["x"]]))
    for one, symbol in zip(found, ("AAPL", "MSFT"), strict=True):
        holds(one, DAYS, symbol=symbol)
    with pytest.raises(BarsError, match=r"holds 2 symbols \(AAPL, MSFT\)"):
        read_bars(path)
    holds(only(book(tmp_path, Data=[NAMES, *CELLS], AAPL=[NAMES, *CELLS[:1]])), DAYS)
    assert "only sheet 'Data' is read" in caplog.text


def test_cells_of_a_sheet(tmp_path: Path) -> None:
    text = [[day, "1", "3", 0.5, "2", "10"] for day in ("2024-01-05",)] + [["2024-01-08", 2, "3", "1", "2.5", "20"]]
    holds(only(book(tmp_path, Data=[NAMES, *text])), DAYS)
    serial = [[45296.395833333336, *CELLS[0][1:]], [45296.399305555555, *CELLS[1][1:]]]
    holds(only(book(tmp_path, Data=[NAMES, *serial])), MINUTES)
    clock = [[dt.date(2024, 1, 5), dt.time(9, 30 + 5 * i), *CELLS[i][1:]] for i in range(2)]
    holds(only(book(tmp_path, Data=[["date", "time", *NAMES[1:]], *clock])), MINUTES)
    codes = [[600000, *CELLS[0]], [600000, *CELLS[1]]]
    holds(only(book(tmp_path, Data=[["代码", *NAMES], *codes])), DAYS, symbol="600000")


def test_sheets_that_are_refused(tmp_path: Path) -> None:
    wrong = [dt.datetime(2024, 1, 9), 1, 3, "x", 2, 10]
    refused(book(tmp_path, Data=[["Title"], NAMES, *CELLS, wrong]), BarsError, "row 2, line 5", "'Low' is 'x'")
    refused(book(tmp_path, Data=[]), BarsError, "holds no rows")
    refused(book(tmp_path, Data=[NAMES]), BarsError, "holds no rows")
    refused(book(tmp_path, Data=[["a", "b"], [1, 2]]), SourceError, "no sheet names columns")


def test_workbooks_that_are_none(tmp_path: Path) -> None:
    refused(write(tmp_path, b"PK", "x.xlsx"), SourceError, "no Excel workbook")


def test_excel_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    path = zipped(tmp_path, {"a": "b"}, "x.xlsx")
    with pytest.raises(MissingExtra, match=r"kronos-candles\[excel\]"):
        read_loose(path)


# What nobody should accept --------------------------------------------------------------------------------------------

REFUSED: Mapping[str, tuple[str, type[KronosError], list[str]]] = {
    "a number": (HEADER + ROWS + "2024-01-05 09:40,1,3,O.5,2,10\n", BarsError, ["row 2, line 4", "'low'", "'O.5'"]),
    "a time": (HEADER + ROWS + "2024-01-05 09:4x,1,3,.5,2,1\n", BarsError, ["row 2, line 4", "'2024-01-05 09:4x'"]),
    "a time that is missing": (HEADER + ROWS + ",1,3,.5,2,1\n", BarsError, ["row 2, line 4", "missing"]),
    "a short line": (HEADER + "2024-01-05 09:25,1,3\n" + ROWS, SourceError, ["line 2:", "before column 'low'"]),
    "a long line": (HEADER + ROWS + "2024-01-05 09:40,1,3,.5,2,1,9\n", SourceError, ["line 4:", "after", "'volume'"]),
    "a line cut short": (HEADER + ROWS + "2024-01-05 09:40,1,3,0.", SourceError, ["line 4:", "before column 'close'"]),
    "an open quote": (HEADER + ROWS + '2024-01-05 09:40,1,3,.5,2,"1\n', SourceError, ["line 4:", "never closed"]),
    "a total in the middle": (ROWS.join([HEADER, "Total,,,,,30\n", ""]), BarsError, ["line 4", "'Total'"]),
    "prices without a time at the end": (HEADER + ROWS + "Mean,1,3,.5,2,15\n", BarsError, ["line 4", "'Mean'"]),
    "bars above the header": (ROWS + HEADER + ROWS, SourceError, ["line 1:", "above the header"]),
    "no time of day": (
        "date,time,open,high,low,close\n20240105,0930,1,3,.5,2\n20240105,0975,1,3,.5,2\n", BarsError,
        ["line 3", "'0975'"],
    ),
    "an hour or a minute": (
        "date,time,open,high,low,close\n20240105,9,1,3,.5,2\n20240105,10,1,3,.5,2\n", BarsError, ["hour or a minute"]
    ),
    "no column for low": (HEADER.replace("low", "lo") + ROWS, BarsError, ["no column for low", "'lo'"]),
    "no table": ("a text\nof two lines\n", SourceError, ["names the columns", "'a text'"]),
    "no header": ("2024-01-05,1,3,0.5,2\n2024-01-08,1,3,0.5,2\n", SourceError, ["names the columns"]),
    "zero bytes": (HEADER + "2024-01-05\x00,1,3,0.5,2,1\n", SourceError, ["zero bytes"]),
    "only titles": (HEADER + "Total,,,,,30\n", BarsError, ["'Total'"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_file_line_and_column(tmp_path: Path, name: str) -> None:
    content, kind, words = REFUSED[name]
    refused(write(tmp_path, content), kind, *words)


def test_an_encoding_mark_that_lies(tmp_path: Path) -> None:
    refused(write(tmp_path, b"\xff\xfe\x00\xd8\x00"), SourceError, "utf-16")


def test_a_candle_that_is_none_is_refused_with_its_line_and_read_loosely(tmp_path: Path) -> None:
    path = write(tmp_path, "Title\n\n" + HEADER + ROWS + "2024-01-05 09:40,-1,3,2,1.5,5\n")
    assert only(path).frame["open"].iloc[2] == -1
    with pytest.raises(BarsError, match=r"row 2, line 6 \(2024-01-05 09:40:00\): open -1 is not positive"):
        read_bars(path)


def test_order_is_kept_loosely_and_refused_strictly(tmp_path: Path) -> None:
    newest = HEADER + "".join(ROWS.splitlines(keepends=True)[::-1] + ROWS.splitlines(keepends=True)[:1])
    path = write(tmp_path, newest)
    holds(only(path), [MINUTES[1], MINUTES[0], MINUTES[0]], PLAIN[[1, 0, 0]])
    with pytest.raises(BarsError, match="row 1, line 3: the time 2024-01-05 09:30:00 is earlier"):
        read_bars(path)


def test_volume_with_holes_can_be_filled(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + ROWS.replace(",20", ","))
    with pytest.raises(BarsError, match=r"line 3.*volume nan is missing"):
        read_bars(path)
    assert read_bars(path, volume_rule="fill")["volume"].tolist() == [10, 0]


# What goes in comes out -----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gbk"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]), st.sampled_from(["\n", "\r\n"]),
    st.lists(st.sampled_from(["", "Title", "# 注", "Source: x, y; z"]), max_size=3), st.integers(1, 30),
    st.sampled_from(["%Y-%m-%d %H:%M:%S", "%Y%m%d%H%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%Y/%m/%d %H:%M"]),
)  # fmt: skip
def test_every_dress_of_a_text_gives_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory,
    separator: str, encoding: str, quoting: Any, end: str, above: list[str], rows: int, clock: str,
) -> None:  # fmt: skip
    bars = bars_frame(rows, start="2024-03-28 20:00", freq="4h")
    table = bars.set_axis(pd.Index(bars.index.strftime(clock), name="时间")).reset_index()
    text = table.to_csv(sep=separator, index=False, quoting=quoting, lineterminator=end)
    path = tmp_path_factory.mktemp("dress") / "x.csv"
    path.write_bytes((end.join([*above, ""]) + text).encode(encoding))
    found = only(path)
    np.testing.assert_array_equal(found.frame.to_numpy(), bars.to_numpy())
    assert (found.frame.index == bars.index).all()
    assert found.lines is not None
    assert found.lines.tolist() == list(range(len(above) + 2, len(above) + 2 + rows))


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet='0123456789.,;-: \n\t"abcdeoOhHlLtime#/', max_size=300))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for content in (text, "time,open,high,low,close\n" + text, HEADER + ROWS + text):
        path.write_text(content, encoding="utf-8")
        said = f"{path}: "
        try:
            lengths = [(len(found.frame), len(found.lines)) for found in read_loose(path) if found.lines is not None]
        except KronosError as error:
            said, lengths = str(error), []
        assert said.startswith(str(path))
        assert "\n" not in said
        assert all(rows == lines for rows, lines in lengths)


def test_a_million_characters_in_a_field_do_not_hang(tmp_path: Path) -> None:
    refused(write(tmp_path, HEADER + "9" * 1_000_000 + ",1,2,3,4,5\n"), KronosError)


def test_investing_and_nasdaq_exports(tmp_path: Path) -> None:
    (tmp_path / "ES.csv").write_text(
        '\ufeff"Date","Price","Open","High","Low","Vol.","Change %"\n'
        '"01/31/2024","4,870.25","4,925.00","4,931.25","4,866.50","1.25M","-1.10%"\n'
        '"01/30/2024","4,951.00","4,955.75","4,958.50","4,940.00","998.5K","-0.05%"\n',
        encoding="utf-8",
    )
    (tmp_path / "AAPL.csv").write_text(
        "Date,Close/Last,Volume,Open,High,Low\n"
        "01/31/2024,$184.40,55467800,$187.04,$187.095,$184.35\n"
        "01/30/2024,$188.04,55859370,$190.94,$191.80,$187.47\n"
    )
    futures, share = (read_loose(tmp_path / name)[0].frame for name in ("ES.csv", "AAPL.csv"))
    assert futures.iloc[0].tolist()[:5] == [4925.0, 4931.25, 4866.5, 4870.25, 1_250_000.0]
    assert futures["volume"].iloc[1] == 998_500.0
    assert share.iloc[1].tolist()[:5] == [190.94, 191.8, 187.47, 188.04, 55_859_370.0]
    assert [str(day)[:10] for day in share.index] == ["2024-01-31", "2024-01-30"]


def test_what_unpacks_to_hundreds_of_times_its_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = (HEADER + ROWS).encode() + b"\n" * (3 << 20)
    packed = {
        "gz": write(tmp_path, gzip.compress(raw), "x.csv.gz"),
        "bz2": write(tmp_path, bz2.compress(raw), "x.csv.bz2"),
        "xz": write(tmp_path, lzma.compress(raw), "x.csv.xz"),
        "zip": zipped(tmp_path, {"x.csv": raw.decode()}),
    }
    for path in packed.values():
        assert opening.read_text_bytes(path) == raw.replace(b"\r\n", b"\n")  # small, so it may shrink as it likes
    monkeypatch.setattr(opening, "SMALL_BYTES", 1 << 20)
    for path in packed.values():
        refused(path, SourceError, "more than 200 times its size", "unpack it yourself")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "gb18030", "cp1252"])
@pytest.mark.parametrize("piece", [1, 3, 7, 1 << 20])
def test_texts_are_decoded_the_same_in_pieces_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, piece: int
) -> None:
    monkeypatch.setattr(opening, "_PIECE", piece)
    text = "é,ü\r\n" if encoding == "cp1252" else "时间,开盘,é😀\r\n1,2,3\n"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path = write(tmp_path, (mark + text).encode(encoding))
    assert opening.read_text_bytes(path).decode() == text.replace("\r\n", "\n")
    cut = write(tmp_path, b"\xff\xfea\x00b")
    refused(cut, SourceError, "marked as utf-16")
