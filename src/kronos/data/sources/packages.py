"""What the sources share that ask through somebody else's package: patience, one line for any failure, and frames.

Such packages raise what they like, from their own errors to a KeyError deep inside when a server answers strangely. The
kinds that mean "try again" and those that mean "no" are named by each source; no other is caught.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from kronos.bars import COLUMNS, Timeframe
from kronos.data.sources.http import Patience
from kronos.errors import SourceError
from kronos.extras import without_its_deprecations

T = TypeVar("T")
Errors = tuple[type[Exception], ...]

STRANGE: Errors = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What a package raises that trips over an answer it did not expect."""


def patiently(ask: Callable[[], T], where: str, patience: Patience, *, busy: Errors, no: Errors, hint: str = "") -> T:
    """The answer of `ask`; it is asked again after a `busy` error, and `no` ends it at once as a SourceError."""
    attempt = 0
    while True:
        attempt += 1
        try:
            with without_its_deprecations():
                return ask()
        except busy as error:
            if attempt >= patience.attempts:
                times = "attempt" if attempt == 1 else "attempts"
                raise SourceError(
                    f"{where}: no usable answer after {attempt} {times}, the last: {said(error)}"
                ) from error
        except no as error:
            raise SourceError(f"{where}: {said(error)}{hint}") from error
        patience.sleep(patience.pause(attempt))


def said(error: Exception) -> str:
    """An error of another package in one line of moderate length."""
    text = " ".join(str(error).split())[:200]
    return text if text and len(text) > 3 else f"{type(error).__name__} {text}".strip()


def frame_from(times: pd.DatetimeIndex, values: Mapping[str, Any]) -> pd.DataFrame:
    """COLUMNS as float64 over `times`, which are put in order; unknown columns are all NaN, the later of a pair wins.

    Rows without prices are no bars (halts, placeholders of a day that has not begun) and are left out.
    """
    unknown = np.full(len(times), np.nan)
    table = {name: np.asarray(values.get(name, unknown), dtype=np.float64) for name in COLUMNS}
    frame = pd.DataFrame(table, index=pd.DatetimeIndex(times).as_unit("ns").rename("timestamp"))
    frame = frame[frame[["open", "high", "low", "close"]].notna().all(axis=1)]
    return frame[~frame.index.duplicated(keep="last")].sort_index()


def between(frame: pd.DataFrame, start: pd.Timestamp | None, end: pd.Timestamp | None) -> pd.DataFrame:
    """The bars whose start lies in [start, end)."""
    keep = np.ones(len(frame), dtype=bool)
    if start is not None:
        keep &= np.asarray(frame.index >= start)
    if end is not None:
        keep &= np.asarray(frame.index < end)
    return frame[keep]


def bar_ends(starts: pd.DatetimeIndex, timeframe: Timeframe) -> pd.DatetimeIndex:
    """When bars end that begin at `starts`; days and longer by the wall clock of their zone."""
    if timeframe.intraday:
        return pd.DatetimeIndex(starts + timeframe.delta)
    walls = starts.tz_localize(None) + timeframe.offset
    return pd.DatetimeIndex(walls).tz_localize(
        starts.tz, ambiguous=np.ones(len(walls), dtype=bool), nonexistent="shift_forward"
    )
