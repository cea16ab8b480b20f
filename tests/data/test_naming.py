"""What names of files and folders say; tickers that look like timeframes keep being tickers."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars import Timeframe
from kronos.data.files.naming import Named, is_symbol, name_of
from kronos.data.keys import Key

NAMES = {
    # symbol, timeframe, market
    "crypto_BTC_1h.parquet": ("BTC", "1h", "crypto"),
    "BTCUSDT_15m.parquet": ("BTCUSDT", "15m", None),
    "1000SATSUSDT_15m.parquet": ("1000SATSUSDT", "15m", None),
    "BTC-USDT-1H.csv": ("BTC/USDT", "1h", None),
    "binance_BTC_USDT_1h.csv": ("BTC/USDT", "1h", "crypto"),
    "DOGE_USDT-1h.csv": ("DOGE/USDT", "1h", None),
    "btc_usd_1d_2020_2024.csv": ("BTC/USD", "1d", None),
    "BTC_USDT_USDT-1h-futures.feather": ("BTC/USDT:USDT", "1h", "futures"),
    "BTC-USD-SWAP_4H.csv": ("BTC-USD-SWAP", "4h", None),
    "Binance_BTCUSDT_d.csv": ("BTCUSDT", "1d", "crypto"),
    "Bitstamp_BTCUSD_minute.csv": ("BTCUSD", "1m", "crypto"),
    "gemini_BTCUSD_2020_1min.csv": ("BTCUSD", "1m", "crypto"),
    "BTCUSDT-1h-2024-01.zip": ("BTCUSDT", "1h", None),
    "BTCUSDT-1M-2024-01.zip": ("BTCUSDT", "1mo", None),
    "BTCUSDT-5m-2024-01-05.csv": ("BTCUSDT", "5m", None),
    "BINANCE_BTCUSDT, 60.csv": ("BTCUSDT", "1h", "crypto"),
    "NASDAQ_AAPL, 1D_3ab5c.csv": ("AAPL", "1d", "us"),
    "000001.SZ_1d.csv": ("000001.SZ", "1d", None),
    "sh.600000_5min.csv": ("sh.600000", "5m", None),
    "SH#600000.txt": ("SH#600000", None, None),
    "600000_日线.csv": ("600000", "1d", None),
    "000001_5分钟.csv": ("000001", "5m", None),
    "sz_200012.csv": ("sz_200012", None, None),
    "hk_2018.csv": ("2018", None, "hk"),
    "2330.TW_1d.csv": ("2330.TW", "1d", None),
    "2330.csv": ("2330", None, None),
    "AAPL.csv": ("AAPL", None, None),
    "AAPL (1).csv": ("AAPL", None, None),
    "AAPL Historical Data.csv": ("AAPL", None, None),
    "aapl_us_d.csv": ("aapl", "1d", "us"),
    "AAPL_full_1day_adjsplit.csv.gz": ("AAPL", "1d", None),
    "AAPL_2020-01-01_to_2024-01-01.csv": ("AAPL", None, None),
    "BTC_daily.csv": ("BTC", "1d", None),
    "1h_BTCUSDT.csv": ("BTCUSDT", "1h", None),
    "BRENT-CFD_1h.csv": ("BRENT-CFD", "1h", None),
    "US-10Y_1d.csv": ("US-10Y", "1d", None),
    "ES1_15m.csv": ("ES1", "15m", None),
    "GC1_1d.csv": ("GC1", "1d", None),
    "ES=F_1h.csv": ("ES=F", "1h", None),
    "^GSPC_1d.csv": ("^GSPC", "1d", None),
    "EURUSD_M15.csv": ("EURUSD", "15m", None),
    "EURUSD1440.csv": ("EURUSD", "1d", None),
    "EURUSD_H4_201501020000_202312292000.csv": ("EURUSD", "4h", None),
    "DAT_ASCII_EURUSD_M1_202401.csv": ("EURUSD", "1m", None),
    "BTCUSDT_60m.csv": ("BTCUSDT", "1h", None),
    # tickers that are words of other kinds
    "M.csv": ("M", None, None),
    "D.csv": ("D", None, None),
    "MS.csv": ("MS", None, None),
    "M_1d.csv": ("M", "1d", None),
    "MS_1d.csv": ("MS", "1d", None),
    "us_M_1d.csv": ("M", "1d", "us"),
    "us_D.csv": ("D", None, "us"),
    "1d_M.csv": ("M", "1d", None),
    "3M_1d.csv": ("3M", "1d", None),
    "AAPL_D.csv": ("AAPL", "1d", None),
    "AAPL_M.csv": ("AAPL", "1mo", None),
    "BRK-B_1d.csv": ("BRK-B", "1d", None),
    "BRK-D.csv": ("BRK-D", None, None),
    "BRK_B.csv": ("BRK_B", None, None),
    "SPOT_1d.csv": ("SPOT", "1d", None),
    "us_SPOT_1d.csv": ("SPOT", "1d", "us"),
    "DATA_1d.csv": ("DATA", "1d", None),
    "us.csv": ("us", None, None),
    # no symbol at all
    "1d.csv": (None, "1d", None),
    "M15.csv": (None, "15m", None),
    "_.csv": (None, None, None),
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert name_of(name) == Named(*NAMES[name])
    assert name_of(f"/some/where/{name}", "/some/where") == Named(*NAMES[name])


def test_folders_say_what_the_name_does_not() -> None:
    assert name_of("/r/crypto/X.csv", "/r") == Named("X", None, "crypto")
    assert name_of("/r/crypto/us_X_1h.csv", "/r") == Named("X", "1h", "us")
    assert name_of("/r/1d/us/AAPL.csv", "/r") == Named("AAPL", "1d", "us")
    assert name_of("/r/spot/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip", "/r") == Named("BTCUSDT", "1h", "crypto")
    assert name_of("/r/BTCUSDT/1h.csv", "/r") == Named("BTCUSDT", "1h", None)
    assert name_of("/us/crypto/data/X.csv", "/us/crypto") == Named("X", None, None)
    assert name_of("/crypto/X.csv", "/crypto") == Named("X", None, None)
    assert name_of("us/AAPL.csv") == Named("AAPL", None, "us")
    assert name_of("/elsewhere/AAPL.csv", "/r") == Named("AAPL", None, None)


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT", "BTC-USD-SWAP", "000001.SZ", "BRK-B", "AAPL", "M"])
@pytest.mark.parametrize("timeframe", ["1m", "15m", "1h", "1d", "1w", "1mo"])
def test_the_name_that_a_key_gives_its_file_is_read_again(symbol: str, timeframe: str) -> None:
    key = Key("any", symbol, timeframe)
    named = name_of(f"{key.filename}.parquet")
    assert (named.symbol, named.timeframe) == (symbol, timeframe)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.sampled_from([".csv", ".parquet", ""]))
def test_no_name_breaks_it_and_timeframes_are_canonical(text: str, suffix: str) -> None:
    named = name_of(text.replace("/", "") + suffix)
    assert named.symbol is None or named.symbol.strip()
    assert named.timeframe is None or str(Timeframe.parse(named.timeframe)) == named.timeframe


@given(
    st.from_regex(r"[A-Z]{1,5}|[0-9]{6}\.(SZ|SH)|[A-Z]{3,6}USDT", fullmatch=True), st.sampled_from(["1m", "4h", "1d"])
)
def test_a_symbol_and_a_timeframe_are_told_apart(symbol: str, timeframe: str) -> None:
    assert name_of(f"{symbol}_{timeframe}.csv") == Named(symbol, timeframe, None)


def test_names_of_sheets() -> None:
    assert all(map(is_symbol, ["AAPL", "000001.SZ", "BTC-USDT", "M", "^GSPC", "ES=F", "平安银行"]))
    assert not any(map(is_symbol, ["Sheet1", "Tabelle2", "工作表1", "1h", "notes", "data", "Apple Inc.", "", "x" * 40]))


MARKET = Path(__file__).resolve().parents[2].parent / "shared" / "market"


@pytest.mark.skipif(not (MARKET / "MANIFEST.csv").exists(), reason="the market working data is not beside the project")
def test_every_real_series_is_named_like_its_entry() -> None:
    manifest = pd.read_csv(MARKET / "MANIFEST.csv", dtype=str)
    for row in manifest.itertuples():
        assert name_of(MARKET / str(row.file), MARKET) == Named(row.symbol, row.interval, row.market)
    assert len(manifest) > 700


@pytest.mark.parametrize("name", ["BTC_99999999999999999999h.csv", "BTC_0m.csv", "BTC_M0.csv"])
def test_a_count_that_no_bar_has_is_no_timeframe(name: str) -> None:
    assert name_of(name).timeframe is None
