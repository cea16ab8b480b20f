"""The lake: what is written is read back, nobody sees half a write, and nobody's bars are lost."""

import itertools
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars import COLUMNS
from kronos.data.keys import Key
from kronos.data.lake import commits, lake
from kronos.data.lake.lake import Lake, Origin
from kronos.errors import BarsError, ConfigError, SourceError
from reference import bars_frame

KEY = Key("binance", "BTC/USDT", "1h")
FROM = Origin("import", "x.csv")
LONG = bars_frame(120_000, freq="1min", tz="UTC")
_NUMBERS = itertools.count()
FRAME = bars_frame(300, freq="1h", tz="UTC")


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Equal, times in nanoseconds."""
    index = pd.DatetimeIndex(wanted.index).as_unit("ns").rename("timestamp")
    pd.testing.assert_frame_equal(found, wanted.set_axis(index), check_freq=False)


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """Options that lead to a local S3 server with the bucket "bars"."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "key": "key", "secret": "secret"}
    import s3fs

    s3fs.S3FileSystem(**options).mkdir("bars")
    yield options
    server.stop()


@pytest.fixture(params=["folder", "file://", "memory://", "s3://"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """A new place of every kind, and the options that open it."""
    if request.param == "s3://":
        return f"s3://bars/{tmp_path.name}", request.getfixturevalue("s3")
    if request.param == "memory://":
        return f"memory://{tmp_path.name}", {}
    return (str(tmp_path / "lake"), {}) if request.param == "folder" else (f"file://{tmp_path}/lake", {})


def opened(place: tuple[str, dict[str, Any]]) -> Lake:
    return Lake.open(place[0], create=True, **place[1])


# What is written is read back -----------------------------------------------------------------------------------------


def test_a_series_comes_back_as_it_was(place: tuple[str, dict[str, Any]]) -> None:
    origin = Origin("import", "x.csv", notes={"duplicate": 2})
    done = opened(place).write(KEY, FRAME, origin, market="crypto", calendar="24/7")
    assert (done.added, done.same, done.revised, done.kept, done.rows) == (300, 0, 0, 0, 300)
    again = Lake.open(place[0], **place[1])
    same(again.read(KEY), FRAME)
    same(again.read_raw(KEY), FRAME)
    assert again.last(KEY) == FRAME.index[-1]
    entry = again.entry(KEY)
    assert [entry] == again.entries()
    assert (entry.rows, entry.first, entry.last) == (300, FRAME.index[0], FRAME.index[-1])
    assert (entry.market, entry.zone, entry.calendar, entry.notes) == ("crypto", "UTC", "24/7", {"duplicate": 2})
    assert [(o.kind, o.place) for o in entry.origins] == [("import", "x.csv")]
    assert Lake.is_lake(place[0], **place[1])


def test_bars_are_appended_prepended_and_filled_in(place: tuple[str, dict[str, Any]]) -> None:
    there = opened(place)
    for part in (FRAME[100:150], FRAME[200:], FRAME[:50], FRAME[150:200], FRAME[40:110]):
        there.write(KEY, part, FROM)
    same(there.read(KEY), FRAME)
    assert there.entry(KEY).rows == 300


def test_an_append_leaves_what_is_there_alone(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    there.write(KEY, FRAME[:250], FROM)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    done = there.write(KEY, FRAME[240:], FROM)
    assert (done.added, done.same) == (50, 10)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert there.entry(KEY).parts == 2


def test_the_same_bars_again_write_nothing(place: tuple[str, dict[str, Any]]) -> None:
    there = opened(place)
    there.write(KEY, FRAME, FROM)
    version = there.entry(KEY).version
    done = there.write(KEY, FRAME[20:90], FROM)
    assert (done.added, done.same, done.rows) == (0, 70, 300)
    assert there.entry(KEY).version == version


def test_bars_that_come_again_with_other_values(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    there.write(KEY, FRAME, FROM)
    other = FRAME[100:110].assign(volume=7.0)
    assert there.write(KEY, other, FROM).kept == 10
    same(there.read(KEY), FRAME)
    with pytest.raises(
        BarsError, match=rf"10 bars are stored with other values, the first at {str(FRAME.index[100])[:16]}"
    ):
        there.write(KEY, other, FROM, conflict="refuse")
    done = there.write(KEY, other, FROM, conflict="replace")
    assert (done.added, done.revised, done.rows) == (0, 10, 300)
    same(there.read(KEY), pd.concat([FRAME[:100], other, FRAME[110:]]))
    assert there.write(KEY, FRAME[5:9], FROM, replace=True).rows == 4
    same(there.read(KEY), FRAME[5:9])


def test_unknown_volumes_stay_unknown_and_are_completed_for_readers(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    holes = FRAME.copy()
    holes.iloc[10, 4:] = np.nan
    holes.iloc[11, 5] = np.nan
    there.write(KEY, holes, FROM)
    same(there.read_raw(KEY), holes)
    read = there.read(KEY)
    assert read.iloc[10, 4:].tolist() == [0.0, 0.0]
    assert read.iloc[11, 5] == pytest.approx(holes.iloc[11, 4] * holes.iloc[11, :4].mean())
    same(read.drop(read.index[[10, 11]]), FRAME.drop(FRAME.index[[10, 11]]))


def test_bad_candles_are_kept_and_refused_to_readers(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    there.write(KEY, FRAME.assign(high=np.where(np.arange(300) == 7, 1.0, FRAME["high"])), FROM)
    assert there.read_raw(KEY)["high"].iloc[7] == 1.0
    with pytest.raises(BarsError, match=r"binance BTC/USDT 1h: row 7 .*kronos data check"):
        there.read(KEY)


def test_a_span_reads_only_the_parts_it_falls_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake, "PART_ROWS", 50)
    there = Lake.open(tmp_path, create=True)
    there.write(KEY, FRAME, FROM)
    assert there.entry(KEY).parts == 6
    for path in tmp_path.rglob("*.parquet"):  # every other part but one of the middle is made unreadable
        if commits._parse_part(path.read_bytes(), "").times[0] != FRAME.index[100].value:
            path.write_bytes(b"")
    same(there.read(KEY, FRAME.index[110], FRAME.index[140]), FRAME[110:140])
    same(there.read(KEY, str(FRAME.index[110])[:16], FRAME.index[140].tz_convert("Asia/Tokyo")), FRAME[110:140])
    assert len(there.read(KEY, "2050-01-01")) == 0
    with pytest.raises(SourceError, match="the part is damaged"):
        there.read(KEY)


def test_zones(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    for zone in (None, "UTC", "Asia/Shanghai", "America/New_York", "+05:30"):
        key = Key("files", f"x{zone}", "1h")
        frame = bars_frame(40, freq="1h", tz=zone)
        there.write(key, frame, FROM)
        same(there.read(key), frame)
        assert there.last(key) == frame.index[-1]
    with pytest.raises(BarsError, match="the new bars have a time zone and the stored ones have none"):
        there.write(Key("files", "xNone", "1h"), FRAME, FROM)
    there.write(Key("files", "xUTC", "1h"), FRAME[40:80].tz_convert("Asia/Tokyo"), FROM)
    assert there.read(Key("files", "xUTC", "1h")).index.equals(pd.DatetimeIndex(FRAME.index[:80]).as_unit("ns"))


def test_times_keep_their_nanoseconds_whatever_unit_they_come_in(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    for unit in ("s", "ms", "us", "ns"):
        frame = FRAME.set_axis(pd.DatetimeIndex(FRAME.index).as_unit(unit))
        there.write(Key("files", unit, "1h"), frame, FROM)
        same(there.read(Key("files", unit, "1h")), FRAME)


def test_many_small_appends_are_joined_and_swept_up(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    for row in range(60):
        there.write(KEY, FRAME[row : row + 1], Origin("fetch", "https://x", at=f"2026-01-01T00:00:{row:02d}+00:00"))
    same(there.read(KEY), FRAME[:60])
    entry = there.entry(KEY)
    assert entry.parts <= lake.MANY + 1
    assert entry.version == 60
    assert [(o.at[-8:-6], o.until[-8:-6]) for o in entry.origins] == [("00", "59")]
    log = commits.SeriesLog(there._store, KEY.path)
    log.sweep(grace=timedelta(0))
    assert len(list(tmp_path.rglob("*.parquet"))) == entry.parts
    assert len(list(tmp_path.rglob("0*.json"))) == 1
    same(there.read(KEY), FRAME[:60])
    assert there.write(KEY, FRAME[60:61], FROM).rows == 61


def test_a_young_part_that_nobody_names_yet_is_not_swept_up(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    there.write(KEY, FRAME[:10], FROM)
    log = commits.SeriesLog(there._store, KEY.path)
    rows, _ = lake._incoming(FRAME[10:20], "x")
    log.put(rows, ())  # a writer at work
    assert log.sweep() == 0
    assert len(list(tmp_path.rglob("*.parquet"))) == 2


def test_notes_count_once_for_each_place_the_last_time(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    for rows, place, notes in ((50, "a.csv", {"blank": 1}), (90, "a.csv", {"blank": 2}), (99, "b.csv", {"blank": 4})):
        there.write(KEY, FRAME[:rows], Origin("import", place, at=f"2026-01-{rows - 49:02d}", notes=notes))
    assert there.entry(KEY).notes == {"blank": 6}
    assert [(o.place, o.notes) for o in there.entry(KEY).origins] == [("a.csv", {"blank": 2}), ("b.csv", {"blank": 4})]


def test_series_are_chosen_and_dropped(place: tuple[str, dict[str, Any]]) -> None:
    there = opened(place)
    keys = sorted(Key(s, y, t) for s in ("a", "b") for y in ("X/Y", "x y", "..", "ü=%2F") for t in ("1h", "1d"))
    for key in keys:
        there.write(key, bars_frame(5, freq={"1h": "1h", "1d": "1D"}[key.timeframe]), FROM)
    assert [entry.key for entry in there.entries()] == keys
    assert {entry.key.symbol for entry in there.entries(source="a", timeframe="60m")} == {"X/Y", "x y", "..", "ü=%2F"}
    assert [entry.key for entry in there.entries("b", "X/Y")] == [Key("b", "X/Y", "1d"), Key("b", "X/Y", "1h")]
    there.drop(keys[3])
    assert [entry.key for entry in there.entries()] == keys[:3] + keys[4:]
    assert there.last(keys[3]) is None
    for absent in (lambda: there.read(keys[3]), lambda: there.entry(keys[3]), lambda: there.drop(keys[3])):
        with pytest.raises(SourceError, match=f"no series {keys[3]}"):
            absent()
    there.write(keys[3], bars_frame(9, freq="1h"), FROM)
    assert there.entry(keys[3]).rows == 9


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 119), st.integers(1, 60), st.booleans()), min_size=1, max_size=12))
def test_any_order_of_writes_is_a_merge_by_time(writes: list[tuple[int, int, bool]]) -> None:
    """Against a dictionary of rows; the stored bar is kept, or replaced, as asked for."""
    there = Lake.open(f"memory://merge-{next(_NUMBERS)}", create=True)
    frame, truth = FRAME[:120], {}
    for number, (first, count, takes) in enumerate(writes):
        some = frame[first : first + count].iloc[:: 1 + number % 3].assign(volume=float(number))
        there.write(KEY, some, FROM, conflict="replace" if takes else "keep")
        for when, row in zip(some.index, some.to_numpy(), strict=True):
            if takes or when not in truth:
                truth[when] = row
    found = there.read_raw(KEY)
    assert found.index.tolist() == sorted(truth)
    np.testing.assert_array_equal(found.to_numpy(), np.array([truth[when] for when in found.index]))
    parts = there._log(KEY).head().parts
    assert all(one.last < two.first for one, two in itertools.pairwise(parts))


# What is refused ------------------------------------------------------------------------------------------------------


def test_places_that_are_no_lakes(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no lake here; `kronos data import`"):
        Lake.open(tmp_path / "absent")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x.csv").write_text("")
    with pytest.raises(SourceError, match="holds other files"):
        Lake.open(tmp_path / "full", create=True)
    with pytest.raises(SourceError, match="this is a file"):
        Lake.open(tmp_path / "full" / "x.csv", create=True)
    with pytest.raises(ConfigError, match="takes no storage options"):
        Lake.open(tmp_path, key="x")
    with pytest.raises((ConfigError, SourceError), match="nosuch://"):
        Lake.open("nosuch://place", create=True)
    Lake.open(tmp_path / "new", create=True)
    (tmp_path / "new" / lake.MARKER).write_text('{"format": 99}')
    with pytest.raises(SourceError, match="format 99"):
        Lake.open(tmp_path / "new")
    (tmp_path / "new" / lake.MARKER).write_text("{")
    with pytest.raises(SourceError, match="is damaged"):
        Lake.open(tmp_path / "new")


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (FRAME[::-1], "must increase"),
        (FRAME.iloc[[0, 1, 1]], "must increase"),
        (FRAME[:0], "no bars"),
        (FRAME.drop(columns="volume"), "expected the columns"),
        (FRAME.reset_index(drop=True), "over a DatetimeIndex"),
    ],
)
def test_frames_that_cannot_be_kept(tmp_path: Path, frame: pd.DataFrame, says: str) -> None:
    there = Lake.open(tmp_path, create=True)
    with pytest.raises(BarsError, match=says):
        there.write(KEY, frame, FROM)
    assert there.entries() == []


def test_a_lake_is_one_by_all_its_names_and_holds_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Lake.open(tmp_path / "lake", create=True)
    (tmp_path / "link").symlink_to(tmp_path / "lake")
    monkeypatch.chdir(tmp_path / "lake")
    for name in (".", f"file://{tmp_path}/lake", "../lake", tmp_path / "link"):
        assert Lake.open(name).same_as(there)
    assert not Lake.open(tmp_path / "other", create=True).same_as(there)
    with pytest.raises(SourceError, match="lies inside the lake"):
        Lake.open("clean", create=True)
    there.write(KEY, FRAME[:3], FROM)
    stray = tmp_path / "lake" / "backup" / KEY.path / "log"
    stray.mkdir(parents=True)
    (stray / "1.json").write_text("{")
    assert [entry.key for entry in there.entries()] == [KEY]


def test_a_zone_without_a_name_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    import datetime

    there = Lake.open(tmp_path, create=True)
    naive = bars_frame(5, freq="1h")
    named = datetime.timezone(timedelta(hours=8), "CST")
    there.write(KEY, naive.tz_localize(named), FROM)
    assert there.entry(KEY).zone == "+08:00"
    assert there.last(KEY) == naive.index[-1].tz_localize(named)

    class Odd(datetime.tzinfo):
        def utcoffset(self, moment: datetime.datetime | None) -> timedelta | None:
            return None if moment is None else timedelta(hours=3)

        def dst(self, moment: datetime.datetime | None) -> timedelta:
            return timedelta(0)

    with pytest.raises(BarsError, match="convert the times to UTC"):
        there.write(Key("a", "b", "1h"), naive.tz_localize("UTC").tz_convert(Odd()), FROM)
    assert len(there.entries()) == 1


def test_bars_at_both_ends_write_no_part_between_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake, "PART_ROWS", 50)
    monkeypatch.setattr(lake, "SMALL_ROWS", 0)
    there = Lake.open(tmp_path, create=True)
    there.write(KEY, FRAME[10:290].drop(FRAME.index[120]), FROM)
    before = {part.file for part in there._log(KEY).head().parts}
    there.write(KEY, FRAME, FROM)
    same(there.read(KEY), FRAME)
    after = {part.file for part in there._log(KEY).head().parts}
    assert len(before & after) == 5  # of six, the one with the hole is new


def test_no_password_is_shown(tmp_path: Path) -> None:
    with pytest.raises((SourceError, ConfigError)) as caught:
        Lake.open("ftp://me:hidden@127.0.0.1:1/x")
    assert "hidden" not in str(caught.value)


def test_a_server_that_does_not_answer_is_an_error_of_ours(s3: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=r"s3://bars/x: cannot be (read|reached)"):
        Lake.open("s3://bars/x", endpoint_url="http://127.0.0.1:9", key="k", secret="s", config_kwargs={
            "retries": {"max_attempts": 0}, "connect_timeout": 1,
        })  # fmt: skip
    with pytest.raises((SourceError, ConfigError)):
        Lake.open("s3://no-such-bucket/x", **s3).entries()


def test_without_links_the_first_writer_still_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("kronos.data.lake.store.os.link", refuse)
    there = Lake.open(tmp_path, create=True)
    there.write(KEY, FRAME[:50], FROM)
    assert there._store.create(f"{KEY.path}/log/000000000001.json", b"") is False
    there.write(KEY, FRAME[50:], FROM)
    same(there.read(KEY), FRAME)


def test_damage_is_named(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    there.write(KEY, FRAME, FROM)
    part, log = next(tmp_path.rglob("*.parquet")), next(tmp_path.rglob("0*.json"))
    whole = part.read_bytes()
    for damaged in (whole[:100], b""):
        part.write_bytes(damaged)
        with pytest.raises(SourceError, match=part.name):
            there.read(KEY)
    part.unlink()
    with pytest.raises(SourceError, match="parts are missing"):
        there.read(KEY)
    for text in ("{", "[]", '{"parts": 3}', log.read_text().replace('"rows"', '"lines"')):
        log.write_text(text)
        with pytest.raises(SourceError, match=f"{log.name}: the commit is damaged"):
            there.entries()


@pytest.mark.parametrize(
    ("field", "value"), [("source", ""), ("symbol", " x"), ("symbol", "a\nb"), ("timeframe", "1x")]
)
def test_keys_that_name_nothing(field: str, value: str) -> None:
    with pytest.raises(ConfigError):
        Key(**{"source": "a", "symbol": "b", "timeframe": "1h", field: value})


@given(
    st.text(st.characters(blacklist_categories=("Cs",)), min_size=1).filter(
        lambda s: s == s.strip() and s.isprintable()
    )
)
def test_any_symbol_is_one_path_segment_and_comes_back(symbol: str) -> None:
    key = Key("x", symbol, "60m")
    assert key.timeframe == "1h"
    assert Key.of_path(key.path) == key
    with pytest.raises(ConfigError):
        Key.of_path("some/where/" + key.path)
    assert key.path.count("/") == 2
    assert not {".", ".."} & set(key.path.split("/"))


# Several writers, and writers that die --------------------------------------------------------------------------------


def _write_some(place: str, rows: range) -> None:
    """One of several processes: writes bar after bar."""
    there = Lake.open(place, create=True)
    for row in rows:
        there.write(KEY, FRAME[row : row + 1], Origin("fetch", f"writer of {rows.start}"))


def test_two_processes_write_one_series_and_nothing_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=_write_some, args=(str(tmp_path / "lake"), range(start, 40, 2))) for start in (0, 1)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    there = Lake.open(tmp_path / "lake")
    same(there.read(KEY), FRAME[:40])
    assert there.entry(KEY).version == 40
    assert len(there.entry(KEY).origins) == 2


def test_two_writers_meet_on_a_conditional_write(s3: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second writer commits between the first one's look and its commit, on S3."""
    one, two = (Lake.open("s3://bars/meeting", create=True, **s3) for _ in range(2))
    plain: Callable[..., bool] = commits.SeriesLog.commit
    met = []

    def interrupted(log: commits.SeriesLog, before: commits.State, after: commits.State) -> bool:
        if not met:
            met.append(True)
            two.write(KEY, FRAME[100:200], FROM)
        return plain(log, before, after)

    monkeypatch.setattr(commits.SeriesLog, "commit", interrupted)
    done = one.write(KEY, FRAME[50:150], FROM)
    assert (done.added, done.same, done.rows) == (50, 50, 150)
    same(one.read(KEY), FRAME[50:200])


def test_a_writer_that_slept_while_the_log_was_swept_does_not_vanish(tmp_path: Path) -> None:
    there = Lake.open(tmp_path, create=True)
    there.write(KEY, FRAME[:10], FROM)
    log = there._log(KEY)
    seen = log.head()
    for row in range(10, 15):
        there.write(KEY, FRAME[row : row + 1], FROM)
    log.sweep(grace=timedelta(0))
    assert log.commit(seen, seen) is False  # the number is free again, and lies behind the newest commit
    same(there.read(KEY), FRAME[:15])


def _write_blocks(place: str, row: int, told: Connection) -> None:
    """A writer that goes on until it is killed."""
    there = Lake.open(place, create=True)
    while True:
        there.write(KEY, LONG[row : row + 1000], FROM)
        row += 1000
        told.send(row)


def test_a_writer_killed_at_any_moment_leaves_a_whole_series(tmp_path: Path) -> None:
    place, row, moments = tmp_path / "lake", 0, random.Random(5)
    context = multiprocessing.get_context("fork")
    for _ in range(12):
        mine, its = context.Pipe(duplex=False)
        writer = context.Process(target=_write_blocks, args=(str(place), row, its))
        writer.start()
        told = [mine.recv()]  # at work
        time.sleep(moments.uniform(0.0, 0.06))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        while mine.poll():
            told.append(mine.recv())
        there = Lake.open(place)
        row = there.entry(KEY).rows
        assert row in (told[-1], told[-1] + 1000)  # what was told is there, and at most what was being told
        same(there.read(KEY), LONG[:row])
    commits.SeriesLog(there._store, KEY.path).sweep(timedelta(0))
    assert len(list(place.rglob("*.parquet"))) == there.entry(KEY).parts
    same(there.read(KEY), LONG[:row])


def test_a_failing_disk_leaves_the_series_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Lake.open(tmp_path, create=True)
    there.write(KEY, FRAME[:100], FROM)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kronos.data.lake.store._write_through", full)
    with pytest.raises(SourceError, match=rf"{tmp_path}.*No space left"):
        there.write(KEY, FRAME[100:], FROM)
    monkeypatch.undo()
    same(there.read(KEY), FRAME[:100])
    assert not list(tmp_path.rglob(".*.tmp"))


def test_the_log_is_plain_json_that_says_where_bars_come_from(tmp_path: Path) -> None:
    Lake.open(tmp_path, create=True).write(KEY, FRAME, Origin("fetch", "https://api.example/klines", "BTCUSDT"))
    tree = json.loads(next(tmp_path.rglob("0*.json")).read_text())
    assert tree["parts"][0]["origins"][0]["place"] == "https://api.example/klines"
    assert tree["parts"][0]["rows"] == 300
    stored = pd.read_parquet(next(tmp_path.rglob("*.parquet")))
    assert list(stored.columns) == ["time", *COLUMNS]
