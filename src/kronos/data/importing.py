"""From files as they are to series in the lake: names found, order and doubles mended, the rest named or refused.

One file that cannot be imported does not stop the others. Importing the same again adds nothing, and a file that has
grown adds its new bars. Bars that break a candle's rules are kept as they are, for `check` to list and `clean` to mend;
rows that are no bars at all (no price, no number) refuse their file, unless `repair` lets them be dropped.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import COLUMNS, Timeframe, clean, infer_timeframe, invalid, loose
from kronos.bars.candles import CLOSE
from kronos.bars.columns import NoPricesError
from kronos.bars.timeframe import steps_of
from kronos.data.files.naming import name_of
from kronos.data.files.reading import Found, bar_files, read_loose
from kronos.data.files.texts import NoTableError
from kronos.data.keys import Key
from kronos.data.lake.commits import Origin
from kronos.data.lake.lake import Conflict, Lake, Written
from kronos.data.pickles.pickles import read_pickle
from kronos.data.qlib import is_qlib, read_qlib
from kronos.data.sources.archive import is_archive, read_archive
from kronos.errors import BarsError, ConfigError, KronosError, SourceError

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
    for found in _series_at(Path(place), options):
        if isinstance(found, Refused | Skipped):
            yield found
            continue
        try:
            yield _write(lake, found, options)
        except KronosError as error:
            yield Refused(found.place, str(error).removeprefix(f"{found.place}: "))


# --- what is there ----------------------------------------------------------------------------------------------------


def _series_at(place: Path, options: ImportOptions) -> Iterator[Loose | Refused | Skipped]:
    """The series at a place, whatever kind of place it is."""
    if not place.exists():
        raise SourceError(f"{place}: no such file or folder")
    if place.is_dir() and Lake.is_lake(place):
        yield from _of_lake(Lake.open(place))
    elif place.is_dir() and is_qlib(place):
        for one in read_qlib(place):
            yield Loose(one.frame, f"{place} {one.symbol}", one.symbol, one.timeframe, one.market, "qlib")
    elif is_archive(place):
        for archived in read_archive(place):
            yield Loose(
                archived.frame,
                f"{place} {archived.symbol}",
                archived.symbol,
                archived.timeframe,
                "crypto",
                archived.source,
                "24/7",
                notes={"spans_missing": len(archived.notes)} if archived.notes else {},
            )
    elif place.suffix in (".pkl", ".pickle"):
        for name, frame in read_pickle(place).items():
            symbol, _, timeframe = name.rpartition("_")
            place_of = f"{place} {name}"
            yield Loose(loose(frame, name=place_of), place_of, symbol or name, timeframe if symbol else None)
    else:
        yield from _of_files(place, options)


def _of_lake(other: Lake) -> Iterator[Loose]:
    for entry in other.entries():
        key = entry.key
        yield Loose(
            other.read_raw(key),
            f"{other.place} {key}",
            key.symbol,
            key.timeframe,
            entry.market,
            key.source,
            entry.calendar,
        )


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
        named = name_of(path, root)
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
    frame, notes = _ordered(_zoned(found.frame, options.zone), found, options)
    key = Key(options.source or found.source, symbol, str(_timeframe(frame, found, options)))
    if options.repair:
        cleaned = clean(frame, timeframe=key.timeframe, name=found.place)
        frame = cleaned.frame
        notes = {**notes, "repaired": len(cleaned.changes)}
    if frame.empty:
        raise BarsError("no bars are left")
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


def _zoned(frame: pd.DataFrame, zone: str | None) -> pd.DataFrame:
    index = pd.DatetimeIndex(frame.index)
    if zone is None or index.tz is not None:
        return frame
    try:
        # where the clock is set back, the first of two equal hours is taken for the earlier one
        ambiguous = ~pd.Series(index).duplicated().to_numpy()
        return frame.set_axis(index.tz_localize(zone, ambiguous=ambiguous, nonexistent="shift_forward"))
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(f"--zone {zone}: unknown or unfitting time zone ({error})") from error


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
    times = pd.DatetimeIndex(frame.index).as_unit("ns").asi8
    order = np.argsort(times, kind="stable")
    unsorted = 0 if _one_way(times) else int((np.diff(times) < 0).sum())
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


def _one_way(times: NDArray[np.int64]) -> bool:
    """True for files that are oldest or newest first throughout, which is no disorder."""
    steps = np.diff(times)
    return bool((steps >= 0).all() or (steps <= 0).all())


def _where(found: Loose, row: int) -> str:
    return f"line {int(found.lines[row])}" if found.lines is not None else f"row {row}"


def _timeframe(frame: pd.DataFrame, found: Loose, options: ImportOptions) -> Timeframe:
    """What the user says, else the name of the file as far as the times agree, else the times."""
    if options.timeframe is not None:
        return Timeframe.parse(options.timeframe)
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
