"""From any file to tables of raw bars: columns named, numbers converted, the symbol of each row known, nothing judged.

Text, Excel sheets, Parquet and Feather come out alike. Whether the values are candles is for `kronos.bars` to say.
"""

import logging
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from kronos.bars.candles import CLOSE, COLUMNS
from kronos.bars.columns import column_key, role_of
from kronos.bars.where import Where, shown
from kronos.data.files.labels import scaled, symbol_column, weak_symbol_column, with_currencies, without_empty_volume
from kronos.data.files.layout import FOOT, HEAD, find_layout
from kronos.data.files.naming import is_symbol
from kronos.data.files.numerals import to_numbers
from kronos.data.files.opening import MOST_BYTES, PACKED_SUFFIXES, TEXT_SUFFIXES, is_text
from kronos.data.files.texts import read_text
from kronos.errors import BarsError, SourceError
from kronos.extras import require

SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".pq", ".feather", ".xlsx")
KNOWN = f"{', '.join(SUFFIXES)}, and {', '.join(TEXT_SUFFIXES)} packed as {', '.join(PACKED_SUFFIXES)}"

_PRICES = frozenset(COLUMNS[: CLOSE + 1])

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Table:
    """Raw rows of one or several symbols, ready for `kronos.bars` to read."""

    name: str  # at the head of errors
    frame: pd.DataFrame
    lines: NDArray[np.int64] | None = None
    symbol: str | None = None  # of all rows
    symbols: "pd.Series[str] | None" = None  # of each row, where a column says so
    footer: int = 0  # rows at the end of the file that are no bars and were left out


