"""How forecasts turned out: bars that have arrived since are laid beside them, scored, and written down once.

A forecast waits until its last bar is there and over; one that has a hole among its bars is told of and waits as well,
because the bars may still come. Where they never will, because the market was closed and the forecast did not know,
holes may be filled: the price stood still. Bars that differ from those of an earlier outcome make another version; the
first one stays. Two who reconcile at the same time write nothing twice: what is newest is looked up again under the
lock.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.candles import CLOSE
from kronos.data import Series
from kronos.errors import KronosError
from kronos.evaluate.ledger.chain import append, last_of
from kronos.evaluate.ledger.database import Database
from kronos.evaluate.ledger.matching import DIFFERENT, RESCALED, Match, Shelf, Wanted, rows_at
from kronos.evaluate.ledger.packing import digest_of, pack, to_json, unpack
from kronos.evaluate.ledger.statement import Moments, Statement, bar_ends
from kronos.evaluate.ledger.yardsticks import judge_yardsticks
from kronos.evaluate.scoring import score_forecast, scored_steps

Array = NDArray[np.float64]

STEPS = (1, 6, 12, 24)
"""Where a forecast is scored, and at the end of its horizon."""

_TOGETHER = 200  # outcomes written under one lock
_IN_MEMORY = 20  # forecasts with all their paths
_MOST_TOLD = 50
_WANTED = ("symbol", "market", "timeframe", "lookback", "began", "data")
_LIGHT = (
    *("id", "number", *_WANTED, "clock", "origin", "horizon", "first", "last", "kept"),
    *("times", "past_times", "past_closes"),
)


@dataclass
class Reconciled:
    """What came of a reconciliation; every forecast of the ledger is counted once."""

    scored: int = 0
    """Their bars have arrived, and are written down."""
    revised: int = 0
    """Their bars are other ones than before, and are written down as a new version."""
    settled: int = 0
    """Were scored before, with the bars that are there now."""
    waiting: int = 0
    """Not all of their bars are there and over."""
    holes: int = 0
    """Later bars are there, but some of theirs are missing."""
    unmatched: int = 0
    """No series of theirs is at this place, or several are, or their row cannot be read."""
    rescaled: int = 0
    """Of those written down: all prices had been multiplied by a factor, as a split does; it is taken out again."""
    different: int = 0
    """Of those written down: their look-back is not what it was when they were made."""
    told: list[str] = field(default_factory=list)
    """What should be known about single forecasts."""

    def tree(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dict(vars(self))

    def tell(self, row: Mapping[str, Any], what: str) -> None:
        """Note something about a forecast, if there is room."""
        if len(self.told) < _MOST_TOLD:
            self.told.append(f"{row['id'][:12]} {row['symbol']} {row['timeframe']}: {what}")
        elif len(self.told) == _MOST_TOLD:
            self.told.append("... and more")


@dataclass(frozen=True)
class _Arrived:
    """Bars of a forecast that are not written down yet."""

    row: Mapping[str, Any]
    match: Match
    bars: Array  # (H, 6)
    filled: int

    @property
    def prices(self) -> str:
        return prices_digest(self.bars)


def prices_digest(bars: Array) -> str:
    """What tells one outcome from another: its prices. Volume is not scored, and sources do not agree on it."""
    return digest_of(bars[:, : CLOSE + 1])


def reconcile(
    database: Database,
    series: Iterable[Series],
    *,
    source: str,
    fill: bool,
    program: str,
    clock: Callable[[], datetime],
) -> Reconciled:
    """Score every forecast whose bars are among these series; `source` is what the outcomes say they come from."""
    shelf, found, pending = Shelf(series), Reconciled(), []
    for row, known in _forecasts(database):
        try:
            arrived = _arrived(row, known, shelf, found, fill, pd.Timestamp(clock()))
        except KronosError as error:  # of one row, which is damaged; the others go on
            found.unmatched += 1
            found.tell(row, str(error))
            continue
        if arrived is None:
            continue
        pending.append(arrived)
        if len(pending) == _TOGETHER:
            _write(database, pending, source, program, clock, found)
            pending = []
    _write(database, pending, source, program, clock, found)
    return found


def newest(database: Database, columns: Sequence[str]) -> Any:
    """A query for columns of the newest version of every outcome."""
    outcomes = database.tables.outcomes
    chosen = [outcomes.c[name] for name in columns]
    query = outcomes.select().with_only_columns(*chosen).order_by(outcomes.c.forecast, outcomes.c.version.desc())
    later = outcomes.alias()
    return query.where(
        ~later.select()
        .with_only_columns(later.c.number)
        .where(later.c.forecast == outcomes.c.forecast, later.c.version > outcomes.c.version)
        .exists()
    )


def _forecasts(database: Database) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Every forecast in order, without its paths, and the digest of its newest outcome ("" where there is none)."""
    table = database.tables.forecasts
    with database.reading() as connection:
        known = {row[0]: row[1] for row in connection.execute(newest(database, ("forecast", "prices")))}
    number = 0
    while True:
        with database.reading() as connection:
            query = table.select().with_only_columns(*(table.c[name] for name in _LIGHT))
            query = query.where(table.c.number > number).order_by(table.c.number).limit(_TOGETHER)
            rows = connection.execute(query).mappings().all()
        yield from ((row, known.get(row["id"], "")) for row in rows)
        if len(rows) < _TOGETHER:
            return
        number = rows[-1]["number"]


