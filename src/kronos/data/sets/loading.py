"""Series from wherever they lie: files, a lake, or a pack."""

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kronos.bars import Timeframe
from kronos.data.files.naming import name_of
from kronos.data.files.opening import PACKED_SUFFIXES
from kronos.data.files.reading import bar_files, read_bars
from kronos.data.files.tables import SUFFIXES
from kronos.data.keys import Key, without_piece
from kronos.data.lake.lake import Lake
from kronos.data.sets.pack import is_pack, open_pack
from kronos.data.sets.series import Series, plain_symbol, symbol_of
from kronos.errors import SourceError

T = TypeVar("T")
Made = TypeVar("Made")


def load_series(
    place: str | Path,
    *,
    symbols: Collection[str] | None = None,
    timeframes: Collection[str] | None = None,
    threads: int | None = None,
) -> list[Series]:
    """Every series at a place, in a fixed order: a file or folder of bars, a lake (folder or URL), or a pack.

    `symbols` and `timeframes` choose; BTC/USDT, BTC-USDT and btcusdt are one symbol. Series of files are called by
    their path in the folder, those of a lake by their key. Holes in volume and amount are filled. Files are read by
    several `threads` (by default one for each core, at most 8).
    """
    wanted = None if timeframes is None else {str(Timeframe.parse(one)) for one in timeframes}
    choice = _Choice(symbols, wanted)
    if is_pack(place):
        series = [one for one in open_pack(place) if choice.takes(one.symbol, one.timeframe)]
    elif "://" in str(place) or (not Path(place).is_file() and Lake.is_lake(place)):
        series = _from_lake(Lake.open(place), choice, threads)
    else:
        series = _from_files(Path(place), choice, threads)
    if not series:
        raise SourceError(f"{place}: holds no series of {choice}")
    return series


@dataclass(frozen=True)
class _Choice:
    """Which series are wanted; None is all."""

    symbols: Collection[str] | None
    timeframes: Collection[str] | None

    def takes(self, symbol: str, timeframe: str) -> bool:
        return self.takes_symbol(symbol) and (self.timeframes is None or timeframe in self.timeframes)

    def takes_symbol(self, symbol: str) -> bool:
        return self.symbols is None or plain_symbol(symbol) in map(plain_symbol, self.symbols)

    def __str__(self) -> str:
        both = (("symbol", self.symbols), ("timeframe", self.timeframes))
        return " and ".join(f"{what} {', '.join(sorted(them))}" for what, them in both if them is not None) or "bars"


def _from_files(place: Path, choice: _Choice, threads: int | None) -> list[Series]:
    root = place if place.is_dir() else place.parent

    def read(path: Path) -> Series:
        return Series.of(read_bars(path, volume_rule="fill"), _name(path, root), symbol=_symbol(path, root))

    paths = [path for path in bar_files(place) if choice.takes_symbol(_symbol(path, root))]
    return [one for one in _each(read, paths, threads) if choice.takes(one.symbol, one.timeframe)]


def _name(path: Path, root: Path) -> str:
    """The path in the folder without what says the kind of file."""
    path = path.relative_to(root)
    while path.suffix.lower() in (*SUFFIXES, *PACKED_SUFFIXES):
        path = path.with_suffix("")
    return path.as_posix()


def _symbol(path: Path, root: Path) -> str:
    named = name_of(path, root).symbol
    return symbol_of(_name(path, root)) if named is None else without_piece(named)


def _from_lake(lake: Lake, choice: _Choice, threads: int | None) -> list[Series]:
    entries = [one for one in lake.entries() if choice.takes(one.key.asset, one.key.timeframe)]
    markets = {one.key: one.market or one.key.source for one in entries}

    def read(key: Key) -> Series:
        return Series.of(lake.read(key), str(key), market=markets[key], symbol=key.asset, timeframe=key.timeframe)

    return _each(read, [one.key for one in entries], threads)


def _each(make: Callable[[T], Made], items: Sequence[T], threads: int | None) -> list[Made]:
    """What `make` makes of every item, in order; the first error ends it, and what has not begun never does."""
    workers = min(threads if threads is not None else min(os.cpu_count() or 1, 8), len(items))
    if workers <= 1:
        return [make(item) for item in items]
    pool = ThreadPoolExecutor(workers)
    try:
        return list(pool.map(make, items))
    finally:
        pool.shutdown(cancel_futures=True)
