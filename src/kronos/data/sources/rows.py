"""What the clients of exchanges share: from rows of JSON to frames, and refusals that say what there is instead.

Times are whole milliseconds since 1970 here, as exchanges write them.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import COLUMNS, Timeframe
from kronos.errors import ConfigError, SourceError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_NEVER = 4_102_444_800_000  # the year 2100; a later time is not in milliseconds


def milliseconds(moment: pd.Timestamp) -> int:
    """The first whole millisecond at or after a moment, so that [start, end) keeps its meaning; naive times are UTC."""
    utc = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
    return -(-utc.as_unit("ns").value // 1_000_000)


def moment_of(milliseconds: int) -> pd.Timestamp:
    """The moment in UTC."""
    return pd.Timestamp(milliseconds, unit="ms", tz="UTC").as_unit("ns")


def frame_of(times: Ints, values: Floats) -> pd.DataFrame:
    """COLUMNS over times in UTC."""
    index = pd.DatetimeIndex(times.astype("datetime64[ms]").astype("datetime64[ns]"), tz="UTC", name="timestamp")
    return pd.DataFrame(values, index=index, columns=list(COLUMNS))


def numbers(rows: object, fields: Sequence[str], wanted: Sequence[str], where: str) -> Floats:
    """The `wanted` fields of rows that must have exactly these `fields`, as finite numbers (N, W)."""
    if not isinstance(rows, list):
        raise SourceError(f"{where}: expected a list of bars, got {type(rows).__name__}")
    places = [fields.index(name) for name in wanted]
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(fields):
            found = f"{len(row)} fields" if isinstance(row, list) else type(row).__name__
            raise SourceError(
                f"{where}: row {number} has {found}, expected the {len(fields)} fields {', '.join(fields)};"
                " the exchange has changed its answer, and this version cannot read it"
            )
    picked = [[row[place] for place in places] for row in rows]
    try:
        values = np.array(picked, dtype=np.float64).reshape(len(picked), len(places))
    except (TypeError, ValueError):
        values = np.array([[_number(cell) for cell in row] for row in picked])
    if not np.isfinite(values).all():
        number, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        cell = repr(picked[number][column])[:40]
        raise SourceError(f"{where}: row {number}, {wanted[column]}: {cell} is no finite number")
    return values


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def whole_times(column: Floats, low: int, high: int | None, where: str) -> Ints:
    """A column of times that increase from row to row inside [low, high); what does not would be lost or come twice."""
    times = column.astype(np.int64)
    end = _NEVER if high is None else min(high, _NEVER)
    wrong = (times != column) | (times < low) | (times >= end)
    if wrong.any():
        row = int(wrong.argmax())
        span = f"{moment_of(low)} to {moment_of(end)}"
        raise SourceError(
            f"{where}: row {row} has the time {column[row]:.0f} ms, which is outside what was asked ({span})"
        )
    if (np.diff(times) <= 0).any():
        row = int((np.diff(times) <= 0).argmax()) + 1
        raise SourceError(f"{where}: row {row} ({moment_of(int(times[row]))}) is out of order or comes twice")
    return times


def native_name(timeframe: str | Timeframe, names: Mapping[str, str], source: str) -> str:
    """What a source calls a timeframe, or an error with those it has and the one to resample from."""
    wanted = Timeframe.parse(timeframe)
    if str(wanted) in names:
        return names[str(wanted)]
    known = [Timeframe.parse(name) for name in names]
    # of days and longer only single ones, for three days do not end where a week does
    known = [one for one in known if one.intraday or (one.count == 1 and one.unit != "w")]
    parts = [one for one in known if one < wanted and wanted.nanoseconds % one.nanoseconds == 0]
    hint = f"; fetch {max(parts)} and resample it to {wanted}" if parts else ""
    raise ConfigError(f"{source} has no {wanted} bars, only {', '.join(names)}{hint}")


def nearest(text: str, known: Mapping[str, str]) -> str:
    """A question for the end of an error, empty where no known name comes near; names are said as they are spelt."""
    near = [known[name] for name in difflib.get_close_matches(text, list(known), n=3)]
    return f"; did you mean {' or '.join(near)}?" if near else ""