def _arrived(
    row: Mapping[str, Any], known: str, shelf: Shelf, found: Reconciled, fill: bool, now: pd.Timestamp
) -> _Arrived | None:
    """The bars of a forecast, if they are all there, over, and not those that are written down already."""
    match = shelf.find(_wanted(row))
    if isinstance(match, str):
        found.unmatched += 1
        found.tell(row, match)
        return None
    series, last = match.series, int(row["last"])
    end = int(series.times[-1].astype("datetime64[ns]").astype(np.int64))
    wanted = unpack(row["times"], "i8", (int(row["horizon"]),)).cumsum() + int(row["origin"])
    bars, missing = _bars_at(series, wanted, int(row["origin"]), fill)
    if bars is None and end > last:
        found.holes += 1
        found.tell(
            row, f"{missing} of its {row['horizon']} bars are missing in {series.name}, which goes on after them"
        )
        return None
    forming = end == last and now < bar_ends(last, row["timeframe"], row["clock"])
    if bars is None or end < last or forming:
        found.waiting += 1
        return None
    if prices_digest(bars) == known:
        found.settled += 1
        return None
    return _Arrived(row, match, bars, missing)


def _wanted(row: Mapping[str, Any]) -> Wanted:
    kept = int(row["kept"])
    return Wanted(
        **{name: row[name] for name in _WANTED},
        past_times=unpack(row["past_times"], "i8", (kept,)).cumsum() + int(row["began"]),
        past_closes=unpack(row["past_closes"], "f8", (kept,)),
    )


def _bars_at(series: Series, wanted: Moments, origin: int, fill: bool) -> tuple[Array | None, int]:
    """The bars (H, 6) at these times and how many of them are missing; with `fill` the price stands still at those.

    None where bars are missing that are not to be filled: all, or more than half of them, or without a bar before.
    """
    times = series.times.astype("datetime64[ns]").astype(np.int64)
    rows = rows_at(times, wanted)
    gone = rows < 0
    missing = int(gone.sum())
    if not missing:
        return series.bars[rows], 0
    before = np.searchsorted(times, wanted, side="right") - 1
    if not fill or 2 * missing > len(wanted) or (before < 0).any() or times[before[0]] < origin:
        return None, missing
    bars = series.bars[before]
    bars[gone, :CLOSE] = bars[gone, CLOSE][:, None]
    bars[gone, CLOSE + 1 :] = 0.0
    return bars, missing


def _write(
    database: Database,
    pending: Sequence[_Arrived],
    source: str,
    program: str,
    clock: Callable[[], datetime],
    found: Reconciled,
) -> None:
    """Score and write down, unless somebody else just has."""
    scored = list(_judged(database, pending, found))
    if not scored:
        return
    outcomes = database.tables.outcomes
    written: list[tuple[_Arrived, int]] = []
    with database.writing() as connection:
        last = last_of(connection, outcomes)
        for one, figures in scored:
            query = outcomes.select().where(outcomes.c.forecast == one.row["id"]).order_by(outcomes.c.version.desc())
            before = connection.execute(query.limit(1)).mappings().first()
            if before is not None and before["prices"] == one.prices:
                found.settled += 1
                continue
            version = 1 if before is None else before["version"] + 1
            values = {
                "forecast": one.row["id"],
                "version": version,
                "source": f"{source} {one.match.series.name}".strip(),
                "past": one.match.past,
                "factor": one.match.factor,
                "prices": one.prices,
                "bars": pack(one.bars),
                "figures": figures,
            }
            last = append(connection, outcomes, values, program, clock(), last)
            written.append((one, version))
    for one, version in written:
        _count(one, version, found)


def _count(one: _Arrived, version: int, found: Reconciled) -> None:
    if version > 1:
        found.revised += 1
        found.tell(one.row, f"its bars are other ones than before; version {version} of its outcome is written down")
    else:
        found.scored += 1
    if one.match.past == RESCALED:
        found.rescaled += 1
        found.tell(
            one.row, f"prices of {one.match.series.name} are {one.match.factor:.6g} times those it was made from"
        )
    elif one.match.past == DIFFERENT:
        found.different += 1
        found.tell(one.row, f"the bars it was made from are other ones in {one.match.series.name} now")


def _judged(database: Database, pending: Sequence[_Arrived], found: Reconciled) -> Iterator[tuple[_Arrived, str]]:
    """Each with its figures as JSON, null for what is no number."""
    table = database.tables.forecasts
    for first in range(0, len(pending), _IN_MEMORY):
        some = pending[first : first + _IN_MEMORY]
        with database.reading() as connection:
            query = table.select().where(table.c.id.in_([one.row["id"] for one in some]))
            rows = {row["id"]: row for row in connection.execute(query).mappings()}
        for one in some:
            try:
                figures = judge(Statement.from_row(rows[one.row["id"]]), one.bars, one.match.factor)
                figures["filled"] = float(one.filled)
            except KronosError as error:  # of one forecast; the others go on
                found.unmatched += 1
                found.tell(one.row, str(error))
                continue
            yield one, to_json({name: value if math.isfinite(value) else None for name, value in figures.items()})


def judge(statement: Statement, bars: Array, factor: float = 1.0) -> dict[str, float]:
    """Every figure of a forecast against bars (H, 6) whose prices are `factor` times those it was made from."""
    truth = bars.copy()
    truth[:, : CLOSE + 1] /= factor
    steps = scored_steps((*STEPS, len(truth)), len(truth))
    figures = score_forecast(statement.forecast(), statement.past(), truth, steps)
    return figures | judge_yardsticks(statement.past_closes, truth[:, CLOSE], steps)
