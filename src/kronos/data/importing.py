"""From files as they are to series in the lake: names found, order and doubles mended, the rest named or refused.

One file that cannot be imported does not stop the others. Importing the same again adds nothing, and a file that has
grown adds its new bars. Bars that break a candle's rules are kept as they are, for `check` to list and `clean` to mend;
rows that are no bars at all (no price, no number) refuse their file, unless `repair` lets them be dropped.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import COLUMNS, Timeframe, check_calendar, clean, infer_timeframe, invalid, loose
from kronos.bars.candles import CLOSE
from kronos.bars.columns import NoPricesError
from kronos.bars.timeframe import steps_of
from kronos.data.files.naming import name_of
from kronos.data.files.reading import Found, bar_files, read_loose
from kronos.data.files.texts import NoTableError
from kronos.data.keys import Key
from kronos.data.lake.commits import Origin
from kronos.data.lake.lake import Conflict, Entry, Lake, Written
from kronos.data.lake.store import StoreError
from kronos.data.pickles.pickles import read_pickle
from kronos.data.qlib import QlibFolder, is_qlib, read_qlib
from kronos.data.sources.archive import archived_series, is_archive, read_archive
from kronos.errors import BarsError, ConfigError, KronosError, SourceError

T = TypeVar("T")

_PRICES = slice(0, CLOSE + 1)


@dataclass(frozen=True)
class Loose:
    """A series on its way in: what a file says of it, before anything was checked."""

    frame: pd.DataFrame
    place: str
    symbol: str | None = None
    timeframe: str | None = None
    market: str | None = None
    source: str = "files"
    calendar: str | None = None
    lines: NDArray[np.int64] | None = None
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """A series that was written."""

    key: Key
    place: str
    written: Written
    notes: Mapping[str, int]


@dataclass(frozen=True)
class Refused:
    """A file or series that was not imported, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Skipped:
    """A file in a folder that holds something else than bars."""

    place: str
    reason: str


Outcome = Imported | Refused | Skipped


@dataclass(frozen=True)
class ImportOptions:
    """What the user says where the files do not say it, or says it better."""

    source: str | None = None  # by default what the place says: "binance" for its archives, else "files" or "qlib"
    symbol: str | None = None
    timeframe: str | None = None
    market: str | None = None
    calendar: str | None = None
    zone: str | None = None  # the clock of times that come without a zone
    repair: bool = False
    conflict: Conflict = "keep"


def import_bars(lake: Lake, place: str | Path, options: ImportOptions | None = None) -> Iterator[Outcome]:
    """Import every series at a place into the lake, one at a time; what became of each.

    A place is a file, a folder of files, a Qlib folder, a folder of an exchange's archive zips, a pickle of frames, or
    another lake.
    """
    options = options or ImportOptions()
    if options.calendar is not None:
        check_calendar(options.calendar)
    for found in _series_at(Path(place), options):
        if isinstance(found, Refused | Skipped):
            yield found
            continue
        try:
            yield _write(lake, found, options)
        except StoreError:  # every other file would fail alike
            raise
        except KronosError as error:
            yield Refused(found.place, str(error).removeprefix(f"{found.place}: "))


# --- what is there ----------------------------------------------------------------------------------------------------


def _series_at(place: Path, options: ImportOptions) -> Iterator[Loose | Refused | Skipped]:
    """The series at a place, whatever kind of place it is."""
    if not place.exists():
        raise SourceError(f"{place}: no such file or folder on this machine")
    if place.is_dir() and Lake.is_lake(place):
        other = Lake.open(place)
        yield from _each(options, place, other.entries(), lambda entry: _of_lake(other, entry))
    elif place.is_dir() and is_qlib(place):
        folder = QlibFolder(place)
        pairs = [(symbol, length) for length in folder.frequencies for symbol in folder.symbols(length)]
        yield from _each(options, place, pairs, lambda pair: _of_qlib(place, *pair))
    elif is_archive(place):
        yield from _each(options, place, archived_series(place), lambda pair: _of_archive(place, *pair))
    elif place.suffix in (".pkl", ".pickle"):
        frames = read_pickle(place)
        yield from _each(options, place, list(frames.items()), lambda pair: _of_pickle(place, *pair))
    else:
        yield from _of_files(place, options)


def _each(
    options: ImportOptions, place: Path, things: Sequence[T], read: Callable[[T], Iterable[Loose]]
) -> Iterator[Loose | Refused]:
    """What is read of each thing at a place; one that cannot be read is refused and stops no other."""
    if options.symbol is not None and len(things) > 1:
        raise ConfigError(f"--symbol {options.symbol} names one series and {place} holds {len(things)}; leave it out")
    for thing in things:
        try:
            yield from read(thing)
        except KronosError as error:
            yield Refused(str(place), str(error))


