"""From a source into the lake: a new series, its continuation, and what is missing before its first bar.

A series in the lake is always one piece, so its first and last bar say all about what is still to be asked for. Bars at
its end are written in blocks as they come. Bars before its first are fetched in blocks from the newest to the oldest,
and a block is written when it is whole: half a one would leave a hole that nobody ever asks about again. A kill at any
moment therefore costs at most one block, and the same call goes on from there.

It knows nothing of any exchange, and does not judge bars.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kronos.bars import Timeframe, gaps
from kronos.data.keys import Key
from kronos.data.lake.commits import Origin
from kronos.data.lake.lake import Entry, Lake, Written
from kronos.data.sources.source import Page, Source
from kronos.errors import ConfigError, KronosError, KronosWarning, SourceError

Moment = pd.Timestamp | str | None
Progress = Callable[[float | None, int, pd.Timestamp], None]
"""Called after every page: the share that is done where it can be told, the bars received, the time reached."""

FLUSH = 20_000
OVERLAP = 3  # stored bars that an update reads again, to see whether they were revised
REBASED = 1e-4  # all prices of all stored bars moved by more than this, to one side: a new adjustment, no revision
_ALWAYS_OPEN = "24/7"


@dataclass(frozen=True)
class Fetched:
    """What one call brought."""

    key: Key
    added: int
    revised: int  # bars that were stored and came again with other values
    rows: int  # in the series now
    first: pd.Timestamp
    last: pd.Timestamp
    pages: int  # that the source delivered

    @property
    def up_to_date(self) -> bool:
        """True where nothing new came."""
        return self.added == self.revised == 0


@dataclass(frozen=True)
class Failed:
    """A series of an update that could not be brought up to date, and why."""

    key: Key
    error: KronosError | OSError


def fetch(
    lake: Lake,
    source: Source,
    symbol: str,
    timeframe: str | Timeframe,
    *,
    start: Moment = None,
    end: Moment = None,
    bars: int | None = None,
    progress: Progress | None = None,
    flush: int = FLUSH,
    holes: bool = True,
) -> Fetched:
    """Bring a series of the lake up to `end`, and back to `start` or to the last `bars`; only what is missing is asked.

    - A new series begins at `start`, or with the first bar there is. A stored one is continued at its end and, where
      `start` is earlier than its first bar or it holds fewer than `bars`, completed at its beginning. What lies between
      the bars asked for and those stored is fetched too.
    - Bars whose start lies in [start, end) are meant; a time without a zone is on the clock of the series.
    - The last stored bars are read again, and replaced where the source has revised them. Where it has re-adjusted all
      prices, after a split or a dividend, the whole series is fetched anew.
    - With `holes`, missing bars inside a series that was not fetched from its first bar (an import of archives) are
      asked for as well, where the market never closes.
    - Ctrl-C and failures keep what has come, up to a block of `flush` bars before the first.
    """
    length = Timeframe.parse(timeframe)
    key = Key(source.name, source.symbol(symbol), str(length))
    stored = _entry(lake, key)
    if stored is not None and stored.zone is None:
        raise SourceError(
            f"{key}: the stored times have no zone, so nothing can be joined to them; drop the series, or import it "
            f"anew under another source than {key.source}"
        )
    zone = stored.zone if stored is not None else getattr(source, "zone", None)
    since, until = _moment(start, "start", zone), _moment(end, "end", zone)
    _refuse_nonsense(since, until, bars, flush)
    call = _Call(lake, source, key, length, flush, until, bars, progress)
    try:
        if stored is None:
            call.begin(since)
        else:
            call.go_on(stored, since)
        call.complete(since)
        if holes and stored is not None:
            call.fill(stored)
    except SourceError as error:
        if not call.added + call.revised:
            raise
        rows = lake.entry(key).rows
        raise SourceError(
            f"{error}; {call.added} new bars are safe in the lake ({rows} in all), and the same command goes on"
        ) from error
    now = lake.entry(key)
    return Fetched(key, call.added, call.revised, now.rows, now.first, now.last, call.asked)


def update(
    lake: Lake,
    entries: Iterable[Entry],
    make_source: Callable[[str], Source],
    *,
    end: Moment = None,
    progress: Callable[[Key, float | None, int, pd.Timestamp], None] | None = None,
    flush: int = FLUSH,
) -> list[Fetched | Failed]:
    """Bring series up to date, one after the other; a failing one stops no other and is in the list as `Failed`.

    `make_source` makes a source from its name in a key, such as `choosing.make_source`; each is made once.
    """
    sources: dict[str, Source] = {}
    done: list[Fetched | Failed] = []
    for entry in entries:
        key = entry.key
        try:
            source = sources.get(key.source) or make_source(key.source)
            sources[key.source] = source
            done.append(
                fetch(
                    lake,
                    source,
                    key.symbol,
                    key.timeframe,
                    end=end,
                    progress=_named(progress, key),
                    flush=flush,
                    holes=False,
                )
            )
        except (KronosError, OSError) as error:
            done.append(Failed(key, error))
    return done


class _Rebasing(Exception):  # noqa: N818 - no error: it ends one way of asking and begins another
    """The stored bars came again with all prices moved to one side."""


class _Call:
    """One call of `fetch`: its counts, and the ways of asking."""

    def __init__(
        self,
        lake: Lake,
        source: Source,
        key: Key,
        length: Timeframe,
        flush: int,
        until: pd.Timestamp | None,
        wanted: int | None,
        progress: Progress | None,
    ) -> None:
        self.lake, self.source, self.key, self.flush = lake, source, key, flush
        self.until, self.wanted, self.progress = until, wanted, progress
        self.step = pd.Timedelta(days=28 * length.count) if length.unit == "mo" else length.delta
        self.added = self.revised = self.received = self.asked = self.have = 0
        always = source.calendar == _ALWAYS_OPEN
        self.beginning = pd.Timestamp("1970-01-01" if always else "1900-01-01", tz="UTC")
        self.margin = pd.Timedelta(0) if always else pd.Timedelta(days=10)  # no bars for so long: a closed market

    @property
    def horizon(self) -> pd.Timestamp:
        """Where the asking ends at the latest."""
        return self.until if self.until is not None else pd.Timestamp.now("UTC")

    # --- the ways of asking -----------------------------------------------------------------------------------------

    def begin(self, since: pd.Timestamp | None) -> None:
        """A series that is not there: from `since` on, or of the last `wanted` bars what so many steps can hold."""
        if self.wanted is not None:
            end = self.horizon if self.until is not None else self.horizon.floor(self.step)
            since = self._earlier(end, self.wanted * self.step.value, self.beginning)
        self._forward(since)
        if _entry(self.lake, self.key) is None and self.wanted is not None:
            assert since is not None
            self._backward(since, None)
        if _entry(self.lake, self.key) is None:
            span = f"from {since or 'the beginning'} to {self.until or 'now'}"
            raise SourceError(f"{self.source.name} has no {self.key.timeframe} bars of {self.key.symbol} {span}")

    def go_on(self, stored: Entry, since: pd.Timestamp | None) -> None:
        """The end of a series that is there, its last bars once more."""
        last = _utc(stored.last)
        if self.until is not None and self.until <= last + self.step:
            return
        # not before the first: what stops this must not leave a bar there with a hole behind it
        overlap = max(last - (OVERLAP - 1) * self.step, _utc(stored.first))
        known = self.lake.read_raw(self.key, overlap)
        self.have = self._counted(stored)
        try:
            self._forward(overlap, known)
        except _Rebasing:
            self._start_over(stored)

    def complete(self, since: pd.Timestamp | None) -> None:
        """What is missing before the first bar."""
        entry = self.lake.entry(self.key)
        if since is not None or (self.wanted is not None and self._counted(entry) < self.wanted):
            self._backward(_utc(entry.first), since)

    def fill(self, stored: Entry) -> None:
        """Ask for what is missing between bars that came from elsewhere."""
        if self.source.calendar != _ALWAYS_OPEN or all(origin.kind == "fetch" for origin in stored.origins):
            return
        times = pd.DatetimeIndex(self.lake.read_raw(self.key).index)
        for gap in gaps(times, timeframe=self.key.timeframe, calendar=_ALWAYS_OPEN):
            frame = self._collect(gap.after + pd.Timedelta(1, unit="ns"), gap.before)
            if len(frame):
                self._write([frame])

    def _forward(self, since: pd.Timestamp | None, known: pd.DataFrame | None = None) -> None:
        """Oldest first up to the end, written in blocks; whatever stops it, what has come is written."""
        waiting: list[pd.DataFrame] = []
        try:
            for page in self._pages(since, self.until):
                if known is not None and len(page.frame):
                    self._compare(known, page.frame)
                    known = None
                if len(page.frame):
                    waiting.append(page.frame)
                    since = since if since is not None else _utc(page.frame.index[0])
                if sum(map(len, waiting)) >= self.flush:
                    self._write(waiting)
                self._tell(since, page.reached)
        finally:
            if waiting:
                self._write(waiting)

    def _compare(self, known: pd.DataFrame, fresh: pd.DataFrame) -> None:
        """Hold the first bars of a continuation against those that are stored."""
        if fresh.index[0] > known.index[-1]:
            warnings.warn(
                f"{self.key}: {self.source.name} no longer has the last stored bar ({known.index[-1]}) and goes on at "
                f"{fresh.index[0]}; bars between them may be missing for good",
                KronosWarning,
                stacklevel=2,
            )
        # markets that never close know no splits and no dividends
        if self.source.calendar != _ALWAYS_OPEN and _rebased(known, fresh):
            raise _Rebasing

    def _backward(self, first: pd.Timestamp, floor: pd.Timestamp | None) -> None:
        """Blocks before `first`, newest first, each written when it is whole, down to `floor` or enough bars.

        After an empty block the source is asked once for the oldest bar there is: before a listing there are years.
        """
        lowest, top = floor if floor is not None else self.beginning, first
        oldest: pd.DataFrame | None = None
        stretch = 1
        while first - lowest >= self.step:
            begin = self._earlier(first, self._span() * stretch, lowest)
            frame = self._trimmed(self._collect(begin, first))
            if len(frame):
                self._write([frame])
                if self._enough():
                    return
            elif oldest is None:
                page = self._first_page(floor, begin) if begin > lowest else None
                if page is None:
                    return
                oldest, lowest = page.frame, page.reached
            else:
                stretch *= 4
            first = begin
            self._tell(floor if floor is not None else lowest, top, back=first)
        if oldest is not None and len(oldest := self._trimmed(oldest)):
            self._write([oldest])

    def _start_over(self, stored: Entry) -> None:
        """The whole series once more, in the place of the stored one."""
        frame = self._collect(_utc(stored.first), self.until)
        if not len(frame) or _utc(frame.index[0]) > _utc(stored.first):
            reach = frame.index[0] if len(frame) else "now"
            raise SourceError(
                f"{self.key}: {self.source.name} has re-adjusted all prices (a split or a dividend) and gives no bars "
                f"before {reach} any more; drop the series and fetch it anew, or keep it as it is"
            )
        self._put(frame, whole=True)
        self.revised += stored.rows
        self.added += max(len(frame) - stored.rows, 0)

    # --- the parts they share ---------------------------------------------------------------------------------------

    def _pages(self, since: pd.Timestamp | None, until: pd.Timestamp | None) -> Iterator[Page]:
        """The source's pages, held to their promise of increasing times."""
        before: pd.Timestamp | None = None
        for page in self.source.pages(self.key.symbol, self.key.timeframe, since, until):
            self.asked += 1
            index = page.frame.index
            if len(index):
                if before is not None and index[0] <= before:
                    raise SourceError(f"{self.key}: {self.source.name} sent {index[0]} after {before}; try again")
                before = index[-1]
                self.received += len(index)
            yield page

    def _collect(self, since: pd.Timestamp, until: pd.Timestamp | None) -> pd.DataFrame:
        frames = [page.frame for page in self._pages(since, until) if len(page.frame)]
        return pd.concat(frames) if frames else pd.DataFrame()

    def _first_page(self, since: pd.Timestamp | None, until: pd.Timestamp) -> Page | None:
        return next((page for page in self._pages(since, until) if len(page.frame)), None)

    def _write(self, waiting: list[pd.DataFrame]) -> None:
        """Into the lake in one write; `waiting` is empty afterwards."""
        done = self._put(pd.concat(waiting))
        waiting.clear()
        self.added += done.added
        self.revised += done.revised

    def _put(self, frame: pd.DataFrame, *, whole: bool = False) -> Written:
        origin, market, calendar = Origin("fetch", self.source.name), self.source.market, self.source.calendar
        return self.lake.write(
            self.key, frame, origin, market=market, calendar=calendar, conflict="replace", replace=whole
        )

    # --- how many bars, how long ------------------------------------------------------------------------------------

    def _counted(self, entry: Entry) -> int:
        """Stored bars that count as wanted: those before the end."""
        if self.until is None or self.until > _utc(entry.last):
            return entry.rows
        return 0 if self.until <= _utc(entry.first) else len(self.lake.read_raw(self.key, None, self.until))

    def _missing(self) -> int:
        assert self.wanted is not None
        entry = _entry(self.lake, self.key)
        return self.wanted - (self._counted(entry) if entry is not None else 0)

    def _enough(self) -> bool:
        return self.wanted is not None and self._missing() <= 0

    def _trimmed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Without the oldest bars that are more than wanted."""
        if self.wanted is None or not len(frame):
            return frame
        counted = frame.index if self.until is None else frame.index[frame.index < self.until]
        surplus = len(counted) - self._missing()
        return frame.iloc[surplus:] if surplus > 0 else frame

    def _span(self) -> int:
        """How far back, in nanoseconds, the next block reaches: by the share of the time that had bars so far."""
        entry, block = _entry(self.lake, self.key), self.flush * self.step.value
        if self.wanted is None:
            return block
        share = 1.0
        if entry is not None:
            share = entry.rows * self.step.value / ((entry.last - entry.first).value + self.step.value)
        need = self._missing() * self.step.value / min(max(share, 0.01), 1.0)
        return max(min(int(1.1 * need) + self.margin.value, int(block / max(share, 0.01))), self.step.value)

    @staticmethod
    def _earlier(moment: pd.Timestamp, nanoseconds: int, lowest: pd.Timestamp) -> pd.Timestamp:
        """So long before, but not before `lowest`; in whole numbers, for 20,000 months are more than a Timedelta."""
        return pd.Timestamp(max(moment.as_unit("ns").value - nanoseconds, lowest.as_unit("ns").value), tz="UTC")

    def _tell(self, since: pd.Timestamp | None, reached: pd.Timestamp, *, back: pd.Timestamp | None = None) -> None:
        """Report the share that is done: of the wanted bars, or of the time."""
        if self.progress is None:
            return
        share: float | None = None
        if self.wanted is not None:
            share = (self.have + self.received) / self.wanted
        elif since is not None:
            whole = (reached if back is not None else self.horizon) - since
            done = reached - (back if back is not None else since)
            share = done / whole if whole.value > 0 else 1.0
        share = None if share is None else float(min(max(share, 0.0), 1.0))
        self.progress(share, self.received, back if back is not None else reached)


def _named(progress: Callable[[Key, float | None, int, pd.Timestamp], None] | None, key: Key) -> Progress | None:
    return None if progress is None else lambda done, bars, reached: progress(key, done, bars, reached)


def _entry(lake: Lake, key: Key) -> Entry | None:
    return lake.entry(key) if lake.last(key) is not None else None


def _utc(stamp: pd.Timestamp) -> pd.Timestamp:
    return stamp.tz_convert("UTC") if stamp.tzinfo is not None else stamp.tz_localize("UTC")


def _moment(moment: Moment, name: str, zone: str | None) -> pd.Timestamp | None:
    if moment is None:
        return None
    try:
        stamp = pd.Timestamp(moment)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name} is {moment!r}, which is no time; write it like 2024-01-05") from error
    if pd.isna(stamp):
        raise ConfigError(f"{name} is {moment!r}, which is no time; write it like 2024-01-05")
    if not 1970 <= stamp.year <= 2200:
        raise ConfigError(f"{name} is {moment!r}, and bars are of the years 1970 to 2200; choose a time of those")
    if stamp.tzinfo is None:
        stamp = stamp.tz_localize(zone or "UTC", ambiguous=True, nonexistent="shift_forward")
    return _utc(stamp)


def _refuse_nonsense(since: pd.Timestamp | None, until: pd.Timestamp | None, bars: int | None, flush: int) -> None:
    if bars is not None and since is not None:
        raise ConfigError("start= and bars= say the same thing in two ways; give one of them")
    if bars is not None and bars < 1:
        raise ConfigError(f"bars is {bars}; at least one must be asked for")
    if flush < 1:
        raise ConfigError(f"flush is {flush}; a block holds at least one bar")
    if since is not None and until is not None and since >= until:
        raise ConfigError(f"start {since} is not before end {until}: nothing lies between them")


def _rebased(known: pd.DataFrame, fresh: pd.DataFrame) -> bool:
    """True where every price of every bar that is known came again higher, or every one lower."""
    both = known.index.intersection(fresh.index)
    if not len(both):
        return False
    prices = ["open", "high", "low", "close"]
    old, new = known.loc[both, prices].to_numpy(), fresh.loc[both, prices].to_numpy()
    with np.errstate(all="ignore"):
        ratio = new / old
    return bool((ratio > 1 + REBASED).all() or (ratio < 1 - REBASED).all())
