"""Origins out of many series: always the same ones, spread evenly, with a reason for every series that gives none."""

import os
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from kronos.bars import inspect
from kronos.data.sets.partition import asset_of
from kronos.data.sets.series import Series, plain_symbol
from kronos.data.sets.windows import nanoseconds_of
from kronos.errors import BarsError, ConfigError, KronosError
from kronos.evaluate.benchmark.origins import Found, Origin
from kronos.evaluate.benchmark.reporting import Progress, Reporter, Silent
from kronos.evaluate.benchmark.shelves import Prepare, Shelf, as_series, shelves
from kronos.evaluate.benchmark.task import Task

Numbers = NDArray[np.int64]

UNNAMED = "unnamed"  # the market of a file that lies in no folder


def find_origins(
    task: Task,
    *,
    after: str | None = None,
    prepare: Prepare = as_series,
    inspected: MutableMapping[str, bool] | None = None,
    reporter: Reporter | None = None,
) -> Found:
    """The origins of a task; those whose predicted bars begin on the day `after`, or earlier, are passed over.

    `inspected` remembers, by a digest of its bars, whether a series is mixed: looking takes longer than reading.
    """
    known = {} if inspected is None else inspected
    chosen = [shelf for shelf in shelves(task.data) if _asked(shelf, task)]
    found = Found(excluded=[one.name for one in chosen if any(part in one.name for part in task.exclude)])
    kept = [one for one in chosen if one.name not in found.excluded]
    for shelf, cut in zip(kept, _each(lambda one: _cut(one, task, after, prepare, known), kept, reporter), strict=True):
        _take(found, shelf, cut)
    origins = found.origins
    if task.most is not None and len(origins) > task.most:
        spread = (2 * np.arange(task.most) + 1) * len(origins) // (2 * task.most)
        origins = [origins[i] for i in spread.tolist()]
    found.origins = [replace(one, number=number) for number, one in enumerate(origins)]
    if not found.origins:
        raise ConfigError(_nothing(found, task, after))
    return found


