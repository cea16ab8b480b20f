"""How a forecaster reads what it is asked: one frame, a list or a dict of them, and counts, a seed and times with them.

Whatever forecasts (a network, an ensemble, a baseline) takes its data in these three shapes and refuses the same
requests in the same words.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from kronos.bars.forecast import Times
from kronos.bars.stamps import parse_times
from kronos.errors import BarsError, ConfigError

T = TypeVar("T")


def check_asked(horizon: Any, samples: Any, seed: Any) -> None:
    """Refuse what is no count and no seed."""
    check_count("horizon", horizon)
    check_count("samples", samples)
    if not _whole(seed):
        raise ConfigError(f"seed must be a whole number, not {seed!r}; the same seed gives the same forecast")


def check_count(what: str, count: Any) -> None:
    """Refuse what is no whole number of at least 1; `what` names the argument."""
    if not _whole(count) or count < 1:
        raise ConfigError(f"{what} must be a whole number of at least 1, not {count!r}")


def named(data: Any) -> tuple[list[str], list[pd.DataFrame]]:
    """Names and frames of whatever was given, in its order."""
    if isinstance(data, pd.DataFrame):
        return [str(data.attrs.get("name", "bars"))], [data]
    if isinstance(data, Mapping):
        names, frames = [str(key) for key in data], list(data.values())
        if len(set(names)) < len(names):
            raise ConfigError("the keys of the frames are not unique as text")
    elif isinstance(data, Sequence) and not isinstance(data, str):
        names, frames = [f"bars[{i}]" for i in range(len(data))], list(data)
    else:
        raise BarsError(f"expected a DataFrame, or a list or dict of them, not {type(data).__name__}")
    if not frames:
        raise BarsError("there is no frame to forecast: the list or dict is empty")
    return names, frames


def aligned(given: Any, data: Any, names: Sequence[str]) -> list[Any]:
    """`y_timestamp` for every series, from an argument in the shape of the data; None where none is given."""
    if given is None:
        return [None] * len(names)
    if isinstance(data, pd.DataFrame):
        return [given]
    if isinstance(data, Mapping):
        missing = [name for name, key in zip(names, data, strict=True) if key not in given]
        if missing:
            raise ConfigError(f"y_timestamp lacks {', '.join(missing)}; it needs the keys of the data")
        return [given[key] for key in data]
    if len(given) != len(names):
        raise ConfigError(f"y_timestamp holds {len(given)} entries for {len(names)} series")
    return list(given)


def checked_future(given: "Times", index: pd.DatetimeIndex, horizon: int, name: str) -> pd.DatetimeIndex:
    """Given time stamps of the future of bars at `index`: so many, in the bars' zone, increasing, and after them."""
    future = parse_times(given, f"{name}: y_timestamp")
    if len(future) != horizon:
        raise BarsError(f"{name}: y_timestamp holds {len(future)} times for a horizon of {horizon}")
    if (future.tz is None) != (index.tz is None):
        raise BarsError(f"{name}: y_timestamp and the bars' times must both have a time zone or both have none")
    if index.tz is not None:
        future = future.tz_convert(index.tz)
    if not (future.is_monotonic_increasing and future.is_unique) or future[0] <= index[-1]:
        raise BarsError(
            f"{name}: y_timestamp must increase and begin after the last bar ({index[-1]}), not {future[0]}"
        )
    return future.rename("timestamp")


def shaped(made: Sequence[T], data: Any) -> T | list[T] | dict[Any, T]:
    """What was made of the frames, one by one, in the shape that they came in."""
    if isinstance(data, pd.DataFrame):
        return made[0]
    return dict(zip(data, made, strict=True)) if isinstance(data, Mapping) else list(made)


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
