"""A pack: many series end to end in three arrays on disk, opened without being read.

    pack.json    what is in it: name, market, symbol, timeframe, first row and rows of every series
    times.npy    (R,) int64, nanoseconds
    bars.npy     (R, 6) float64
    stamps.npy   (R, 5) int8

The series of an opened pack are views of memory-mapped files, so several processes share what they read of it, and a
window costs the pages it touches.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kronos.bars import COLUMNS, STAMP_FIELDS
from kronos.data.sets.series import Series
from kronos.data.sets.staging import replacing_set
from kronos.errors import BarsError, ConfigError, SourceError

INDEX = "pack.json"
FORMAT = "kronos-pack"
VERSION = 1

_ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {  # file, kind of number, shape of a row
    "times.npy": ("<i8", ()),
    "bars.npy": ("<f8", (len(COLUMNS),)),
    "stamps.npy": ("|i1", (len(STAMP_FIELDS),)),
}
_HEADER = 128  # bytes before the numbers, whatever the number of rows: it is written last


def pack(series: Iterable[Series], folder: str | Path) -> Path:
    """Write a pack of `series`, one after the other, and return its folder; a pack that is there is replaced."""
    folder = Path(folder)
    if folder.exists() and not is_pack(folder) and not _only_remains(folder):
        raise SourceError(f"{folder}: is there already and is no pack; name an empty or a new folder")
    with replacing_set(folder, (*_ARRAYS, INDEX)) as stage:
        entries, rows = _write_arrays(series, stage)
        if not entries:
            raise BarsError(f"{folder}: there is no series to pack")
        index = {"format": FORMAT, "version": VERSION, "rows": rows, "series": entries, "checksum": _sum(entries)}
        (stage / INDEX).write_text(json.dumps(index, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return folder


def is_pack(place: str | Path) -> bool:
    """True where a pack lies, damaged or not."""
    if "://" in str(place):
        return False
    try:
        with (Path(place) / INDEX).open("rb") as file:
            return f'"{FORMAT}"'.encode() in file.read(200)
    except OSError:
        return False


def open_pack(folder: str | Path, *, verify: bool = False) -> list[Series]:
    """The series of a pack as read-only views; `verify` reads everything once and compares the checksums."""
    folder = Path(folder)
    rows, entries = _read_index(folder)
    times, bars, stamps = (_map(folder / name, rows) for name in _ARRAYS)
    series = []
    for entry in entries:
        own = slice(entry.first, entry.first + entry.rows)
        one = Series(
            entry.name,
            entry.timeframe,
            times[own].view("datetime64[ns]"),
            bars[own],
            stamps[own],
            market=entry.market,
            symbol=entry.symbol,
        )
        if verify and _content(one) != entry.checksum:
            raise SourceError(f"{folder}: the bars of {one.name} are damaged; pack the series anew")
        series.append(one)
    return series


@dataclass(frozen=True)
class _Entry:
    """One series in the index."""

    name: str
    market: str
    symbol: str
    timeframe: str
    first: int
    rows: int
    checksum: int


def _only_remains(folder: Path) -> bool:
    """True for a folder with nothing in it, or with what a killed run left behind."""
    return folder.is_dir() and all(one.name in _ARRAYS or one.name.endswith(".tmp") for one in folder.iterdir())


def _write_arrays(series: Iterable[Series], stage: Path) -> tuple[list[dict[str, Any]], int]:
    """Append every series to the three files; nothing but one series is held."""
    entries: list[dict[str, Any]] = []
    names: set[str] = set()
    rows = 0
    with ExitStack() as stack:
        files = [stack.enter_context((stage / name).open("wb")) for name in _ARRAYS]
        for file in files:
            file.write(bytes(_HEADER))
        for one in series:
            if one.name in names:
                raise ConfigError(f"two series are called {one.name}; a pack needs a name for each")
            names.add(one.name)
            for file, array in zip(files, _arrays(one), strict=True):
                file.write(array.data)
            entry = _Entry(one.name, one.market, one.symbol, one.timeframe, rows, len(one), _content(one))
            entries.append(vars(entry))
            rows += len(one)
        for file, (kind, shape) in zip(files, _ARRAYS.values(), strict=True):
            _write_header(file, kind, (rows, *shape))
    return entries, rows


def _arrays(one: Series) -> list[NDArray[Any]]:
    """The three arrays as they lie on disk."""
    plain = (one.times.astype("datetime64[ns]").view(np.int64), one.bars, one.stamps)
    arrays = [np.ascontiguousarray(array, dtype=kind) for array, (kind, _) in zip(plain, _ARRAYS.values(), strict=True)]
    if {len(array) for array in arrays} != {len(one)}:
        raise BarsError(f"{one.name}: times, bars and stamps differ in length: {[len(array) for array in arrays]}")
    return arrays


def _content(one: Series) -> int:
    checksum = 0
    for array in _arrays(one):
        checksum = zlib.crc32(array.data, checksum) if array.size else checksum
    return checksum


def _sum(entries: list[dict[str, Any]]) -> int:
    return zlib.crc32(json.dumps(entries, sort_keys=True).encode())


def _write_header(file: BinaryIO, kind: str, shape: tuple[int, ...]) -> None:
    """The head of a .npy file (version 1.0), padded to the room that was left for it."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    magic = b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little")
    file.seek(0)
    file.write(magic + text.ljust(_HEADER - 11) + b"\n")


def _read_index(folder: Path) -> tuple[int, list[_Entry]]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise SourceError(f"{folder}: there is no pack here (no {INDEX})") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path}: cannot be read; pack the series anew") from error
    if not isinstance(index, Mapping) or index.get("format") != FORMAT:
        raise SourceError(f"{path}: is not the index of a pack")
    if index.get("version") != VERSION:
        raise SourceError(f"{path}: a pack of version {index.get('version')!r}; this one reads version {VERSION}")
    try:
        if index["checksum"] != _sum(index["series"]):
            raise SourceError(f"{path}: is damaged (its checksum is another); pack the series anew")
        entries = [_Entry(**entry) for entry in index["series"]]
        follow = np.cumsum([0, *(entry.rows for entry in entries)]).tolist()
        sound = [*(entry.first for entry in entries), index["rows"]] == follow
    except (KeyError, TypeError) as error:
        raise SourceError(f"{path}: is damaged ({error}); pack the series anew") from error
    if not sound:
        raise SourceError(f"{path}: its series do not follow each other; pack them anew")
    return index["rows"], entries


def _map(path: Path, rows: int) -> NDArray[Any]:
    """The whole array of a file, mapped; shape and kind must be those that the index tells."""
    kind, shape = _ARRAYS[path.name]
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False) if rows else np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SourceError(f"{path}: cannot be opened ({' '.join(str(error).split())}); pack the series anew") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(kind) or array.shape != (rows, *shape):
        raise SourceError(f"{path}: does not hold what {INDEX} says; pack the series anew")
    return np.asarray(array)  # a plain view: slices of a memmap carry a cost of their own
