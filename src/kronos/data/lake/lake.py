"""The lake: many series of bars at rest, local or at any URL that fsspec knows.

    kronos-lake.json
    source=binance/symbol=BTC%2FUSDT/timeframe=1h/log/...  parts/...      (see `commits`)

Appending writes nothing but the new bars; where bars come for a time that is stored already, only the parts they fall
into are written anew. Several writers may write one series at once. Times are stored in UTC, or as they stand where a
series has no zone. The lake does not judge bars: it keeps what it was given, unknown volumes included.
"""

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from kronos.bars import COLUMNS, canonical
from kronos.data.keys import Key
from kronos.data.lake.commits import ATTEMPTS, Origin, Part, Rows, SeriesLog, State, merge_origins
from kronos.data.lake.store import LocalStore, Store, open_store
from kronos.errors import BarsError, ConfigError, SourceError

Conflict = Literal["keep", "replace", "refuse"]
Moment = pd.Timestamp | str | None

MARKER = "kronos-lake.json"
FORMAT = 1
PART_ROWS = 1 << 18  # a part holds at most so many bars: 8 to 12 MB
SMALL_ROWS = 8192  # parts below this are joined once MANY of them have gathered at the end
MANY = 16
SWEEP_EVERY = 16  # commits


@dataclass(frozen=True)
class Entry:
    """What the lake knows of a series without reading its bars."""

    key: Key
    market: str
    zone: str | None  # None: the times have no zone
    calendar: str | None
    rows: int
    first: pd.Timestamp
    last: pd.Timestamp
    bytes: int
    parts: int
    version: int
    notes: Mapping[str, int]  # of all origins, added up
    origins: tuple[Origin, ...]

    def made_by(self, *kinds: str, place: str | None = None) -> bool:
        """True where every bar came in one of these ways (and from this place), so that it can be made again."""
        return all(origin.kind in kinds and place in (None, origin.place) for origin in self.origins)


@dataclass(frozen=True)
class Written:
    """What a write did."""

    added: int
    same: int  # already there, equal
    revised: int  # already there with other values, replaced
    kept: int  # already there with other values, left as they were
    rows: int  # in the series now


