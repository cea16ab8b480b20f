"""Qlib's folders: read from bytes that the test packs itself, written and unpacked by it again."""

import os
import shutil
import struct
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kronos.bars import COLUMNS, canonical
from kronos.data.qlib import QlibFolder, is_qlib, qlib_code, qlib_frequency, read_qlib, write_qlib
from kronos.data.qlib.names import spelled
from kronos.errors import BarsError, ConfigError, KronosError, KronosWarning, SourceError
from reference import bars_frame

NAN = float("nan")
DAYS = ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08"]
PRICES = list(COLUMNS[:4])
EASY = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pack(path: Path, first: float, *values: float) -> None:
    """A feature as the format says, value by value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(struct.pack("<f", value) for value in (first, *values)))


def unpack(path: Path) -> tuple[int, list[float]]:
    content = path.read_bytes()
    first, *values = (struct.unpack("<f", content[at : at + 4])[0] for at in range(0, len(content), 4))
    return int(first), values


@pytest.fixture
def hand(tmp_path: Path) -> Path:
    """A folder as others make it: SH600000 from the second day on, suspended on the fourth, split on the fifth."""
    root = tmp_path / "hand"
    for part in ("calendars", "instruments", "features"):
        (root / part).mkdir(parents=True)
    (root / "calendars/day.txt").write_text("\n".join(DAYS) + "\n")
    (root / "calendars/day_future.txt").write_text("\n".join([*DAYS, "2024-01-09"]) + "\n")
    (root / "instruments/all.txt").write_text("SH600000\t2024-01-03\t2024-01-08\nSZ000001\t2024-01-02\t2024-01-02\n")
    (root / "instruments/csi300.txt").write_text(
        "SH600000\t2024-01-08\t2099-12-31\nSH600000\t2024-01-01\t2024-01-03\nSH600001\t2024-01-01\t2024-01-03\n"
    )
    place = root / "features/sh600000"
    pack(place / "open.day.bin", 1, 5.0, 5.5, NAN, 6.0)
    pack(place / "high.day.bin", 1, 5.5, 6.0, NAN, 6.5)
    pack(place / "low.day.bin", 1, 4.5, 5.0, NAN, 5.5)
    pack(place / "close.day.bin", 1, 5.0, 5.5, NAN, 6.0)
    pack(place / "volume.day.bin", 1, 200.0, 0.0, NAN, 400.0)
    pack(place / "vwap.day.bin", 1, 5.25, NAN, NAN, 6.25)
    pack(place / "factor.day.bin", 1, 0.5, 0.5, 0.5, 1.0)
    for field in PRICES:
        pack(root / f"features/sz000001/{field}.day.bin", 0, 3.0)
    return root


@contextmanager
def refused(kind: type[KronosError], *words: str) -> Iterator[None]:
    """The block fails with one line that holds these words."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def frame_of(rows: int, **how: Any) -> pd.DataFrame:
    """Sample candles whose times are in nanoseconds, as they are read back."""
    frame: pd.DataFrame = bars_frame(rows, **{"freq": "1D"} | how)
    frame.index = pd.DatetimeIndex(frame.index).as_unit("ns")
    frame.index.freq = None  # type: ignore[attr-defined]
    return frame


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_folder_says_what_it_holds(hand: Path) -> None:
    folder = QlibFolder(hand)
    assert [is_qlib(place) for place in (hand, hand / "features", hand / "nowhere")] == [True, False, False]
    assert list(map(str, folder.frequencies)) == ["1d"]
    assert folder.lists == ("all", "csi300")
    assert folder.symbols() == folder.symbols("day") == ["SH600000", "SZ000001"]
    assert folder.calendar("1d").strftime("%Y-%m-%d").tolist() == DAYS
    assert len(folder.calendar("day", future=True)) == 6
    stamp = pd.Timestamp
    assert folder.instruments("CSI300")["SH600000"] == [
        (stamp("2024-01-01"), stamp("2024-01-03")), (stamp("2024-01-08"), stamp("2099-12-31")),
    ]  # fmt: skip


def test_adjusted_prices_come_as_stored_and_a_slot_without_a_close_is_no_bar(hand: Path) -> None:
    frame = QlibFolder(hand).read("SH600000")
    assert list(frame.columns) == list(COLUMNS)
    assert frame.index.name == "timestamp"
    assert frame.index.dtype == "datetime64[ns]"
    assert frame.index.strftime("%Y-%m-%d").tolist() == ["2024-01-03", "2024-01-04", "2024-01-08"]
    assert frame["close"].tolist() == [5.0, 5.5, 6.0]
    assert frame["amount"].tolist() == [200 * 5.25, 0.0, 400 * 6.25]
    canonical(frame)


def test_original_prices_are_divided_by_the_factor_and_volumes_times_it(hand: Path) -> None:
    frame = QlibFolder(hand).read("SH600000", adjust="original")
    assert frame["close"].tolist() == [10.0, 11.0, 6.0]
    assert frame["high"].tolist() == [11.0, 12.0, 6.5]
    assert frame["volume"].tolist() == [100.0, 0.0, 400.0]
    assert frame["amount"].tolist() == [1050.0, 0.0, 2500.0]


