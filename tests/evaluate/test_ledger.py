"""The ledger keeps what it was given, on SQLite and on a real PostgreSQL: whoever writes, crashes or meddles."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from fake_postgres import postgres
from kronos.errors import BarsError, ConfigError, MissingExtra, SourceError
from kronos.evaluate.ledger.choosing import Choice
from kronos.evaluate.ledger.ledger import Ledger
from kronos.evaluate.ledger.schema import FORECASTS, HEADER, OUTCOMES
from ledger_toys import START, Clock, forecast_of, market, series_of, write

BARS = market(400)
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place without a ledger: a file, or a schema of its own on the server."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    url = request.getfixturevalue("server")
    schema = f"t{abs(hash(request.node.nodeid)):x}"
    with raw(url) as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    return f"{url}&options=-csearch_path%3D{schema}"


def raw(place: str) -> Any:
    """A connection of somebody who goes around the program."""
    url = place.replace("postgresql:", "postgresql+psycopg:") if "://" in place else f"sqlite:///{place}"
    return sa.create_engine(url, poolclass=sa.pool.NullPool).begin()


# What was said comes back ------------------------------------------------------------------------------------------


def test_a_forecast_comes_back_as_it_was_said(place: str) -> None:
    clock, made = Clock(), forecast_of(BARS, 200, samples=50, calibration="c1a2", cutoff="2024-06-30", top_p=0.9)
    clock.at(BARS, 200)
    ledger = Ledger.open(place, clock=clock)
    added = ledger.add(made, symbol="BTC/USDT", market="crypto", revision="v1", weights="abcd")
    assert (added.number, added.new, added.marks) == (1, True, ())
    assert added.bytes < 50 * 24 * 4 + 1500  # float32 closes, and little besides
    entry = ledger.entry(added.id[:10])
    said, back = entry.statement.said, entry.statement.forecast()
    assert (said.symbol, said.market, said.timeframe, said.model) == ("BTC/USDT", "crypto", "1h", "gauss")
    assert (said.revision, said.weights, said.calibration, said.cutoff) == ("v1", "abcd", "c1a2", "2024-06-30")
    assert said.settings == '{"T":1.0,"top_p":0.9}'
    assert (entry.statement.seed, entry.statement.lookback, entry.made_at) == (0, 150, "2025-03-09T08:00:05.000000Z")
    assert list(back.timestamps) == list(made.timestamps)
    np.testing.assert_allclose(back.paths[..., 3], made.paths[..., 3], rtol=1e-8)
    np.testing.assert_allclose(back.paths[..., 1].max(axis=1), made.paths[..., 1].max(axis=1), rtol=1e-7)
    np.testing.assert_allclose(back.paths[..., 2].min(axis=1), made.paths[..., 2].min(axis=1), rtol=1e-7)
    assert list(back.prob_up()) == list(made.prob_up())
    assert back.prob_touch(made.last_close * 1.03) == made.prob_touch(made.last_close * 1.03)
    assert made.history is not None
    np.testing.assert_array_equal(entry.statement.past_closes, made.history["close"].to_numpy()[-101:])


def test_the_same_statement_twice_is_one_row_and_anything_else_is_another(place: str) -> None:
    ledger = Ledger.open(place, clock=Clock())
    first = ledger.add(forecast_of(BARS, 200), symbol="BTC/USDT")
    again = Ledger.open(place, clock=Clock(START + timedelta(hours=1))).add(forecast_of(BARS, 200), symbol="BTC/USDT")
    assert (again.id, again.number, again.new) == (first.id, first.number, False)
    others: list[Callable[[], Any]] = [
        lambda: ledger.add(forecast_of(BARS, 200, seed=1), symbol="BTC/USDT"),
        lambda: ledger.add(forecast_of(BARS, 201), symbol="BTC/USDT"),
        lambda: ledger.add(forecast_of(BARS, 200), symbol="BTC/EUR"),
        lambda: ledger.add(forecast_of(BARS, 200), symbol="BTC/USDT", calibration="c2"),
        lambda: ledger.add(forecast_of(BARS, 200, T=0.9), symbol="BTC/USDT"),
        lambda: ledger.add(forecast_of(BARS * 1.0001, 200), symbol="BTC/USDT"),
    ]
    assert [other().number for other in others] == [2, 3, 4, 5, 6, 7]
    assert ledger.check().forecasts == 7


def test_both_databases_hold_the_same_rows_to_the_bit(server: str, tmp_path: Path) -> None:
    with raw(server) as connection:
        connection.exec_driver_sql("CREATE SCHEMA same")
    heads = []
    for place in (str(tmp_path / "ledger.db"), f"{server}&options=-csearch_path%3Dsame"):
        found = filled(place)[0].check()
        heads.append((found.head, found.outcomes_head))
    assert heads[0] == heads[1]


def test_text_that_is_none_and_forecasts_without_a_past_are_refused(place: str) -> None:
    ledger, made = Ledger.open(place, clock=Clock()), forecast_of(BARS, 200)
    with pytest.raises(ConfigError, match="needs a symbol"):
        ledger.add(made, symbol=" ")
    with pytest.raises(ConfigError, match="printable"):
        ledger.add(made, symbol="BTC\x00")
    with pytest.raises(ConfigError, match="pass model="):
        ledger.add(forecast_of(BARS, 200, model=None), symbol="BTC")
    bare = type(made)(made.paths, made.timestamps, made.last_close, meta={"model": "gauss"})
    with pytest.raises(BarsError, match="bars it was made from"):
        ledger.add(bare, symbol="BTC")
    with pytest.raises(ConfigError, match="zone 'Mars/Olympus' is not known"):
        ledger.add(made, symbol="BTC", zone="Mars/Olympus")
    assert ledger.forecasts().empty


# Nobody changes it -------------------------------------------------------------------------------------------------


def filled(place: str) -> tuple[Ledger, Clock]:
    """Four forecasts, all of them scored."""
    clock = Clock()
    ledger = Ledger.open(place, clock=clock)
    for row in (200, 226, 252, 278):
        write(ledger, clock, BARS, row, samples=4)
    clock.at(BARS, 399)
    assert ledger.reconcile([series_of(BARS)]).scored == 4
    return ledger, clock


def test_the_database_refuses_changes_to_any_row(place: str) -> None:
    ledger, _ = filled(place)
    attempts = [f"DELETE FROM {table}" for table in (HEADER, FORECASTS, OUTCOMES)]
    attempts += [f"UPDATE {table} SET made_at = ''" for table in (HEADER, FORECASTS, OUTCOMES)]
    attempts += [f"UPDATE {FORECASTS} SET marks = 'x' WHERE number = 99"]
    copied = f"INTO {FORECASTS} SELECT * FROM {FORECASTS} WHERE number = 2"
    if "://" in place:
        attempts += [f"TRUNCATE {FORECASTS}", f"INSERT {copied} ON CONFLICT (number) DO UPDATE SET marks = 'x'"]
    else:
        attempts += [f"INSERT OR REPLACE {copied}", f"REPLACE {copied}"]
    before = ledger.check()
    for attempt in attempts:
        with raw(place) as connection:
            if "WHERE number = 99" in attempt and "://" not in place:
                connection.exec_driver_sql(attempt)  # it changes nothing, and SQLite does not ask
                continue
            with pytest.raises(sa.exc.DBAPIError, match=r"append-only|does not follow"):
                connection.exec_driver_sql(attempt)
    assert ledger.check() == before
    assert before.sound
    assert (before.forecasts, before.outcomes) == (4, 4)


def meddle(place: str, *statements: str) -> None:
    """Change rows as somebody does who owns the database, and put everything back in order."""
    with raw(place) as connection:
        if "://" in place:
            connection.exec_driver_sql("SET session_replication_role = replica")  # triggers sleep
            for statement in statements:
                connection.exec_driver_sql(statement)
            return
        names = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
        for name, _ in names:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        for statement in (*statements, *(sql for _, sql in names)):
            connection.exec_driver_sql(statement)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that nobody has touched."""
    place = tmp_path_factory.mktemp("kept") / "ledger.db"
    filled(str(place))
    return place


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (f"UPDATE {FORECASTS} SET model = 'better' WHERE number = 2", "row 2: was changed"),
        (f"UPDATE {FORECASTS} SET made_at = '2025-01-01T00:00:00.000000Z' WHERE number = 4", "row 4: was changed"),
        (f"UPDATE {FORECASTS} SET last_close = last_close * 1.01 WHERE number = 1", "row 1: was changed"),
        (f"UPDATE {FORECASTS} SET digest = '{'0' * 64}' WHERE number = 2", "row 3: does not follow row 2"),
        (f"DELETE FROM {FORECASTS} WHERE number = 2", "row 3: follows row 1; those between are gone"),
        (f"DELETE FROM {FORECASTS} WHERE number = 4", "outcome 4 belongs to forecast"),
        (f"UPDATE {OUTCOMES} SET figures = '{{}}' WHERE number = 3", "kronos_outcomes row 3: was changed"),
        (f"DELETE FROM {OUTCOMES} WHERE number = 1", "kronos_outcomes row 2: follows row 0"),
    ],
)
def test_the_chain_shows_what_was_changed_all_the_same(kept: Path, tmp_path: Path, statement: str, told: str) -> None:
    place = str(shutil.copy(kept, tmp_path / "ledger.db"))
    meddle(place, statement)
    found = Ledger.open(place).check()
    assert not found.sound
    assert any(told in problem for problem in found.problems), found.problems


