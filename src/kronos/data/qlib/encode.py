"""From a frame of bars to the features that Qlib stores: adjusted prices, vwap, change and factor. No files here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import COLUMNS
from kronos.data.qlib.files import Floats
from kronos.data.qlib.names import localized
from kronos.errors import BarsError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Factor = str | Mapping[str, "float | pd.Series[float]"] | None

FIELDS = ("open", "high", "low", "volume", "amount", "vwap", "change", "factor", "close")
"""As they are written: the close last, since a bar without one is none."""

_SECOND = 1_000_000_000
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Bars:
    """The rows of a frame that have a close."""

    walls: Ints  # (T,) nanoseconds of the folder's clock, strictly increasing
    values: Array  # (T, 6) as COLUMNS
    factor: Array  # (T,) NaN where unknown

    def after(self, row: int) -> "Bars":
        """Those from `row` on."""
        return Bars(self.walls[row:], self.values[row:], self.factor[row:])


class Tail(NamedTuple):
    """How a stored series ends, NaN where there is none."""

    close: float = float("nan")
    factor: float = float("nan")


def bars_of(frame: pd.DataFrame, symbol: str, *, intraday: bool, factor: Factor = None) -> Bars:
    """The bars of a frame with COLUMNS (volume and amount may be missing); of times only the day unless `intraday`."""
    walls = _walls(frame.index, symbol, intraday=intraday)
    missing = [column for column in COLUMNS[:4] if column not in frame]
    if missing:
        raise BarsError(f"{symbol}: no column {', '.join(missing)}; the columns are {list(frame.columns)}")
    values = np.column_stack([_numbers(frame, column, symbol) for column in COLUMNS])
    large = np.abs(values) > _LARGEST
    if large.any():
        row, place = divmod(int(large.argmax()), values.shape[1])
        _fail(frame, row, symbol, f"{COLUMNS[place]} is {values[row, place]:g}, which Qlib's float32 cannot hold")
    there = ~np.isnan(values[:, COLUMNS.index("close")])
    return Bars(walls[there], values[there], _factors(frame, walls, symbol, factor, intraday=intraday)[there])


def zone_of(frame: pd.DataFrame, symbol: str) -> str | None:
    """The name of the zone of a frame's times."""
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        return None
    zone = str(index.tz)
    try:
        pd.Timestamp("2000-01-01").tz_localize(zone)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise BarsError(f"{symbol}: the zone {zone} has no name to keep; tz_convert the times to 'UTC'") from error
    return zone


def walls_of(times: pd.DatetimeIndex, *, intraday: bool) -> Ints:
    """Nanoseconds of the clock on the wall, at midnight where only the day counts."""
    naive = times.tz_localize(None).as_unit("ns")
    return np.asarray((naive if intraday else naive.normalize()).asi8, dtype=np.int64)


def encode(bars: Bars, tail: Tail, symbol: str, *, adjusted: bool) -> dict[str, Floats]:
    """The FIELDS of bars that follow on `tail`; an unknown factor is the last one stored, and 1 without any."""
    unknown = np.isnan(bars.factor)
    if unknown.any() and not unknown.all() and np.isnan(tail.factor):
        day = pd.Timestamp(int(bars.walls[int(unknown.argmax())]))
        raise BarsError(f"{symbol}: the factor is unknown at {day} and known later; give it from the first bar on")
    last = 1.0 if np.isnan(tail.factor) else tail.factor
    # rounded first: a reader divides by what is stored
    factor = np.where(unknown, last, bars.factor).astype(np.float32).astype(np.float64)
    scale = np.ones(len(factor)) if adjusted else factor
    found = dict(zip(COLUMNS, bars.values.T, strict=True))
    found |= {price: found[price] * scale for price in COLUMNS[:4]}
    found |= {"volume": found["volume"] / scale, "factor": factor}
    traded = found["volume"] > 0
    found["vwap"] = _divided(found["amount"], found["volume"], traded)
    # from what is stored as well, so that bars appended later get the same change
    close = found["close"].astype(np.float32).astype(np.float64)
    before = np.r_[tail.close, close[:-1]]
    found["change"] = _divided(close, before, before > 0) - 1
    return {field: np.where(np.isnan(found[field]), np.nan, found[field]).astype(np.float32) for field in FIELDS}


def _divided(above: Array, below: Array, where: NDArray[np.bool_]) -> Array:
    return np.where(where, above / np.where(where, below, 1.0), np.nan)


def _walls(index: pd.Index, symbol: str, *, intraday: bool) -> Ints:
    if not isinstance(index, pd.DatetimeIndex) or index.hasnans:
        raise BarsError(f"{symbol}: the bars need a DatetimeIndex without gaps, not {type(index).__name__}")
    try:
        walls = walls_of(index, intraday=intraday)
    except pd.errors.OutOfBoundsDatetime as error:
        raise BarsError(f"{symbol}: a time lies outside the years that nanoseconds can count ({error})") from error
    step = np.diff(walls)
    if (step <= 0).any():
        row = int((step <= 0).argmax()) + 1
        kind = "the clock" if intraday else "the day, and only days are stored,"
        what = "sort the bars by time" if step[row - 1] < 0 else f"{kind} is that of the row before"
        raise BarsError(f"{symbol}: row {row}: {index[row]}: {what}")
    if intraday:
        naive = pd.DatetimeIndex(walls.view("M8[ns]"))
        off = walls % _SECOND != 0
        if index.tz is not None:
            off = off | np.asarray(localized(naive, str(index.tz)).asi8 != index.as_unit("ns").asi8)
        if off.any():
            row = int(off.argmax())
            what = "Qlib keeps the clock's whole seconds, which cannot tell this time; tz_convert to 'UTC', or round"
            raise BarsError(f"{symbol}: row {row}: {index[row]}: {what}")
    return walls


def _numbers(frame: pd.DataFrame, column: str, symbol: str) -> Array:
    if column not in frame:
        return np.full(len(frame), np.nan)
    try:
        return np.asarray(frame[column].to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise BarsError(f"{symbol}: the column {column} is not of numbers ({error})") from error


def _factors(frame: pd.DataFrame, walls: Ints, symbol: str, factor: Factor, *, intraday: bool) -> Array:
    """The factor of each row, the last one before it where the row has none, NaN where there is none before."""
    given: object = factor.get(symbol) if isinstance(factor, Mapping) else None
    if isinstance(factor, str):
        if factor not in frame:
            raise BarsError(f"{symbol}: no column {factor!r} for the factor; the columns are {list(frame.columns)}")
        values = _numbers(frame, factor, symbol)
    elif isinstance(given, pd.Series):
        known = given.dropna()
        moments = _walls(known.index, f"{symbol}: factor", intraday=intraday)
        place = np.searchsorted(moments, walls, side="right") - 1
        values = np.r_[known.to_numpy(dtype=np.float64), np.nan][place]  # -1, before the first, is the NaN
    else:
        values = np.full(len(walls), np.nan if given is None else given, dtype=np.float64)
    bad = ~np.isnan(values) & ~((values > 0) & (values <= _LARGEST))
    if bad.any():
        row = int(bad.argmax())
        _fail(frame, row, symbol, f"the factor is {values[row]:g}; it must be a positive number")
    return np.asarray(pd.Series(values).ffill(), dtype=np.float64)


def _fail(frame: pd.DataFrame, row: int, symbol: str, what: str) -> NoReturn:
    raise BarsError(f"{symbol}: row {row} ({frame.index[row]}): {what}")
