"""The record of a run: whole lines or none, the same after a kill as without one, and a table that others can read."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kronos.errors import KronosError, SourceError
from kronos.train.metrics import METRICS_FILE, TABLE_FILE, MetricsLog, read_metrics


def line_of(step: int) -> dict[str, float]:
    """What a loop logs: every step its losses, every third one a validation, every sixth one a score."""
    line = {"step": step, "lr": 1e-3 / (step + 1), "loss": 1 / (step + 1), "s1": math.sin(step)}
    if step % 3 == 0:
        line |= {"val_loss": 1.5 / (step + 1), "val_s1": math.cos(step)}
    if step % 6 == 0:
        line["task_crps"] = 0.1 + 1e-17 * step
    return line


def logged(folder: Path, first: int, last: int) -> None:
    with MetricsLog(folder) as log:
        for step in range(first, last + 1):
            log.write(line_of(step))


def strict(text: str) -> Any:
    """As a reader of JSON would that knows no words of Python's own."""

    def refuse(word: str) -> NoReturn:
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


# --- what is written --------------------------------------------------------------------------------------------------


def test_every_line_reads_back_as_it_was(tmp_path: Path) -> None:
    lines = [line_of(step) for step in range(20)]
    logged(tmp_path / "new" / "folder", 0, 19)
    assert read_metrics(tmp_path / "new" / "folder") == lines
    assert MetricsLog(tmp_path / "new" / "folder").lines() == lines
    text = (tmp_path / "new" / "folder" / METRICS_FILE).read_text()
    assert [strict(one) for one in text.splitlines()] == lines
    assert all(isinstance(line["step"], int) for line in read_metrics(tmp_path / "new" / "folder"))


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in range(3):
        log.write(line_of(step))
        assert read_metrics(tmp_path)[-1] == line_of(step)
        assert log.lines() == read_metrics(tmp_path)
    assert not (tmp_path / TABLE_FILE).exists()
    log.close()


def test_numbers_of_other_kinds_and_numbers_that_are_none(tmp_path: Path) -> None:
    line: dict[str, Any] = {"step": np.int64(3), "loss": torch.tensor(0.5), "lr": np.float32(0.25), "bars": np.int32(7)}
    with MetricsLog(tmp_path) as log:
        log.write({**line, "val_loss": math.nan, "grad_norm": math.inf, "s1": np.float64("-inf")})
    text = (tmp_path / METRICS_FILE).read_text()
    assert strict(text) == {
        "step": 3, "loss": 0.5, "lr": 0.25, "bars": 7, "val_loss": None, "grad_norm": None, "s1": None,
    }  # fmt: skip
    [given] = read_metrics(tmp_path)
    assert math.isnan(given["val_loss"])
    assert math.isnan(given["grad_norm"])
    assert (tmp_path / TABLE_FILE).read_text() == "step,loss,lr,bars,val_loss,grad_norm,s1\n3,0.5,0.25,7,nan,nan,nan\n"


def test_the_table_is_what_pandas_makes_of_the_lines(tmp_path: Path) -> None:
    logged(tmp_path, 0, 40)
    table = pd.read_csv(tmp_path / TABLE_FILE)
    pd.testing.assert_frame_equal(table, pd.DataFrame(read_metrics(tmp_path)), rtol=1e-14)
    with (tmp_path / TABLE_FILE).open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [{name: float(cell) for name, cell in row.items() if cell} for row in cells] == read_metrics(tmp_path)
    assert list(table.columns) == ["step", "lr", "loss", "s1", "val_loss", "val_s1", "task_crps"]
    rows = (tmp_path / TABLE_FILE).read_text().splitlines()
    assert rows[2].endswith(",,,")  # step 1 was not validated: empty cells, not the word nan
    assert {row.count(",") for row in rows} == {6}


