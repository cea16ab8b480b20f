"""The ledger: forecasts written down before it was known how they would turn out, and what became of them.

    ledger = Ledger.open("ledger.db")                      # or postgresql://USER@HOST/DATABASE
    ledger.add(forecast, symbol="BTC/USDT")                # said once, never changed
    ledger.reconcile(load_series("bars"), source="bars")   # later, again and again
    ledger.scoreboard().frame

Nothing that was written is ever changed: not by this program, which has no way to, and not by another, which the
database refuses.
"""

import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast
from kronos.data import Series
from kronos.errors import ConfigError
from kronos.evaluate.ledger.chain import Checked, append, check_chains, iso, last_of
from kronos.evaluate.ledger.choosing import BACKFILLED, CLOCK_BACK, Choice, read_figures, read_forecasts
from kronos.evaluate.ledger.database import Database
from kronos.evaluate.ledger.outcomes import Reconciled, reconcile
from kronos.evaluate.ledger.packing import unpack
from kronos.evaluate.ledger.scoreboard import Scoreboard
from kronos.evaluate.ledger.statement import Statement, bar_ends

PATIENCE = 60.0
"""Seconds to wait for another writer."""


@dataclass(frozen=True)
class Added:
    """What became of a forecast that was added."""

    id: str
    number: int
    """Its place in the ledger, from 1."""
    new: bool
    """False where the same statement was there already, and nothing was written."""
    marks: tuple[str, ...]
    bytes: int
    """What its paths take in the database."""


@dataclass(frozen=True)
class Outcome:
    """How a forecast turned out, by the bars that were there at the time."""

    version: int
    made_at: str
    source: str
    past: str
    """How the look-back stood to the one the forecast was made from: same, closes, rescaled, different, unknown."""
    factor: float
    bars: NDArray[Any]  # (H, 6)
    figures: dict[str, float]


