"""Bars from Qlib's data folders, read without Qlib.

Prices lie there adjusted: stored price = price x factor, stored volume = volume / factor, so an amount of money is the
same in both. NaN is no bar. A folder does not tell the units of volume and amount, and nothing here guesses them:
Qlib's own collectors store shares and the currency; folders made from Tushare store lots of 100 shares and thousands of
yuan, which `volume_unit=100, amount_unit=1000` turns into shares and yuan.
"""

import difflib
import os
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import COLUMNS, Timeframe
from kronos.data.qlib.files import Ranges, read_bin, read_calendar, read_instruments
from kronos.data.qlib.names import (
    Note,
    Spelling,
    code_of_folder,
    list_name,
    localized,
    market_of,
    qlib_code,
    qlib_frequency,
    spelled,
)
from kronos.errors import ConfigError, KronosWarning, SourceError

Adjust = Literal["adjusted", "original", "last"]
Moment = str | pd.Timestamp | None

PRICES = ["open", "high", "low", "close"]
FIELDS = (*PRICES, "volume", "amount", "money", "vwap", "factor")


class QlibSeries(NamedTuple):
    """One series of a Qlib folder, as an import takes it."""

    symbol: str
    timeframe: str
    market: str
    frame: pd.DataFrame


def is_qlib(place: str | Path) -> bool:
    """True for a folder that holds calendars and features as Qlib's do."""
    root = Path(place).expanduser()
    return (root / "features").is_dir() and any((root / "calendars").glob("*.txt"))