def test_a_digest_noted_elsewhere_catches_a_cut_or_rewritten_chain(place: str) -> None:
    ledger, _ = filled(place)
    noted = ledger.check()
    assert ledger.check(expect=noted.head).sound
    assert ledger.check(expect=noted.outcomes_head[:12]).sound
    meddle(place, f"DELETE FROM {OUTCOMES} WHERE number = 4", f"DELETE FROM {FORECASTS} WHERE number = 4")
    assert ledger.check().sound  # nothing in it shows the cut
    assert "rows were taken away" in ledger.check(expect=noted.head).problems[0]
    with pytest.raises(ConfigError, match="is no digest"):
        ledger.check(expect="yesterday")


def test_one_damaged_row_does_not_keep_the_others_from_being_scored(tmp_path: Path) -> None:
    place = str(tmp_path / "ledger.db")
    clock = Clock()
    ledger = Ledger.open(place, clock=clock)
    for row in (200, 201, 202):
        write(ledger, clock, BARS, row, samples=4)
    meddle(
        place,
        f"UPDATE {FORECASTS} SET past_closes = x'00' WHERE number = 1",
        f"UPDATE {FORECASTS} SET moves = substr(moves, 1, 40) WHERE number = 2",
    )
    clock.at(BARS, 399)
    found = ledger.reconcile([series_of(BARS)])
    assert (found.scored, found.unmatched) == (1, 2)
    assert all("a row of the ledger is damaged" in line for line in found.told)
    assert len(ledger.check().problems) >= 2


