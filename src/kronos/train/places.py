"""The bars that a run is given: series of several places, together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kronos.data import Series, load_series
from kronos.errors import ConfigError


def load_all(places: Sequence[str], symbols: Sequence[str] = (), timeframes: Sequence[str] = ()) -> list[Series]:
    """The series of several places, each with a name of its own."""
    if not places:
        raise ConfigError("no data: name files, folders or a lake with --data, or in the settings under 'data'")
    found: dict[str, Series] = {}
    for place in places:
        for one in load_series(place, symbols=symbols or None, timeframes=timeframes or None):
            name = one.name if one.name not in found else f"{Path(place).stem}/{one.name}"
            if name in found:
                raise ConfigError(f"{place}: the series {name} is there twice; name every place once")
            found[name] = replace(one, name=name)
    return list(found.values())
