"""Bars from files: text of any separator and encoding, Excel, Parquet and Feather; one symbol or many.

`read_bars` wants clean bars of one symbol; `read_loose` takes what is there, for an import that sorts, checks and
counts. An error names the file, the row, and in a text the line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.frame import VolumeRule, canonical, loose
from kronos.data.files.opening import holds_texts, is_text
from kronos.data.files.tables import KNOWN, SUFFIXES, Table, read_tables
from kronos.errors import BarsError, SourceError

__all__ = ["Found", "bar_files", "read_bars", "read_loose"]

_LAKE = "kronos-lake.json"
_LISTED = 10  # symbols at most that an error lists


@dataclass(frozen=True, eq=False)
class Found:
    """The rows of one symbol in a file, in the file's order: `COLUMNS` over times, and nothing judged."""

    frame: pd.DataFrame
    symbol: str | None
    """As a column, the header or the name of a sheet says; None where the file does not say."""
    lines: NDArray[np.int64] | None
    """The line of each row in a text, or its row in an Excel sheet, from 1; None for other files."""
    path: Path
    footer: int = 0
    """How many lines at the end of the file were left out because they are no bars: totals, the name of a source."""


def read_bars(path: str | Path, *, min_rows: int = 2, volume_rule: VolumeRule = "complete") -> pd.DataFrame:
    """The canonical frame in one file; whatever is wrong with it is said with the file's name and the line."""
    path = Path(path)
    tables = _tables(path)
    symbols = [symbol for table in tables for symbol in _symbols(table)]
    if len(tables) > 1 or len(symbols) > 1:
        listed = ", ".join(symbols[:_LISTED]) + (", ..." if len(symbols) > _LISTED else "")
        raise BarsError(f"{path}: holds {len(symbols)} symbols ({listed}); give one file for each, or import the file")
    table = tables[0]
    return canonical(table.frame, name=table.name, min_rows=min_rows, volume_rule=volume_rule, lines=table.lines)


def read_loose(path: str | Path) -> list[Found]:
    """Every symbol in one file, as `kronos.bars.loose` reads it; nothing is sorted and no value refused."""
    path = Path(path)
    found = []
    for table in _tables(path):
        frame = loose(table.frame, name=table.name, lines=table.lines)
        if table.symbols is None:
            found.append(Found(frame, table.symbol, table.lines, path, table.footer))
            continue
        codes, names = pd.factorize(table.symbols)
        order = np.argsort(codes, kind="stable")
        for name, rows in zip(names, np.split(order, np.cumsum(np.bincount(codes))[:-1]), strict=True):
            lines = None if table.lines is None else table.lines[rows]
            found.append(Found(frame.iloc[rows], str(name), lines, path, table.footer))
    return found


def _tables(path: Path) -> list[Table]:
    tables = read_tables(path)
    if not tables:
        raise BarsError(f"{path}: holds no rows")
    return tables


def _symbols(table: Table) -> list[str]:
    if table.symbols is not None:
        return [str(symbol) for symbol in table.symbols.unique()]
    return [table.symbol] if table.symbol is not None else []


def bar_files(place: str | Path) -> list[Path]:
    """The readable files at a place: the file itself, or all below a folder that are not hidden, in a fixed order."""
    place = Path(place)
    if not place.exists():
        raise SourceError(f"{place}: no such file or folder")
    found = [place] if place.is_file() else list(_below(place))
    if not found:
        raise SourceError(f"{place}: holds no bar files ({KNOWN})")
    return found


def _below(folder: Path) -> Iterator[Path]:
    lakes = [marker.parent for marker in folder.rglob(_LAKE)]  # their parts are no files of the user's
    for path in sorted(folder.rglob("*")):
        if any(path.is_relative_to(lake) for lake in lakes):
            continue
        if any(part.startswith((".", "~$", "__MACOSX")) for part in path.relative_to(folder).parts):
            continue
        known = path.suffix.lower() in SUFFIXES or is_text(path)
        if known and path.is_file() and (path.suffix.lower() != ".zip" or holds_texts(path)):
            yield path
