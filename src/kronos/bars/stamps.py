"""Reading time stamps in any usual writing: text, compact digits, seconds to nanoseconds since 1970, dates, periods.

What comes out is a DatetimeIndex in nanoseconds with its zone kept; what cannot be read is refused in one line that
names the first such row. Nothing is sorted, and repeated times are no error here: `frame` refuses them.
"""

import re
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.days import UNREADABLE, by_shape, from_day_month, time_of_day, to_datetime
from kronos.bars.where import Where
from kronos.errors import BarsError

EARLIEST, LATEST = 1678, 2261  # the whole years that nanoseconds can count
FAR = f"lies outside the years {EARLIEST} to {LATEST}"
NO_COUNT = "is no date and no count since 1970"

EXCEL_DAYS, EXCEL_1970 = (20_000, 80_000), 25_569  # day numbers of 1954 to 2119, and that of 1970-01-01

_UNITS: tuple[Literal["s", "ms", "us", "ns"], ...] = ("s", "ms", "us", "ns")
_MICROSECONDS = np.array([1e6, 1e3, 1.0, 1e-3])
_COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 17: "%Y%m%d%H%M%S%f"}
_DIGITS = r"-?[0-9]{1,30}(\.[0-9]{1,30})?"
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")  # of another script: Python takes it for a digit and pandas does not
_ZONE = r"(?:Z|[+-]\d\d:?(?:\d\d)?)$"


def parse_times(values: Any, name: str = "times") -> pd.DatetimeIndex:
    """Any usual writing of time as a DatetimeIndex in nanoseconds called "timestamp", its zone kept.

    Text (year first, or a consistent day/month order), compact digits (20240105, 202401050930), seconds to nanoseconds
    since 1970 by their magnitude, Excel's day numbers, dates, datetimes and periods are read; the first that cannot be
    is named.
    """
    return read_times(values, Where(name))


def read_times(values: Any, where: Where) -> pd.DatetimeIndex:
    """As `parse_times`, for rows of known places."""
    series = pd.Series(values).reset_index(drop=True)
    if series.empty:
        return pd.DatetimeIndex([], dtype="datetime64[ns]", name="timestamp")
    if series.isna().any():
        where.fail_time(series, series.isna(), "is missing; drop or fill the row")
    if pd.api.types.is_bool_dtype(series.dtype):
        raise BarsError(f"{where.name}: true and false are not times")
    if pd.api.types.is_numeric_dtype(series.dtype):
        parsed = _from_numbers(series, where)
    elif isinstance(series.dtype, pd.PeriodDtype):
        parsed = _from_periods(series, [*series], where)
    elif pd.api.types.is_datetime64_any_dtype(series.dtype):
        parsed = pd.DatetimeIndex(series)
    else:
        parsed = _from_objects(series, where)
    try:
        return parsed.as_unit("ns").rename("timestamp")
    except pd.errors.OutOfBoundsDatetime:
        years = np.asarray(parsed.year)
        where.fail_time(series, (years < EARLIEST) | (years > LATEST), FAR)


def date_and_clock(dates: "pd.Series[Any]", clock: "pd.Series[Any]", where: Where) -> pd.DatetimeIndex:
    """A date and a time of day in two columns; one of them alone where it holds both."""
    text = clock.astype(str).str.strip().reset_index(drop=True)
    since_midnight = time_of_day(text, where)
    if since_midnight is None:
        return read_times(clock, where)
    days = read_times(dates, where)
    if (days != days.normalize()).any():
        return days
    return pd.DatetimeIndex(days + since_midnight).rename("timestamp")


def _from_periods(series: "pd.Series[Any]", periods: list[Any], where: Where) -> pd.DatetimeIndex:
    """The start of each."""
    far = np.array([not EARLIEST <= period.year <= LATEST for period in periods])
    if far.any():
        where.fail_time(series, far, FAR)
    return pd.DatetimeIndex([period.start_time for period in periods])


