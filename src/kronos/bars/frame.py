"""From the frame a user has to the canonical one: `COLUMNS` as float64 over a clean DatetimeIndex of one timeframe.

Understands column spellings; has `stamps` read the times; converts plain numbers; completes volume and amount. It mends
nothing but rounding dust: whatever is not a candle is refused in one line that names the row and the column.
"""

import re
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.candles import CLOSE, COLUMNS, HIGH, LOW, OPEN, VOLUME
from kronos.bars.stamps import affected, date_and_clock, parse_times
from kronos.bars.timeframe import DAY, Timeframe, infer_timeframe, month_numbers, steps_of
from kronos.errors import BarsError

VolumeRule = Literal["complete", "reference"]
Array = NDArray[np.float64]

# A wick may miss the body by this share of the price: float32 sources and rounded text do, and it is no error.
DUST = 1e-6

# Per role the accepted spellings in tiers, after `_key`. A column of a lower tier is only read when no higher tier
# has one (the exact canonical name is a tier of its own, above all); two columns of one tier are refused.
_TIERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "open": (("open",), ("o", "开盘", "开盘价", "openprice"), ("adjopen",)),
    "high": (("high",), ("h", "最高", "最高价", "highprice"), ("adjhigh",)),
    "low": (("low",), ("l", "最低", "最低价", "lowprice"), ("adjlow",)),
    "close": (("close",), ("c", "收盘", "收盘价", "closeprice"), ("adjclose", "adjustedclose")),
    "volume": (("volume",), ("vol", "v", "成交量", "basevolume", "baseassetvolume"), ("tickvolume", "tickvol")),
    "amount": (
        ("amount",),
        ("amt", "quotevolume", "quoteassetvolume", "volccyquote", "成交额", "成交金额", "money", "currencyvolume"),
        ("turnover", "volccy", "volumecurrency"),
    ),
    "time": (
        ("timestamp", "timestamps"),
        ("datetime", "opentime", "交易时间", "tradetime", "dt", "ts", "t"),
        ("date", "time", "日期", "时间", "交易日期", "tradedate", "tradingdate"),
        ("unix", "unixtime", "epoch", "closetime"),
    ),
}
_DATE_KEYS = ("date", "日期", "交易日期", "tradedate", "tradingdate")
_CLOCK_KEYS = ("time", "时间")


def canonical(
    df: pd.DataFrame,
    *,
    times: Any = None,
    volume_rule: VolumeRule = "complete",
    name: str = "bars",
    min_rows: int = 2,
) -> pd.DataFrame:
    """The canonical frame: float64 `COLUMNS`, a strictly increasing DatetimeIndex "timestamp", one timeframe.

    `times` (stamps, or the name of a column) overrides what the frame says. With "complete" volume and amount are
    computed from each other where one is missing; "reference" takes both as zero where volume is missing, as the
    reference does. `name` stands at the head of every error. `df` itself is never changed.
    """
    if not isinstance(df, pd.DataFrame):
        raise BarsError(f"{name}: expected a pandas DataFrame, got {type(df).__name__}")
    if df.empty:
        raise BarsError(f"{name}: the frame is empty (columns {list(df.columns)}, {len(df)} rows)")
    columns = _find_columns(df, name)
    index = _find_times(df, columns, times, name)
    if len(df) < min_rows:
        raise BarsError(f"{name}: {len(df)} rows are too few; at least {min_rows} are needed")
    _refuse_disorder(index, name)
    values = _complete({c: _numbers(df, columns[c], index, name) for c in COLUMNS if c in columns}, volume_rule)
    _refuse_bad_candles(values, index, name)
    body = values[:, [OPEN, CLOSE]]
    values[:, HIGH] = np.maximum(values[:, HIGH], body.max(axis=1))  # only dust is left to widen
    values[:, LOW] = np.minimum(values[:, LOW], body.min(axis=1))
    _refuse_mixture(index, name)
    return pd.DataFrame(values, index=index, columns=list(COLUMNS))


# --- which column is what ---------------------------------------------------------------------------------------