class Lake:
    """A place that holds series of bars; open one with `Lake.open`."""

    def __init__(self, store: Store, identity: str) -> None:
        """Over a store that has been found to be a lake."""
        self._store, self._identity = store, identity

    def same_as(self, other: "Lake") -> bool:
        """True for one lake by two names."""
        return self.place == other.place or bool(self._identity and self._identity == other._identity)

    @classmethod
    def open(cls, place: str | Path, *, create: bool = False, **storage: Any) -> "Lake":
        """The lake at a folder or fsspec URL; `create` makes an empty one where there is nothing."""
        store = open_store(place, **storage)
        if isinstance(store, LocalStore) and store.folder.exists() and not store.folder.is_dir():
            raise SourceError(f"{store.place}: this is a file; a lake is a folder")
        marker = _read_marker(store)
        around = _lake_around(store.folder) if isinstance(store, LocalStore) and marker is None else None
        if around is not None and create:
            raise SourceError(f"{store.place}: lies inside the lake {around}; a lake must not hold another")
        if marker is None and not create:
            raise SourceError(f"{store.place}: there is no lake here; `kronos data import` or `fetch` makes one")
        if marker is None and not store.empty():
            raise SourceError(f"{store.place}: holds other files and no lake; name an empty or a new folder")
        if marker is None:
            store.create(MARKER, json.dumps({"format": FORMAT, "id": secrets.token_hex(8)}).encode())
            marker = _read_marker(store) or {}
        if marker.get("format") != FORMAT:
            raise SourceError(
                f"{store.place}: a lake of format {marker.get('format')!r}; this version reads format {FORMAT}"
            )
        return cls(store, str(marker.get("id", "")))

    @staticmethod
    def is_lake(place: str | Path, **storage: Any) -> bool:
        """True where a lake is."""
        return _read_marker(open_store(place, **storage)) is not None

    @property
    def place(self) -> str:
        """The folder or URL."""
        return self._store.place

    # --- looking ----------------------------------------------------------------------------------------------------

    def entries(
        self, source: str | None = None, symbol: str | None = None, timeframe: str | None = None
    ) -> list[Entry]:
        """What is there, sorted by key; the arguments choose. One listing, and one small file a series."""
        wanted = None if timeframe is None else Key("any", "any", timeframe).timeframe
        newest: dict[Key, str] = {}
        for name in self._store.find():
            folder, log, file = name.rpartition("/log/")
            if log and file.endswith(".json") and (key := _key_of(folder)) is not None:
                newest[key] = max(newest.get(key, ""), name)
        chosen = sorted(
            key
            for key in newest
            if source in (None, key.source) and symbol in (None, key.symbol) and wanted in (None, key.timeframe)
        )
        try:
            contents = self._store.read([newest[key] for key in chosen])
            states = [
                State.parse(text, f"{self.place}/{newest[key]}") for key, text in zip(chosen, contents, strict=True)
            ]
        except FileNotFoundError:  # swept up by a writer between the listing and the reading
            states = [self._log(key).head() for key in chosen]
        return [_entry(key, state) for key, state in zip(chosen, states, strict=True) if state.parts]

    def entry(self, key: Key) -> Entry:
        """What is known of one series."""
        return _entry(key, self._existing(key))

    def last(self, key: Key) -> pd.Timestamp | None:
        """The time of the last bar, None where the series is not there."""
        state = self._log(key).head()
        return _stamp(state.parts[-1].last, state.zone) if state.parts else None

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(self, key: Key, start: Moment = None, end: Moment = None) -> pd.DataFrame:
        """The canonical frame of the bars in [start, end); unknown volumes are completed, bad candles refused."""
        state, rows, sound = self._rows(key, start, end)
        frame = _frame(rows, state.zone)
        if sound or not len(frame):
            return frame
        try:
            return canonical(frame, volume_rule="fill", name=f"{self.place}: {key}", min_rows=1)
        except BarsError as error:
            raise BarsError(f"{error}; `kronos data check` lists such bars, `kronos data clean` mends them") from error

    def read_raw(self, key: Key, start: Moment = None, end: Moment = None) -> pd.DataFrame:
        """The bars in [start, end) as they were stored, NaN where a value is unknown, candles unchecked."""
        state, rows, _ = self._rows(key, start, end)
        return _frame(rows, state.zone)

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(
        self,
        key: Key,
        frame: pd.DataFrame,
        origin: Origin,
        *,
        market: str = "",
        calendar: str | None = None,
        conflict: Conflict = "keep",
        replace: bool = False,
    ) -> Written:
        """Merge bars into a series by time, or `replace` it whole; what it did.

        `conflict` says what becomes of a stored bar that comes again with other values: it is kept, replaced, or the
        write is refused.
        """
        rows, zone = _incoming(frame, str(key))
        log = self._log(key)
        for _ in range(ATTEMPTS):
            before = log.head()
            fresh = replace or not before.parts
            if not fresh and (zone is None) != (before.zone is None):
                has, lacks = ("stored", "new") if before.zone else ("new", "stored")
                raise BarsError(
                    f"{key}: the {has} bars have a time zone and the {lacks} ones have none; make them alike"
                )
            merge = _Merge(log, State(zone=zone) if fresh else before, origin, str(key))
            try:
                done = merge.add(rows, conflict)
            except FileNotFoundError:  # another writer joined parts meanwhile, and they were swept up
                continue
            after = merge.state(market, calendar)
            unchanged = (after.parts, after.market, after.calendar) == (before.parts, before.market, before.calendar)
            if unchanged or log.commit(before, after):
                if not unchanged and (before.version + 1) % SWEEP_EVERY == 0:
                    log.sweep()
                return done
        raise SourceError(f"{self.place}: {key}: {ATTEMPTS} times another writer was first; try again")

    def drop(self, key: Key) -> None:
        """Forget a series; a commit without parts tells writers at work, and takes effect at once."""
        log, state = self._log(key), self._existing(key)
        while not log.commit(state, State()):
            state = log.head()
        names = self._store.find(f"{key.path}/parts")
        self._store.delete(name for name in names if any(name.endswith(part.file) for part in state.parts))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _log(self, key: Key) -> SeriesLog:
        return SeriesLog(self._store, key.path)

    def _existing(self, key: Key) -> State:
        state = self._log(key).head()
        if not state.parts:
            raise SourceError(f"{self.place}: no series {key}; `kronos data list` shows what is there")
        return state

    def _rows(self, key: Key, start: Moment, end: Moment) -> tuple[State, Rows, bool]:
        """The state, the bars in [start, end), and whether all of them are sound."""
        log = self._log(key)
        for _ in range(ATTEMPTS):
            state = self._existing(key)
            low, high = _moment(start, state.zone), _moment(end, state.zone)
            parts = [
                part
                for part in state.parts
                if (low is None or part.last >= low) and (high is None or part.first < high)
            ]
            try:
                rows = log.read(parts)
            except FileNotFoundError:  # joined with others and swept up since the commit was read
                continue
            first = 0 if low is None else int(np.searchsorted(rows.times, low))
            stop = len(rows) if high is None else int(np.searchsorted(rows.times, high))
            return state, rows[first:stop], all(part.sound for part in parts)
        raise SourceError(f"{self.place}: {key}: parts are missing; restore them, or fetch the series anew")


