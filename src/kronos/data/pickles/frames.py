"""Frames out of pickle records: the parts of a frame, as pandas 1.5 to 3 write them, and how to put them together.

The frames are built anew from plain arrays, so nothing of pandas runs with arguments that a pickle chose.
"""

import math
import re
from collections.abc import Collection
from itertools import pairwise
from typing import Any, NoReturn, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.data.pickles.unpickling import Name, Record, RefusedError

Values = NDArray[Any]

_FRAME = {"pandas.DataFrame", "pandas.core.frame.DataFrame"}
_MANAGER = {"pandas.core.internals.managers.BlockManager"}
_BLOCK = {"pandas._libs.internals._unpickle_block"}
_SLICE = {"builtins.slice", "__builtin__.slice"}
_NEW_INDEX = {"pandas.core.indexes.base._new_Index", "pandas.core.indexes.datetimes._new_DatetimeIndex"}
_INDEX = {"pandas.Index", "pandas.core.indexes.base.Index"}
_TIMES_INDEX = {"pandas.DatetimeIndex", "pandas.core.indexes.datetimes.DatetimeIndex"}
_RANGE_INDEX = {"pandas.RangeIndex", "pandas.core.indexes.range.RangeIndex"}
_RECONSTRUCT = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
_FROM_BUFFER = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer", "numpy.frombuffer"}
_NDARRAY, _DTYPE = "numpy.ndarray", "numpy.dtype"
_ENCODE = {"_codecs.encode"}  # protocol 2 has no bytes
_BYTES = {"builtins.bytes", "__builtin__.bytes", "builtins.bytearray", "__builtin__.bytearray"}
_BACKED = {"pandas._libs.arrays.__pyx_unpickle_NDArrayBacked"}
_BACKED_KINDS = {
    *("pandas.arrays.DatetimeArray", "pandas.core.arrays.datetimes.DatetimeArray"),
    *("pandas.arrays.StringArray", "pandas.core.arrays.string_.StringArray"),
}
_ZONED = {"pandas.DatetimeTZDtype", "pandas.core.dtypes.dtypes.DatetimeTZDtype"}
_STRING_DTYPE = {"pandas.StringDtype", "pandas.core.arrays.string_.StringDtype"}
_ARROW_TEXTS = {"pandas.arrays.ArrowStringArray", "pandas.core.arrays.string_arrow.ArrowStringArray"}
_ARROW = {f"pyarrow.lib.{name}" for name in ("_restore_array", "chunked_array", "type_for_alias", "py_buffer")}
_UTC = {"pytz._UTC", "datetime.timezone", "datetime.timedelta"}
_FREQUENCIES = {  # never looked at
    f"pandas._libs.tslibs.offsets.{name}"
    for name in (
        *("Nano", "Micro", "Milli", "Second", "Minute", "Hour", "Day", "BusinessDay", "Week"),
        *("MonthBegin", "MonthEnd", "BusinessMonthBegin", "BusinessMonthEnd", "QuarterBegin", "QuarterEnd"),
        *("YearBegin", "YearEnd"),
    )
}

ALLOWED = frozenset(
    _FRAME | _MANAGER | _BLOCK | _SLICE | _NEW_INDEX | _INDEX | _TIMES_INDEX | _RANGE_INDEX | _RECONSTRUCT
    | _FROM_BUFFER | {_NDARRAY, _DTYPE} | _ENCODE | _BYTES | _BACKED | _BACKED_KINDS | _ZONED | _STRING_DTYPE
    | _ARROW_TEXTS | _ARROW | _UTC | _FREQUENCIES
)  # fmt: skip
"""Everything that a pickle of frames may name."""

_ARROW_WIDTHS = {"string": "<i4", "large_string": "<i8"}
_SCALARS = (str, int, float, bool, type(None))
_MOST_COLUMNS = 10_000
_ROOM = 1 << 20  # bytes that arrays may take beyond a few times the size of the file


def frames_of(value: Any, name: str, size: int) -> dict[str, pd.DataFrame]:
    """The frames of a dict of records by name, or the one frame under `name`, from a pickle of `size` bytes."""
    builder = _Builder(8 * size + _ROOM)
    made = {}
    for key, record in (value if type(value) is dict else {name: value}).items():
        try:
            made[key] = builder.frame(record)
        except RefusedError as error:
            raise RefusedError(f"{key[:80]!r} {error}") from None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise RefusedError(f"{key[:80]!r} is damaged ({' '.join(str(error).split())[:100]})") from error
    return made


