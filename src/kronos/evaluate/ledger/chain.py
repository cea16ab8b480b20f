"""The chain that rows hang on: every one holds the digest of the one before, so that a change shows in all that follow.

Who may write into the database file can still write a whole new chain. Against that helps a digest that was noted
elsewhere: `check` says whether the chain still leads through it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kronos.errors import ConfigError, KronosError
from kronos.evaluate.ledger.database import Database
from kronos.evaluate.ledger.packing import digest_row
from kronos.evaluate.ledger.schema import START, trigger_names
from kronos.evaluate.ledger.statement import Statement, to_id

_TOGETHER = 500  # rows in memory at once
_MOST_TOLD = 20


@dataclass(frozen=True)
class Last:
    """The last row of a table; of an empty one what stands for it."""

    number: int = 0
    digest: str = START
    made_at: str = ""


@dataclass
class Checked:
    """What a check of the chains found."""

    forecasts: int = 0
    outcomes: int = 0
    head: str = START
    """The digest of the last forecast: note it elsewhere."""
    outcomes_head: str = START
    problems: list[str] = field(default_factory=list)
    more: int = 0
    """Problems beyond those that are listed."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def tree(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"sound": self.sound, **vars(self)}

    def _tell(self, problem: str) -> None:
        if len(self.problems) < _MOST_TOLD:
            self.problems.append(problem)
        else:
            self.more += 1


def last_of(connection: Any, table: Any) -> Last:
    """The row that the next one follows."""
    columns = (table.c.number, table.c.digest, table.c.made_at)
    query = table.select().with_only_columns(*columns).order_by(table.c.number.desc()).limit(1)
    row = connection.execute(query).first()
    return Last() if row is None else Last(int(row[0]), row[1], row[2])


def append(connection: Any, table: Any, values: Mapping[str, Any], program: str, now: datetime, after: Last) -> Last:
    """Write a row that follows `after`."""
    row = {
        **values,
        "number": after.number + 1,
        "previous": after.digest,
        "made_at": iso(now),
        "program": program,
    }
    digest = digest_row(row)
    connection.execute(table.insert(), {**row, "digest": digest})
    return Last(row["number"], digest, row["made_at"])


def iso(moment: datetime) -> str:
    """UTC to the microsecond, in a spelling whose order is that of time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def check_chains(database: Database, expect: str | None = None) -> Checked:
    """Read every row of the ledger and say what is wrong with it."""
    if expect is not None and not (len(expect) >= 8 and set(expect) <= set("0123456789abcdef")):
        raise ConfigError(
            f"{expect!r} is no digest: `kronos ledger check` printed one, of 64 signs or the first of them"
        )
    found, ids, passed = Checked(), set(), expect is None
    tables = database.tables
    for row in _linked(database, tables.forecasts, found):
        found.forecasts, found.head = found.forecasts + 1, row["digest"]
        passed = passed or row["digest"].startswith(str(expect))
        ids.add(row["id"])
        _check_statement(row, found)
    for row in _linked(database, tables.outcomes, found):
        found.outcomes, found.outcomes_head = found.outcomes + 1, row["digest"]
        passed = passed or row["digest"].startswith(str(expect))
        if row["forecast"] not in ids:
            found._tell(f"outcome {row['number']} belongs to forecast {row['forecast'][:12]}, which is gone")
    if not passed:
        found._tell(f"no row has the digest {expect}: rows were taken away, or the whole chain was written anew")
    missing = trigger_names() - database.triggers_there()
    if missing:
        found._tell(f"what refuses changes is gone or switched off: {', '.join(sorted(missing))}")
    return found


def _linked(database: Database, table: Any, found: Checked) -> Iterator[Mapping[str, Any]]:
    """The rows in order, with their numbers, links and digests checked."""
    before = Last()
    for row in _rows(database, table):
        name = f"{table.name} row {row['number']}"
        if row["number"] != before.number + 1:
            found._tell(f"{name}: follows row {before.number}; those between are gone")
        elif row["previous"] != before.digest:
            found._tell(f"{name}: does not follow row {before.number}; one of the two was changed")
        digest = digest_row({key: value for key, value in row.items() if key != "digest"})
        if digest != row["digest"]:
            found._tell(f"{name}: was changed after it was written")
        before = Last(row["number"], row["digest"], row["made_at"])
        yield row


def _rows(database: Database, table: Any) -> Iterator[Mapping[str, Any]]:
    number = 0
    while True:
        with database.reading() as connection:
            query = table.select().where(table.c.number > number).order_by(table.c.number).limit(_TOGETHER)
            rows = connection.execute(query).mappings().all()
        yield from rows
        if len(rows) < _TOGETHER:
            return
        number = rows[-1]["number"]


def _check_statement(row: Mapping[str, Any], found: Checked) -> None:
    try:
        same = Statement.from_row(row).id == row["id"] == to_id(row)
    except KronosError as error:
        found._tell(f"forecast {row['id'][:12]}: {error}")
        return
    if not same:
        found._tell(f"forecast {row['id'][:12]}: does not say what its id says")