def test_adjusted_to_the_last_shows_the_newest_original_price_whatever_is_read(hand: Path) -> None:
    pack(hand / "features/sh600000/factor.day.bin", 1, 0.5, NAN, NAN, 2.0)
    folder = QlibFolder(hand)
    frame = folder.read("SH600000", adjust="last")
    assert frame["close"].tolist() == [2.5, 2.75, 3.0]
    assert frame["volume"].tolist() == [400.0, 0.0, 800.0]
    assert frame["close"].iloc[-1] == folder.read("SH600000", adjust="original")["close"].iloc[-1]
    part = folder.read("SH600000", adjust="last", end="2024-01-04")
    pd.testing.assert_frame_equal(part, frame.iloc[:1])


@pytest.mark.parametrize("factor", [None, (2, 1.0, 1.0, 1.0), (1, 0.5, 0.0, 0.5, 1.0), (1, -1.0, 1.0, 1.0, 1.0)])
def test_original_prices_need_a_factor_for_every_bar(hand: Path, factor: tuple[float, ...] | None) -> None:
    path = hand / "features/sh600000/factor.day.bin"
    path.unlink() if factor is None else pack(path, *factor)
    QlibFolder(hand).read("SH600000")
    for adjust in ("original", "last"):
        with refused(SourceError, "sh600000", "factor", "adjust='adjusted'"):
            QlibFolder(hand).read("SH600000", adjust=adjust)  # type: ignore[arg-type]


def test_the_amount_is_amount_then_money_then_vwap_times_volume_in_the_units_told(hand: Path) -> None:
    place = hand / "features/sh600000"
    pack(place / "money.day.bin", 4, 7.0)
    assert QlibFolder(hand).read("SH600000")["amount"].tolist() == [1050.0, 0.0, 7.0]
    pack(place / "amount.day.bin", 2, 3.0)
    frame = QlibFolder(hand).read("SH600000", volume_unit=100, amount_unit=1000)
    assert frame["amount"].tolist() == [105_000.0, 3000.0, 7000.0]
    assert frame["volume"].tolist() == [20_000.0, 0.0, 40_000.0]


def test_what_a_folder_lacks_is_unknown(hand: Path) -> None:
    frame = QlibFolder(hand).read("SZ000001")
    assert frame[PRICES].to_numpy().tolist() == [[3.0] * 4]
    assert frame[["volume", "amount"]].isna().all(axis=None)


@pytest.mark.parametrize("name", ["SH600000", "sh600000", "sh.600000", "600000.SH", "600000.XSHG", "600000.ss"])
def test_a_symbol_is_found_in_every_usual_spelling(hand: Path, name: str) -> None:
    assert len(QlibFolder(hand).read(name)) == 3


def test_codes_can_be_spelled_as_other_vendors_do(hand: Path) -> None:
    assert QlibFolder(hand, spelling="suffix").symbols() == ["000001.SZ", "600000.SH"]
    assert QlibFolder(hand, spelling="prefix").symbols() == ["sh.600000", "sz.000001"]
    assert "600000.SH" in QlibFolder(hand, spelling="suffix").instruments("csi300")
    assert spelled("AAPL", "suffix") == "AAPL"


def test_bounds_are_half_open_and_may_have_a_zone(hand: Path) -> None:
    folder = QlibFolder(hand)
    assert len(folder.read("SH600000", start="2024-01-03", end="2024-01-08")) == 2
    assert len(folder.read("SH600000", start=pd.Timestamp("2024-01-04", tz="UTC"))) == 2
    assert folder.read("SH600000", start="2030-01-01").empty
    with refused(ConfigError, "soon"):
        folder.read("SH600000", start="soon")


def test_members_are_read_on_their_days_only(hand: Path) -> None:
    folder = QlibFolder(hand)
    frame = folder.read("600000.SH", members_of="csi300")
    assert frame.index.strftime("%m-%d").tolist() == ["01-03", "01-08"]
    assert folder.read("SZ000001", members_of="csi300").empty
    with refused(SourceError, "csi500", "all, csi300"):
        folder.read("SH600000", members_of="csi500")


@given(data=st.data())
@EASY
def test_membership_is_what_asking_every_bar_says(tmp_path: Path, data: st.DataObject) -> None:
    frame = frame_of(60, freq="5h")
    days = st.integers(0, 14).map(lambda day: pd.Timestamp("2024-03-03") + pd.Timedelta(days=day))
    times = st.one_of(days, st.integers(0, 59).map(lambda row: frame.index[row]))
    spans = [tuple(sorted(pair)) for pair in data.draw(st.lists(st.tuples(times, times), min_size=1, max_size=4))]
    write_qlib(tmp_path / "q", {"X": frame}, freq="5h", lists={"some": {"X": spans}}, replace=True)
    back = QlibFolder(tmp_path / "q").read("X", "5h", members_of="some")

    def member(time: pd.Timestamp) -> bool:
        whole = [(a, b if b.strftime("%H:%M") != "00:00" else b + pd.Timedelta("23:59:59")) for a, b in spans]
        return any(a <= time <= b for a, b in whole)

    assert back.index.tolist() == [time for time in frame.index if member(time)]


