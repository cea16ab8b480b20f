"""Times of day by themselves, and dates that begin with the day or the month; `stamps` reads all other writings.

Which number is the day and which the month is concluded from all rows together, never guessed from one.
"""

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.tseries.api import guess_datetime_format

from kronos.bars.where import Where
from kronos.errors import BarsError

UNREADABLE = "cannot be read; write it like 2024-01-05 09:30"
NO_CLOCK = "is no time of day; write it like 09:30 or 93000"
# a year of four digits, or a day, a month and a year of two: what has neither would be read with today's date
_DATED = r"(?<!\d)(?:1[6-9]|2[0-2])\d\d(?!\d)|^\d{1,2}[-/. ]+(?:\d{1,2}|[A-Za-z]{3,9})\.?,?[-/. ]+\d\d(?!\d)"
_SHAPE = re.compile(
    r"(?P<first>\d{4}|\d{1,2})(?P<sign>[-/. ])\d{1,2}(?P=sign)(?P<third>\d{4}|\d{1,2})"
    r"(?:(?P<gap>T| |, )(?P<hour>\d{1,2}):\d\d(?P<second>:\d\d(?P<fraction>\.\d{1,9})?)?"
    r"(?:(?P<blank> ?)(?P<half>[AaPp][Mm]))?)?"
)


def to_datetime(text: "pd.Series[str]", **how: Any) -> "pd.Series[Any]":
    """As pandas reads it, NaT where it cannot."""
    return pd.to_datetime(text, errors="coerce", **how)


def time_of_day(text: "pd.Series[str]", where: Where) -> pd.TimedeltaIndex | None:
    """Times of day such as 9:30, 09:30:00.5, 9:30 PM, 930 or 93000; None where the column holds something else."""
    digits = text.str.removesuffix(".0")  # integers that pandas took for floats
    if digits.str.fullmatch(r"\d{1,6}").all():
        return _from_digits(digits, where)
    good = text.str.fullmatch(r"([01]?\d|2[0-4]):[0-5]\d(:[0-5]\d(\.\d+)?)?(\s*[AaPp][Mm])?")
    if not good.all():
        if good.sum() * 2 > len(text):
            where.fail_time(text, ~good, NO_CLOCK)
        return None
    plain = text.str.replace(r"\s*[AaPp][Mm]$", "", regex=True)
    spans = pd.to_timedelta(plain.where(plain.str.count(":") == 2, plain + ":00"))
    noon, later = plain.str.startswith("12:"), text.str.contains(r"[Pp][Mm]$", regex=True)
    earlier = text.str.contains(r"[Aa][Mm]$", regex=True)
    half_days = (later & ~noon).astype(np.int64) - (earlier & noon).astype(np.int64)
    return pd.TimedeltaIndex(spans + pd.to_timedelta(12 * half_days, unit="h"))


def _from_digits(digits: "pd.Series[str]", where: Where) -> pd.TimedeltaIndex:
    """HHMM or HHMMSS, with or without leading zeros: the longest and the largest show which."""
    number = digits.astype(np.int64).to_numpy()
    if 0 < number.max() < 24 and digits.str.len().max() <= 2:
        where.fail_time(digits, number > 0, "may be an hour or a minute; write it like 09:30 or 93000")
    if digits.str.len().max() <= 4 and number.max() <= 2400:
        number = number * 100
    hours, minutes, seconds = number // 10_000, number // 100 % 100, number % 100
    bad = (hours > 24) | (minutes > 59) | (seconds > 59)
    if bad.any():
        where.fail_time(digits, bad, NO_CLOCK)
    return pd.TimedeltaIndex((hours * 3600 + minutes * 60 + seconds).astype("timedelta64[s]"))


