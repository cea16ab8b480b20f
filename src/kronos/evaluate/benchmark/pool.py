"""A pool of processes, each with one thread, that keep the forecasters they have made."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from multiprocessing import connection, parent_process
from threading import Thread
from typing import Any, Self, TypeVar

from kronos.bars import Forecaster
from kronos.evaluate.benchmark.chunks import Ask, Chunk, Row, forecasts, score_chunk
from kronos.evaluate.benchmark.material import Material
from kronos.evaluate.benchmark.tripwires import try_contestant

T = TypeVar("T")
Make = Callable[[], Forecaster]

_AHEAD = 2  # calls for each process that are on their way: more would only fill the memory
_THREADS = "OMP_NUM_THREADS"

_kept: dict[str, Forecaster] = {}  # of this process


class Pool:
    """Processes that are begun when they are first needed, and end with the block."""

    def __init__(self, workers: int) -> None:
        """At most so many."""
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Nothing has begun."""
        return self

    def __exit__(self, *_: object) -> None:
        """Calls that have not begun never do."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def call_all(self, calls: Iterable[Callable[[], T]]) -> Iterator[tuple[int, T]]:
        """What the calls give, each with its number, as they are finished; an error of one ends them all."""
        numbered = enumerate(calls)
        first = list(islice(numbered, _AHEAD * self._workers))
        if not first:
            return
        with _one_thread_each():
            pool = self._begun()
            running: dict[Future[T], int] = {pool.submit(call): number for number, call in first}
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    number = running.pop(future)
                    for later, call in islice(numbered, 1):
                        running[pool.submit(call)] = later
                    yield number, future.result()

    def _begun(self) -> ProcessPoolExecutor:
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")  # a fork would copy threads in whatever state they are
            self._pool = ProcessPoolExecutor(self._workers, mp_context=spawn, initializer=_end_with_parent)
        return self._pool


def score_elsewhere(name: str, make: Make, chunk: Chunk, ask: Ask) -> list[Row]:
    """`score_chunk` in a process of a pool."""
    if name not in _kept:
        _kept[name] = make()
        forecasts(_kept[name], chunk.pasts[:1], chunk.times[:1], ask)  # what is loaded at first is not timed
    return score_chunk(_kept[name], chunk, ask)


def try_elsewhere(name: str, make: Make, material: Material, ask: Ask) -> list[dict[str, Any]]:
    """`try_contestant` in a process of a pool."""
    if name not in _kept:
        _kept[name] = make()
    return try_contestant(name, _kept[name], material, ask)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes begun in this block do arithmetic in one thread."""
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"
    try:
        yield
    finally:
        del os.environ[_THREADS]
        os.environ.update({} if before is None else {_THREADS: before})


def _end_with_parent() -> None:
    """A process of a pool waits for ever when the one that began it is killed; this one ends with it."""
    parent = parent_process()
    if parent is not None:
        Thread(target=_wait_for_end, args=(parent.sentinel,), daemon=True).start()


def _wait_for_end(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