class _Builder:
    """Puts frames together; a pickle that refers to its values over and over soon has no room left."""

    def __init__(self, room: int) -> None:
        self.room = room

    def frame(self, record: Any) -> pd.DataFrame:
        if not _is(record, _FRAME):
            raise RefusedError(f"holds {_kind(record)} where a frame should be")
        if record.args:  # by its constructor, as this package writes it
            columns, index = record.args
            return _frame([self.array(column) for column in columns.values()], self.index(index), pd.Index([*columns]))
        manager = record.state["_mgr"]
        if not _is(manager, _MANAGER) or len(manager.args) != 2:
            raise RefusedError("is laid out as an older or newer pandas does; write it anew")
        blocks, (labels, index) = manager.args
        names = self.index(labels)
        if len(names) > _MOST_COLUMNS:
            raise RefusedError(f"has {len(names)} columns; frames of bars have a few")
        found: list[Values | None] = [None] * len(names)
        for block in blocks:
            self.place(block, found)
        return _frame(found, self.index(index), names)

    def place(self, block: Any, columns: list[Values | None]) -> None:
        """Put the columns of one block, (k, rows) or (rows,), where they belong."""
        if not _is(block, _BLOCK):
            _damaged("a block of columns is none")
        values, where = np.atleast_2d(self.array(block.args[0])), block.args[1]
        sliced = range(len(columns))[slice(*where.args)] if _is(where, _SLICE) else None
        places = self.array(where).tolist() if sliced is None else sliced
        for place, column in zip(places, values, strict=True):
            if columns[place] is not None:
                _damaged("a column is there twice")
            columns[place] = column

    def index(self, record: Any) -> pd.Index:
        """An index of times, labels or plain numbers."""
        if _is(record, _NEW_INDEX):
            kind, parts = record.args
            record = Record(_kind(kind), (parts.get("data"),), parts)
        if not isinstance(record, Record) or type(record.kwargs.get("name")) not in _SCALARS:
            raise RefusedError(f"has {_kind(record)} where an index should be")
        name = record.kwargs.get("name")
        if _is(record, _RANGE_INDEX):
            start, stop, step = (int(record.kwargs[part]) for part in ("start", "stop", "step"))
            return pd.RangeIndex(start, stop, step, name=name)
        if _is(record, _INDEX):
            return pd.Index(self.array(record.args[0]), name=name)
        if not _is(record, _TIMES_INDEX):
            raise RefusedError(f"has {_kind(record)} where an index should be")
        index = pd.DatetimeIndex(self.array(record.args[0]), name=name)
        return index.tz_localize("UTC") if _in_utc(record.args[0]) else index

    def array(self, record: Any) -> Values:
        """An array of numbers, times or texts."""
        if _is(record, _FROM_BUFFER):
            content, dtype = record.args[:2]
            values, (shape, order) = np.frombuffer(_bytes(content), _dtype(dtype)), record.args[2:4] or (None, "C")
            shape = values.shape if shape is None else shape
        elif _is(record, _RECONSTRUCT):
            _, shape, dtype, fortran, content = record.state
            kind, order = _dtype(dtype), "F" if fortran else "C"
            values = _objects(content) if kind.hasobject else np.frombuffer(_bytes(content), kind)
        elif _is(record, _BACKED) and _kind(record.args[0]) in _BACKED_KINDS:
            state = record.args[2] if record.state is None else record.state
            return self.array(next((part for part in state if _is(part, _RECONSTRUCT | _FROM_BUFFER)), None))
        elif _is(record, _ARROW_TEXTS):
            values, order = _objects(self.texts(record.state["_pa_array"])), "C"
            shape = values.shape
        else:
            raise RefusedError(f"has {_kind(record)} where values should be")
        self.take(values.nbytes)
        return _shaped(values, shape, order).copy()

    def texts(self, record: Any) -> list[Any]:
        """The texts of an arrow array, or of one in chunks, decoded by hand."""
        if _is(record, {"pyarrow.lib.chunked_array"}):
            return [text for chunk in record.args[0] for text in self.chunk(chunk)]
        return self.chunk(record)

    def chunk(self, record: Any) -> list[Any]:
        if not _is(record, {"pyarrow.lib._restore_array"}):
            raise RefusedError(f"has {_kind(record)} where texts should be")
        kind, length, nulls, start, buffers, *_ = record.args[0]
        width = _ARROW_WIDTHS.get(kind.args[0]) if _is(kind, {"pyarrow.lib.type_for_alias"}) else None
        if width is None or nulls:
            raise RefusedError("has labels that are no texts")
        ends, content = (bytes(_bytes(_buffer(buffer))) for buffer in buffers[1:3])
        self.take(len(ends) + len(content))
        edges = np.frombuffer(ends, width)[start : start + length + 1]
        if len(edges) != length + 1 or (np.diff(edges) < 0).any() or edges[0] < 0 or edges[-1] > len(content):
            _damaged("texts do not fit")
        return [content[a:b].decode("utf-8") for a, b in pairwise(edges.tolist())]

    def take(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise RefusedError("unfolds to many times the size of the file")


def _frame(columns: list[Values | None], index: pd.Index, names: pd.Index) -> pd.DataFrame:
    if not columns or any(column is None or column.shape != (len(index),) for column in columns):
        _damaged("a column is missing, or has another length than the index")
    return pd.DataFrame(dict(enumerate(columns)), index=index).set_axis(names, axis=1)


def _in_utc(array: Any) -> bool:
    """True for times in UTC, false for naive ones; another zone is refused."""
    dtype = array.state[0] if _is(array, _BACKED) and type(array.state) is tuple else None
    if not _is(dtype, _ZONED):
        return False
    zone = dtype.state["tz"]
    offset = zone.args[0] if _is(zone, {"datetime.timezone"}) else None
    if not _is(zone, {"pytz._UTC"}) and not (_is(offset, {"datetime.timedelta"}) and not any(offset.args)):
        raise RefusedError("has times of a zone other than UTC; write it with naive times")
    return True


def _shaped(values: Values, shape: Any, order: Any) -> Values:
    # numbers before they are multiplied: a count times a text or a tuple would fill the memory
    sizes = type(shape) is tuple and len(shape) <= 2 and all(type(size) is int and size >= 0 for size in shape)
    if not sizes or math.prod(shape) != values.size:
        _damaged("an array has another shape than it has values")
    return values.reshape(shape, order="F" if order == "F" else "C")


def _dtype(record: Any) -> np.dtype[Any]:
    """Plain numbers, times and objects; a state adds the byte order, and the unit of times."""
    state: Any = None
    if _is(record, {_DTYPE}):
        record, state = record.args[0], record.state
    found = re.fullmatch(r"([<>|]?)([iu][1248]|f[248]|b1|O8?|M8)(\[(?:s|ms|us|ns)\])?", record)
    if not found:
        raise RefusedError(f"has values of the kind {record[:20]!r}, which bars never have")
    order, kind, unit = found.groups("")
    if state is not None:
        order = state[1]
        if kind == "M8" and not unit:
            name, count = state[8][1][:2]
            unit = f"[{_bytes(name).decode()}]" if count == 1 else "[?]"
    return np.dtype(f"{order if order in '<>' else ''}{kind}{unit}")


def _bytes(record: Any) -> bytes | bytearray:
    while _is(record, _BYTES):  # however often one stands in another
        record = record.args[0] if record.args else b""
    if isinstance(record, bytes | bytearray):
        return record
    if _is(record, _ENCODE) and isinstance(record.args[0], str):
        return record.args[0].encode("latin1")
    raise RefusedError(f"has {_kind(record)} where bytes should be")


def _buffer(record: Any) -> Any:
    return record.args[0] if _is(record, {"pyarrow.lib.py_buffer"}) else record


def _objects(values: Any) -> Values:
    """Texts and other single values as an object array."""
    if type(values) is not list or not all(type(value) in _SCALARS for value in values):
        raise RefusedError("has objects that are no texts or numbers")
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _is(record: Any, kinds: Collection[str]) -> TypeGuard[Record]:
    return type(record) is Record and record.made_by in kinds


def _kind(value: Any) -> str:
    """What a value is, in words that a pickle cannot choose."""
    if isinstance(value, Record | Name):
        return value.made_by if isinstance(value, Record) else value.name
    return f"a {type(value).__name__}"


def _damaged(what: str) -> NoReturn:
    raise RefusedError(f"is damaged: {what}")
