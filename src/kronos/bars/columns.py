"""Which column is what, and its values as numbers: the spellings that exchanges, vendors and Chinese terminals use.

Knows nothing of what makes a candle; `frame` does. Text must hold plain numbers here: what only a file writes
(thousands separators, decimal commas) is the file reader's to convert.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.candles import CLOSE, COLUMNS
from kronos.bars.where import Where, shown
from kronos.errors import BarsError

# Per role the accepted spellings in tiers, after `column_key`. A column of a lower tier is only read when no higher
# tier has one (the exact canonical name is a tier of its own, above all); two columns of one tier are refused.
_TIERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "open": (("open",), ("o", "开盘", "开盘价", "openprice"), ("adjopen",)),
    "high": (("high",), ("h", "最高", "最高价", "highprice"), ("adjhigh",)),
    "low": (("low",), ("l", "最低", "最低价", "lowprice"), ("adjlow",)),
    "close": (
        ("close",),
        ("c", "收盘", "收盘价", "closeprice"),
        ("adjclose", "adjustedclose"),
        ("close/last", "price"),
    ),
    "volume": (
        ("volume",),
        ("vol", "vol.", "v", "成交量", "总手", "basevolume", "baseassetvolume"),
        ("tickvolume", "tickvol"),
    ),
    "amount": (
        ("amount",),
        ("amt", "quotevolume", "quoteassetvolume", "volccyquote", "成交额", "成交金额", "money", "currencyvolume"),
        ("turnover", "volccy", "volumecurrency", "金额"),
    ),
    "time": (
        ("timestamp", "timestamps"),
        ("datetime", "opentime", "交易时间", "tradetime", "dt", "ts", "t", "gmttime", "datetimeutc", "timestamputc"),
        ("date", "time", "日期", "时间", "交易日期", "交易日", "tradedate", "tradingdate", "tradingday"),
        ("unix", "unixtime", "unixtimestamp", "epoch", "closetime", "windowstart"),
    ),
}
_DATE_KEYS = ("date", "日期", "交易日期", "交易日", "tradedate", "tradingdate", "tradingday")
_CLOCK_KEYS = ("time", "时间")
_ROLES = {key: role for role, tiers in _TIERS.items() for tier in tiers for key in tier}


class NoPricesError(BarsError):
    """None of the columns is a price: the table holds something else than bars."""


def column_key(label: object) -> str:
    """A column's spelling without case, blanks, underscores, hyphens, and the signs that qlib and MetaTrader add."""
    first = label[0] if isinstance(label, tuple) else label  # a download of one symbol: ("Open", "AAPL")
    key = re.sub(r"[\s_\-$<>().（）]", "", str(first).casefold())
    return re.sub(r"(?<=..)[手股元]$", "", key)


def role_of(label: object) -> str | None:
    """What a column of this name may hold: one of COLUMNS or "time"; None where the name says nothing."""
    return _ROLES.get(column_key(label))


def find_columns(labels: Sequence[object], where: Where) -> dict[str, int]:
    """Positions of the columns by role; `time` and `clock` where there are such."""
    keys = [column_key(label) for label in labels]
    found = {role: place for role in _TIERS if (place := _pick(role, keys, labels, where)) is not None}
    clock = [i for i, key in enumerate(keys) if key in _CLOCK_KEYS]
    if "time" in found and keys[found["time"]] in _DATE_KEYS and clock:
        found["clock"] = clock[0]
    missing = [c for c in COLUMNS[: CLOSE + 1] if c not in found]
    if missing:
        there = ", ".join(repr(label) for label in labels)
        kind = NoPricesError if len(missing) == CLOSE + 1 else BarsError
        raise kind(f"{where.name}: no column for {', '.join(missing)}; the columns are {there}; rename yours to match")
    return found


def _pick(role: str, keys: list[str], labels: Sequence[object], where: Where) -> int | None:
    """The position of the one column for `role`: the exact name, else the only one of the highest tier present."""
    exact = [i for i, label in enumerate(labels) if label == (role if role != "time" else "timestamp")]
    if len(exact) == 1:
        return exact[0]
    for tier in _TIERS[role]:
        places = [i for i, key in enumerate(keys) if key in tier]
        if role == "time" and len(places) == 2:
            dates = [i for i in places if keys[i] in _DATE_KEYS]
            if len(dates) == 1 and {keys[i] for i in places} - {keys[dates[0]]} <= set(_CLOCK_KEYS):
                return dates[0]  # its partner holds the time of day
        if len(places) > 1:
            both = " and ".join(repr(labels[i]) for i in places)
            raise BarsError(f"{where.name}: columns {both} both mean {role}; drop or rename one of them")
        if places:
            return places[0]
    return None


def numbers(df: pd.DataFrame, place: int, index: pd.DatetimeIndex, where: Where) -> NDArray[np.float64]:
    """One column as float64; text must be a plain number. An entirely empty column comes back as all NaN."""
    series, label = df.iloc[:, place].reset_index(drop=True), df.columns[place]
    if not pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype):
        converted = series.map(_number).astype(np.float64)
        bad = converted.isna() & series.notna() & (series.astype(str).str.strip().str.lower() != "nan")
        if bad.any():
            row = int(bad.to_numpy().argmax())
            where.fail(bad, f"{label!r} is {shown(series.iloc[row])}, which is no plain number", index)
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