def test_all_series_come_one_after_the_other(hand: Path) -> None:
    found = list(read_qlib(hand))
    assert [(one.symbol, one.timeframe, one.market, len(one.frame)) for one in found] == [
        ("SH600000", "1d", "cn", 3), ("SZ000001", "1d", "cn", 1),
    ]  # fmt: skip
    assert [one.symbol for one in read_qlib(hand, "day", symbols=["600000.SH"], market="mine")] == ["600000.SH"]
    for field in PRICES:
        pack(hand / f"features/sh600000/{field}.5min.bin", 0, 9.0)
    (hand / "calendars/5min.txt").write_text("2024-01-02 09:35:00\n")
    both = list(read_qlib(hand, symbols=iter(["SZ000001", "SH600000"])))
    assert [(one.symbol, one.timeframe) for one in both] == [
        ("SH600000", "5m"), ("SZ000001", "1d"), ("SH600000", "1d"),
    ]  # fmt: skip
    with refused(SourceError, "SZ000001", "close.5min.bin"):
        list(read_qlib(hand, "5min", symbols=["SZ000001"]))
    (hand / "calendars/5min.txt").unlink()
    with pytest.warns(KronosWarning, match="1 of 2 symbols in csi300 have no 1d bars: SH600001"):
        assert [len(one.frame) for one in read_qlib(hand, members_of="csi300")] == [2]


BROKEN = {
    "cut off": (lambda r: (r / "features/sh600000/close.day.bin").write_bytes(b"\0" * 7), "close.day.bin", "7 bytes"),
    "empty": (lambda r: (r / "features/sh600000/open.day.bin").write_bytes(b""), "open.day.bin", "0 bytes"),
    "too long": (lambda r: pack(r / "features/sh600000/low.day.bin", 2, 1, 2, 3, 4), "low.day.bin", "4 v", "5 slots"),
    "outside": (lambda r: pack(r / "features/sh600000/close.day.bin", 5, 1), "close.day.bin", "slot 5"),
    "negative": (lambda r: pack(r / "features/sh600000/close.day.bin", -1, 1), "close.day.bin", "slot -1"),
    "half a slot": (lambda r: pack(r / "features/sh600000/close.day.bin", 0.5, 1), "close.day.bin", "slot 0.5"),
    "no slot": (lambda r: pack(r / "features/sh600000/close.day.bin", NAN, 1), "close.day.bin", "slot nan"),
    "unsorted": (lambda r: (r / "calendars/day.txt").write_text("2024-01-03\n\n2024-01-02\n"), "day.txt", "line 3"),
    "twice": (lambda r: (r / "calendars/day.txt").write_text("2024-01-03\n2024-01-03\n"), "day.txt", "line 2", "twice"),
    "no time": (lambda r: (r / "calendars/day.txt").write_text("2024-01-03\nsoon\n"), "day.txt", "line 2", "'soon'"),
    "empty calendar": (lambda r: (r / "calendars/day.txt").write_text("\n"), "day.txt", "no times"),
    "binary calendar": (lambda r: (r / "calendars/day.txt").write_bytes(b"\xff\xfe\x00"), "day.txt", "cannot be read"),
    "no calendar": (lambda r: (r / "calendars/day.txt").unlink(), "calendars", "1d", "none"),
    "no close": (lambda r: (r / "features/sh600000/close.day.bin").unlink(), "sh600000", "close.day.bin"),
    "no features": (lambda r: shutil.rmtree(r / "features"), "is no Qlib folder", "features"),
    "no calendars": (lambda r: shutil.rmtree(r / "calendars"), "is no Qlib folder", "calendars"),
    "damaged note": (lambda r: (r / "kronos.json").write_text("[]"), "kronos.json", "delete it"),
    "odd zone": (lambda r: (r / "kronos.json").write_text('{"symbols": {}, "zone": "Mars"}'), "kronos.json", "delete"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_refused_by_the_name_of_its_file(hand: Path, kind: str) -> None:
    damage, *words = BROKEN[kind]
    damage(hand)
    with refused(SourceError, str(hand), *words):
        QlibFolder(hand).read("SH600000")


@pytest.mark.parametrize(
    ("line", "word"),
    [("SH600000 2024-01-01 2024-02-01", "tabs"), ("SH600000\t2024-01-01", "tabs"), ("\t2024-01-01\t2024-01-02", "tabs"),
     ("SH600000\t2024-01-01\tnever", "'never'"), ("SH600000\t2024-02-01\t2024-01-01", "before it begins")],
)  # fmt: skip
def test_a_bad_line_of_a_list_is_named(hand: Path, line: str, word: str) -> None:
    (hand / "instruments/bad.txt").write_text(f"SZ000001\t2024-01-01\t2024-01-02\n\n{line}\n")
    with refused(SourceError, "bad.txt", "line 3", word):
        QlibFolder(hand).instruments("bad")


@pytest.mark.parametrize("name", ["../hand/features/sh600000", "..", "/etc", "sh600000/../sz000001", "SH600002"])
def test_no_name_leads_out_of_the_folder(hand: Path, name: str) -> None:
    with pytest.raises((SourceError, ConfigError)):
        QlibFolder(hand).read(name)
    with refused(ConfigError, "list"):
        QlibFolder(hand).instruments("../calendars/day")
    with refused(ConfigError, "feature"):
        QlibFolder(hand).raw("SH600000", ["../../calendars/day"])
    with pytest.raises((SourceError, ConfigError)):
        QlibFolder(hand).read("SH600000", "../day")


def test_a_list_may_end_never_and_has_room_for_more_columns(hand: Path) -> None:
    (hand / "instruments/mine.txt").write_bytes(b"\xef\xbb\xbfsh600000\t20240104\t9999-12-31\tnote\r\n\r\n")
    assert len(QlibFolder(hand).read("SH600000", members_of="mine")) == 2


@pytest.mark.parametrize(
    "time", ["2024-01-09T00:00:00Z", "2024-01-09 09:30+08:00", "2024-13-01", "1", "20240109093000000"]
)
def test_a_calendar_has_plain_times_only(hand: Path, time: str) -> None:
    (hand / "calendars/day.txt").write_text("\n".join([*DAYS, time]))
    with refused(SourceError, "day.txt", "line 6", time):
        QlibFolder(hand).calendar()


def test_an_unknown_symbol_is_told_its_neighbours(hand: Path) -> None:
    with refused(SourceError, "'SH600002'", "SH600000"):
        QlibFolder(hand).read("SH600002")


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "code", "folder"),
    [("600000.SH", "SH600000", "sh600000"), ("sz.000001", "SZ000001", "sz000001"),
     ("000300.SS", "SH000300", "sh000300"), ("BTC/USDT", "BTC_USDT", "btc_usdt"),
     ("BTC/USDT:USDT", "BTC_USDT_USDT", "btc_usdt_usdt"), ("con", "CON", "_qlib_con"),
     ("Com1", "COM1", "_qlib_com1"), ("^GSPC", "^GSPC", "^gspc"), ("BRK-B", "BRK-B", "brk-b"), ("NA", "NA_", "na_"),
     ("../x", "_._X", "_._x"), ("贵州茅台", "贵州茅台", "贵州茅台"), ("Straße", "STRA_E", "stra_e"),
     ("a\tb\n", "A_B_", "a_b_")],
)  # fmt: skip
def test_every_symbol_gets_a_name_that_qlib_and_windows_can_hold(
    tmp_path: Path, symbol: str, code: str, folder: str
) -> None:
    frame = frame_of(5)
    write_qlib(tmp_path / "q", {symbol: frame})
    assert qlib_code(symbol) == code
    assert [path.name for path in (tmp_path / "q/features").iterdir()] == [folder]
    assert (tmp_path / "q/instruments/all.txt").read_text() == f"{code}\t2024-03-04\t2024-03-08\n"
    (back,) = read_qlib(tmp_path / "q")
    assert back.symbol == symbol
    assert list(QlibFolder(tmp_path / "q").instruments()) == [symbol]
    assert len(QlibFolder(tmp_path / "q").read(code)) == 5