def read_tables(path: Path) -> list[Table]:
    """The tables in one file; an empty list where it holds no rows."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES and not is_text(path):
        raise SourceError(f"{path}: unknown kind of file '{suffix}'; known are {KNOWN}")
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    try:
        if suffix in (".parquet", ".pq"):
            return _of_frame(pd.read_parquet(path), str(path))
        if suffix == ".feather":
            return _of_frame(pd.read_feather(path), str(path))
        if suffix == ".xlsx":
            return _of_workbook(path)
        return _of_text(path)
    except BarsError:
        raise
    except (OSError, pa.ArrowException, zipfile.BadZipFile, ParseError, KeyError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


# --- kinds of files ---------------------------------------------------------------------------------------------------


def _of_text(path: Path) -> list[Table]:
    text = read_text(path)
    if text is None:
        return []
    # a clock's leading zeros and a code's mean something
    as_text = [place for place, label in enumerate(text.labels) if column_key(label) in ("time", "时间")]
    as_text += [place for place in (symbol_column(text.labels), weak_symbol_column(text.labels)) if place is not None]
    frame = text.read(as_text)
    raw = _Raw(str(path), frame, text.labels, text.lines, text.layout.tickers, text.separator, text.footer)
    if not all(_is_numeric(frame[place]) for place in raw.numbers):
        raw = replace(raw, frame=text.read([*as_text, *raw.numbers]))
    return raw.tables()


def _of_workbook(path: Path) -> list[Table]:
    """The sheets with bars, if their names are symbols; the first of them otherwise."""
    if not zipfile.is_zipfile(path):
        raise SourceError(f"{path}: cannot be read (this is no Excel workbook)")
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > MOST_BYTES:
            raise SourceError(f"{path}: unpacks to more than {MOST_BYTES >> 20} MiB; save it as CSV")
    require("openpyxl", extra="excel")
    sheets: dict[str, pd.DataFrame] = pd.read_excel(
        path, sheet_name=None, header=None, dtype=object, engine="openpyxl", keep_default_na=False, na_values=[""]
    )
    filled = {name: sheet for name, sheet in sheets.items() if sheet.notna().any(axis=None)}
    found = {name: raw for name, sheet in filled.items() if (raw := _of_sheet(sheet, f"{path} [{name}]")) is not None}
    if filled and not found:
        raise SourceError(f"{path}: cannot be read (no sheet names columns such as timestamp, open, high, low, close)")
    whole = {name: raw for name, raw in found.items() if raw.prices == len(_PRICES) and len(raw.frame)} or found
    if not any(len(raw.frame) for raw in whole.values()):
        return []
    if len(whole) > 1 and all(is_symbol(name) for name in whole):
        return [table for name, raw in whole.items() for table in raw.tables(name)]
    first, *others = whole
    if others:
        _log.warning("%s: only sheet '%s' is read; the others are not named like symbols", path, first)
    return replace(whole[first], name=str(path)).tables()


def _of_sheet(sheet: pd.DataFrame, name: str) -> "_Raw | None":
    """A sheet of a workbook below its header; None where it has none."""
    filled = sheet[sheet.notna().any(axis=1)]
    head = _texts(filled.iloc[:HEAD])
    layout = find_layout(head)
    if layout is None:
        return None
    footer = layout.footer(_texts(filled.iloc[max(layout.first, len(filled) - FOOT) :]))
    body = filled.iloc[layout.first : len(filled) - footer]
    if layout.header is not None:
        names = head[layout.header]
        alike = body.index[body.iloc[:, 0].astype(str) == names[0]]
        body = body.drop(index=[row for row in alike if _texts(body.loc[[row]])[0] == names])
    lines = np.asarray(body.index, dtype=np.int64) + 1
    body = body.iloc[:, : len(layout.labels)].reset_index(drop=True)
    return _Raw(name, body, layout.labels, lines, layout.tickers, footer=footer)


def _texts(rows: pd.DataFrame) -> list[list[str]]:
    return [["" if pd.isna(cell) else str(cell) for cell in row] for row in rows.itertuples(index=False)]


def _of_frame(frame: pd.DataFrame, name: str) -> list[Table]:
    """A stored frame: its index may hold times and symbols, its columns may have a level of tickers."""
    if frame.empty:
        return []
    frame = _without_levels(frame)
    labels, tickers = list(frame.columns), tuple[str, ...]()
    if isinstance(frame.columns, pd.MultiIndex):
        levels = [frame.columns.get_level_values(i) for i in range(frame.columns.nlevels)]
        names = max(levels, key=lambda level: sum(role_of(label) is not None for label in level))
        others = next(level for level in levels if level is not names)
        labels, tickers = list(names), tuple(map(str, others))
    return _Raw(name, frame, tuple(map(str, labels)), None, tickers).tables()


def _without_levels(frame: pd.DataFrame) -> pd.DataFrame:
    """Levels of the index as columns, the symbol's and the time's under a name."""
    index = frame.index
    if not isinstance(index, pd.MultiIndex):
        codes = not isinstance(index, pd.DatetimeIndex) and symbol_column([str(index.name)]) is not None
        return frame.reset_index() if codes else frame
    names = [level.name or ("timestamp" if isinstance(level, pd.DatetimeIndex) else "symbol") for level in index.levels]
    return frame.set_axis(index.set_names(names)).reset_index(allow_duplicates=True)


# --- from cells to bars -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Raw:
    """Cells in named columns, before anything was converted."""

    name: str
    frame: pd.DataFrame
    labels: tuple[str, ...]
    lines: NDArray[np.int64] | None = None
    tickers: tuple[str, ...] = ()  # whose each column is
    separator: str | None = None
    footer: int = 0

    @property
    def prices(self) -> int:
        """How many of the four prices have a column."""
        return len({role_of(label) for label in self.labels} & _PRICES)

    @property
    def numbers(self) -> list[int]:
        """The columns that must hold numbers."""
        labels = with_currencies([scaled(label)[0] for label in self.labels], None)
        return [place for place, label in enumerate(labels) if role_of(label) in COLUMNS]

    def tables(self, symbol: str | None = None) -> list[Table]:
        """One table, or one for each ticker that has columns of its own."""
        named = self.tickers if len(self.tickers) == len(self.labels) else ()
        owners = [owner for owner in dict.fromkeys(named[place] for place in self.numbers if named) if owner]
        if len(owners) < 2:
            return [self._table(owners[0] if owners else symbol)]
        shared = [place for place in range(len(self.labels)) if self.tickers[place] not in owners]
        parts = [[*shared, *(i for i, ticker in enumerate(self.tickers) if ticker == owner)] for owner in owners]
        return [self._part(places)._table(owner) for places, owner in zip(parts, owners, strict=True)]

    def _part(self, places: list[int]) -> "_Raw":
        labels = tuple(self.labels[place] for place in places)
        return replace(self, frame=self.frame.iloc[:, places], labels=labels, tickers=())

    def _table(self, symbol: str | None) -> Table:
        symbols = self._symbols()
        if symbols is not None and symbols.nunique() == 1:
            symbol, symbols = str(symbols.iloc[0]), None
        frame = self._converted()
        labels = with_currencies([scaled(label)[0] for label in self.labels], symbol or _first(symbols))
        labels = without_empty_volume(labels, frame)
        if labels[0] in ("", "Unnamed: 0") and not any(role_of(label) == "time" for label in labels):
            frame.index = pd.Index(frame[0])
        return Table(self.name, frame.set_axis(labels, axis=1), self.lines, symbol, symbols, self.footer)

    def _converted(self) -> pd.DataFrame:
        """The cells, columns numbered from 0, with numbers for text where numbers must be, in their units."""
        frame = self.frame.set_axis(range(len(self.labels)), axis=1)
        written = [place for place in self.numbers if _is_text(frame[place])]
        columns = {place: frame[place] for place in range(len(self.labels))}
        read = to_numbers([frame[place] for place in written], self.separator)
        for place, (values, bad) in zip(written, read, strict=True):
            if bad.any():
                cell = shown(frame[place].iloc[int(bad.argmax())])
                what = f"{self.labels[place]!r} is {cell}, which is no plain number"
                Where(self.name, self.lines).fail(bad, what)
            columns[place] = pd.Series(values, index=frame.index)
        for place in self.numbers:
            factor = scaled(self.labels[place])[1]
            columns[place] = columns[place] * factor if factor != 1 else columns[place]
        return pd.DataFrame(columns, index=frame.index)

    def _symbols(self) -> "pd.Series[str] | None":
        """The symbol of each row, where a column says so."""
        place = symbol_column(self.labels)
        weak = place is None
        if place is None and (place := weak_symbol_column(self.labels)) is None:
            return None
        column = self.frame.iloc[:, place].reset_index(drop=True)
        if pd.api.types.is_float_dtype(column.dtype) and column.notna().all() and (column % 1 == 0).all():
            column = column.astype(np.int64)
        symbols = column.where(column.notna(), "").astype(str).str.strip()
        count = symbols.nunique()
        if weak and (not is_symbol(str(symbols.iloc[0])) if count == 1 else 2 * count > len(symbols)):
            return None  # a company's full name, or a remark
        if (symbols == "").any():
            Where(self.name, self.lines).fail(symbols == "", f"{self.labels[place]!r} is missing; name the symbol")
        return symbols


def _first(symbols: "pd.Series[str] | None") -> str | None:
    return None if symbols is None else str(symbols.iloc[0])


def _is_numeric(column: "pd.Series[Any]") -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype)


def _is_text(column: "pd.Series[Any]") -> bool:
    return pd.api.types.is_object_dtype(column.dtype) or pd.api.types.is_string_dtype(column.dtype)
