"""Is a folder the data set that the fine-tuning guide describes? Every criterion, every problem with file and key."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from kronos.bars import Timeframe
from kronos.bars.quality.gaps import gaps
from kronos.data.pickles.pickles import (
    FILES,
    INDEX_NAME,
    PARTS,
    PICKLE_COLUMNS,
    SUMMARY,
    as_bars,
    read_pickle,
    summarise,
)
from kronos.data.sets.splits import RATIOS
from kronos.errors import BarsError, ConfigError, SourceError

Parts = dict[str, dict[str, pd.DataFrame]]  # by part and key

TOLERANCE = 0.02  # a part may be off its ratio by so much of the whole


@dataclass(frozen=True)
class Problem:
    """What is wrong, in which file, and in which of its frames where it is one's."""

    file: str
    key: str | None
    what: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.file}: {self.what}" if self.key is None else f"{self.file}: {self.key}: {self.what}"


@dataclass(frozen=True)
class Validation:
    """What a check of a folder found."""

    folder: Path
    problems: tuple[Problem, ...]
    facts: Mapping[str, int] = field(default_factory=dict)  # symbols and records of the files that could be read

    @property
    def ok(self) -> bool:
        """True where nothing is wrong."""
        return not self.problems

    def lines(self) -> list[str]:
        """The finding as text, a line for each problem."""
        counts = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in self.facts.items())
        found = [f"problem: {problem}" for problem in self.problems]
        return [
            f"{self.folder}: {'ok' if self.ok else f'{len(found)} problems'}{f' ({counts})' if counts else ''}",
            *found,
        ]

    def to_dict(self) -> dict[str, Any]:
        """The finding, ready for JSON."""
        problems = [{"file": one.file, "key": one.key, "what": one.what} for one in self.problems]
        return {"folder": str(self.folder), "ok": self.ok, "problems": problems, **self.facts}