@pytest.mark.parametrize("symbol", ["/", "", "..", "___"])
def test_a_symbol_without_a_letter_is_refused(tmp_path: Path, symbol: str) -> None:
    with refused(ConfigError, repr(symbol)):
        write_qlib(tmp_path / "q", {symbol: frame_of(3)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "name"),
    [("1d", "day"), ("day", "day"), ("24h", "day"), ("2d", "2day"), ("5m", "5min"), ("1h", "60min"), ("4h", "240min"),
     ("1w", "1week"), ("1M", "1month")],
)  # fmt: skip
def test_timeframes_are_spelled_as_qlib_does(text: str, name: str) -> None:
    assert qlib_frequency(text) == name


def test_two_symbols_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    frame = frame_of(5)
    for pair in (("BTC/USDT", "btc_usdt"), ("600000.SH", "sh.600000")):
        with refused(ConfigError, *pair):
            write_qlib(tmp_path / "q", dict.fromkeys(pair, frame))
    write_qlib(tmp_path / "q", {"BTC/USDT": frame.iloc[:3], "600000.SH": frame.iloc[:3]})
    with refused(ConfigError, "BTC/USDT", "BTC_USDT"):
        write_qlib(tmp_path / "q", {"BTC_USDT": frame}, append=True)
    assert write_qlib(tmp_path / "q", {"sh.600000": frame}, append=True).added == 2  # one share, whatever its spelling
    assert QlibFolder(tmp_path / "q").symbols() == ["600000.SH", "BTC/USDT"]


# --- writing --------------------------------------------------------------------------------------------------------

CALENDAR = pd.date_range("2024-01-01", periods=12, name="timestamp")


@st.composite
def markets(draw: st.DrawFn, *, factor: bool = True) -> dict[str, pd.DataFrame]:
    """A few series over a dozen days, with holes, missing volumes and steps of the factor."""
    found = {}
    for number in range(draw(st.integers(1, 3))):
        rows = sorted(draw(st.sets(st.integers(0, 11), min_size=1)))
        frame = frame_of(12, seed=draw(st.integers(0, 9)), start="2024-01-01").iloc[rows].copy()
        for column in ("volume", "amount"):
            frame[column] *= [draw(st.sampled_from([1.0, 1.0, 0.0, NAN])) for _ in rows]
        steps = [draw(st.sampled_from([1.0, 1.0, 1.0, 0.7, 3.0])) for _ in rows]
        if factor:
            frame["factor"] = np.cumprod(steps)
        found[f"S{number}"] = frame
    return found


