"""One series in a store: immutable parquet parts, and a log of numbered commits that name them.

    log/000000000003.json
    parts/20260102T030405-9f86d081884c.parquet

The newest commit is the whole truth. A writer puts new parts under names of their own and then creates the next commit,
which only one of several writers can. So a reader never sees half a write, and what a killed writer leaves is named by
nobody. This file knows how that is kept; how bars are merged is the lake's business.
"""

import io
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kronos.bars import COLUMNS, invalid
from kronos.data.lake.store import Store
from kronos.errors import SourceError

ATTEMPTS = 50
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LINEAGE = 200


@dataclass(frozen=True)
class Origin:
    """Where bars came from, kept with the part that holds them."""

    kind: str
    """ "fetch", "import", "resample", "clean", ... """
    place: str
    """A URL or a file."""
    detail: str = ""
    at: str = field(default_factory=lambda: _now().isoformat(timespec="seconds"))
    until: str = ""
    """The last time that the same came from the same place."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """What was found and done when the bars came in, counted: {"duplicate": 3}."""


@dataclass(frozen=True)
class Part:
    """One parquet file; times in nanoseconds."""

    file: str
    rows: int
    first: int
    last: int
    bytes: int
    sound: bool  # every bar is a valid candle with nothing missing
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class State:
    """A commit: the parts of a series, disjoint in time and in order, and what is known of it."""

    version: int = 0
    zone: str | None = None
    market: str = ""
    calendar: str | None = None
    parts: tuple[Part, ...] = ()
    lineage: tuple[str, ...] = ()  # the last commits' own tokens, newest first
    at: str = ""

    @classmethod
    def parse(cls, text: bytes, place: str) -> "State":
        """Read a commit's file; `place` names it in an error."""
        try:
            tree = json.loads(text)
            parts = tuple(
                Part(**{**part, "origins": tuple(Origin(**origin) for origin in part["origins"])})
                for part in tree["parts"]
            )
            state = cls(**{**tree, "parts": parts, "lineage": tuple(tree["lineage"])})
            state._check()
            return state
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise SourceError(f"{place}: the commit is damaged ({error}); restore it or remove the series") from error

    def _check(self) -> None:
        """Refuse what this package has not written, before it breaks something far away."""
        for part in self.parts:
            whole = [type(value) is int for value in (part.rows, part.first, part.last, part.bytes)]
            if not all(whole) or not -(2**63) < part.first <= part.last < 2**63 or part.file != part.file.strip("./"):
                raise ValueError(f"a part that cannot be: {part.file}")
        if type(self.version) is not int or not all(type(text) is str for text in (self.market, self.calendar or "")):
            raise ValueError("a version, market or calendar that cannot be")
        if self.zone is not None:
            pd.Timestamp(0, tz="UTC").tz_convert(self.zone)


@dataclass(frozen=True)
class Rows:
    """Bars as arrays: times (n,) int64 nanoseconds, values (n, 6)."""

    times: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        """How many bars."""
        return len(self.times)

    def __getitem__(self, which: Any) -> "Rows":
        """Some of them."""
        return Rows(self.times[which], self.values[which])

    @classmethod
    def joined(cls, pieces: "list[Rows]") -> "Rows":
        """End to end."""
        if not pieces:
            return cls(np.empty(0, dtype=np.int64), np.empty((0, len(COLUMNS))))
        if len(pieces) == 1:
            return pieces[0]
        return cls(np.concatenate([p.times for p in pieces]), np.concatenate([p.values for p in pieces]))