def by_shape(text: "pd.Series[str]", where: Where) -> pd.DatetimeIndex | None:
    """Dates in numbers that are all written like the first of them, read in one go; None where they are not."""
    found = _SHAPE.fullmatch(text.iloc[0])
    if found is None:
        return None
    year = "%Y" if max(len(found["first"]), len(found["third"])) == 4 else "%y"
    long = len(found["first"]) == 4
    orders = ["ymd"] if long else ["dmy", "mdy"] if year == "%Y" or len(found["first"]) == 1 else ["dmy", "mdy", "ymd"]
    clock = ""
    if found["hour"]:
        clock = f"{found['gap']}{'%I' if found['half'] else '%H'}:%M"
        clock += (":%S" if found["second"] else "") + (".%f" if found["fraction"] else "")
        clock += f"{found['blank']}%p" if found["half"] else ""
    read, sample = {}, text.iloc[:: max(len(text) // 1000, 1)]
    for order in orders:
        date = found["sign"].join({"d": "%d", "m": "%m", "y": year}[part] for part in order)
        if to_datetime(sample, format=date + clock).isna().any():
            continue
        parsed = to_datetime(text, format=date + clock)
        if not parsed.isna().any():
            read[order] = pd.DatetimeIndex(parsed)
    return _one_order(read, text, where) if read else None


def from_day_month(text: "pd.Series[str]", where: Where) -> pd.DatetimeIndex:
    """Dates that begin with the day or the month: the one order that all of them allow, else the one that is sorted."""
    undated = ~text.str.contains(_DATED, regex=True)
    if undated.any():
        where.fail_time(text, undated, UNREADABLE)
    parts = text.str.extract(r"^(\d{1,2})[-/. ](\d{1,2})[-/. ](\d{4}|\d\d)(?!\d)(.*)$")
    if parts[0].isna().any():
        return _from_month_names(text, where)
    first, second, third = (np.asarray(parts[i].astype(np.int64), dtype=np.int64) for i in range(3))
    allowed = {"dmy": (first <= 31) & (second <= 12), "mdy": (first <= 12) & (second <= 31)}
    if parts[0].str.len().eq(2).all() and (third < 100).all():
        allowed["ymd"] = (second <= 12) & (third <= 31)
    orders = [order for order, fits in allowed.items() if fits.all()]
    if not orders:
        where.fail_time(text, ~max(allowed.values(), key=np.sum), UNREADABLE)
    read = [_in_order(order, (first, second, third), parts[3], where) for order in orders]
    whole = {order: parsed for order, parsed in zip(orders, read, strict=True) if not parsed.isna().any()}
    if not whole:
        where.fail_time(text, read[0].isna(), UNREADABLE)
    return _one_order(whole, text, where)


def _one_order(whole: dict[str, pd.DatetimeIndex], text: "pd.Series[str]", where: Where) -> pd.DatetimeIndex:
    """The reading that is sorted, oldest or newest first, where no other is."""
    distinct = [times for i, times in enumerate(whole.values()) if not any(map(times.equals, [*whole.values()][:i]))]
    sorted_ = [times for times in distinct if times.is_monotonic_increasing or times.is_monotonic_decreasing]
    if "ymd" in whole and len(sorted_) > 1:  # a year read as a day spreads a month over decades
        sorted_.sort(key=lambda times: times.max() - times.min())
        if 5 * (sorted_[0].max() - sorted_[0].min()) < sorted_[1].max() - sorted_[1].min():
            return sorted_[0]
    chosen = distinct if len(distinct) == 1 else sorted_
    if len(chosen) != 1:
        raise BarsError(
            f"{where.name}: day and month cannot be told apart in {text.iloc[0]!r}; write 2024-01-05, or pass times="
        )
    return chosen[0]


def _in_order(
    order: str, numbers: tuple[NDArray[np.int64], ...], rest: "pd.Series[str]", where: Where
) -> pd.DatetimeIndex:
    """Numbers such as 05 01 2024 by `order` ("dmy"), and the time of day in the rest of the text."""
    named = dict(zip(order, numbers, strict=True))
    year = named["y"] + np.where(named["y"] < 70, 2000, np.where(named["y"] < 100, 1900, 0))
    fields = {"year": year, "month": named["m"], "day": named["d"]}
    days = pd.DatetimeIndex(pd.to_datetime(pd.DataFrame(fields), errors="coerce"))
    clock = rest.str.lstrip(" T,").str.rstrip()
    since_midnight = time_of_day(clock.where(clock != "", "00:00"), where)
    if since_midnight is not None:
        return pd.DatetimeIndex(days + since_midnight)
    zoned = clock.str.replace(r"\s*(?:GMT|UTC)?\s*(?=[+-]\d\d:?\d\d$)|\s*(?:GMT|UTC)$", "", regex=True)
    plain = pd.Series(days.strftime("%Y-%m-%d")).fillna("") + " " + zoned
    return pd.DatetimeIndex(to_datetime(plain, utc=bool(clock.str.contains(r"\+|-|GMT|UTC").any()), format="ISO8601"))


def _from_month_names(text: "pd.Series[str]", where: Where) -> pd.DatetimeIndex:
    """Jan 05, 2024 or 05-Jan-24 9:30."""
    guessed = guess_datetime_format(text.iloc[0])
    try:
        parsed = to_datetime(text, format=guessed or "mixed")
        if guessed and parsed.isna().any():
            parsed = to_datetime(text, format="mixed")
    except ValueError as error:  # time zones that differ
        raise BarsError(f"{where.name}: the times cannot be read: {str(error).splitlines()[0]}") from error
    if parsed.isna().any():
        where.fail_time(text, parsed.isna(), UNREADABLE)
    return pd.DatetimeIndex(parsed)