@given(market=markets())
@EASY
def test_what_is_written_is_what_the_format_says(tmp_path: Path, market: dict[str, pd.DataFrame]) -> None:
    done = write_qlib(tmp_path / "q", market, factor="factor", replace=True)
    assert (done.symbols, done.added, done.kept) == (len(market), sum(map(len, market.values())), 0)
    calendar = (tmp_path / "q/calendars/day.txt").read_text().split()
    assert calendar == sorted({day for frame in market.values() for day in frame.index.strftime("%Y-%m-%d")})
    assert done.slots == len(calendar)
    lines = (tmp_path / "q/instruments/all.txt").read_text().splitlines()
    for (name, frame), line in zip(market.items(), lines, strict=True):
        days = frame.index.strftime("%Y-%m-%d").tolist()
        assert line == f"{name}\t{days[0]}\t{days[-1]}"
        wanted = {field: frame[field] * frame["factor"] for field in PRICES}
        wanted |= {"volume": frame["volume"] / frame["factor"], "amount": frame["amount"], "factor": frame["factor"]}
        wanted["vwap"] = (frame["amount"] / wanted["volume"]).where(wanted["volume"] > 0)
        wanted["change"] = wanted["close"] / wanted["close"].shift(1) - 1
        for field, series in wanted.items():
            first, values = unpack(tmp_path / f"q/features/{name.lower()}/{field}.day.bin")
            assert first == calendar.index(days[0])
            assert len(values) == calendar.index(days[-1]) - first + 1
            slow = [NAN] * len(values)
            for day, value in zip(days, series, strict=True):
                slow[calendar.index(day) - first] = value
            if field == "factor":  # it holds between the bars as well
                slow = pd.Series(slow).ffill().tolist()
            # a change is a small difference of two float32
            np.testing.assert_allclose(values, slow, rtol=3e-7, atol=2e-6 if field == "change" else 0)


@given(market=markets())
@EASY
def test_original_prices_come_back_as_float32_holds_them(tmp_path: Path, market: dict[str, pd.DataFrame]) -> None:
    write_qlib(tmp_path / "q", market, factor="factor", replace=True)
    for one in read_qlib(tmp_path / "q", adjust="original"):
        wanted = market[one.symbol][list(COLUMNS)]
        silent = wanted["amount"].isna() & (wanted["volume"] == 0)  # nothing traded is nothing paid
        wanted = wanted.assign(amount=wanted["amount"].mask(silent, 0.0))
        pd.testing.assert_frame_equal(one.frame, wanted, rtol=2e-7, check_freq=False)