# --- numbers ----------------------------------------------------------------------------------------------------------


def _from_numbers(series: "pd.Series[Any]", where: Where) -> pd.DatetimeIndex:
    """Compact dates, Excel's days, or a count since 1970 whose unit its magnitude shows."""
    values = series.to_numpy()
    size = np.abs(values.astype(np.float64))
    if not (size < 2**63).all():
        where.fail_time(series, ~(size < 2**63), NO_COUNT)
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    integers = bool((values == whole).all())
    compact = _from_compact(whole) if integers else None
    if compact is not None:
        return compact
    if (values >= EXCEL_DAYS[0]).all() and (values <= EXCEL_DAYS[1]).all():
        seconds = np.rint(values.astype(np.float64) * 86_400)  # a fraction of a day is rounded in every export
        return pd.DatetimeIndex((seconds - EXCEL_1970 * 86_400).astype("datetime64[s]"))
    if size.max() < 1e8:
        where.fail_time(series, np.ones(len(series)), NO_COUNT)
    return _since_1970(whole if integers else values, size)


def _since_1970(values: "NDArray[Any]", size: NDArray[np.float64]) -> pd.DatetimeIndex:
    """Counts whose largest shows the unit, unless the rows lie closer together when each shows its own.

    Joined files may change their unit on the way: Binance went from milliseconds to microseconds in 2025.
    """
    own = np.searchsorted([1e11, 1e14, 1e17], size, side="right")
    top = int(own.max())
    if values.dtype == np.int64:
        shared = pd.DatetimeIndex(values.astype(f"datetime64[{_UNITS[top]}]"))
    else:
        shared = pd.DatetimeIndex(np.rint(values * _MICROSECONDS[top]).astype("datetime64[us]"))
    if (own == top).all():
        return shared
    single = pd.DatetimeIndex(np.rint(values * _MICROSECONDS[own]).astype("datetime64[us]"))
    return single if single.max() - single.min() < shared.max() - shared.min() else shared


def _from_compact(whole: NDArray[np.int64]) -> pd.DatetimeIndex | None:
    """yyyymmdd with or without a time of day, all of one width; None where the digits are no dates of 1900 to 2099."""
    width = len(str(int(whole.max())))
    if width not in _COMPACT or whole.min() < 19 * 10 ** (width - 2) or whole.max() >= 21 * 10 ** (width - 2):
        return None
    parsed = pd.to_datetime(pd.Series(whole.astype(str)), format=_COMPACT[width], errors="coerce")
    return None if parsed.isna().any() else pd.DatetimeIndex(parsed)


# --- text and objects -------------------------------------------------------------------------------------------------


def _from_objects(series: "pd.Series[Any]", where: Where) -> pd.DatetimeIndex:
    """Text, or Python's and pandas' own dates and times."""
    if isinstance(series.dtype, pd.StringDtype):
        return _from_text(series.str.strip(), where)
    is_text = series.map(lambda value: isinstance(value, str)).astype(bool)
    if is_text.all():
        return _from_text(series.astype(str).str.strip(), where)
    if is_text.any():
        where.fail_time(series, is_text if is_text.sum() * 2 < len(series) else ~is_text, "is of another kind")
    if series.map(lambda value: isinstance(value, pd.Period)).all():
        return _from_periods(series, [*series], where)
    if series.map(lambda value: isinstance(value, int | float)).all():
        huge = series.map(lambda value: not abs(value) < 2**63).astype(bool)
        if huge.any():  # an integer may be too large even for a float
            where.fail_time(series, huge, NO_COUNT)
        return _from_numbers(pd.Series(series.to_numpy(dtype=np.float64)), where)
    try:
        stamps = [pd.Timestamp(value) for value in series]
    except (TypeError, ValueError) as error:
        raise BarsError(f"{where.name}: the times cannot be read: {str(error).splitlines()[0]}") from error
    aware = pd.Series([stamp.tzinfo is not None for stamp in stamps])
    if aware.any() and not aware.all():
        where.fail_time(series, ~aware, "has no time zone and others have one")
    zones = {str(stamp.tzinfo) for stamp in stamps}
    far = pd.Series([not EARLIEST <= stamp.year <= LATEST for stamp in stamps])
    if far.any():  # before pandas tries: version 2 has no coarser unit to put them in
        where.fail_time(series, far, FAR)
    return pd.DatetimeIndex(pd.to_datetime(stamps, utc=True)) if len(zones) > 1 else pd.DatetimeIndex(stamps)


