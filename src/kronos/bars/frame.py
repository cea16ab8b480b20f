"""From the frame a user has to the canonical one: `COLUMNS` as float64 over a clean DatetimeIndex of one timeframe.

`columns` knows the column spellings and `stamps` the writings of time; here volume and amount are completed and the
rules enforced. It mends nothing but rounding dust: whatever is not a candle is refused in one line that names the row
and the column. `loose` reads the same frames and refuses no value, for the rooms that check and mend raw bars.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.candles import CLOSE, COLUMNS, HIGH, LOW, OPEN, VOLUME
from kronos.bars.columns import find_columns, numbers
from kronos.bars.stamps import date_and_clock, read_times
from kronos.bars.timeframe import DAY, Timeframe, infer_timeframe, month_numbers, steps_of
from kronos.bars.where import Where, affected
from kronos.errors import BarsError

VolumeRule = Literal["complete", "reference", "fill"]
Array = NDArray[np.float64]

# A wick may miss the body by this share of the price: float32 sources and rounded text do, and it is no error.
DUST = 1e-6


def canonical(
    df: pd.DataFrame,
    *,
    times: Any = None,
    volume_rule: VolumeRule = "complete",
    name: str = "bars",
    min_rows: int = 2,
    lines: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """The canonical frame: float64 `COLUMNS`, a strictly increasing DatetimeIndex "timestamp", one timeframe.

    `times` (stamps, or the name of a column) overrides what the frame says. With "complete" volume and amount are
    computed from each other where one is missing as a whole; "fill" does so row by row, and takes both as zero where
    both are missing; "reference" takes both as zero where volume is missing, as the reference does. `name` stands at
    the head of every error, and `lines` says on which line of a text each row stood. `df` itself is never changed.
    """
    where = Where(name, lines)
    columns, index = _columns_and_times(df, times, where)
    if len(df) < min_rows:
        raise BarsError(f"{name}: {len(df)} rows are too few; at least {min_rows} are needed")
    _refuse_disorder(index, where)
    values = _complete({c: numbers(df, columns[c], index, where) for c in COLUMNS if c in columns}, volume_rule)
    _refuse_bad_candles(values, index, where)
    body = values[:, [OPEN, CLOSE]]
    values[:, HIGH] = np.maximum(values[:, HIGH], body.max(axis=1))  # only dust is left to widen
    values[:, LOW] = np.minimum(values[:, LOW], body.min(axis=1))
    _refuse_mixture(index, where)
    return pd.DataFrame(values, index=index, columns=list(COLUMNS))


def loose(
    df: pd.DataFrame, *, times: Any = None, name: str = "bars", lines: NDArray[np.int64] | None = None
) -> pd.DataFrame:
    """The same columns and times as `canonical` reads, but with any values in the order given.

    Numbers may be missing (NaN; a volume or amount that the source lacks is all NaN), infinite or no candle; times may
    repeat and go back. Missing columns, and times and numbers that cannot be read, are refused all the same.
    """
    where = Where(name, lines)
    columns, index = _columns_and_times(df, times, where)
    absent = np.full(len(df), np.nan)
    values = [numbers(df, columns[c], index, where) if c in columns else absent for c in COLUMNS]
    return pd.DataFrame(np.column_stack(values), index=index, columns=list(COLUMNS))


def _columns_and_times(df: pd.DataFrame, times: Any, where: Where) -> tuple[dict[str, int], pd.DatetimeIndex]:
    """Where the columns are by role, and the time stamps."""
    if not isinstance(df, pd.DataFrame):
        raise BarsError(f"{where.name}: expected a pandas DataFrame, got {type(df).__name__}")
    if df.empty:
        raise BarsError(f"{where.name}: the frame is empty (columns {list(df.columns)}, {len(df)} rows)")
    if isinstance(df.columns, pd.MultiIndex) and df.columns.droplevel(0).nunique() > 1:
        raise BarsError(f"{where.name}: the columns hold several instruments; pass one instrument at a time")
    columns = find_columns(list(df.columns), where)
    return columns, _find_times(df, columns, times, where)


def _find_times(df: pd.DataFrame, columns: dict[str, int], times: Any, where: Where) -> pd.DatetimeIndex:
    """The time stamps: the argument, else a time column, else the frame's index."""
    name = where.name
    if isinstance(times, str):
        if times not in df.columns:
            raise BarsError(f"{name}: times={times!r} is no column; the columns are {list(df.columns)}")
        times = df[times]
    if times is not None:
        if len(times) != len(df):
            raise BarsError(f"{name}: {len(times)} times were given for {len(df)} rows; give one for each row")
        return read_times(times, where)
    if "clock" in columns:
        return date_and_clock(df.iloc[:, columns["time"]], df.iloc[:, columns["clock"]], where)
    if "time" in columns:
        return read_times(df.iloc[:, columns["time"]], where)
    if isinstance(df.index, pd.MultiIndex):
        raise BarsError(f"{name}: the index has several levels; pass one instrument with its times as the index")
    counts = pd.api.types.is_numeric_dtype(df.index.dtype)
    if isinstance(df.index, pd.RangeIndex) or (counts and not (df.index.to_numpy() >= 19_000_101).all()):
        raise BarsError(
            f"{name}: there are no times: the index is a row count and no column is named like a time "
            f"(columns {list(df.columns)}); add a 'timestamp' column or pass times="
        )
    return read_times(df.index, where)


