"""Which forecasts of a ledger are meant, and what is known of them: the rows of tables and scoreboards."""

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kronos.errors import ConfigError
from kronos.evaluate.ledger.database import Database
from kronos.evaluate.ledger.outcomes import newest
from kronos.evaluate.ledger.statement import moments

BACKFILLED = "backfilled"
"""Mark of a forecast that was written down after its first bar was over: nobody can know that it was made before."""

CLOCK_BACK = "clock-back"
"""Mark of a forecast that was written down at an earlier time than the one before it: a clock was set back."""

_DAY = 86_400 * 10**9


@dataclass(frozen=True)
class Choice:
    """Which forecasts; None and "" are all. Times are those of the last bar known, days inclusive."""

    model: str | None = None
    symbol: str | None = None
    market: str | None = None
    timeframe: str | None = None
    since: str | None = None
    until: str | None = None
    backfilled: bool = False
    """Also those that were written down after their first bar was over."""

    def narrow(self, query: Any, table: Any) -> Any:
        """A query with the choice's conditions."""
        for name in ("model", "symbol", "market", "timeframe"):
            value = getattr(self, name)
            if value:
                query = query.where(table.c[name] == value)
        if self.since:
            query = query.where(table.c.origin >= _moment("since", self.since))
        if self.until:
            query = query.where(table.c.origin < _moment("until", self.until, whole_day=True))
        if not self.backfilled:
            query = query.where(~table.c.marks.contains(BACKFILLED))
        return query


_SHOWN = (
    *("number", "id", "model", "revision", "weights", "calibration", "market", "symbol", "timeframe", "cutoff"),
    *("origin", "first", "last", "samples", "horizon", "lookback", "last_close", "made_at", "marks"),
)


def read_forecasts(database: Database, choice: Choice) -> pd.DataFrame:
    """A row for every forecast chosen, in the order in which they were written down, with the figures of its newest
    outcome, if it has one (`version`, else 0)."""
    table = database.tables.forecasts
    columns = [table.c[name] for name in _SHOWN]
    query = choice.narrow(table.select().with_only_columns(*columns), table).order_by(table.c.number)
    with database.reading() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        ended = {
            row["forecast"]: row
            for row in connection.execute(newest(database, ("forecast", "version", "past", "figures"))).mappings()
        }
    for row in rows:
        outcome = ended.get(row["id"])
        row["version"], row["past"] = (0, "") if outcome is None else (outcome["version"], outcome["past"])
        if outcome is not None:
            row |= read_figures(outcome["figures"])
    frame = pd.DataFrame(rows, columns=None if rows else [*_SHOWN, "version", "past"])
    for name in ("origin", "first", "last"):
        frame[name] = frame[name].astype("int64").astype("datetime64[ns]")
    return frame


def read_figures(text: str) -> dict[str, float]:
    """The figures of an outcome, where null stands for what is no number."""
    return {name: float("nan") if value is None else float(value) for name, value in json.loads(text).items()}


def _moment(what: str, text: str, *, whole_day: bool = False) -> int:
    """Nanoseconds of a time; of a day alone its beginning, or its end."""
    try:
        moment = int(moments(pd.DatetimeIndex([pd.Timestamp(text)]))[0])
    except ValueError as error:
        raise ConfigError(f"{what} {text!r} is no time; write 2025-07-01, or 2025-07-01T12:00") from error
    if not whole_day:
        return moment
    return moment + (_DAY if moment % _DAY == 0 and ":" not in text else 1)