def _of_lake(other: Lake, entry: Entry) -> Iterator[Loose]:
    key, place = entry.key, f"{other.place} {entry.key}"
    frame = other.read_raw(key)
    yield Loose(frame, place, key.symbol, key.timeframe, entry.market, key.source, entry.calendar, notes=entry.notes)


def _of_qlib(place: Path, symbol: str, length: Timeframe) -> Iterator[Loose]:
    for one in read_qlib(place, length, symbols=[symbol]):
        yield Loose(one.frame, f"{place} {one.symbol}", one.symbol, one.timeframe, one.market, "qlib")


def _of_archive(place: Path, name: str, length: Timeframe) -> Iterator[Loose]:
    for one in read_archive(place, symbol=name, timeframe=length):
        notes = {"spans_missing": len(one.notes)} if one.notes else {}
        where = f"{place} {one.symbol}"
        yield Loose(one.frame, where, one.symbol, one.timeframe, "crypto", one.source, "24/7", notes=notes)


def _of_pickle(place: Path, name: str, frame: pd.DataFrame) -> Iterator[Loose]:
    symbol, _, timeframe = name.rpartition("_")
    where = f"{place} {name}"
    yield Loose(loose(frame, name=where), where, symbol or name, timeframe if symbol else None)


def _of_files(place: Path, options: ImportOptions) -> Iterator[Loose | Refused | Skipped]:
    paths = bar_files(place)
    if options.symbol is not None and len(paths) > 1:
        raise ConfigError(f"--symbol {options.symbol} names one series and {place} holds {len(paths)} files")
    root = place if place.is_dir() else None
    for path in paths:
        try:
            tables: Iterable[Found] = read_loose(path)
        except KronosError as error:
            foreign = root is not None and isinstance(error, NoPricesError | NoTableError)
            yield (Skipped if foreign else Refused)(str(path), str(error).removeprefix(f"{path}: "))
            continue
        named, tables = name_of(path, root), list(tables)
        if options.symbol is not None and len(tables) > 1:
            listed = ", ".join(str(table.symbol) for table in tables[:8])
            yield Refused(
                str(path), f"--symbol {options.symbol} names one series, and this file holds {listed}; leave it out"
            )
            continue
        for table in tables:
            symbol = table.symbol or named.symbol
            notes = {"footer_lines": table.footer} if table.footer else {}
            yield Loose(table.frame, str(path), symbol, named.timeframe, named.market, lines=table.lines, notes=notes)


# --- one series -------------------------------------------------------------------------------------------------------


def _write(lake: Lake, found: Loose, options: ImportOptions) -> Imported:
    symbol = options.symbol or found.symbol
    if symbol is None:
        raise ConfigError(
            "which symbol this is cannot be seen; put it into the file's name (BTC_1h.csv) or pass --symbol"
        )
    found = _oldest_first(found)
    frame, notes = _ordered(_zoned(found.frame, options.zone), found, options)
    if frame.empty:
        raise BarsError("no row holds a price")
    key = Key(options.source or found.source, symbol, str(_timeframe(frame, found, options)))
    if options.repair:
        cleaned = clean(frame, timeframe=key.timeframe, name=found.place)
        frame = cleaned.frame
        notes = {**notes, "repaired": len(cleaned.changes)}
    notes = {name: count for name, count in {**found.notes, **notes, **_count(frame)}.items() if count}
    written = lake.write(
        key,
        frame,
        Origin("import", str(Path(found.place).absolute()), notes=notes),
        market=options.market or found.market or "",
        calendar=options.calendar or found.calendar,
        conflict=options.conflict,
    )
    return Imported(key, found.place, written, notes)


def _oldest_first(found: Loose) -> Loose:
    """A file that is newest first throughout, turned round: that is no disorder."""
    times = pd.DatetimeIndex(found.frame.index).asi8
    if len(times) < 2 or times[0] <= times[-1] or not (np.diff(times) <= 0).all():
        return found
    lines = None if found.lines is None else found.lines[::-1]
    return replace(found, frame=found.frame.iloc[::-1], lines=lines)


def _zoned(frame: pd.DataFrame, zone: str | None) -> pd.DataFrame:
    index = pd.DatetimeIndex(frame.index)
    if zone is None or index.tz is not None:
        return frame
    try:
        # where the clock is set back, the first of two equal hours is the earlier one
        ambiguous = ~pd.Series(index).duplicated().to_numpy()
        aware = index.tz_localize(zone, ambiguous=ambiguous, nonexistent="NaT")
    except (KeyError, ValueError, OSError, IndexError) as error:
        raise ConfigError(f"--zone {zone}: unknown or unfitting time zone ({error})") from error
    if aware.hasnans:
        when = index[aware.isna()][0]
        raise ConfigError(f"--zone {zone}: {when} never was on its clocks (they were set forward); is it another zone?")
    return frame.set_axis(aware)


