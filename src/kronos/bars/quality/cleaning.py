"""Mending a series: from a loose frame to a canonical one, with a record of every change; and cutting it into segments.

Nothing is invented: a price that is missing is dropped with its bar, bars that are missing stay missing, and what
replaces a bad tick are prices that stand beside it. Cleaning what is clean changes nothing.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import pandas as pd

from kronos.bars.candles import CLOSE, COLUMNS, HIGH, LOW, OPEN, VOLUME, Array
from kronos.bars.frame import canonical
from kronos.bars.quality.checks_prices import long_runs, steps_between, still
from kronos.bars.quality.checks_rows import raw_values
from kronos.bars.quality.gaps import find_gaps
from kronos.bars.quality.limits import Limits, limits_for
from kronos.bars.quality.ticks import bad_ticks, mended
from kronos.bars.timeframe import Ints, Timeframe, infer_timeframe, wall_clock
from kronos.errors import BarsError, ConfigError

BadTicks = Literal["mend", "keep", "drop"]


class Change(NamedTuple):
    """One value that is not what it was."""

    time: pd.Timestamp
    """Of the bar; missing where the change is about the whole column or a row without a time."""
    column: str
    """A column, "row" for a bar that was dropped (the values are its close), "order" for rows that were moved."""
    old: float
    new: float
    reason: str


@dataclass(frozen=True, eq=False)
class _Batch:
    """Changes of one column for one reason."""

    times: pd.DatetimeIndex
    column: str
    old: Array
    new: Array
    reason: str

    def __iter__(self) -> Iterator[Change]:
        for time, old, new in zip(self.times, self.old.tolist(), self.new.tolist(), strict=True):
            yield Change(time, self.column, old, new, self.reason)

    def at(self, row: int) -> Change:
        return Change(self.times[row], self.column, float(self.old[row]), float(self.new[row]), self.reason)


class Changes(Sequence[Change]):
    """The record of a cleaning in the order of its steps, kept as arrays: each `Change` is made when it is asked for.

    It equals every sequence of the same changes.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, batches: Iterable[_Batch] = ()) -> None:
        self._batches = tuple(batches)
        self._ends = [*accumulate(len(batch.old) for batch in self._batches)]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Change]:
        for batch in self._batches:
            yield from batch

    @overload
    def __getitem__(self, place: int) -> Change: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Change, ...]: ...
    def __getitem__(self, place: int | slice) -> Change | tuple[Change, ...]:
        if isinstance(place, slice):
            return tuple(self[row] for row in range(len(self))[place])
        row = range(len(self))[place]
        which = bisect_right(self._ends, row)
        return self._batches[which].at(row - (self._ends[which - 1] if which else 0))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(own == its for own, its in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"Changes({len(self):,}: {self.counts()})"

    def table(self) -> pd.DataFrame:
        """A row for each change."""
        if not len(self):
            return pd.DataFrame(columns=list(Change._fields)).astype({"old": np.float64, "new": np.float64})
        batches = self._batches
        sizes = [len(batch.old) for batch in batches]
        times = batches[0].times.append([batch.times for batch in batches[1:]])
        texts = [[getattr(batch, name) for batch in batches] for name in ("column", "reason")]
        column, reason = (np.repeat(np.array(text, dtype=object), sizes) for text in texts)
        old, new = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("old", "new"))
        return pd.DataFrame({"time": times, "column": column, "old": old, "new": new, "reason": reason})

    def counts(self) -> dict[str, int]:
        """How many there are for each reason."""
        counts: dict[str, int] = {}
        for batch in self._batches:
            counts[batch.reason] = counts.get(batch.reason, 0) + len(batch.old)
        return counts


@dataclass(frozen=True, eq=False)
class Cleaned:
    """A canonical frame and everything that was changed on the way to it."""

    frame: pd.DataFrame
    changes: Changes

    def changes_frame(self) -> pd.DataFrame:
        """The changes as a table, in the order they were made."""
        return self.changes.table()

    def counts(self) -> dict[str, int]:
        """How many changes there were for each reason."""
        return self.changes.counts()


