"""Looking after a lake: all its series checked, and a clean lake made of it.

A clean series is one that can be cut into windows anywhere: mended, and where the paper cuts (gaps, jumps, silence) cut
into pieces that are series of their own, called BTC/USDT#1, BTC/USDT#2, ... The lake that is cleaned stays as it is.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from kronos.bars import Finding, Inspection, Limits, clean, inspect, limits_for, segments
from kronos.bars.columns import NoPricesError
from kronos.bars.quality.cleaning import BadTicks
from kronos.data.files.naming import name_of
from kronos.data.files.reading import bar_files, read_loose
from kronos.data.files.texts import NoTableError
from kronos.data.keys import Key, file_name
from kronos.data.lake.commits import Origin
from kronos.data.lake.lake import Entry, Lake
from kronos.data.quality.pictures import plot_inspection, plot_report
from kronos.data.quality.report import Report
from kronos.errors import ConfigError, KronosError
from kronos.writing import replacing

_log = logging.getLogger("kronos.data")

_ON_IMPORT = {
    "blank": ("missing_value", "rows without a price were left out on import"),
    "not_positive": ("not_positive", "rows without a usable price were left out on import"),
    "unsorted": ("unsorted", "rows were sorted by time on import"),
    "duplicate": ("duplicate", "rows that repeat another were left out on import"),
    "conflicting": ("duplicate", "rows of a time that comes again were left out on import"),
}


def check_lake(
    lake: Lake, entries: Sequence[Entry] | None = None, *, calendar: str | None = None
) -> Iterator[Inspection]:
    """The inspection of each series, one in memory at a time; what an import had to mend is among the findings."""
    for entry in lake.entries() if entries is None else entries:
        key, follows = entry.key, calendar or calendar_for(entry)
        try:
            found = inspect(lake.read_raw(key), timeframe=key.timeframe, calendar=follows, name=str(key))
        except KronosError as error:
            found = _unreadable(str(key), error)
        noted = [
            Finding(_ON_IMPORT[note][0], "note", None, None, count, f"{count:,} {_ON_IMPORT[note][1]}", count)
            for note, count in entry.notes.items()
            if note in _ON_IMPORT
        ]
        yield replace(found, findings=(*found.findings, *noted))


def check_files(place: str | Path, *, calendar: str | None = None) -> Iterator[Inspection]:
    """The inspection of each series in a file, or in all files of a folder, as it stands."""
    place = Path(place)
    root = place if place.is_dir() else None
    for path in bar_files(place):
        name = path.relative_to(place).as_posix() if root else path.name
        named = name_of(path, root)
        follows = calendar or ("24/7" if named.market == "crypto" else None)
        try:
            for found in read_loose(path):
                own = f"{name} {found.symbol}" if found.symbol else name
                yield inspect(found.frame, timeframe=named.timeframe, calendar=follows, name=own)
        except (NoPricesError, NoTableError) as error:
            if root is None:
                raise
            _log.info("%s: passed over, it holds no bars (%s)", name, error)
        except KronosError as error:
            yield _unreadable(name, error)


def _unreadable(name: str, error: KronosError) -> Inspection:
    """The inspection of what could not even be read: one series must not end the check of all."""
    finding = Finding("unreadable", "error", None, None, 0, str(error))
    return Inspection(name, None, "", 0, None, None, 0.0, (finding,), {}, Limits())


def calendar_for(entry: Entry) -> str | None:
    """The calendar that a series is known to follow; None where it has to be learned."""
    return entry.calendar or ("24/7" if entry.market == "crypto" else None)


def draw_report(lake: Lake | None, report: Report, folder: str | Path, most: int = 10) -> list[Path]:
    """Pictures of the report and, where they come from a lake, of its worst series; the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "report.png"]
    plot_report(report, written[0])
    keys = {str(entry.key): entry.key for entry in lake.entries()} if lake is not None else {}
    for rank, inspection in enumerate(report.worst(most), 1):
        key = keys.get(inspection.name)
        if key is not None and lake is not None:
            written.append(folder / f"{rank:02d}_{file_name(key.source)}_{key.filename}.png")
            plot_inspection(lake.read_raw(key), inspection, written[-1])
    return written