class _Merge:
    """One attempt to add bars to a state: which parts stay, and which are put anew."""

    def __init__(self, log: SeriesLog, base: State, origin: Origin, name: str) -> None:
        self.log, self.base, self.origin, self.name = log, base, origin, name
        self.parts = list(base.parts)

    def add(self, rows: Rows, conflict: Conflict) -> Written:
        """Put what is new; bars that are there already cost a look at the parts they fall into."""
        stored = self.log.read(self._touching(rows))
        place = np.minimum(np.searchsorted(stored.times, rows.times), max(len(stored) - 1, 0))
        known = stored.times[place] == rows.times if len(stored) else np.zeros(len(rows), dtype=bool)
        old, new = stored.values[place[known]], rows.values[known]
        other = np.zeros(len(rows), dtype=bool)
        other[known] = ~((old == new) | (np.isnan(old) & np.isnan(new))).all(axis=1)
        differ = int(other.sum())
        if differ and conflict == "refuse":
            when = _stamp(int(rows.times[other.argmax()]), self.base.zone)
            raise BarsError(f"{self.name}: {differ} bars are stored with other values, the first at {when}")
        fresh = rows[~known | other] if conflict == "replace" else rows[~known]
        if len(fresh):
            self._insert(fresh)
        revised = differ if conflict == "replace" else 0
        total = sum(part.rows for part in self.parts)
        return Written(int((~known).sum()), int(known.sum()) - differ, revised, differ - revised, total)

    def state(self, market: str, calendar: str | None) -> State:
        """What is to be committed."""
        return replace(
            self.base,
            parts=tuple(self.parts),
            market=market or self.base.market,
            calendar=calendar or self.base.calendar,
        )

    def _touching(self, rows: Rows) -> list[Part]:
        first, last = int(rows.times[0]), int(rows.times[-1])
        return [part for part in self.parts if part.first <= last and part.last >= first]

    def _insert(self, fresh: Rows) -> None:
        """New parts for `fresh`; only a part whose span some of it falls into is written anew."""
        firsts = np.array([part.first for part in self.parts], dtype=np.int64)
        lasts = np.array([part.last for part in self.parts], dtype=np.int64)
        before = np.searchsorted(firsts, fresh.times, side="right") - 1
        inside = np.zeros(len(fresh), dtype=bool)
        inside[before >= 0] = fresh.times[before >= 0] <= lasts[before[before >= 0]]
        group = 2 * before + inside  # the part itself, or the room behind it
        parts = self.parts
        for first, stop in _runs(group):
            part = [parts[before[first]]] if inside[first] else []
            some, stored = fresh[first:stop], self.log.read(part)
            whole = Rows.joined([stored[~np.isin(stored.times, some.times)], some])
            self._exchange(part, whole[np.argsort(whole.times, kind="stable")], (self.origin,))
        small = 0
        while small < len(self.parts) and self.parts[-1 - small].rows < SMALL_ROWS:
            small += 1
        if small > MANY:
            tail = self.parts[-small:]
            self._exchange(tail, self.log.read(tail), ())

    def _exchange(self, gone: list[Part], rows: Rows, more: tuple[Origin, ...]) -> None:
        """Parts of at most PART_ROWS for `rows` in the place of those that are `gone`."""
        origins = merge_origins([*(origin for part in gone for origin in part.origins), *more])
        made = [self.log.put(rows[at : at + PART_ROWS], origins) for at in range(0, len(rows), PART_ROWS)]
        kept = [part for part in self.parts if part not in gone]
        self.parts = sorted(kept + made, key=lambda part: part.first)