def _key(label: object) -> str:
    """A column's spelling without case, blanks, underscores, hyphens, and the signs that qlib and MetaTrader add."""
    first = label[0] if isinstance(label, tuple) else label  # a download of one symbol: ("Open", "AAPL")
    return re.sub(r"[\s_\-$<>().（）]", "", str(first).casefold()).removesuffix("手").removesuffix("元")


def _find_columns(df: pd.DataFrame, name: str) -> dict[str, int]:
    """Positions of the columns by role; `time` and `clock` where there are such."""
    if isinstance(df.columns, pd.MultiIndex) and df.columns.droplevel(0).nunique() > 1:
        raise BarsError(f"{name}: the columns hold several instruments; pass one instrument at a time")
    keys = [_key(label) for label in df.columns]
    found = {role: place for role in _TIERS if (place := _pick(role, keys, df, name)) is not None}
    clock = [i for i, key in enumerate(keys) if key in _CLOCK_KEYS]
    if "time" in found and keys[found["time"]] in _DATE_KEYS and clock:
        found["clock"] = clock[0]
    missing = [c for c in COLUMNS[: CLOSE + 1] if c not in found]
    if missing:
        there = ", ".join(repr(label) for label in df.columns)
        raise BarsError(f"{name}: no column for {', '.join(missing)}; the columns are {there}; rename yours to match")
    return found


def _pick(role: str, keys: list[str], df: pd.DataFrame, name: str) -> int | None:
    """The position of the one column for `role`: the exact name, else the only one of the highest tier present."""
    exact = [i for i, label in enumerate(df.columns) if label == (role if role != "time" else "timestamp")]
    if len(exact) == 1:
        return exact[0]
    for tier in _TIERS[role]:
        places = [i for i, key in enumerate(keys) if key in tier]
        if role == "time" and len(places) == 2:
            dates = [i for i in places if keys[i] in _DATE_KEYS]
            if len(dates) == 1 and {keys[i] for i in places} - {keys[dates[0]]} <= set(_CLOCK_KEYS):
                return dates[0]  # its partner holds the time of day
        if len(places) > 1:
            both = " and ".join(repr(df.columns[i]) for i in places)
            raise BarsError(f"{name}: columns {both} both mean {role}; drop or rename one of them")
        if places:
            return places[0]
    return None


# --- times ------------------------------------------------------------------------------------------------------


def _find_times(df: pd.DataFrame, columns: dict[str, int], times: Any, name: str) -> pd.DatetimeIndex:
    """The time stamps: the argument, else a time column, else the frame's index."""
    if isinstance(times, str):
        if times not in df.columns:
            raise BarsError(f"{name}: times={times!r} is no column; the columns are {list(df.columns)}")
        times = df[times]
    if times is not None:
        if len(times) != len(df):
            raise BarsError(f"{name}: {len(times)} times were given for {len(df)} rows; give one for each row")
        return parse_times(times, name)
    if "clock" in columns:
        return date_and_clock(df.iloc[:, columns["time"]], df.iloc[:, columns["clock"]], name)
    if "time" in columns:
        return parse_times(df.iloc[:, columns["time"]], name)
    if isinstance(df.index, pd.MultiIndex):
        raise BarsError(f"{name}: the index has several levels; pass one instrument with its times as the index")
    numbers = pd.api.types.is_numeric_dtype(df.index.dtype)
    if isinstance(df.index, pd.RangeIndex) or (numbers and not (df.index.to_numpy() >= 19_000_101).all()):
        raise BarsError(
            f"{name}: there are no times: the index is a row count and no column is named like a time "
            f"(columns {list(df.columns)}); add a 'timestamp' column or pass times="
        )
    return parse_times(df.index, name)


def _refuse_disorder(index: pd.DatetimeIndex, name: str) -> None:
    """Times must strictly increase."""
    step = np.diff(index.asi8)
    for bad, what in ((step < 0, "is earlier than the row before; sort the frame by time"),
                      (step == 0, "comes twice; drop the duplicate")):  # fmt: skip
        if bad.any():
            row = int(bad.argmax()) + 1
            newest = " (it is newest first)" if (step < 0).all() else ""
            raise BarsError(f"{name}: row {row}: the time {index[row]} {what}{newest} ({affected(int(bad.sum()))})")


