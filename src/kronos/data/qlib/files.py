"""The three kinds of files in a Qlib folder: calendars, instrument lists, and features; each error names file and line.

    calendars/day.txt                one time a line
    instruments/csi300.txt           code <tab> first day <tab> last day, both included; a code may have several lines
    features/sh600000/close.day.bin  little-endian float32: the slot of the first value in the calendar, then the values

Knows nothing of what the values mean.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.errors import SourceError

Floats = NDArray[np.float32]
Ranges = list[tuple[pd.Timestamp, pd.Timestamp]]

SLOTS = 1 << 24  # the slots that the float32 at the head of a file can tell apart
_TIME = re.compile(r"(19|20|21)\d\d-?\d\d-?\d\d([ T]\d\d:?\d\d(:?\d\d(\.\d+)?)?)?")
_NEVER = re.compile(r"(2[2-9]|[3-9]\d)\d\d-?\d\d-?\d\d")  # 9999-12-31, beyond what nanoseconds can count


def read_calendar(path: Path) -> pd.DatetimeIndex:
    """The times of a calendar, strictly increasing, without a zone."""
    lines = _lines(path)
    if not lines:
        raise SourceError(f"{path}: holds no times")
    times = _times([text for _, text in lines], path, [number for number, _ in lines])
    step = np.diff(times.asi8)
    if (step <= 0).any():
        row = int((step <= 0).argmax()) + 1
        what = "comes twice" if step[row - 1] == 0 else f"comes after {lines[row - 1][1]}"
        _fail(path, lines[row][0], f"the time {lines[row][1]} {what}; a calendar must increase")
    return times


def calendar_text(times: pd.DatetimeIndex, *, intraday: bool) -> str:
    """A calendar as its file holds it."""
    return "".join(f"{text}\n" for text in times.strftime("%Y-%m-%d %H:%M:%S" if intraday else "%Y-%m-%d"))


def read_instruments(path: Path) -> dict[str, Ranges]:
    """The codes of a list, in capitals, with the spans of time in which they belong to it, in order."""
    lines = [(number, text.split("\t")) for number, text in _lines(path)]
    for number, parts in lines:
        if len(parts) < 3 or not parts[0].strip():
            _fail(path, number, "expected a code, its first and its last day, with tabs between them")
    numbers = [number for number, _ in lines]
    firsts, lasts = (_times([parts[place] for _, parts in lines], path, numbers) for place in (1, 2))
    found: dict[str, Ranges] = {}
    for (number, parts), first, last in zip(lines, firsts, lasts, strict=True):
        if last < first:
            _fail(path, number, f"{parts[0]} ends on {parts[2]}, before it begins on {parts[1]}")
        found.setdefault(parts[0].strip().upper(), []).append((first, last))
    return {code: sorted(spans) for code, spans in found.items()}


def instruments_text(spans: Mapping[str, Iterable[tuple[pd.Timestamp, pd.Timestamp]]]) -> str:
    """A list of instruments as its file holds it."""
    return "".join(f"{code}\t{_short(first)}\t{_short(last)}\n" for code, some in spans.items() for first, last in some)


def read_bin(path: Path, slots: int) -> tuple[int, Floats]:
    """The slot of a feature's first value, and its values; none without a file. The calendar has that many `slots`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0, np.empty(0, np.float32)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from error
    if not content or len(content) % 4:
        raise SourceError(f"{path}: is cut off: {len(content)} bytes are no whole number of float32 values")
    values = np.frombuffer(content, "<f4")
    first = float(values[0])
    if not (0 <= first < slots and first == int(first)):
        raise SourceError(f"{path}: begins at slot {first:g} of a calendar that has the slots 0 to {slots - 1}")
    if int(first) + len(values) - 1 > slots:
        raise SourceError(
            f"{path}: holds {len(values) - 1} values from slot {first:.0f} on, and the calendar has {slots} slots: "
            "the calendar is older than the features, or belongs to others"
        )
    return int(first), values[1:].astype(np.float32)


def bin_content(first: int, values: Floats) -> bytes:
    """A feature as its file holds it."""
    head = np.array([first], "<f4")
    return head.tobytes() + values.astype("<f4").tobytes()


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that hold something, and their numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read ({error})") from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _times(texts: list[str], path: Path, numbers: list[int]) -> pd.DatetimeIndex:
    """Times without a zone, or the first line that holds none."""
    near = ["2199-12-31" if _NEVER.fullmatch(text.strip()) else text.strip() for text in texts]
    plain = pd.Series([text if _TIME.fullmatch(text) else None for text in near], dtype=object)
    parsed: Any = pd.to_datetime(plain, format="ISO8601", errors="coerce")
    if parsed.isna().any():
        row = int(parsed.isna().to_numpy().argmax())
        _fail(path, numbers[row], f"{texts[row]!r} is no time; expected 2024-01-05 or 2024-01-05 09:30:00")
    return pd.DatetimeIndex(parsed).as_unit("ns")


def _short(time: pd.Timestamp) -> str:
    return time.strftime("%Y-%m-%d" if time == time.normalize() else "%Y-%m-%d %H:%M:%S")


def _fail(path: Path, number: int, what: str) -> NoReturn:
    raise SourceError(f"{path}: line {number}: {what}")