def clean(
    frame: pd.DataFrame,
    *,
    timeframe: Timeframe | str | None = None,
    name: str = "bars",
    limits: Limits | None = None,
    bad_ticks: BadTicks = "mend",
) -> Cleaned:
    """The canonical frame of a loose one (`frame.loose`), in these steps, each recorded.

    1. Rows without a time, or with a price that is missing, infinite or not positive, are dropped.
    2. Rows are sorted by time; of several with one time the last in the frame is kept.
    3. A high below the low is exchanged with it where neither fits the body; both are widened to hold open and close.
    4. Volume and amount that are missing, infinite or negative are computed from each other, and zero where both are.
    5. Bad ticks are mended (see `ticks.mended`), kept, or dropped with their bars; a bar that is bad again after it
       was mended is dropped.
    """
    if bad_ticks not in ("mend", "keep", "drop"):
        raise ConfigError(f"bad_ticks is {bad_ticks!r}; choose mend, keep or drop")
    work = _Work(*raw_values(frame, name))
    work.drop_unusable()
    if not len(work.times):
        raise BarsError(f"{name}: no row is left: each lacks its time or has a price that is no positive number")
    work.sort()
    work.merge()
    work.mend_candles()
    work.complete()
    if bad_ticks != "keep" and len(work.times) >= 2:
        length = infer_timeframe(work.times) if timeframe is None else Timeframe.parse(timeframe)
        work.settle(length, (limits or limits_for(length)).tick, drop=bad_ticks == "drop")
    work.note_completed()
    whole = pd.DataFrame(work.values, index=work.times, columns=list(COLUMNS))
    return Cleaned(canonical(whole, volume_rule="fill", name=name, min_rows=1), Changes(work.changes))


