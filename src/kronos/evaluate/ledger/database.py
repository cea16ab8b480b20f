"""The database below a ledger: SQLite in a file, or PostgreSQL by its URL, both through SQLAlchemy.

Whoever writes holds the one lock there is, from before it reads the last row until its own is there for good. Every
piece of work has a connection of its own, so that nothing is held between two of them and a fork carries nothing over.
What goes wrong is said in one line without passwords.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kronos.errors import ConfigError, SourceError
from kronos.evaluate.ledger.schema import FORECASTS, HEADER, OUTCOMES, VERSION, Tables, tables, triggers
from kronos.extras import require

_LOCK = int.from_bytes(hashlib.sha256(b"kronos ledger").digest()[:8], "big", signed=True)
_SECRET = ("pass", "secret", "key", "token")
_CONNECT = 15  # seconds until a server has to answer


class Database:
    """Reading and writing, each as one transaction."""

    def __init__(self, place: str | Path, patience: float) -> None:
        """Know where it is and who speaks to it; nothing is opened yet."""
        self._sa = require("sqlalchemy", extra="ledger")
        self._url = self._parse(place)
        self.dialect: str = self._url.get_backend_name()
        self.file = Path(self._url.database) if self.dialect == "sqlite" else None
        self._patience = patience
        self.place = str(self.file) if self.file is not None else self._shown()
        self.engine = self._engine()

    @property
    def tables(self) -> Tables:
        """The three."""
        return tables()

    def prepare(self, header: dict[str, Any], *, create: bool) -> str:
        """The identity of the ledger that is there; with `create`, made where there is none."""
        if self.file is not None and not self.file.is_file():
            if not create:
                raise SourceError(f"{self.place}: there is no ledger; `kronos ledger add` makes one")
            if not self.file.parent.is_dir():
                raise SourceError(f"{self.place}: there is no such folder to make a ledger in")
        if create and not self._is_there():
            self._create(header)
        with self.reading() as connection:
            if not self._sa.inspect(connection).has_table(HEADER):
                raise SourceError(f"{self.place}: holds no ledger; `kronos ledger add` makes one")
            found = connection.execute(self._sa.select(self.tables.header)).mappings().all()
        newest = max((row["version"] for row in found), default=None)
        if newest != VERSION:
            raise SourceError(
                f"{self.place}: this ledger has version {newest} and was made by another release of this package; "
                f"this one knows version {VERSION}"
            )
        return str(found[0]["identity"])

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """A connection that sees one moment of the ledger."""
        with self._telling(), self.engine.connect() as plain:
            connection = (
                plain if self.dialect == "sqlite" else plain.execution_options(isolation_level="REPEATABLE READ")
            )
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """A connection that holds the lock; what is written is there for good when the block ends, or not at all."""
        with self._telling(), self.engine.connect() as plain:
            connection = plain.execution_options(kronos_writes=True)
            if self.dialect != "sqlite":  # what is read after the lock is held must be what is there then
                connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                if self.dialect != "sqlite":
                    milliseconds = max(int(1000 * self._patience), 1)
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                yield connection

    def triggers_there(self) -> set[str]:
        """The names of the triggers on our tables."""
        with self.reading() as connection:
            if self.dialect == "sqlite":
                query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            else:
                # of our tables in this schema, and not of a namesake elsewhere; O is enabled, A always
                query = (
                    "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgrelid IN "
                    f"(to_regclass('{HEADER}'), to_regclass('{FORECASTS}'), to_regclass('{OUTCOMES}'))"
                )
            return {str(row[0]) for row in connection.exec_driver_sql(query)}

    def _is_there(self) -> bool:
        if self.file is not None and not self.file.exists():
            return False
        with self.reading() as connection:
            return bool(self._sa.inspect(connection).has_table(HEADER))

    def _create(self, header: dict[str, Any]) -> None:
        with self.writing() as connection:
            if self._sa.inspect(connection).has_table(HEADER):
                return  # somebody else was faster
            self.tables.metadata.create_all(connection, checkfirst=False)
            for statement in triggers(self.dialect):
                connection.exec_driver_sql(statement)
            connection.execute(self.tables.header.insert().values(version=VERSION, **header))

    def _parse(self, place: str | Path) -> Any:
        """A URL of SQLAlchemy's, with the driver that we know."""
        url_module = self._sa.engine.url
        if "://" not in str(place):
            return url_module.URL.create("sqlite", database=str(place))
        try:
            url = url_module.make_url(str(place))
        except (self._sa.exc.ArgumentError, ValueError):
            raise ConfigError("the ledger's URL cannot be read; write postgresql://USER@HOST/DATABASE") from None
        backend = url.get_backend_name()
        if backend in ("postgresql", "postgres"):
            return url.set(drivername="postgresql+psycopg")
        if backend != "sqlite":
            raise ConfigError(f"a ledger lies in SQLite or in PostgreSQL, not in {backend!r}")
        if url.database in (None, "", ":memory:"):
            raise ConfigError("a ledger in memory would be gone when the program ends; name a file")
        return url

    def _shown(self) -> str:
        """The URL without what nobody should read over a shoulder."""
        open_ = {key: value for key, value in self._url.query.items() if not any(sign in key for sign in _SECRET)}
        shown: str = self._url.set(query=open_, drivername="postgresql").render_as_string(hide_password=True)
        return shown

    def _engine(self) -> Any:
        sa = self._sa
        if self.dialect == "sqlite":
            engine = sa.create_engine(self._url, poolclass=sa.pool.NullPool, connect_args={"timeout": self._patience})
            sa.event.listen(engine, "connect", _prepare_sqlite)
            sa.event.listen(engine, "begin", _begin_sqlite)
            return engine
        require("psycopg", extra="postgres")
        wait = {} if "connect_timeout" in self._url.query else {"connect_timeout": _CONNECT}
        return sa.create_engine(self._url, poolclass=sa.pool.NullPool, connect_args=wait)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn what the database says into one line of ours."""
        try:
            yield
        except self._sa.exc.SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            raise SourceError(f"{self.place}: {self._explain(self._without_secrets(reason))}") from error

    def _explain(self, reason: str) -> str:
        known = {
            "locked": "another program holds the lock of this ledger; try again when it is done",
            "lock timeout": "another program holds the lock of this ledger; try again when it is done",
            "is full": "the disk is full; nothing was written",
            "No space left": "the disk is full; nothing was written",
            "readonly": "this ledger may only be read",
            "read-only": "this ledger may only be read",
            "not a database": "this file is no ledger",
        }
        hint = next((text for sign, text in known.items() if sign in reason), None)
        return reason if hint is None else f"{hint} ({reason})"

    def _without_secrets(self, text: str) -> str:
        hidden = [self._url.password or "", *(v for k, v in self._url.query.items() if any(s in k for s in _SECRET))]
        for secret in hidden:
            if secret:
                text = text.replace(str(secret), "***")
        return text


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, and not where the driver thinks
    for pragma in ("synchronous = FULL", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("kronos_writes", False)
    # a reader who becomes a writer half-way may be refused; so a writer says at once that it is one
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