def validate(folder: str | Path, *, timeframes: Collection[str] | None = None, min_rows: int = 100) -> Validation:
    """Check a data set of pickles against all criteria of its guide.

    `timeframes` are those that every symbol must have in every file, by default all that occur; `min_rows` is the
    least number of rows of every frame, by default one window of 90 + 10 bars.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    problems: list[Problem] = []
    parts: Parts = {}
    for part, file in zip(PARTS, FILES, strict=True):
        try:
            if not (folder / file).is_file():
                raise SourceError("is missing")
            parts[part] = read_pickle(folder / file)
        except SourceError as error:
            problems.append(Problem(file, None, str(error).removeprefix(f"{folder / file}: ")))
    problems += _keys(parts, timeframes)
    for part, frames in parts.items():
        for key, frame in frames.items():
            problems += (Problem(_file(part), key, what) for what in _frame(frame, key, min_rows))
    if len(parts) == len(PARTS):
        problems += _order(parts)
        problems += _ratios(parts)
    problems += (Problem(SUMMARY, None, what) for what in _summary(folder / SUMMARY, parts))
    return Validation(folder, tuple(problems), summarise(parts))


def _file(part: str) -> str:
    return FILES[PARTS.index(part)]


def _keys(parts: Parts, timeframes: Collection[str] | None) -> Iterator[Problem]:
    """Every symbol has every timeframe in every file."""
    known = {key: _parsed(key) for frames in parts.values() for key in frames}
    symbols = sorted({pair[0] for pair in known.values() if pair})
    wanted = {Timeframe.parse(one) for one in timeframes or ()} or {pair[1] for pair in known.values() if pair}
    for part, frames in parts.items():
        if not frames:
            yield Problem(_file(part), None, "holds no frame")
        for key in frames:
            if known[key] is None:
                yield Problem(_file(part), key, "is no SYMBOL_TIMEFRAME, such as BTC-USD-SWAP_1H")
        there = {known[key] for key in frames}
        for symbol in symbols:
            missing = ", ".join(str(one) for one in sorted(wanted) if (symbol, one) not in there)
            if missing:
                yield Problem(_file(part), None, f"{symbol} lacks the timeframe {missing}")


def _parsed(key: str) -> tuple[str, Timeframe] | None:
    symbol, _, timeframe = key.rpartition("_")
    try:
        return (symbol, Timeframe.parse(timeframe)) if symbol else None
    except ConfigError:
        return None


def _frame(frame: pd.DataFrame, key: str, min_rows: int) -> Iterator[str]:
    """Columns, index, rows, candles and continuity of one frame."""
    if tuple(frame.columns) != PICKLE_COLUMNS:
        yield f"has the columns {', '.join(map(str, frame.columns))} instead of {', '.join(PICKLE_COLUMNS)}"
    if frame.index.name != INDEX_NAME:
        yield f"its index is called {frame.index.name!r} instead of {INDEX_NAME!r}"
    if len(frame) < min_rows:
        yield f"has {len(frame)} rows; at least {min_rows} are needed"
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex):
        yield f"its index is a {type(index).__name__} instead of a DatetimeIndex"
        return
    if index.hasnans or not index.is_monotonic_increasing or not index.is_unique:
        yield "its times do not increase from row to row"
        return
    if len(frame) < 2:
        return
    try:
        as_bars(frame, "bars")
    except BarsError as error:
        yield str(error).removeprefix("bars: ")
        return
    yield from _continuity(index, key)


def _continuity(index: pd.DatetimeIndex, key: str) -> Iterator[str]:
    pair = _parsed(key)
    if pair is None:
        return
    lost = [gap for gap in gaps(index, timeframe=pair[1]) if not gap.holiday]
    if lost:
        count = sum(gap.missing for gap in lost)
        yield f"{count} bars of {pair[1]} are missing in {len(lost)} places, the first after {lost[0].after}"


def _order(parts: Parts) -> Iterator[Problem]:
    """The parts of a frame follow each other in time."""
    for before, after in pairwise(PARTS):
        for key, frame in parts[after].items():
            other = parts[before].get(key)
            if other is None or not (_timed(frame) and _timed(other)):
                continue
            if frame.index.min() <= other.index.max():
                yield Problem(
                    _file(after),
                    key,
                    f"begins at {frame.index.min()}, before {_file(before)} ends at {other.index.max()}",
                )


def _timed(frame: pd.DataFrame) -> bool:
    index = frame.index
    return isinstance(index, pd.DatetimeIndex) and index.tz is None and len(index) > 0


def _ratios(parts: Parts) -> Iterator[Problem]:
    for key in parts[PARTS[0]]:
        sizes = [len(parts[part].get(key, ())) for part in PARTS]
        for part, size, ratio in zip(PARTS, sizes, RATIOS, strict=True):
            if all(sizes) and abs(size - ratio * sum(sizes)) > max(TOLERANCE * sum(sizes), 2):
                share = size / sum(sizes)
                yield Problem(_file(part), key, f"holds {share:.0%} of the rows; the guide's share is {ratio:.0%}")


def _summary(path: Path, parts: Parts) -> Iterator[str]:
    """The summary says what the files hold."""
    try:
        summary = json.loads(path.read_bytes())
    except OSError:
        yield "is missing"
        return
    except ValueError:
        yield "is no JSON"
        return
    except RecursionError:
        yield "is nested too deeply"
        return
    if not isinstance(summary, dict):
        yield "holds no keys and values"
        return
    for name, count in summarise(parts).items():
        if summary.get(name) != count:
            yield f"says {name} {_shown(summary.get(name))} and the file holds {count}"
    keys = sorted({key for frames in parts.values() for key in frames})
    symbols = summary.get("symbols")
    named = [one for one in symbols if isinstance(one, str)] if isinstance(symbols, list) else []
    if sorted(named) != keys or symbols != named:
        yield f"its list of symbols is not that of the files ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})"
    created = summary.get("created_at")
    try:
        datetime.fromisoformat(created if isinstance(created, str) else "")
    except ValueError:
        yield f"says created_at {_shown(created)}, which is no time"


def _shown(value: Any) -> str:
    """A value of the summary in a few characters; lists and the like are not spelled out."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else repr(value)[:80]