def test_a_ledger_whose_triggers_are_gone_is_not_sound(place: str) -> None:
    ledger, _ = filled(place)
    with raw(place) as connection:
        on = f" ON {FORECASTS}" if "://" in place else ""
        connection.exec_driver_sql(f"DROP TRIGGER {FORECASTS}_kept_delete{on}")
    assert ledger.check().problems == ["what refuses changes is gone or switched off: kronos_forecasts_kept_delete"]


# Many writers, and none that survives ------------------------------------------------------------------------------


def run(*works: Callable[[], Any]) -> list[int | None]:
    """Processes at the same time; how each ended."""
    workers = [FORK.Process(target=work) for work in works]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [worker.exitcode for worker in workers]


def test_many_writers_lose_nothing_and_double_nothing(place: str) -> None:
    def work(own: int) -> None:
        ledger = Ledger.open(place, clock=Clock())  # all of them make it, and one is first
        for row in range(200, 204):
            ledger.add(forecast_of(BARS, row, samples=2, seed=own), symbol="BTC/USDT")
            ledger.add(forecast_of(BARS, row, samples=2, seed=99), symbol="BTC/USDT")  # they all say this

    assert run(*(lambda own=own: work(own) for own in range(3))) == [0] * 3
    ledger = Ledger.open(place, create=False)
    rows = ledger.forecasts()
    assert len(rows) == 3 * 4 + 4
    assert list(rows["number"]) == list(range(1, 17))
    assert rows["id"].is_unique
    found = ledger.check()
    assert (found.sound, found.forecasts) == (True, 16)