def choose_rows(name: str, low: int, stop: int, count: int, horizon: int) -> Numbers:
    """So many of the rows [low, stop) as first predicted bars, spread evenly; of fewer rows all.

    They are a horizon apart where there is room. Where the first lies follows from the series' name: the origins of
    many series are spread over time, and do not change when a series is added.
    """
    total = stop - low
    apart = -(-total // horizon)  # so many share no predicted bar
    wanted = min(count, total)
    least = horizon if wanted <= apart else 1
    slack = total - 1 - (wanted - 1) * least
    shift = int.from_bytes(blake2b(name.encode(), digest_size=6).digest(), "little") / 2**48
    steps = np.arange(wanted)
    rows: Numbers = low + steps * least + ((steps + shift) * (slack + 1) / max(wanted, 1)).astype(np.int64)
    return rows


@dataclass(frozen=True)
class _Cut:
    """What became of a series."""

    fate: str  # "kept", "short", "before_cutoff", "mixed", "unasked", or the error that refused it
    origins: tuple[Origin, ...] = ()
    still: int = 0
    refused: bool = False


def _cut(shelf: Shelf, task: Task, after: str | None, prepare: Prepare, known: MutableMapping[str, bool]) -> _Cut:
    """Read a series, and keep its windows alone."""
    try:
        series = prepare(shelf, shelf.read())
    except KronosError as error:
        return _Cut(str(error), refused=True)
    if task.timeframes and series.timeframe not in task.timeframes:
        return _Cut("unasked")
    if task.markets and series.market not in task.markets:
        return _Cut("unasked")
    low, stop = _span(series, task, after)
    if low >= stop:
        early = after is not None and np.subtract(*_span(series, task, None)) < 0
        return _Cut("before_cutoff" if early else "short")
    try:
        mixed = _is_mixed(series, known)
    except BarsError as error:
        return _Cut(str(error), refused=True)
    if mixed:
        return _Cut("mixed")
    rows = choose_rows(series.name, low, stop, task.origins, task.horizon)
    made = [_window(series, row, task, shelf) for row in rows.tolist()]
    moving = tuple(one for one in made if not one.still)
    return _Cut("kept", moving, len(made) - len(moving))


def _span(series: Series, task: Task, after: str | None) -> tuple[int, int]:
    """The rows [low, stop) in which a first predicted bar may lie."""
    low, last = max(task.lookback, task.min_history), len(series)
    if task.since is not None:
        low = max(low, _row(series, nanoseconds_of(task.since, "since")))
    if after is not None:
        low = max(low, _row(series, end_of_day(after)))
    if task.until is not None:
        last = _row(series, nanoseconds_of(task.until, "until"))
    return low, last - task.horizon + 1


def end_of_day(day: str) -> int:
    """Nanoseconds of the first moment after a day that is written like 2025-06-30."""
    return nanoseconds_of(str(day)[:10], "cut-off") + 86_400_000_000_000


def _row(series: Series, nanoseconds: int) -> int:
    return int(np.searchsorted(series.times, np.datetime64(nanoseconds, "ns")))


def _window(series: Series, row: int, task: Task, shelf: Shelf) -> Origin:
    first = row - task.lookback
    before = min(first, task.horizon)  # for forecasts that are made a horizon too early
    rows = slice(first - before, row + task.horizon)
    return Origin(
        number=-1,
        series=series.name,
        market=series.market or UNNAMED,
        asset=asset_of(series),
        timeframe=series.timeframe,
        times=series.times[rows].astype("datetime64[ns]"),  # copies: a view would keep the whole series
        bars=np.array(series.bars[rows], dtype=np.float64),
        before=before,
        lookback=task.lookback,
        shelf=shelf,
    )


def _is_mixed(series: Series, known: MutableMapping[str, bool]) -> bool:
    content = np.ascontiguousarray(series.bars).tobytes() + series.times.astype(np.int64).tobytes()
    key = blake2b(content, digest_size=12).hexdigest()
    if key not in known:
        found = inspect(series.frame(), timeframe=series.timeframe, name=series.name)
        known[key] = bool(found.counts().get("mixed_series"))
    return known[key]


def _asked(shelf: Shelf, task: Task) -> bool:
    """Whether its name, and what is known before reading, are what the task is about."""
    if task.symbols and plain_symbol(shelf.symbol) not in map(plain_symbol, task.symbols):
        return False
    if task.markets and shelf.market and shelf.market not in task.markets:
        return False
    return not task.timeframes or shelf.timeframe is None or shelf.timeframe in task.timeframes


def _take(found: Found, shelf: Shelf, cut: _Cut) -> None:
    found.origins += cut.origins
    found.still += cut.still
    if cut.refused:
        found.refused[shelf.name] = cut.fate
    elif cut.fate in ("mixed", "short", "before_cutoff"):
        getattr(found, cut.fate).append(shelf.name)


def _each(work: Callable[[Shelf], _Cut], items: Sequence[Shelf], reporter: Reporter | None) -> Iterator[_Cut]:
    """What `work` makes of every shelf, in order, by several threads."""
    heard, began = reporter or Silent(), time.monotonic()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for done, cut in enumerate(pool.map(work, items), 1):
            left = (time.monotonic() - began) / done * (len(items) - done)
            heard.tick(Progress("reading", done, len(items), "series", left))
            yield cut


def _nothing(found: Found, task: Task, after: str | None) -> str:
    """Why there is no origin at all."""
    if found.before_cutoff and after is not None:
        return (
            f"no window of {task.lookback} + {task.horizon} bars forecasts anything after {after}, the cut-off of a "
            f"model that is judged ({len(found.before_cutoff)} series end too early): it may have been trained on "
            "these bars. --include-before-cutoff (include_before_cutoff: true) judges them all the same, and marks them"
        )
    span = f"{task.since or 'the beginning'} and {task.until or 'the end'}"
    told = ", ".join(
        f"{key} {value if isinstance(value, int) else len(value)}" for key, value in found.left_out().items()
    )
    why = f"left out: {told}" if told else "no series is of the symbols, markets and timeframes that were asked for"
    first = next(iter(found.refused.values()), "")
    more = f"; first refused: {first}" if first else ""
    return f"no window of {task.lookback} + {task.horizon} bars between {span} can be judged ({why}{more})"