def _ordered(frame: pd.DataFrame, found: Loose, options: ImportOptions) -> tuple[pd.DataFrame, dict[str, int]]:
    """Increasing times and a price in every row; how many rows had to be moved or left out."""
    values = frame[list(COLUMNS)].to_numpy(dtype=np.float64)
    blank = np.isnan(values[:, _PRICES]).all(axis=1)
    with np.errstate(invalid="ignore"):
        broken = ~blank & ~((values[:, _PRICES] > 0) & np.isfinite(values[:, _PRICES])).all(axis=1)
        broken |= np.isinf(values[:, CLOSE + 1 :]).any(axis=1)
    if broken.any() and not options.repair:
        row = int(broken.argmax())
        place = int((~((values[row] > 0) & np.isfinite(values[row]))).argmax())
        raise BarsError(
            f"{_where(found, row)} ({frame.index[row]}): {COLUMNS[place]} is {values[row, place]:g}, which is no price "
            f"({int(broken.sum())} such rows); correct the file, or pass --repair to leave such rows out"
        )
    keep = ~blank & ~broken
    lines = np.flatnonzero(keep)
    frame, values = frame[keep], values[keep]
    if not keep.any():
        return frame, {"blank": int(blank.sum()), "not_positive": int(broken.sum())}
    times = pd.DatetimeIndex(frame.index).as_unit("ns").asi8
    order = np.argsort(times, kind="stable")
    unsorted = int((np.diff(times) < 0).sum())
    times, values, frame, lines = times[order], values[order], frame.iloc[order], lines[order]
    twice = np.r_[False, times[1:] == times[:-1]]
    equal = np.r_[False, ((values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))).all(axis=1)]
    conflicting = twice & ~equal
    if conflicting.any() and not options.repair:
        row = int(conflicting.argmax())
        raise BarsError(
            f"{_where(found, int(lines[row]))} ({frame.index[row]}): the time comes twice with different values "
            f"({int(conflicting.sum())} such rows); correct the file, or pass --repair to believe the last"
        )
    last = ~np.r_[twice[1:], False]  # of bars of one time the last counts; without repair they are equal
    notes = {
        "blank": int(blank.sum()),
        "not_positive": int(broken.sum()),
        "unsorted": unsorted,
        "duplicate": int((twice & equal).sum()),
        "conflicting": int(conflicting.sum()),
    }
    return frame[last], notes


def _where(found: Loose, row: int) -> str:
    return f"line {int(found.lines[row])}" if found.lines is not None else f"row {row}"


def _timeframe(frame: pd.DataFrame, found: Loose, options: ImportOptions) -> Timeframe:
    """What the user says, else the name of the file as far as the times agree, else the times."""
    if options.timeframe is not None:
        wanted, times = Timeframe.parse(options.timeframe), pd.DatetimeIndex(frame.index)
        if len(times) >= 10 and (seen := infer_timeframe(times)) < wanted:
            raise BarsError(f"--timeframe says bars of {wanted} and the times step by {seen}; resample them afterwards")
        return wanted
    times = pd.DatetimeIndex(frame.index)
    if found.timeframe is None:
        if len(times) < 2:
            raise BarsError("one bar shows no timeframe; put it into the file's name (BTC_1h.csv) or pass --timeframe")
        return infer_timeframe(times)
    named = Timeframe.parse(found.timeframe)
    if len(times) >= 10:
        seen = infer_timeframe(times)
        apart = seen < named or not (np.abs(steps_of(times) - named.nanoseconds) < named.nanoseconds / 2).any()
        if seen != named and apart and not (named.unit == seen.unit == "mo"):
            raise BarsError(
                f"the name says bars of {named} and the times say {seen}; rename the file or pass --timeframe"
            )
    return named


def _count(frame: pd.DataFrame) -> dict[str, int]:
    """What is stored as it came although readers cannot use it like that."""
    values = frame[list(COLUMNS)].to_numpy(dtype=np.float64)
    unknown = np.isnan(values[:, CLOSE + 1 :])
    holes = (unknown & ~unknown.all(axis=0)).any(axis=1)  # a column without a value is absent, and has no holes
    prices = np.where(np.isnan(values), 0.0, values)
    return {"bad_candle": int(invalid(prices).sum()), "volume_unknown": int(holes.sum())}