@dataclass(frozen=True)
class Entry:
    """A forecast in the ledger, and its outcomes, oldest first."""

    id: str
    number: int
    made_at: str
    program: str
    marks: tuple[str, ...]
    statement: Statement
    outcomes: tuple[Outcome, ...]


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class Ledger:
    """A place that holds forecasts and their outcomes; open one with `Ledger.open`."""

    def __init__(self, database: Database, identity: str, clock: Callable[[], datetime] = utc_now) -> None:
        """Around a database that holds a ledger."""
        self._database, self.identity, self._clock = database, identity, clock

    @classmethod
    def open(
        cls,
        place: str | Path,
        *,
        create: bool = True,
        patience: float = PATIENCE,
        clock: Callable[[], datetime] = utc_now,
    ) -> "Ledger":
        """The ledger in a SQLite file (a path) or behind a URL (postgresql://...), by default made where there is none.

        `patience` is how many seconds to wait for another writer.
        """
        database = Database(place, patience)
        header = {"identity": secrets.token_hex(16), "made_at": iso(clock()), "program": _program()}
        return cls(database, database.prepare(header, create=create), clock)

    @property
    def place(self) -> str:
        """Where it lies, without passwords."""
        return self._database.place

    def add(
        self,
        forecast: Forecast,
        *,
        symbol: str,
        market: str = "",
        model: str | None = None,
        revision: str | None = None,
        weights: str | None = None,
        calibration: str | None = None,
        zone: str | None = None,
        backfill: bool = False,
    ) -> Added:
        """Write down a forecast. The same statement again writes nothing.

        `model`, `revision`, `weights` and `calibration` are read from `forecast.meta` where they are not given. `zone`
        is that of time stamps without one. A forecast whose first bar is over already cannot be told from hindsight: it
        is refused, or with `backfill` written down and marked.
        """
        statement = Statement.of(
            forecast,
            symbol=symbol,
            market=market,
            model=model,
            revision=revision,
            weights=weights,
            calibration=calibration,
            zone=zone,
        )
        row = statement.row()
        size = sum(len(value) for value in row.values() if isinstance(value, bytes))
        table, name = self._database.tables.forecasts, statement.id
        with self._database.writing() as connection:
            query = table.select().with_only_columns(table.c.number, table.c.marks).where(table.c.id == name)
            there = connection.execute(query).first()
            if there is not None:
                return Added(name, int(there[0]), False, tuple(there[1].split()), size)
            after, now = last_of(connection, table), self._clock()
            marks = self._marks(statement, now, after.made_at, backfill)
            values = {**row, "id": name, "marks": " ".join(marks)}
            last = append(connection, table, values, _program(), now, after)
        return Added(name, last.number, True, marks, size)

    def _marks(self, statement: Statement, now: datetime, before: str, backfill: bool) -> tuple[str, ...]:
        said = statement.said
        over = bar_ends(int(statement.times[0]), said.timeframe, said.clock)
        late = pd.Timestamp(now) > over
        if late and not backfill:
            raise ConfigError(
                f"{said.symbol} {said.timeframe}: the first bar of this forecast was over at {over:%Y-%m-%d %H:%M} UTC "
                "and may have been known; write it down as backfilled (--backfill), and scoreboards leave it out"
            )
        return ((BACKFILLED,) if late else ()) + ((CLOCK_BACK,) if iso(now) < before else ())

    def reconcile(self, series: Iterable[Series], *, source: str = "", fill: bool = False) -> Reconciled:
        """Lay bars beside forecasts: those whose last bar has arrived are scored and written down, once.

        Series are found by symbol and timeframe and by the bars that the forecast was made from. `source` says where
        the bars come from. `fill` takes the price to have stood still at bars that are missing while later ones are
        there (a holiday that the forecast knew nothing of), if they are not more than half.
        """
        shown = re.sub(r"(?<=://)[^/@]*@", "", source)  # who may read there is nobody's business
        return reconcile(self._database, series, source=shown, fill=fill, program=_program(), clock=self._clock)

    def forecasts(self, choice: Choice | None = None) -> pd.DataFrame:
        """A row for every forecast, in the order in which they were written down, with the figures of its outcome.

        `version` is 0 where the outcome is waited for.
        """
        return read_forecasts(self._database, choice or Choice(backfilled=True))

    def entry(self, name: str) -> Entry:
        """One forecast and its outcomes, by its id or the beginning of it."""
        tables = self._database.tables
        if not name or set(name) - set("0123456789abcdef"):
            raise ConfigError(f"{name!r} is no id of a forecast; `kronos ledger show` lists them")
        with self._database.reading() as connection:
            query = tables.forecasts.select().where(tables.forecasts.c.id.startswith(name)).limit(2)
            rows = connection.execute(query).mappings().all()
            if len(rows) != 1:
                what = "several forecasts have ids that begin" if rows else "no forecast has an id that begins"
                raise ConfigError(f"{self.place}: {what} with {name}; `kronos ledger show` lists them")
            row = rows[0]
            query = tables.outcomes.select().where(tables.outcomes.c.forecast == row["id"])
            ended = connection.execute(query.order_by(tables.outcomes.c.version)).mappings().all()
        outcomes = tuple(
            Outcome(
                bars=unpack(one["bars"], "f8", (int(row["horizon"]), 6)),
                figures=read_figures(one["figures"]),
                **{key: one[key] for key in ("version", "made_at", "source", "past", "factor")},
            )
            for one in ended
        )
        own = {key: row[key] for key in ("id", "number", "made_at", "program")}
        marks = tuple(row["marks"].split())
        return Entry(**own, marks=marks, statement=Statement.from_row(row), outcomes=outcomes)

    def scoreboard(self, choice: Choice | None = None) -> Scoreboard:
        """How good the forecasts were whose bars have arrived, by model and series.

        Those that were written down after the fact are left out, unless the choice asks for them.
        """
        wanted = choice or Choice()
        rows = read_forecasts(self._database, replace(wanted, backfilled=True))
        kept = rows["marks"].map(lambda marks: wanted.backfilled or BACKFILLED not in marks.split()).astype(bool)
        return Scoreboard(rows[kept].reset_index(drop=True), int((~kept).sum()))

    def check(self, expect: str | None = None) -> Checked:
        """Read every row and say whether any was changed or taken away.

        `expect` is a digest that an earlier check gave: the chain must still lead through it.
        """
        return check_chains(self._database, expect)


@cache
def _program() -> str:
    try:
        return f"kronos-candles {version('kronos-candles')}"
    except PackageNotFoundError:
        return "kronos-candles"