class QlibFolder:
    """A folder in Qlib's format. What its lists and calendars say is read once, when it is first needed."""

    def __init__(self, root: str | Path, *, spelling: Spelling = "qlib") -> None:
        """Open the folder; `spelling` is how codes of mainland China are called that it keeps no name for."""
        self.root, self.spelling = Path(root).expanduser(), spelling
        if spelling not in get_args(Spelling):
            raise ConfigError(f"spelling is {spelling!r}; it is one of {', '.join(get_args(Spelling))}")
        for part in ("calendars", "features"):
            if not (self.root / part).is_dir():
                raise SourceError(f"{self.root}: is no Qlib folder: it holds no folder {part}")
        self.note = Note.read(self.root)
        self._calendars: dict[str, pd.DatetimeIndex] = {}
        self._members: dict[str, dict[str, Ranges]] = {}

    # --- what there is ----------------------------------------------------------------------------------------------

    @cached_property
    def frequencies(self) -> dict[Timeframe, str]:
        """The timeframes that have a calendar, and how the names of files spell them."""
        found: dict[Timeframe, str] = {}
        for name in sorted(path.stem for path in (self.root / "calendars").glob("*.txt")):
            try:
                timeframe = Timeframe.parse(name)
                if timeframe not in found or name == qlib_frequency(timeframe):  # 60min rather than 1h
                    found[timeframe] = name
            except ConfigError:  # day_future, or a list of somebody's own
                continue
        return dict(sorted(found.items()))

    def calendar(self, freq: str | Timeframe = "day", *, future: bool = False) -> pd.DatetimeIndex:
        """The times of a frequency on the folder's clock; with `future` those that lie ahead as well, where listed."""
        name = self._frequency(freq)
        if future and (self.root / "calendars" / f"{name}_future.txt").is_file():
            name += "_future"
        if name not in self._calendars:
            self._calendars[name] = read_calendar(self.root / "calendars" / f"{name}.txt")
        return self._calendars[name]

    @property
    def lists(self) -> tuple[str, ...]:
        """The names of the instrument lists."""
        return tuple(sorted(path.stem for path in (self.root / "instruments").glob("*.txt")))

    def instruments(self, name: str = "all") -> dict[str, Ranges]:
        """The symbols of a list with the spans of time, both ends included, in which they belong to it."""
        return {self.symbol_of(code): list(spans) for code, spans in self._list(name).items()}

    def symbols(self, freq: str | Timeframe | None = None) -> list[str]:
        """The symbols that have features, or bars of one frequency."""
        needed = "." if freq is None else f"close.{self._frequency(freq)}.bin"
        return sorted(self.symbol_of(code) for code, place in self._folders.items() if (place / needed).exists())

    def has(self, symbol: str, freq: str | Timeframe = "day") -> bool:
        """Whether a symbol of the folder has bars of a frequency."""
        return (self._place(symbol) / f"close.{self._frequency(freq)}.bin").is_file()

    def symbol_of(self, code: str) -> str:
        """How the symbol of a code is spelled: as it was written here, else as the folder was opened."""
        return self.note.symbols.get(code) or spelled(code, self.spelling)

    # --- bars -------------------------------------------------------------------------------------------------------

    def read(
        self,
        symbol: str,
        freq: str | Timeframe = "day",
        *,
        adjust: Adjust = "adjusted",
        start: Moment = None,
        end: Moment = None,
        members_of: str | None = None,
        volume_unit: float = 1.0,
        amount_unit: float = 1.0,
    ) -> pd.DataFrame:
        """The bars of a symbol in [start, end): COLUMNS, NaN where unknown, candles unchecked; perhaps none.

        Prices come "adjusted" as they are stored, "original" as they were paid (they jump at splits), or adjusted to
        the "last": scaled by one number so that the newest bar in the folder shows its original price. A slot without
        a close is no bar. The amount is `amount`, else `money`, else `vwap` x volume, else unknown. `members_of` leaves
        the bars of the days on which the symbol was in that list: one frame, with a gap where it was not.
        """
        if adjust not in get_args(Adjust):
            raise ConfigError(f"adjust is {adjust!r}; it is one of {', '.join(get_args(Adjust))}")
        place = self._place(symbol)
        raw = self.raw(symbol, FIELDS, freq)
        there = raw["close"].notna().to_numpy()
        if adjust != "adjusted":
            raw = _unadjusted(raw, there, adjust, str(place))
        frame = _bars(raw, volume_unit, amount_unit)[there]
        if members_of is not None:
            spans = self._list(members_of).get(code_of_folder(place.name), [])
            frame = frame[_within(pd.DatetimeIndex(frame.index), spans)]
        index = localized(pd.DatetimeIndex(frame.index), self.note.zone)
        frame.index = index.rename("timestamp")
        low = 0 if start is None else index.searchsorted(_bound(start, self.note.zone))
        stop = len(index) if end is None else index.searchsorted(_bound(end, self.note.zone))
        return frame.iloc[int(low) : int(stop)]

    def raw(self, symbol: str, fields: Iterable[str], freq: str | Timeframe = "day") -> pd.DataFrame:
        """Features as they are stored, over the slots that any of them covers; NaN where there is no value or file.

        A symbol is found by its own spelling, by its code, and a Chinese one by any usual spelling of its code.
        """
        name, place = self._frequency(freq), self._place(symbol)
        if not self.has(symbol, freq):
            raise SourceError(f"{place}: {symbol} has no bars of this frequency: there is no close.{name}.bin")
        calendar = self.calendar(freq)
        read = {field: read_bin(place / _file(field, name), len(calendar)) for field in fields}
        spans = [(first, first + len(values)) for first, values in read.values() if len(values)]
        low, stop = min((a for a, _ in spans), default=0), max((b for _, b in spans), default=0)
        columns = {field: np.full(stop - low, np.nan) for field in read}
        for field, (first, values) in read.items():
            if len(values):
                columns[field][first - low : first - low + len(values)] = values
        return pd.DataFrame(columns, index=calendar[low:stop])

    # --- inside -----------------------------------------------------------------------------------------------------

    def _frequency(self, freq: str | Timeframe) -> str:
        timeframe = Timeframe.parse(freq)
        if timeframe not in self.frequencies:
            known = ", ".join(map(str, self.frequencies)) or "none"
            raise SourceError(f"{self.root}/calendars: there is no calendar for {timeframe}; there are: {known}")
        return self.frequencies[timeframe]

    def _list(self, name: str) -> dict[str, Ranges]:
        if name not in self._members:
            path = self.root / "instruments" / f"{list_name(name)}.txt"
            if not path.is_file():
                raise SourceError(f"{path}: there is no such list; there are: {', '.join(self.lists) or 'none'}")
            self._members[name] = read_instruments(path)
        return self._members[name]

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """Code -> folder. Symbols are looked up here and never joined to a path, so that none leads out of the root."""
        place = self.root / "features"
        with os.scandir(place) as found:
            names = sorted(one.name for one in found if one.is_dir() and not one.name.startswith("."))
        return {code_of_folder(name): place / name for name in names}  # sh600000 comes after SH600000, and is Qlib's

    @cached_property
    def _codes(self) -> dict[str, str]:
        return {symbol: code for code, symbol in self.note.symbols.items()}

    def _place(self, symbol: str) -> Path:
        for code in (self._codes.get(symbol), symbol.upper(), qlib_code(symbol)):
            if code in self._folders:
                return self._folders[code]
        near = difflib.get_close_matches(symbol, [*self._codes, *map(self.symbol_of, self._folders)], n=3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise SourceError(f"{self.root}/features: there is no symbol {symbol!r}{hint}")


def read_qlib(
    root: str | Path,
    freq: str | Timeframe | None = None,
    *,
    symbols: Iterable[str] | None = None,
    members_of: str | None = None,
    adjust: Adjust = "adjusted",
    start: Moment = None,
    end: Moment = None,
    market: str = "",
    spelling: Spelling = "qlib",
    volume_unit: float = 1.0,
    amount_unit: float = 1.0,
) -> Iterator[QlibSeries]:
    """Every series of a Qlib folder that has a bar, one at a time; of all frequencies unless one is named.

    Options are those of `QlibFolder` and its `read`. Of `symbols` each must be there; of `members_of`, whose lists
    often name what a folder lacks, those without bars are named in a warning. Without `market` Chinese codes are "cn".
    """
    folder, asked = QlibFolder(root, spelling=spelling), None if symbols is None else list(symbols)
    for timeframe in folder.frequencies if freq is None else [Timeframe.parse(freq)]:
        chosen = _chosen(folder, timeframe, members_of) if asked is None else asked
        for symbol in chosen:
            if asked is not None and freq is None and not folder.has(symbol, timeframe):
                continue
            frame = folder.read(
                symbol, timeframe, adjust=adjust, start=start, end=end, members_of=members_of,
                volume_unit=volume_unit, amount_unit=amount_unit,
            )  # fmt: skip
            if len(frame):
                yield QlibSeries(symbol, str(timeframe), market or market_of(qlib_code(symbol)), frame)


def _chosen(folder: QlibFolder, timeframe: Timeframe, members_of: str | None) -> list[str]:
    there = folder.symbols(timeframe)
    if members_of is None:
        return there
    listed = folder.instruments(members_of)
    lacking = sorted(listed.keys() - set(there))
    if lacking:
        some = ", ".join(lacking[:5]) + (" ..." if len(lacking) > 5 else "")
        warnings.warn(
            f"{folder.root}: {len(lacking)} of {len(listed)} symbols in {members_of} have no {timeframe} bars: {some}",
            KronosWarning,
            stacklevel=3,
        )
    return [symbol for symbol in there if symbol in listed]


def _file(field: str, frequency: str) -> str:
    name = field.removeprefix("$").lower()
    if not name.isidentifier():
        raise ConfigError(f"{field!r} is no name of a feature; write it like close or $close")
    return f"{name}.{frequency}.bin"


def _bars(raw: pd.DataFrame, volume_unit: float, amount_unit: float) -> pd.DataFrame:
    """COLUMNS of the slots, with the amount from where the folder has it."""
    volume = raw["volume"] * volume_unit
    amount = (raw["amount"].fillna(raw["money"]) * amount_unit).fillna(raw["vwap"] * volume)
    amount = amount.mask(amount.isna() & (volume == 0), 0.0)  # no vwap is stored where nothing was traded
    return raw[PRICES].assign(volume=volume, amount=amount)[list(COLUMNS)]


def _unadjusted(raw: pd.DataFrame, there: NDArray[np.bool_], adjust: Adjust, place: str) -> pd.DataFrame:
    """The same with prices (and vwap) divided by the factor and volume times it: that of each slot, or the last."""
    factor = raw["factor"].ffill()
    bad = there & ~(np.isfinite(factor) & (factor > 0)).to_numpy()
    if bad.any():
        day = raw.index[int(bad.argmax())]
        raise SourceError(f"{place}: the factor is unknown or no positive number at {day}; read with adjust='adjusted'")
    if adjust == "last" and there.any():
        factor = pd.Series(factor[there].iloc[-1], index=raw.index)
    scaled = raw.assign(**{field: raw[field] / factor for field in (*PRICES, "vwap")})
    return scaled.assign(volume=raw["volume"] * factor)


def _within(walls: pd.DatetimeIndex, spans: Ranges) -> NDArray[np.bool_]:
    """Which times lie in a span; a last day without a time of day is meant whole."""
    inside = np.zeros(len(walls), dtype=bool)
    for first, last in spans:
        stop = last + pd.Timedelta(days=1) if last == last.normalize() else last + pd.Timedelta(1, "ns")
        inside |= np.asarray((walls >= first) & (walls < stop))
    return inside


def _bound(moment: str | pd.Timestamp, zone: str | None) -> pd.Timestamp:
    """A bound on the folder's clock: one without a zone is read on it, one with a zone where it has none as UTC."""
    try:
        stamp = pd.Timestamp(moment)
    except ValueError as error:
        raise ConfigError(f"{moment!r} is no time; write it like 2024-01-05 or 2024-01-05 09:30") from error
    if stamp.tzinfo is None:
        return localized(pd.DatetimeIndex([stamp]), zone)[0]
    return stamp.tz_convert(zone) if zone is not None else stamp.tz_convert("UTC").tz_localize(None)