@dataclass(frozen=True)
class CleanedSeries:
    """What cleaning did with one series."""

    key: Key
    rows: int
    kept: int
    changed: int  # values and rows
    reasons: dict[str, int]
    pieces: int
    why: str
    """Why bars were left out, or the series could not be cleaned, in words."""
    failed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self.key), **{name: value for name, value in vars(self).items() if name != "key"}}


def clean_lake(
    lake: Lake,
    entries: Iterable[Entry],
    into: Lake | None,
    *,
    bad_ticks: BadTicks = "mend",
    cut: bool = True,
    least: int | None = None,
    changes: Path | None = None,
    replaces: bool = False,
    tell: Callable[[Key], None] = lambda key: None,
) -> list[CleanedSeries]:
    """Clean series into another lake (None writes nothing), replacing what an earlier run made of them.

    Series of that lake that came from elsewhere are not written over, unless it `replaces` them. One series that cannot
    be cleaned stops no other. `changes` is a CSV file for every single change: series, time, column, old and new value,
    reason.
    """
    if into is not None and into.same_as(lake):
        raise ConfigError(f"{lake.place}: clean series go into another lake; these stay as they are")
    earlier: dict[Key, list[Entry]] = {}
    for old in [] if into is None else into.entries():
        earlier.setdefault(replace(old.key, symbol=old.key.asset), []).append(old)
    done = []
    with ExitStack() as stack:
        table = stack.enter_context(replacing(changes)) if changes is not None else None
        for entry in entries:
            tell(entry.key)
            try:
                result, made, pieces = _clean(lake, entry, bad_ticks, cut, least)
                if into is not None:
                    _put(lake, entry, into, pieces, earlier.get(entry.key, ()), replaces)
            except KronosError as error:
                done.append(CleanedSeries(entry.key, entry.rows, 0, 0, {}, 0, str(error), failed=True))
                continue
            done.append(result)
            if table is not None:
                made.insert(0, "series", str(entry.key))
                made.to_csv(table, mode="a", header=not table.exists(), index=False)
    return done


def _clean(
    lake: Lake, entry: Entry, bad_ticks: BadTicks, cut: bool, least: int | None
) -> tuple[CleanedSeries, pd.DataFrame, list[pd.DataFrame]]:
    """What became of one series, the table of its changes, and its pieces."""
    key = entry.key
    limits = limits_for(key.timeframe)
    if least is not None:
        limits = replace(limits, rows=least)
    raw = lake.read_raw(key)
    cleaned = clean(raw, timeframe=key.timeframe, name=str(key), bad_ticks=bad_ticks)
    frame = cleaned.frame
    pieces, why = [frame], ""
    if cut:
        found = segments(frame, timeframe=key.timeframe, limits=limits, calendar=calendar_for(entry), name=str(key))
        pieces = [frame.iloc[one.start : one.stop] for one in found]
        ends = sorted({one.ends for one in found} - {"end"})
        why = ", ".join(ends) if pieces else f"no stretch of {limits.rows} bars"
    kept = sum(len(piece) for piece in pieces)
    counts = cleaned.counts()
    result = CleanedSeries(key, len(raw), kept, sum(counts.values()), counts, len(pieces), why)
    return result, cleaned.changes_frame(), pieces


def _put(
    lake: Lake, entry: Entry, into: Lake, pieces: Sequence[pd.DataFrame], earlier: Sequence[Entry], replaces: bool
) -> None:
    """Drop the pieces of an earlier run that are no longer there, then write the new ones."""
    key, place = entry.key, f"{lake.place} {entry.key}"
    names = [key.symbol] if len(pieces) == 1 else [f"{key.symbol}#{number}" for number in range(1, len(pieces) + 1)]
    for old in earlier:
        own = old.made_by("clean", place=place)
        if old.key.symbol in names and not own and not replaces:
            raise ConfigError(f"{into.place}: {old.key} is there and was not cleaned from {place}; pass --replace")
        if old.key.symbol not in names and own:  # first, so that a run that is killed leaves no bar twice
            into.drop(old.key)
    origin = Origin("clean", place, f"version {entry.version}")
    for name, piece in zip(names, pieces, strict=True):
        made = replace(key, symbol=name)
        into.write(made, piece, origin, market=entry.market, calendar=entry.calendar, replace=True)