@given(market=markets(factor=False), zone=st.sampled_from([None, "UTC", "Asia/Shanghai", "America/New_York"]))
@EASY
def test_times_come_back_in_their_zone(tmp_path: Path, market: dict[str, pd.DataFrame], zone: str | None) -> None:
    local = {f"A/{name}": frame.tz_localize(zone) for name, frame in market.items()}
    write_qlib(tmp_path / "q", local, replace=True)
    for one in read_qlib(tmp_path / "q"):
        pd.testing.assert_index_equal(one.frame.index, local[one.symbol].index, exact="equiv")
        stored = one.frame[PRICES].to_numpy()
        assert (stored == local[one.symbol][PRICES].to_numpy().astype(np.float32)).all()


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@given(market=markets(), cut=st.integers(1, 11), factor=st.booleans())
@EASY
def test_appending_equals_writing_at_once(
    tmp_path: Path, market: dict[str, pd.DataFrame], cut: int, factor: bool
) -> None:
    how: dict[str, Any] = {"factor": "factor"} if factor else {}
    early = {name: frame[frame.index < CALENDAR[cut]] for name, frame in market.items()}
    for name in ("once", "twice"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    write_qlib(tmp_path / "once", market, calendar=CALENDAR, **how)
    if any(map(len, early.values())):
        write_qlib(tmp_path / "twice", early, calendar=CALENDAR[:cut], **how)
        before = tree(tmp_path / "twice")
        done = write_qlib(tmp_path / "twice", market, calendar=CALENDAR, append=True, **how)
        assert done.kept == sum(map(len, early.values()))
        for name, content in tree(tmp_path / "twice").items():
            if name.endswith(".bin"):
                assert content.startswith(before.get(name, b""))
    else:
        write_qlib(tmp_path / "twice", market, calendar=CALENDAR, append=True, **how)
    found, wanted = tree(tmp_path / "twice"), tree(tmp_path / "once")
    for trees in (found, wanted):  # a symbol that begins later is listed later
        trees["instruments/all.txt"] = b"\n".join(sorted(trees["instruments/all.txt"].splitlines()))
    assert found == wanted
    assert write_qlib(tmp_path / "twice", market, append=True, **how).added == 0


class Killed(BaseException):
    """What no except clause of the package catches."""


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """After `allowed` files were put in place, the process dies."""

    def kill_after(allowed: int) -> None:
        done, whole = iter(range(allowed)), os.replace

        def replace(source: Any, target: Any) -> None:
            if next(done, None) is None:
                raise Killed
            whole(source, target)

        monkeypatch.setattr("kronos.writing.os.replace", replace)

    return kill_after


def test_an_append_killed_at_any_moment_leaves_a_readable_folder_and_can_be_repeated(
    tmp_path: Path, killing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {name: frame_of(20, seed=seed, tz="UTC") for seed, name in enumerate(("A/B", "D/E"))}
    early = {name: whole[name].iloc[:12] for name in ("A/B",)}
    write_qlib(tmp_path / "once", whole)
    for allowed in range(2 + 2 * 9 + 1):
        place = tmp_path / f"killed-{allowed}"
        write_qlib(place, early)
        killing(allowed)
        with pytest.raises(Killed):
            write_qlib(place, whole, append=True)
        monkeypatch.undo()
        for one in read_qlib(place):
            assert one.symbol in whole
            assert len(one.frame) in (12, 20)
            np.testing.assert_array_equal(
                one.frame[PRICES], whole[one.symbol][PRICES].iloc[: len(one.frame)].astype(np.float32)
            )
        assert set(QlibFolder(place).instruments()) >= {"A/B"}
        write_qlib(place, whole, append=True)
        assert tree(place) == tree(tmp_path / "once")


def test_a_first_write_that_is_killed_leaves_nothing(tmp_path: Path, killing: Any) -> None:
    killing(5)
    with pytest.raises(Killed):
        write_qlib(tmp_path / "q", {"A": frame_of(9)})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kronos.writing.os.replace", full)
    with refused(SourceError, str(tmp_path / "q"), "No space left"):
        write_qlib(tmp_path / "q", {"A": frame_of(9)})
    assert not list(tmp_path.iterdir())


def test_a_calendar_that_a_float_cannot_count_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kronos.data.qlib.write.SLOTS", 8)
    write_qlib(tmp_path / "q", {"A": frame_of(8)})
    with refused(BarsError, "9 slots"):
        write_qlib(tmp_path / "q", {"A": frame_of(9)}, append=True)


def test_a_folder_that_is_there_is_never_overwritten_unasked(tmp_path: Path) -> None:
    frame = frame_of(9)
    write_qlib(tmp_path / "q", {"A": frame})
    with refused(SourceError, "append=True", "replace=True"):
        write_qlib(tmp_path / "q", {"B": frame})
    with refused(ConfigError, "choose one"):
        write_qlib(tmp_path / "q", {"B": frame}, append=True, replace=True)
    write_qlib(tmp_path / "q", {"B": frame}, replace=True)
    assert QlibFolder(tmp_path / "q").symbols() == ["B"]
    (tmp_path / "home").mkdir()
    write_qlib(tmp_path / "home", {"A": frame})  # an empty folder is no loss
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("years of work")
    for how in ({}, {"append": True}, {"replace": True}):
        with refused(SourceError, "no Qlib folder"):
            write_qlib(tmp_path / "other", {"A": frame}, **how)
    with refused(SourceError, "nowhere", "no such folder"):
        write_qlib(tmp_path / "nowhere/q", {"A": frame})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "other", "q"]


def test_a_failed_replacement_keeps_the_old_folder(tmp_path: Path) -> None:
    write_qlib(tmp_path / "q", {"A": frame_of(9)})
    before = tree(tmp_path)
    with pytest.raises(BarsError):
        write_qlib(tmp_path / "q", {"A": frame_of(9).iloc[::-1]}, replace=True)
    assert tree(tmp_path) == before


def test_two_frequencies_share_a_folder_and_its_lists(tmp_path: Path) -> None:
    daily, fine = frame_of(5), frame_of(200, freq="1h", start="2024-03-05 09:30")
    write_qlib(tmp_path / "q", {"A": daily})
    write_qlib(tmp_path / "q", {"A": fine}, freq="1h", append=True)
    found = {one.timeframe: len(one.frame) for one in read_qlib(tmp_path / "q")}
    assert found == {"1d": 5, "1h": 200}
    assert (tmp_path / "q/calendars/60min.txt").read_text().startswith("2024-03-05 09:30:00\n")
    assert (tmp_path / "q/instruments/all.txt").read_text() == "A\t2024-03-04\t2024-03-13 16:30:00\n"


def test_bars_are_appended_to_a_folder_of_others(hand: Path) -> None:
    (hand / "features/sh600000").rename(hand / "features/SH600000")
    pack(hand / "features/SH600000/paused.day.bin", 1, 0, 0, 1, 0)
    new = frame_of(4, start="2024-01-08", tz="Asia/Shanghai")
    done = write_qlib(hand, {"600000.SH": new, "BTC/USDT": new}, append=True)
    assert (done.added, done.kept, done.slots) == (7, 1, 8)
    folder = QlibFolder(hand)
    assert folder.symbols() == ["BTC/USDT", "SH600000", "SZ000001"]
    assert folder.read("SH600000")["close"].iloc[:3].tolist() == [5.0, 5.5, 6.0]
    assert folder.read("SH600000").index.tz is None
    # the factor stored last goes on
    assert (folder.raw("SH600000", ["factor"])["factor"].dropna().tolist()) == [0.5, 0.5, 0.5, 1, 1, 1, 1]
    assert len(unpack(hand / "features/SH600000/paused.day.bin")[1]) == 4
    assert folder.instruments()["SH600000"] == [(pd.Timestamp("2024-01-03"), pd.Timestamp("2024-01-11"))]
    assert folder.instruments("csi300")["SH600000"][1][1] == pd.Timestamp("2099-12-31")
    ahead = (hand / "calendars/day_future.txt").read_text().split()
    assert ahead == (hand / "calendars/day.txt").read_text().split()
    assert write_qlib(hand, {"600000.SH": new}, append=True).added == 0


def test_days_ahead_stay_listed_until_they_are_past(hand: Path) -> None:
    (hand / "calendars/day_future.txt").write_text("\n".join([*DAYS, "2024-01-09", "2024-01-10"]) + "\n")
    write_qlib(hand, {"X": frame_of(1, start="2024-01-09")}, append=True)
    assert QlibFolder(hand).calendar("day").strftime("%d").tolist()[-1] == "09"
    assert QlibFolder(hand).calendar("day", future=True).strftime("%d").tolist()[-2:] == ["09", "10"]


def test_a_bar_inside_the_calendar_that_it_lacks_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    frame = frame_of(9)
    write_qlib(tmp_path / "q", {"A": frame.drop(frame.index[4])})
    before = tree(tmp_path)
    with refused(BarsError, "B", str(frame.index[4]), "write the folder anew"):
        write_qlib(tmp_path / "q", {"A": frame_of(12).iloc[9:], "B": frame}, append=True)
    with refused(BarsError, "calendar", str(frame.index[4])):
        write_qlib(tmp_path / "q", {"A": frame.iloc[8:]}, calendar=frame.index, append=True)
    with refused(BarsError, "C", "not in the calendar given"):
        write_qlib(tmp_path / "q", {"C": frame_of(12).iloc[9:]}, calendar=["2024-03-13"], append=True)
    assert tree(tmp_path) == before


def test_lists_of_symbols_and_of_spans(tmp_path: Path) -> None:
    market = {"600000.SH": frame_of(9), "BTC/USDT": frame_of(5)}
    spans = {"600000.SH": [("2024-03-08", "2024-03-09"), ("2024-03-04", "2024-03-05")], "SH600001": [("2020", "2021")]}
    write_qlib(tmp_path / "q", market, lists={"mine": ["BTC/USDT"], "CSI300": spans})
    assert (tmp_path / "q/instruments/mine.txt").read_text() == "BTC_USDT\t2024-03-04\t2024-03-08\n"
    assert (tmp_path / "q/instruments/csi300.txt").read_text().splitlines() == [
        "SH600000\t2024-03-04\t2024-03-05", "SH600000\t2024-03-08\t2024-03-09", "SH600001\t2020-01-01\t2021-01-01",
    ]  # fmt: skip
    assert len(QlibFolder(tmp_path / "q").read("600000.SH", members_of="csi300")) == 4
    for lists, word in (
        ({"../x": ["BTC/USDT"]}, "list"), ({"x": ["ETH"]}, "ETH"), ({"x": []}, "empty"), ({"All": ["BTC/USDT"]}, "All"),
        ({"x": {"BTC/USDT": [("2024", "2023")]}}, "span"), ({"x": {"BTC/USDT": ["2024"]}}, "pairs"),
    ):  # fmt: skip
        with refused(ConfigError, word):
            write_qlib(tmp_path / "r", market, lists=lists)  # type: ignore[arg-type]
    assert not (tmp_path / "r").exists()


def test_the_factor_may_be_a_column_a_number_or_steps(tmp_path: Path) -> None:
    frame = frame_of(4, tz="UTC")
    steps = pd.Series([0.5, 2.0], index=pd.DatetimeIndex(["2020-01-01", "2024-03-06"], tz="UTC"))
    write_qlib(tmp_path / "q", {"A": frame, "B": frame, "C": frame}, factor={"A": steps, "B": 4.0})
    folder = QlibFolder(tmp_path / "q")
    for name, factor in (("A", [0.5, 0.5, 2, 2]), ("B", [4] * 4), ("C", [1] * 4)):
        assert folder.raw(name, ["$factor"])["$factor"].tolist() == factor
        np.testing.assert_allclose(folder.read(name)["close"], frame["close"] * factor, rtol=1e-7)
        np.testing.assert_allclose(folder.read(name, adjust="original")["volume"], frame["volume"], rtol=2e-7)
    again = {name: folder.read(name) for name in "ABC"}
    factors = {name: folder.raw(name, ["factor"])["factor"].tz_localize("UTC") for name in "ABC"}
    write_qlib(tmp_path / "r", again, factor=factors, adjusted=True)
    for field in (*PRICES, "volume", "factor"):
        name = f"features/a/{field}.day.bin"
        assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "q" / name).read_bytes()