def test_a_writer_killed_between_write_and_commit_leaves_nothing_and_locks_nobody_out(place: str) -> None:
    Ledger.open(place, clock=Clock()).add(forecast_of(BARS, 200), symbol="BTC/USDT")

    def die() -> None:
        ledger = Ledger.open(place, clock=Clock())
        sa.event.listen(ledger._database.engine, "commit", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        # the row is written by then, and larger than what SQLite keeps in memory
        ledger.add(forecast_of(BARS, 201, samples=30_000), symbol="BTC/USDT")

    assert run(die) == [-signal.SIGKILL]
    ledger = Ledger.open(place, clock=Clock(), patience=20.0)
    assert ledger.check().forecasts == 1
    assert ledger.add(forecast_of(BARS, 202), symbol="BTC/USDT").number == 2
    assert ledger.check().sound


def test_writers_killed_at_any_moment_keep_what_they_were_told_is_kept(place: str) -> None:
    rows = range(200, 224)

    def work(tell: Callable[[Any], None]) -> None:
        ledger = Ledger.open(place, clock=Clock())
        for row in rows:
            added = ledger.add(forecast_of(BARS, row, samples=2), symbol="BTC/USDT")
            tell((added.id, added.new))

    told: set[str] = set()
    for goes in (3, 1, 5):
        hears, speaks = FORK.Pipe(duplex=False)
        worker = FORK.Process(target=lambda speaks=speaks: work(speaks.send))
        worker.start()
        speaks.close()  # only the worker's end is open: if it dies early, that is heard
        new = 0
        while new < goes:  # those written before are there again, and are not new
            name, was_new = hears.recv()
            told.add(name)
            new += was_new
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        with suppress(EOFError):
            while True:
                told.add(hears.recv()[0])
        hears.close()
        ledger = Ledger.open(place, create=False)
        kept = ledger.forecasts()
        assert told <= set(kept["id"])
        assert len(kept) <= len(told) + 1  # one may be there whose writer died before it could tell
        assert ledger.check().sound
    assert run(lambda: work(lambda _: None)) == [0]
    rows_there = Ledger.open(place, create=False).forecasts()
    assert len(rows_there) == len(rows)
    assert list(rows_there["number"]) == list(range(1, len(rows) + 1))


def test_reconciling_twice_or_from_two_places_at_once_doubles_nothing(place: str) -> None:
    clock = Clock()
    ledger = Ledger.open(place, clock=clock)
    for row in range(200, 206):
        write(ledger, clock, BARS, row, samples=4)
    clock.at(BARS, 399)

    def work() -> None:
        Ledger.open(place, clock=clock).reconcile([series_of(BARS)])

    assert run(work, work, work) == [0, 0, 0]
    found = ledger.reconcile([series_of(BARS)])
    assert (found.scored, found.revised, found.settled) == (0, 0, 6)
    checked = ledger.check()
    assert (checked.sound, checked.outcomes) == (True, 6)
    assert set(ledger.forecasts()["version"]) == {1}


def test_a_reconciler_killed_before_its_commit_is_made_good_by_the_next(place: str) -> None:
    clock = Clock()
    ledger = Ledger.open(place, clock=clock)
    for row in (200, 201):
        write(ledger, clock, BARS, row, samples=4)
    clock.at(BARS, 399)

    def die() -> None:
        mine = Ledger.open(place, clock=clock)
        sa.event.listen(mine._database.engine, "commit", _die_when_writing)
        mine.reconcile([series_of(BARS)])

    assert run(die) == [-signal.SIGKILL]
    assert ledger.check().outcomes == 0
    assert ledger.reconcile([series_of(BARS)]).scored == 2


def _die_when_writing(connection: Any) -> None:
    if connection.get_execution_options().get("kronos_writes"):
        os.kill(os.getpid(), signal.SIGKILL)


# Clocks ------------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_is_marked_and_loses_no_order(place: str) -> None:
    clock = Clock()
    ledger = Ledger.open(place, clock=clock)
    write(ledger, clock, BARS, 210)
    clock.now -= timedelta(hours=3)
    back = ledger.add(forecast_of(BARS, 211), symbol="BTC/USDT")
    clock.now += timedelta(hours=4)
    assert back.marks == ("clock-back",)
    assert ledger.add(forecast_of(BARS, 212), symbol="BTC/USDT").marks == ()
    rows = ledger.forecasts()
    assert list(rows["number"]) == [1, 2, 3]
    assert list(rows["origin"]) == list(BARS.index[209:212])
    assert not rows["made_at"].is_monotonic_increasing
    assert ledger.check().sound
    assert len(ledger.scoreboard().trials) == 3  # it was said before its bars all the same


def test_a_forecast_after_the_fact_is_refused_or_marked_and_not_counted(place: str) -> None:
    clock = Clock()
    ledger = Ledger.open(place, clock=clock)
    clock.at(BARS, 201)  # five seconds after the first bar was over
    with pytest.raises(ConfigError, match="was over at 2025-03-09 09:00 UTC"):
        ledger.add(forecast_of(BARS, 200), symbol="BTC/USDT")
    assert ledger.forecasts().empty
    added = ledger.add(forecast_of(BARS, 200), symbol="BTC/USDT", backfill=True)
    assert added.marks == ("backfilled",)
    clock.now -= timedelta(seconds=10)  # just in time
    assert ledger.add(forecast_of(BARS, 200, seed=1), symbol="BTC/USDT", backfill=True).marks == ("clock-back",)
    board = ledger.scoreboard()
    assert (len(board.trials), board.left_out) == (1, 1)
    assert len(ledger.scoreboard(Choice(backfilled=True)).trials) == 2


def test_stamps_without_a_zone_are_over_when_their_own_clock_says(place: str) -> None:
    clock = Clock()
    ledger = Ledger.open(place, clock=clock)
    clock.at(BARS, 200)
    clock.now -= timedelta(hours=8)  # 16:00 in Shanghai is 8:00 in UTC
    assert ledger.add(forecast_of(BARS, 200), symbol="A", zone="Asia/Shanghai").marks == ()
    clock.now += timedelta(hours=2)
    with pytest.raises(ConfigError, match="was over"):
        ledger.add(forecast_of(BARS, 201), symbol="A", zone="Asia/Shanghai")
    assert ledger.add(forecast_of(BARS, 201), symbol="A").marks == ()  # taken as UTC, where it is hours ahead
    aware = BARS.tz_localize("Asia/Shanghai")
    with pytest.raises(ConfigError, match="was over"):
        ledger.add(forecast_of(aware, 201), symbol="B")


# What goes wrong ---------------------------------------------------------------------------------------------------


def test_a_locked_ledger_is_one_clear_error(place: str) -> None:
    ledger = Ledger.open(place, clock=Clock(), patience=0.1)
    with ledger._database.writing(), pytest.raises(SourceError, match="another program holds the lock"):
        ledger.add(forecast_of(BARS, 200), symbol="BTC/USDT")
    assert ledger.add(forecast_of(BARS, 200), symbol="BTC/USDT").number == 1


def test_a_ledger_of_another_version_is_not_touched(place: str) -> None:
    Ledger.open(place, clock=Clock())
    with raw(place) as connection:
        connection.exec_driver_sql(f"INSERT INTO {HEADER} VALUES (2, 'x', 'x', 'kronos-candles 9')")
    with pytest.raises(SourceError, match="has version 2 and was made by another release"):
        Ledger.open(place)


def test_there_is_no_ledger_where_none_was_made(place: str) -> None:
    with pytest.raises(SourceError, match="no ledger"):
        Ledger.open(place, create=False)
    if "://" not in place:
        assert not Path(place).exists()


def test_a_full_disk_is_one_clear_error_and_nothing_is_written(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db", clock=Clock())
    ledger.add(forecast_of(BARS, 200), symbol="BTC/USDT")
    pages = "PRAGMA max_page_count = 40"
    sa.event.listen(ledger._database.engine, "connect", lambda connection, _: connection.execute(pages).close())
    with pytest.raises(SourceError, match="disk is full; nothing was written"):
        ledger.add(forecast_of(BARS, 201, samples=5000), symbol="BTC/USDT")
    found = ledger.check()
    assert (found.sound, found.forecasts) == (True, 1)


def test_files_that_are_no_ledgers_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no database, and rather longer than a header of one hundred bytes would be; " * 20)
    with pytest.raises(SourceError, match="this file is no ledger"):
        Ledger.open(text)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(SourceError, match="holds no ledger"):
        Ledger.open(other, create=False)
    with pytest.raises(SourceError, match="no such folder"):
        Ledger.open(tmp_path / "none" / "ledger.db")


@pytest.mark.parametrize(
    ("url", "error", "told"),
    [
        ("postgresql://me:hunter2@127.0.0.1:1/kronos", SourceError, "me:***@127.0.0.1:1"),
        ("postgresql://me@127.0.0.1:1/kronos?password=hunter2", SourceError, "127.0.0.1"),
        ("postgresql://me:hunter2@127.0.0.1:port/kronos", ConfigError, "cannot be read"),
        ("mysql://me:hunter2@127.0.0.1/kronos", ConfigError, "not in 'mysql'"),
        ("sqlite://", ConfigError, "name a file"),
    ],
)
def test_places_that_cannot_be_opened_are_told_without_passwords(url: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error) as raised:
        Ledger.open(url)
    assert told in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_without_the_package_the_command_that_brings_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kronos-candles\[ledger\]'"):
        Ledger.open(tmp_path / "ledger.db")


def test_a_ledger_of_the_first_version_is_read_for_ever(tmp_path: Path) -> None:
    """The file was written once; what it says must never be read differently."""
    old = tmp_path / "old.db"
    with sqlite3.connect(old) as connection:
        connection.executescript((Path(__file__).parent / "ledger_version1.sql").read_text())
    connection.close()
    ledger = Ledger.open(old, create=False, clock=Clock(START + timedelta(days=30)))
    found = ledger.check()
    assert found.sound, found.problems
    assert found.head == "755028a18d84accfbd35be9c9232e2d1ec0c09c09bac10bece2f6ce018c24087"
    assert found.outcomes_head == "dbeab55035013dabf878f25b91be9cf7630ccf30d604e68a42910a9c883681a8"
    rows = ledger.forecasts()
    assert [name[:12] for name in rows["id"]] == ["8358fb5abffe", "1a63c0bff9ea"]
    assert list(rows["crps"]) == [0.4301544560619034, 0.13439888302827313]
    entry = ledger.entry("8358fb5a")
    assert entry.statement.last_close == pytest.approx(forecast_of(BARS, 200).last_close)
    np.testing.assert_allclose(
        entry.statement.forecast().paths[..., 3],
        forecast_of(BARS, 200, samples=4, horizon=3).paths[..., 3],
        rtol=1e-7,
    )
    assert ledger.add(forecast_of(BARS, 250), symbol="BTC/USDT", backfill=True).number == 3
    assert ledger.check(expect=found.head).sound