def _complete(columns: dict[str, Array], rule: VolumeRule) -> Array:
    """All six columns (rows, 6), volume and amount filled in where the source has none."""
    prices = np.column_stack([columns[c] for c in COLUMNS[: CLOSE + 1]])
    # a column without a single value says as much as no column
    volume, amount = (None if (v := columns.get(c)) is None or np.isnan(v).all() else v for c in ("volume", "amount"))
    if volume is None and (amount is None or rule == "reference"):
        volume = amount = np.zeros(len(prices))
    with np.errstate(all="ignore"):  # bad prices are reported right after, by row
        mean = prices.mean(axis=1)
        if volume is None and amount is not None:
            volume = np.where(mean > 0, amount / mean, 0.0)
        elif volume is not None and amount is None:
            amount = volume * mean
        if rule == "fill" and volume is not None and amount is not None:
            volume, amount = _fill(volume, amount / mean), _fill(amount, volume * mean)
    return np.column_stack([prices, volume, amount])  # type: ignore[list-item]


def _fill(values: Array, estimate: Array) -> Array:
    """`values` with the estimate where they are missing, and zero where that is no number either."""
    return np.where(np.isnan(values), np.where(np.isfinite(estimate), estimate, 0.0), values)


# --- what is refused ----------------------------------------------------------------------------------------------


def _refuse_disorder(index: pd.DatetimeIndex, where: Where) -> None:
    """Times must strictly increase."""
    step = np.diff(index.asi8)
    for bad, what in ((step < 0, "is earlier than the row before; sort the frame by time"),
                      (step == 0, "comes twice; drop the duplicate")):  # fmt: skip
        if bad.any():
            row = int(bad.argmax()) + 1
            newest = " (it is newest first)" if (step < 0).all() else ""
            rows = affected(int(bad.sum()))
            raise BarsError(f"{where.row(row)}: the time {index[row]} {what}{newest} ({rows})")


def _refuse_bad_candles(values: Array, index: pd.DatetimeIndex, where: Where) -> None:
    """Refuse the worst rule that is broken, at the first row that breaks it."""
    single = (
        (np.isnan(values), "is missing (NaN); drop or fill the row"),
        (~np.isfinite(values), "is infinite; drop or correct the row"),
        (values[:, :VOLUME] <= 0, "is not positive; drop or correct the row"),
        (np.where(np.arange(values.shape[1]) < VOLUME, False, values < 0), "is negative; drop or correct the row"),
    )
    for broken, what in single:
        if broken.any():
            row, place = divmod(int(broken.argmax()), broken.shape[1])
            where.fail(broken.any(axis=1), f"{COLUMNS[place]} {_show(values[row, place])} {what}", index)
    dust = DUST * values[:, HIGH]
    for above, below in ((HIGH, LOW), (HIGH, OPEN), (HIGH, CLOSE), (OPEN, LOW), (CLOSE, LOW)):
        bad = values[:, above] < values[:, below] - dust
        if bad.any():
            over, under = (_show(values[int(bad.argmax()), place]) for place in (above, below))
            what = f"{COLUMNS[above]} {over} is below {COLUMNS[below]} {under}; correct or drop the row"
            where.fail(bad, what, index)


def _show(value: float) -> str:
    return f"{value:.10g}"


def _refuse_mixture(index: pd.DatetimeIndex, where: Where) -> None:
    """Refuse a frame that changes its timeframe: a stretch that never shows the usual step and keeps to another.

    Overnight gaps, lunch breaks, holidays and missing bars leave such stretches too, but short or ragged ones. How
    long a stretch must be follows from how often its step occurs elsewhere: chance must not reach it.
    """
    if len(index) < 6:
        return
    timeframe = infer_timeframe(index)
    steps, own = _comparable_steps(index, timeframe)
    edges = np.flatnonzero(np.diff(np.r_[False, steps != own, False]))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        # what was joined to the frame stands at an end of it; an outage in the middle has to be much longer
        least = 5 if start == 0 or end == len(steps) else 12
        if end - start < least:
            continue
        values, counts = np.unique(steps[start:end], return_counts=True)
        other, count = int(values[counts.argmax()]), int(counts.max())
        ragged = int(counts[(values < 2 * other) & (values != other)].sum())
        elsewhere = (int((steps == other).sum()) - count + 0.5) / (len(steps) - (end - start) + 1)
        needed = np.log(1000 * len(steps)) / -np.log(min(elsewhere, 0.9))
        if count >= max(least, needed) and ragged <= 0.25 * count:
            row = start + int((steps[start:end] == other).argmax()) + 1
            raise BarsError(
                f"{where.row(row)} ({index[row]}): the bars step by {pd.Timedelta(other)} from here and by "
                f"{timeframe} elsewhere ({affected(count)}); pass one timeframe at a time, or resample"
            )


def _comparable_steps(index: pd.DatetimeIndex, timeframe: Timeframe) -> tuple[NDArray[np.int64], int]:
    """Steps between the bars, and the one that belongs to `timeframe`; months count as equally long."""
    steps = steps_of(index)
    if timeframe.unit != "mo":
        days = np.rint(steps / DAY)
        return np.where((days >= 28) & (days <= 31), 30 * DAY, steps), timeframe.nanoseconds
    return np.diff(month_numbers(index)) * 30 * DAY, timeframe.count * 30 * DAY