@pytest.mark.parametrize(
    ("factor", "word"),
    [({"A": 0.0}, "positive"), ({"A": -1.0}, "positive"), ({"A": float("inf")}, "positive"), ("factor", "no column"),
     ({"A": pd.Series([1.0], index=pd.DatetimeIndex(["2024-03-05"]))}, "unknown at 2024-03-04")],
)  # fmt: skip
def test_a_factor_that_is_none_is_refused(tmp_path: Path, factor: Any, word: str) -> None:
    with refused(BarsError, "A", word):
        write_qlib(tmp_path / "q", {"A": frame_of(4)}, factor=factor)
    assert not list(tmp_path.iterdir())


def changed(column: str, row: int, value: Any) -> pd.DataFrame:
    frame = frame_of(6).astype(object if isinstance(value, str) else float)
    frame.iloc[row, list(COLUMNS).index(column)] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (changed("close", 2, float("inf")), ("row 2", "close is inf")),
        (changed("volume", 3, 1e39), ("row 3", "volume is 1e+39")),
        (changed("high", 1, "1,000"), ("high", "not of numbers")),
        (frame_of(6).iloc[::-1], ("row 1", "sort")),
        (frame_of(6).iloc[[0, 1, 1]], ("row 2", "only days")),
        (frame_of(6, freq="1h"), ("row 1", "only days")),
        (frame_of(6).reset_index(drop=True), ("DatetimeIndex",)),
        (frame_of(6).drop(columns=["low", "open"]), ("no column open, low",)),
        (frame_of(6).set_axis(pd.DatetimeIndex([*DAYS, None])), ("DatetimeIndex without gaps",)),
    ],
)
def test_frames_that_cannot_be_stored_are_refused_by_row(
    tmp_path: Path, frame: pd.DataFrame, words: tuple[str, ...]
) -> None:
    with refused(BarsError, "A", *words):
        write_qlib(tmp_path / "q", {"A": frame})
    assert not list(tmp_path.iterdir())


