"""Bars from files: CSV, TSV, Parquet and Feather, checked and canonical.

An error names the file. Messy exports (thousands separators, symbol columns, repair) belong to sources of their own.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa

from kronos.bars import canonical
from kronos.errors import BarsError, SourceError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".feather")

_ENCODINGS = ("utf-8-sig", "gb18030")  # the second is what Chinese spreadsheets and terminals export


def read_bars(path: str | Path, *, min_rows: int = 2) -> pd.DataFrame:
    """The canonical frame in one file; whatever is wrong with it is said with the file's name."""
    path = Path(path)
    frame = read_table(path)
    if frame.empty:
        raise BarsError(f"{path}: holds no rows")
    return canonical(frame, name=str(path), min_rows=min_rows)


def read_table(path: Path) -> pd.DataFrame:
    """The table in one file as it stands, unchecked."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SourceError(f"{path}: unknown kind of file '{suffix}'; known are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        if suffix == ".feather":
            return pd.read_feather(path)
        return _read_text(path)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def bar_files(place: str | Path) -> list[Path]:
    """The readable files at a place: the file itself, or all below a folder, in a fixed order."""
    place = Path(place)
    if not place.exists():
        raise SourceError(f"{place}: no such file or folder")
    found = [place] if place.is_file() else list(_below(place))
    if not found:
        raise SourceError(f"{place}: holds no bar files ({', '.join(SUFFIXES)})")
    return found


def _below(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _read_text(path: Path) -> pd.DataFrame:
    raw = path.read_bytes()
    for encoding in _ENCODINGS:
        try:
            head = raw.decode(encoding)[:4096]
            break
        except UnicodeDecodeError:
            continue
    else:
        raise ValueError(f"the text is neither {' nor '.join(_ENCODINGS)}")
    first = head.lstrip().splitlines()[0] if head.strip() else ""
    if not first:
        return pd.DataFrame()
    separator = max("\t,;", key=first.count)
    frame = pd.read_csv(path, encoding=encoding, sep=separator, skipinitialspace=True)
    if not re.search(r"[^\W\d_]", first):
        raise ValueError(
            "the first line holds no column names; expected a header such as timestamp,open,high,low,close"
        )
    return frame