class SeriesLog:
    """The commits and parts below one folder of a store."""

    def __init__(self, store: Store, folder: str) -> None:
        """Of the series in this folder; it need not exist yet."""
        self.store, self.folder = store, folder

    def head(self) -> State:
        """The newest commit, an empty state where there is none."""
        for _ in range(ATTEMPTS):
            logs = [name for name in self.store.find(f"{self.folder}/log") if name.endswith(".json")]
            if not logs:
                return State()
            try:
                return State.parse(self.store.read([max(logs)])[0], self._full(max(logs)))
            except FileNotFoundError:  # swept up since the listing
                continue
        raise SourceError(f"{self._full('log')}: changes faster than it can be read; try again")

    def commit(self, before: State, after: State) -> bool:
        """Make `after` the commit that follows `before`; False where another writer was first."""
        token = secrets.token_hex(6)
        whole = replace(
            after, version=before.version + 1, lineage=(token, *before.lineage)[:LINEAGE], at=_now().isoformat()
        )
        content = json.dumps(asdict(whole)).encode()
        if not self.store.create(f"{self.folder}/log/{whole.version:012d}.json", content):
            old = {part.file for part in before.parts}
            self.store.delete(self._part(part.file) for part in after.parts if part.file not in old)
            return False
        # a writer that slept while old commits were swept up may have filled a hole behind the newest one
        return token in self.head().lineage

    def read(self, parts: Iterable[Part]) -> Rows:
        """The bars of parts; FileNotFoundError where one has been joined with others and swept up meanwhile."""
        parts = list(parts)
        names = [self._part(part.file) for part in parts]
        pieces = []
        for name, part, content in zip(names, parts, self.store.read(names), strict=True):
            rows = _parse_part(content, self._full(name))
            if len(rows) != part.rows:
                raise SourceError(f"{self._full(name)}: holds {len(rows)} bars, and the log says {part.rows}")
            pieces.append(rows)
        return Rows.joined(pieces)

    def put(self, rows: Rows, origins: tuple[Origin, ...]) -> Part:
        """Write a part that no commit names yet."""
        times = pa.array(rows.times, type=pa.timestamp("ns"))
        columns = [pa.array(np.ascontiguousarray(rows.values[:, i])) for i in range(len(COLUMNS))]
        sink = io.BytesIO()
        pq.write_table(pa.table([times, *columns], names=["time", *COLUMNS]), sink, compression="zstd")
        content = sink.getvalue()
        file = f"{_now():%Y%m%dT%H%M%S}-{secrets.token_hex(6)}.parquet"
        self.store.put(self._part(file), content)
        sound = not bool(invalid(rows.values).any())
        return Part(file, len(rows), int(rows.times[0]), int(rows.times[-1]), len(content), sound, origins)

    def sweep(self, grace: timedelta = DAY) -> int:
        """Remove old commits, and parts older than `grace` that no commit of the last hour names; how many files."""
        names = self.store.find(self.folder)
        logs = sorted(name for name in names if "/log/" in name)
        try:
            contents = self.store.read(logs)
        except FileNotFoundError:  # somebody else is sweeping
            return 0
        states = [State.parse(text, self._full(name)) for name, text in zip(logs, contents, strict=True)]
        now = _now()
        # replaced parts stay as long as somebody may still be reading by the commit that named them
        keep = [now - datetime.fromisoformat(state.at) < min(HOUR, grace) for state in states[:-1]] + [True]
        used = {part.file for state, kept in zip(states, keep, strict=True) if kept for part in state.parts}
        old = [name for name, kept in zip(logs, keep, strict=True) if not kept]
        for name in names:
            file = name.rpartition("/")[2]
            if "/parts/" in name and file not in used and now - _written_at(file) >= grace:
                old.append(name)
        self.store.delete(old)
        return len(old)

    def _part(self, file: str) -> str:
        return f"{self.folder}/parts/{file}"

    def _full(self, name: str) -> str:
        return f"{self.store.place}/{name}"


def merge_origins(origins: Iterable[Origin]) -> tuple[Origin, ...]:
    """One for each kind and place, from its first to its last time, with the notes of the last."""
    merged: dict[tuple[str, str, str], Origin] = {}
    for origin in origins:
        name = (origin.kind, origin.place, origin.detail)
        before = merged.setdefault(name, origin)
        newest = max(before, origin, key=lambda one: one.until or one.at)
        last, first = newest.until or newest.at, min(before.at, origin.at)
        merged[name] = replace(newest, at=first, until=last if last != first else "")
    return tuple(merged.values())


def _parse_part(content: bytes, place: str) -> Rows:
    try:
        table = pq.read_table(pa.BufferReader(content), use_threads=False)
        times = table["time"].to_numpy().view(np.int64)
        return Rows(times, np.column_stack([table[column].to_numpy() for column in COLUMNS]))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise SourceError(f"{place}: the part is damaged ({' '.join(str(error).split())})") from error


def _now() -> datetime:
    return datetime.now(UTC)


def _written_at(file: str) -> datetime:
    """The moment in a part's name; files of others count as new."""
    try:
        return datetime.strptime(file.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return _now()