def test_clocks_that_a_calendar_cannot_keep_are_refused(tmp_path: Path) -> None:
    autumn = frame_of(6, freq="1h", start="2024-11-03", tz="America/New_York")
    with refused(BarsError, "A", "2024-11-03 01:00"):
        write_qlib(tmp_path / "q", {"A": autumn}, freq="1h")
    with refused(BarsError, "A", "tz_convert to 'UTC'"):
        write_qlib(tmp_path / "q", {"A": autumn.iloc[2:]}, freq="1h")  # begins in the second of the two hours
    with refused(BarsError, "whole seconds"):
        write_qlib(tmp_path / "q", {"A": frame_of(6, freq="1500ms")}, freq="1m")
    with refused(ConfigError, "seconds"):
        write_qlib(tmp_path / "q", {"A": frame_of(6, freq="1s")}, freq="1s")
    with refused(BarsError, "B", "is UTC", "without a zone"):
        write_qlib(tmp_path / "q", {"A": frame_of(6), "B": frame_of(6, tz="UTC")})
    write_qlib(tmp_path / "q", {"A": autumn.tz_convert("UTC")}, freq="1h")
    pd.testing.assert_index_equal(QlibFolder(tmp_path / "q").read("A", "1h").index, autumn.index.tz_convert("UTC"))
    with refused(BarsError, "is without a zone", "folder UTC"):
        write_qlib(tmp_path / "q", {"B": frame_of(6, freq="1h")}, freq="1h", append=True)


def test_rows_without_a_close_and_series_without_rows_are_not_there(tmp_path: Path) -> None:
    frame = changed("close", 0, NAN)
    done = write_qlib(tmp_path / "q", {"A": frame, "B": frame.iloc[:1], "C": frame.iloc[:0]})
    assert (done.symbols, done.added) == (1, 5)
    assert QlibFolder(tmp_path / "q").symbols() == ["A"]
    for nothing in ({}, {"B": frame.iloc[:1]}):
        with refused(BarsError, "nothing to write"):
            write_qlib(tmp_path / "r", nothing)


def test_one_frame_is_held_at_a_time(tmp_path: Path) -> None:
    alive: list[weakref.ref[Any]] = []
    most = 0

    class Lazy:
        def __iter__(self) -> Iterator[tuple[str, pd.DataFrame]]:
            nonlocal most
            for number in range(6):
                frame = frame_of(30, seed=number)
                alive.append(weakref.ref(frame))
                most = max(most, sum(one() is not None for one in alive))
                yield f"S{number}", frame

    write_qlib(tmp_path / "q", Lazy())
    assert len(alive) == 12
    assert most <= 2  # the one being made, and the one before it
    with refused(ConfigError, "generator"):
        write_qlib(tmp_path / "r", iter([("A", frame_of(3))]))


def test_a_note_of_ours_does_not_hide_what_others_add(tmp_path: Path) -> None:
    write_qlib(tmp_path / "q", {"A/B": frame_of(5)})
    for field in PRICES:
        pack(tmp_path / f"q/features/sh600000/{field}.day.bin", 0, 1, 2)
    assert QlibFolder(tmp_path / "q").symbols() == ["A/B", "SH600000"]
    (tmp_path / "q/kronos.json").unlink()
    assert QlibFolder(tmp_path / "q").symbols() == ["A_B", "SH600000"]