class _Work:
    """The rows as they are by now, and what was done to them."""

    def __init__(self, times: pd.DatetimeIndex, values: Array) -> None:
        self.times, self.values = times, values.copy()
        self.given = values[:, VOLUME:].copy()  # volume and amount as they came
        with np.errstate(invalid="ignore"):
            self.known = np.isfinite(self.given) & (self.given >= 0)
        self.touched = np.zeros(len(times), dtype=bool)  # mended once
        self.changes: list[_Batch] = []

    def take(self, rows: Any) -> None:
        """Keep these rows, or take them in this order."""
        self.times, self.values = self.times[rows], self.values[rows]
        self.given, self.known, self.touched = self.given[rows], self.known[rows], self.touched[rows]

    def note(self, rows: Any, column: str, old: Array, new: Array, reason: str) -> None:
        if len(old):
            self.changes.append(_Batch(self.times[rows], column, old, new, reason))

    def drop(self, bad: Any, reason: str) -> None:
        closes = self.values[bad, CLOSE]
        self.note(bad, "row", closes, np.full(len(closes), np.nan), f"dropped: {reason}")
        self.take(~bad)

    def drop_unusable(self) -> None:
        if self.times.hasnans:
            self.drop(np.asarray(self.times.isna()), "no time")
        if (bad := np.isnan(self.values[:, :VOLUME]).any(axis=1)).any():
            self.drop(bad, "a price is missing")
        if (bad := np.isinf(self.values[:, :VOLUME]).any(axis=1)).any():
            self.drop(bad, "a price is infinite")
        if (bad := (self.values[:, :VOLUME] <= 0).any(axis=1)).any():
            self.drop(bad, "a price is not positive")

    def sort(self) -> None:
        stamps = self.times.asi8
        moved = np.flatnonzero(np.diff(stamps) < 0) + 1
        if len(moved):
            reason = f"sorted: {len(moved)} rows were earlier than the row before"
            self.note(moved[:1], "order", moved[:1].astype(float), np.array([np.nan]), reason)
            self.take(np.argsort(stamps, kind="stable"))

    def merge(self) -> None:
        """Keep the last of the rows with one time: sources append corrections."""
        again = np.r_[np.diff(self.times.asi8) == 0, False]
        if not again.any():
            return
        kept = np.flatnonzero(~again)[np.searchsorted(np.flatnonzero(~again), np.flatnonzero(again))]
        dropped = np.flatnonzero(again)
        old, new = self.values[dropped], self.values[kept]
        same = ((old == new) | (np.isnan(old) & np.isnan(new))).all(axis=1)
        for chosen, reason in ((same, "dropped: repeats a row"), (~same, "dropped: a later row has the same time")):
            self.note(dropped[chosen], "row", old[chosen, CLOSE], new[chosen, CLOSE], reason)
        self.take(~again)

    def mend_candles(self) -> None:
        body = self.values[:, [OPEN, CLOSE]]
        high, low = self.values[:, HIGH], self.values[:, LOW]
        # where one of the two fits the body, only the other is wrong
        crossed = (high < low) & (low > body.min(axis=1)) & (high < body.max(axis=1))
        if crossed.any():
            high, low = self.values[crossed, HIGH], self.values[crossed, LOW]
            self.note(crossed, "high", high, low, "exchanged with the low, which was above it")
            self.note(crossed, "low", low, high, "exchanged with the high, which was below it")
            self.values[crossed, HIGH], self.values[crossed, LOW] = low, high
        self.put(HIGH, np.maximum(self.values[:, HIGH], body.max(axis=1)), "raised to the body")
        self.put(LOW, np.minimum(self.values[:, LOW], body.min(axis=1)), "lowered to the body")

    def put(self, place: int, new: Array, reason: str) -> None:
        """Set a column and note where that changes it."""
        changed = self.values[:, place] != new
        if changed.any():
            self.note(changed, COLUMNS[place], self.values[changed, place], new[changed], reason)
            self.values[:, place] = new

    def complete(self) -> None:
        """Volume and amount from each other where one is unknown, zero where both are."""
        mean = self.values[:, :VOLUME].mean(axis=1)
        volume, amount = (np.where(self.known[:, i], self.given[:, i], np.nan) for i in (0, 1))
        filled = np.column_stack([volume, amount])
        filled[:, 0] = np.where(self.known[:, 0], volume, amount / mean)
        filled[:, 1] = np.where(self.known[:, 1], amount, volume * mean)
        self.values[:, VOLUME:] = np.where(np.isfinite(filled), filled, 0.0)

    def settle(self, timeframe: Timeframe, limit: float, *, drop: bool) -> None:
        """Mend or drop bad ticks until there are none: a mended bar may uncover its neighbour.

        A bar that is bad again after it was mended is dropped, so this ends.
        """
        while True:
            prices, volume = self.values[:, :VOLUME], self.values[:, VOLUME]
            bad = bad_ticks(prices, volume, wall_clock(self.times), timeframe, limit)
            if not bad.any():
                return
            rows = bad.any(axis=1)
            again = rows & self.touched
            if drop or again.any():
                self.drop(rows if drop else again, "a bad tick")
            else:
                new = mended(prices, bad)
                for place in (OPEN, HIGH, LOW, CLOSE):
                    self.put(place, new[:, place], "bad tick")
                self.touched |= rows
            self.complete()

    def note_completed(self) -> None:
        """Record what volume and amount became where they were unknown; a column without any value counts once."""
        names = ("volume", "amount")
        for i, column in enumerate(names):
            unknown = ~self.known[:, i]
            new = self.values[:, VOLUME + i]
            both = unknown & ~self.known[:, 1 - i]
            if np.isnan(self.given[:, i]).all():
                how = "taken as zero" if both.all() else f"computed from {names[1 - i]}"
                reason = f"{how}: the source has none"
                none = np.array([np.nan])
                self.changes.append(
                    _Batch(pd.DatetimeIndex([pd.NaT], dtype=self.times.dtype), column, none, none, reason)
                )
                continue
            for chosen, reason in (
                (unknown & ~both, f"computed from {names[1 - i]}"),
                (both, "unknown, taken as zero"),
            ):
                self.note(chosen, column, self.given[chosen, i], new[chosen], reason)


