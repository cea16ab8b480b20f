"""Reading time stamps in any usual writing: text, compact digits, seconds to nanoseconds since 1970, dates, periods.

What comes out is a DatetimeIndex in nanoseconds with its zone kept; what cannot be read is refused in one line that
names the first such row. Nothing is sorted, and repeated times are no error here: `frame` refuses them.
"""

import re
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd

from kronos.errors import BarsError

EARLIEST, LATEST = 1678, 2261  # the whole years that nanoseconds can count
FAR = f"lies outside the years {EARLIEST} to {LATEST}"


def parse_times(values: Any, name: str = "times") -> pd.DatetimeIndex:
    """Any usual writing of time as a DatetimeIndex in nanoseconds called "timestamp", its zone kept.

    Text (year first, or a consistent day/month order), compact digits (20240105, 202401050930), seconds to nanoseconds
    since 1970 by their magnitude, dates, datetimes and periods are read; the first that cannot be is named.
    """
    if isinstance(values, pd.PeriodIndex):
        values = values.to_timestamp()
    series = pd.Series(values).reset_index(drop=True)
    if isinstance(series.dtype, pd.PeriodDtype):
        series = pd.Series(pd.PeriodIndex(series).to_timestamp())
    if series.isna().any():
        _fail_time(series, series.isna(), "is missing; drop or fill the row", name)
    if pd.api.types.is_bool_dtype(series.dtype):
        raise BarsError(f"{name}: true and false are not times")
    if pd.api.types.is_numeric_dtype(series.dtype):
        parsed = _from_numbers(series, name)
    elif pd.api.types.is_datetime64_any_dtype(series.dtype):
        parsed = pd.DatetimeIndex(series)
    else:
        parsed = _from_objects(series, name)
    try:
        return parsed.as_unit("ns").rename("timestamp")
    except pd.errors.OutOfBoundsDatetime:
        years = np.asarray(parsed.year)
        _fail_time(series, (years < EARLIEST) | (years > LATEST), FAR, name)


def date_and_clock(dates: "pd.Series[Any]", clock: "pd.Series[Any]", name: str) -> pd.DatetimeIndex:
    """A date and a time of day in two columns; the second alone where it holds the date as well."""
    text = clock.astype(str).str.strip().reset_index(drop=True)
    if not text.str.fullmatch(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?").all():
        return parse_times(clock, name)
    days = parse_times(dates, name)
    seconds = pd.to_timedelta(text.where(text.str.count(":") == 2, text + ":00"))
    return pd.DatetimeIndex(days + pd.TimedeltaIndex(seconds)).rename("timestamp")


def affected(count: int) -> str:
    """How many rows an error is about, in words."""
    return "1 row is affected" if count == 1 else f"{count} rows are affected"


def _fail_time(series: "pd.Series[Any]", broken: Any, what: str, name: str) -> NoReturn:
    bad = np.asarray(broken, dtype=bool)
    row, count = int(bad.argmax()), int(bad.sum())
    raise BarsError(f"{name}: row {row}: the time {series.iloc[row]!r} {what} ({affected(count)})")


def _from_numbers(series: "pd.Series[Any]", name: str) -> pd.DatetimeIndex:
    """Compact dates, or a count since 1970 whose unit the largest of them shows."""
    values = series.to_numpy()
    whole = values.astype(np.int64)
    if (values == whole).all():
        compact = _from_compact(pd.Series(whole.astype(str)))
        if compact is not None:
            return compact
    top = float(np.abs(values.astype(np.float64)).max())
    if top < 1e8 or top >= 1e20:
        _fail_time(series, np.ones(len(series)), "is no date and no count since 1970", name)
    unit: Literal["s", "ms", "us", "ns"] = "s" if top < 1e11 else "ms" if top < 1e14 else "us" if top < 1e17 else "ns"
    if (values == whole).all():
        return pd.DatetimeIndex(pd.to_datetime(pd.Series(whole), unit=unit))
    factor = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}[unit]
    return pd.DatetimeIndex(np.rint(values * factor).astype("datetime64[us]"))


def _from_compact(text: "pd.Series[str]") -> pd.DatetimeIndex | None:
    """yyyymmdd with or without a time of day, all of one width; None where the digits are no dates of 1900 to 2099."""
    formats = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 17: "%Y%m%d%H%M%S%f"}
    widths = text.str.len().unique()
    if len(widths) != 1 or int(widths[0]) not in formats or not text.str.match(r"(19|20)\d+$").all():
        return None
    parsed = pd.to_datetime(text, format=formats[int(widths[0])], errors="coerce")
    return None if parsed.isna().any() else pd.DatetimeIndex(parsed)


