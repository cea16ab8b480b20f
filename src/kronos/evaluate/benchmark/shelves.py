"""Series at a place, one by one, so that one bad file does not stop a folder and no folder has to fit into memory.

A `Shelf` is a series that has not been read. `read` gives its bars as they lie there, `prepare` makes of them what
windows are cut from: whatever is done to bars before they are judged is done in between, where the tripwires see it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from kronos.data.files.naming import name_of
from kronos.data.files.opening import PACKED_SUFFIXES
from kronos.data.files.reading import bar_files, read_bars
from kronos.data.files.tables import SUFFIXES
from kronos.data.keys import without_piece
from kronos.data.lake.lake import Entry, Lake
from kronos.data.sets.pack import is_pack, open_pack
from kronos.data.sets.series import Series, market_of, symbol_of
from kronos.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Shelf:
    """One series at a place, not yet read."""

    name: str
    symbol: str
    read: Callable[[], pd.DataFrame] = field(repr=False)
    """The canonical frame."""
    market: str = ""
    timeframe: str | None = None
    """Where it is known before reading."""


Prepare: TypeAlias = Callable[[Shelf, pd.DataFrame], Series]


def as_series(shelf: Shelf, frame: pd.DataFrame) -> Series:
    """The bars as they are."""
    return Series.of(frame, shelf.name, market=shelf.market, symbol=shelf.symbol, timeframe=shelf.timeframe)


def shelves(places: tuple[str, ...]) -> list[Shelf]:
    """Every series at the places, in a fixed order and with names that differ."""
    if not places:
        raise ConfigError("there are no bars to judge on: name a file, a folder, a lake or a pack (--data, or data:)")
    several = len(places) > 1
    found: list[Shelf] = []
    taken: set[str] = set()
    for place in places:
        for shelf in _at(place):
            name = f"{Path(place).name}/{shelf.name}" if several and shelf.name in taken else shelf.name
            if name in taken:
                raise ConfigError(f"{place}: two series are called {name}; give each place a name of its own")
            taken.add(name)
            found.append(Shelf(name, shelf.symbol, shelf.read, shelf.market, shelf.timeframe))
    return found


def _at(place: str) -> Iterator[Shelf]:
    if is_pack(place):
        for one in open_pack(place):
            yield Shelf(one.name, one.symbol, one.frame, one.market, one.timeframe)
    elif "://" in place or (not Path(place).is_file() and Lake.is_lake(place)):
        lake = Lake.open(place)
        yield from (_stored(lake, entry) for entry in lake.entries())
    else:
        root = Path(place) if Path(place).is_dir() else Path(place).parent
        yield from (_file(path, root) for path in bar_files(place))


def _stored(lake: Lake, entry: Entry) -> Shelf:
    key = entry.key
    return Shelf(str(key), key.asset, partial(lake.read, key), entry.market or key.source, key.timeframe)


def _file(path: Path, root: Path) -> Shelf:
    """Named as `load_series` names it: by its path in the folder, without what says the kind of file."""
    plain = path.relative_to(root)
    while plain.suffix.lower() in (*SUFFIXES, *PACKED_SUFFIXES):
        plain = plain.with_suffix("")
    name, told = plain.as_posix(), name_of(path, root).symbol
    symbol = symbol_of(name) if told is None else without_piece(told)
    return Shelf(name, symbol, partial(read_bars, path, volume_rule="fill"), market_of(name))