# --- segments ---------------------------------------------------------------------------------------------------------

Ends = Literal["end", "missing price", "no volume", "stagnant", "gap", "jump"]


class Segment(NamedTuple):
    """Rows from `start` up to, and without, `stop` in which nothing is missing, jumps or stands still."""

    start: int
    stop: int
    ends: Ends
    """Why it goes no further."""


def segments(
    frame: pd.DataFrame,
    *,
    timeframe: Timeframe | str | None = None,
    limits: Limits | None = None,
    calendar: str | None = None,
    name: str = "bars",
) -> list[Segment]:
    """Cut a frame in order of time as the paper does before training; what is too short is left out.

    Rows with a missing price, in a run without volume and in a stagnant run belong to no segment; a gap or a jump ends
    one between two rows. The limits are those of the timeframe. A series without any volume is not illiquid for that.
    """
    times, values = raw_values(frame, name)
    if len(times) < 2:
        return []
    if not (times.is_monotonic_increasing and times.is_unique):
        raise BarsError(f"{name}: times must increase to be cut into segments; clean the bars first")
    length = infer_timeframe(times) if timeframe is None else Timeframe.parse(timeframe)
    own = limits or limits_for(length)
    out = _rows_out(values, own)
    cut = _cuts(times, values, length, own, calendar)
    edges = np.flatnonzero(np.r_[True, (out[1:] != out[:-1]) | (cut[1:] != 0)])
    found = []
    for start, stop in zip(edges.tolist(), [*edges[1:].tolist(), len(times)], strict=True):
        if out[start] == 0 and stop - start >= own.rows:
            reason = _REASONS[max(out[stop], cut[stop]) if stop < len(times) else 0]
            found.append(Segment(start, stop, reason))
    return found


_REASONS: tuple[Ends, ...] = ("end", "gap", "jump", "stagnant", "no volume", "missing price")
_GAP, _JUMP, _STAGNANT, _ILLIQUID, _MISSING = range(1, 6)


def _rows_out(values: Array, limits: Limits) -> Ints:
    """(N,) why a row belongs to no segment; 0 where it may."""
    prices, volume = values[:, :VOLUME], values[:, VOLUME]
    out = np.zeros(len(values), dtype=np.int64)
    with np.errstate(invalid="ignore"):
        missing = ~(np.isfinite(prices) & (prices > 0)).all(axis=1)
        traded = bool((volume > 0).any())
    runs = [(_STAGNANT, long_runs(*still(prices), limits.stagnant))]
    if traded:
        runs.append((_ILLIQUID, long_runs(volume == 0, np.ones(len(volume), dtype=bool), limits.illiquid)))
    for reason, (first, last) in runs:
        inside = np.zeros(len(values) + 1, dtype=np.int64)
        np.add.at(inside, first, 1)
        np.add.at(inside, last + 1, -1)
        out[inside.cumsum()[:-1] > 0] = reason
    out[missing] = _MISSING
    return out


def _cuts(times: pd.DatetimeIndex, values: Array, timeframe: Timeframe, limits: Limits, calendar: str | None) -> Ints:
    """(N,) why a segment may not go on from the row before to this one; 0 where it may."""
    cut = np.zeros(len(times), dtype=np.int64)
    found = find_gaps(times, timeframe, calendar)
    cut[found.after[~found.holiday & (found.missing >= limits.gap)] + 1] = _GAP
    with np.errstate(all="ignore"):
        cut[np.abs(steps_between(values[:, :VOLUME])) > np.log1p(limits.jump)] = _JUMP
    return cut