def test_columns_may_come_late_and_need_quotes(tmp_path: Path) -> None:
    with MetricsLog(tmp_path) as log:
        log.write({"loss": 1.0, "step": 1})
        log.flush()
        assert (tmp_path / TABLE_FILE).read_text() == "step,loss\n1,1.0\n"
        log.write({"step": 2, "loss": 0.5, 'odd, "name"': 2.0})
    table = pd.read_csv(tmp_path / TABLE_FILE)
    assert list(table.columns) == ["step", "loss", 'odd, "name"']
    assert table["step"].tolist() == [1, 2]
    assert table['odd, "name"'].isna().tolist() == [True, False]


def test_nothing_is_written_for_a_run_that_logs_nothing(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.rewind(0)
    assert log.lines() == []
    log.flush()
    log.close()
    log.close()
    assert list(tmp_path.iterdir()) == []


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped_at", [0, 1, 7, 12, 19])
@pytest.mark.parametrize("saved", [-1, 0, 6, 18])
def test_a_run_that_goes_on_leaves_the_files_of_one_that_never_stopped(
    tmp_path: Path, stopped_at: int, saved: int
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    logged(whole, 0, 20)
    logged(broken, 0, stopped_at)
    log = MetricsLog(broken)
    log.rewind(saved)
    assert [line["step"] for line in log.lines()] == list(range(min(saved, stopped_at) + 1))
    assert len(pd.read_csv(broken / TABLE_FILE)) == min(saved, stopped_at) + 1  # never ahead of the lines
    for step in range(min(saved, stopped_at) + 1, 21):
        log.write(line_of(step))
    log.close()
    for name in (METRICS_FILE, TABLE_FILE):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(path.name for path in broken.iterdir()) == [TABLE_FILE, METRICS_FILE]


@given(cut=st.integers(0, 700), saved=st.integers(-1, 9))
def test_a_kill_at_any_byte_loses_half_a_line_at_most(
    tmp_path_factory: pytest.TempPathFactory, cut: int, saved: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    logged(folder, 0, 8)
    path = folder / METRICS_FILE
    content = path.read_bytes()[:cut]
    path.write_bytes(content)
    whole = content.count(b"\n")
    assert read_metrics(folder) == [line_of(step) for step in range(whole)]
    log = MetricsLog(folder)
    log.rewind(saved)
    assert log.lines() == [line_of(step) for step in range(min(whole, saved + 1))]
    log.write({"step": 99, "loss": 0.0})
    log.close()
    assert log.lines()[-1] == {"step": 99, "loss": 0.0}
    assert path.read_bytes().endswith(b"\n")


def test_a_half_written_line_is_dropped_even_by_who_does_not_rewind(tmp_path: Path) -> None:
    logged(tmp_path, 0, 3)
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 4, "lo')
    logged(tmp_path, 4, 5)
    assert read_metrics(tmp_path) == [line_of(step) for step in range(6)]


def test_rewinding_touches_nothing_that_need_not_go(tmp_path: Path) -> None:
    logged(tmp_path, 0, 5)
    spaced = (tmp_path / METRICS_FILE).read_text().replace(": ", ":   ")  # as another writer would have it
    (tmp_path / METRICS_FILE).write_text(spaced)
    before = (tmp_path / METRICS_FILE).stat()
    MetricsLog(tmp_path).rewind(5)
    after = (tmp_path / METRICS_FILE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    MetricsLog(tmp_path).rewind(3)
    assert (tmp_path / METRICS_FILE).read_text() == "".join(spaced.splitlines(keepends=True)[:4])


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"there is no {METRICS_FILE}; name the folder of a training run"):
        read_metrics(tmp_path)
    with pytest.raises(SourceError, match="nowhere"):
        read_metrics(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ('{"step": 3, "loss"', "Expecting"),
        ("no JSON", "Expecting value"),
        ("[1, 2]", "expected an object, found list"),
        ('{"loss": 1.0}', "no step"),
        ('{"step": "three"}', "the step is no whole number"),
        ('{"step": 3, "loss": "low"}', "low"),
        ('{"step": 3, "loss": [1]}', "list"),
        ("\udcff\udcfe", "codec|Expecting"),
    ],
)
def test_a_damaged_line_in_the_middle(tmp_path: Path, damage: str, reason: str) -> None:
    logged(tmp_path, 0, 5)
    path = tmp_path / METRICS_FILE
    lines = path.read_bytes().splitlines()
    lines[3] = damage.encode(errors="surrogateescape")
    path.write_bytes(b"\n".join(lines) + b"\n")
    before = path.read_bytes()
    asks: list[Callable[[], object]] = [
        lambda: read_metrics(tmp_path),
        lambda: MetricsLog(tmp_path).rewind(2),
        lambda: MetricsLog(tmp_path).write({"step": 6}),
    ]
    for ask in asks:
        with pytest.raises(SourceError, match=rf"metrics\.jsonl: line 4 is damaged \(.*({reason})") as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    del lines[3]
    path.write_bytes(b"\n".join([*lines, b"", b""]))  # as the message says, and an empty line more
    assert [line["step"] for line in read_metrics(tmp_path)] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("room", [0, 1, 50, 150])
def test_a_full_disk_leaves_whole_lines_and_the_run_can_go_on(tmp_path: Path, room: int) -> None:
    resource = pytest.importorskip("resource")
    log, path = MetricsLog(tmp_path), tmp_path / METRICS_FILE

    def write(steps: Iterable[int]) -> None:
        for step in steps:
            log.write(line_of(step))

    write(range(5))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, limits[1]))
    try:
        with pytest.raises(KronosError, match=r"metrics\.jsonl: cannot be written \(File too large\)"):
            write(range(5, 10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    done = read_metrics(tmp_path)
    assert 5 <= len(done) <= 7
    assert path.read_bytes().endswith(b"\n")
    write(range(len(done), 10))
    log.close()
    assert read_metrics(tmp_path) == [line_of(step) for step in range(10)]
    assert len(pd.read_csv(tmp_path / TABLE_FILE)) == 10


def test_a_table_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / TABLE_FILE).mkdir()
    log = MetricsLog(tmp_path)
    log.write(line_of(0))
    for ask in (log.flush, log.close):
        with pytest.raises(KronosError, match=r"metrics\.csv: cannot be written"):
            ask()
    assert read_metrics(tmp_path) == [line_of(0)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [TABLE_FILE, METRICS_FILE]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(KronosError, match=r"cannot be written"):
        MetricsLog(tmp_path / "run").write(line_of(0))


# --- trackers ---------------------------------------------------------------------------------------------------------


class Listener:
    def __init__(self, wrong: Exception | None = None) -> None:
        self.heard: list[tuple[int, dict[str, float]]] = []
        self.closed, self.wrong = 0, wrong

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.heard.append((step, dict(figures)))

    def close(self) -> None:
        self.closed += 1
        if self.wrong is not None:
            raise self.wrong


def test_trackers_hear_what_is_written_and_are_closed_once(tmp_path: Path) -> None:
    listeners = [Listener(), Listener()]
    log = MetricsLog(tmp_path, listeners)
    for step in (1, 2):
        log.write(line_of(step))
    log.close()
    log.close()
    for one in listeners:
        assert one.heard == [(step, {k: v for k, v in line_of(step).items() if k != "step"}) for step in (1, 2)]
        assert one.closed == 1


def test_everything_is_closed_whoever_complains(tmp_path: Path) -> None:
    (tmp_path / TABLE_FILE).mkdir()
    listeners = [Listener(KronosError("no network")), Listener()]
    log = MetricsLog(tmp_path, listeners)
    log.write(line_of(1))
    with pytest.raises(KronosError):
        log.close()
    assert [one.closed for one in listeners] == [1, 1]


def test_a_run_that_fails_is_closed_and_its_table_written(tmp_path: Path) -> None:
    listener = Listener()

    def run() -> None:
        with MetricsLog(tmp_path, [listener]) as log:
            log.write(line_of(1))
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run()
    assert listener.closed == 1
    assert len(pd.read_csv(tmp_path / TABLE_FILE)) == 1