def _from_text(text: "pd.Series[str]", where: Where) -> pd.DatetimeIndex:
    foreign = text.map(lambda value: not value.isascii() and bool(_FOREIGN_DIGIT.search(value))).astype(bool)
    if foreign.any():
        where.fail_time(text, foreign, "has digits other than 0 to 9")
    if re.fullmatch(_DIGITS, text.iloc[0]) and text.str.fullmatch(_DIGITS).all():
        long = text.str.contains(r"^-?0*[1-9][0-9]{18}", regex=True)  # pandas 2 refuses what 64 bits do not hold
        if long.any():
            long = text.where(long, "0").str.partition(".")[0].map(lambda value: abs(int(value)) >= 2**63).astype(bool)
        if long.any():
            where.fail_time(text, long, NO_COUNT)
        return _from_numbers(pd.to_numeric(text), where)
    words = ~text.str.contains("[0-9]", regex=True)
    if words.any():  # pandas would read "now" and "today"
        where.fail_time(text, words, UNREADABLE)
    if not re.match(r"\d{4}-\d\d-\d\d", text.iloc[0]) and (shaped := by_shape(text, where)) is not None:
        return shaped
    odd = to_datetime(text, utc=True, format="ISO8601").isna()
    plain = text.where(~odd, text[odd].map(_year_first)) if odd.any() else text
    aware = plain.str.contains(r":\d\d.*" + _ZONE, regex=True)
    if aware.any() and not aware.all():
        where.fail_time(text, ~aware if aware.sum() * 2 > len(text) else aware, "differs from others in its zone")
    mixed = bool(aware.any()) and plain.str.extract(f"({_ZONE})")[0].nunique() > 1
    try:
        parsed = to_datetime(plain, utc=mixed, format="ISO8601")
    except ValueError:  # pandas saw a zone where the pattern above saw none, as in "09:3+05"
        zoned = plain.str.contains(r"[Z+]", regex=True)
        where.fail_time(text, zoned if zoned.any() else ~zoned, UNREADABLE)
    bad = parsed.isna()
    if not bad.any():
        return pd.DatetimeIndex(parsed)
    if text.str.match(r"\d{4}\D").any():
        where.fail_time(text, bad, UNREADABLE)
    return from_day_month(text, where)


def _year_first(text: str) -> str:
    """2024/1/5 9:30, 2024.01.05, 2024-01-05 9-PM, 20240105 093000 and 2024年1月5日 in the ISO spelling."""
    compact = re.fullmatch(r"(\d{4})(\d\d)(\d\d)[T\s]+(\d\d):?(\d\d):?(\d\d)?", text)
    if compact:
        return "{}-{}-{} {}:{}:{}".format(*compact.groups(default="00"))
    found = re.fullmatch(
        r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?:[T\s]+(\d{1,2})(:.*?)?(?:[\s-]*([AaPp][Mm]))?)?", text
    )
    if not found or (found[4] and not (found[5] or found[6])):
        return text
    date = f"{found[1]}-{int(found[2]):02d}-{int(found[3]):02d}"
    if not found[4]:
        return date
    hour = int(found[4]) if not found[6] else int(found[4]) % 12 + 12 * (found[6].lower() == "pm")
    return f"{date} {hour:02d}{(found[5] or ':00').replace(' ', '')}"
