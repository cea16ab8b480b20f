"""Series of a lake handed out: as files, as packs, as pickles, as a Qlib folder; whole, or split into parts.

One series is in memory at a time (of pickles all are). A split, a pack and a Qlib folder appear whole or not at all, as
does every single file.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from kronos.bars import Timeframe, resample, zone_of_calendar
from kronos.data.keys import Key, file_name
from kronos.data.lake.commits import Origin
from kronos.data.lake.lake import Entry, Lake, Written
from kronos.data.pickles.pickles import write_pickles
from kronos.data.qlib import write_qlib
from kronos.data.sets.pack import pack
from kronos.data.sets.series import Series, Timeline
from kronos.data.sets.splits import Split
from kronos.errors import BarsError, ConfigError, SourceError
from kronos.writing import replacing, replacing_folder

FileFormat = Literal["parquet", "csv", "feather"]
FILE_FORMATS: tuple[str, ...] = get_args(FileFormat)
FORMATS = (*FILE_FORMATS, "pack", "pickle", "qlib")

Tell = Callable[[Key], None]


def timelines(lake: Lake, entries: Sequence[Entry]) -> list[Timeline]:
    """What planning a split needs of each series: its times."""
    return [
        Timeline.of_times(
            pd.DatetimeIndex(_unchanged(lake.read_raw(entry.key), entry).index),
            str(entry.key),
            market=entry.market or entry.key.source,
            symbol=entry.key.asset,
            timeframe=entry.key.timeframe,
        )
        for entry in entries
    ]


def export(
    lake: Lake, entries: Sequence[Entry], out: str | Path, form: str, *, tell: Tell = lambda key: None
) -> list[Path]:
    """Write series in one of `FORMATS` below the folder `out`; what was written."""
    out = Path(out)
    if form in FILE_FORMATS:
        return _export_files(lake, _named(entries, form), out, tell)
    if form == "pack":
        return [pack((_series(lake, entry, tell) for entry in entries), out)]
    if form == "qlib":
        return [_export_qlib(lake, entries, out, tell)]
    raise ConfigError(
        f"unknown format '{form}'; known are {', '.join(FORMATS)} (pickles hold splits: `kronos data split`)"
    )


def _export_files(lake: Lake, named: Sequence[tuple[Entry, str]], out: Path, tell: Tell) -> list[Path]:
    """A file each; those that cannot be written are told when all others have been."""
    written, failed = [], []
    for entry, name in named:
        try:
            written.append(_write_file(_read(lake, entry), out / name, tell, entry.key))
        except (BarsError, SourceError) as error:
            failed.append(str(error))
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise SourceError(f"{len(written)} series were written to {out}, {len(failed)} not: {failed[0]}{more}")
    return written


def export_split(
    lake: Lake,
    entries: Sequence[Entry],
    split: Split,
    out: str | Path,
    form: str,
    *,
    tell: Tell = lambda key: None,
) -> dict[str, Any]:
    """Write every part of a split into a folder of its own below `out`, and what is where into out/split.json."""
    out = Path(out)
    summary = {**split.summary(), "format": form, "lake": lake.place, "rows_of": _rows_of(entries, split)}
    with _whole_folder(out) as stage:
        for part in split.parts:
            rows = split.rows(part).tolist()
            inside = [(entry, first, stop) for entry, (first, stop) in zip(entries, rows, strict=True) if stop > first]
            if form == "pack":
                pack((_series(lake, entry, tell, first, stop) for entry, first, stop in inside), stage / part)
                continue
            names = {entry.key: name for entry, name in _named([entry for entry, _, _ in inside], form)}
            for entry, first, stop in inside:
                _write_file(_read(lake, entry).iloc[first:stop], stage / part / names[entry.key], tell, entry.key)
        (stage / "split.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False), encoding="utf-8")
    return summary


def export_pickles(
    lake: Lake, entries: Sequence[Entry], out: str | Path, *, ratios: Sequence[float], embargo: int, tell: Tell
) -> dict[str, Any]:
    """The three pickles and the summary of the guides; frames keep their own clock."""
    frames: dict[str, pd.DataFrame] = {}
    for entry in entries:
        tell(entry.key)
        name = entry.key.filename
        if name in frames:
            raise ConfigError(f"{entry.key}: another series is called {name} too; choose one with --source")
        frames[name] = _read(lake, entry)
    return write_pickles(frames, out, ratios=ratios, embargo=embargo)


def resample_series(
    lake: Lake,
    entry: Entry,
    timeframe: str,
    *,
    label: Literal["left", "right"] = "left",
    align: Literal["clock", "session"] = "clock",
    incomplete: Literal["keep", "drop"] = "drop",
    replace: bool = False,
) -> tuple[Key, Written]:
    """Longer bars out of a series, stored beside it; bars that came from elsewhere are not written over."""
    key = Key(entry.key.source, entry.key.symbol, timeframe)
    try:
        there = lake.entry(key)
    except SourceError:
        there = None
    if there is not None and not replace and not there.made_by("resample"):
        raise ConfigError(f"{key}: is there and was not resampled; pass --replace to write over it")
    source = _read(lake, entry)
    if align == "session":
        source = _on_exchange_clock(source, entry)
    frame = resample(source, timeframe, label=label, align=align, incomplete=incomplete)
    if incomplete == "drop" and len(frame) and _first_is_short(source, frame, label):
        frame = frame.iloc[1:]
    if frame.empty:
        raise BarsError(f"{entry.key}: {entry.rows} bars make no whole bar of {Timeframe.parse(timeframe)}")
    if entry.zone is not None:
        frame = frame.tz_convert(entry.zone)
    origin = Origin("resample", f"{lake.place} {entry.key}", f"label {label}, align {align}")
    written = lake.write(key, frame, origin, market=entry.market, calendar=entry.calendar, replace=True)
    return key, written


def _on_exchange_clock(frame: pd.DataFrame, entry: Entry) -> pd.DataFrame:
    """Bars in UTC on the clock of their exchange: sessions go by it, and it may be set forward and back."""
    if entry.zone != "UTC":
        return frame
    zone = None if entry.calendar is None else zone_of_calendar(entry.calendar)
    if zone is None:
        raise ConfigError(
            f"{entry.key}: where its sessions begin cannot be told from times in UTC; import the files again with "
            f"--calendar and the exchange (SSE, NYSE, ...), or without --align session"
        )
    return frame.tz_convert(zone)


def _first_is_short(source: pd.DataFrame, longer: pd.DataFrame, label: Literal["left", "right"]) -> bool:
    """True where the first longer bar holds clearly fewer bars than the others do."""
    if len(longer) < 2:
        return False
    edge = longer.index[1] if label == "left" else longer.index[0]
    held = int(source.index.searchsorted(edge, side="left" if label == "left" else "right"))
    return held < 0.75 * (len(source) - held) / (len(longer) - 1)


def _read(lake: Lake, entry: Entry) -> pd.DataFrame:
    """The canonical frame of the series that the entry speaks of."""
    return _unchanged(lake.read(entry.key), entry)


def _unchanged(frame: pd.DataFrame, entry: Entry) -> pd.DataFrame:
    """Refuse a series that was written to since its entry was read: a plan over it would cut other bars."""
    if len(frame) != entry.rows or frame.index[0] != entry.first or frame.index[-1] != entry.last:
        raise SourceError(f"{entry.key}: was written to in the meantime; run the command again")
    return frame


def _series(lake: Lake, entry: Entry, tell: Tell, first: int = 0, stop: int | None = None) -> Series:
    tell(entry.key)
    key = entry.key
    frame = _read(lake, entry).iloc[first:stop]
    market = entry.market or key.source
    return Series.of(frame, str(key), market=market, symbol=key.asset, timeframe=key.timeframe)


def _named(entries: Sequence[Entry], form: str) -> list[tuple[Entry, str]]:
    """A file name for every series: by market where it is known, by source where there are several."""
    several = len({entry.key.source for entry in entries}) > 1
    names: dict[str, Key] = {}
    found = []
    for entry in entries:
        folder = f"{file_name(entry.key.source)}/" * several
        folder += f"{file_name(entry.market)}/" if entry.market else ""
        name = f"{folder}{entry.key.filename}.{form}"
        if name.casefold() in names:
            raise ConfigError(f"{entry.key} and {names[name.casefold()]} would both be {name}; export them one by one")
        names[name.casefold()] = entry.key
        found.append((entry, name))
    return found


def _write_file(frame: pd.DataFrame, path: Path, tell: Tell, key: Key) -> Path:
    tell(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            frame.to_csv(temporary, date_format=None)
        elif path.suffix == ".feather":
            frame.reset_index().to_feather(temporary)
        else:
            frame.to_parquet(temporary, compression="zstd")
    return path


def _export_qlib(lake: Lake, entries: Sequence[Entry], out: Path, tell: Tell) -> Path:
    lengths = {entry.key.timeframe for entry in entries}
    if len(lengths) != 1:
        raise ConfigError(f"a Qlib folder holds one timeframe at a time; choose one of {', '.join(sorted(lengths))}")
    symbols = [entry.key.symbol for entry in entries]
    if len(set(symbols)) != len(symbols):
        raise ConfigError("a symbol comes from several sources; choose one with --source")

    write_qlib(out, _Frames(lake, entries, tell), freq=lengths.pop())
    return out


@dataclass(frozen=True)
class _Frames:
    """Frames by symbol, read anew each time they are gone through."""

    lake: Lake
    entries: Sequence[Entry]
    tell: Tell

    def __iter__(self) -> Iterator[tuple[str, pd.DataFrame]]:
        for entry in self.entries:
            self.tell(entry.key)
            yield entry.key.symbol, _read(self.lake, entry)


def _rows_of(entries: Sequence[Entry], split: Split) -> dict[str, Mapping[str, list[int]]]:
    """The rows [first, stop) of every series in every part."""
    return {
        str(entry.key): {part: list(map(int, split.rows(part)[i])) for part in split.parts}
        for i, entry in enumerate(entries)
    }


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block succeeds; `out` must be new or empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SourceError(f"{out}: is there and not empty; name a new folder, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(out) as stage:
        yield stage