def _runs(group: Any) -> list[tuple[int, int]]:
    """The stretches [first, stop) of equal numbers."""
    edges = np.flatnonzero(np.diff(group)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(group)], strict=True))


def _key_of(folder: str) -> Key | None:
    """The key of a series' folder; None for a folder of somebody else's."""
    try:
        return Key.of_path(folder)
    except ConfigError:
        return None


def _lake_around(folder: Path) -> Path | None:
    return next((parent for parent in folder.parents if (parent / MARKER).is_file()), None)


def _read_marker(store: Store) -> dict[str, Any] | None:
    try:
        content = store.read([MARKER])[0]
    except FileNotFoundError:
        return None
    try:
        marker = json.loads(content)
        return {"format": marker["format"], **marker}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"{store.place}/{MARKER}: is damaged; it should hold {json.dumps({'format': 1})}") from error


def _incoming(frame: pd.DataFrame, name: str) -> tuple[Rows, str | None]:
    """A frame's bars as arrays and the name of its zone; what cannot be kept in order is refused."""
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex) or not set(COLUMNS) <= set(frame.columns):
        raise BarsError(f"{name}: expected the columns {', '.join(COLUMNS)} over a DatetimeIndex")
    if not len(frame):
        raise BarsError(f"{name}: there are no bars to write")
    times = np.asarray(index.as_unit("ns").asi8, dtype=np.int64)
    if index.hasnans or bool((np.diff(times) <= 0).any()):
        raise BarsError(f"{name}: the times of bars to write must increase, none missing and none twice")
    values = np.ascontiguousarray(frame.loc[:, list(COLUMNS)].to_numpy(dtype=np.float64))
    return Rows(times, values), None if index.tz is None else _zone_name(index, name)


def _zone_name(index: pd.DatetimeIndex, name: str) -> str:
    """A name of the index's zone that reads back as the same zone."""
    assert index.tz is not None
    fixed = index.tz.utcoffset(None)
    text = str(index.tz)
    if fixed is not None:
        minutes = int(fixed.total_seconds() // 60)
        text = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}" if minutes else "UTC"
    ends = index[[0, -1]].tz_convert("UTC")
    try:
        if (ends.tz_convert(text).tz_localize(None) == index[[0, -1]].tz_localize(None)).all():
            return text
    except (KeyError, ValueError, TypeError, OSError):
        pass
    raise BarsError(f"{name}: the time zone {text} has no name that can be kept; convert the times to UTC first")


def _frame(rows: Rows, zone: str | None) -> pd.DataFrame:
    index = pd.DatetimeIndex(rows.times.view("datetime64[ns]"), name="timestamp")
    if zone is not None:
        index = index.tz_localize("UTC").tz_convert(zone)
    return pd.DataFrame(rows.values, index=index, columns=list(COLUMNS), copy=False)


def _stamp(nanoseconds: int, zone: str | None) -> pd.Timestamp:
    return pd.Timestamp(nanoseconds, unit="ns", tz="UTC").tz_convert(zone) if zone else pd.Timestamp(nanoseconds)


def _moment(moment: Moment, zone: str | None) -> int | None:
    """A bound in stored nanoseconds; a naive one is on the series' own clock, a series without a zone is in UTC."""
    if moment is None:
        return None
    try:
        stamp = pd.Timestamp(moment)
        if stamp.tzinfo is None:
            stamp = stamp.tz_localize(zone or "UTC", ambiguous=True, nonexistent="shift_forward")
        return int(stamp.tz_convert("UTC").as_unit("ns").value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"{moment!r} is no time; write it like 2024-01-05 or 2024-01-05 09:30") from error


def _entry(key: Key, state: State) -> Entry:
    parts = state.parts
    origins = merge_origins([origin for part in parts for origin in part.origins])
    notes: Counter[str] = Counter()
    for origin in origins:
        notes.update(origin.notes)
    return Entry(
        key=key,
        market=state.market,
        zone=state.zone,
        calendar=state.calendar,
        rows=sum(part.rows for part in parts),
        first=_stamp(parts[0].first, state.zone),
        last=_stamp(parts[-1].last, state.zone),
        bytes=sum(part.bytes for part in parts),
        parts=len(parts),
        version=state.version,
        notes=dict(notes),
        origins=origins,
    )
