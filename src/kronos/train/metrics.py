"""The figures of a run: one JSON line a step, the same as a table, and whoever else wants to hear of them.

`metrics.jsonl` is the record. It is only ever appended to, a whole line at a time, so a run that is killed leaves at
most one half-written line, which is dropped when the run goes on. `metrics.csv` is made from it at every flush.

A figure that is no number (nan, or an infinite one) is `null` in the JSON lines, because JSON has no word for it and
strict readers refuse the ones that Python would write; it reads back as nan, and is `nan` in the table, where an empty
cell means that the step has no such figure.
"""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from kronos.errors import KronosError, SourceError
from kronos.train.trackers import Tracker
from kronos.writing import replacing

METRICS_FILE = "metrics.jsonl"
TABLE_FILE = "metrics.csv"

Line = dict[str, float]
"""The figures of one step; "step" is a whole number, how many steps were done when they were taken."""


def read_metrics(folder: Path) -> list[Line]:
    """The lines of the run in `folder`, that of a run still going included; a half-written last one is left out."""
    path = folder / METRICS_FILE
    if not path.is_file():
        raise SourceError(f"{folder}: there is no {METRICS_FILE}; name the folder of a training run")
    return [line for _, line in _read(path)]


class MetricsLog:
    """The record of one run in its folder; a context manager that closes it, and its trackers with it."""

    def __init__(self, folder: Path, trackers: Sequence[Tracker] = ()) -> None:
        """Log to `folder`, and to `trackers`, which are the log's own from here on; nothing is written yet."""
        self.path = folder / METRICS_FILE
        self.table_path = folder / TABLE_FILE
        self._trackers = list(trackers)
        self._file: io.FileIO | None = None
        self._table: _Table | None = None

    def __enter__(self) -> Self:
        """The log itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, also where the run failed: what was logged until then is what one wants to see."""
        self.close()

    def lines(self) -> list[Line]:
        """What has been logged so far, by earlier runs in this folder too."""
        return [line for _, line in _read(self.path)] if self.path.exists() else []

    def rewind(self, step: int) -> None:
        """Forget what comes after this step: a killed run logged steps that will now be done again."""
        self._rewind(lambda line: line["step"] <= step)

    def write(self, line: Mapping[str, float]) -> None:
        """Append the figures of a step, on the disk when this returns, and tell the trackers."""
        numbers = {name: _number(value) for name, value in line.items()}
        step = int(numbers["step"])
        text = json.dumps({name: value if math.isfinite(value) else None for name, value in numbers.items()})
        table = self._known()
        self._append(f"{text}\n".encode())
        table.add(numbers)
        figures = {name: value for name, value in numbers.items() if name != "step"}
        for tracker in self._trackers:
            tracker.log(step, figures)

    def flush(self) -> None:
        """Write the table anew; nothing where nothing was ever logged."""
        if not self.path.exists():
            return
        table = self._known()
        with _writing(self.table_path), replacing(self.table_path) as temporary:
            temporary.write_text(table.text(), encoding="utf-8", newline="")

    def close(self) -> None:
        """Write the table and let go of the file and of the trackers; a second time does nothing more."""
        with ExitStack() as stack:  # each is let go of, whatever the others say
            for tracker in self._trackers:
                stack.callback(tracker.close)
            self._trackers = []
            stack.callback(self._release)
            self.flush()

    def _known(self) -> "_Table":
        """The table of what is in the file, whose last line is a whole one from here on."""
        if self._table is None:
            self._rewind(lambda line: True)
        assert self._table is not None
        return self._table

    def _append(self, data: bytes) -> None:
        with _writing(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = io.FileIO(self.path, "a")  # not buffered: a line is there or it is not
            before = os.fstat(self._file.fileno()).st_size
            try:
                while data:  # a disk that is nearly full takes a part, and says so only when asked again
                    data = data[self._file.write(data) or 0 :]
            except OSError:
                if self.path.is_file():  # no pipe, and no device
                    os.ftruncate(self._file.fileno(), before)
                raise

    def _rewind(self, keep: Callable[[Line], bool]) -> None:
        self._release()
        known = _read(self.path) if self.path.exists() else []
        kept = [(text, line) for text, line in known if keep(line)]
        self._table = _Table(line for _, line in kept)
        if not self.path.exists():
            return
        content = b"".join(text + b"\n" for text, _ in kept)
        if len(content) == self.path.stat().st_size:
            return
        with _writing(self.path), replacing(self.path) as temporary:
            temporary.write_bytes(content)
        if self.table_path.exists():
            self.flush()

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Table:
    """Rows of comma-separated values; columns stand in the order in which they were first seen, `step` before all."""

    def __init__(self, lines: Iterable[Mapping[str, float]]) -> None:
        self._columns = {"step": 0}
        self._rows: list[tuple[str, int]] = []  # as text, and how many cells: later columns are empty in it
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, float]) -> None:
        for name in line:
            self._columns.setdefault(name, len(self._columns))
        cells = (repr(line[name]) if name in line else "" for name in self._columns)
        self._rows.append((",".join(cells), len(self._columns)))

    def text(self) -> str:
        head = io.StringIO()
        csv.writer(head, lineterminator="\n").writerow(self._columns)
        width = len(self._columns)
        return head.getvalue() + "".join(f"{row}{',' * (width - cells)}\n" for row, cells in self._rows)


def _number(value: float | np.integer[Any]) -> float:
    """A Python number, whatever kind of number was given; one that is not finite is nan."""
    if isinstance(value, int | np.integer):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else math.nan


def _read(path: Path) -> list[tuple[bytes, Line]]:
    """Every whole line as it stands and as figures; what follows the last line break is a line half written."""
    try:
        *whole, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from error
    found = []
    for number, text in enumerate(whole, start=1):
        if not text.strip():  # what an editor left of a line that was taken out
            continue
        try:
            found.append((text, _figures(text)))
        except (ValueError, TypeError, KeyError) as error:
            reason = "no step" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise SourceError(f"{path}: line {number} is damaged ({reason}); remove that line") from error
    return found


def _figures(text: bytes) -> Line:
    tree = json.loads(text)
    if not isinstance(tree, dict):
        raise TypeError(f"expected an object, found {type(tree).__name__}")
    if not isinstance(tree["step"], int):
        raise TypeError("the step is no whole number")
    return {name: math.nan if value is None else _number(value) for name, value in tree.items()}


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A disk that is full, gone or not ours is said in one line that names the file."""
    try:
        yield
    except OSError as error:
        raise KronosError(f"{path}: cannot be written ({error.strerror or error})") from error