# --- numbers ----------------------------------------------------------------------------------------------------


def _numbers(df: pd.DataFrame, place: int, index: pd.DatetimeIndex, name: str) -> Array:
    """One column as float64; text must be a plain number. An entirely empty column comes back as all NaN."""
    series, label = df.iloc[:, place].reset_index(drop=True), df.columns[place]
    if not pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype):
        converted = series.map(_number).astype(np.float64)
        bad = converted.isna() & series.notna() & (series.astype(str).str.strip().str.lower() != "nan")
        if bad.any():
            row = int(bad.to_numpy().argmax())
            _fail(name, index, bad, f"{label!r} is {series.iloc[row]!r}, which is no plain number")
        series = converted
    return np.array(series.to_numpy(dtype=np.float64, na_value=np.nan))


def _number(value: Any) -> float:
    """A plain number, or NaN."""
    if isinstance(value, str) and "_" in value:  # Python would read 1_000
        return np.nan
    try:
        return np.nan if isinstance(value, bool | np.bool_) or value is None else float(value)
    except (TypeError, ValueError):
        return np.nan


def _complete(columns: dict[str, Array], rule: VolumeRule) -> Array:
    """All six columns (rows, 6), volume and amount filled in where the source has none."""
    prices = np.column_stack([columns[c] for c in COLUMNS[: CLOSE + 1]])
    # a column without a single value says as much as no column
    volume, amount = (None if (v := columns.get(c)) is None or np.isnan(v).all() else v for c in ("volume", "amount"))
    if volume is None and (amount is None or rule == "reference"):
        volume = amount = np.zeros(len(prices))
    mean = prices.mean(axis=1)
    with np.errstate(all="ignore"):  # bad prices are reported right after, by row
        if volume is None and amount is not None:
            volume = np.where(mean > 0, amount / mean, 0.0)
        elif volume is not None and amount is None:
            amount = volume * mean
    return np.column_stack([prices, volume, amount])  # type: ignore[list-item]


def _refuse_bad_candles(values: Array, index: pd.DatetimeIndex, name: str) -> None:
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
            _fail(name, index, broken.any(axis=1), f"{COLUMNS[place]} {_show(values[row, place])} {what}")
    dust = DUST * values[:, HIGH]
    for above, below in ((HIGH, LOW), (HIGH, OPEN), (HIGH, CLOSE), (OPEN, LOW), (CLOSE, LOW)):
        bad = values[:, above] < values[:, below] - dust
        if bad.any():
            over, under = (_show(values[int(bad.argmax()), place]) for place in (above, below))
            _fail(
                name, index, bad, f"{COLUMNS[above]} {over} is below {COLUMNS[below]} {under}; correct or drop the row"
            )


def _show(value: float) -> str:
    return f"{value:.10g}"


def _fail(name: str, index: pd.DatetimeIndex, broken: Any, what: str) -> NoReturn:
    bad = np.asarray(broken, dtype=bool)
    row = int(bad.argmax())
    raise BarsError(f"{name}: row {row} ({index[row]}): {what} ({affected(int(bad.sum()))})")


# --- one timeframe ----------------------------------------------------------------------------------------------


def _refuse_mixture(index: pd.DatetimeIndex, name: str) -> None:
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
                f"{name}: row {row} ({index[row]}): the bars step by {pd.Timedelta(other)} from here and by "
                f"{timeframe} elsewhere ({affected(count)}); pass one timeframe at a time, or resample"
            )


def _comparable_steps(index: pd.DatetimeIndex, timeframe: Timeframe) -> tuple[NDArray[np.int64], int]:
    """Steps between the bars, and the one that belongs to `timeframe`; months count as equally long."""
    steps = steps_of(index)
    if timeframe.unit != "mo":
        days = np.rint(steps / DAY)
        return np.where((days >= 28) & (days <= 31), 30 * DAY, steps), timeframe.nanoseconds
    return np.diff(month_numbers(index)) * 30 * DAY, timeframe.count * 30 * DAY
