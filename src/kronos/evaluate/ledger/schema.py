"""The tables of a ledger, and what keeps them from being changed.

Three tables: `kronos_ledger` says which ledger this is and by which rules it is written, `kronos_forecasts` what was
said, `kronos_outcomes` how it turned out. Rows are numbered without holes and hold the digest of the row before, in the
tables of forecasts and outcomes each. Triggers refuse to change or delete a row, and a row that does not follow the
last one.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from kronos.extras import require

VERSION = 1
"""Of the tables; a ledger says by which it was made, and an unknown one is not touched."""

START = "0" * 64
"""What stands as the digest of the row before the first."""

HEADER, FORECASTS, OUTCOMES = "kronos_ledger", "kronos_forecasts", "kronos_outcomes"
CHAINED = (FORECASTS, OUTCOMES)

_REFUSED = "the ledger is append-only"
_NO_FOLLOWER = "this row does not follow the last one of the ledger"


@dataclass(frozen=True)
class Tables:
    """SQLAlchemy's view of the three."""

    metadata: Any
    header: Any
    forecasts: Any
    outcomes: Any


_TEXTS = ("symbol", "market", "timeframe", "model", "revision", "weights", "calibration", "cutoff", "clock", "settings")
_WHOLES = ("samples", "horizon", "lookback", "began", "origin", "first", "last", "kept")
_PACKED = ("times", "past_times", "past_closes", "moves", "extremes")


@cache
def tables() -> Tables:
    """The tables as SQLAlchemy knows them."""
    sa = require("sqlalchemy", extra="ledger")
    metadata = sa.MetaData()
    key = _column("version", sa.Integer, primary_key=True, autoincrement=False)
    header = sa.Table(HEADER, metadata, key, *(_column(name, sa.Text) for name in ("identity", "made_at", "program")))
    return Tables(metadata, header, _forecasts(sa, metadata), _outcomes(sa, metadata))


def _forecasts(sa: Any, metadata: Any) -> Any:
    return sa.Table(
        FORECASTS,
        metadata,
        *_chain(sa),
        _column("id", sa.Text, unique=True),
        _column("marks", sa.Text),
        *(_column(name, sa.Text) for name in (*_TEXTS, "data", "content")),
        _column("seed", _whole(sa), nullable=True),
        *(_column(name, _whole(sa)) for name in _WHOLES),
        _column("last_close", sa.Double),
        *(_column(name, sa.LargeBinary) for name in _PACKED),
    )


def _outcomes(sa: Any, metadata: Any) -> Any:
    return sa.Table(
        OUTCOMES,
        metadata,
        *_chain(sa),
        _column("forecast", sa.Text),  # no foreign key: a check says more than a refusal could
        _column("version", _whole(sa)),
        *(_column(name, sa.Text) for name in ("source", "past", "prices", "figures")),
        _column("factor", sa.Double),
        _column("bars", sa.LargeBinary),
        sa.UniqueConstraint("forecast", "version"),
    )


def _chain(sa: Any) -> list[Any]:
    """What makes rows follow each other."""
    return [
        _column("number", _whole(sa), primary_key=True, autoincrement=False),
        _column("previous", sa.Text, unique=True),  # no two rows follow the same one
        _column("digest", sa.Text, unique=True),
        _column("made_at", sa.Text),
        _column("program", sa.Text),
    ]


def _column(name: str, kind: Any, *, nullable: bool = False, **more: Any) -> Any:
    return require("sqlalchemy", extra="ledger").Column(name, kind, nullable=nullable, **more)


def _whole(sa: Any) -> Any:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def triggers(dialect: str) -> list[str]:
    """The statements that make the triggers, and what they call."""
    return _in_sqlite() if dialect == "sqlite" else _in_postgresql()


def trigger_names() -> set[str]:
    """The names of all triggers there must be."""
    kept = {f"{table}_kept_{what}" for table in (HEADER, *CHAINED) for what in ("update", "delete")}
    return kept | {f"{table}_follows" for table in CHAINED}


def _in_sqlite() -> list[str]:
    made = [
        f"CREATE TRIGGER {table}_kept_{what} BEFORE {what.upper()} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        for table in (HEADER, *CHAINED)
        for what in ("update", "delete")
    ]
    # INSERT OR REPLACE deletes without asking the triggers above; a row that replaces one does not follow the last
    return made + [
        f"CREATE TRIGGER {table}_follows BEFORE INSERT ON {table} WHEN "
        f"NEW.number IS NOT (SELECT COALESCE(MAX(number), 0) + 1 FROM {table}) OR "
        f"NEW.previous IS NOT COALESCE((SELECT digest FROM {table} ORDER BY number DESC LIMIT 1), '{START}') OR "
        f"EXISTS (SELECT 1 FROM {table} WHERE digest = NEW.digest OR {_same(table)}) "
        f"BEGIN SELECT RAISE(ABORT, '{_NO_FOLLOWER}'); END"
        for table in CHAINED
    ]


def _same(table: str) -> str:
    return "id = NEW.id" if table == FORECASTS else "(forecast = NEW.forecast AND version = NEW.version)"


def _in_postgresql() -> list[str]:
    made = [
        "CREATE OR REPLACE FUNCTION kronos_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$",
        "CREATE OR REPLACE FUNCTION kronos_ledger_follow() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "DECLARE last_number bigint; last_digest text; BEGIN "
        "EXECUTE 'SELECT number, digest FROM ' || TG_RELID::regclass || ' ORDER BY number DESC LIMIT 1' "
        "INTO last_number, last_digest; "
        "IF NEW.number IS DISTINCT FROM COALESCE(last_number, 0) + 1 OR "
        f"NEW.previous IS DISTINCT FROM COALESCE(last_digest, '{START}') THEN "
        f"RAISE EXCEPTION '{_NO_FOLLOWER}'; END IF; RETURN NEW; END $$",
    ]
    for table in (HEADER, *CHAINED):
        for what, on in (("update", "UPDATE"), ("delete", "DELETE OR TRUNCATE")):
            made.append(
                f"CREATE TRIGGER {table}_kept_{what} BEFORE {on} ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION kronos_ledger_refuse()"
            )
    return made + [
        f"CREATE TRIGGER {table}_follows BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION kronos_ledger_follow()"
        for table in CHAINED
    ]
