"""Bars into a folder that Qlib reads, written without Qlib: as a whole, or further bars to one that is there.

A new folder is made beside its place and then renamed. Bars are appended in an order that leaves a folder to read at
every moment: the note and the calendar first (features may be shorter than a calendar), then each symbol's features,
every file whole and the close last (without a close there is no bar), then the instrument lists. An append that was
killed is mended by the same append once more; a replacement that was killed between its two renames leaves the old
folder beside its place, as .NAME.*.old. One writer at a time: a calendar has one end.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from kronos.bars import Timeframe
from kronos.data.qlib.encode import Bars, Factor, Ints, bars_of, walls_of, zone_of
from kronos.data.qlib.files import (
    SLOTS,
    Ranges,
    calendar_text,
    instruments_text,
    read_calendar,
    read_instruments,
)
from kronos.data.qlib.names import (
    NOTE,
    Note,
    code_of_folder,
    folder_of,
    list_name,
    market_of,
    qlib_code,
    qlib_frequency,
)
from kronos.data.qlib.stored import StoredSymbol
from kronos.errors import BarsError, ConfigError, SourceError
from kronos.writing import replacing, replacing_folder

Frames = Mapping[str, pd.DataFrame] | Iterable[tuple[str, pd.DataFrame]]
Span = tuple[str | pd.Timestamp, str | pd.Timestamp]
Times = pd.DatetimeIndex | list[str] | list[pd.Timestamp]
Lists = Mapping[str, Mapping[str, Sequence[Span]] | Iterable[str]]


@dataclass(frozen=True)
class QlibWritten:
    """What a write did."""

    symbols: int
    """Symbols given that have a bar."""
    added: int
    """Bars written."""
    kept: int
    """Bars given that are no later than the last stored one of their symbol: what is stored was kept."""
    slots: int
    """Times in the calendar now."""


def write_qlib(
    folder: str | Path,
    series: Frames,
    *,
    freq: str | Timeframe = "day",
    instruments: str = "all",
    lists: Lists | None = None,
    factor: Factor = None,
    adjusted: bool = False,
    calendar: Times | None = None,
    append: bool = False,
    replace: bool = False,
) -> QlibWritten:
    """Write frames of COLUMNS by symbol as a Qlib folder, or `append` later bars and further symbols to one.

    `series` is gone through twice, one frame at a time: first for the calendar (the union of all times unless one is
    given), then for the features. Prices are original ones that are multiplied by `factor`, unless `adjusted` says that
    they have been; the factor is a column, or by symbol a number or a Series of steps, and where it is unknown the last
    one stored, or 1. `instruments` names the list of all symbols; `lists` are further ones, of symbols or of symbols
    with spans of days. Rows without a close are no bars. Units are left as they are: give shares and the currency.

    What is stored is never changed by `append`: of each symbol the bars after its last stored one are added, and the
    files of features that are not written here stay as long as they were. `replace` puts a new folder in the old one's
    place.
    """
    place = Path(folder).expanduser().resolve()
    if append and replace:
        raise ConfigError("append adds to a folder and replace writes it anew; choose one")
    job = _Job(series, Timeframe.parse(freq), list_name(instruments), lists or {}, factor, adjusted)
    try:
        if append and (place / "calendars").is_dir():
            return job.write(place, calendar)
        _refuse_what_is_there(place, replaced=replace)
        with replacing_folder(place) as temporary:
            return job.write(temporary, calendar)
    except OSError as error:
        raise SourceError(f"{place}: cannot be written ({error})") from error


class _Survey(NamedTuple):
    """What the first pass over the series found."""

    note: Note
    calendar: pd.DatetimeIndex
    codes: set[str]


@dataclass(frozen=True)
class _Job:
    """One call of `write_qlib`."""

    series: Frames
    timeframe: Timeframe
    instruments: str
    lists: Lists
    factor: Factor
    adjusted: bool

    def write(self, root: Path, calendar: Times | None) -> QlibWritten:
        """Into a folder that is a Qlib folder already, or is empty."""
        lists, places = self._checked_lists(), _places(root)
        path, everybody = root / "calendars" / f"{self.frequency}.txt", root / "instruments" / f"{self.instruments}.txt"
        old = read_calendar(path) if path.is_file() else pd.DatetimeIndex([])
        whole = read_instruments(everybody) if everybody.is_file() else {}
        survey = self._survey(Note.read(root) if places else Note(), places.keys(), old, calendar)
        for name, members in lists.items():
            for code in members.keys() - survey.codes - whole.keys():
                if not members[code]:
                    raise ConfigError(f"lists: {name} names {code} without days, and no series shows them")
        for part in ("calendars", "instruments", "features"):
            (root / part).mkdir(exist_ok=True)
        _put(root / NOTE, survey.note.text())
        self._put_calendar(path, survey.calendar)
        added = kept = 0
        for code, done in self._put_features(root / "features", places, survey.calendar):
            added, kept = added + done.added, kept + done.kept
            spans = whole.setdefault(code, [(done.first, done.last)])
            spans[0] = min(done.first, spans[0][0]), spans[0][1]
            spans[-1] = spans[-1][0], max(done.last, spans[-1][1])
        _put(everybody, instruments_text(whole))
        for name, members in lists.items():
            text = instruments_text({code: spans or whole[code] for code, spans in members.items()})
            _put(root / "instruments" / f"{name}.txt", text)
        return QlibWritten(len(survey.codes), added, kept, len(survey.calendar))

    @property
    def frequency(self) -> str:
        """As file names have it."""
        return qlib_frequency(self.timeframe)

    # --- before anything is written ---------------------------------------------------------------------------------

    def _items(self) -> Iterator[tuple[str, pd.DataFrame]]:
        return iter(self.series.items() if isinstance(self.series, Mapping) else self.series)

    def _bars(self, symbol: str, frame: pd.DataFrame) -> Bars:
        return bars_of(frame, symbol, intraday=self.timeframe.intraday, factor=self.factor)

    def _survey(self, note: Note, there: Collection[str], old: pd.DatetimeIndex, calendar: Times | None) -> _Survey:
        """Names, zone and times of all series; whatever would stop the writing half-way is refused here."""
        if iter(self.series) is self.series:
            raise ConfigError("series is read twice: pass a mapping, a list or another that starts anew, no generator")
        slots, codes = _Slots(old, self._given(calendar)), dict[str, str]()
        symbols, zone, free = dict(note.symbols), note.zone, not there
        for symbol, frame in self._items():
            bars, code = self._bars(symbol, frame), qlib_code(symbol)
            if not len(bars.walls):
                continue
            owner = codes.get(code) or symbols.get(code) or (code if code in there and note.ours else symbol)
            if code in codes or (owner != symbol and not market_of(code)):
                raise ConfigError(f"{symbol} and {owner} would share the code {code}; rename one of them")
            own = zone_of(frame, symbol)
            if note.ours and not free and own != zone:
                clocks = f"its clock is {own or 'without a zone'}, that of the folder {zone or 'without a zone'}"
                raise BarsError(f"{symbol}: {clocks}; tz_convert or tz_localize the times")
            zone, free, codes[code] = own if free else zone, False, symbol
            if symbol != code and code not in there:
                symbols[code] = symbol
            slots.add(bars.walls, symbol)
        if not codes:
            raise BarsError("there is nothing to write: no series has a bar")
        return _Survey(Note(symbols, zone, note.ours), slots.calendar(), set(codes))

    def _given(self, calendar: Times | None) -> Ints | None:
        if calendar is None:
            return None
        try:
            times = pd.DatetimeIndex(calendar)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"calendar cannot be read as times ({error})") from error
        return np.unique(walls_of(times, intraday=self.timeframe.intraday))

    def _checked_lists(self) -> dict[str, dict[str, Ranges]]:
        """The further lists by code, without spans where none were given."""
        found: dict[str, dict[str, Ranges]] = {}
        for name, members in self.lists.items():
            plain = list_name(name)
            if plain == self.instruments or plain in found:
                raise ConfigError(f"lists: {name!r} is the name of another list already")
            spans = members.items() if isinstance(members, Mapping) else ((symbol, ()) for symbol in members)
            found[plain] = {qlib_code(symbol): _spans(some, f"lists: {name}: {symbol}") for symbol, some in spans}
            if not found[plain]:
                raise ConfigError(f"lists: {name!r} names no symbol, and Qlib cannot read an empty list")
        return found

    # --- writing ----------------------------------------------------------------------------------------------------

    def _put_calendar(self, path: Path, calendar: pd.DatetimeIndex) -> None:
        _put(path, calendar_text(calendar, intraday=self.timeframe.intraday))
        future = path.with_name(f"{path.stem}_future.txt")
        if future.is_file():
            ahead = read_calendar(future)
            whole = pd.DatetimeIndex([*calendar, *ahead[ahead > calendar[-1]]])
            _put(future, calendar_text(whole, intraday=self.timeframe.intraday))

    def _put_features(
        self, features: Path, places: Mapping[str, str], calendar: pd.DatetimeIndex
    ) -> Iterator[tuple[str, "_Done"]]:
        """Write symbol after symbol; the code of each and what was done."""
        walls = calendar.asi8
        for symbol, frame in self._items():
            bars = self._bars(symbol, frame)
            if not len(bars.walls):
                continue
            slots = np.searchsorted(walls, bars.walls)
            if (walls[np.minimum(slots, len(walls) - 1)] != bars.walls).any():
                raise BarsError(f"{symbol}: the series changed while it was written; write again")
            code = qlib_code(symbol)
            stored = StoredSymbol(features / places.get(code, folder_of(code)), self.frequency, len(walls))
            added = stored.put(bars, slots, symbol, adjusted=self.adjusted)
            first, last = stored.ends(slots)
            yield code, _Done(calendar[first], calendar[last], added, len(slots) - added)


class _Done(NamedTuple):
    """The first and the last bar of a symbol as it is stored now, the bars added to it and those kept."""

    first: pd.Timestamp
    last: pd.Timestamp
    added: int
    kept: int


class _Slots:
    """The times of the calendar to be: the old ones, then new ones behind their end."""

    def __init__(self, old: pd.DatetimeIndex, given: Ints | None) -> None:
        self._times = old.as_unit("ns").asi8
        self._end = self._times[-1] if len(old) else np.iinfo(np.int64).min
        self._open = True
        if given is not None:
            self.add(given, "calendar")
            self._open = False

    def add(self, walls: Ints, name: str) -> None:
        """Take up the times of a series, or say why they cannot be."""
        place = np.searchsorted(self._times, walls)
        new = walls[np.r_[self._times, np.iinfo(np.int64).min][place] != walls]
        if not len(new):
            return
        first = pd.Timestamp(int(new[0]))
        if new[0] < self._end:
            raise BarsError(
                f"{name}: {first} lies before the end of the folder's calendar and is not in it; features count its "
                "slots, so drop the bar or write the folder anew"
            )
        if not self._open:
            raise BarsError(f"{name}: {first} is not in the calendar given; drop the bar or add the time")
        self._times = np.union1d(self._times, new)

    def calendar(self) -> pd.DatetimeIndex:
        """All times."""
        if len(self._times) > SLOTS:
            raise BarsError(f"the calendar has {len(self._times)} slots, and Qlib's float32 counts to {SLOTS}")
        return pd.DatetimeIndex(self._times.view("M8[ns]"))


def _spans(spans: Iterable[Span], name: str) -> Ranges:
    try:
        found = sorted((pd.Timestamp(first), pd.Timestamp(last)) for first, last in spans)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: expected pairs of a first and a last day ({error})") from error
    for first, last in found:
        if not first <= last or first.tz is not None:
            raise ConfigError(f"{name}: {first} to {last} is no span of days on the folder's clock")
    return found


def _places(root: Path) -> dict[str, str]:
    """Code -> the name of the folder that holds its features."""
    place = root / "features"
    names = sorted(one.name for one in place.iterdir() if one.is_dir()) if place.is_dir() else []
    return {code_of_folder(name): name for name in names}


def _put(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())


def _refuse_what_is_there(place: Path, *, replaced: bool) -> None:
    if not place.parent.is_dir():
        raise SourceError(f"{place.parent}: no such folder")
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    if not all((place / part).is_dir() for part in ("calendars", "features")):
        raise SourceError(f"{place}: is there and no Qlib folder; choose another place")
    if not replaced:
        raise SourceError(f"{place}: is there; append=True adds later bars to it, replace=True writes it anew")