def _from_objects(series: "pd.Series[Any]", name: str) -> pd.DatetimeIndex:
    """Text, or Python's and pandas' own dates and times."""
    is_text = series.map(lambda value: isinstance(value, str)).astype(bool)
    if is_text.all():
        return _from_text(series.astype(str).str.strip(), name)
    if is_text.any():
        _fail_time(series, is_text if is_text.sum() * 2 < len(series) else ~is_text, "is of another kind", name)
    if isinstance(series.iloc[0], pd.Period):
        return pd.DatetimeIndex([period.start_time for period in series])
    try:
        if series.map(lambda value: isinstance(value, int | float)).all():
            return _from_numbers(pd.Series(series.to_numpy(dtype=np.float64)), name)
        stamps = [pd.Timestamp(value) for value in series]
    except (TypeError, ValueError) as error:
        raise BarsError(f"{name}: the times cannot be read: {str(error).splitlines()[0]}") from error
    aware = pd.Series([stamp.tzinfo is not None for stamp in stamps])
    if aware.any() and not aware.all():
        _fail_time(series, ~aware, "has no time zone and others have one", name)
    zones = {str(stamp.tzinfo) for stamp in stamps}
    far = pd.Series([not EARLIEST <= stamp.year <= LATEST for stamp in stamps])
    if far.any():  # before pandas tries: version 2 has no coarser unit to put them in
        _fail_time(series, far, FAR, name)
    return pd.DatetimeIndex(pd.to_datetime(stamps, utc=True)) if len(zones) > 1 else pd.DatetimeIndex(stamps)


def _from_text(text: "pd.Series[str]", name: str) -> pd.DatetimeIndex:
    if text.str.fullmatch(r"-?\d+").all():
        compact = _from_compact(text)
        return compact if compact is not None else _from_numbers(text.astype(np.int64), name)
    if text.str.fullmatch(r"-?\d+\.\d+").all():
        return _from_numbers(text.astype(np.float64), name)
    plain = text.map(_year_first)
    aware = plain.str.contains(r":\d\d.*(?:Z|[+-]\d\d:?(?:\d\d)?)$", regex=True)
    if aware.any() and not aware.all():
        _fail_time(text, ~aware if aware.sum() * 2 > len(text) else aware, "differs from others in its zone", name)
    mixed = bool(aware.any()) and plain.str.extract(r"(Z|[+-]\d\d:?(?:\d\d)?)$")[0].nunique() > 1
    parsed = _to_datetime(plain, utc=mixed, format="ISO8601")
    bad = parsed.isna()
    if not bad.any():
        return pd.DatetimeIndex(parsed)
    if text.str.match(r"\d{4}\D").any():
        _fail_time(text, bad, "cannot be read; write it like 2024-01-05 09:30", name)
    return _from_day_month(text, name)


def _to_datetime(text: "pd.Series[str]", **how: Any) -> "pd.Series[Any]":
    return pd.to_datetime(text, errors="coerce", **how)


def _year_first(text: str) -> str:
    """2024/1/5 9:30, 2024.01.05 and 2024年1月5日 in the ISO spelling."""
    found = re.match(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?:[T\s]+(\d{1,2})(:.*))?$", text)
    if not found:
        return text
    date = f"{found[1]}-{int(found[2]):02d}-{int(found[3]):02d}"
    return f"{date} {int(found[4]):02d}{found[5].replace(' ', '')}" if found[4] else date


def _from_day_month(text: "pd.Series[str]", name: str) -> pd.DatetimeIndex:
    """Dates that begin with the day or the month: the one order that reads them all as increasing times."""
    orders = [_to_datetime(text, format="mixed", dayfirst=dayfirst) for dayfirst in (False, True)]
    whole = [pd.DatetimeIndex(parsed) for parsed in orders if not parsed.isna().any()]
    if not whole:
        _fail_time(text, orders[0].isna(), "cannot be read; write it like 2024-01-05 09:30", name)
    distinct = whole[:1] if all(other.equals(whole[0]) for other in whole) else whole
    rising = [parsed for parsed in distinct if parsed.is_monotonic_increasing and parsed.is_unique]
    chosen = distinct if len(distinct) == 1 else rising
    if len(chosen) != 1:
        raise BarsError(
            f"{name}: day and month cannot be told apart in {text.iloc[0]!r}; write 2024-01-05, or pass times="
        )
    return chosen[0]
